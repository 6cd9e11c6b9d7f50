/** One descriptor as the sweep sees it. */
export interface SweptLine {
  /** Reads once. Returns the bytes read, 0: nothing there, negative: the line is gone and said so itself. */
  readOnce(): number;
  /** True when a read would find nothing. Spares an EAGAIN, which costs Node 20 us as an exception. */
  isEmpty(): boolean;
  /** Asks for one call of `Swept.readable` as soon as there is something to read. */
  arm(): void;
}

/** A line's handle on the sweep. */
export interface Swept {
  /** The poller saw bytes, or a hang-up. */
  readonly readable: () => void;
  /** Read at once (a session watches, `latency: low`) or with the sweep. */
  readonly readAtOnce: (isImmediate: boolean) => void;
  /** No call to the line after this. */
  readonly leave: () => void;
}

/** Interval of the sweep: at 115,200 baud a tty, which holds 20 kB, then has about 115 bytes. */
export const SWEEP_MS = 10;
/**
 * With more active lines than this each is swept half as often: a read then brings twice the bytes,
 * which saves a third of the capture thread's CPU. See docs/decisions/0003.
 */
const MANY_LINES = 32;
const MANY_SWEEP_MS = 20;
/** n_tty gives at most about 4 KB a read: this much and there is probably more. */
export const FULL_READ_BYTES = 4_000;
/** Reads of one line before the others get their turn. */
const READS_PER_TURN_MAX = 16;
/** A line with nothing to read for this many sweeps waits in the poller again. */
const EMPTY_SWEEPS_MAX = 3;

/** A watched line with more reads than this within a sweep's time streams: nobody waits for an echo. */
const READS_AT_ONCE_MAX = 4;

/**
 * idle: waits in the poller. swept: read every 10 ms. flood: gave a full read in a sweep, so it is
 * read at every poller event until it slows. immediate: read at every poller event; swept while it
 * streams, as each read would go to each session by itself.
 */
type Mode = 'idle' | 'swept' | 'flood' | 'immediate' | 'left';

interface Member extends Swept {
  mode: Mode;
  /** Is `immediate` when it is quiet. */
  isWatched: boolean;
  /** In mode immediate: reads since then, and when that was. */
  readsAtOnce: number;
  readsSinceMs: number;
  emptySweeps: number;
  /** Read since the last sweep, in mode flood. */
  floodBytes: number;
  /** The last read at a poller event came back full. */
  isFull: boolean;
  /** In mode flood: not read until the store has caught up. */
  isHeld: boolean;
  sweep(): number;
}

/**
 * The adaptive sweep (DESIGN 4), one for all ports: reading every active port each 10 ms costs a
 * fifth of reading at every poller event (0.036 against 0.18 CPU-s per MB with 48 ports).
 */
export class Sweep {
  /** Members in mode swept or flood. */
  readonly #active = new Set<Member>();
  readonly #afterReads: () => void;
  readonly #isBehind: () => boolean;
  /** To be called when the store has caught up. */
  readonly #held = new Set<() => void>();
  #timer: NodeJS.Timeout | null = null;

  /**
   * `afterReads` is called once after each sweep or lone read that brought bytes: `Spool.publish`.
   * `isBehind`: floods are not read while it says so, `Spool.isBehind`.
   */
  constructor(afterReads: () => void = () => undefined, isBehind: () => boolean = () => false) {
    this.#afterReads = afterReads;
    this.#isBehind = isBehind;
  }

