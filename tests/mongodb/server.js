// SPDX-License-Identifier: Apache-2.0
// As much of a MongoDB server as drivers need to log in with MONGODB-OIDC and to find, insert and be refused. It has no
// opinion of its own about a token: `keyfob verify` judges each, for the service "mongodb" and the login that is the token's
// subject, as MongoDB names its users. A session ends when its token does. Listens on 127.0.0.1.
//
//   node server.js PORT-FILE LOG
//
// Another port, the second in PORT-FILE, is for the test, over HTTP:
//   GET /counters       connections, logins, speculative, accepted, refused, expired (commands answered 391), commands
//   POST /expire        all sessions end: their next command is answered 391
//   POST /forget        new connections are told nothing of speculative authentication (on=1), or are again (on=0)
'use strict';
const net = require('net'), http = require('http'), fs = require('fs');
const { execFile } = require('child_process');
const { BSON, Binary, Long } = require('bson');

const [portFile, logFile] = process.argv.slice(2);
const OP_REPLY = 1, OP_QUERY = 2004, OP_MSG = 2013, MORE_TO_COME = 2, AWAIT_CAPABLE = 8;
const counters = { connections: 0, logins: 0, speculative: 0, accepted: 0, refused: 0, expired: 0, commands: 0 };
const documents = new Map();
let epoch = 0, forgetful = false, answers = 0;

const say = (text) => fs.appendFileSync(logFile, text + '\n');
const failure = (code, codeName, errmsg) => ({ ok: 0, code, codeName, errmsg });

// --- login -----------------------------------------------------------------------

