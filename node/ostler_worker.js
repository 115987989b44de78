'use strict';
// The Ostler worker for JavaScript: runs code of a host, as PROTOCOL.md says. Node 18 or newer, no packages.
//
// Two threads. The main one runs code, and nothing of the protocol: whatever code does to its own world, the host is
// still answered. The other one (`channel`, below) owns the protocol. It reads frames, sends all that is sent, answers
// while code runs, and stops code: politely by a message, which code that awaits something leaves time for, and else by
// ending the JavaScript that runs (`Runtime.terminateExecution`), which may hit any of it, also ours. So the main thread
// does nothing that must not be cut short, and what it owes is found out by a question that is asked until it is answered.
//
// Started as: node --no-force-async-hooks-checks -e SOURCE. Without that option a timer that is cut short ends the process.

// All of it in a block: what stands at the top of a source given with -e, code could see.
{

// Code may put its own in the place of any of these, or take them away: we go on with those that were there.
const { process, Array, Atomics, BigInt, Buffer, Error, Int32Array, Map, MessageChannel, Number, Object, Promise, Set,
  SharedArrayBuffer, String, TypeError, Uint8Array, setImmediate, setTimeout } = globalThis;
const fs = require('node:fs');
const inspector = require('node:inspector');
const { Module, createRequire } = require('node:module');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { Writable } = require('node:stream');
const { pathToFileURL } = require('node:url');
const util = require('node:util');
const vm = require('node:vm');
const { Worker, receiveMessageOnPort } = require('node:worker_threads');

const NOT_UNDERSTOOD = 64; // the exit code of a worker that cannot speak what it was told to
const WINDOW = 1 << 20; // bytes of output on their way to the other thread; beyond them code that prints waits
const PIECE = 256 << 10; // bytes of output in one frame
const VALUE_MAX = 64 << 10; // a value that takes more is told by its `repr` alone
const REPR_MAX = 4096; // characters, unless the host says otherwise
const FRAMES_MAX = 100; // calls of one traceback, unless the host says otherwise
const DEPTH_MAX = 62; // levels of a value: it is part of a message, which may have 64
const CAUSES_MAX = 8; // errors behind an error
const ERRORS_MAX = 50; // and all of them together
const MESSAGE_MAX = 16 << 10; // characters of what one of them says

// What both threads see: bytes of output on their way, the number of the last answered question, and a place that
// never changes, to wait at.
const PENDING = 0, ANSWERED = 1, EXITED = 2, RUNS = 3;

// ---------------------------------------------------------------------------------------------------------------
// The other thread. It is started from its own source, and knows nothing of what is outside this function.
// ---------------------------------------------------------------------------------------------------------------

function channel() {
  const fs = require('node:fs');
  const inspector = require('node:inspector');
  const net = require('node:net');
  const { performance } = require('node:perf_hooks');
  const { parentPort, workerData } = require('node:worker_threads');
  const { answers, codec, incoming, outgoing, shared } = workerData;

  const PROTOCOL = 1, FRAME_MAX = 64 << 20, DEPTH_MAX = 64, LINE_MAX = 256;
  const POLITE_MS = 5; // that long code may take to see that it is asked to stop
  const AGAIN_MS = 20; // then it is made to, and again
  const PENDING = 0, ANSWERED = 1, RUNS = 3;

  // -- Values and frames. A map of the user's is a Map, a map of the protocol an object.

  class Malformed extends Error {}
  const text = new TextDecoder('utf-8', { fatal: true });
  // Half of a pair of surrogates has no place in UTF-8.
  const sound = (value) => (/[\ud800-\udfff]/.test(value) ? Buffer.from(value).toString() : value);

  function pack(value, out, depth) {
    if (depth > DEPTH_MAX) throw new Malformed('nested too deep');
    const head = (size, ...bytes) => {
      const head = Buffer.alloc(1 + size);
      head[0] = bytes[0];
      if (size === 1) head.writeUInt8(bytes[1], 1);
      if (size === 2) head.writeUInt16BE(bytes[1], 1);
      if (size === 4) head.writeUInt32BE(bytes[1], 1);
      out.push(head);
    };
    const sized = (len, fix, fixMax, c8, c16, c32) => {
      if (len <= fixMax) head(0, fix | len);
      else if (c8 && len < 256) head(1, c8, len);
      else if (len < 65536) head(2, c16, len);
      else head(4, c32, len);
    };
    if (value === null || value === undefined) head(0, 0xc0);
    else if (value === true || value === false) head(0, value ? 0xc3 : 0xc2);
    else if (typeof value === 'bigint') {
      const wide = Buffer.alloc(9);
      if (value < 0n) { wide[0] = 0xd3; wide.writeBigInt64BE(value, 1); }
      else { wide[0] = 0xcf; wide.writeBigUInt64BE(value, 1); }
      out.push(wide);
    } else if (typeof value === 'number') {
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
        if (value >= 0 && value < 128) head(0, value);
        else if (value < 0 && value >= -32) head(0, 0x100 + value);
        else if (value >= 0 && value < 2 ** 32) head(4, 0xce, value);
        else return pack(BigInt(value), out, depth);
      } else {
        const double = Buffer.alloc(9);
        double[0] = 0xcb;
        double.writeDoubleBE(value, 1);
        out.push(double);
      }
    } else if (typeof value === 'string') {
      const bytes = Buffer.from(value);
      sized(bytes.length, 0xa0, 31, 0xd9, 0xda, 0xdb);
      out.push(bytes);
    } else if (value instanceof Uint8Array) {
      sized(value.length, 0, -1, 0xc4, 0xc5, 0xc6);
      out.push(value);
    } else if (Array.isArray(value)) {
      sized(value.length, 0x90, 15, 0, 0xdc, 0xdd);
      for (const item of value) pack(item, out, depth + 1);
    } else {
      const entries = value instanceof Map ? [...value] : Object.entries(value).filter(([, item]) => item !== undefined);
      sized(entries.length, 0x80, 15, 0, 0xde, 0xdf);
      for (const [key, item] of entries) { pack(key, out, depth + 1); pack(item, out, depth + 1); }
    }
  }

  // Reads a map as an object if all its keys are text, so that fields can be named; `__proto__` is a name like others.
  function unpack(buffer) {
    let at = 0;
    const take = (len) => {
      if (at + len > buffer.length) throw new Malformed(`ends at byte ${buffer.length}, inside a value`);
      at += len;
      return buffer.subarray(at - len, at);
    };
    const str = (len) => {
      try { return text.decode(take(len)); } catch (error) {
        throw error instanceof Malformed ? error : new Malformed('text that is not UTF-8');
      }
    };
    const number = (wide) => (wide >= -(2n ** 53n) && wide <= 2n ** 53n ? Number(wide) : wide);
    const list = (len, depth) => Array.from({ length: bounded(len) }, () => value(depth + 1));
    const bounded = (len) => {
      if (len > buffer.length - at) throw new Malformed('announces more than there is');
      return len;
    };
    const map = (len, depth) => {
      const entries = Array.from({ length: bounded(len) }, () => [value(depth + 1), value(depth + 1)]);
      return entries.every(([key]) => typeof key === 'string')
        ? Object.assign(Object.create(null), Object.fromEntries(entries)) : new Map(entries);
    };
    const value = (depth) => {
      if (depth > DEPTH_MAX) throw new Malformed('nested too deep');
      const byte = take(1)[0];
      if (byte < 0x80) return byte;
      if (byte < 0x90) return map(byte & 15, depth);
      if (byte < 0xa0) return list(byte & 15, depth);
      if (byte < 0xc0) return str(byte & 31);
      if (byte >= 0xe0) return byte - 256;
      switch (byte) {
        case 0xc0: return null;
        case 0xc2: return false;
        case 0xc3: return true;
        case 0xc4: return take(take(1)[0]);
        case 0xc5: return take(take(2).readUInt16BE());
        case 0xc6: return take(take(4).readUInt32BE());
        case 0xca: return take(4).readFloatBE();
        case 0xcb: return take(8).readDoubleBE();
        case 0xcc: return take(1)[0];
        case 0xcd: return take(2).readUInt16BE();
        case 0xce: return take(4).readUInt32BE();
        case 0xcf: return number(take(8).readBigUInt64BE());
        case 0xd0: return take(1).readInt8();
        case 0xd1: return take(2).readInt16BE();
        case 0xd2: return take(4).readInt32BE();
        case 0xd3: return number(take(8).readBigInt64BE());
        case 0xd9: return str(take(1)[0]);
        case 0xda: return str(take(2).readUInt16BE());
        case 0xdb: return str(take(4).readUInt32BE());
        case 0xdc: return list(take(2).readUInt16BE(), depth);
        case 0xdd: return list(take(4).readUInt32BE(), depth);
        case 0xde: return map(take(2).readUInt16BE(), depth);
        case 0xdf: return map(take(4).readUInt32BE(), depth);
        default: throw new Malformed(`byte 0x${byte.toString(16)} begins no value`);
      }
    };
    const whole = value(1);
    if (at < buffer.length) throw new Malformed('bytes behind the message');
    return whole;
  }

  // JSON lacks some values: each is an object with one marked key.
  function toJson(value) {
    if (typeof value === 'number' && !Number.isFinite(value)) {
      return `{"$float":"${Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf'}"}`;
    }
    if (typeof value === 'bigint') return value.toString();
    if (value instanceof Uint8Array) return `{"$bytes":"${Buffer.from(value).toString('base64')}"}`;
    if (Object.is(value, -0)) return '-0.0';
    if (Array.isArray(value)) return `[${value.map(toJson).join(',')}]`;
    if (value === null || value === undefined) return 'null';
    if (typeof value !== 'object') return JSON.stringify(typeof value === 'string' ? sound(value) : value);
    const entries = value instanceof Map ? [...value] : Object.entries(value).filter(([, item]) => item !== undefined);
    const plain = entries.every(([key]) => typeof key === 'string' && !key.startsWith('$'));
    if (!plain) return `{"$map":${toJson(entries)}}`;
    return `{${entries.map(([key, item]) => `${JSON.stringify(sound(key))}:${toJson(item)}`).join(',')}}`;
  }

  function fromJson(source) {
    const special = { nan: NaN, inf: Infinity, '-inf': -Infinity };
    let parsed;
    try { parsed = JSON.parse(text.decode(source)); } catch (error) { throw new Malformed(error.message); }
    const convert = (value, depth) => {
      if (depth > DEPTH_MAX) throw new Malformed('nested too deep');
      if (value === null || typeof value !== 'object') return value;
      if (Array.isArray(value)) return value.map((item) => convert(item, depth + 1));
      const [mark, more] = Object.keys(value);
      if (mark !== undefined && more === undefined) {
        const held = value[mark];
        if (mark === '$bytes' && typeof held === 'string') return Buffer.from(held, 'base64');
        if (mark === '$float' && held in special) return special[held];
        if (mark === '$map' && Array.isArray(held) && held.every((pair) => Array.isArray(pair) && pair.length === 2)) {
          return new Map(held.map(([key, item]) => [convert(key, depth + 1), convert(item, depth + 1)]));
        }
      }
      const fields = Object.create(null);
      for (const [key, item] of Object.entries(value)) fields[key] = convert(item, depth + 1);
      return fields;
    };
    return convert(parsed, 1);
  }

  function encoded(message) {
    const parts = [];
    if (codec === 'json') parts.push(Buffer.from(toJson(message)));
    else pack(message, parts, 1);
    return Buffer.concat(parts);
  }

  function send(type, fields) {
    let payload = encoded({ type, ...fields });
    if (payload.length > FRAME_MAX) {
      const why = `a message of ${payload.length} bytes was left out, since a frame takes ${FRAME_MAX}`;
      const exception = { type: 'ValueTooLarge', message: why };
      // An execution has its end, whatever it was to say.
      payload = encoded(type === 'result' || type === 'error'
        ? { type: 'error', id: fields.id, execution_time: fields.execution_time, kind: 'exception', exception }
        : { type: 'log', level: 'error', message: why });
    }
    const frame = Buffer.allocUnsafe(4 + payload.length);
    frame.writeUInt32BE(payload.length);
    payload.copy(frame, 4);
    try {
      for (let at = 0; at < frame.length;) at += fs.writeSync(outgoing, frame, at);
    } catch {
      die();
    }
  }

  // The host is gone: so are this process and its group.
  function die() {
    for (const target of [-process.pid, process.pid]) {
      try { process.kill(target, 'SIGKILL'); } catch { /* it leads no group */ }
    }
  }

  function giveUp(what, versions) {
    send('protocol_error', { what, ...versions });
    leave(64);
  }

  // -- Executions: one runs, others wait.

  const line = []; // requests that wait; the first one runs
  let running = null; // {id, begun, cpu, seq, stop, made, exit}
  let last = { at: performance.now(), cpu: process.cpuUsage() };
  let leaving = null;
  let asking = 0; // the number of the last question whether the main thread is there
  let tainted = false;
  const main = new inspector.Session();
  main.connectToMainThread();

  function next() {
    if (running || leaving !== null) return;
    const request = line.shift();
    if (!request) return;
    running = { id: request.id, begun: performance.now(), cpu: process.cpuUsage(), seq: 0, stop: null, seen: false, made: false, exit: null };
    send('started', { id: request.id });
    if (request.cancelled) {
      running.stop = 'cancelled';
      return ended({ stopped: true });
    }
    const wrong = wrongIn(request);
    if (wrong) return ended({ kind: 'request', exception: { type: 'ProtocolError', message: wrong } });
    parentPort.postMessage({ do: 'run', request });
  }

  function wrongIn(request) {
    const isText = (value) => typeof value === 'string';
    const texts = (value) => Array.isArray(value) && value.every(isText);
    const checks = { code: [isText, 'str'], filename: [isText, 'str'], cwd: [isText, 'str'], argv: [texts, '[str]'],
      sys_path: [texts, '[str]'] };
    if (request.code === undefined || request.code === null) return '`code` is missing';
    for (const [field, [holds, expected]] of Object.entries(checks)) {
      const value = request[field];
      if (value !== undefined && value !== null && !holds(value)) {
        return `\`${field}\` must be ${expected}, not ${Array.isArray(value) ? 'a list' : typeof value}`;
      }
    }
    return null;
  }

  // The end of what runs: once, whatever is heard of it later.
  function ended(end) {
    const { id, begun, cpu, stop, made, exit } = running;
    const used = process.cpuUsage(cpu);
    tainted ||= made && !exit;
    if (exit) end = exit;
    const fields = { id, execution_time: (performance.now() - begun) / 1000, ...figures(used) };
    if (tainted) fields.tainted = true;
    if (end.stopped) {
      const cancelled = stop !== 'interrupted';
      const exception = { type: cancelled ? 'Cancelled' : 'Interrupted', message: '' };
      send('error', { ...fields, kind: cancelled ? 'cancelled' : 'exception', exception });
    } else if (end.kind) {
      send('error', { ...fields, kind: end.kind, exception: end.exception, exit_code: end.exitCode });
    } else {
      send('result', { ...fields, value: end.value, repr: end.repr });
    }
    running = null;
    if (!made) return settled();
    // What was to end the code may still be on its way, and would end what comes next.
    running = { id: null };
    ask();
  }

  function figures(used) {
    return { cpu_time: (used.user + used.system) / 1e6, memory_usage: process.memoryUsage.rss(), namespace_size: 0 };
  }

  // Asks until it is answered: the question, too, may be cut short.
  function ask() {
    const number = ++asking;
    parentPort.postMessage({ do: 'answer', number });
    const again = setInterval(() => {
      if (asking === number) parentPort.postMessage({ do: 'answer', number });
      else clearInterval(again);
    }, AGAIN_MS);
  }

  function settled() {
    if (running && running.id === null) running = null;
    if (leaving !== null && !running) return leave(leaving);
    next();
  }

  function stop(how, force) {
    running.stop = running.stop === 'cancelled' ? 'cancelled' : how;
    const { id } = running;
    parentPort.postMessage({ do: 'stop', id });
    if (force && running.seen) return make(id);
    setTimeout(() => make(id), POLITE_MS);
  }

  // Ends the JavaScript that runs, if it is still that of this execution.
  function make(id) {
    if (!running || running.id !== id || running.made) return;
    // Not before the code has run for a moment: what ends the preparations for it may be lost with them, and a second one
    // would be refused.
    const runs = Atomics.load(shared, RUNS) === 1, seen = running.seen;
    running.seen = runs;
    if (!runs || !seen) return void setTimeout(() => make(id), POLITE_MS);
    running.made = true;
    // Where no JavaScript runs at this moment, it is the next that ends, and the answer to this may be lost with it. A
    // second one is then done at once, or refused because the first is still under way: either says how it stands.
    let answered = false;
    const end = () => main.post('Runtime.terminateExecution', () => {
      if (answered) return;
      answered = true;
      clearInterval(again);
      if (running && running.id === id) ask();
    });
    const again = setInterval(end, AGAIN_MS);
    end();
  }

  // The main thread waits for its end, which no `catch` of the code may keep from it.
  function exits(code) {
    running.exit = { kind: 'exit', exitCode: code };
    parentPort.postMessage({ do: 'stop', id: running.id });
    make(running.id);
  }

  function leave(code) {
    leaving = code;
    main.disconnect();
    if (code === 0) send('bye');
    parentPort.postMessage({ do: 'exit', code });
    if (code !== 0) setTimeout(die, 1000);
  }

  parentPort.on('message', (told) => {
    const mine = running && running.id === told.id;
    if (told.output) {
      if (mine) {
        send('output', { id: told.id, stream: told.stream, seq: running.seq++, data: told.output });
      } else {
        fs.writeSync(2, told.output);
      }
      Atomics.sub(shared, PENDING, told.output.length);
      Atomics.notify(shared, PENDING);
    } else if (told.display) {
      if (mine) send('display', { id: told.id, ...told.display });
    } else if (told.prompt !== undefined) {
      if (mine) send('input_request', { id: told.id, request: told.request, prompt: told.prompt });
    } else if (told.exit !== undefined) {
      if (mine && running.stop === null) exits(told.exit);
    } else if (told.answered) {
      if (told.answered !== asking) return;
      asking++;
      if (running && running.id !== null && running.made) ended({ stopped: true });
      else settled();
    } else if (told.reply) {
      send(told.reply, told.fields);
      busy = false;
      questions();
    } else if (mine) {
      ended(told);
    }
  });

  // -- Questions about the session: one at a time, when nothing runs.

  const waiting = [];
  let busy = false;
  function questions() {
    if (busy || running || line.length > 0 || waiting.length === 0) return;
    busy = true;
    parentPort.postMessage({ do: 'tell', question: waiting.shift() });
  }

  // -- What the host says.

  let settledSession = false;
  const hear = {
    init(message) {
      if (message.protocol !== PROTOCOL) {
        return giveUp('protocol version', { expected: String(PROTOCOL), got: String(message.protocol) });
      }
      settledSession = true;
      parentPort.postMessage({ do: 'init', message });
    },
    execute(message) {
      if (typeof message.id !== 'string') return send('protocol_error', { what: '`execute` without an `id`' });
      if (line.length >= LINE_MAX) {
        send('started', { id: message.id });
        const exception = { type: 'ProtocolError', message: `${LINE_MAX} requests wait already` };
        return send('error', { id: message.id, execution_time: 0, kind: 'request', exception });
      }
      line.push(message);
      next();
    },
    cancel(message) {
      const queued = line.find((request) => request.id === message.id);
      const hit = Boolean(queued || (running && running.id === message.id && running.id !== null));
      send('cancel_ack', { id: message.id, hit });
      if (queued) queued.cancelled = true;
      else if (hit) stop('cancelled', message.force === true);
    },
    interrupt() {
      if (running && running.id !== null) stop('interrupted', false);
    },
    input_response(message) {
      if (!running || running.id !== message.id) return;
      answers.postMessage({ request: message.request, line: message.eof ? null : message.value ?? null });
      Atomics.add(shared, ANSWERED, 1);
      Atomics.notify(shared, ANSWERED);
    },
    ping(message) {
      const now = { at: performance.now(), cpu: process.cpuUsage() };
      const used = now.cpu.user + now.cpu.system - last.cpu.user - last.cpu.system;
      const passed = (now.at - last.at) * 1000;
      last = now;
      const busy = running && running.id !== null
        ? { running: running.id, elapsed: (now.at - running.begun) / 1000 } : {};
      send('heartbeat', { memory_usage: process.memoryUsage.rss(), cpu_percent: passed > 0 ? 100 * used / passed : 0,
        namespace_size: 0, seq: message.seq, ...busy });
    },
    vars: question,
    complete: question,
    shutdown() {
      leaving = 0;
      line.length = 0;
      if (running && running.id !== null) stop('cancelled', false);
      else if (!running) leave(0);
    },
    protocol_error(message) {
      fs.writeSync(2, `the host complains: ${message.what}\n`);
    },
  };

  function question(message) {
    if (typeof message.id !== 'string') return send('protocol_error', { what: `\`${message.type}\` without an \`id\`` });
    waiting.push(message);
    questions();
  }

  function take(payload) {
    let message;
    try {
      message = codec === 'json' ? fromJson(payload) : unpack(payload);
      if (message === null || typeof message !== 'object' || typeof message.type !== 'string') {
        throw new Malformed('not a map with a `type`');
      }
    } catch (error) {
      return giveUp(`malformed payload: ${error.message}`);
    }
    const known = Object.hasOwn(hear, message.type) && (settledSession || message.type === 'init');
    if (known) return hear[message.type](message);
    const id = typeof message.id === 'string' ? message.id : undefined;
    send('protocol_error', { what: `unknown type \`${message.type.slice(0, 64)}\``, id });
  }

  let chunks = [], held = 0;
  const pipe = new net.Socket({ fd: incoming, readable: true, writable: false });
  pipe.on('data', (chunk) => {
    chunks.push(chunk);
    held += chunk.length;
    while (leaving === null || leaving === 0) {
      if (held < 4) return;
      if (chunks[0].length < 4) chunks = [Buffer.concat(chunks)];
      const length = chunks[0].readUInt32BE();
      if (length < 1 || length > FRAME_MAX) return giveUp(`frame of ${length} bytes, expected 1 to ${FRAME_MAX}`);
      if (held < 4 + length) return;
      const whole = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
      chunks = whole.length > 4 + length ? [whole.subarray(4 + length)] : [];
      held -= 4 + length;
      take(whole.subarray(4, 4 + length));
    }
  });
  pipe.on('end', die);
  pipe.on('error', die);
  send('ready', { protocol: PROTOCOL, codec, ...workerData.ready });
}