  /**
   * For a line in flood, before it is read: true when the store is behind. The line is then to be
   * left alone, so that its tty holds the device off, until `again` is called.
   */
  holdOff(again: () => void): boolean {
    if (!this.#isBehind()) return false;
    this.#held.add(again);
    this.#startTimer();
    return true;
  }

  /** The line begins idle, armed. */
  join(line: SweptLine): Swept {
    const member = this.#makeMember(line);
    line.arm();
    return member;
  }

  /** Lines that are not idle; for tests and status. */
  get activeCount(): number {
    return this.#active.size;
  }

  #makeMember(line: SweptLine): Member {
    const active = this.#active;
    const activate = (): void => {
      member.emptySweeps = 0;
      member.floodBytes = 0;
      active.add(member);
      this.#startTimer();
    };
    const rest = (): void => {
      active.delete(member);
      line.arm();
    };

    /** `line.readOnce` may make the line leave, which the compiler cannot see. */
    const hasLeft = (): boolean => member.mode === 'left';

    const readAgain = (): void => {
      member.isHeld = false;
      if (!hasLeft()) line.arm();
    };

    const member: Member = {
      mode: 'idle',
      isWatched: false,
      readsAtOnce: 0,
      readsSinceMs: 0,
      emptySweeps: 0,
      floodBytes: 0,
      isFull: false,
      isHeld: false,

      readable: () => {
        // Armed before the line was swept; the sweep comes by anyhow.
        if (member.mode === 'swept' || hasLeft()) return;
        if (member.mode !== 'idle' && member.isFull && this.holdOff(readAgain)) {
          member.isHeld = true;
          return;
        }
        const count = readWhileFull(line);
        if (count > 0) this.#afterReads();
        if (hasLeft()) return;
        member.isFull = count >= FULL_READ_BYTES;
        if (member.mode === 'idle') {
          member.mode = member.isFull ? 'flood' : 'swept';
          activate();
        } else if (member.mode === 'immediate' && streams(member)) {
          member.mode = member.isFull ? 'flood' : 'swept';
          activate();
        }
        member.floodBytes += count;
        if (member.mode !== 'swept') line.arm();
      },

      sweep: () => {
        if (member.mode === 'flood') {
          if (member.isHeld) return 0;
          if (member.floodBytes < FULL_READ_BYTES) member.mode = 'swept';
          member.emptySweeps = 0;
          member.floodBytes = 0;
          return 0;
        }
        // After one empty sweep another is likely: ask first.
        const count = member.emptySweeps > 0 && line.isEmpty() ? 0 : readWhileFull(line);
        if (hasLeft()) return count;
        if (count >= FULL_READ_BYTES) {
          member.mode = 'flood';
          member.isFull = true;
          line.arm();
        } else if (count > 0) {
          member.emptySweeps = 0;
        } else if (++member.emptySweeps >= (member.isWatched ? 1 : EMPTY_SWEEPS_MAX)) {
          member.mode = member.isWatched ? 'immediate' : 'idle';
          rest();
        }
        return count;
      },

      readAtOnce: (isImmediate) => {
        if (hasLeft() || isImmediate === member.isWatched) return;
        member.isWatched = isImmediate;
        if (isImmediate) {
          member.mode = 'immediate';
          rest();
        } else if (member.mode === 'immediate') {
          member.mode = 'swept';
          activate();
        }
      },

      leave: () => {
        member.mode = 'left';
        active.delete(member);
      },
    };
    return member;
  }

  #startTimer(): void {
    this.#timer ??= setTimeout(this.#sweepAll, this.#intervalMs());
  }

  /** Floods that are held off ask more often whether they may go on. */
  #intervalMs(): number {
    return this.#active.size > MANY_LINES && this.#held.size === 0 ? MANY_SWEEP_MS : SWEEP_MS;
  }

  readonly #sweepAll = (): void => {
    this.#timer = null;
    let bytes = 0;
    for (const member of this.#active) bytes += member.sweep();
    if (bytes > 0) this.#afterReads();
    if (this.#held.size > 0 && !this.#isBehind()) {
      const held = [...this.#held];
      this.#held.clear();
      for (const again of held) again();
    }
    if (this.#active.size > 0 || this.#held.size > 0) this.#startTimer();
  };
}

/** Counts a read of a watched line; true when there were too many in a sweep's time. */
function streams(member: Member): boolean {
  const nowMs = performance.now();
  if (nowMs - member.readsSinceMs > SWEEP_MS) {
    member.readsSinceMs = nowMs;
    member.readsAtOnce = 0;
  }
  return ++member.readsAtOnce > READS_AT_ONCE_MAX;
}

/** Reads again while reads come back full, within the line's turn. Returns the bytes read. */
function readWhileFull(line: SweptLine): number {
  let total = 0;
  for (let reads = 0; reads < READS_PER_TURN_MAX; reads++) {
    const count = line.readOnce();
    if (count > 0) total += count;
    if (count < FULL_READ_BYTES || line.isEmpty()) break;
  }
  return total;
}
