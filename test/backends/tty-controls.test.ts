import assert from 'node:assert/strict';
import { close, constants, openSync, statSync } from 'node:fs';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Poller } from '@serialport/bindings-cpp/dist/poller.js';
import { CounterClock } from '../../src/backends/tty/counter-watch.ts';
import { describeHolder, findLockHolder, findOpener } from '../../src/backends/tty/holder.ts';
import { Sweep } from '../../src/backends/tty/sweep.ts';
import { Tty } from '../../src/backends/tty/tty.ts';
import type { OpenedTty } from '../../src/backends/tty/tty.ts';
import type { BackendSink } from '../../src/core/backend.ts';
import type { Libc } from '../../src/core/libc.ts';
import type { SignalStates } from '../../src/core/line-settings.ts';
import { realTimers } from '../../src/ports/timers.ts';
import { hasCode } from '../contracts/backend.ts';
import { device as deviceAt, portSettings, RecordingSink } from '../support/backend.ts';
import { FakeUart } from '../support/fake-uart.ts';
import { makePtyDevice, requireLibc, until } from '../support/pty.ts';
import type { PtyDevice } from '../support/pty.ts';

const LINE = { baud: 115_200, dataBits: 8, parity: 'none', stopBits: 1 } as const;

function openSlave(path: string, signals: SignalStates = {}): OpenedTty {
  const { O_RDWR, O_NOCTTY, O_NONBLOCK } = constants;
  const fd = openSync(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
  const uart = { line: LINE, marksErrors: true, signals };
  return { fd, poller: new Poller(fd), isPty: false, uart, close: () => promisify(close)(fd) };
}

/** Bytes and events in their order. */
class OrderedSink extends RecordingSink {
  readonly order: string[] = [];

  override rx(bytes: Uint8Array): void {
    this.order.push(Buffer.from(bytes).toString('latin1'));
    super.rx(bytes);
  }

  override rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): number {
    return super.rxInto((memory, start, lengthMax) => {
      const count = read(memory, start, lengthMax);
      if (count > 0) this.order.push(memory.toString('latin1', start, start + count));
      return count;
    });
  }

  override readonly event = (event: Parameters<BackendSink['event']>[0]): void => {
    this.events.push(event);
    this.order.push(JSON.stringify(event));
  };
}

