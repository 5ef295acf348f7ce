// files.js SCENARIO PIPE...: fs with callbacks, promises and streams.
//
// net.Socket({ fd }) is not here: Node looks at the type of the file before it uses it, takes a FIFO for a pipe of libuv's, and refuses a regular
// file, which a file of ipcfs is (ERR_INVALID_FD_TYPE, "Unsupported fd type: FILE"). For the same reason process.stdin on it is a
// stream of fs, not of net. What works on both is fs: its reads and writes wait in libuv's threads, of which there are four unless
// UV_THREADPOOL_SIZE says otherwise.
'use strict';

const fs = require('fs');
const readline = require('readline');
const { once } = require('events');
const { Readable, Transform } = require('stream');
const { pipeline } = require('stream/promises');
const { promisify } = require('util');
const { fill, openBoth, run, say, untilBlocked } = require('./client.js');

const close = promisify(fs.close);

// called is fs.read or fs.write, as a promise that never rejects: what the callback got.
function called(f, ...args) {
  return new Promise((resolve) => f(...args, (err, n, buf) => resolve(err ? err.code : `${n} ${n < 100 ? buf.subarray(0, n) : ''}`)));
}

async function callbacks(path) {
  const { rd, wr } = openBoth(path);
  const buf = Buffer.alloc(100);
  const waiting = called(fs.read, rd, buf, 0, 100, null);
  await untilBlocked('read', rd);
  say('write:', await called(fs.write, wr, Buffer.from('hello'), 0, 5, null));
  say('read:', await waiting);

  say('full:', fill(path));
  const write = called(fs.write, wr, Buffer.alloc(100000, 'x'), 0, 100000, null);
  await untilBlocked('write', wr);
  let sum = 0;
  const page = Buffer.alloc(10000);
  while (sum < 165536) sum += fs.readSync(rd, page);
  say('write:', await write);
  say('read:', sum);

  const last = called(fs.read, rd, buf, 0, 100, null);
  await untilBlocked('read', rd);
  await close(wr);
  say('end:', await last);
  fs.closeSync(rd);
}

async function errors(path) {
  const { O_NONBLOCK, O_RDONLY, O_WRONLY } = fs.constants;
  const opened = (flags) => new Promise((resolve) => fs.open(path, flags, (err, fd) => resolve(err ? err.code : fd)));
  say('writer without a reader:', await opened(O_WRONLY | O_NONBLOCK));
  const rd = await opened(O_RDONLY | O_NONBLOCK);
  const buf = Buffer.alloc(100);
  say('no writer yet:', await called(fs.read, rd, buf, 0, 100, null));
  const wr = await opened(O_WRONLY | O_NONBLOCK);
  say('empty:', await called(fs.read, rd, buf, 0, 100, null));
  say('at a position:', await called(fs.read, rd, buf, 0, 100, 5));
  say('full:', await called(fs.write, wr, Buffer.alloc(100000), 0, 100000, null));
  say('full:', await called(fs.write, wr, Buffer.alloc(1), 0, 1, null));
  fs.closeSync(rd);
  say('broken:', await called(fs.write, wr, Buffer.alloc(1), 0, 1, null));
  const stream = fs.createWriteStream(null, { fd: wr });
  stream.write('x');
  say('broken stream:', (await once(stream, 'error'))[0].code);
}

async function streams(path) {
  // Each open waits for the other.
  const rd = fs.createReadStream(path, { encoding: 'utf8' });
  await untilBlocked('open');
  const wr = fs.createWriteStream(path);
  wr.write('first ');
  let text = '';
  rd.on('data', (chunk) => (text += chunk));
  await once(rd, 'data');
  await untilBlocked('read', rd.fd);
  say(text);
  wr.end('sécond 🙂');
  await once(rd, 'end');
  say(Buffer.from(text).toString('latin1') === Buffer.from('first sécond 🙂').toString('latin1'), Buffer.byteLength(text), rd.bytesRead);
}

