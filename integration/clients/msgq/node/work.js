// work.js SCENARIO QUEUE: workers, priorities, request and reply, between processes of Node's.
'use strict';

const fs = require('fs');
const { once } = require('events');
const { fork } = require('child_process');
const { promisify } = require('util');
const { code, ended, expect, pack, run, say, send, take, unpack } = require('./shared.js');

const read = promisify(fs.read);

// receive waits for a message of an open view.
async function receive(fd) {
  const { bytesRead, buffer } = await read(fd, Buffer.alloc(8200), 0, 8200, null);
  return buffer.subarray(0, bytesRead);
}

function start(role, q) {
  const p = fork(__filename, [role, q]);
  return { end: once(p, 'exit').then(([status]) => expect(status, 0)) };
}

// Workers take the lowest type first, and end on the highest; they report by a type of their own.
async function jobs(q) {
  const n = 600;
  const workers = [1, 2, 3].map(() => start('worker', q));
  const results = fs.openSync(`${q}:99`, 'r');
  const done = new Set();
  const sending = (async () => {
    const raw = await fs.promises.open(`${q}:raw`, 'w');
    for (let i = 0; i < n; i++) await raw.write(pack(1 + (i % 3), String(i)));
    await raw.close();
  })();
  for (let i = 0; i < n; i++) {
    const job = String(await receive(results));
    expect(done.has(job), false);
    done.add(job);
  }
  await sending;
  for (const _ of workers) send(`${q}:9`, 'end');
  for (const w of workers) await w.end;
  fs.closeSync(results);
  say(done.size, 'jobs, each done once');
}

async function worker(q) {
  const jobs = fs.openSync(`${q}:-9:raw`, 'r');
  for (;;) {
    const { type, text } = unpack(await receive(jobs));
    if (type === 9n) return;
    await fs.promises.writeFile(`${q}:99`, text);
  }
}

async function priorities(q) {
  const types = [5, 1, 3, 5, 1, 7, (1n << 63n) - 1n];
  types.forEach((t, i) => send(`${q}:raw`, pack(t, String(i))));
  const got = [];
  for (let m; (m = take(`${q}:-5:raw`)); ) got.push(`${unpack(m).type}:${unpack(m).text}`);
  say(got.join(' '));
  say(String(take(`${q}:^7`)), String(take(`${q}:-7`)), take(q));
  // Who waits gets the first that it takes.
  const low = fs.openSync(`${q}:-5:raw`, 'r');
  const waiting = receive(low);
  send(`${q}:6`, 'not this');
  send(`${q}:4`, 'this');
  say(JSON.stringify(unpack(await waiting), (_, v) => (typeof v === 'bigint' ? Number(v) : v)), String(take(q)));
  for (const bad of [pack(0, 'x'), pack(-1, 'x'), pack(1, 'x').subarray(0, 7), pack(1, Buffer.alloc(8193))]) say(code(() => send(`${q}:raw`, bad)));
  say(take(q));
}

// A server and clients that are processes; each client takes what is sent to its own number, and sends again before it has its answer.
async function replies(q) {
  const server = start('serve', q);
  const clients = [1, 2, 3].map(() => start('ask', q));
  for (const c of clients) await c.end;
  fs.unlinkSync(q);
  await server.end;
  say('each got its own replies');
}

async function serve(q) {
  const requests = fs.createReadStream(`${q}:1`);
  const end = ended(requests);
  requests.on('data', (message) => {
    const [pid, n] = String(message).split(' ');
    send(`${q}:${pid}`, String(n * n));
  });
  await end;
}

async function ask(q) {
  const n = 100;
  const mine = fs.openSync(`${q}:${process.pid}`, 'r');
  const answers = new Set();
  const asking = (async () => {
    for (let i = 0; i < n; i++) await fs.promises.writeFile(`${q}:1`, `${process.pid} ${i}`);
  })();
  for (let i = 0; i < n; i++) answers.add(Number(await receive(mine)));
  await asking;
  for (let i = 0; i < n; i++) expect(answers.has(i * i), true);
}

// Each write of raw is struct msgbuf, of any type and size.
async function raw(q) {
  const r = fs.openSync(`${q}:raw`, 'r');
  const w = fs.openSync(`${q}:raw`, 'w');
  for (const type of [1n, 255n, 256n, 1n << 31n, 1n << 32n, (1n << 63n) - 1n]) {
    for (const size of [0, 1, 4096, 8192]) {
      const want = pack(type, 'x'.repeat(size));
      expect(fs.writeSync(w, want), size + 8);
      expect((await receive(r)).equals(want), true);
      expect(fs.writevSync(w, [want.subarray(0, 8), want.subarray(8)]), size + 8);
      const [head, text] = [Buffer.alloc(8), Buffer.alloc(8192)];
      expect(fs.readvSync(r, [head, text]), size + 8);
      expect(head.readBigInt64LE(), type);
    }
  }
  say('as they were');
}

run({ jobs, worker, priorities, replies, serve, ask, raw });
