import type { BackendSink } from '../../core/backend.ts';
import type { Libc, LineCounters } from '../../core/libc.ts';
import type { SignalStates } from '../../core/line-settings.ts';
import type { Timers } from '../../ports/timers.ts';
import type { ErrorSource } from './marked-input.ts';

/** A driver's counters are asked so often; one call from memory for each line, about 1 us. */
export const COUNTERS_MS = 100;

/** The inputs: what the device drives. */
const INPUTS = ['cts', 'dsr', 'dcd', 'ri'] as const;
/** Errors that a tty also marks in its input. */
const MARKED = ['parity', 'framing', 'break'] as const;

/** The timer of all ttys whose driver counts (TIOCGICOUNT); it runs while there is one. */
export class CounterClock {
  readonly #lines = new Set<() => void>();
  readonly #timers: Timers;
  #cancelTimer: (() => void) | null = null;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** `tick` is called every 100 ms until the returned stop is. */
  join(tick: () => void): () => void {
    this.#lines.add(tick);
    this.#cancelTimer ??= this.#timers.after(COUNTERS_MS, this.#tickAll);
    return () => {
      this.#lines.delete(tick);
      if (this.#lines.size > 0) return;
      this.#cancelTimer?.();
      this.#cancelTimer = null;
    };
  }

  readonly #tickAll = (): void => {
    this.#cancelTimer = this.#timers.after(COUNTERS_MS, this.#tickAll);
    for (const tick of [...this.#lines]) tick();
  };
}

export interface CounterWatchOptions {
  fd: number;
  libc: Pick<Libc, 'lineCounters' | 'inputWaiting'>;
  clock: CounterClock;
  sink: Pick<BackendSink, 'event'>;
  /** TIOCMGET, in its turn among the line's controls; {}: the driver has no signals. */
  signals: () => Promise<SignalStates>;
  /** Parity is checked: where nothing else tells, a bad byte has a parity error. */
  hasParity: () => boolean;
}

/**
 * What one driver counts, as events: bytes that the UART or the kernel lost, changes of the inputs
 * even when they went back at once, and errors that came without a mark (CDC-ACM adapters count
 * parity and framing errors and mark none; SysRq takes a BREAK out of a console's input). What came as
 * a mark is told by whoever decodes the marks, and is not counted here again.
 *
 * With a driver that counts nothing it only knows whether parity is checked.
 */
export class CounterWatch implements ErrorSource {
  readonly #options: CounterWatchOptions;
  readonly #leave: (() => void) | null = null;
  #last: LineCounters | null = null;
  #overruns = 0;
  /** Inputs that moved and how often, not yet told. */
  readonly #moved = new Map<(typeof INPUTS)[number], number>();
  /** Inputs that moved at least once since the line was opened. */
  readonly #everMoved = new Set<(typeof INPUTS)[number]>();
  /** Counted, and no mark seen yet: it may still lie in the tty's input. */
  readonly #unmarked = { parity: 0, framing: 0, break: 0 };
  /** There were unmarked ones at the last tick, and no mark came since. */
  #isOverdue = false;
  #inputs: SignalStates = {};
  #isAsking = false;
  #isStopped = false;

  constructor(options: CounterWatchOptions) {
    this.#options = options;
    this.refresh();
    if (this.#last !== null) this.#leave = options.clock.join(this.#tick);
  }

  /** No call to the sink after this. */
  stop(): void {
    this.#isStopped = true;
    this.#leave?.();
  }

  refresh(): void {
    const { libc, fd } = this.#options;
    const before = this.#last;
    try {
      this.#last = libc.lineCounters(fd);
    } catch {
      return; // ENOTTY, EINVAL: it counts nothing; EIO: it left, which the read will say
    }
    const now = this.#last;
    if (before === null) return;
    this.#overruns += grown(before.overrun, now.overrun);
    this.#overruns += grown(before.bufferOverrun, now.bufferOverrun);
    for (const error of MARKED) this.#unmarked[error] += grown(before[error], now[error]);
    for (const input of INPUTS) {
      if (before[input] === now[input]) continue;
      const moves = Math.max(1, grown(before[input], now[input]));
      this.#moved.set(input, (this.#moved.get(input) ?? 0) + moves);
    }
  }

  /**
   * The driver counts an error when it happens, and the byte is read later: what it counted beyond
   * what was read is the choice. Where both kinds are left, which byte had which nobody can tell.
   */
  errorOfBadByte(): 'parity' | 'framing' {
    const isParityLeft = this.#unmarked.parity > 0;
    const isFramingLeft = this.#unmarked.framing > 0;
    const isParity = isParityLeft === isFramingLeft ? this.#options.hasParity() : isParityLeft;
    const error = isParity ? 'parity' : 'framing';
    this.#wasMarked(error);
    return error;
  }

  breakShown(): void {
    this.#wasMarked('break');
  }

  /** The driver was asked for another reason: changes are told first, as they are by this only. */
  observe(states: SignalStates): void {
    this.refresh();
    this.#tellInputs(states);
  }

  /** Never below zero: some adapters flag all bytes of a packet for one error. */
  #wasMarked(error: (typeof MARKED)[number]): void {
    this.#isOverdue = false;
    this.#unmarked[error] = Math.max(0, this.#unmarked[error] - 1);
  }

  readonly #tick = (): void => {
    this.refresh();
    if (this.#overruns > 0) {
      const count = this.#overruns;
      this.#overruns = 0;
      this.#options.sink.event({ kind: 'line-error', error: 'overrun', count });
    }
    this.#tellUnmarked();
    if (this.#moved.size > 0) void this.#askInputs();
  };

  #tellUnmarked(): void {
    if (MARKED.every((error) => this.#unmarked[error] === 0)) {
      this.#isOverdue = false;
      return;
    }
    // It waited a whole tick with nothing left to read that could be its mark.
    if (this.#isOverdue && this.#isInputEmpty()) {
      for (const error of MARKED) {
        const count = this.#unmarked[error];
        this.#unmarked[error] = 0;
        if (count > 0) this.#options.sink.event({ kind: 'line-error', error, count });
      }
    }
    this.#isOverdue = true;
  }

  #isInputEmpty(): boolean {
    try {
      return this.#options.libc.inputWaiting(this.#options.fd) === 0;
    } catch {
      return false; // it left
    }
  }

  async #askInputs(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      const states = await this.#options.signals();
      if (!this.#isStopped) this.#tellInputs(states);
    } catch {
      // It left, or hesitates: asked again at the next tick if it is still there.
    }
    this.#isAsking = false;
  }