// A stream of writes stops when the pipe is full, and says when it goes on.
async function drain(path) {
  const { rd, wr } = openBoth(path);
  const out = fs.createWriteStream(null, { fd: wr, highWaterMark: 16384 });
  let drains = 0;
  out.on('drain', () => drains++);
  say('full:', fill(path));
  const go_on = out.write(Buffer.alloc(50000));
  await untilBlocked('write', wr);
  say('go on:', go_on, 'drained:', drains);
  let sum = 0;
  const drained = once(out, 'drain');
  for (const buf = Buffer.alloc(4096); sum < 115536; ) sum += fs.readSync(rd, buf);
  await drained;
  say('read:', sum, 'drained:', drains);
  const end = called(fs.read, rd, Buffer.alloc(10), 0, 10, null);
  out.end();
  say('end:', await end);
}

// 4 MiB through two pipes and a transformation between them.
async function through(a, b) {
  const size = 4 << 20;
  const upper = new Transform({
    transform(chunk, _, done) {
      done(null, chunk.toString('latin1').toUpperCase());
    },
  });
  const source = Readable.from((function* () {
    for (let left = size; left > 0; left -= 4096) yield Buffer.alloc(4096, 'abcdefgh');
  })());
  let n = 0;
  let good = true;
  await Promise.all([
    pipeline(source, fs.createWriteStream(a)),
    pipeline(fs.createReadStream(a), upper, fs.createWriteStream(b)),
    pipeline(fs.createReadStream(b), async function (chunks) {
      for await (const chunk of chunks) {
        for (let i = 0; i < chunk.length; i += 1) good &&= chunk[i] === 65 + ((n + i) % 8);
        n += chunk.length;
      }
    }),
  ]);
  say(n, good);
}

// The reader of a pipeline gives up: its writer is told.
async function broken_pipeline(path) {
  const { rd, wr } = openBoth(path);
  const endless = Readable.from((function* () {
    for (;;) yield Buffer.alloc(65536);
  })());
  const writing = pipeline(endless, fs.createWriteStream(null, { fd: wr })).catch((e) => e.code);
  await untilBlocked('write', wr);
  fs.closeSync(rd);
  say(await writing);
}

async function lines(path) {
  const { rd, wr } = openBoth(path);
  const input = readline.createInterface({ input: fs.createReadStream(null, { fd: rd }) });
  const got = input[Symbol.asyncIterator]();
  fs.writeSync(wr, 'one\ntw');
  say((await got.next()).value);
  await untilBlocked('read', rd);
  fs.writeSync(wr, 'o\nthree');
  say((await got.next()).value);
  await untilBlocked('read', rd);
  fs.closeSync(wr);
  say((await got.next()).value, (await got.next()).done);
}

async function promises(path) {
  const reading = fs.promises.open(path, 'r');
  await untilBlocked('open');
  const [rd, wr] = await Promise.all([reading, fs.promises.open(path, 'w')]);
  const read = rd.read(Buffer.alloc(100), 0, 100, null);
  await untilBlocked('read', rd.fd);
  await wr.write('hello');
  const { bytesRead, buffer } = await read;
  say(bytesRead, buffer.subarray(0, bytesRead));
  await wr.appendFile('to the end of it');
  const rest = rd.readFile('utf8');
  await wr.close();
  say(await rest);
  await rd.close();
}

// The functions for whole files.
async function whole(path) {
  const reading = fs.promises.readFile(path, 'utf8');
  await untilBlocked('open');
  await fs.promises.writeFile(path, 'all of it');
  say(await reading);
}

// The same with more than one request of FUSE can hold.
async function whole_large(path) {
  const size = 3 << 20;
  const [buf] = await Promise.all([fs.promises.readFile(path), fs.promises.writeFile(path, Buffer.alloc(size, 'x'))]);
  say(buf.length, buf.every((b) => b === 120));
}

run({ callbacks, errors, streams, drain, through, broken_pipeline, lines, promises, whole, whole_large });
