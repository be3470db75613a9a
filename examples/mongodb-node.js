// SPDX-License-Identifier: Apache-2.0
// MongoDB's driver for Node.js (npm mongodb, 6.17 or newer).
//
// Without a line about tokens, by what `keyfob uri atlas HOST` prints:
//   keyfob run --mongodb=atlas -- node mongodb-node.js 'mongodb://HOST/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s'
// With a callback, where the program cannot be started by keyfob run:
//   node mongodb-node.js 'mongodb://HOST/?authMechanism=MONGODB-OIDC' atlas
const { MongoClient } = require('mongodb');
const { promisify } = require('util');
const run = promisify(require('child_process').execFile);

const [uri, credential] = process.argv.slice(2);

// Called when the driver needs a token, never once per operation.
async function fromKeyfob({ timeoutContext }) {
	const { stdout } = await run('keyfob', ['get', '--json', credential], { signal: timeoutContext });
	const { token, expires_at } = JSON.parse(stdout);
	return { accessToken: token, expiresInSeconds: Math.floor(expires_at - Date.now() / 1000) };
}

async function main() {
	const options = credential ? { authMechanismProperties: { OIDC_CALLBACK: fromKeyfob } } : {};
	const client = new MongoClient(uri, options);
	try {
		const orders = await client.db('shop').collection('orders').find({}).toArray();
		console.log(`${orders.length} orders`);
	} finally {
		await client.close();
	}
}
main();
