import { BLOCK_BYTES, FILE_HEADER_BYTES } from './spool-layout.ts';

/** More than this waiting makes the store commit before its 100 ms are over. */
export const URGENT_BYTES = 1_048_576;

/** A block belongs to nobody, or is being made ready: the store leaves it alone. */
export const FREE = 0;
/** A port writes or wrote it; the store has not looked into it yet. Capture may evict it. */
export const HELD = 1;
/** The store took from it: it stays until wholly committed. */
export const TAKEN = 2;

/** Words shared by all blocks. */
const WORD = {
  /** What the store waits on (futex). */
  bell: 0,
  /** 0: the store is not waiting; 1: for anything published; 2: for URGENT_BYTES. */
  waiting: 1,
  /** Counts `wakeStore`, and how many of those the store has seen. */
  wakes: 2,
  wakesSeen: 3,
  /** Counts `publish`. */
  publishes: 4,
  /** Entry bytes published (less those evicted untaken) and taken; both modulo 2^32. */
  publishedBytes: 5,
  takenBytes: 6,
  /** Counts commits: capture looks for blocks to reclaim only when it moved. */
  commits: 7,
} as const;
const WORDS = 32;
const ARRAYS = 5;

/**
 * What both threads see beside the file: five words for each block, and a bell. One word tells the
 * use and the fill of a block together, so that one load and one compare tell "nothing new":
 *
 *     use (20 bits) | fill / 8 (12 bits)
 *
 * `published`, `owner` and `order` are written by capture, `committed` by the store (capture sets it
 * to 0 when it begins a block), `state` by both, by compare-and-exchange wherever both may want it.
 */
export class SpoolControl {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly published: Int32Array;
  readonly state: Int32Array;
  readonly committed: Int32Array;
  /** The number capture gave the port. */
  readonly owner: Int32Array;
  /** Counts the blocks of a port. */
  readonly order: Int32Array;

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared;
    const blocks = controlBlocks(shared);
    const array = (index: number) =>
      new Int32Array(shared, 4 * (WORDS + index * blocks), blocks) as Int32Array;
    this.#words = new Int32Array(shared, 0, WORDS);
    this.published = array(0);
    this.state = array(1);
    this.committed = array(2);
    this.owner = array(3);
    this.order = array(4);
  }

  /** Capture: tells what is in the spool by now and rings if the store waits for it. */
  publish(publishedBytes: number): void {
    const words = this.#words;
    Atomics.store(words, WORD.publishedBytes, publishedBytes);
    Atomics.add(words, WORD.publishes, 1);
    const waiting = Atomics.load(words, WORD.waiting);
    if (waiting === 0 || (waiting === 2 && this.waitingBytes() < URGENT_BYTES)) return;
    // Rings once for each wait: whoever publishes next finds 0 here.
    if (Atomics.compareExchange(words, WORD.waiting, waiting, 0) === waiting) ring(words);
  }

  publishes(): number {
    return Atomics.load(this.#words, WORD.publishes);
  }

  /** Never negative: the store may take an entry a moment before it is announced. */
  waitingBytes(): number {
    const words = this.#words;
    return Math.max(
      0,
      (Atomics.load(words, WORD.publishedBytes) - Atomics.load(words, WORD.takenBytes)) | 0,
    );
  }

  addTaken(bytes: number): void {
    Atomics.add(this.#words, WORD.takenBytes, bytes);
  }

  countCommit(): void {
    Atomics.add(this.#words, WORD.commits, 1);
  }

  commits(): number {
    return Atomics.load(this.#words, WORD.commits);
  }

  /** Store: blocks until `isReady`, which `publish` makes true, until `wakeStore`, or the time is up. */
  wait(timeoutMs: number, until: 'published' | 'urgent', isReady: () => boolean): void {
    const words = this.#words;
    const bell = Atomics.load(words, WORD.bell);
    // Announced first and looked second, while `publish` stores first and looks second: one of the
    // two sees the other.
    Atomics.store(words, WORD.waiting, until === 'published' ? 1 : 2);
    if (!isReady()) waitForBell(words, bell, timeoutMs);
    Atomics.store(words, WORD.waiting, 0);
    Atomics.store(words, WORD.wakesSeen, Atomics.load(words, WORD.wakes));
  }
}

/**
 * Shared memory for a spool of up to `bytes`. It can be made, and rung, before the spool is.
 */
export function createSpoolControl(bytes: number): SharedArrayBuffer {
  const blocks = Math.max(1, Math.floor((bytes - FILE_HEADER_BYTES) / BLOCK_BYTES));
  return new SharedArrayBuffer(4 * (WORDS + ARRAYS * blocks));
}

/** How many blocks `createSpoolControl` left room for. */
export function controlBlocks(shared: SharedArrayBuffer): number {
  return Math.floor((shared.byteLength / 4 - WORDS) / ARRAYS);
}

/**
 * Any thread: ends the store's wait, now or the next one, e.g. because a message was posted to it.
 */
export function wakeStore(control: SharedArrayBuffer): void {
  const words = new Int32Array(control, 0, WORDS);
  Atomics.add(words, WORD.wakes, 1);
  ring(words);
}

/** The store thread before it has a spool: blocks until `wakeStore` or the time is up. */
export function awaitWake(control: SharedArrayBuffer, timeoutMs: number): void {
  const words = new Int32Array(control, 0, WORDS);
  waitForBell(words, Atomics.load(words, WORD.bell), timeoutMs);
  Atomics.store(words, WORD.wakesSeen, Atomics.load(words, WORD.wakes));
}

function ring(words: Int32Array): void {
  Atomics.add(words, WORD.bell, 1);
  Atomics.notify(words, WORD.bell);
}

/** `bell` was read before whoever calls looked for work: a ring since then ends the wait at once. */
function waitForBell(words: Int32Array, bell: number, timeoutMs: number): void {
  if (Atomics.load(words, WORD.wakes) !== Atomics.load(words, WORD.wakesSeen)) return;
  Atomics.wait(words, WORD.bell, bell, timeoutMs);
}
