import type { Backend, BackendOpener, BackendSink } from '../core/backend.ts';
import type { Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { PortStatus } from '../core/port-status.ts';
import { settledWithin } from './timers.ts';
import type { Timers } from './timers.ts';

/** Reopening waits between these, doubling, with 20 % jitter either way. */
export const BACKOFF_MS = { first: 200, max: 5_000 } as const;
/** A line that stayed up this long begins its next back-off anew. */
const STEADY_MS = 5_000;
/** However often a return is announced, attempts keep this distance. */
const ATTEMPTS_APART_MS = 50;
/** An open that takes longer is shown as down, and waited for. */
const SLOW_OPEN_MS = 10_000;
/** Backends promise 1 s. */
const CLOSE_TIMEOUT_MS = 1_500;

/** What a line tells its port. Bytes and events come only from the device that is open. */
export interface PortLineOwner {
  rx(bytes: Uint8Array): void;
  rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): number;
  writable(): void;
  event: BackendSink['event'];
  up(backend: Backend): void;
  /** The line was up, or was to be opened for the first time. */
  down(why: string): void;
}

/** One try to have the device, from its open to its close. */
interface Tenure {
  isLive: boolean;
  backend: Backend | null;
  lost: Fault | null;
}

/**
 * The device end of a port: opens it, sees it go, and opens it again with back-off (DESIGN 4).
 * At most one device of the port is open or being opened at any time.
 */
export class PortLine {
  readonly #name: () => string;
  readonly #owner: PortLineOwner;
  readonly #timers: Timers;
  readonly #journal: Journal;
  #opener: BackendOpener;
  #state: PortStatus['state'] = 'opening';
  #why: string | null = null;
  #tenure: Tenure | null = null;
  #closing: Promise<void> = Promise.resolve();
  #delayMs: number = BACKOFF_MS.first;
  #upSinceMs = 0;
  #attemptedAtMs = Number.NEGATIVE_INFINITY;
  #cancelRetry: (() => void) | null = null;
  #stopWatch: (() => void) | null = null;
  #isAttempting = false;
  #retryWhenSettled = false;
  #isClosed = false;
  /** Why it is not to be opened, until `release`. */
  #heldBecause: string | null = null;

  /** `name` is that of the port, now. */
  constructor(
    name: () => string,
    opener: BackendOpener,
    owner: PortLineOwner,
    timers: Timers,
    journal: Journal,
  ) {
    this.#name = name;
    this.#opener = opener;
    this.#owner = owner;
    this.#timers = timers;
    this.#journal = journal;
  }

  get state(): PortStatus['state'] {
    return this.#state;
  }

  /** Cause and fix when not up. */
  get why(): string | null {
    return this.#why;
  }

  get opener(): BackendOpener {
    return this.#opener;
  }

  /** The open device; null when not up. */
  get backend(): Backend | null {
    return this.#state === 'up' ? this.#tenure!.backend : null;
  }

  /** The open device. @throws Fault PORT_DOWN. */
  requireUp(): Backend {
    const { backend } = this;
    if (backend) return backend;
    throw new Fault('PORT_DOWN', this.downText);
  }

  /** Why nothing can be done with the line, when it is not up. */
  get downText(): string {
    return this.#state === 'opening'
      ? `${this.#name()} is being opened`
      : `${this.#name()} is down: ${this.#why ?? 'cause unknown'}`;
  }

  /** Opens for the first time; resolves when that succeeded or failed. */
  start(): Promise<void> {
    return this.#attempt();
  }

  /** Used from the next opening on; the open device stays. */
  setOpener(opener: BackendOpener): void {
    this.#opener = opener;
  }

