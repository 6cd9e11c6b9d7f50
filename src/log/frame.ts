import assert from 'node:assert/strict';
import { RECORD_KINDS, type LogRecord, type RecordKind } from '../core/record.ts';
import { ByteReader, damaged, unzigzag, VARINT_BYTES_MAX, writeVarint, zigzag } from './bytes.ts';
import { decodeBody, kindOfCode } from './record-body.ts';

export { decodeBody, encodeBody } from './record-body.ts';

/**
 * A frame holds records of one port and epoch, contiguous in seq, with time never falling:
 *
 *   byte version (1), varint record count, varint length of the heads,
 *   heads: for each record zigzag-varint microseconds since the one before, byte kind, varint length,
 *   payloads, one after the other.
 *
 * Heads and payloads lie apart: a console's text compresses better in one piece, and joining
 * frames is a copy. rx of identical bytes over 1 KB is a run: kind 0x81, the length of the run, and
 * one byte of payload. The format is stored for ever: a change is a new version number beside this.
 */
const FRAME_VERSION = 1;
const RUN = 0x80;
const RUN_BYTES_MIN = 1025;
/** What one frame may decode to: far above what is ever written, far below what hurts. */
export const FRAME_BYTES_MAX = 64 * 1024 * 1024;

const RX = RECORD_KINDS.rx;
const GAP = RECORD_KINDS.gap;

/** Where a frame begins; the rest follows from its records. */
export interface FrameHead {
  epoch: number;
  firstSeq: number;
  /** Of the next rx byte at firstSeq. */
  offset: number;
  firstUs: number;
}

export interface PackedFrame extends Omit<FrameHead, 'epoch'> {
  lastSeq: number;
  /** Offset after the last record. */
  endOffset: number;
  lastUs: number;
  /** Payload bytes, runs counted in full. */
  bytes: number;
  packed: Buffer;
}

/** Packs records into a frame, without an object for each. Reusable: `finish` begins anew. */
export class FrameBuilder {
  #heads: Buffer = Buffer.allocUnsafe(16 * 1024);
  #headsLength = 0;
  #payloads: Buffer = Buffer.allocUnsafe(64 * 1024);
  #payloadsLength = 0;
  #count = 0;
  #firstSeq = 0;
  #nextSeq = 0;
  #offset = 0;
  #endOffset = 0;
  #firstUs = 0;
  #lastUs = 0;
  #bytes = 0;

  /** Records so far. */
  get count(): number {
    return this.#count;
  }
  /** Payload bytes so far, runs counted in full. */
  get bytes(): number {
    return this.#bytes;
  }
  get lastUs(): number {
    return this.#lastUs;
  }
  /** Where the next record must go on. */
  get nextSeq(): number {
    return this.#nextSeq;
  }
  get endOffset(): number {
    return this.#endOffset;
  }

