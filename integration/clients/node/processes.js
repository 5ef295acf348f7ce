// processes.js SCENARIO PIPE...: programs whose stdin or stdout is the pipe, Node among them.
'use strict';

const fs = require('fs');
const { once } = require('events');
const { spawn } = require('child_process');
const { openBoth, run, say, untilBlocked } = require('./client.js');

async function cat(a, b) {
  const to = openBoth(a);
  const from = openBoth(b);
  const p = spawn('cat', [], { stdio: [to.rd, from.wr, 'inherit'] });
  fs.closeSync(to.rd);
  fs.closeSync(from.wr);
  await untilBlocked('read', 0, p.pid);
  fs.writeSync(to.wr, 'through cat');
  const buf = Buffer.alloc(100);
  say(buf.subarray(0, fs.readSync(from.rd, buf)));
  fs.closeSync(to.wr);
  say('exit:', (await once(p, 'close'))[0]);
  say('end:', fs.readSync(from.rd, buf));
}

// process.stdin and process.stdout of another Node.
async function node(a, b) {
  const to = openBoth(a);
  const from = openBoth(b);
  const code = "process.stdin.on('data', (d) => process.stdout.write('got ' + d)).on('end', () => process.stdout.write('end'))";
  const p = spawn(process.execPath, ['-e', code], { stdio: [to.rd, from.wr, 'inherit'] });
  fs.closeSync(to.rd);
  fs.closeSync(from.wr);
  const buf = Buffer.alloc(100);
  for (const word of ['one', 'two', 'three']) {
    fs.writeSync(to.wr, word);
    say(buf.subarray(0, fs.readSync(from.rd, buf)));
  }
  fs.closeSync(to.wr);
  say(buf.subarray(0, fs.readSync(from.rd, buf)));
  say('exit:', (await once(p, 'close'))[0]);
}

// A program that writes 1 MiB, read as a stream.
async function output(path) {
  const { rd, wr } = openBoth(path);
  const p = spawn('head', ['-c', '1048576', '/dev/zero'], { stdio: ['ignore', wr, 'inherit'] });
  fs.closeSync(wr);
  let n = 0;
  for await (const chunk of fs.createReadStream(null, { fd: rd })) n += chunk.length;
  say(n, 'exit:', p.exitCode ?? (await once(p, 'close'))[0]);
}

run({ cat, node, output });
