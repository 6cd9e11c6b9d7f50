import type { Clock, Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Timers } from '../ports/timers.ts';

/** A terminal server is asked for no more connections at once: cheap ones drop bursts. */
export const CONNECTS_AT_ONCE_MAX = 4;
/** A host that does not answer is tried again after these, doubling, with 20 % jitter either way. */
export const HOST_BACKOFF_MS = { first: 200, max: 5_000 } as const;

/** A host that answered one line is not away for another so soon after. */
const ANSWER_COUNTS_MS = 10_000;

/**
 * What all lines at one host share (DESIGN 4), one gate for the process. While a host does not answer
 * one line tries it, in turn, and the others are told so at once; when it answers all are, a few at a
 * time. A refused TCP port is that port's own matter, and so is one that does not answer while
 * another at the host does: a firewall makes that.
 */
export class HostGate {
  readonly #hosts = new Map<string, Host>();
  readonly #clock: Clock;
  readonly #journal: Journal;
  readonly #timers: Timers;

  constructor(clock: Clock, journal: Journal, timers: Timers) {
    this.#clock = clock;
    this.#journal = journal.child({ room: 'backends' });
    this.#timers = timers;
  }

  /**
   * Runs `connect` when it is its turn. `connect` calls what it is handed when the line it made ends.
   * @throws Fault PORT_OPEN_FAILED when the host is known not to answer; whatever `connect` throws.
   */
  async pass<Line>(name: string, connect: (ended: () => void) => Promise<Line>): Promise<Line> {
    const host = this.#host(name);
    const { away } = host;
    if (away !== null) {
      if (away.isTried || this.#timers.nowMs() < away.nextAtMs) throw this.#awayFault(host, away);
      away.isTried = true;
    }
    await this.#turn(host);
    const startedMs = this.#timers.nowMs();
    const state = { isUp: false, hasEnded: false };
    try {
      const line = await connect(() => {
        if (state.isUp) host.up--;
        state.isUp = false;
        state.hasEnded = true;
        this.#forget(host);
      });
      state.isUp = !state.hasEnded;
      if (state.isUp) host.up++;
      this.#answered(host);
      return line;
    } catch (error) {
      const why = HOST_ERRORS[codeOf(error) ?? ''];
      if (why === undefined) this.#answered(host);
      else this.#missed(host, why, startedMs);
      throw error;
    } finally {
      host.connecting--;
      host.waiting.shift()?.();
      this.#forget(host);
    }
  }

  /** Calls `returned` when it is this line's turn to try, or the host answers. Returns a stop. */
  watchReturn(name: string, returned: () => void): () => void {
    const host = this.#host(name);
    const watcher = { returned };
    host.watchers.add(watcher);
    return () => {
      host.watchers.delete(watcher);
      this.#forget(host);
    };
  }

  /** The next line to come tries the host, whatever its back-off. */
  hurry(name: string): void {
    const away = this.#hosts.get(keyOf(name))?.away;
    if (!away) return;
    away.nextAtMs = this.#timers.nowMs();
    away.delayMs = HOST_BACKOFF_MS.first;
  }

  /** Hosts that something is known of; for tests. */
  get hostCount(): number {
    return this.#hosts.size;
  }

  #host(name: string): Host {
    const key = keyOf(name);
    let host = this.#hosts.get(key);
    if (host === undefined) {
      host = {
        key,
        name,
        connecting: 0,
        up: 0,
        answeredAtMs: Number.NEGATIVE_INFINITY,
        waiting: [],
        watchers: new Set(),
        away: null,
      };
      this.#hosts.set(key, host);
    }
    return host;
  }