  /**
   * Adds one record; the payload is copied. It must go on where the last one ended (asserted), and
   * its time must not fall.
   * @throws Fault LOG_DAMAGED for a gap whose payload cannot be read.
   */
  add(
    kind: RecordKind,
    seq: number,
    offset: number,
    atUs: number,
    memory: Buffer,
    start: number,
    length: number,
  ): void {
    let seqs = 1;
    let offsets = 0;
    if (kind === 'rx') {
      offsets = length;
    } else if (kind === 'gap') {
      const gap = decodeBody(kind, memory.subarray(start, start + length));
      assert(gap.kind === 'gap');
      seqs = gap.seqs;
      offsets = gap.to - gap.from;
    }
    if (this.#count === 0) {
      this.#firstSeq = seq;
      this.#offset = offset;
      this.#firstUs = this.#lastUs = atUs;
    } else {
      assert(seq === this.#nextSeq && offset === this.#endOffset, 'records are contiguous');
      assert(atUs >= this.#lastUs, 'time never falls within a frame');
    }
    const isRun = kind === 'rx' && length >= RUN_BYTES_MIN && isOneByte(memory, start, length);
    this.#addHead(atUs - this.#lastUs, RECORD_KINDS[kind] | (isRun ? RUN : 0), length);
    this.#addPayload(memory, start, isRun ? 1 : length);
    this.#count++;
    this.#nextSeq = seq + seqs;
    this.#endOffset = offset + offsets;
    this.#lastUs = atUs;
    this.#bytes += length;
  }

  /** The frame; the builder is empty again. There must be a record. */
  finish(): PackedFrame {
    assert(this.#count > 0, 'a frame holds at least one record');
    const packed = Buffer.allocUnsafeSlow(
      1 + 2 * VARINT_BYTES_MAX + this.#headsLength + this.#payloadsLength,
    );
    let at = writePreamble(packed, this.#count, this.#headsLength);
    at += this.#heads.copy(packed, at, 0, this.#headsLength);
    at += this.#payloads.copy(packed, at, 0, this.#payloadsLength);
    const frame: PackedFrame = {
      firstSeq: this.#firstSeq,
      lastSeq: this.#nextSeq - 1,
      offset: this.#offset,
      endOffset: this.#endOffset,
      firstUs: this.#firstUs,
      lastUs: this.#lastUs,
      bytes: this.#bytes,
      packed: packed.subarray(0, at),
    };
    this.#headsLength = this.#payloadsLength = this.#count = this.#bytes = 0;
    return frame;
  }

  #addHead(deltaUs: number, code: number, length: number): void {
    if (this.#heads.length - this.#headsLength < 1 + 2 * VARINT_BYTES_MAX) {
      this.#heads = grown(this.#heads, this.#heads.length * 2);
    }
    let at = writeVarint(this.#heads, this.#headsLength, zigzag(deltaUs));
    this.#heads[at++] = code;
    this.#headsLength = writeVarint(this.#heads, at, length);
  }

  #addPayload(memory: Buffer, start: number, length: number): void {
    const needed = this.#payloadsLength + length;
    if (needed > this.#payloads.length) {
      this.#payloads = grown(this.#payloads, Math.max(needed, this.#payloads.length * 2));
    }
    memory.copy(this.#payloads, this.#payloadsLength, start, start + length);
    this.#payloadsLength = needed;
  }
}

/**
 * Called for each record of a frame, in order. The payload is `memory` from `start`, `length` bytes;
 * of a run (`isRun`) only the first lies there, and the record is `length` times it. Return false to
 * stop.
 */
export type RecordVisitor = (
  kind: RecordKind,
  seq: number,
  offset: number,
  atUs: number,
  memory: Uint8Array,
  start: number,
  length: number,
  isRun: boolean,
) => boolean | undefined;

/** Where a frame ends, as its records say. */
export interface FrameEnd {
  nextSeq: number;
  endOffset: number;
  lastUs: number;
  records: number;
}

/**
 * Walks a frame without an object for each record. Total: any bytes give records or a Fault, in time
 * and memory bounded by their length and FRAME_BYTES_MAX.
 * @throws Fault LOG_DAMAGED.
 */
export function walkFrame(
  head: Omit<FrameHead, 'epoch'>,
  packed: Uint8Array,
  visit: RecordVisitor,
): FrameEnd {
  const { count, heads, payloadsAt } = readPreamble(packed);
  let at = payloadsAt;
  let bytes = 0;
  const end: FrameEnd = {
    nextSeq: head.firstSeq,
    endOffset: head.offset,
    lastUs: head.firstUs,
    records: count,
  };
  for (let i = 0; i < count; i++) {
    const atUs = end.lastUs + unzigzag(heads.varint());
    const code = heads.byte();
    const isRun = code === (RX | RUN);
    const kind = isRun ? 'rx' : kindOfCode(code);
    if (kind === null) throw damaged(`a record is of an unknown kind (${code})`);
    const length = heads.varint();
    const stored = isRun ? 1 : length;
    bytes += length;
    if (stored > packed.length - at) throw damaged('a record is longer than its frame');
    if (bytes > FRAME_BYTES_MAX) throw damaged('a frame holds more than any frame can');
    const [seq, offset] = [end.nextSeq, end.endOffset];
    end.nextSeq += 1;
    end.lastUs = atUs;
    if (code === GAP) {
      const gap = decodeBody('gap', packed.subarray(at, at + length));
      assert(gap.kind === 'gap');
      end.nextSeq = seq + gap.seqs;
      end.endOffset = offset + gap.to - gap.from;
    } else if (kind === 'rx') {
      end.endOffset = offset + length;
    }
    if (!Number.isSafeInteger(end.endOffset) || !Number.isSafeInteger(end.nextSeq)) {
      throw damaged('a record stands beyond every offset');
    }
    if (!Number.isSafeInteger(atUs)) throw damaged('a record has an impossible time');
    if (visit(kind, seq, offset, atUs, packed, at, length, isRun) === false) return end;
    at += stored;
  }
  if (heads.at !== heads.end || at !== packed.length) throw damaged('a frame has a surplus');
  return end;
}

/**
 * All records of a frame. rx, tx and tx-text bytes are views of `packed`, runs are expanded.
 * @throws Fault LOG_DAMAGED.
 */
export function decodeFrame(head: FrameHead, packed: Uint8Array): LogRecord[] {
  const records: LogRecord[] = [];
  walkFrame(head, packed, (kind, seq, offset, atUs, memory, start, length, isRun) => {
    const payload = isRun
      ? Buffer.alloc(length, memory[start])
      : memory.subarray(start, start + length);
    records.push({ epoch: head.epoch, seq, offset, atUs, ...decodeBody(kind, payload) });
    return true;
  });
  return records;
}

/** The kind of a frame's first record. @throws Fault LOG_DAMAGED. */
export function firstKindOf(packed: Uint8Array): RecordKind {
  const { heads } = readPreamble(packed);
  heads.varint();
  const kind = kindOfCode(heads.byte() & ~RUN);
  if (kind === null) throw damaged('a frame begins with an unknown record');
  return kind;
}

/**
 * Joins frames, each going on where the one before ended, into one frame. A copy, no decoding: only
 * each frame's first time difference is written anew.
 * @throws Fault LOG_DAMAGED.
 */
export function joinFrames(
  frames: readonly Pick<PackedFrame, 'firstUs' | 'lastUs' | 'packed'>[],
): Buffer {
  const parts = frames.map((frame) => ({ ...readPreamble(frame.packed), frame }));
  const bound = parts.reduce(
    (sum, part) => sum + part.frame.packed.length + VARINT_BYTES_MAX,
    1 + 2 * VARINT_BYTES_MAX,
  );
  const headsBytes = Buffer.allocUnsafe(
    parts.reduce((sum, part) => sum + part.heads.end - part.heads.at + VARINT_BYTES_MAX, 0),
  );
  let headsLength = 0;
  let count = 0;
  let lastUs = frames[0].firstUs;
  for (const { heads, frame, count: records } of parts) {
    if (heads.varint() !== 0) throw damaged('a frame does not begin at its first time');
    headsLength = writeVarint(headsBytes, headsLength, zigzag(frame.firstUs - lastUs));
    headsBytes.set(heads.rest(), headsLength);
    headsLength += heads.end - heads.at;
    lastUs = frame.lastUs;
    count += records;
  }
  const joined = Buffer.allocUnsafe(bound);
  let at = writePreamble(joined, count, headsLength);
  at += headsBytes.copy(joined, at, 0, headsLength);
  for (const { frame, payloadsAt } of parts) at += frame.packed.copy(joined, at, payloadsAt);
  return joined.subarray(0, at);
}

function writePreamble(target: Buffer, count: number, headsLength: number): number {
  target[0] = FRAME_VERSION;
  return writeVarint(target, writeVarint(target, 1, count), headsLength);
}

function readPreamble(packed: Uint8Array): {
  count: number;
  heads: ByteReader;
  payloadsAt: number;
} {
  const reader = new ByteReader(packed);
  const version = reader.byte();
  if (version !== FRAME_VERSION) throw damaged(`a frame has the unknown version ${version}`);
  const count = reader.varint();
  const headsLength = reader.varint();
  const payloadsAt = reader.at + headsLength;
  // A head takes 3 bytes at least: a frame cannot claim more records than it has heads for.
  if (payloadsAt > packed.length || count * 3 > headsLength || count === 0) {
    throw damaged('a frame is shorter than it says');
  }
  return { count, heads: new ByteReader(packed, reader.at, payloadsAt), payloadsAt };
}

/** Compares the memory with itself, one byte on: native code, no loop. */
function isOneByte(memory: Buffer, start: number, length: number): boolean {
  const end = start + length;
  return (
    memory[start] === memory[end - 1] &&
    memory.compare(memory, start + 1, end, start, end - 1) === 0
  );
}

function grown(buffer: Buffer, bytes: number): Buffer {
  const larger = Buffer.allocUnsafe(bytes);
  buffer.copy(larger);
  return larger;
}
