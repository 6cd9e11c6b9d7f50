import type { Libc, LineCounters, SetLineHow } from '../../src/core/libc.ts';
import type { SignalStates } from '../../src/core/line-settings.ts';
import type { Rs485Settings } from '../../src/core/settings.ts';

/** What a call fails with, by the name of the call; `*`: any. */
export type Failures = Record<string, string>;

/**
 * A UART where a pty has none: bytes and termios are those of the pty, signals, BREAK, counters and
 * the rest are played. Notes what it was asked for, in order.
 */
export class FakeUart {
  readonly asked: string[] = [];
  failures: Failures = {};
  counters: LineCounters = {
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
  states: Required<SignalStates> = {
    dtr: true,
    rts: true,
    cts: true,
    dsr: false,
    dcd: true,
    ri: false,
  };
  /** What the driver makes of RS-485 settings. */
  rs485: (wanted: Rs485Settings) => Rs485Settings | null = (wanted) => wanted;
  /** What the driver makes of a parity. */
  parity: (wanted: string) => string = (wanted) => wanted;
  /** Of its clock: this much above what was asked for. */
  baudOff = 7;
  /** Input has its marks from the test, and none of the kernel's. */
  playsMarks = false;
  /** Bytes that wait in its FIFO; null: as the pty says. */
  outputBytes: number | null = null;
  readonly libc: Libc;
  #line = { baud: 0, dataBits: 8, parity: 'none', stopBits: 1 };

  constructor(real: Libc) {
    this.libc = {
      ...real,
      setLine: async (fd, wanted, flow, how: SetLineHow = {}) => {
        const { baud, dataBits, parity, stopBits } = wanted;
        const after = how.afterOutput === true ? ' after output' : '';
        await this.#ask('line', `${baud} ${dataBits} ${parity} ${stopBits} ${flow}${after}`);
        this.#line = { ...wanted, baud: baud + this.baudOff, parity: this.parity(parity) };
        const marksErrors = how.marksErrors === true && !this.playsMarks;
        await real.setLine(fd, { ...wanted, dataBits: 8, parity: 'none' }, flow, { marksErrors });
      },
      getLine: () => this.#line,
      marksErrors: (fd) => this.playsMarks || real.marksErrors(fd),
      keepSignalsOnClose: (fd) => this.#ask('keep signals').then(() => real.keepSignalsOnClose(fd)),
      setExclusive: (fd, isExclusive) => {
        this.asked.push(isExclusive ? 'exclusive' : 'shared');
        real.setExclusive(fd, isExclusive);
      },
      lineCounters: () => {
        const code = this.failures.counters;
        if (code !== undefined) throw Object.assign(new Error(code), { code });
        return { ...this.counters };
      },
      setLowLatency: () => this.#ask('low latency'),
      setRs485: async (_fd, wanted) => {
        await this.#ask('rs485');
        return this.rs485(wanted);
      },
      setSignals: (_fd, signals) => this.#ask('signals', JSON.stringify(signals)),
      setBreak: (_fd, on) => this.#ask('break', String(on)),
      getSignals: async () => {
        await this.#ask('signals?');
        return this.states;
      },
      outputWaiting: (fd) => this.outputBytes ?? real.outputWaiting(fd),
    };
  }

  #ask(what: string, detail = ''): Promise<void> {
    this.asked.push(detail === '' ? what : `${what} ${detail}`);
    const code = this.failures[what] ?? this.failures['*'];
    if (code === undefined) return Promise.resolve();
    return Promise.reject(Object.assign(new Error(code), { code }));
  }
}
