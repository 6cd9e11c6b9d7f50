import assert from 'node:assert/strict';
import { RECORD_KINDS } from '../core/record.ts';
import type { RecordKind } from '../core/record.ts';
import { PAYLOAD_BYTES_MAX } from '../core/spool.ts';
import type { SpoolPort, SpooledRead } from '../core/spool.ts';
import type { BlockOwner, SpoolBlocks } from './spool-blocks.ts';
import {
  BLOCK,
  BLOCK_BYTES,
  BLOCK_HEAD_BYTES,
  ENTRY,
  ENTRY_HEAD_BYTES,
  PATTERN,
  READ_BYTES_MIN,
  STATE_CLOSED,
  STATE_END,
  STATE_OPEN,
  blockStart,
  entryBytes,
  entryCrc,
  openCheck,
} from './spool-layout.ts';

/** A current block that is wholly committed is begun anew once so much of it is used: one page. */
const REWIND_BYTES = 4096;

/** Capture's end of the spool for one port: writes entries into the port's current block. */
export class BlockSpoolPort implements SpoolPort, BlockOwner {
  readonly slot: number;
  readonly uuidBytes: Uint8Array;
  portId: number;
  epoch: number;
  oldest = -1;
  newest = -1;
  current = -1;
  isReading = false;
  blocks = 0;
  order = 0;
  /** Nobody writes any more. */
  isReleased = false;
  readonly #blocks: SpoolBlocks;
  /** Of the current block: where it starts in the file, how much of it is used, its CRC seed. */
  #start = 0;
  #fill = BLOCK_BYTES;
  #seed = 0;
  readonly #result: { -readonly [K in keyof SpooledRead]: SpooledRead[K] };
  #unlogged: Buffer | null = null;

  constructor(
    blocks: SpoolBlocks,
    slot: number,
    portId: number,
    uuidBytes: Uint8Array,
    epoch: number,
  ) {
    this.#blocks = blocks;
    this.slot = slot;
    this.portId = portId;
    this.uuidBytes = uuidBytes;
    this.epoch = epoch;
    this.#result = { count: 0, atUs: 0, memory: blocks.memory.buffer, start: 0 };
  }

  append(kind: RecordKind, seq: number, offset: number, atUs: number, payload: Uint8Array): void {
    const length = payload.length;
    assert(length <= PAYLOAD_BYTES_MAX, 'a record fits into a block');
    assert(!this.isReading, 'a port appends nothing from within its own read');
    if (!this.#makeRoom(ENTRY_HEAD_BYTES + length, seq, offset)) return;
    const at = this.#start + this.#fill;
    this.#endAt(this.#fill + entryBytes(length));
    this.#blocks.memory.buffer.set(payload, at + ENTRY_HEAD_BYTES);
    this.#close(RECORD_KINDS[kind], seq, offset, atUs, length);
  }

  readInto(
    seq: number,
    offset: number,
    nowUs: () => number,
    read: (memory: Buffer, start: number, lengthMax: number) => number,
  ): SpooledRead {
    assert(!this.isReading, 'a port reads once at a time');
    const result = this.#result;
    if (!this.#makeRoom(ENTRY_HEAD_BYTES + READ_BYTES_MIN, seq, offset)) {
      return this.#readUnlogged(nowUs, read);
    }
    const { memory, words } = this.#blocks;
    const at = this.#start + this.#fill;
    const start = at + ENTRY_HEAD_BYTES;
    const lengthMax = this.#start + BLOCK_BYTES - start;
    if (memory.isMapped) this.#open(seq, offset, nowUs());
    let count = 0;
    this.isReading = true;
    try {
      count = read(memory.buffer, start, lengthMax);
      assert(count <= lengthMax, 'a read keeps to its room');
    } finally {
      this.isReading = false;
      if (!(count > 0)) words[at >> 2] = STATE_END;
    }
    result.memory = memory.buffer;
    result.start = start;
    result.count = count;
    // From here on recovery goes by the length: what follows is no pattern any more.
    if (count > 0) words[(at >> 2) + ENTRY.kindAndLength] = RECORD_KINDS.rx | (count << 8);
    if (memory.isMapped && count >= 0 && count < lengthMax) this.#checkClean(start + count);
    if (count > 0) {
      this.#endAt(this.#fill + entryBytes(count));
      result.atUs = nowUs();
      this.#close(RECORD_KINDS.rx, seq, offset, result.atUs, count);
    }
    return result;
  }

  release(): void {
    this.isReleased = true;
    this.current = -1;
  }

  /** The port is configured again, perhaps under another number or in a new epoch. */
  renew(portId: number, epoch: number): void {
    this.isReleased = false;
    if (portId === this.portId && epoch === this.epoch) return;
    this.portId = portId;
    this.epoch = epoch;
    this.current = -1;
  }

  /** An entry of so many bytes fits into the current block from here on. */
  #makeRoom(bytes: number, seq: number, offset: number): boolean {
    const blocks = this.#blocks;
    if (this.current >= 0) {
      if (this.#fill >= REWIND_BYTES && blocks.isIdle(this.current)) {
        blocks.rewind(this, seq, offset);
        this.#beginCurrent();
        return true;
      }
      if (bytes <= BLOCK_BYTES - this.#fill) return true;
    }
    if (!blocks.take(this, seq, offset)) return false;
    this.#beginCurrent();
    return true;
  }

  #beginCurrent(): void {
    this.#start = blockStart(this.current);
    this.#fill = BLOCK_HEAD_BYTES;
    this.#seed = this.#blocks.words[(this.#start >> 2) + BLOCK.crc]!;
  }

