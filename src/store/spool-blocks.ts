import type { SpoolControl } from './spool-control.ts';
import { FREE, HELD } from './spool-control.ts';
import {
  BLOCK,
  BLOCK_EMPTY,
  BLOCK_HEAD_BYTES,
  BLOCK_MAGIC,
  ENTRY_HEAD_BYTES,
  STATE_END,
  blockCrc,
  blockStart,
} from './spool-layout.ts';
import type { SpoolMemory } from './spool-memory.ts';

/** What the blocks know of a port: the queue of those it holds, oldest first. */
export interface BlockOwner {
  /** Its number in the shared control. */
  readonly slot: number;
  portId: number;
  readonly uuidBytes: Uint8Array;
  epoch: number;
  /** -1: none. */
  oldest: number;
  newest: number;
  /** The block being written, always the newest; -1: none. */
  current: number;
  /** A read is under way into the current block. */
  isReading: boolean;
  blocks: number;
  /** Blocks begun so far. */
  order: number;
}

/**
 * Which block belongs to whom, on the capture thread. A block returns when the store has committed
 * all of it, noticed when blocks are wanted. When none is left, the port with the most blocks loses
 * its oldest one that the store has not begun to take.
 */
export class SpoolBlocks {
  readonly memory: SpoolMemory;
  readonly control: SpoolControl;
  readonly words: Int32Array;
  readonly doubles: Float64Array;
  /** From here to its end each block holds the pattern. */
  readonly cleanFrom: Int32Array;
  /** Entry bytes published less those evicted untaken, modulo 2^32. */
  publishedBytes = 0;
  /** Counts entries, modulo 2^32. */
  entries = 0;
  readonly #owners = new Set<BlockOwner>();
  /** A stack: what was used last is in the cache, and a quiet spool touches few pages. */
  readonly #free: Int32Array;
  #freeCount: number;
  /** The block after this one in its port's queue; -1: none. */
  readonly #next: Int32Array;
  #sweptAtCommit = 0;
  #isClosed = false;

  constructor(memory: SpoolMemory, control: SpoolControl, blocks: number) {
    this.memory = memory;
    this.control = control;
    const { buffer, byteOffset, length } = memory.buffer;
    this.words = new Int32Array(buffer, byteOffset, length / 4);
    this.doubles = new Float64Array(buffer, byteOffset, length / 8);
    this.cleanFrom = new Int32Array(blocks).fill(BLOCK_HEAD_BYTES + ENTRY_HEAD_BYTES);
    this.#free = Int32Array.from({ length: blocks }, (_, index) => blocks - 1 - index);
    this.#freeCount = blocks;
    this.#next = new Int32Array(blocks).fill(-1);
  }

  add(owner: BlockOwner): void {
    this.#owners.add(owner);
  }

  /** False while the owner still holds blocks that are not committed. */
  remove(owner: BlockOwner): boolean {
    this.#reclaim(owner);
    if (owner.blocks > 0) return false;
    this.#owners.delete(owner);
    return true;
  }

  /** No block is given out any more. True when the store has committed all that was written. */
  close(): boolean {
    this.#isClosed = true;
    let isEmpty = true;
    for (const owner of this.#owners) {
      owner.current = -1;
      this.#reclaim(owner);
      if (owner.blocks > 0) isEmpty = false;
    }
    return isEmpty;
  }