  /** An input that moved and is as it was had a pulse: there and back are told. */
  #tellInputs(states: SignalStates): void {
    const before = this.#inputs;
    const pulses: SignalStates = {};
    const changes: SignalStates = {};
    for (const input of INPUTS) {
      const now = states[input];
      if (now === undefined) continue;
      const was = before[input];
      const moves = this.#moved.get(input) ?? 0;
      const isFirst = moves > 0 && !this.#everMoved.has(input);
      if (moves > 0) this.#everMoved.add(input);
      if (was === undefined || (was === now && moves === 0)) continue;
      // ftdi_sio takes all inputs for off at an open: the first status counts those that are on.
      if (was === now && now && isFirst && moves === 1) continue;
      // A UART counts the end of a ring only: between two rings RI is off.
      if (was === now && input === 'ri' && now) continue;
      if (was === now) pulses[input] = !now;
      changes[input] = now;
    }
    this.#moved.clear();
    this.#inputs = { ...before, ...inputsOf(states) };
    for (const signals of [pulses, changes]) {
      if (Object.keys(signals).length > 0) this.#options.sink.event({ kind: 'signals', signals });
    }
  }
}

/** Modulo 2^32. A counter that went back began anew, with the driver. */
function grown(before: number, now: number): number {
  return Math.max(0, (now - before) | 0);
}

function inputsOf(states: SignalStates): SignalStates {
  const inputs: SignalStates = {};
  for (const input of INPUTS) if (states[input] !== undefined) inputs[input] = states[input];
  return inputs;
}