function subject(jwt) {
	try {
		return String(JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url')).sub);
	} catch {
		return '';
	}
}

// Resolves to when the token expires, or to why it is refused.
function judge(jwt) {
	return new Promise((resolve) => {
		const child = execFile('keyfob', ['verify', '--service=mongodb', `--login=${subject(jwt) || '-'}`, '--json', '-'],
			(error, stdout, stderr) => {
				let answer = {};
				try {
					answer = JSON.parse(stdout);
				} catch {}
				resolve(answer.accepted ? { expires: answer.expires_at } : { why: answer.reason || stderr.trim() || String(error) });
			});
		child.stdin.on('error', () => {});
		child.stdin.end(jwt);
	});
}

async function login(connection, request, how) {
	let jwt = '';
	counters.logins++;
	try {
		jwt = BSON.deserialize(request.payload.buffer).jwt;
	} catch {}
	if (request.mechanism !== 'MONGODB-OIDC' || typeof jwt !== 'string' || !jwt)
		return failure(18, 'AuthenticationFailed', 'Authentication failed.');
	const verdict = await judge(jwt);
	if (verdict.why) {
		counters.refused++;
		say(`${how} refused: ${verdict.why}`);
		return failure(18, 'AuthenticationFailed', 'Authentication failed.');
	}
	counters.accepted++;
	say(`${how} accepted`);
	connection.session = { expires: verdict.expires, epoch };
	return { conversationId: 1, done: true, payload: new Binary(Buffer.alloc(0)), ok: 1 };
}

// --- commands -----------------------------------------------------------------------

async function hello(connection, command) {
	const reply = { ismaster: true, isWritablePrimary: true, helloOk: true, minWireVersion: 0, maxWireVersion: 21, ok: 1 };
	if (command.speculativeAuthenticate && !forgetful) {
		counters.speculative++;
		const result = await login(connection, command.speculativeAuthenticate, 'speculative');
		if (result.ok)
			reply.speculativeAuthenticate = result;
	}
	return reply;
}

const commands = {
	ping: () => ({ ok: 1 }),
	endSessions: () => ({ ok: 1 }),
	find: (c) => ({ cursor: { id: Long.ZERO, ns: `${c.$db}.${c.find}`, firstBatch: documents.get(c.find) || [] }, ok: 1 }),
	insert: (c) => {
		documents.set(c.insert, (documents.get(c.insert) || []).concat(c.documents).slice(-100));
		return { n: c.documents.length, ok: 1 };
	},
};

async function answer(connection, command) {
	const name = Object.keys(command)[0], session = connection.session;
	if (/^(hello|ismaster)$/i.test(name))
		return hello(connection, command);
	if (name === 'saslStart')
		return login(connection, command, 'saslStart');
	if (!commands[name])
		return failure(59, 'CommandNotFound', `no such command: '${name}'`);
	if (!session)
		return failure(13, 'Unauthorized', `command ${name} requires authentication`);
	if (session.epoch !== epoch || session.expires <= Date.now() / 1000) {
		counters.expired++;
		return failure(391, 'ReauthenticationRequired', 'the session has expired');
	}
	counters.commands++;
	return commands[name](command);
}

// --- the wire ---------------------------------------------------------------------------

// One frame's command, and how its answer is framed.
function parse(frame) {
	const code = frame.readInt32LE(12);
	if (code === OP_QUERY) {
		const start = frame.indexOf(0, 20) + 9;
		return { command: BSON.deserialize(frame.subarray(start)), code };
	}
	if (code !== OP_MSG)
		throw new Error(`opcode ${code}`);
	const flags = frame.readUInt32LE(16), command = { };
	const end = flags & 1 ? frame.length - 4 : frame.length;
	for (let at = 20; at < end;) {
		const kind = frame[at], size = frame.readInt32LE(at + 1);
		if (kind === 0) {
			Object.assign(command, BSON.deserialize(frame.subarray(at + 1, at + 1 + size)));
		} else {
			const nul = frame.indexOf(0, at + 5), list = [];
			for (let doc = nul + 1; doc < at + 1 + size; doc += frame.readInt32LE(doc))
				list.push(BSON.deserialize(frame.subarray(doc, doc + frame.readInt32LE(doc))));
			command[frame.toString('utf8', at + 5, nul)] = list;
		}
		at += 1 + size;
	}
	return { command, code, silent: flags & MORE_TO_COME };
}

function frameOf(code, responseTo, document) {
	const body = BSON.serialize(document);
	const head = Buffer.alloc(code === OP_QUERY ? 36 : 21);
	head.writeInt32LE(head.length + body.length, 0);
	head.writeInt32LE(++answers, 4);
	head.writeInt32LE(responseTo, 8);
	head.writeInt32LE(code === OP_QUERY ? OP_REPLY : OP_MSG, 12);
	if (code === OP_QUERY) {
		head.writeInt32LE(AWAIT_CAPABLE, 16);
		head.writeInt32LE(1, 32);
	}
	return Buffer.concat([head, body]);
}

async function serve(connection, frame) {
	const { command, code, silent } = parse(frame);
	const reply = await answer(connection, command);
	if (!silent && !connection.socket.destroyed)
		connection.socket.write(frameOf(code, frame.readInt32LE(4), reply));
}

const server = net.createServer((socket) => {
	const connection = { socket, session: null };
	let pending = Buffer.alloc(0), work = Promise.resolve();
	counters.connections++;
	socket.setNoDelay();
	socket.on('error', () => {});
	socket.on('data', (data) => {
		pending = Buffer.concat([pending, data]);
		while (pending.length >= 16 && pending.length >= pending.readInt32LE(0)) {
			const frame = pending.subarray(0, pending.readInt32LE(0));
			pending = pending.subarray(frame.length);
			work = work.then(() => serve(connection, frame)).catch((error) => {
				say(`malformed: ${error.message}`);
				socket.destroy();
			});
		}
	});
});

const control = http.createServer((request, response) => {
	const url = new URL(request.url, 'http://localhost');
	if (request.method === 'POST' && url.pathname === '/expire')
		epoch++;
	else if (request.method === 'POST' && url.pathname === '/forget')
		forgetful = url.searchParams.get('on') === '1';
	else if (url.pathname !== '/counters')
		response.statusCode = 404;
	response.end(JSON.stringify(counters) + '\n');
});

server.listen(0, '127.0.0.1', 1024, () => control.listen(0, '127.0.0.1', () => {
	fs.writeFileSync(portFile + '.new', `${server.address().port} ${control.address().port}\n`);
	fs.renameSync(portFile + '.new', portFile);
}));
