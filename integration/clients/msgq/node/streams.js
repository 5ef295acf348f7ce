// streams.js SCENARIO QUEUE: streams and reads on several views at once. Each read that waits has one of libuv's threads, of which there are four.
'use strict';

const fs = require('fs');
const readline = require('readline');
const { once } = require('events');
const { Transform } = require('stream');
const { finished, pipeline } = require('stream/promises');
const { untilBlocked } = require('../../node/client.js');
const { code, ended, expect, pack, run, say, send, take } = require('./shared.js');

// A chunk of a stream is a message; streams of several views wait at the same time, each for its own.
async function chunks(q) {
  const got = {};
  const ends = [];
  for (const view of [':7', ':-3', ':^100:raw']) {
    const s = fs.createReadStream(q + view);
    s.on('data', (d) => (got[view] ??= []).push(d));
    ends.push(ended(s));
    await untilBlocked('read', (await once(s, 'open'))[0]);
  }
  for (const [type, text] of [[7, 'seven'], [2, 'two'], [9, 'nine'], [7, 'x'.repeat(8192)], [1, 'one'], [100, 'nobody']]) send(`${q}:${type}`, text);
  while ((got[':7']?.length ?? 0) + (got[':-3']?.length ?? 0) + (got[':^100:raw']?.length ?? 0) < 5) await new Promise((r) => setTimeout(r, 1));
  // Who waits longest is served first: :7 and :-3 came before the one that takes all but 100.
  expect(got[':-3'].concat(got[':^100:raw']).length + got[':7'].length, 5);
  for (const d of got[':^100:raw']) expect(d.readBigInt64LE() !== 100n, true);
  expect(String(take(`${q}:100`)), 'nobody');
  fs.unlinkSync(q);
  say(await Promise.all(ends));
}

// fs.read with callbacks; the main thread goes on meanwhile.
async function callbacks(q) {
  const read = (view, size) =>
    new Promise((resolve) => {
      const fd = fs.openSync(q + view, 'r');
      const b = Buffer.alloc(size);
      fs.read(fd, b, 0, size, null, (e, n) => resolve(e ? (e.errno === -43 ? 'EIDRM' : e.code) : String(b.subarray(0, n))));
    });
  const three = read(':3', 100);
  const small = read(':4', 2);
  await untilBlocked('read');
  send(`${q}:4`, 'four');
  say('too small:', await small, 'left:', take(`${q}:4`));
  send(`${q}:3`, 'three');
  say(await three);
  const last = [read(':5', 10), read(':5:raw', 20), read(':stream', 10)];
  let got;
  last[2].then((m) => { got = m; });
  while (got === undefined) { // the reader of the stream comes sooner or later
    if (!fs.readFileSync(`${q}:peek`).length) send(`${q}:9`, 'go');
    await new Promise((r) => setTimeout(r, 1));
  }
  for (let m; (m = take(q)); ) expect(String(m), 'go');
  fs.unlinkSync(q);
  say(await Promise.all(last.slice(0, 2)), got);
}