  /**
   * Begins a block for the owner, whose entries from `seq` and `offset` on go there; it is its
   * current one from now. False when all blocks are held by ports with one, or by the store.
   */
  take(owner: BlockOwner, seq: number, offset: number): boolean {
    if (this.#isClosed) return false;
    owner.current = -1; // full, or the owner had none: from here on it may be reclaimed and evicted
    const own = owner.oldest;
    let block = -1;
    if (own >= 0 && this.isIdle(own) && this.#release(own)) {
      this.#unlink(owner, own, -1);
      block = own;
      this.#reclaim(owner);
    } else {
      if (this.#freeCount === 0) this.#sweep();
      if (this.#freeCount > 0) block = this.#free[--this.#freeCount]!;
      else block = this.#evict(owner);
    }
    if (block < 0) return false;
    if (owner.newest >= 0) this.#next[owner.newest] = block;
    else owner.oldest = block;
    this.#next[block] = -1;
    owner.newest = block;
    owner.current = block;
    owner.blocks++;
    this.#begin(owner, block, seq, offset);
    return true;
  }

  /** Begins the current block anew, all of which is committed: its pages are warm. */
  rewind(owner: BlockOwner, seq: number, offset: number): void {
    Atomics.store(this.control.state, owner.current, FREE);
    this.#begin(owner, owner.current, seq, offset);
  }

  /** All of the block is committed, or there is nothing in it. */
  isIdle(block: number): boolean {
    const published = this.control.published[block]!;
    return (
      Atomics.load(this.control.committed, block) === published ||
      (published & FILL_MASK) << 3 === BLOCK_HEAD_BYTES
    );
  }

  /** The block now holds an entry of `bytes` more, up to `fill`: the store may take it. */
  grow(block: number, fill: number, bytes: number): void {
    this.entries = (this.entries + 1) | 0;
    this.publishedBytes = (this.publishedBytes + bytes) | 0;
    const published = this.control.published;
    Atomics.store(published, block, (published[block]! & ~FILL_MASK) | (fill >> 3));
  }

  #begin(owner: BlockOwner, block: number, seq: number, offset: number): void {
    const { words, doubles, control, memory } = this;
    const at = blockStart(block);
    const word = at >> 2;
    const double = at >> 3;
    words[word + BLOCK.magic] = BLOCK_EMPTY;
    words[word + BLOCK.portId] = owner.portId;
    words[word + BLOCK.use] = words[word + BLOCK.use]! + 1;
    memory.buffer.set(owner.uuidBytes, at + BLOCK.uuidBytes);
    doubles[double + BLOCK.epoch] = owner.epoch;
    doubles[double + BLOCK.firstSeq] = seq;
    doubles[double + BLOCK.firstOffset] = offset;
    doubles[double + BLOCK.order] = owner.order;
    words[word + BLOCK.crc] = blockCrc(memory.buffer, at);
    words[(at + BLOCK_HEAD_BYTES) >> 2] = STATE_END;
    words[word + BLOCK.magic] = BLOCK_MAGIC;
    memory.written(at, BLOCK_HEAD_BYTES + 4);

    const dirtyTo = BLOCK_HEAD_BYTES + ENTRY_HEAD_BYTES;
    if (this.cleanFrom[block]! < dirtyTo) this.cleanFrom[block] = dirtyTo;
    Atomics.store(control.committed, block, 0);
    Atomics.store(control.owner, block, owner.slot);
    Atomics.store(control.order, block, owner.order);
    const use = words[word + BLOCK.use]! << FILL_BITS;
    Atomics.store(control.published, block, use | (BLOCK_HEAD_BYTES >> 3));
    Atomics.store(control.state, block, HELD);
    owner.order = (owner.order + 1) | 0;
  }

  /** Takes an idle block from its state; false when the store looks into it this very moment. */
  #release(block: number): boolean {
    const { state, committed, published } = this.control;
    if (Atomics.load(committed, block) === published[block]!) {
      Atomics.store(state, block, FREE); // the store is done with it and looks no more
      return true;
    }
    return Atomics.compareExchange(state, block, HELD, FREE) === HELD;
  }

  /** The owner's committed blocks go back to the free ones. */
  #reclaim(owner: BlockOwner): void {
    for (;;) {
      const block = owner.oldest;
      if (block < 0 || (block === owner.current && owner.isReading)) return;
      if (!this.isIdle(block) || !this.#release(block)) return;
      this.#unlink(owner, block, -1);
      this.#free[this.#freeCount++] = block;
    }
  }

  /** Every port's committed blocks; at most once for each commit, as nothing changes between. */
  #sweep(): void {
    const commits = this.control.commits();
    if (commits === this.#sweptAtCommit) return;
    this.#sweptAtCommit = commits;
    for (const owner of this.#owners) this.#reclaim(owner);
  }

  /**
   * A block of the port that holds the most, of `wanting` itself in case of a tie, never of one that
   * holds less: while the store has all that a flood could lose, the flood loses what comes. -1: none.
   */
  #evict(wanting: BlockOwner): number {
    const tried = new Set<BlockOwner>();
    while (tried.size < VICTIMS_MAX) {
      let victim = wanting.blocks === 0 || tried.has(wanting) ? null : wanting;
      let most = wanting.blocks;
      for (const owner of this.#owners) {
        const spare = owner.current >= 0 ? owner.blocks - 1 : owner.blocks;
        if (spare === 0 || owner.blocks <= most || tried.has(owner)) continue;
        victim = owner;
        most = owner.blocks;
      }
      if (victim === null) return -1;
      const block = this.#evictOldest(victim);
      if (block >= 0) return block;
      tried.add(victim);
    }
    return -1;
  }

  #evictOldest(victim: BlockOwner): number {
    const { state, published } = this.control;
    let before = -1;
    for (let block = victim.oldest; block >= 0; before = block, block = this.#next[block]!) {
      if (block === victim.current) return -1;
      if (Atomics.compareExchange(state, block, HELD, FREE) !== HELD) continue;
      const bytes = ((published[block]! & FILL_MASK) << 3) - BLOCK_HEAD_BYTES;
      this.publishedBytes = (this.publishedBytes - bytes) | 0;
      this.#unlink(victim, block, before);
      return block;
    }
    return -1;
  }

  #unlink(owner: BlockOwner, block: number, before: number): void {
    const after = this.#next[block]!;
    if (before >= 0) this.#next[before] = after;
    else owner.oldest = after;
    if (owner.newest === block) owner.newest = before;
    if (owner.current === block) owner.current = -1;
    owner.blocks--;
  }
}

/** See SpoolControl: the lower bits of a published word are fill / 8. */
export const FILL_BITS = 12;
export const FILL_MASK = (1 << FILL_BITS) - 1;

/** How many ports are asked for a block before a record is given up. */
const VICTIMS_MAX = 16;
