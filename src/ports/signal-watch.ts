import type { Backend } from '../core/backend.ts';
import type { SignalStates } from '../core/line-settings.ts';
import type { Timers } from './timers.ts';

/** RFC 2217 clients that wait for CTS or DCD wait a fifth of a second longer than on a wire. */
export const SIGNALS_POLL_MS = 200;
/** The signals that the device drives. */
const SEEN = ['cts', 'dsr', 'dcd', 'ri'] as const;

export interface SignalWatchOwner {
  readonly timers: Timers;
  /** The open device; null when the line is not up. */
  backend(): Backend | null;
  /** These changed, and this is how they are now. */
  changed(signals: SignalStates): void;
}

/**
 * Sees changes of the modem inputs by asking the driver now and then, only while somebody needs to
 * know: each time is a transfer on a USB adapter. A line without such signals is asked once.
 */
export class SignalWatch {
  readonly #owner: SignalWatchOwner;
  #isNeeded = false;
  /** As last told; null: not known yet. */
  #seen: SignalStates | null = null;
  #isAsking = false;
  #cancelTimer: (() => void) | null = null;

  constructor(owner: SignalWatchOwner) {
    this.#owner = owner;
  }

  setNeeded(isNeeded: boolean): void {
    if (isNeeded === this.#isNeeded) return;
    this.#isNeeded = isNeeded;
    if (isNeeded) void this.#ask();
    else this.#forget();
  }

  opened(): void {
    this.#forget();
    if (this.#isNeeded) void this.#ask();
  }

  closed(): void {
    this.#forget();
  }

  /** Somebody else asked the driver, or was told: a change is reported once. */
  observe(states: SignalStates): void {
    const before = this.#seen;
    const now: SignalStates = { ...before };
    const changes: SignalStates = {};
    for (const name of SEEN) {
      const state = states[name];
      if (state === undefined) continue;
      now[name] = state;
      if (before?.[name] !== undefined && before[name] !== state) changes[name] = state;
    }
    this.#seen = now;
    if (Object.keys(changes).length > 0) this.#owner.changed(changes);
  }

  /** The device itself said so: it is reported already. */
  told(states: SignalStates): void {
    this.#seen = { ...this.#seen, ...states };
  }

  async #ask(): Promise<void> {
    const backend = this.#owner.backend();
    if (backend === null || this.#isAsking) return;
    this.#isAsking = true;
    let states: SignalStates | null = null;
    try {
      states = await backend.signals();
    } catch {
      // A device that left says so itself; one that hesitates is asked again.
    }
    this.#isAsking = false;
    if (!this.#isNeeded) return;
    if (this.#owner.backend() !== backend) return void this.#ask();
    if (states !== null) {
      this.observe(states);
      if (!SEEN.some((name) => states[name] !== undefined)) return;
    }
    this.#cancelTimer?.();
    this.#cancelTimer = this.#owner.timers.after(SIGNALS_POLL_MS, () => void this.#ask());
  }

  #forget(): void {
    this.#seen = null;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }
}