// ---------------------------------------------------------------------------------------------------------------
// The main thread: code
// ---------------------------------------------------------------------------------------------------------------

// Raised by process.exit, which ends the code and not the worker.
class Exit extends Error {
  constructor(code) {
    super(`process.exit(${code})`);
    this.name = 'Exit';
    this.code = code;
  }
}

// How what the inspector found is handed over: a global function that no code meets by chance.
const KEEP = '(ostler)';
let other; // the other thread
let shared;
let answers;
let current = null; // {id, allowInput, abandon}
let asked = 0;
let count = 0;
let limits = {};
let kept; // the value that the inspector was asked for
let mainContext = null;
let contextMade = null;
const evaluator = new inspector.Session();

function emit(stream, data) {
  const bytes = typeof data === 'string' ? Buffer.from(data) : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (current === null) {
    // Nobody's: it goes to the log of the worker.
    try { fs.writeSync(2, bytes); } catch { /* nobody reads it */ }
    return;
  }
  for (let at = 0; at < bytes.length; at += PIECE) {
    const output = new Uint8Array(bytes.subarray(at, at + PIECE));
    for (let pending; (pending = Atomics.load(shared, PENDING)) > WINDOW;) Atomics.wait(shared, PENDING, pending, 1000);
    Atomics.add(shared, PENDING, output.length);
    other.postMessage({ id: current.id, stream, output });
  }
}

