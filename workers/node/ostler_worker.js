'use strict';
// The Ostler worker for JavaScript: runs code of a host, as PROTOCOL.md says. Node 18 or newer, no packages.
//
// Two threads. The main one runs code, and nothing of the protocol: whatever code does to its own world, the host is
// still answered. The other one (`channel`, below) owns the protocol. It reads frames, sends all that is sent, answers
// while code runs, and stops code: politely by a message, which code that awaits something leaves time for, and else by
// ending the JavaScript that runs (`Runtime.terminateExecution`), which may hit any of it, also ours. So the main thread
// does nothing that must not be cut short, and what it owes is found out by a question that is asked until it is answered.
//
// Started as: node --no-force-async-hooks-checks --expose-internals -e SOURCE. Without these a timer or a promise that is cut
// short ends the process.


// All of it in a block: what stands at the top of a source given with -e, code could see.
{

// Code may put its own in the place of any of these, or take them away: we go on with those that were there. So nothing
// below calls a method of what is built in, goes through a list by its iterator, or reads a field that may not be there
// of an object with a prototype: code shares all of these with us. Nor is a promise awaited for a request.
const { process, Array, ArrayBuffer, Symbol, Buffer, Error, Int32Array, Map, MessageChannel, Number, Object, Promise, Set,
  SharedArrayBuffer, String, TypeError, Uint8Array, BigInt, clearImmediate, clearTimeout, setImmediate, setTimeout } = globalThis;
const { add, load, notify, store, wait } = globalThis.Atomics;
const { apply, defineProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys, set: assign } = globalThis.Reflect;
const { entries, setPrototypeOf, hasOwn } = Object;
const { isArray } = Array;
const of = (method) => (self, ...given) => apply(method, self, given);
const [mapGet, mapSet, mapDelete, mapEach] = ['get', 'set', 'delete', 'forEach'].map((name) => of(Map.prototype[name]));
const [cut, parts, replaced, endsWith, repeated] =
  ['slice', 'split', 'replaceAll', 'endsWith', 'repeat'].map((name) => of(String.prototype[name]));
const [reversed, sliced] = ['reverse', 'slice'].map((name) => of(Array.prototype[name]));
const matched = of(RegExp.prototype.exec), bytesOf = of(Uint8Array.prototype.slice), then = of(Promise.prototype.then);
const mapSize = of(getOwnPropertyDescriptor(Map.prototype, 'size').get);
const toBytes = Buffer.from;
const fs = require('node:fs');
const { writeSync } = fs;
const inspector = require('node:inspector');
const { createHook, executionAsyncResource } = require('node:async_hooks');
const { Module, createRequire } = require('node:module');
const { join } = require('node:path');
const { performance } = require('node:perf_hooks');
const now = of(performance.now);
const { Writable } = require('node:stream');
const util = require('node:util');
const { inspect } = util;
const { isMap, isProxy, isUint8Array } = util.types;
const { promiseHooks } = require('node:v8');
const vm = require('node:vm');
const { createContext } = vm;
const { Worker, receiveMessageOnPort } = require('node:worker_threads');
const { cwd: cwdOf, chdir, listeners: listenersOf, rawListeners, removeAllListeners, on: listen, prependListener, eventNames } = process;

const NOT_UNDERSTOOD = 64; // the exit code of a worker that cannot speak what it was told to
const WINDOW = 1 << 20; // bytes of output on their way to the other thread; beyond them code that prints waits
const PIECE = 256 << 10; // bytes of output in one frame
const WEIGHT_MIN = 256; // bytes that a piece or a display counts for, at least
const SETTLE_MS = 5; // that long what code began may take to end by itself, when the code has
const ENDING_MS = 250; // and that long what is ended may take for it, unless a cancel waits
const VALUE_MAX = 64 << 10; // a value that takes more is told by its `repr` alone
const REPR_MAX = 4096; // characters, unless the host says otherwise
const FRAMES_MAX = 100; // calls of one traceback, unless the host says otherwise
const DEPTH_MAX = 62; // levels of a value: it is part of a message, which may have 64
const CAUSES_MAX = 8; // errors behind an error
const ERRORS_MAX = 50; // and all of them together
const MESSAGE_MAX = 16 << 10; // characters of what one of them says

// What both threads see: bytes of output that were sent and that were passed on, the number of the last answered question,
// a place that never changes, to wait at, whether code runs, and the exit code, plus one, once it is time to leave.
const SENT = 0, PASSED = 1, ANSWERED = 2, EXITED = 3, RUNS = 4, LEAVE = 5, PLACES = 6;

// ---------------------------------------------------------------------------------------------------------------
// The other thread. It is started from its own source, and knows nothing of what is outside this function.
// ---------------------------------------------------------------------------------------------------------------

function channel() {
  const fs = require('node:fs');
  const inspector = require('node:inspector');
  const net = require('node:net');
  const { performance } = require('node:perf_hooks');
  const { workerData } = require('node:worker_threads');
  const { answers, codec, incoming, outgoing, port, shared } = workerData;

  const PROTOCOL = 1, FRAME_MAX = 64 << 20, DEPTH_MAX = 64, LINE_MAX = 256;
  const POLITE_MS = 5; // that long code may take to see that it is asked to stop
  const AGAIN_MS = 20; // then it is made to, and again
  const LATE_MAX = 256; // executions that have ended, of which output is still told
  const PASSED = 1, ANSWERED = 2, RUNS = 4, LEAVE = 5;

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
  let patience = Infinity; // seconds that the code has for its end
  let asking = 0; // the number of the last question whether the main thread is there
  let tainted = false;
  let parked = null; // what is left of an execution behind which the main thread has stopped for ever
  const past = []; // ids, the last one last
  const main = new inspector.Session();
  main.connectToMainThread();

  function next() {
    if (running || leaving !== null) return;
    const request = line.shift();
    if (!request) return;
    running = { id: request.id, begun: performance.now(), cpu: process.cpuUsage(), seq: 0, stop: null, seen: false, made: false, exit: null };
    send('started', { id: request.id });
    if (parked) {
      const message = `this worker runs nothing more: code that has ended left something running (${parked.join(', ')})`;
      return ended({ kind: 'request', exception: { type: 'ProtocolError', message } });
    }
    if (request.cancelled) {
      running.stop = 'cancelled';
      return ended({ stopped: true });
    }
    const wrong = wrongIn(request);
    if (wrong) return ended({ kind: 'request', exception: { type: 'ProtocolError', message: wrong } });
    port.postMessage({ do: 'run', request });
  }

  function wrongIn(request) {
    const isText = (value) => typeof value === 'string';
    const texts = (value) => Array.isArray(value) && value.every(isText);
    const checks = { code: [isText, 'str'], filename: [isText, 'str'], cwd: [isText, 'str'], sys_path: [texts, '[str]'] };
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
    if (exit) end = { ...exit, left: end.left, parked: end.parked };
    const fields = { id, execution_time: (performance.now() - begun) / 1000, ...figures(used) };
    if (tainted) fields.tainted = true;
    if (end.left && end.left.length > 0) fields.left = end.left;
    if (end.parked) parked = end.left;
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
    past.push(id);
    if (past.length > LATE_MAX) past.shift();
    if (!made || parked) return settled();
    // What was to end the code may still be on its way, and would end what comes next.
    running = { id: null };
    ask();
  }

  function figures(used) {
    return { cpu_time: (used.user + used.system) / 1e6, memory_usage: process.memoryUsage.rss(), namespace_size: 0 };
  }

  // Asks until it is answered: the question, too, may be cut short.
  // And has what was begun by an execution that was made to end be ended, too.
  function ask(end) {
    const number = ++asking;
    const put = () => port.postMessage({ do: 'answer', number, end });
    put();
    const again = setInterval(() => {
      if (asking === number) put();
      else clearInterval(again);
    }, AGAIN_MS);
  }

  function settled() {
    if (running && running.id === null) running = null;
    if (leaving !== null && !running) return leaving === 0 ? goodbye() : leave(leaving);
    next();
  }

  function stop(how, force) {
    running.stop = running.stop === 'cancelled' ? 'cancelled' : how;
    const { id } = running;
    port.postMessage({ do: 'stop', id });
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
      if (running && running.id === id) ask(id);
    });
    const again = setInterval(end, AGAIN_MS);
    end();
  }

  // The main thread waits for its end, which no `catch` of the code may keep from it.
  function exits(code) {
    running.exit = { kind: 'exit', exitCode: code };
    port.postMessage({ do: 'stop', id: running.id });
    make(running.id);
  }

  // What the code has left comes to its end first, unless there is no time for that.
  function goodbye() {
    if (parked || patience === 0) leave(0);
    else port.postMessage({ do: 'finish', ms: Math.min(patience * 750, 2 ** 31 - 1) });
  }

  function leave(code) {
    leaving = code;
    main.disconnect();
    if (code === 0) send('bye');
    Atomics.store(shared, LEAVE, code + 1);
    Atomics.notify(shared, LEAVE);
    port.postMessage({ do: 'exit', code });
    if (code !== 0) setTimeout(die, 1000);
  }

  // What was sent has been passed on. Told between two turns: whoever prints without end leaves time for what the host says.
  let owed = 0;
  function passed(weight) {
    if (owed === 0) setImmediate(give);
    owed += weight;
  }

  function give() {
    Atomics.add(shared, PASSED, owed);
    Atomics.notify(shared, PASSED);
    owed = 0;
  }

  port.on('message', (told) => {
    // What belongs to nobody has no id, and neither has the time between two executions.
    const between = !running || running.id === null;
    const mine = !between && running.id === told.id;
    if (told.output) {
      if (mine) {
        send('output', { id: told.id, stream: told.stream, seq: running.seq++, data: told.output });
      } else if (past.includes(told.id)) {
        send('output', { id: told.id, stream: told.stream, seq: 0, data: told.output }); // the host knows that it is late
      } else if (told.id === null && between) {
        fs.writeSync(2, told.output);
      } else {
        send('log', { level: 'info', message: `output of code that has ended: ${Buffer.from(told.output.subarray(0, 4096))}` });
      }
      passed(told.weight);
    } else if (told.display) {
      if (mine) send('display', { id: told.id, ...told.display });
      passed(told.weight);
    } else if (told.prompt !== undefined) {
      if (mine) send('input_request', { id: told.id, request: told.request, prompt: told.prompt });
    } else if (told.exit !== undefined) {
      if (mine && running.stop === null) exits(told.exit);
    } else if (told.answered) {
      // What was counted, and then cut short before it was sent.
      const lost = (told.sent - Atomics.load(shared, PASSED) - owed) | 0;
      if (lost > 0) passed(lost);
      if (told.answered !== asking) return;
      asking++;
      if (running && running.id !== null && running.made) ended({ stopped: true, left: told.left, parked: told.parked });
      else settled();
    } else if (told.finished) {
      leave(0);
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
    port.postMessage({ do: 'tell', question: waiting.shift() });
  }

  // -- What the host says.

  let settledSession = false;
  const hear = {
    init(message) {
      if (message.protocol !== PROTOCOL) {
        return giveUp('protocol version', { expected: String(PROTOCOL), got: String(message.protocol) });
      }
      settledSession = true;
      port.postMessage({ do: 'init', message });
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
    shutdown(message) {
      leaving = 0;
      if (typeof message.timeout === 'number' && message.timeout >= 0) patience = message.timeout;
      line.length = 0;
      if (running && running.id !== null) stop('cancelled', false);
      else if (!running) goodbye();
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
let line; // the port to the other thread
let shared;
let answers;
let current = null; // what runs, see `execute`
let latest = null; // what ran last
let asked = 0;
let count = 0;
let limits = {};
let kept; // the value that the inspector was asked for
let mainContext = null;
let contextMade = null;
const evaluator = new inspector.Session();

// -- What belongs to whom
//
// All that runs, runs for the execution that began it, however late. Node's hooks tell, from callback to callback, and those
// of V8 from promise to promise: what begins bears a mark, and who bears one runs for it. (`AsyncLocalStorage` does the
// same, but it keeps a stack which ends the process when JavaScript is ended above it.) What an execution has begun and what
// has not ended is kept with it, so that it can be ended, or told.

const OWNER = Symbol('ostler');
let doing; // for whom code runs at this moment, if that is known
let outer = []; // and for whom it did, where one callback calls another
const begun = new Map(); // by its number: {owner, type, resource, once}
const unsettled = []; // what sessions have awaited, and nobody awaits any more
let behind = []; // executions that have ended and of which something is left
const KEPT_MIN = 1024; // things of one execution, before those that have ended are looked for

// Who runs at this moment; null: nobody, or somebody who has ended and is not known.
function owner() {
  return doing ?? (behind.length === 0 ? current : null);
}

function runFor(mine, work) {
  const before = doing;
  doing = mine;
  try { return work(); } finally { doing = before; }
}

// Runs what is ours, and nobody's.
function apart(work) {
  return runFor(undefined, work);
}

function enter(mine) {
  outer[outer.length] = doing;
  doing = mine;
}

function leaveIt() {
  if (outer.length === 0) return;
  doing = outer[outer.length - 1];
  outer.length -= 1;
}

function watchWhatBegins() {
  createHook({
    init(number, type, _, resource) {
      if (doing === undefined || type === 'PROMISE') return;
      const mine = doing;
      // It was being opened when the code was ended.
      if (mine.ended && type === 'FILEHANDLE') return apart(() => setImmediate(() => closeFile(resource)));
      resource[OWNER] = mine;
      if (type === 'TickObject' || type === 'Microtask') return;
      if (mapSize(mine.begun) >= mine.most) {
        mapEach(mine.begun, (thing, key) => { if (!isAlive(thing)) forget(thing, key); });
        mine.most = KEPT_MIN + 2 * mapSize(mine.begun);
      }
      const once = typeof resource.hasRef !== 'function';
      const thing = { __proto__: null, owner: mine, type, resource, once };
      mapSet(begun, number, thing);
      mapSet(mine.begun, number, thing);
      if (once || typeof resource.close !== 'function' || type === 'MESSAGEPORT') return;
      const { close } = resource;
      defineProperty(resource, 'close', { __proto__: null, configurable: true, writable: true, value: function (done) {
        forget(thing, number);
        return apply(close, this, done === undefined ? [] : [done]);
      } });
    },
    before(number) {
      enter(executionAsyncResource()[OWNER]);
      const thing = mapGet(begun, number);
      if (thing !== undefined && (thing.once || thing.type === 'WORKER')) forget(thing, number);
    },
    after: leaveIt,
  }).enable();
  const marks = {
    init(promise) {
      if (doing === undefined) return;
      promise[OWNER] = doing;
      if (doing.awaited === undefined) doing.awaited = promise;
    },
    before(promise) { enter(promise[OWNER]); },
    after: leaveIt,
  };
  promiseHooks.createHook(marks);
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    const hooks = require('internal/test/binding').internalBinding('async_wrap');
    // Without those of Node, and their stack, until code asks for them.
    hooks.setPromiseHooks(marks.init, marks.before, marks.after, undefined);
    hooks.async_hook_fields[hooks.constants.kCheck] = 0;
  } catch { /* started without --expose-internals: a cancel may cost the process */ }
  process.emitWarning = emitWarning;
}

function forget(thing, number) {
  mapDelete(begun, number);
  mapDelete(thing.owner.begun, number);
}

// Whether it may still call code. A request that was answered at once was never waited for; a port that keeps nothing
// going hears only what others of the same execution say.
function isAlive({ type, resource, once }) {
  if (hasOwn(resource, '_destroyed') || type === 'Timeout') return !resource._destroyed;
  if (type === 'MESSAGEPORT') return resource.hasRef();
  if (type === 'ZLIB') return resource.buffer !== null && resource.buffer !== undefined;
  if (!once) return typeof resource.close === 'function' || type === 'WORKER';
  return hasOwn(resource, 'oncomplete') || hasOwn(resource, 'ondone') || hasOwn(resource, 'promise') || type === 'FILEHANDLECLOSEREQ';
}

const SAID = { __proto__: null, Timeout: 'timer', Immediate: 'immediate', WORKER: 'thread', MESSAGEPORT: 'message port',
  TCPSERVERWRAP: 'listener', PIPESERVERWRAP: 'listener', TCPWRAP: 'socket', PIPEWRAP: 'pipe', UDPWRAP: 'socket',
  SIGNALWRAP: 'signal handler', FSEVENTWRAP: 'file watcher', STATWATCHER: 'file watcher', FSREQCALLBACK: 'file operation',
  FSREQPROMISE: 'file operation', FILEHANDLECLOSEREQ: 'file operation' };

// What an execution has begun that has not ended, in words.
function leftOf(mine) {
  const words = [];
  mapEach(mine.begun, (thing, number) => {
    if (!isAlive(thing)) return forget(thing, number);
    const { type, resource } = thing;
    words[words.length] = type === 'PROCESSWRAP' ? `child process ${resource.pid}` : SAID[type] ?? type;
  });
  return words;
}

// Ends all that an execution has begun. What is under way in another thread is not waited for, and nobody is called.
function endAll(mine) {
  mine.ended = true;
  mapEach(mine.begun, (thing, number) => {
    const { type, resource, once } = thing;
    try {
      if (type === 'Timeout') clearTimeout(resource);
      else if (type === 'Immediate') clearImmediate(resource);
      else if (type === 'WORKER') resource.stopThread();
      else if (type === 'FILEHANDLE') apart(() => closeFile(resource));
      else if (once) {
        for (const name in resource) if (name === 'oncomplete' || name === 'ondone') resource[name] = () => {};
        // What it would settle is settled no more.
        if (hasOwn(resource, 'promise')) resource.promise = new Promise(() => {});
      } else {
        if (type === 'PROCESSWRAP') endChild(resource);
        endHandle(resource);
      }
    } catch { /* it has ended meanwhile */ }
    // These end by themselves, soon, and are waited for.
    if (type !== 'WORKER' && type !== 'FILEHANDLECLOSEREQ') forget(thing, number);
  });
}

function endChild(child) {
  try { killOf(-child.pid, 'SIGKILL'); } catch { /* it leads no group */ }
  child.kill(9);
}

function closeFile(handle) {
  try { then(handle.close(), undefined, () => {}); } catch { /* it is closed */ }
}

// By whoever holds it, if that is known: others may share it, and must learn that it has ended.
function endHandle(resource) {
  const keys = ownKeys(resource);
  for (let at = 0; at < keys.length; at++) {
    if (typeof keys[at] !== 'symbol' || keys[at].description !== 'owner_symbol') continue;
    const holder = resource[keys[at]];
    if (typeof holder?.destroy === 'function') holder.destroy();
    else if (typeof holder?.close === 'function') holder.close();
  }
  resource.close();
}

// -- Output, questions and displays

// Waits while more is on its way than may be; what is not on its way any more is given back by `answer`.
function charge(weight) {
  for (;;) {
    const passed = load(shared, PASSED);
    if (((load(shared, SENT) - passed) | 0) <= WINDOW) break;
    wait(shared, PASSED, passed, 1000);
  }
  add(shared, SENT, weight);
}

// Until all that was said has been passed on: what follows may be the end of the process.
function allSaid() {
  for (let waits = 0; waits < 100; waits++) {
    const passed = load(shared, PASSED);
    if (((load(shared, SENT) - passed) | 0) <= 0) return;
    wait(shared, PASSED, passed, 100);
  }
}

// Of what is known to be nobody's, such as a warning of Node's, nobody is told but the log.
function emit(stream, data, mine = doing ?? null) {
  const bytes = typeof data === 'string' ? toBytes(data) : data;
  for (let at = 0; at < bytes.length; at += PIECE) {
    const output = new Uint8Array(bytesOf(bytes, at, at + PIECE));
    const weight = output.length > WEIGHT_MIN ? output.length : WEIGHT_MIN;
    charge(weight);
    line.postMessage({ id: mine === null ? null : mine.id, stream, output, weight });
  }
}

// What code prints is passed on at once. A stream of Node's would keep what comes while something is being written, for
// ever if that was cut short.
function outlet(stream, fd) {
  // As those of Node, it goes on after an end: another execution prints there.
  const destroy = function (error, done) {
    done(error);
    this._undestroy();
  };
  const made = new Writable({ decodeStrings: false, write: (_chunk, _encoding, done) => done(), destroy });
  const { write: wrong } = made;
  made.write = function (chunk, encoding, done = encoding) {
    if (typeof chunk === 'string') emit(stream, typeof encoding === 'string' ? toBytes(chunk, encoding) : chunk);
    else if (isUint8Array(chunk)) emit(stream, chunk);
    else if (ArrayBuffer.isView(chunk)) emit(stream, new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    else return apply(wrong, this, [chunk, encoding, done]); // says so
    if (typeof done === 'function') nextTick(done);
    return true;
  };
  made.end = function (chunk, encoding, done = encoding ?? chunk) {
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') this.write(chunk, encoding);
    nextTick(() => {
      this.emit('finish');
      if (typeof done === 'function') done();
    });
    return this;
  };
  return Object.assign(made, { fd, isTTY: false });
}

// Asks whoever sits at the host, and waits. The end of the input is null.
function prompt(text = '') {
  const mine = owner();
  if (mine === null || mine !== current || !mine.allowInput) return null;
  const request = ++asked;
  while (receiveMessageOnPort(answers)); // answers to earlier questions
  let seen = load(shared, ANSWERED);
  line.postMessage({ id: mine.id, prompt: String(text), request });
  for (;;) {
    const answer = receiveMessageOnPort(answers);
    if (answer && answer.message.request === request) return answer.message.line;
    if (!answer) wait(shared, ANSWERED, seen);
    seen = load(shared, ANSWERED);
  }
}

// Shows a value in one or more formats, by MIME type: each of them is text or bytes.
function display(data) {
  const mine = owner();
  if (mine === null || mine !== current) return;
  const shows = new Map(), pairs = entries(data);
  let weight = WEIGHT_MIN;
  for (let at = 0; at < pairs.length; at++) {
    let held = pairs[at][1];
    if (isUint8Array(held)) held = new Uint8Array(bytesOf(held));
    else if (typeof held !== 'string') held = typeof held === 'object' ? JSON.stringify(held) : String(held);
    mapSet(shows, pairs[at][0], held);
    weight += 2 * (pairs[at][0].length + held.length);
  }
  charge(weight);
  line.postMessage({ id: mine.id, display: { data: shows }, weight });
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
  if (isUint8Array(value)) { spend(value.length); return new Uint8Array(bytesOf(value)); }
  if (isArray(value)) {
    // Places where nothing is count, too: there may be billions of them.
    if (value.length > budget.left) throw new TypeError('too large');
    const items = [];
    for (let at = 0; at < value.length; at++) {
      defineProperty(items, at, plain(wire(value[at], budget, depth + 1)));
    }
    return items;
  }
  const map = new Map();
  const put = (item, key) => mapSet(map, wire(key, budget, depth + 1), wire(item, budget, depth + 1));
  if (isMap(value)) {
    mapEach(value, put);
    return map;
  }
  const parent = getPrototypeOf(value);
  if (parent !== null && getPrototypeOf(parent) !== null) throw new TypeError('an object of a class');
  if (isProxy(value) || parent !== null && parent.constructor?.name !== 'Object') throw new TypeError('no plain object');
  const pairs = entries(value);
  for (let at = 0; at < pairs.length; at++) put(pairs[at][1], pairs[at][0]);
  return map;
}

function plain(value) {
  return { __proto__: null, value, writable: true, enumerable: true, configurable: true };
}

// The way back: maps with text as keys are objects, and `__proto__` is a key like others.
function unwire(value) {
  if (value === null || typeof value !== 'object' || isUint8Array(value)) return value;
  if (isArray(value)) {
    for (let at = 0; at < value.length; at++) value[at] = unwire(value[at]);
    return value;
  }
  if (isMap(value)) {
    const map = new Map();
    mapEach(value, (item, key) => { mapSet(map, unwire(key), unwire(item)); });
    return map;
  }
  const object = {}, pairs = entries(value);
  for (let at = 0; at < pairs.length; at++) defineProperty(object, pairs[at][0], plain(unwire(pairs[at][1])));
  return object;
}

function shown(value) {
  const text = inspect(value, { __proto__: null, depth: 4, maxArrayLength: 100, maxStringLength: 10000 });
  const most = limits.max_repr ?? REPR_MAX;
  return text.length > most ? `${cut(text, 0, most)}...` : text;
}

// -- Errors

const CALL = /^\s+at (?:async )?(?:(.*?) \()?(.*?):(\d+):(\d+)\)?$/;
const LINE_LEN_MAX = 8 << 10;
// What is below this is ours.
const OURS = /node:(inspector|internal|vm|async_hooks)|evalmachine|\[eval/;
const BORDER = /node:inspector|\[eval/;

function calls(error) {
  const frames = [], lines = parts(String(error.stack ?? ''), '\n');
  for (let at = 0; at < lines.length; at++) {
    const call = lines[at].length < LINE_LEN_MAX ? matched(CALL, lines[at]) : null;
    if (call === null) continue;
    if (matched(OURS, call[2]) !== null) {
      if (matched(BORDER, call[2]) !== null) break;
      continue;
    }
    frames[frames.length] = { file: call[2], line: Number(call[3]), name: call[1] || '<anonymous>', col: Number(call[4]) - 1 };
  }
  return sliced(reversed(frames), -(limits.max_frames ?? FRAMES_MAX));
}

function described(error, depth = 0, budget = { left: ERRORS_MAX }) {
  budget.left -= 1;
  if (error === null || typeof error !== 'object' || !('message' in error)) {
    return { type: 'Error', message: `thrown: ${shown(error)}`, text: `Uncaught ${shown(error)}` };
  }
  const type = clipped(error.name ?? error.constructor?.name ?? 'Error', 200);
  const exception = { __proto__: null, type, message: clipped(error.message, MESSAGE_MAX), frames: calls(error) };
  const goesOn = () => depth < CAUSES_MAX && budget.left > 0;
  if (goesOn() && error.cause !== undefined) exception.cause = described(error.cause, depth + 1, budget);
  if (goesOn() && isArray(error.errors)) {
    const members = exception.exceptions = [], { errors } = error;
    for (let at = 0; at < errors.length && at < 20 && goesOn(); at++) {
      members[members.length] = described(errors[at], depth + 1, budget);
    }
  }
  let text = exception.message ? `${type}: ${exception.message}` : type;
  for (let at = exception.frames.length - 1; at >= 0; at--) {
    const call = exception.frames[at];
    text += `\n    at ${call.name} (${call.file}:${call.line}:${call.col + 1})`;
  }
  exception.text = exception.cause ? `${text}\n  [cause] ${replaced(exception.cause.text, '\n', '\n  ')}` : text;
  return exception;
}

function clipped(value, most) {
  const text = String(value);
  return text.length > most ? `${cut(text, 0, most)}...` : text;
}

// The error may have been made to hide what is known of it, and the world to fail at everything.
function safelyDescribed(error) {
  try { return described(error); } catch { return { type: 'Error', message: 'an error that cannot be shown' }; }
}

function wrongSyntax(error, name, code, details) {
  const line = details.lineNumber + 1, col = details.columnNumber;
  const source = clipped(parts(code, '\n')[details.lineNumber] ?? '', MESSAGE_MAX);
  const text = `${name}:${line}\n${source}\n${repeated(' ', col > 0 ? col : 0)}^\nSyntaxError: ${error.message}`;
  return { type: 'SyntaxError', message: error.message, text, frames: [{ file: name, line, name: '', col, text: source }] };
}

// -- Running

const { nextTick } = process;
const { post: putTo } = inspector.Session.prototype;
// Asks the inspector; the answer comes at once, or when a promise is settled.
function post(method, parameters, then = () => {}) {
  apply(putTo, evaluator, [method, parameters, (error, result) => {
    // The inspector would swallow it.
    try { then({ __proto__: null, error, result }); } catch (thrown) { uncaught(thrown); }
  }]);
}

// A namespace of its own, with what Node offers beyond the language.
function freshContext() {
  const sandbox = {};
  for (let at = 0; at < offered.length; at++) {
    const found = getOwnPropertyDescriptor(globalThis, offered[at]);
    if (found !== undefined) defineProperty(sandbox, offered[at], setPrototypeOf(found, null));
  }
  let id;
  contextMade = (made) => { id = made; };
  const context = createContext(sandbox);
  defineProperty(sandbox, 'global', plain(context));
  defineProperty(sandbox, KEEP, { __proto__: null, value: (value) => { kept = value; }, enumerable: false });
  return { id, names: sandbox };
}
let offered; // the names that Node has, and the language itself has not

function valueOf(remote) {
  if (remote.objectId === undefined) {
    if (remote.unserializableValue !== undefined) {
      const text = remote.unserializableValue;
      return endsWith(text, 'n') ? BigInt(cut(text, 0, -1)) : Number(text);
    }
    return remote.subtype === 'null' ? null : remote.value;
  }
  kept = undefined;
  post('Runtime.callFunctionOn', { objectId: remote.objectId, functionDeclaration: HAND_OVER });
  return kept;
}
const HAND_OVER = `function () { 'use strict'; globalThis['${KEEP}'](this); }`;

// Evaluates as the console of a browser does: names may be declared again, `await` stands anywhere.
function evaluate(code, name, context, then) {
  store(shared, RUNS, 1);
  const mine = doing;
  if (mine !== undefined) mine.awaited = undefined; // the first promise that is made from here on
  const where = context ? context.id : mainContext;
  post('Runtime.evaluate', {
    expression: `${code}\n//# sourceURL=${replaced(name, ' ', '%20')}`,
    ...(where ? { contextId: where } : {}),
    replMode: true, awaitPromise: true, objectGroup: 'ostler',
  }, ({ error, result }) => {
    if (mine !== undefined) mine.awaited = null;
    if (error) return then(outcome('stopped', true));
    const { exceptionDetails: details } = result;
    const value = valueOf(details ? details.exception : result.result);
    if (!details) return then(outcome('value', value));
    if (value?.name === 'SyntaxError' && calls(value).length === 0 && details.scriptId !== undefined) {
      return then(outcome('syntax', wrongSyntax(value, name, code, details)));
    }
    then(failed(value));
  });
}

// How code has ended: with a `value`, `stopped`, `refused` before it began, with a `syntax` error, or by what it has `thrown`.
function outcome(how, what) {
  return { __proto__: null, how, what };
}

function failed(thrown) {
  return outcome('thrown', thrown);
}

// Ends the code, and not the worker. What is thrown could be caught, and `catch` is where many programs call this.
function exit(code = process.exitCode ?? 0) {
  const mine = owner();
  if (mine === null || mine !== current || mine.over) {
    // What has ended does not end another: it ends what is left of itself.
    if (mine !== null) endAll(mine);
    throw new Exit(Number(code));
  }
  line.postMessage({ id: mine.id, exit: Number(code) });
  for (;;) wait(shared, EXITED, 0);
}

// The folder that it is in, or null if that was removed.
function folder() {
  try { return apply(cwdOf, process, []); } catch { return null; }
}

// The surroundings that a request asks for; returns what puts them back.
function around(request) {
  const before = { cwd: folder(), argv: process.argv, paths: sliced(Module.globalPaths) };
  if (request.cwd) apply(chdir, process, [request.cwd]);
  if (request.sys_path?.length) Module.globalPaths.unshift(...request.sys_path);
  return () => {
    if (request.fresh) process.argv = before.argv;
    if (request.fresh) Module.globalPaths.splice(0, Infinity, ...before.paths);
    else for (const folder of request.sys_path ?? []) Module.globalPaths.splice(Module.globalPaths.indexOf(folder) >>> 0, 1);
    if ((request.fresh || request.cwd) && before.cwd !== folder()) {
      try { apply(chdir, process, [before.cwd ?? home]); } catch { /* it was removed */ }
    }
  };
}
let home; // the folder of the start

// `require` as from a file in the folder that we are in.
function requireFrom() {
  const at = folder() ?? home;
  if (at !== requiredFrom) {
    requiredFrom = at;
    try { defineProperty(globalThis, 'require', plain(createRequire(join(at, '/')))); } catch { /* the world is frozen */ }
  }
}
let requiredFrom = null;

// Binds the arguments. A `let` of the session would hide what is global, so it is given the value itself.
function bind(args, context, then) {
  const names = context ? context.names : globalThis;
  const pairs = entries(args);
  for (let at = 0; at < pairs.length; at++) {
    const value = unwire(pairs[at][1]);
    // What was made by `var` can be set, and not be made anew.
    if (!defineProperty(names, pairs[at][0], plain(value)) && !assign(names, pairs[at][0], value)) {
      return then(failed(new TypeError(`the argument \`${pairs[at][0]}\` cannot be bound: the session has made it constant`)));
    }
  }
  if (context || pairs.length === 0) return then(null);
  lexicalNames((lexical) => {
    let code = '';
    for (let at = 0; at < pairs.length; at++) {
      for (let of = 0; of < lexical.length; of++) {
        if (lexical[of] === pairs[at][0]) code += `let ${lexical[of]} = globalThis[${JSON.stringify(lexical[of])}];`;
      }
    }
    if (code === '') return then(null);
    evaluate(code, '<args>', null, (done) => then(done.how === 'value' ? null : done));
  });
}

function lexicalNames(then) {
  post('Runtime.globalLexicalScopeNames', mainContext ? { executionContextId: mainContext } : {}, ({ result }) => then(result?.names ?? []));
}

function run(request, mine, over) {
  const name = request.filename ?? `<exec:${++count}>`;
  try { mine.restore = around(request); } catch (error) { return over(outcome('refused', error.message)); }
  requireFrom();
  const context = request.fresh ? freshContext() : null;
  bind(request.args ?? {}, context, (wrong) => {
    if (wrong !== null) return over(wrong);
    evaluate(request.code, name, context, over);
  });
}

function toldOf({ how, what }, request) {
  if (how === 'stopped') return { stopped: true };
  if (how === 'refused') return { kind: 'request', exception: { type: 'ProtocolError', message: what } };
  if (how === 'syntax') return { kind: 'syntax', exception: what };
  if (how === 'thrown') {
    if (what instanceof Exit) return { kind: 'exit', exitCode: what.code };
    return { kind: 'exception', exception: described(what) };
  }
  const end = { __proto__: null };
  if (what !== undefined && !request.silent) {
    try { end.repr = shown(what); } catch { end.repr = '[a value that cannot be shown]'; }
    try { end.value = wire(what, { left: VALUE_MAX }); } catch { /* told by its repr */ }
  }
  return end;
}

function execute(request) {
  const mine = { __proto__: null, id: request.id, fresh: request.fresh === true, allowInput: request.allow_stdin !== false,
    begun: new Map(), most: KEPT_MIN, over: false, ended: false, awaited: null, restore: null, finish: null };
  store(shared, RUNS, 0);
  keepOurListeners();
  mine.finish = (end) => {
    if (mine.over) return;
    mine.over = true;
    let told;
    try { told = toldOf(end, request); } catch (error) {
      told = { kind: 'exception', exception: safelyDescribed(error) };
    }
    conclude(mine, end.how === 'value', told.stopped === true, (left, parked) => {
      told.id = mine.id;
      told.left = left;
      told.parked = parked;
      line.postMessage(told);
      if (parked) park();
    });
  };
  current = latest = mine;
  runFor(mine, () => {
    try { run(request, mine, mine.finish); } catch (error) { mine.finish(failed(error)); }
  });
}

// The end of an execution: what it has begun ends with it, unless it ran to its own end in a session, which keeps what
// goes on. Then all that was still to be done at once has been done.
function conclude(mine, ran, stopped, then) {
  mine.over = true;
  store(shared, RUNS, 0);
  try {
    post('Runtime.releaseObjectGroup', { objectGroup: 'ostler' });
    if (mine.restore !== null) mine.restore();
    mine.restore = null;
  } catch { /* the world is not what it was */ }
  const begin = now(performance), limit = ran ? SETTLE_MS : ENDING_MS;
  const look = () => {
    if (current !== mine) return; // it was asked twice
    if (!ran) endAll(mine);
    const left = leftOf(mine), waits = mine.awaited !== null && mine.awaited !== undefined, passed = now(performance) - begin;
    if (left.length > 0 && (passed < limit || stopped && !mine.fresh)) {
      return apart(() => passed < SETTLE_MS ? setImmediate(look) : setTimeout(look, SETTLE_MS));
    }
    // It waits for what may still come; nothing more is known of it. The inspector must not see it collected, which in
    // newer versions ends the process.
    if (waits && mine.fresh) left[left.length] = 'promise';
    else if (waits) unsettled[unsettled.length] = mine.awaited;
    if (mine.fresh) restoreListeners();
    current = null;
    if (left.length > 0) behind[behind.length] = mine;
    then(left, left.length > 0 && mine.fresh);
    const still = [];
    for (let at = 0; at < behind.length; at++) if (leftOf(behind[at]).length > 0) still[still.length] = behind[at];
    behind = still;
  };
  apart(() => setImmediate(look));
}

// Nothing of the code runs any more, for the main thread does not: what it has left ends with the process.
function park() {
  for (;;) {
    wait(shared, LEAVE, 0);
    const code = load(shared, LEAVE);
    if (code > 0) reallyExit(code - 1);
  }
}

// Ends as `node FILE` does: when nothing is left to do, or after so many milliseconds, and with the listeners of `exit`.
function finish(ms) {
  finishing = true;
  const last = () => {
    const listeners = apply(rawListeners, process, ['exit']);
    apply(removeAllListeners, process, ['exit']);
    for (let at = 0; at < listeners.length; at++) {
      if (listeners[at] === last) continue;
      try { runFor(latest, () => apply(listeners[at], process, [process.exitCode ?? 0])); } catch (error) { uncaught(error, 0); }
    }
    allSaid();
    line.postMessage({ finished: true });
    park();
  };
  apply(prependListener, process, ['exit', last]);
  apart(() => setTimeout(() => {
    const left = new Set();
    for (let at = 0; at < behind.length; at++) leftOf(behind[at]).forEach((what) => left.add(what));
    left.forEach((what) => emit('stderr', `ostler: ${what} did not end in time, and ends with the session\n`, latest));
    last();
  }, ms).unref());
  line.unref();
}
let finishing = false;

// An error that nothing caught ends the execution that it is of, as it would end a program of its own.
function uncaught(error, promise) {
  const mine = (typeof promise === 'object' ? promise[OWNER] : undefined) ?? owner();
  if (mine !== null && mine === current && !mine.over) return mine.finish(failed(error));
  if (error instanceof Exit) return;
  const { text, message } = safelyDescribed(error);
  emit('stderr', `${text ?? message}\n`, mine);
}

// -- What code may do to the process

// Node ends the process when one of its own files gets a number below 3: there is always something behind these.
function keepStandardFiles() {
  const { closeSync, close, openSync } = fs;
  const closed = (fd) => {
    closeSync(fd);
    openSync('/dev/null', fd === 0 ? 'r' : 'w'); // the lowest number that is free
  };
  const isStandard = (fd) => fd === 0 || fd === 1 || fd === 2;
  fs.closeSync = (fd) => isStandard(fd) ? closed(fd) : closeSync(fd);
  fs.close = (fd, done) => {
    if (!isStandard(fd)) return close(fd, done);
    closed(fd);
    if (typeof done === 'function') setImmediate(done, null);
  };
}

const OUR_LISTENERS = [];
let listening; // all listeners of the start, by event

function keepOurListeners() {
  for (let at = 0; at < OUR_LISTENERS.length; at++) {
    const { name, does } = OUR_LISTENERS[at];
    const there = apply(listenersOf, process, [name]);
    let found = false;
    for (let of = 0; of < there.length; of++) found ||= there[of] === does;
    if (!found) apply(listen, process, [name, does]);
  }
}

// A stateless execution listens to nothing when it is over: it would hear what is said of others.
function restoreListeners() {
  const names = apply(eventNames, process, []);
  for (let at = 0; at < names.length; at++) {
    const there = apply(rawListeners, process, [names[at]]), ours = mapGet(listening, names[at]) ?? [];
    let same = there.length === ours.length;
    for (let of = 0; same && of < ours.length; of++) same = there[of] === ours[of];
    if (same) continue;
    apply(removeAllListeners, process, [names[at]]);
    for (let of = 0; of < ours.length; of++) apply(listen, process, [names[at], ours[of]]);
  }
}

// -- Questions

function variables(max, then) {
  lexicalNames((lexical) => {
    const names = [...new Set([...lexical, ...Object.getOwnPropertyNames(globalThis).filter((name) => !born.has(name))])];
    const list = [];
    for (const name of names.slice(0, max)) {
      // Answered at once: a name is nothing that is waited for.
      post('Runtime.evaluate', { expression: name, objectGroup: 'ostler', ...(mainContext ? { contextId: mainContext } : {}) }, ({ result }) => {
        const value = result && !result.exceptionDetails ? valueOf(result.result) : undefined;
        const type = value === null ? 'null' : typeof value === 'object' ? value?.constructor?.name ?? 'Object' : typeof value;
        list.push({ name, type, repr: inspect(value, { depth: 1, breakLength: Infinity }).slice(0, 200) });
      });
    }
    then({ vars: list });
  });
}
let born; // the names that were global before any code

function completions(code, pos, then) {
  const before = [...code].slice(0, pos).join('');
  const [, object, start] = /(?:([\w$.\]]+)\.)?([\w$]*)$/.exec(before) ?? [];
  const found = (names) => {
    const matches = [...new Set(names)].filter((name) => name.startsWith(start) && /^[\w$]+$/.test(name)).sort();
    const end = [...before].length;
    then({ matches: matches.slice(0, 200), start: end - start.length, end });
  };
  if (!object) return lexicalNames((names) => found([...names, ...Object.getOwnPropertyNames(globalThis)]));
  post('Runtime.evaluate', {
    expression: `(() => { const names = []; for (let at = Object(${object}); at; at = Object.getPrototypeOf(at))
      names.push(...Object.getOwnPropertyNames(at)); return names; })()`,
    throwOnSideEffect: true, returnByValue: true, timeout: 200,
    ...(mainContext ? { contextId: mainContext } : {}),
  }, ({ result }) => found(isArray(result?.result?.value) ? result.result.value : []));
}

function tell({ type, id, max, code, pos }) {
  try {
    if (type === 'vars') variables(max ?? 1000, (found) => line.postMessage({ reply: 'vars_result', fields: { id, ...found } }));
    else completions(String(code), Number(pos), (found) => line.postMessage({ reply: 'complete_result', fields: { id, ...found } }));
  } catch (error) {
    line.postMessage({ reply: 'error', fields: { id, execution_time: 0, kind: 'exception', exception: safelyDescribed(error) } });
  }
}

const told = {
  __proto__: null,
  init({ message }) {
    limits = setPrototypeOf(message.limits ?? {}, null);
    for (const [name, value] of entries(message.env ?? {})) {
      if (value === null) delete process.env[name];
      else process.env[name] = value;
    }
    if (message.cwd) {
      try { process.chdir(message.cwd); } catch (error) { emit('stderr', `cannot enter ${message.cwd}: ${error.message}\n`); }
    }
    home = folder() ?? home;
    if (message.sys_path) Module.globalPaths.unshift(...message.sys_path);
  },
  run({ request }) { execute(setPrototypeOf(request, null)); },
  stop({ id }) { if (current !== null && current.id === id) current.finish(outcome('stopped', true)); },
  // Also ends what an execution has begun that was made to end, for it cannot any more.
  answer({ number, end }) {
    const answered = (left, parked) => {
      line.postMessage({ answered: number, sent: load(shared, SENT), left, parked });
      if (parked) park();
    };
    if (current !== null && current.id === end) conclude(current, false, true, answered);
    else answered();
  },
  tell({ question }) { tell(question); },
  finish({ ms }) { finish(ms); },
  exit({ code }) { leave(code); },
};

const leave = process.exit.bind(process);
const { kill: killOf, reallyExit, abort: abortOf } = process;

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
  keepStandardFiles();
  home = folder() ?? '/';
  const hears = (name, does) => {
    OUR_LISTENERS[OUR_LISTENERS.length] = { name, does };
    process.on(name, does);
  };
  hears('SIGINT', () => {}); // a stranger's: our host tells us by a message

  Object.defineProperty(process, 'stdout', { value: outlet('stdout', 1), configurable: true, enumerable: true });
  Object.defineProperty(process, 'stderr', { value: outlet('stderr', 2), configurable: true, enumerable: true });
  globalThis.console = new console.Console(process.stdout, process.stderr);
  process.exit = exit;
  // What was printed before a death is told.
  process.abort = () => { allSaid(); apply(abortOf, process, []); };
  process.kill = (pid, signal) => { if (pid === process.pid) allSaid(); return apply(killOf, process, [pid, signal]); };
  Object.assign(globalThis, { prompt, display, importModule: (name) => import(name) });
  // Nothing is left to do, at the end of the session. For the listeners behind this one, too.
  hears('beforeExit', () => { doing = latest; });
  hears('uncaughtException', uncaught);
  hears('unhandledRejection', uncaught);

  evaluator.connect();
  // In the place of the method that code could replace.
  evaluator.emit = (name, { params: { context } = {} } = {}) => {
    if (name !== 'Runtime.executionContextCreated') return;
    if (contextMade) contextMade(context.id);
    else mainContext ??= context.id;
    contextMade = null;
  };
  post('Runtime.enable');
  defineProperty(globalThis, KEEP, { value: (value) => { kept = value; } });
  requireFrom();
  born = new Set(Object.getOwnPropertyNames(globalThis));
  const language = new Set(vm.runInNewContext('Object.getOwnPropertyNames(globalThis)'));
  language.delete('console'); // the one of the language prints nowhere
  offered = [...born].filter((name) => name !== 'global' && name !== KEEP && !language.has(name));

  shared = new Int32Array(new SharedArrayBuffer(4 * PLACES));
  const questions = new MessageChannel(), lines = new MessageChannel();
  answers = questions.port1;
  line = lines.port1;
  // Its own, which code cannot replace.
  line.postMessage = line.postMessage;
  const ready = { pid: process.pid, language: 'javascript', version: process.versions.node, executable: process.execPath,
    capabilities: ['input', 'cancel', 'interrupt', 'await', 'display', 'vars', 'complete'], boot_ms: performance.now() };
  const other = new Worker(`(${channel})()`, {
    eval: true, stdin: false, execArgv: [], transferList: [questions.port2, lines.port2],
    workerData: { answers: questions.port2, codec, incoming, outgoing, port: lines.port2, shared, ready },
  });
  line.on('message', (message) => {
    doing = undefined;
    outer = [];
    told[message.do](setPrototypeOf(message, null));
  });
  other.on('error', (error) => { writeSync(2, `${error.stack}\n`); leave(NOT_UNDERSTOOD); });
  other.unref();
  listening = new Map(process.eventNames().map((name) => [name, process.rawListeners(name)]));
  watchWhatBegins();
}

start();

}