  /** Closes what is open and opens what `opener` says. */
  replace(opener: BackendOpener, why: string): void {
    this.#opener = opener;
    this.#stopWatching();
    if (this.#tenure) this.#lose(this.#tenure, new Fault('PORT_GONE', why));
    this.retryNow();
  }

  /** Closes what is open, and opens nothing until `release`. */
  hold(why: string): void {
    if (this.#isClosed || this.#heldBecause !== null) return;
    this.#heldBecause = why;
    this.#cancelRetry?.();
    this.#cancelRetry = null;
    this.#stopWatching();
    if (this.#tenure) this.#lose(this.#tenure, new Fault('PORT_GONE', why));
    this.#setDown(why);
  }

  /** Ends a `hold`; a line that is open is closed and opened anew. */
  release(why: string): void {
    this.#heldBecause = null;
    this.replace(this.#opener, why);
  }

  get isHeld(): boolean {
    return this.#heldBecause !== null;
  }

  /** Tries to open at once if it is down. */
  retryNow(): void {
    if (this.#state !== 'up') this.#opener.hurry?.();
    this.#retrySoon();
  }

  /** The device may be back. */
  #retrySoon(): void {
    if (this.#isClosed || this.isHeld || this.#state === 'up') return;
    this.#delayMs = BACKOFF_MS.first;
    if (this.#isAttempting) this.#retryWhenSettled = true;
    else this.#retryIn(this.#attemptedAtMs + ATTEMPTS_APART_MS - this.#timers.nowMs());
  }

  /** Asks whether the open device still is there, though nothing said that it left. */
  probe(): void {
    const backend = this.backend;
    if (backend && !isAlive(backend)) {
      this.lost(new Fault('PORT_GONE', `${backend.description} went away`));
    }
  }

  /** The open device failed in our hands. */
  lost(fault: Fault): void {
    if (this.#tenure) this.#lose(this.#tenure, fault);
  }

  /** Closes for good, within 1.5 s. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry?.();
    this.#stopWatching();
    const tenure = this.#tenure;
    if (tenure?.backend) {
      tenure.isLive = false;
      this.#tenure = null;
      this.#closing = this.#closeBackend(tenure.backend);
    } else if (tenure) {
      tenure.isLive = false; // closed by #attempt as soon as it is open
    }
    this.#state = 'down';
    this.#why = 'closed';
    await this.#closing;
  }

  async #attempt(): Promise<void> {
    this.#isAttempting = true;
    this.#retryWhenSettled = false;
    this.#cancelRetry?.();
    this.#cancelRetry = null;
    const opener = this.#opener;
    const tenure: Tenure = { isLive: true, backend: null, lost: null };
    const cancelSlow = this.#timers.after(SLOW_OPEN_MS, () => {
      if (this.isHeld) return;
      this.#setDown(`${opener.target} has not opened for ${SLOW_OPEN_MS / 1_000} s; still trying`);
    });
    try {
      await this.#closing;
      if (this.#isClosed) return;
      if (this.#heldBecause !== null) throw new Fault('PORT_DOWN', this.#heldBecause);
      this.#attemptedAtMs = this.#timers.nowMs();
      this.#tenure = tenure;
      const backend = await opener.open(this.#sink(tenure));
      if (this.#isClosed || tenure.lost || !tenure.isLive) {
        tenure.isLive = false;
        this.#closing = this.#closeBackend(backend);
        if (!this.#isClosed) {
          throw tenure.lost ?? new Fault('PORT_GONE', `${opener.target} went away`);
        }
        await this.#closing;
        return;
      }
      tenure.backend = backend;
      this.#setUp(backend);
    } catch (error) {
      tenure.isLive = false;
      this.#tenure = null;
      if (tenure.backend) this.#closing = this.#closeBackend(tenure.backend);
      if (this.#isClosed) return;
      if (!(error instanceof Fault)) this.#journal.error({ err: error }, 'opening failed oddly');
      const why = error instanceof Error ? error.message : String(error);
      this.#setDown(this.#heldBecause ?? why);
      if (!this.#retryWhenSettled) this.#backOff();
    } finally {
      cancelSlow();
      this.#isAttempting = false;
    }
    if (this.#retryWhenSettled) this.#retrySoon();
  }

  #setUp(backend: Backend): void {
    this.#state = 'up';
    this.#why = null;
    this.#upSinceMs = this.#timers.nowMs();
    this.#stopWatching();
    this.#journal.info({ backend: backend.description }, 'port up');
    this.#owner.up(backend);
  }

  #setDown(why: string): void {
    if (this.#isClosed) return;
    const wasDown = this.#state === 'down';
    this.#state = 'down';
    this.#why = why;
    if (wasDown) return;
    this.#journal.warn({ why }, 'port down');
    this.#owner.down(why);
  }

  #lose(tenure: Tenure, fault: Fault): void {
    if (!tenure.isLive || this.#isClosed) return;
    if (!tenure.backend) {
      tenure.lost ??= fault; // still opening: #attempt deals with it
      return;
    }
    tenure.isLive = false;
    this.#tenure = null;
    if (this.#timers.nowMs() - this.#upSinceMs >= STEADY_MS) this.#delayMs = BACKOFF_MS.first;
    this.#setDown(fault.message);
    this.#closing = this.#closeBackend(tenure.backend);
    this.#backOff();
  }

  #backOff(): void {
    if (this.isHeld) return;
    this.#retryIn(Math.min(this.#delayMs * (0.8 + 0.4 * Math.random()), BACKOFF_MS.max));
    this.#delayMs = Math.min(this.#delayMs * 2, BACKOFF_MS.max);
    this.#stopWatch ??= this.#opener.watchReturn?.(() => this.#retrySoon()) ?? null;
  }

  #retryIn(delayMs: number): void {
    this.#cancelRetry?.();
    this.#cancelRetry = this.#timers.after(Math.max(0, delayMs), () => {
      this.#cancelRetry = null;
      void this.#attempt();
    });
  }

  #stopWatching(): void {
    this.#stopWatch?.();
    this.#stopWatch = null;
  }

  async #closeBackend(backend: Backend): Promise<void> {
    const isClosed = await settledWithin(this.#timers, CLOSE_TIMEOUT_MS, backend.close());
    if (!isClosed) this.#journal.warn({ backend: backend.description }, 'closing takes too long');
  }

  /** What an earlier device still says is nobody's concern. */
  #sink(tenure: Tenure): BackendSink {
    const owner = this.#owner;
    return {
      rx: (bytes) => {
        if (tenure.isLive) owner.rx(bytes);
      },
      rxInto: (read) => (tenure.isLive ? owner.rxInto(read) : 0),
      gone: (fault) => this.#lose(tenure, fault),
      writable: () => {
        if (tenure.isLive) owner.writable();
      },
      event: (event) => {
        if (tenure.isLive) owner.event(event);
      },
    };
  }
}

function isAlive(backend: Backend): boolean {
  try {
    return backend.isAlive();
  } catch {
    return false;
  }
}