/** A pty has no UART: its C library is a fake where the UART would be. */
describe('controls of a UART', () => {
  const line = { baud: 9_600, dataBits: 7, parity: 'even', stopBits: 1 } as const;
  let real: Libc;
  let uart: FakeUart;
  let device: PtyDevice;
  let sink: OrderedSink;
  let tty: Tty;

  before(async () => {
    real = await requireLibc();
  });

  beforeEach(() => {
    uart = new FakeUart(real);
    uart.playsMarks = true;
    device = makePtyDevice(real);
    sink = new OrderedSink();
    tty = makeTty(sink);
  });
  afterEach(async () => {
    await tty.close();
    device.close();
  });

  function makeTty(to: RecordingSink, libc = uart.libc, opened?: OpenedTty): Tty {
    const { path } = device;
    const { rdev } = statSync(path);
    return new Tty({
      path,
      opened: opened ?? openSlave(path, uart.states),
      sink: to,
      settings: portSettings(deviceAt(path)),
      services: { libc, sweep: new Sweep(), counters: new CounterClock(realTimers) },
      isThere: () => statSync(path, { throwIfNoEntry: false })?.rdev === rdev,
    });
  }

  it('changes the settings of the open line, within what a clock can do', async () => {
    await tty.setLine(line, 'none');
    assert.deepEqual(uart.asked, ['line 9600 7 even 1 none after output']);
  });

  it('says what the driver made of settings it does not know', async () => {
    uart.parity = () => 'none';
    await assert.rejects(tty.setLine({ ...line, parity: 'mark' }, 'none'), (error: Error) => {
      hasCode('PORT_UNSUPPORTED')(error);
      assert.match(error.message, /cannot do 9600 7M1 none; the line is at 9607 7N1 none now/);
      return true;
    });
  });

  it('changes the line when what was written is out, and holds back what is written meanwhile', async () => {
    uart.outputBytes = 40;
    const changing = tty.setLine(line, 'none');
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(tty.write(Buffer.from('for the new settings')), 0);
    uart.outputBytes = 3;
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(uart.asked, []);
    uart.outputBytes = 0;
    await changing;
    assert.deepEqual(uart.asked, ['line 9600 7 even 1 none after output']);
    assert.equal(sink.writableCalls, 1);
    assert.equal(tty.write(Buffer.from('new')), 3);
  });

  it('changes the line at once when its output is stuck', async () => {
    uart.outputBytes = 40;
    await tty.setLine(line, 'none');
    assert.deepEqual(uart.asked, ['line 9600 7 even 1 none']);
    assert.equal(sink.writableCalls, 0, 'nobody was refused');
  });

  it('reads what came at the old settings before it changes them', async () => {
    await tty.close();
    const opened = openSlave(device.path);
    const other = new OrderedSink();
    const setLine: Libc['setLine'] = () => {
      other.order.push('<changed>');
      return Promise.resolve();
    };
    const getLine: Libc['getLine'] = () => line;
    const busy = makeTty(other, { ...uart.libc, setLine, getLine }, opened);
    const sent = device.send(Buffer.from('old'));
    // Without a turn of the event loop, in which it would be read anyhow.
    const deadlineMs = performance.now() + 10_000;
    while (real.inputWaiting(opened.fd) < 3) assert.ok(performance.now() < deadlineMs);
    await Promise.all([busy.setLine(line, 'none'), sent]);
    assert.deepEqual(other.order, ['old', '<changed>']);
    await busy.close();
  });

  it('gives up a change that waits when the line is closed', async () => {
    uart.outputBytes = 40;
    const changing = tty.setLine(line, 'none');
    await new Promise((resolve) => setImmediate(resolve));
    const startedMs = performance.now();
    await tty.close();
    assert.ok(performance.now() - startedMs < 4_000);
    await changing;
    assert.equal(sink.writableCalls, 0);
  });

  it('holds BREAK for its time, and does one thing at a time', async () => {
    const breaking = tty.sendBreak(30);
    await tty.setSignals({ dtr: false });
    await breaking;
    assert.deepEqual(uart.asked, ['break true', 'break false', 'signals {"dtr":false}']);
  });

  it('releases the line when it is closed in the middle of a BREAK', async () => {
    const breaking = tty.sendBreak(60_000);
    await until(() => uart.asked.length === 1, 'the BREAK to begin');
    await tty.close();
    await breaking;
    assert.deepEqual(uart.asked, ['break true', 'break false']);
    await assert.rejects(tty.sendBreak(1), hasCode('PORT_GONE'));
  });

  it('holds BREAK until it is told to end it', async () => {
    await tty.setBreak(true);
    await tty.setBreak(false);
    assert.deepEqual(uart.asked, ['break true', 'break false']);
  });

  it('releases a line that is closed while it is held in BREAK', async () => {
    await tty.setBreak(true);
    await tty.close();
    assert.deepEqual(uart.asked, ['break true', 'break false']);
  });

  it('sets DTR and RTS of an adapter that has no BREAK', async () => {
    for (const code of ['EOPNOTSUPP', 'EPIPE', 'EIO']) {
      uart.failures = { break: code };
      await assert.rejects(tty.sendBreak(1), hasCode('PORT_UNSUPPORTED'), code);
      await assert.rejects(tty.setBreak(true), hasCode('PORT_UNSUPPORTED'), code);
      uart.asked.length = 0;
      await tty.setSignals({ dtr: false, rts: true });
      assert.deepEqual(uart.asked, ['signals {"dtr":false,"rts":true}'], 'and nothing else');
    }
    assert.equal(sink.faults.length, 0);
  });

  it('tells the signals that the driver sees, and none where it sees none', async () => {
    assert.deepEqual(await tty.signals(), uart.states);
    uart.failures = { '*': 'ENOTTY' };
    assert.deepEqual(await tty.signals(), {});
    uart.failures = { '*': 'ENODEV' };
    await assert.rejects(tty.signals(), hasCode('PORT_GONE'));
  });

  it('throws away output that has not gone out, and never what came in', async () => {
    const flushed: string[] = [];
    const flush: Libc['flush'] = (fd, which) => {
      flushed.push(which);
      real.flush(fd, which);
    };
    const other = new RecordingSink();
    const opened = openSlave(device.path);
    const second = makeTty(other, { ...uart.libc, flush }, opened);
    await tty.close(); // it would read as well
    const sent = device.send(Buffer.from('precious'));
    // Without a turn of the event loop, in which it would be read anyhow.
    const deadlineMs = performance.now() + 10_000;
    while (real.inputWaiting(opened.fd) < 8) assert.ok(performance.now() < deadlineMs);
    await Promise.all([second.purge('both'), sent]);
    assert.equal(other.text, 'precious');
    assert.deepEqual(flushed, ['output']);
    await second.purge('rx');
    assert.deepEqual(flushed, ['output']);
    await second.close();
  });

  it('tells what a driver cannot do from a device that went away', async () => {
    uart.failures = { '*': 'EOPNOTSUPP' };
    await assert.rejects(tty.sendBreak(1), hasCode('PORT_UNSUPPORTED'));
    uart.failures = { '*': 'ENODEV' };
    await assert.rejects(tty.setSignals({ rts: true }), hasCode('PORT_GONE'));
    uart.failures = {};
    await tty.setSignals({ rts: true });
    device.close();
    uart.failures = { '*': 'EIO' };
    await assert.rejects(tty.setSignals({ rts: true }), hasCode('PORT_GONE'));
  });

  it('puts BREAK and bad bytes where they stood among the bytes', async () => {
    uart.counters.framing = 1;
    await device.send(Buffer.from('login: \xff\0\0boot\xff\0x ok\xff\xff', 'latin1'));
    await until(() => sink.receivedBytes >= 16, 'all bytes');
    assert.equal(
      sink.order.join('|'),
      'login: |{"kind":"break"}|boot|{"kind":"line-error","error":"framing","count":1}|x ok\xff',
    );
  });

  it('takes a bad byte for a parity error once parity is checked', async () => {
    uart.failures = { counters: 'ENOTTY' };
    await tty.setLine(line, 'none');
    await device.send(Buffer.from('\xff\0x', 'latin1'));
    await until(() => sink.receivedBytes >= 1, 'the byte');
    assert.match(sink.order[0]!, /parity/);
  });

  it('tells what the driver counts, and how the inputs are that moved', async () => {
    uart.counters.overrun += 2;
    uart.counters.dcd += 1;
    uart.states = { ...uart.states, dcd: false };
    assert.equal((await tty.signals()).dcd, false);
    assert.deepEqual(sink.events, [{ kind: 'signals', signals: { dcd: false } }]);
    await until(() => sink.events.length >= 2, 'the overrun');
    assert.deepEqual(sink.events[1], { kind: 'line-error', error: 'overrun', count: 2 });
    uart.counters.cts += 2;
    await until(() => sink.events.length >= 4, 'the pulse on CTS');
    assert.deepEqual(sink.events.slice(2), [
      { kind: 'signals', signals: { cts: false } },
      { kind: 'signals', signals: { cts: true } },
    ]);
  });

  it('says once that the device left while it was being written to', async () => {
    while (tty.write(Buffer.alloc(65_536)) > 0);
    device.close();
    tty.write(Buffer.from('x'));
    await until(() => sink.faults.length > 0, 'it to be noticed');
    assert.equal(tty.write(Buffer.from('x')), 0);
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal(sink.faults.length, 1);
    assert.match(sink.faults[0]!.message, /the device went away/);
  });

  it('gives what it held back when the device goes away in the middle of a mark', async () => {
    await device.send(Buffer.from('last words\xff', 'latin1'));
    await until(() => sink.receivedBytes === 10, 'last words');
    device.close();
    await until(() => sink.faults.length > 0, 'it to be noticed');
    assert.equal(sink.text, 'last words\xff');
    assert.equal(sink.faults.length, 1);
  });

  it('finds who has the device open, and who locked it', async () => {
    assert.equal((await findOpener(device.path))!.pid, process.pid);
    assert.equal(await findLockHolder(device.path), null);
    const fd = openSync(device.path, constants.O_RDWR | constants.O_NOCTTY);
    real.lockExclusive(fd);
    assert.equal((await findLockHolder(device.path))!.pid, process.pid);
    assert.equal(describeHolder({ pid: 4_711, name: 'minicom' }), 'process 4711 (minicom)');
    await promisify(close)(fd);
  });
});
