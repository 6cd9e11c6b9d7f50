import assert from 'node:assert/strict';
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import type { Libc } from '../core/libc.ts';
import type { EntryVisitor, SpoolReader } from '../core/store.ts';
import { FILL_MASK } from './spool-blocks.ts';
import { FREE, HELD, SpoolControl, TAKEN, URGENT_BYTES } from './spool-control.ts';
import {
  BLOCK,
  BLOCKS_MAX,
  BLOCK_HEAD_BYTES,
  BLOCK_MAGIC,
  ENTRY,
  ENTRY_HEAD_BYTES,
  FILE_HEADER_BYTES,
  BLOCK_BYTES,
  KIND_OF_NUMBER,
  STATE_CLOSED,
  blockStart,
  entryBytes,
} from './spool-layout.ts';
import { copyMemory, mapMemory } from './spool-memory.ts';
import type { SpoolMemory } from './spool-memory.ts';

/** The store's view of a spool, and what it gives back when the thread ends. */
export interface OpenedSpoolReader extends SpoolReader {
  close(): void;
}

/**
 * Opens, on the store thread, the spool that `createSpool` made on the capture thread.
 * @throws Error when the file cannot be opened or mapped.
 */
export function openSpoolReader(
  control: SharedArrayBuffer,
  path: string,
  libc: Libc | null,
): OpenedSpoolReader {
  const fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const bytes = fstatSync(fd).size;
    const memory = libc === null ? copyMemory(fd, bytes) : mapMemory(libc, fd, bytes);
    return new BlockSpoolReader(new SpoolControl(control), memory, () => closeSync(fd));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Finds news by comparing one word of each block with what it took. Nothing is allocated for an
 * entry; sorting is needed only where a port has news in several blocks.
 */
class BlockSpoolReader implements OpenedSpoolReader {
  readonly close: () => void;
  readonly #control: SpoolControl;
  readonly #memory: SpoolMemory;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #blocks: number;
  /** By block: the published word up to which it was taken; and what its head says. */
  readonly #taken: Int32Array;
  readonly #portId: Int32Array;
  readonly #epoch: Float64Array;
  /** Blocks taken from since the last commit. */
  readonly #touched: Int32Array;
  #touchedCount = 0;
  readonly #isTouched: Uint8Array;
  /** By owner: its blocks with news, linked; NO_NEWS; or SEEN, none linked yet. */
  #firstNews: Int32Array;
  readonly #nextNews: Int32Array;
  /** By owner: the newest block that the first look saw. */
  #newestOrder: Int32Array;
  /** By block with news: its number among the owner's. */
  readonly #order: Int32Array;
  #orderSeen = 0;
  /** Scratch, to sort an owner's blocks: order * 65536 + block. */
  readonly #sorted: Float64Array;
  /** Whose turn it is first, so that a flood starves nobody. */
  #turn = 0;
  /** What the take under way may still take. */
  #budgetBytes = 0;
  #publishesSeen = 0;
  #hasMore = false;

  constructor(control: SpoolControl, memory: SpoolMemory, close: () => void) {
    const { buffer, byteOffset, length } = memory.buffer;
    const blocks = Math.floor((length - FILE_HEADER_BYTES) / BLOCK_BYTES);
    this.close = close;
    this.#control = control;
    this.#memory = memory;
    this.#words = new Int32Array(buffer, byteOffset, length >> 2);
    this.#doubles = new Float64Array(buffer, byteOffset, length >> 3);
    this.#blocks = blocks;
    this.#taken = new Int32Array(blocks);
    this.#portId = new Int32Array(blocks);
    this.#epoch = new Float64Array(blocks);
    this.#touched = new Int32Array(blocks);
    this.#isTouched = new Uint8Array(blocks);
    this.#firstNews = new Int32Array(64);
    this.#nextNews = new Int32Array(blocks);
    this.#newestOrder = new Int32Array(64);
    this.#order = new Int32Array(blocks);
    this.#sorted = new Float64Array(blocks);
  }

  waitingBytes(): number {
    return this.#control.waitingBytes();
  }

  take(bytesMax: number, visit: EntryVisitor): number {
    this.#publishesSeen = this.#control.publishes();
    this.#hasMore = false;
    const owners = this.#findNews();
    const turn = this.#turn;
    let bytes = 0;
    this.#budgetBytes = bytesMax;
    for (let i = 0; i < owners; i++) {
      const owner = (turn + i) % owners;
      if (this.#firstNews[owner]! < 0) continue;
      if (this.#budgetBytes <= 0) {
        this.#hasMore = true;
        break;
      }
      bytes += this.#takeOwner(owner, visit);
      this.#turn = owner + 1;
    }
    return bytes;
  }

  committed(): void {
    if (this.#touchedCount === 0) return;
    for (let i = 0; i < this.#touchedCount; i++) {
      const block = this.#touched[i]!;
      this.#isTouched[block] = 0;
      Atomics.store(this.#control.committed, block, this.#taken[block]!);
    }
    this.#touchedCount = 0;
    this.#control.countCommit();
  }

  wait(timeoutMs: number, until: 'published' | 'urgent' = 'published'): void {
    this.#control.wait(
      timeoutMs,
      until,
      until === 'published'
        ? () => this.#hasMore || this.#control.publishes() !== this.#publishesSeen
        : () => this.#control.waitingBytes() >= URGENT_BYTES,
    );
  }

  /**
   * Links the blocks with news by owner; returns how many owners to look through. Looks twice: while
   * the first look went past a block, capture may have filled it and begun one that lies ahead of the
   * look. So the first finds the newest block of each owner; all that is older was complete by
   * then, and the second look finds it and leaves anything newer alone.
   */
  #findNews(): number {
    const { published } = this.#control;
    const taken = this.#taken;
    this.#firstNews.fill(NO_NEWS);
    let owners = 0;
    for (let block = 0; block < this.#blocks; block++) {
      if (published[block] === taken[block]) continue;
      const owner = this.#ownerOfNews(block);
      if (owner < 0) continue;
      if (owner >= owners) owners = owner + 1;
      if (owner >= this.#firstNews.length) this.#growOwners(owner + 1);
      const isFirst = this.#firstNews[owner] === NO_NEWS;
      if (isFirst || ((this.#orderSeen - this.#newestOrder[owner]!) | 0) > 0) {
        this.#newestOrder[owner] = this.#orderSeen;
      }
      this.#firstNews[owner] = SEEN;
    }
    for (let block = 0; owners > 0 && block < this.#blocks; block++) {
      if (published[block] === taken[block]) continue;
      const owner = this.#ownerOfNews(block);
      if (owner < 0) continue;
      const first = owner < owners ? this.#firstNews[owner]! : NO_NEWS;
      if (first === NO_NEWS || ((this.#orderSeen - this.#newestOrder[owner]!) | 0) > 0) {
        this.#hasMore = true;
        continue;
      }
      this.#order[block] = this.#orderSeen;
      this.#nextNews[block] = first;
      this.#firstNews[owner] = block;
    }
    return owners;
  }

  /**
   * Sets `#orderSeen` too. -1: nothing in the block yet, or it is changing hands, and what its next
   * owner writes comes later.
   */
  #ownerOfNews(block: number): number {
    const control = this.#control;
    const before = Atomics.load(control.published, block);
    if ((before & FILL_MASK) << 3 <= BLOCK_HEAD_BYTES) return -1;
    const owner = Atomics.load(control.owner, block);
    this.#orderSeen = Atomics.load(control.order, block);
    const isFree = Atomics.load(control.state, block) === FREE;
    const isSameUse = ((Atomics.load(control.published, block) ^ before) & ~FILL_MASK) === 0;
    return isFree || !isSameUse ? -1 : owner;
  }

  /**
   * Takes from one owner's blocks, oldest first, within the budget. Every block but the first counts
   * as full: blocks, not bytes, are what is kept from eviction until the commit.
   */
  #takeOwner(owner: number, visit: EntryVisitor): number {
    const base = this.#order[this.#firstNews[owner]!]!; // orders may wrap: only differences count
    let count = 0;
    for (let block = this.#firstNews[owner]!; block >= 0; block = this.#nextNews[block]!) {
      this.#sorted[count++] = ((this.#order[block]! - base) | 0) * (BLOCKS_MAX + 1) + block;
    }
    if (count > 1) this.#sorted.subarray(0, count).sort();
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      if (this.#budgetBytes <= 0) {
        this.#hasMore = true;
        break;
      }
      const key = this.#sorted[i]!;
      const block = key - Math.floor(key / (BLOCKS_MAX + 1)) * (BLOCKS_MAX + 1);
      if (!this.#claim(block, owner)) continue;
      const taken = this.#takeBlock(block, this.#budgetBytes, visit);
      this.#budgetBytes -= i === 0 ? taken : BLOCK_BYTES;
      bytes += taken;
    }
    return bytes;
  }

  /** Makes the block safe from eviction; false when capture was quicker. */
  #claim(block: number, owner: number): boolean {
    const { published, state, owner: owners, order } = this.#control;
    const isSameUse = ((Atomics.load(published, block) ^ this.#taken[block]!) & ~FILL_MASK) === 0;
    if (isSameUse && Atomics.load(state, block) === TAKEN) return true;
    if (Atomics.compareExchange(state, block, HELD, TAKEN) !== HELD) return false;
    if (
      Atomics.load(owners, block) !== owner ||
      Atomics.load(order, block) !== this.#order[block]!
    ) {
      // Evicted and begun anew since it was looked at: its turn comes with the next take.
      Atomics.store(state, block, HELD);
      this.#hasMore = true;
      return false;
    }
    const at = blockStart(block);
    this.#memory.refresh(at, BLOCK_HEAD_BYTES);
    assert(this.#words[(at >> 2) + BLOCK.magic] === BLOCK_MAGIC, 'a published block has its head');
    this.#portId[block] = this.#words[(at >> 2) + BLOCK.portId]!;
    this.#epoch[block] = this.#doubles[(at >> 3) + BLOCK.epoch]!;
    const use = Atomics.load(published, block) & ~FILL_MASK;
    this.#taken[block] = use | (BLOCK_HEAD_BYTES >> 3);
    return true;
  }

  #takeBlock(block: number, bytesMax: number, visit: EntryVisitor): number {
    const published = Atomics.load(this.#control.published, block);
    const start = blockStart(block);
    const from = start + ((this.#taken[block]! & FILL_MASK) << 3);
    const end = start + ((published & FILL_MASK) << 3);
    this.#memory.refresh(from, end - from);
    const words = this.#words;
    const doubles = this.#doubles;
    const { buffer } = this.#memory;
    const portId = this.#portId[block]!;
    const epoch = this.#epoch[block]!;
    let at = from;
    while (at < end && at - from < bytesMax) {
      const word = at >> 2;
      const double = at >> 3;
      assert(words[word + ENTRY.state] === STATE_CLOSED, 'a published entry is closed');
      const packed = words[word + ENTRY.kindAndLength]!;
      const length = packed >>> 8;
      visit(
        portId,
        epoch,
        KIND_OF_NUMBER[packed & 0xff]!,
        doubles[double + ENTRY.seq]!,
        doubles[double + ENTRY.offset]!,
        doubles[double + ENTRY.atUs]!,
        buffer,
        at + ENTRY_HEAD_BYTES,
        length,
      );
      at += entryBytes(length);
    }
    if (at < end) this.#hasMore = true;
    this.#taken[block] = (published & ~FILL_MASK) | ((at - start) >> 3);
    if (this.#isTouched[block] === 0) {
      this.#isTouched[block] = 1;
      this.#touched[this.#touchedCount++] = block;
    }
    this.#control.addTaken(at - from);
    return at - from;
  }

  #growOwners(owners: number): void {
    const firstNews = new Int32Array(2 * owners).fill(NO_NEWS);
    const newestOrder = new Int32Array(2 * owners);
    firstNews.set(this.#firstNews);
    newestOrder.set(this.#newestOrder);
    this.#firstNews = firstNews;
    this.#newestOrder = newestOrder;
  }
}

const NO_NEWS = -2;
const SEEN = -1;
