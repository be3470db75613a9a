// SPDX-License-Identifier: Apache-2.0
// A program that uses an unmodified MongoDB driver, as many clients and operations at once as the test wants.
//
//   node client.js DRIVER URI once CLIENTS OPERATIONS [WAY]    so many operations on each client, all at once
//   node client.js DRIVER URI loop CLIENTS MILLISECONDS [WAY]  one after the other with that pause, until SIGTERM
//
// DRIVER is the npm package. WAY is where a callback has tokens from: "library CREDENTIAL", that is libkeyfob (LIBKEYFOB is its
// path) by a foreign function interface, or "socket PATH", a credential's own socket. Without it the driver has no callback.
// Prints {"done":N,"failed":N,"errors":{"text":N}}; "loop" prints a line "ready" before.
'use strict';
const [driver, uri, how, count, number, way, where] = process.argv.slice(2);
const { MongoClient } = require(driver);

const tally = { done: 0, failed: 0, errors: {} };
let running = true;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// --- callbacks, one for each client ----------------------------------------------------

function library(credential) {
	const koffi = require('koffi'), lib = koffi.load(process.env.LIBKEYFOB), handle = [null];
	const open = lib.func('int keyfob_open(_Out_ void **kf)');
	const get = lib.func('int keyfob_get(void *kf, const char *credential, _Out_ void **token)');
	const value = lib.func('const char *keyfob_token_value(void *token)');
	const free = lib.func('void keyfob_token_free(_Inout_ void **token)');
	const reject = lib.func('int keyfob_reject(void *kf, const char *credential, const char *token)');
	const strerror = lib.func('const char *keyfob_strerror(int error)');
	if (open(handle))
		throw new Error('keyfob_open');
	const obtain = () => new Promise((resolve, fail) => {
		const token = [null];
		get.async(handle[0], credential, token, (error, code) => {
			if (error || code) {
				fail(error || new Error(strerror(code)));
			} else {
				resolve(value(token[0]));
				free(token);
			}
		});
	});
	let last = null, given = 0;
	return async () => {
		let token = await obtain();
		// The driver keeps a token until a server refuses it, and asks several times only while its first connections are made:
		// one that it got some time ago would be refused again.
		if (token === last && Date.now() - given > 5000) {
			reject(handle[0], credential, token);
			token = await obtain();
		}
		if (token !== last)
			given = Date.now();
		last = token;
		return { accessToken: token };
	};
}

function socket(path) {
	const net = require('net');
	return () => new Promise((resolve, fail) => {
		let token = '';
		net.connect(path).on('error', fail).on('data', (data) => { token += data; })
			.on('end', () => (token ? resolve({ accessToken: token }) : fail(new Error('the socket gave no token'))));
	});
}

function optionsOf() {
	const options = { serverSelectionTimeoutMS: 20000 };
	if (way)
		options.authMechanismProperties = { OIDC_CALLBACK: way === 'library' ? library(where) : socket(where) };
	return options;
}

// --- operations ----------------------------------------------------------------------------

async function operate(client) {
	const orders = client.db('shop').collection('orders');
	try {
		await (tally.done % 2 ? orders.insertOne({ at: new Date() }) : orders.find({}).toArray());
		tally.done++;
	} catch (error) {
		const text = `${error.code || error.name}: ${error.message}`;
		tally.failed++;
		tally.errors[text] = (tally.errors[text] || 0) + 1;
	}
}

async function loop(client) {
	while (running) {
		await operate(client);
		await pause(Number(number));
	}
}

async function main() {
	const clients = Array.from({ length: Number(count) }, () => new MongoClient(uri, optionsOf()));
	process.on('SIGTERM', () => { running = false; });
	if (how === 'once')
		await Promise.all(clients.flatMap((client) => Array.from({ length: Number(number) }, () => operate(client))));
	else
		await Promise.all(clients.map(loop).concat(pause(500).then(() => console.log('ready'))));
	await Promise.all(clients.map((client) => client.close()));
	console.log(JSON.stringify(tally));
}
main();