  /** Lays out the pattern and the head of a read whose length is not known yet. */
  #open(seq: number, offset: number, atUs: number): void {
    const { words, doubles, memory, cleanFrom } = this.#blocks;
    const at = this.#start + this.#fill;
    const payload = this.#fill + ENTRY_HEAD_BYTES;
    const clean = cleanFrom[this.current]!;
    if (payload < clean) {
      PATTERN.copy(memory.buffer, this.#start + payload, payload, clean);
      cleanFrom[this.current] = payload;
    }
    const word = at >> 2;
    const double = at >> 3;
    doubles[double + ENTRY.seq] = seq;
    doubles[double + ENTRY.offset] = offset;
    doubles[double + ENTRY.atUs] = atUs;
    words[word + ENTRY.kindAndLength] = RECORD_KINDS.rx;
    words[word + ENTRY.check] = openCheck(this.#seed, words, word);
    words[word + ENTRY.state] = STATE_OPEN;
  }

  /** A read that wrote more than it says (a decoder in place) leaves no pattern behind it. */
  #checkClean(at: number): void {
    const { memory, cleanFrom } = this.#blocks;
    if (memory.buffer[at] !== PATTERN[at - this.#start]) cleanFrom[this.current] = BLOCK_BYTES;
  }

  /** The block ends at `fill` for now; before the entry in front of it is closed. */
  #endAt(fill: number): void {
    if (fill > BLOCK_BYTES - ENTRY_HEAD_BYTES) return; // nothing can follow: the reader knows
    this.#blocks.words[(this.#start + fill) >> 2] = STATE_END;
  }

  /** Completes the entry at the fill, state last, and publishes it. */
  #close(kind: number, seq: number, offset: number, atUs: number, length: number): void {
    const { words, doubles, memory, cleanFrom } = this.#blocks;
    const at = this.#start + this.#fill;
    const word = at >> 2;
    const double = at >> 3;
    words[word + ENTRY.kindAndLength] = kind | (length << 8);
    doubles[double + ENTRY.seq] = seq;
    doubles[double + ENTRY.offset] = offset;
    doubles[double + ENTRY.atUs] = atUs;
    words[word + ENTRY.crc] = entryCrc(memory.buffer, at, length, this.#seed);
    words[word + ENTRY.state] = STATE_CLOSED;

    const bytes = entryBytes(length);
    this.#fill += bytes;
    memory.written(at, Math.min(bytes + 4, this.#start + BLOCK_BYTES - at));
    const dirtyTo = Math.min(BLOCK_BYTES, this.#fill + ENTRY_HEAD_BYTES);
    if (cleanFrom[this.current]! < dirtyTo) cleanFrom[this.current] = dirtyTo;
    this.#blocks.grow(this.current, this.#fill, bytes);
  }

  /** No block to be had: the device is read all the same, and the log will show a hole. */
  #readUnlogged(
    nowUs: () => number,
    read: (memory: Buffer, start: number, lengthMax: number) => number,
  ): SpooledRead {
    const memory = (this.#unlogged ??= Buffer.allocUnsafeSlow(READ_BYTES_MIN));
    const result = this.#result;
    result.count = read(memory, 0, memory.length);
    result.atUs = nowUs();
    result.memory = memory;
    result.start = 0;
    return result;
  }
}
