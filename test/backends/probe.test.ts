import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { compareLoop, listen, patternFor, testLoopback } from '../../src/backends/tty/probe.ts';
import type { Backend, BackendOpener, BackendSink } from '../../src/core/backend.ts';
import { Fault } from '../../src/core/fault.ts';
import { parseLineSettings } from '../../src/core/line-settings.ts';
import type { SignalStates } from '../../src/core/line-settings.ts';
import { backendServices, createOpener, device, portSettings } from '../support/backend.ts';
import { hasCode } from '../contracts/backend.ts';
import { makePtyDevice, requireLibc } from '../support/pty.ts';

const LINE = parseLineSettings('115200 8N1');

describe('comparing what came back through a plug', () => {
  const bytes = fc.uint8Array({ minLength: 64, maxLength: 400 });

  it('accounts for every byte, whatever came back', () => {
    fc.assert(
      fc.property(bytes, fc.uint8Array({ maxLength: 400 }), (sent, received) => {
        const { right, wrong, missing, extra } = compareLoop(sent, received);
        assert.equal(right + wrong + missing, sent.length);
        assert.equal(right + wrong + extra, received.length);
      }),
    );
  });

  it('finds all right when all came back', () => {
    fc.assert(
      fc.property(bytes, (sent) => {
        const all = { right: sent.length, wrong: 0, missing: 0, extra: 0 };
        assert.deepEqual(compareLoop(sent, sent), all);
      }),
    );
  });

  it('finds its place again after a hole, a changed byte and a byte too many', () => {
    const sent = Uint8Array.from({ length: 256 }, (_, at) => at);
    const holed = Uint8Array.from([...sent.subarray(0, 50), ...sent.subarray(90)]);
    assert.deepEqual(compareLoop(sent, holed), { right: 216, wrong: 0, missing: 40, extra: 0 });
    const changed = Uint8Array.from(sent, (byte) => (byte === 100 ? 0 : byte));
    assert.deepEqual(compareLoop(sent, changed), { right: 255, wrong: 1, missing: 0, extra: 0 });
    const longer = Uint8Array.from([...sent.subarray(0, 20), 255, 255, ...sent.subarray(20)]);
    assert.deepEqual(compareLoop(sent, longer), { right: 256, wrong: 0, missing: 0, extra: 2 });
    const none = { right: 0, wrong: 0, missing: 256, extra: 0 };
    assert.deepEqual(compareLoop(sent, new Uint8Array(0)), none);
  });

  it('sends no bit that the line does not have', () => {
    assert.ok(patternFor(parseLineSettings('9600 7E1')).every((byte) => byte < 128));
    assert.ok(patternFor(LINE).some((byte) => byte >= 128));
    assert.equal(patternFor(parseLineSettings('300 8N1')).length, 64);
    assert.equal(patternFor(parseLineSettings('9600 8N1')).length, 960);
  });
});

describe('the loop-back test', () => {
  const cleanUp: (() => void)[] = [];
  afterEach(() => cleanUp.splice(0).forEach((undo) => undo()));

  it('sends what the settings carry through the real thing, and gets it back', async () => {
    const libc = await requireLibc();
    const pty = makePtyDevice(libc);
    const plug = setInterval(() => void pty.send(pty.receive()), 1);
    cleanUp.push(() => clearInterval(plug), pty.close);
    const opener = createOpener(portSettings(device(pty.path)), backendServices(libc));
    const result = await testLoopback(opener, LINE);
    assert.equal(result.sentBytes, 4_096);
    assert.deepEqual(
      [result.right, result.wrong, result.missing, result.extra],
      [result.sentBytes, 0, 0, 0],
    );
    assert.deepEqual(result.signals, { rts: null, dtr: null }, 'a pty has none');
    assert.equal(result.line, '115200 8N1');
  });

  it('says what did not come back, and how the signals are joined', async () => {
    const line = fakeLine({ joins: { rts: ['cts'], dtr: ['dsr', 'dcd'] }, loses: 10 });
    const pattern = Uint8Array.from({ length: 200 }, (_, at) => at);
    const result = await testLoopback(line.opener, LINE, pattern);
    assert.deepEqual([result.right, result.missing], [190, 10]);
    assert.deepEqual([result.framing, result.breaks], [2, 1]);
    assert.deepEqual(result.signals, { rts: ['cts'], dtr: ['dsr', 'dcd'] });
    assert.equal(line.isClosed(), true);
  });

  it('gives the line back when it goes away in the middle', async () => {
    const line = fakeLine({ dies: true });
    await assert.rejects(testLoopback(line.opener, LINE), hasCode('PORT_GONE'));
    assert.equal(line.isClosed(), true);
  });
});

describe('listening to a line', () => {
  it('counts what it says and shows its last line, made safe', async () => {
    const libc = await requireLibc();
    const pty = makePtyDevice(libc);
    await pty.send(Buffer.from('U-Boot 2024.01\r\n\x1b]0;evil\x07login: \x1b[6n'));
    const opener = createOpener(
      portSettings({ kind: 'pty', path: pty.path, command: null }),
      backendServices(libc),
    );
    const heard = await listen(opener, 300, new AbortController().signal);
    assert.deepEqual(heard, { bytes: 36, text: 'login:', line: null, why: null });
    pty.close();
  });

  it('says why a line could not be opened, and ends when it is told to', async () => {
    const services = backendServices(null);
    const none = createOpener(portSettings(device('/dev/ttyUSB-none')), services);
    const heard = await listen(none, 60_000, new AbortController().signal);
    assert.match(heard.why!, /does not exist/);
    const line = fakeLine({});
    await listen(line.opener, 60_000, AbortSignal.abort());
    assert.equal(line.isClosed(), true);
  });
});

/** A UART with a plug on it. */
function fakeLine(options: {
  joins?: Partial<Record<'rts' | 'dtr', readonly (keyof SignalStates)[]>>;
  loses?: number;
  dies?: boolean;
}): { opener: BackendOpener; isClosed(): boolean } {
  let isClosed = false;
  const states: SignalStates = { cts: false, dsr: false, dcd: false, ri: false };
  const make = (sink: BackendSink): Backend => ({
    description: '/dev/ttyFake',
    write(bytes) {
      const taken = bytes.subarray(0, 100);
      setImmediate(() => {
        if (options.dies) return sink.gone(new Fault('PORT_GONE', 'unplugged'));
        sink.rx(bytes.length > 100 ? taken : taken.subarray(options.loses ?? 0));
        if (bytes.length <= 100) {
          sink.event({ kind: 'line-error', error: 'framing', count: 2 });
          sink.event({ kind: 'break' });
        }
        sink.writable();
      });
      return taken.length;
    },
    setWatched: () => undefined,
    setLine: () => Promise.resolve(),
    async setSignals(signals) {
      for (const [name, isOn] of Object.entries(signals)) {
        for (const joined of options.joins?.[name as 'rts' | 'dtr'] ?? []) states[joined] = isOn;
      }
    },
    sendBreak: () => Promise.resolve(),
    setBreak: () => Promise.resolve(),
    purge: () => Promise.resolve(),
    signals: () => Promise.resolve({ ...states }),
    isAlive: () => true,
    close: async () => void (isClosed = true),
  });
  const opener: BackendOpener = {
    kind: 'device',
    target: '/dev/ttyFake',
    line: LINE,
    open: async (sink) => make(sink),
  };
  return { opener, isClosed: () => isClosed };
}
