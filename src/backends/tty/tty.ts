import { realpathSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Poller } from '@serialport/bindings-cpp/dist/poller.js';
import type { Backend, BackendSink } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import type { Libc } from '../../core/libc.ts';
import { formatLineSettings } from '../../core/line-settings.ts';
import type { Flow, LineSettings, SignalStates } from '../../core/line-settings.ts';
import type { PortSettings } from '../../core/settings.ts';
import { atMost } from '../deadline.ts';
import type { BackendServices } from '../services.ts';
import { CounterWatch } from './counter-watch.ts';
import { startDescriptor } from './descriptor.ts';
import type { Descriptor } from './descriptor.ts';
import { MarkedInput } from './marked-input.ts';

export interface OpenedTty {
  fd: number;
  poller: Poller;
  isPty: boolean;
  /** What stands behind the tty, as it was set up; null: a pty, or nobody knows (no koffi). */
  uart: OpenedUart | null;
  /** Without koffi: throws away what waits in both directions. */
  flush?: () => Promise<void>;
  close(): Promise<void>;
}

export interface OpenedUart {
  line: LineSettings;
  /** Its input has marks for errors (PARMRK). */
  marksErrors: boolean;
  /** At open; empty: its driver tells none. */
  signals: SignalStates;
}

/** The part of the services that ttys need. */
export type TtyServices = Pick<BackendServices, 'libc' | 'sweep' | 'counters'>;

export interface TtyOptions {
  path: string;
  opened: OpenedTty;
  sink: BackendSink;
  settings: PortSettings;
  services: TtyServices;
  /** The device that was opened is still where it is to be. */
  isThere: () => boolean;
}

interface Signals {
  dtr?: boolean;
  rts?: boolean;
}

/** What the driver answers when it cannot: its error names. */
const UNSUPPORTED = new Set(['ENOTTY', 'EINVAL', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'ENOIOCTLCMD']);
/** What some adapters that are still there answer to what they do not know (a stalled USB request). */
const REFUSED = new Set(['EIO', 'EPIPE', 'EPROTO']);
/** A control transfer may hang; closing waits no longer than this for it, and for close(2). */
const CLOSE_STEP_MS = 450;
/** A change of the line waits so long for output under way: 4 KB, what a driver holds, at 9600 baud. */
const OUTPUT_WAIT_MS = 5_000;
/** But no longer than this while nothing of it moves: 16 bytes, a UART's FIFO, at 160 baud. */
const OUTPUT_STUCK_MS = 1_000;
const OUTPUT_POLL_MS = 5;

/** An open tty, of either kind. Owns its descriptor; one control operation at a time (USB adapters need it so). */
export class Tty implements Backend {
  readonly description: string;
  readonly #path: string;
  readonly #opened: OpenedTty;
  readonly #sink: BackendSink;
  readonly #libc: Libc | null;
  readonly #isThere: () => boolean;
  readonly #descriptor: Descriptor;
  readonly #counters: CounterWatch | null = null;
  readonly #input: MarkedInput | null = null;
  readonly #closing = new AbortController();
  #controls: Promise<unknown> = Promise.resolve();
  #isGone = false;
  /** The line is held in BREAK by `setBreak`. */
  #isBreaking = false;
  #hasParity: boolean;
  /** Nothing is written while the line changes: it would go out half before, half after. */
  #isChanging = false;
  #hasRefused = false;

