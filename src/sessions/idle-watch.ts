import type { Timers } from '../ports/timers.ts';
import { duration } from './notices.ts';

const WARNING_MS = 60_000;
/** A shorter time-out comes without a warning. */
const WARNED_FROM_MS = 120_000;

/** Lets a person go who typed nothing for so long. What the device says is no activity. */
export class IdleWatch {
  readonly #timers: Timers;
  readonly #warn: (text: string) => void;
  readonly #end: (why: string) => void;
  #timeoutMs: number | null = null;
  #typedAtMs = 0;
  #wasWarned = false;
  #cancel: (() => void) | null = null;

  constructor(timers: Timers, warn: (text: string) => void, end: (why: string) => void) {
    this.#timers = timers;
    this.#warn = warn;
    this.#end = end;
  }

  /** Begins anew. `timeoutMs` null: never. */
  start(timeoutMs: number | null): void {
    this.stop();
    this.#timeoutMs = timeoutMs;
    this.typed();
    this.#wait();
  }

  typed(): void {
    this.#typedAtMs = this.#timers.nowMs();
    this.#wasWarned = false;
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  /** Looks again when something could be due: a timer for each key would cost more. */
  #wait(): void {
    if (this.#timeoutMs === null) return;
    const isWarning = this.#timeoutMs >= WARNED_FROM_MS && !this.#wasWarned;
    const dueMs = this.#typedAtMs + this.#timeoutMs - (isWarning ? WARNING_MS : 0);
    const waitMs = Math.min(Math.max(0, dueMs - this.#timers.nowMs()), TIMER_MS_MAX);
    this.#cancel = this.#timers.after(waitMs, () => this.#look(this.#timeoutMs!));
  }

  #look(timeoutMs: number): void {
    this.#cancel = null;
    const idleMs = this.#timers.nowMs() - this.#typedAtMs;
    if (idleMs >= timeoutMs) return this.#end(`idle for ${duration(timeoutMs)}`);
    if (timeoutMs >= WARNED_FROM_MS && !this.#wasWarned && idleMs >= timeoutMs - WARNING_MS) {
      this.#wasWarned = true;
      this.#warn(`idle for ${duration(timeoutMs - WARNING_MS)}: type something within a minute`);
    }
    this.#wait();
  }
}

/** The longest a timer of Node can wait. */
const TIMER_MS_MAX = 2_147_483_647;