function outlet(stream, fd) {
  const write = (chunk, encoding, done) => {
    emit(stream, typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk);
    done();
  };
  // As those of Node, it goes on after an end: another execution prints there.
  const destroy = function (error, done) {
    done(error);
    this._undestroy();
  };
  const made = new Writable({ decodeStrings: false, write, destroy });
  return Object.assign(made, { fd, isTTY: false });
}

// Asks whoever sits at the host, and waits. The end of the input is null.
function prompt(text = '') {
  if (current === null || !current.allowInput) return null;
  const request = ++asked;
  while (receiveMessageOnPort(answers)); // answers to earlier questions
  let seen = Atomics.load(shared, ANSWERED);
  other.postMessage({ id: current.id, prompt: String(text), request });
  for (;;) {
    const answer = receiveMessageOnPort(answers);
    if (answer && answer.message.request === request) return answer.message.line;
    if (!answer) Atomics.wait(shared, ANSWERED, seen);
    seen = Atomics.load(shared, ANSWERED);
  }
}

// Shows a value in one or more formats, by MIME type.
function display(data) {
  if (current !== null) other.postMessage({ id: current.id, display: { data: new Map(Object.entries(data)) } });
}

// What the protocol has for a value; throws where it has nothing.
function wire(value, budget, depth = 1) {
  if (depth > DEPTH_MAX) throw new TypeError('nested too deep');
  const spend = (bytes) => {
    if ((budget.left -= bytes + 1) < 0) throw new TypeError('too large');
  };
  spend(0);
  switch (typeof value) {
    case 'undefined': return null;
    case 'boolean': return value;
    case 'number': spend(8); return value;
    case 'bigint':
      spend(8);
      if (value < -(2n ** 63n) || value >= 2n ** 64n) throw new TypeError('too large');
      return value;
    case 'string': spend(value.length); return value;
    case 'object': break;
    default: throw new TypeError(`no value of the protocol: ${typeof value}`);
  }
  if (value === null) return null;
  if (util.types.isUint8Array(value)) { spend(value.length); return new Uint8Array(value); }
  if (Array.isArray(value)) {
    // Places where nothing is count, too: there may be billions of them.
    if (value.length > budget.left) throw new TypeError('too large');
    return Array.from({ length: value.length }, (_, at) => wire(value[at], budget, depth + 1));
  }
  const pair = ([key, item]) => [wire(key, budget, depth + 1), wire(item, budget, depth + 1)];
  if (util.types.isMap(value)) return new Map([...value].map(pair));
  const parent = Object.getPrototypeOf(value);
  if (parent !== null && Object.getPrototypeOf(parent) !== null) throw new TypeError('an object of a class');
  if (util.types.isProxy(value) || parent !== null && parent.constructor?.name !== 'Object') {
    throw new TypeError('no plain object');
  }
  return new Map(Object.entries(value).map(pair));
}

