// client.mjs QUEUE: what Node sees of a message queue; QUEUE does not exist yet. It says 'ok', or fails.
import assert from 'node:assert';
import fs from 'node:fs';
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const [q, role] = process.argv.slice(2);
const EIDRM = -43;

function raw(type, text) {
  const head = Buffer.alloc(8);
  head.writeBigInt64LE(BigInt(type)); // the machines that run this are little-endian
  return Buffer.concat([head, Buffer.from(text)]);
}

// receive reads one message through a view.
async function receive(view) {
  const file = await fs.promises.open(q + view, 'r');
  const { bytesRead, buffer } = await file.read(Buffer.alloc(8200), 0, 8200, null);
  await file.close();
  return buffer.subarray(0, bytesRead);
}

// messages calls f with each message that a stream of the view receives, and ends with the queue.
function messages(view, f) {
  return new Promise((resolve, reject) => {
    fs.createReadStream(q + view).on('data', f).on('error', (e) => (e.errno === EIDRM ? resolve() : reject(e))).on('end', reject);
  });
}

async function client() {
  fs.closeSync(fs.openSync(q, 'a'));

  // priorities, and raw
  fs.writeFileSync(`${q}:raw`, raw(5, 'five'));
  fs.writeFileSync(`${q}:2`, 'two');
  fs.writeFileSync(`${q}:raw`, raw(3, 'three'));
  assert.equal(String(await receive(':-9')), 'two');
  assert.deepEqual(await receive(':-9:raw'), raw(3, 'three'));
  assert.equal(fs.readFileSync(`${q}:peek`, { encoding: 'utf8' }), `type=5 size=4 pid=${process.pid} text=five\n`);
  assert.equal(String(await receive(':5')), 'five');
  assert.throws(() => fs.writeFileSync(q, Buffer.alloc(8193)), { code: 'EINVAL' });
  assert.throws(() => fs.writeFileSync(`${q}:-9`, 'x'), { code: 'EINVAL' });
  fs.writeFileSync(q, 'long');
  assert.throws(() => fs.readSync(fs.openSync(q, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK), Buffer.alloc(3)), { code: 'E2BIG' });
  assert.equal(String(await receive('')), 'long');
  assert.throws(() => fs.readSync(fs.openSync(q, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK), Buffer.alloc(3)), { code: 'EAGAIN' });

  // a work queue: two other processes square numbers, and answer to our own number
  const workers = [1, 2].map(() => fork(fileURLToPath(import.meta.url), [q, 'worker']));
  const squares = new Set();
  const replies = messages(`:${process.pid}`, (message) => {
    squares.add(Number(message));
    if (squares.size === 100) fs.unlinkSync(q);
  });
  for (let n = 1; n <= 100; n++) fs.writeFileSync(`${q}:1`, `${process.pid} ${n}`);
  await replies;
  for (let n = 1; n <= 100; n++) assert(squares.has(n * n));
  for (const w of workers) {
    const [code] = await new Promise((resolve) => (w.exitCode === null ? w.on('exit', (...a) => resolve(a)) : resolve([w.exitCode])));
    assert.equal(code, 0);
  }
  console.log('ok');
}

async function worker() {
  await messages(':1', (message) => {
    const [pid, n] = String(message).split(' ');
    try {
      fs.writeFileSync(`${q}:${pid}`, String(n * n));
    } catch (e) {
      if (e.code !== 'ENOENT') throw e; // the last answer has come
    }
  });
}

await (role === 'worker' ? worker() : client());
