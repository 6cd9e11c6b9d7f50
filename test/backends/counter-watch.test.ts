import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { COUNTERS_MS, CounterClock, CounterWatch } from '../../src/backends/tty/counter-watch.ts';
import type { LineCounters } from '../../src/core/libc.ts';
import type { SignalStates } from '../../src/core/line-settings.ts';
import { FakeTimers } from '../ports/support.ts';

describe('the counters of a driver', () => {
  const counters: LineCounters = {
    cts: 0,
    dsr: 0,
    dcd: 0,
    ri: 0,
    framing: 0,
    parity: 0,
    break: 0,
    overrun: 0,
    bufferOverrun: 0,
  };
  let counted: LineCounters;
  let states: SignalStates;
  let waiting: number;
  let asked: number;
  let failure: string | null;
  let parity: boolean;
  let events: unknown[];
  let timers: FakeTimers;
  /** In the place of an immediate answer to TIOCMGET. */
  let answers: Promise<SignalStates> | null;

  beforeEach(() => {
    timers = new FakeTimers();
    counted = { ...counters, overrun: 7, cts: 3 };
    states = { dtr: true, cts: true, dsr: false, dcd: true, ri: false };
    waiting = 0;
    asked = 0;
    failure = null;
    answers = null;
    parity = false;
    events = [];
  });

  function watch(clock = new CounterClock(timers)): CounterWatch {
    const made = new CounterWatch({
      fd: 3,
      clock,
      libc: {
        lineCounters() {
          asked++;
          if (failure !== null) throw Object.assign(new Error(failure), { code: failure });
          return { ...counted };
        },
        inputWaiting: () => waiting,
      },
      sink: { event: (event) => void events.push(event) },
      signals: () => answers ?? Promise.resolve(states),
      hasParity: () => parity,
    });
    made.observe(states);
    return made;
  }

  const tick = (): Promise<void> => timers.advance(COUNTERS_MS);

  it('tells bytes that the UART and the kernel lost, as many as there were since', async () => {
    watch();
    await tick();
    assert.deepEqual(events, [], 'what was counted before the line was opened is not ours');
    counted.overrun += 2;
    counted.bufferOverrun += 3;
    await tick();
    await tick();
    assert.deepEqual(events, [{ kind: 'line-error', error: 'overrun', count: 5 }]);
  });

  it('counts on over the end of the counter, and anew with a driver that began anew', async () => {
    counted.overrun = 0xffff_ffff;
    watch();
    counted.overrun = 1;
    await tick();
    assert.deepEqual(events, [{ kind: 'line-error', error: 'overrun', count: 2 }]);
    counted.bufferOverrun = 1_000;
    await tick();
    counted.bufferOverrun = 0;
    await tick();
    assert.equal(events.length, 2);
  });

  it('tells how an input is now that moved', async () => {
    watch();
    counted.dcd += 1;
    states = { ...states, dcd: false };
    await tick();
    await tick();
    assert.deepEqual(events, [{ kind: 'signals', signals: { dcd: false } }]);
  });

  it('tells a pulse that is over: there and back', async () => {
    watch();
    counted.cts += 2;
    counted.dsr += 1;
    counted.ri += 1;
    states = { ...states, dsr: true };
    await tick();
    assert.deepEqual(events, [
      { kind: 'signals', signals: { cts: false, ri: true } },
      { kind: 'signals', signals: { cts: true, dsr: true, ri: false } },
    ]);
  });

  it('takes the first count of an input that is on for the driver having begun', async () => {
    watch();
    counted.cts++;
    counted.dcd++;
    await tick();
    assert.deepEqual(events, []);
    counted.cts++;
    await tick();
    assert.deepEqual(events, [
      { kind: 'signals', signals: { cts: false } },
      { kind: 'signals', signals: { cts: true } },
    ]);
  });

  it('tells a change once, though somebody else asked for the signals first', async () => {
    const line = watch();
    counted.cts += 1;
    states = { ...states, cts: false };
    line.observe(states);
    await tick();
    assert.deepEqual(events, [{ kind: 'signals', signals: { cts: false } }]);
  });

  it('leaves alone an error that came as a mark, and says which it was', async () => {
    const line = watch();
    counted.framing += 1;
    counted.break += 1;
    line.refresh();
    assert.equal(line.errorOfBadByte(), 'framing');
    line.breakShown();
    counted.parity += 1;
    line.refresh();
    assert.equal(line.errorOfBadByte(), 'parity');
    for (let i = 0; i < 4; i++) await tick();
    assert.deepEqual(events, []);
  });

  it('goes by the line settings where the driver does not say which error it was', () => {
    const line = watch();
    assert.equal(line.errorOfBadByte(), 'framing');
    parity = true;
    assert.equal(line.errorOfBadByte(), 'parity');
    counted.parity += 1;
    counted.framing += 1;
    line.refresh();
    assert.deepEqual([line.errorOfBadByte(), line.errorOfBadByte()], ['parity', 'framing']);
  });

  it('tells errors that no mark came for, once nothing is left to read', async () => {
    watch();
    counted.parity += 2;
    counted.break += 1;
    waiting = 5;
    for (let i = 0; i < 4; i++) await tick();
    assert.deepEqual(events, []);
    waiting = 0;
    for (let i = 0; i < 4; i++) await tick();
    assert.deepEqual(events, [
      { kind: 'line-error', error: 'parity', count: 2 },
      { kind: 'line-error', error: 'break', count: 1 },
    ]);
  });

  it('never asks a driver again that counts nothing', async () => {
    for (const code of ['ENOTTY', 'EINVAL']) {
      failure = code;
      asked = 0;
      const line = watch();
      const before = asked;
      await tick();
      assert.equal(asked, before);
      parity = true;
      assert.equal(line.errorOfBadByte(), 'parity');
    }
    assert.deepEqual(events, []);
  });

  it('asks many lines by one timer, which ends with the last of them', async () => {
    const clock = new CounterClock(timers);
    const lines = Array.from({ length: 50 }, () => watch(clock));
    asked = 0;
    await tick();
    assert.equal(asked, 50);
    for (const line of lines.slice(1)) line.stop();
    await tick();
    assert.equal(asked, 51);
    lines[0]!.stop();
    await tick();
    assert.equal(asked, 51);
  });

  it('says nothing once it was stopped, though it had asked for the signals', async () => {
    const line = watch();
    let answer = (): void => undefined;
    counted.cts += 1;
    states = { ...states, cts: false };
    answers = new Promise((resolve) => {
      answer = () => resolve(states);
    });
    await tick();
    line.stop();
    answer();
    await tick();
    assert.deepEqual(events, []);
  });

  it('bears a device that has left', async () => {
    const line = watch();
    failure = 'EIO';
    await tick();
    assert.equal(line.errorOfBadByte(), 'framing');
    assert.deepEqual(events, []);
  });
});