// The way back: maps with text as keys are objects.
function unwire(value) {
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(unwire);
  if (value instanceof Map) return new Map([...value].map((pair) => pair.map(unwire)));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unwire(item)]));
}

function shown(value) {
  const text = util.inspect(value, { depth: 4, maxArrayLength: 100, maxStringLength: 10000 });
  const most = limits.max_repr ?? REPR_MAX;
  return text.length > most ? `${text.slice(0, most)}...` : text;
}

// -- Errors

const CALL = /^\s+at (?:async )?(?:(.*?) \()?(.*?):(\d+):(\d+)\)?$/;
const LINE_LEN_MAX = 8 << 10;
// What is below this is ours.
const OURS = /node:(inspector|internal|vm)|evalmachine|\[eval/;

function calls(error) {
  const frames = [];
  for (const line of String(error.stack ?? '').split('\n')) {
    const call = line.length < LINE_LEN_MAX && CALL.exec(line);
    if (!call) continue;
    if (OURS.test(call[2])) {
      if (/node:inspector|\[eval/.test(call[2])) break;
      continue;
    }
    frames.push({ file: call[2], line: Number(call[3]), name: call[1] || '<anonymous>', col: Number(call[4]) - 1 });
  }
  return frames.reverse().slice(-(limits.max_frames ?? FRAMES_MAX));
}

function described(error, depth = 0, budget = { left: ERRORS_MAX }) {
  budget.left -= 1;
  if (error === null || typeof error !== 'object' || !('message' in error)) {
    return { type: 'Error', message: `thrown: ${shown(error)}`, text: `Uncaught ${shown(error)}` };
  }
  const type = clipped(error.name ?? error.constructor?.name ?? 'Error', 200);
  const exception = { type, message: clipped(error.message, MESSAGE_MAX), frames: calls(error) };
  const goesOn = () => depth < CAUSES_MAX && budget.left > 0;
  if (goesOn() && error.cause !== undefined) exception.cause = described(error.cause, depth + 1, budget);
  if (goesOn() && Array.isArray(error.errors)) {
    exception.exceptions = [];
    for (const each of error.errors.slice(0, 20)) if (goesOn()) exception.exceptions.push(described(each, depth + 1, budget));
  }
  const head = exception.message ? `${type}: ${exception.message}` : type;
  const trace = [...exception.frames].reverse().map((call) => `    at ${call.name} (${call.file}:${call.line}:${call.col + 1})`);
  const because = exception.cause ? `\n  [cause] ${exception.cause.text.replaceAll('\n', '\n  ')}` : '';
  exception.text = [head, ...trace].join('\n') + because;
  return exception;
}

function clipped(value, most) {
  const text = String(value);
  return text.length > most ? `${text.slice(0, most)}...` : text;
}

// The error may have been made to hide what is known of it, and the world to fail at everything.
function safelyDescribed(error) {
  try { return described(error); } catch { return { type: 'Error', message: 'an error that cannot be shown' }; }
}

function wrongSyntax(error, name, code, details) {
  const line = details.lineNumber + 1, col = details.columnNumber;
  const source = clipped(code.split('\n')[details.lineNumber] ?? '', MESSAGE_MAX);
  const text = `${name}:${line}\n${source}\n${' '.repeat(Math.max(col, 0))}^\nSyntaxError: ${error.message}`;
  return { type: 'SyntaxError', message: error.message, text, frames: [{ file: name, line, name: '', col, text: source }] };
}

// The place stands in front of the stack: file and line, the text of the line, and an arrow below it.
function wrongFile(error) {
  const end = `SyntaxError: ${error.message}`;
  const stack = String(error.stack), at = stack.indexOf(end);
  const [, file, line] = /^(.*):(\d+)\n/.exec(stack) ?? [];
  const frames = file ? [{ file, line: Number(line), name: '' }] : [];
  const text = at < 0 ? end : stack.slice(0, at + end.length).replace('\n\n', '\n');
  return { type: 'SyntaxError', message: error.message, text, frames };
}

// -- Running

function post(method, parameters) {
  return new Promise((resolve) => evaluator.post(method, parameters, (error, result) => resolve({ error, result })));
}

// A namespace of its own, with what Node offers beyond the language.
async function freshContext() {
  const sandbox = {};
  for (const name of offered) Object.defineProperty(sandbox, name, Object.getOwnPropertyDescriptor(globalThis, name));
  const made = new Promise((resolve) => { contextMade = resolve; });
  const context = vm.createContext(sandbox);
  sandbox.global = context;
  const id = await made;
  Object.defineProperty(sandbox, KEEP, { value: (value) => { kept = value; }, enumerable: false });
  return { id, names: sandbox };
}
let offered; // the names that Node has, and the language itself has not

async function valueOf(remote) {
  if (remote.objectId === undefined) {
    if (remote.unserializableValue !== undefined) {
      const text = remote.unserializableValue;
      return text.endsWith('n') ? BigInt(text.slice(0, -1)) : Number(text);
    }
    return remote.subtype === 'null' ? null : remote.value;
  }
  kept = undefined;
  await post('Runtime.callFunctionOn', { objectId: remote.objectId, functionDeclaration: HAND_OVER });
  return kept;
}
const HAND_OVER = `function () { 'use strict'; globalThis['${KEEP}'](this); }`;

// Evaluates as the console of a browser does: names may be declared again, `await` stands anywhere.
async function evaluate(code, name, context) {
  Atomics.store(shared, RUNS, 1);
  const { error, result } = await post('Runtime.evaluate', {
    expression: `${code}\n//# sourceURL=${name.replaceAll(' ', '%20')}`,
    ...(context ? { contextId: context.id } : mainContext ? { contextId: mainContext } : {}),
    replMode: true, awaitPromise: true, objectGroup: 'ostler',
  });
  if (error) return { stopped: true };
  const { exceptionDetails: details } = result;
  const value = await valueOf(details ? details.exception : result.result);
  if (!details) return { value };
  if (value?.name === 'SyntaxError' && calls(value).length === 0 && details.scriptId !== undefined) {
    return { syntax: wrongSyntax(value, name, code, details) };
  }
  return { thrown: value, threw: true };
}

// Runs a file as `node FILE ARGS` would.
async function script(code, file) {
  const mine = current, before = atWork(), known = process.listeners('exit');
  process.exitCode = undefined;
  // The last thing that a program does, however it ends; returns its exit code.
  mine.leave = (exitCode) => {
    mine.leave = null;
    process.exitCode = exitCode;
    const last = process.listeners('exit').filter((listener) => !known.includes(listener));
    for (const listener of last) process.removeListener('exit', listener);
    for (const listener of last) listener.call(process, process.exitCode ?? 0);
    exitCode = Number(process.exitCode ?? 0);
    process.exitCode = undefined;
    return exitCode;
  };
  Atomics.store(shared, RUNS, 1);
  try {
    const resolved = path.resolve(file);
    if (resolved.endsWith('.mjs')) {
      let settled = false;
      const imported = import(`${pathToFileURL(resolved)}?ostler=${++count}`).finally(() => { settled = true; });
      await Promise.race([imported, idle(before)]);
      // Its `await` waits for what cannot come: Node has a code for that.
      if (!settled && current === mine) return { thrown: new Exit(mine.leave(13)), threw: true };
    } else {
      commonJs(code, file, resolved);
    }
    await idle(before);
    if (current !== mine) return { stopped: true }; // it was cancelled long ago
    const exitCode = mine.leave(process.exitCode);
    return exitCode === 0 ? { value: undefined } : { thrown: new Exit(exitCode), threw: true };
  } catch (thrown) {
    if (thrown?.name === 'SyntaxError' && calls(thrown).length === 0) return { syntax: wrongFile(thrown) };
    return { thrown, threw: true };
  } finally {
    if (current === mine) {
      idled = null;
      other.ref();
    }
  }
}

function commonJs(code, file, resolved) {
  const body = code.startsWith('#!') ? `//${code}` : code;
  const parameters = ['exports', 'require', 'module', '__filename', '__dirname'];
  const importModuleDynamically = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  const run = vm.compileFunction(body, parameters, { filename: file, importModuleDynamically });
  const module = new Module(resolved);
  module.filename = resolved;
  module.paths = Module._nodeModulePaths(path.dirname(resolved));
  const require = createRequire(resolved);
  require.main = module;
  run.call(module.exports, module.exports, require, module, resolved, path.dirname(resolved));
}

// Ends the code, and not the worker. What is thrown could be caught, and `catch` is where many programs call this.
function exit(code = process.exitCode ?? 0) {
  if (current === null) throw new Exit(Number(code));
  if (current.leave) code = current.leave(code);
  other.postMessage({ id: current.id, exit: Number(code) });
  for (;;) Atomics.wait(shared, EXITED, 0);
}

// Resolves when nothing of a script is left to do: its timers, servers, requests and threads have ended. Node tells, once
// we no longer keep it going ourselves; but not if earlier code does, then what there is more than before is counted.
function idle(before) {
  if (before.size > 0) {
    return new Promise((resolve) => {
      const look = () => {
        const more = [...atWork()].some(([kind, count]) => count > (before.get(kind) ?? 0));
        if (more) setTimeout(look, 5).unref();
        else resolve();
      };
      setImmediate(look);
    });
  }
  return new Promise((resolve) => {
    idled = () => setImmediate(() => {
      if (atWork().size > 0) return other.unref(); // another has been told first, and has begun something
      idled = null;
      resolve();
    });
    other.unref();
  });
}
let idled = null;

// What Node is at work on, by kind.
function atWork() {
  const found = new Map();
  for (const kind of process.getActiveResourcesInfo()) {
    if (!QUIET.has(kind)) found.set(kind, (found.get(kind) ?? 0) + 1);
  }
  return found;
}
const QUIET = new Set(['MessagePort', 'Immediate', 'PipeWrap', 'TTYWrap', 'SignalWrap']);

function around(request) {
  const before = { cwd: process.cwd(), argv: process.argv, paths: [...Module.globalPaths] };
  if (request.cwd) process.chdir(request.cwd);
  if (request.argv) process.argv = [process.execPath, ...request.argv];
  if (request.sys_path?.length) Module.globalPaths.unshift(...request.sys_path);
  return () => {
    if (!request.fresh) return;
    process.argv = before.argv;
    Module.globalPaths.splice(0, Infinity, ...before.paths);
    try { process.chdir(before.cwd); } catch { /* it was removed */ }
  };
}

async function run(request) {
  const isScript = Array.isArray(request.argv) && request.argv[0] !== '-c';
  const name = request.filename ?? `<exec:${++count}>`;
  const restore = around(request);
  globalThis.require = createRequire(path.join(process.cwd(), '/'));
  const context = request.fresh && !isScript ? await freshContext() : null;
  const names = context ? context.names : globalThis;
  for (const [bound, value] of Object.entries(request.args ?? {})) names[bound] = unwire(value);
  const done = isScript ? await script(request.code, request.argv[0]) : await evaluate(request.code, name, context);
  evaluator.post('Runtime.releaseObjectGroup', { objectGroup: 'ostler' });
  restore();
  return done;
}

function toldOf({ value, thrown, threw, syntax, stopped }, request) {
  if (stopped) return { stopped };
  if (syntax) return { kind: 'syntax', exception: syntax };
  if (thrown instanceof Exit) return { kind: 'exit', exitCode: thrown.code };
  if (threw) return { kind: 'exception', exception: described(thrown) };
  const end = {};
  if (value !== undefined && !request.silent) {
    end.repr = shown(value);
    try { end.value = wire(value, { left: VALUE_MAX }); } catch { /* told by its repr */ }
  }
  return end;
}

async function execute(request) {
  let end;
  Atomics.store(shared, RUNS, 0);
  const abandoned = new Promise((resolve) => {
    current = { id: request.id, allowInput: request.allow_stdin !== false, abandon: resolve };
  });
  const mine = current;
  try {
    end = toldOf(await Promise.race([run(request), abandoned]), request);
  } catch (error) {
    end = { kind: 'exception', exception: safelyDescribed(error) };
  }
  Atomics.store(shared, RUNS, 0);
  if (current === mine) current = null;
  other.postMessage({ id: request.id, ...end });
}

// An error that nothing caught ends the execution, as it would end a program of its own.
function uncaught(error) {
  if (current !== null) current.abandon({ thrown: error, threw: true });
  else emit('stderr', `${described(error).text}\n`);
}

// -- Questions

async function variables(max = 1000) {
  const { result } = await post('Runtime.globalLexicalScopeNames', mainContext ? { executionContextId: mainContext } : {});
  const own = Object.getOwnPropertyNames(globalThis).filter((name) => !born.has(name));
  const names = [...new Set([...(result?.names ?? []), ...own])].slice(0, max);
  const list = [];
  for (const name of names) {
    const { value } = await evaluate(name, '<vars>', null);
    const type = value === null ? 'null' : typeof value === 'object' ? value?.constructor?.name ?? 'Object' : typeof value;
    list.push({ name, type, repr: util.inspect(value, { depth: 1, breakLength: Infinity }).slice(0, 200) });
  }
  return list;
}
let born; // the names that were global before any code

async function completions(code, pos) {
  const before = [...code].slice(0, pos).join('');
  const [, object, start] = /(?:([\w$.\]]+)\.)?([\w$]*)$/.exec(before) ?? [];
  let names;
  if (object) {
    const { result } = await post('Runtime.evaluate', {
      expression: `(() => { const names = []; for (let at = Object(${object}); at; at = Object.getPrototypeOf(at))
        names.push(...Object.getOwnPropertyNames(at)); return names; })()`,
      throwOnSideEffect: true, returnByValue: true, timeout: 200,
      ...(mainContext ? { contextId: mainContext } : {}),
    });
    names = Array.isArray(result?.result?.value) ? result.result.value : [];
  } else {
    const { result } = await post('Runtime.globalLexicalScopeNames', mainContext ? { executionContextId: mainContext } : {});
    names = [...(result?.names ?? []), ...Object.getOwnPropertyNames(globalThis)];
  }
  const matches = [...new Set(names)].filter((name) => name.startsWith(start) && /^[\w$]+$/.test(name)).sort();
  const end = [...before].length;
  return { matches: matches.slice(0, 200), start: end - start.length, end };
}

async function tell({ type, id, max, code, pos }) {
  try {
    if (type === 'vars') other.postMessage({ reply: 'vars_result', fields: { id, vars: await variables(max) } });
    else other.postMessage({ reply: 'complete_result', fields: { id, ...await completions(String(code), Number(pos)) } });
  } catch (error) {
    const fields = { id, execution_time: 0, kind: 'exception', exception: described(error) };
    other.postMessage({ reply: 'error', fields });
  }
}

const told = {
  init({ message }) {
    limits = message.limits ?? {};
    for (const [name, value] of Object.entries(message.env ?? {})) {
      if (value === null) delete process.env[name];
      else process.env[name] = value;
    }
    if (message.cwd) {
      try { process.chdir(message.cwd); } catch (error) { emit('stderr', `cannot enter ${message.cwd}: ${error.message}\n`); }
    }
    if (message.sys_path) Module.globalPaths.unshift(...message.sys_path);
    if (message.argv) process.argv = [process.execPath, ...message.argv];
  },
  run({ request }) { execute(request); },
  stop({ id }) { if (current !== null && current.id === id) current.abandon({ stopped: true }); },
  answer({ number }) { other.postMessage({ answered: number }); },
  tell({ question }) { tell(question); },
  exit({ code }) { leave(code); },
};

const leave = process.exit.bind(process);

function start() {
  const { OSTLER_CODEC: codec, OSTLER_TRANSPORT: transport } = process.env;
  if (!['msgpack', 'json'].includes(codec) || transport !== 'stdio') {
    fs.writeSync(2, 'this worker speaks msgpack or json on stdio; it was told ' +
      `OSTLER_CODEC=${codec}, OSTLER_TRANSPORT=${transport}; a host such as \`ostler repl --node\` starts it\n`);
    leave(NOT_UNDERSTOOD);
  }
  delete process.env.OSTLER_CODEC;
  delete process.env.OSTLER_TRANSPORT;
  // The channel moves to descriptors of its own. What code reads is empty, and what it prints past us goes to the log.
  const incoming = fs.openSync('/dev/fd/0', 'r'), outgoing = fs.openSync('/dev/fd/1', 'w');
  fs.closeSync(0);
  fs.openSync('/dev/null', 'r');
  fs.closeSync(1);
  try { fs.openSync('/dev/fd/2', 'w'); } catch { fs.openSync('/dev/null', 'w'); }
  // Children that are forked from this one would inherit our source as theirs.
  process.execArgv = [];
  process.argv = [process.execPath];
  process.on('SIGINT', () => {}); // a stranger's: our host tells us by a message

  Object.defineProperty(process, 'stdout', { value: outlet('stdout', 1), configurable: true, enumerable: true });
  Object.defineProperty(process, 'stderr', { value: outlet('stderr', 2), configurable: true, enumerable: true });
  globalThis.console = new console.Console(process.stdout, process.stderr);
  process.exit = exit;
  Object.assign(globalThis, { prompt, display, importModule: (name) => import(name) });
  // Nothing is left to do: a script has ended. We are not done.
  process.on('beforeExit', () => {
    other.ref();
    if (idled) idled();
  });
  process.on('uncaughtException', uncaught);
  process.on('unhandledRejection', uncaught);

  evaluator.connect();
  evaluator.on('Runtime.executionContextCreated', ({ params: { context } }) => {
    if (contextMade) contextMade(context.id);
    else mainContext ??= context.id;
    contextMade = null;
  });
  evaluator.post('Runtime.enable');
  Object.defineProperty(globalThis, KEEP, { value: (value) => { kept = value; } });
  globalThis.require = createRequire(path.join(process.cwd(), '/'));
  born = new Set(Object.getOwnPropertyNames(globalThis));
  const language = new Set(vm.runInNewContext('Object.getOwnPropertyNames(globalThis)'));
  language.delete('console'); // the one of the language prints nowhere
  offered = [...born].filter((name) => name !== 'global' && name !== KEEP && !language.has(name));

  shared = new Int32Array(new SharedArrayBuffer(16));
  const lines = new MessageChannel();
  answers = lines.port1;
  const ready = { pid: process.pid, language: 'javascript', version: process.versions.node, executable: process.execPath,
    capabilities: ['input', 'cancel', 'interrupt', 'await', 'display', 'vars', 'complete'], boot_ms: performance.now() };
  other = new Worker(`(${channel})()`, {
    eval: true, stdin: false, execArgv: [], transferList: [lines.port2],
    workerData: { answers: lines.port2, codec, incoming, outgoing, shared, ready },
  });
  other.on('message', (message) => told[message.do](message));
  other.on('error', (error) => { fs.writeSync(2, `${error.stack}\n`); leave(NOT_UNDERSTOOD); });
}

start();

}