async function errors(q) {
  const { O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = fs.constants;
  const b = Buffer.alloc(8193);
  const fd = fs.openSync(q, O_RDWR | O_NONBLOCK);
  say('empty:', code(() => fs.readSync(fd, b)));
  say('too long:', code(() => fs.writeSync(fd, b)));
  say('pieces too long:', code(() => fs.writevSync(fd, [b.subarray(0, 8000), b.subarray(0, 193)])));
  say('pieces:', fs.writevSync(fd, [b.subarray(0, 8000), b.subarray(0, 192)]));
  say('full:', fs.writeSync(fd, b, 0, 8192), code(() => fs.writeSync(fd, b, 0, 1)));
  say('no room:', code(() => fs.readSync(fd, b, 0, 8191, null)));
  say('room in pieces:', fs.readvSync(fd, [Buffer.alloc(1), Buffer.alloc(8000), Buffer.alloc(191)]));
  say('at a position:', code(() => fs.readSync(fd, b, 0, 10, 5)));
  say(take(q).length);
  for (const view of [':-7', ':^7', ':7:peek']) say(view, code(() => fs.writeSync(fs.openSync(q + view, O_RDWR), 'x')));
  say('unknown:', code(() => fs.openSync(`${q}:x`, 'w')), code(() => fs.openSync(`${q}:x`, 'r')), fs.existsSync(`${q}:x`), fs.existsSync(`${q}:7`));
  say('another:', code(() => fs.openSync(`${q}x:7`, O_RDONLY)), code(() => fs.openSync(`${q}:7`, O_WRONLY | O_CREAT | O_EXCL)));
  say('view:', code(() => fs.unlinkSync(`${q}:7`)), code(() => fs.renameSync(`${q}:7`, `${q}x`)), code(() => fs.mkdirSync(`${q}x:7`)));
  say('size:', fs.statSync(q).size, fs.statSync(`${q}:7`).isFile(), fs.readdirSync(require('path').dirname(q)).includes(`${require('path').basename(q)}:7`));
  fs.unlinkSync(q);
  say('removed:', code(() => fs.readSync(fd, b)), code(() => fs.writeSync(fd, 'x')), code(() => fs.writeFileSync(`${q}y`, b)), fs.readFileSync(`${q}y:peek`).length);
  fs.unlinkSync(`${q}y`);
}

// A stream of writes is a message for each write that was waited for; what is written meanwhile Node puts into one. Through lines it does not matter.
async function writing(q) {
  const out = fs.createWriteStream(`${q}:7`);
  const write = (s, data) => new Promise((resolve, reject) => s.write(data, (e) => (e ? reject(e) : resolve())));
  await write(out, 'one');
  await write(out, 'two');
  await write(out, Buffer.alloc(8192));
  say(take(q), take(q), take(q).length, take(q));
  out.end('last');
  await finished(out);
  say(take(q));
  const failing = fs.createWriteStream(q);
  failing.write(Buffer.alloc(8193));
  say((await once(failing, 'error'))[0].code, take(q));

  const lines = fs.createWriteStream(`${q}:lines`);
  for (let i = 0; i < 5000; i++) lines.write(`line ${i}\n`);
  lines.end('the end');
  const input = fs.createReadStream(`${q}:lines`);
  const end = ended(input);
  let n = 0;
  const rl = readline.createInterface({ input });
  rl.on('line', (line) => {
    if (line === `line ${n}`) n++;
    if (n === 5000) fs.unlinkSync(q);
  });
  rl.on('error', () => {}); // it repeats that of the stream
  await finished(lines);
  say(await end, n, 'lines');
}

// Pipelines from queue to queue: each message is transformed, and sent by type.
async function through(q) {
  const out = `${q}.out`;
  fs.closeSync(fs.openSync(out, 'a'));
  const double = new Transform({ transform: (d, _, done) => done(null, String(2 * d)) });
  const line = pipeline(fs.createReadStream(`${q}:1`), double, fs.createWriteStream(`${out}:2`)).catch((e) => (e.errno === -43 ? 'EIDRM' : e.stack));
  const b = Buffer.alloc(100);
  const results = fs.openSync(`${out}:2`, 'r');
  for (let i = 0; i < 100; i++) {
    send(`${q}:1`, String(i));
    const n = await new Promise((resolve, reject) => fs.read(results, b, 0, 100, null, (e, n) => (e ? reject(e) : resolve(n))));
    expect(b.subarray(0, n), 2 * i);
  }
  fs.unlinkSync(q);
  say(await line);
  fs.unlinkSync(out);
}

async function peek(q) {
  fs.writeFileSync(`${q}:raw`, pack(3, 'zwöi\n'));
  fs.writeFileSync(`${q}:raw`, pack(5, ''));
  const look = async (view) => (await fs.promises.readFile(q + view, 'utf8')).replaceAll(`pid=${process.pid} `, '');
  say((await look(':peek')).trimEnd());
  say((await look(':-4:peek')).trimEnd());
  let n = 0;
  for await (const chunk of fs.createReadStream(`${q}:peek`, { highWaterMark: 7 })) n += chunk.length;
  say(n === fs.readFileSync(`${q}:peek`).length, take(`${q}:9`), String(take(`${q}:raw`).subarray(8)).length, take(q).length);
}

run({ chunks, callbacks, errors, writing, through, peek });
