// What the Node clients share. A client does not know where its pipes are: it opens the paths it is given, and prints what it saw.
'use strict';

const fs = require('fs');

// Linux has other numbers for them on each machine, and Node no names.
const calls = {
  x64: { read: [0], write: [1, 20], open: [257, 2] },
  arm64: { read: [63], write: [64, 66], open: [56] },
}[process.arch];

// untilBlocked waits until a thread of this process, or a child, sleeps in a call. What Node does with files it does in threads of its own.
async function untilBlocked(call, fd, pid = process.pid) {
  for (;;) {
    for (const tid of fs.readdirSync(`/proc/${pid}/task`)) {
      let words = [];
      try {
        words = fs.readFileSync(`/proc/${pid}/task/${tid}/syscall`, 'latin1').split(' ');
      } catch {
        // The thread has ended.
      }
      if (words.length > 1 && calls[call].includes(Number(words[0])) && (fd === undefined || Number(words[1]) === fd)) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

// openBoth opens both ends, blocking, from one thread.
function openBoth(path) {
  const extra = fs.openSync(path, fs.constants.O_RDWR);
  const both = { rd: fs.openSync(path, 'r'), wr: fs.openSync(path, 'w') };
  fs.closeSync(extra);
  return both;
}

// fill makes the pipe full and returns with how many bytes.
function fill(path) {
  const fd = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  let sum = 0;
  try {
    for (;;) sum += fs.writeSync(fd, Buffer.alloc(4096));
  } catch (e) {
    if (e.code !== 'EAGAIN') throw e;
  }
  fs.closeSync(fd);
  return sum;
}

function say(...words) {
  fs.writeSync(1, words.join(' ') + '\n');
}

function run(scenarios) {
  const [name, ...pipes] = process.argv.slice(2);
  scenarios[name](...pipes).catch((e) => {
    fs.writeSync(2, `${e.stack}\n`);
    process.exit(1);
  });
}

module.exports = { fill, openBoth, run, say, untilBlocked };
