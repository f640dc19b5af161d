// What a JavaScript client does in the tests: node client.js PORT PACKAGE TRANSPORTS. Prints what it found as JSON.
'use strict';
const assert = require('assert');
const [port, name, transports] = process.argv.slice(2);
const elder = name === 'socket.io-client-2';
const io = require(name);
const options = { transports: transports.split(','), reconnectionDelay: 20, reconnectionDelayMax: 50, forceNew: true };
if (elder) options.query = { token: 'abc' }; else options.auth = { token: 'abc' };

const once = (socket, event) => new Promise((resolve) => socket.once(event, (...values) => resolve(values)));
const ask = (socket, ...values) => new Promise((resolve) => socket.emit('message-with-ack', ...values, (...back) => resolve(back)));
const pattern = (size) => Buffer.from(Array.from({ length: Math.min(size, 256) }, (_, index) => index)).toString('latin1');
const bytes = (size) => Buffer.alloc(size, pattern(size), 'latin1');

async function main() {
  const socket = io(`http://127.0.0.1:${port}`, options);
  const heard = once(socket, 'auth');
  await once(socket, 'connect');
  assert.deepStrictEqual(await heard, [{ token: 'abc' }]);

  const values = ['', 'ünïcödé € 😀 \u2028', 0, 1.5, -7, null, true, [], {}, [1, ['two', { three: 3 }]],
    bytes(0), bytes(1), bytes(65536), bytes(1500000), { a: [bytes(3), { b: bytes(4) }], c: 'd' }];
  for (const value of values) {
    const back = once(socket, 'message-back');
    socket.emit('message', value, 'end');
    assert.deepStrictEqual(await back, [value, 'end']);
    assert.deepStrictEqual(await ask(socket, value), [value]);
  }
  assert.deepStrictEqual(await ask(socket), []);

  const many = Promise.all(Array.from({ length: 200 }, (_, index) => ask(socket, index)));
  assert.deepStrictEqual((await many).map(([index]) => index), Array.from({ length: 200 }, (_, index) => index));

  const steps = [];
  socket.on('step', (index) => steps.push(index));
  socket.emit('burst', 200);
  await ask(socket);
  assert.deepStrictEqual(steps, Array.from({ length: 200 }, (_, index) => index));

  const custom = socket.io.socket('/custom', elder ? {} : { auth: { token: 'abc' } });
  await once(custom, 'connect');
  assert.deepStrictEqual(await ask(custom, bytes(9)), [bytes(9)]);
  custom.disconnect();
  assert.deepStrictEqual(await ask(socket, 'still here'), ['still here']);

  const refused = socket.io.socket('/refused');
  const refusal = once(refused, elder ? 'error' : 'connect_error');
  const [reason] = await refusal;
  assert.strictEqual(elder ? reason : reason.message, 'Not today');
  refused.disconnect();

  const transport = socket.io.engine.transport.name;
  const again = once(socket, 'connect');
  socket.emit('drop');
  await again;
  assert.deepStrictEqual(await ask(socket, bytes(2)), [bytes(2)]);
  socket.disconnect();
  console.log(JSON.stringify({ transport }));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
