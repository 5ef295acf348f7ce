// What the Node clients of a message queue share. A client is given the path of an empty queue, and leaves it empty, or removed.
'use strict';

const fs = require('fs');
const { run: runScenario, say } = require('../../node/client.js');

const EIDRM = -43; // Node has no name for it

const { O_NONBLOCK, O_RDONLY } = fs.constants;

// pack is struct msgbuf. (The machines on which this runs are little-endian.)
function pack(type, text) {
  const head = Buffer.alloc(8);
  head.writeBigInt64LE(BigInt(type));
  return Buffer.concat([head, Buffer.from(text)]);
}

function unpack(message) {
  return { type: message.readBigInt64LE(), text: String(message.subarray(8)) };
}

// send sends one message through a view.
function send(path, data) {
  fs.writeFileSync(path, data);
}

// take receives what is there through a view; undefined, if nothing is.
function take(path) {
  const fd = fs.openSync(path, O_RDONLY | O_NONBLOCK);
  try {
    const b = Buffer.alloc(8200);
    return b.subarray(0, fs.readSync(fd, b));
  } catch (e) {
    if (e.code !== 'EAGAIN') throw e;
  } finally {
    fs.closeSync(fd);
  }
}

// code is the name of the error of a call.
function code(f) {
  try {
    return `no error: ${f()}`;
  } catch (e) {
    return e.errno === EIDRM ? 'EIDRM' : e.code;
  }
}

// ended is a promise that a stream ends with its queue, as it only can.
function ended(stream) {
  return new Promise((resolve, reject) => {
    stream.on('error', (e) => (e.errno === EIDRM ? resolve('EIDRM') : reject(e)));
    stream.on('end', () => reject(new Error('a queue has no end')));
  });
}

function expect(got, want) {
  if (String(got) !== String(want)) throw new Error(`${got}, not ${want}`);
}

// run runs the scenario that the first argument names.
function run(scenarios) {
  runScenario(scenarios);
}

module.exports = { code, ended, expect, pack, run, say, send, take, unpack };
