import type { Clock } from '../core/clock.ts';
import type { Timers } from './timers.ts';

/** Wall time and monotonic time differ by no more than this, unless the clock was set. */
const CLOCK_TOLERANCE_MS = 1_000;

export interface IdleTimerOwner {
  readonly timers: Timers;
  readonly clock: Clock;
  /** Grows with each byte of either direction. */
  activity(): number;
  /** When the last of them passed; null: none yet. */
  lastActiveUs(): number | null;
  /** Nothing passed for the whole time. Called again after each such time. */
  idle(): void;
}

/** Notices that nothing passes a line, at no cost to what passes: it looks only when time is up. */
export class IdleTimer {
  readonly #owner: IdleTimerOwner;
  #cancel: (() => void) | null = null;

  constructor(owner: IdleTimerOwner) {
    this.#owner = owner;
  }

  start(afterMs: number): void {
    this.stop();
    this.#wait(afterMs, afterMs);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #wait(afterMs: number, restMs: number): void {
    const { timers, activity, idle } = this.#owner;
    const before = activity();
    const sinceMs = timers.nowMs();
    this.#cancel = timers.after(restMs, () => {
      if (activity() === before) {
        this.#wait(afterMs, afterMs);
        idle();
        return;
      }
      this.#wait(afterMs, Math.max(0, afterMs - this.#quietMs(timers.nowMs() - sinceMs)));
    });
  }

  /** For how long nothing passed, when something did in the last `withinMs`. */
  #quietMs(withinMs: number): number {
    const nowUs = this.#owner.clock.nowUs();
    const quietMs = (nowUs - (this.#owner.lastActiveUs() ?? nowUs)) / 1_000;
    const wasClockSet = quietMs < 0 || quietMs > withinMs + CLOCK_TOLERANCE_MS;
    return wasClockSet ? 0 : Math.min(quietMs, withinMs);
  }
}