  constructor({ path, opened, sink, settings, services, isThere }: TtyOptions) {
    const { libc, counters, sweep } = services;
    const { fd, poller, uart } = opened;
    this.description = describePath(path);
    this.#path = path;
    this.#opened = opened;
    this.#sink = sink;
    this.#libc = libc;
    this.#isThere = isThere;
    this.#hasParity = uart !== null && uart.line.parity !== 'none';
    if (libc !== null && uart !== null) {
      this.#counters = new CounterWatch({
        fd,
        libc,
        clock: counters,
        sink,
        signals: () => this.#askSignals(libc),
        hasParity: () => this.#hasParity,
      });
      this.#counters.observe(uart.signals);
      if (uart.marksErrors) this.#input = new MarkedInput(sink, this.#counters);
    }
    const input = this.#input;
    this.#descriptor = startDescriptor({
      fd,
      poller,
      sink,
      sweep,
      libc,
      isLowLatency: settings.latency === 'low',
      ...(input === null ? {} : { receive: (read) => input.receive(read) }),
      hungUp: (code) => {
        this.#isGone = true;
        this.#counters?.stop();
        input?.end();
        sink.gone(this.#goneFault(code));
      },
    });
  }

  write(bytes: Uint8Array): number {
    if (!this.#isChanging) return this.#descriptor.write(bytes);
    this.#hasRefused ||= bytes.length > 0;
    return 0;
  }

  setWatched(watched: boolean): void {
    this.#descriptor.setWatched(watched);
  }

  /**
   * What was written goes out as it was meant to, if it moves at all; what came in is read before the
   * change. Output that is stuck, or takes over 5 s, stays queued and goes out at the new settings.
   */
  async setLine(line: LineSettings, flow: Flow): Promise<void> {
    const libc = this.#needUart('line settings');
    const { fd, uart } = this.#opened;
    await this.#control(`be set to ${formatLineSettings(line)}`, async () => {
      this.#isChanging = true;
      try {
        // With nothing left in the driver, TCSETSW2 waits for the UART's own FIFO only.
        const afterOutput = await this.#outputIsOut(libc);
        this.#descriptor.readAll();
        const marksErrors = uart?.marksErrors ?? false;
        await libc.setLine(fd, line, flow, { marksErrors, afterOutput });
        this.#hasParity = line.parity !== 'none';
      } finally {
        this.#isChanging = false;
        this.#wakeWriters();
      }
    });
    const made = describeMade(libc, fd, line, flow);
    if (made === null) return;
    throw new Fault(
      'PORT_UNSUPPORTED',
      `${this.#path}: its driver cannot do ${formatLineSettings(line)} ${flow}; the line is at ${made} now`,
    );
  }

  async setSignals(signals: Signals): Promise<void> {
    const libc = this.#needUart('signals');
    await this.#control('set DTR or RTS', () => libc.setSignals(this.#opened.fd, signals));
  }

  async sendBreak(durationMs: number): Promise<void> {
    const libc = this.#needUart('BREAK');
    const { fd } = this.#opened;
    await this.#control('send BREAK', async () => {
      await libc.setBreak(fd, true);
      // A close does not wait, but the line is released first in any case.
      await sleep(durationMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      await libc.setBreak(fd, false);
    });
  }

  async setBreak(isOn: boolean): Promise<void> {
    const libc = this.#needUart('BREAK');
    await this.#control('send BREAK', async () => {
      await libc.setBreak(this.#opened.fd, isOn);
      this.#isBreaking = isOn;
    });
  }

  /**
   * What came in is read, not flushed: TCIFLUSH would drop bytes that are in no log and that nobody
   * counted. Afterwards the driver's queue is empty all the same.
   */
  purge(queue: 'rx' | 'tx' | 'both'): Promise<void> {
    if (queue !== 'rx') this.#discardOutput();
    if (queue !== 'tx') this.#descriptor.readAll();
    return Promise.resolve();
  }

  async signals(): Promise<SignalStates> {
    if (this.#opened.uart === null || this.#libc === null) return {};
    const states = await this.#askSignals(this.#libc);
    if (!this.#isGone && !this.#closing.signal.aborted) this.#counters?.observe(states);
    return states;
  }

  isAlive(): boolean {
    if (this.#isGone || this.#closing.signal.aborted) return false;
    try {
      this.#libc?.outputWaiting(this.#opened.fd); // EIO after a hang-up nobody told us of
      return this.#isThere();
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#descriptor.stop();
    this.#input?.stop();
    this.#counters?.stop();
    this.#closing.abort();
    if (this.#opened.flush) await atMost(CLOSE_STEP_MS, this.#opened.flush());
    this.#discardOutput();
    await atMost(
      CLOSE_STEP_MS,
      this.#controls.then(() => this.#releaseBreak()),
    );
    // With output waiting, close(2) of a stuck line takes up to 30 s (closing_wait, setserial(8)).
    this.#discardOutput();
    await atMost(CLOSE_STEP_MS, this.#opened.close());
  }

  /** {} where the driver has none. */
  async #askSignals(libc: Libc): Promise<SignalStates> {
    try {
      return await this.#control('tell its signals', () => libc.getSignals(this.#opened.fd));
    } catch (error) {
      if (error instanceof Fault && error.code === 'PORT_UNSUPPORTED') return {};
      throw error;
    }
  }

  /** Waits while output goes out; false: it is stuck, or takes too long, or nobody waits any more. */
  async #outputIsOut(libc: Libc): Promise<boolean> {
    const { signal } = this.#closing;
    const startedMs = performance.now();
    let movedMs = startedMs;
    let least = Number.POSITIVE_INFINITY;
    while (!signal.aborted) {
      const waiting = libc.outputWaiting(this.#opened.fd);
      if (waiting === 0) return true;
      const nowMs = performance.now();
      if (waiting < least) {
        least = waiting;
        movedMs = nowMs;
      }
      if (nowMs - movedMs >= OUTPUT_STUCK_MS || nowMs - startedMs >= OUTPUT_WAIT_MS) return false;
      await sleep(OUTPUT_POLL_MS, undefined, { signal }).catch(() => undefined);
    }
    return false;
  }

  #wakeWriters(): void {
    if (!this.#hasRefused) return;
    this.#hasRefused = false;
    if (!this.#isGone && !this.#closing.signal.aborted) this.#sink.writable();
  }

  async #releaseBreak(): Promise<void> {
    if (this.#isBreaking) await this.#libc?.setBreak(this.#opened.fd, false);
  }

  #discardOutput(): void {
    try {
      this.#libc?.flush(this.#opened.fd, 'output');
    } catch {
      // Hung up: nothing waits there any more.
    }
  }

  /** @throws Fault PORT_UNSUPPORTED where nothing stands behind `what`. */
  #needUart(what: string): Libc {
    if (this.#opened.isPty) {
      throw new Fault('PORT_UNSUPPORTED', `${this.#path} is a pty: it has no ${what}`);
    }
    if (this.#libc !== null) return this.#libc;
    throw new Fault(
      'PORT_UNSUPPORTED',
      `${this.#path}: ${what} on an open line needs the package koffi, which is not installed`,
    );
  }

  async #control<Result>(what: string, operation: () => Promise<Result>): Promise<Result> {
    const run = this.#controls.then(() => {
      if (this.#isGone || this.#closing.signal.aborted) throw this.#goneFault(null);
      return operation();
    });
    this.#controls = run.catch(() => undefined);
    try {
      return await run;
    } catch (cause) {
      if (cause instanceof Fault) throw cause;
      const { code, message } = cause as NodeJS.ErrnoException;
      const isRefusal =
        code !== undefined && (UNSUPPORTED.has(code) || (REFUSED.has(code) && this.isAlive()));
      if (!isRefusal) throw this.#goneFault(code ?? message, cause);
      throw new Fault(
        'PORT_UNSUPPORTED',
        `${this.#path}: its driver cannot ${what} (${code})`,
        cause,
      );
    }
  }

  #goneFault(code: string | null, cause?: unknown): Fault {
    const why = this.#opened.isPty
      ? 'the other end of the pty closed'
      : 'the device went away (unplugged, or its driver hung up)';
    return new Fault(
      'PORT_GONE',
      `${this.#path}: ${why}${code === null ? '' : ` (${code})`}`,
      cause,
    );
  }
}

/** `/dev/ttyUSB0 (/dev/serial/by-id/...)`: the device as the kernel names it, then as configured. */
function describePath(path: string): string {
  try {
    const device = realpathSync(path);
    return device === path ? path : `${device} (${path})`;
  } catch {
    return path;
  }
}

/** What the driver made of the settings, `9600 8N1 none`; null: what was wanted, within what a clock can do. */
export function describeMade(
  libc: Libc,
  fd: number,
  line: LineSettings,
  flow: Flow,
): string | null {
  const is = libc.getLine(fd) as LineSettings;
  const madeFlow = libc.getFlow(fd);
  const isMet =
    isNear(is.baud, line.baud) &&
    formatLineSettings({ ...is, baud: line.baud }) === formatLineSettings(line) &&
    madeFlow === flow;
  return isMet ? null : `${formatLineSettings(is)} ${madeFlow}`;
}

/** A UART divides its clock by whole numbers: 2 % off is what the other side still reads. */
function isNear(baud: number, wanted: number): boolean {
  return Math.abs(baud - wanted) <= wanted * 0.02;
}