  #forget({ key, connecting, up, waiting, watchers, away }: Host): void {
    if (connecting + up + waiting.length + watchers.size === 0 && away === null) {
      this.#hosts.delete(key);
    }
  }

  /** Resolves when one more may connect, and counts it. @throws Fault when the host goes away meanwhile. */
  async #turn(host: Host): Promise<void> {
    while (host.connecting >= CONNECTS_AT_ONCE_MAX) {
      await new Promise<void>((resolve) => host.waiting.push(resolve));
      const { away } = host;
      if (away !== null && !away.isTried) {
        host.waiting.shift()?.(); // the next is told as well
        throw this.#awayFault(host, away);
      }
    }
    host.connecting++; // at once, before another one comes
  }

  #answered(host: Host): void {
    const { away } = host;
    host.answeredAtMs = this.#timers.nowMs();
    if (away === null) return;
    away.cancel();
    host.away = null;
    const awayMs = Math.round(this.#timers.nowMs() - away.sinceMs);
    this.#journal.info({ host: host.name, durationMs: awayMs }, 'host answers again');
    for (const { returned } of [...host.watchers]) returned();
  }

  #missed(host: Host, why: string, startedMs: number): void {
    if (host.up > 0 || host.answeredAtMs > startedMs - ANSWER_COUNTS_MS) return;
    const nowMs = this.#timers.nowMs();
    if (host.away === null) {
      this.#journal.warn({ host: host.name, why }, 'host does not answer');
    } else if (!host.away.isTried) {
      return; // another one of those that were on their way when it went
    }
    const { sinceMs, sinceUs, delayMs } = host.away ?? {
      sinceMs: nowMs,
      sinceUs: this.#clock.nowUs(),
      delayMs: HOST_BACKOFF_MS.first,
    };
    host.away?.cancel();
    const waitMs = Math.min(delayMs * (0.8 + 0.4 * Math.random()), HOST_BACKOFF_MS.max);
    host.away = {
      why,
      sinceMs,
      sinceUs,
      delayMs: Math.min(2 * delayMs, HOST_BACKOFF_MS.max),
      nextAtMs: nowMs + waitMs,
      isTried: false,
      cancel: this.#timers.after(waitMs, () => this.#callNext(host)),
    };
  }

  /** In turn, so that one line with a trouble of its own does not keep the others out. */
  #callNext(host: Host): void {
    const [watcher] = host.watchers;
    if (watcher === undefined) return; // whoever comes next tries it
    host.watchers.delete(watcher);
    host.watchers.add(watcher);
    watcher.returned();
  }

  #awayFault({ name }: Host, away: Away): Fault {
    const since = new Date(away.sinceUs / 1_000).toISOString().replace(/\.\d+/, '');
    const waitMs = away.nextAtMs - this.#timers.nowMs();
    const next = away.isTried
      ? 'it is being tried now'
      : `next try in ${Math.max(1, Math.ceil(waitMs / 1_000))} s`;
    return new Fault('PORT_OPEN_FAILED', `${name} ${away.why} (since ${since}); ${next}`);
  }
}

interface Host {
  readonly key: string;
  /** As configured. */
  readonly name: string;
  connecting: number;
  /** Lines that are open. */
  up: number;
  /** It let a line connect, or refused it. */
  answeredAtMs: number;
  /** Lines that wait for their turn to connect. */
  readonly waiting: (() => void)[];
  readonly watchers: Set<{ returned: () => void }>;
  away: Away | null;
}

interface Away {
  why: string;
  sinceMs: number;
  sinceUs: number;
  /** To wait after the next miss. */
  delayMs: number;
  nextAtMs: number;
  /** A line is trying right now. */
  isTried: boolean;
  cancel: () => void;
}

/** What connect(2) and the resolver say of a host, not of one TCP port of it. */
const HOST_ERRORS: Readonly<Record<string, string>> = {
  ETIMEDOUT: 'does not answer',
  EHOSTDOWN: 'does not answer',
  EHOSTUNREACH: 'does not answer: no route to it',
  ENETUNREACH: 'cannot be reached: no route to its network',
  ENETDOWN: 'cannot be reached: the network is down',
  ENOTFOUND: 'cannot be reached: the name does not resolve',
  EAI_AGAIN: 'cannot be reached: the name server does not answer',
};

/** Of the fault itself or of what caused it. */
function codeOf(error: unknown): string | undefined {
  const cause = error instanceof Fault ? error.cause : error;
  const first = cause instanceof AggregateError ? (cause.errors[0] as unknown) : cause;
  return (first as NodeJS.ErrnoException | undefined)?.code;
}

/** Names of hosts are compared without case (RFC 4343). */
function keyOf(name: string): string {
  return name.toLowerCase();
}
