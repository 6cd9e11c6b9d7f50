import assert from 'node:assert/strict';
import { RECORD_KINDS, type LogRecord, type RecordKind } from '../core/record.ts';
import { ByteReader, damaged, unzigzag, VARINT_BYTES_MAX, writeVarint, zigzag } from './bytes.ts';
import { decodeBody, kindOfCode } from './record-body.ts';

export { decodeBody, encodeBody } from './record-body.ts';

/**
 * A frame holds records of one port and epoch, contiguous in seq, with time never falling:
 *
 *   byte version (1 or 2), varint count of heads, varint length of the heads,
 *   heads: for each record zigzag-varint microseconds since the one before, byte kind, varint length,
 *   payloads, one after the other.
 *
 * Heads and payloads lie apart: a console's text compresses better in one piece, and joining
 * frames is a copy. rx of identical bytes over 1 KB is a run: kind 0x81, the length of the run, and
 * one byte of payload.
 *
 * Version 2 adds runs of several records: a line that sends nothing but NULs is read in small pieces,
 * whose heads would cost more than the log of a console that says something. Records in a row of one
 * and the same byte, over 1 KB together and within 10 s, are one head: kind 0xc1, their bytes, varint
 * how many records, varint microseconds from the first to the last. Of these records only the sums
 * are kept: they come back evenly spread, each with its seq. A frame without any is of version 1.
 *
 * The format is stored for ever: a change is a new version number beside these.
 */
const FRAME_VERSION = 1;
const FRAME_VERSION_RUNS = 2;
const RUN = 0x80;
const SEVERAL = 0x40;
const RUN_BYTES_MIN = 1025;
const RUN_SPAN_US_MAX = 10_000_000;
/** What one frame may decode to: far above what is ever written, far below what hurts. */
export const FRAME_BYTES_MAX = 64 * 1024 * 1024;
const FRAME_RECORDS_MAX = 4 * 1024 * 1024;

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
  #headCount = 0;
  #payloads: Buffer = Buffer.allocUnsafe(64 * 1024);
  #payloadsLength = 0;
  #version = FRAME_VERSION;
  #count = 0;
  #firstSeq = 0;
  #nextSeq = 0;
  #offset = 0;
  #endOffset = 0;
  #firstUs = 0;
  #lastUs = 0;
  #bytes = 0;
  /** The last records, all rx of one byte; `records` 0: there are none. */
  readonly #same = {
    byte: 0,
    records: 0,
    bytes: 0,
    firstUs: 0,
    /** What the frame was before the first of them. */
    before: { headsLength: 0, headCount: 0, payloadsLength: 0, lastUs: 0 },
  };

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
    if (kind === 'rx' && length > 0 && isOneByte(memory, start, length)) {
      this.addRun(seq, offset, atUs, memory[start], length);
      return;
    }
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
    this.#goOn(seq, offset, atUs);
    this.#same.records = 0;
    this.#addHead(atUs - this.#lastUs, RECORD_KINDS[kind], length);
    const at = this.#roomForPayload(length);
    memory.copy(this.#payloads, at, start, start + length);
    this.#added(atUs, seqs, offsets, length);
  }

  /** Adds one rx record of `length` (1 or more) times the same byte, under the rules of `add`. */
  addRun(seq: number, offset: number, atUs: number, byte: number, length: number): void {
    this.#goOn(seq, offset, atUs);
    const same = this.#same;
    if (same.records === 0 || same.byte !== byte || atUs - same.firstUs > RUN_SPAN_US_MAX) {
      same.byte = byte;
      same.records = same.bytes = 0;
      same.firstUs = atUs;
      same.before.headsLength = this.#headsLength;
      same.before.headCount = this.#headCount;
      same.before.payloadsLength = this.#payloadsLength;
      same.before.lastUs = this.#lastUs;
    }
    same.records++;
    same.bytes += length;
    if (same.bytes >= RUN_BYTES_MIN) {
      this.#addSame(atUs);
    } else {
      this.#addHead(atUs - this.#lastUs, RX, length);
      const at = this.#roomForPayload(length);
      this.#payloads.fill(byte, at, at + length);
    }
    this.#added(atUs, 1, length, length);
  }

  /** The frame; the builder is empty again. There must be a record. */
  finish(): PackedFrame {
    assert(this.#count > 0, 'a frame holds at least one record');
    const packed = Buffer.allocUnsafeSlow(
      1 + 2 * VARINT_BYTES_MAX + this.#headsLength + this.#payloadsLength,
    );
    let at = writePreamble(packed, this.#version, this.#headCount, this.#headsLength);
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
    this.#headsLength = this.#headCount = this.#payloadsLength = this.#count = this.#bytes = 0;
    this.#version = FRAME_VERSION;
    this.#same.records = 0;
    return frame;
  }

  #goOn(seq: number, offset: number, atUs: number): void {
    if (this.#count === 0) {
      this.#firstSeq = this.#nextSeq = seq;
      this.#offset = this.#endOffset = offset;
      this.#firstUs = this.#lastUs = atUs;
      return;
    }
    assert(seq === this.#nextSeq && offset === this.#endOffset, 'records are contiguous');
    assert(atUs >= this.#lastUs, 'time never falls within a frame');
  }

  #added(atUs: number, seqs: number, offsets: number, bytes: number): void {
    this.#count++;
    this.#nextSeq += seqs;
    this.#endOffset += offsets;
    this.#lastUs = atUs;
    this.#bytes += bytes;
  }

  /** Puts one head in the place of those of the last records, which are all of one byte. */
  #addSame(atUs: number): void {
    const { byte, records, bytes, firstUs, before } = this.#same;
    this.#headsLength = before.headsLength;
    this.#headCount = before.headCount;
    this.#payloadsLength = before.payloadsLength;
    this.#addHead(firstUs - before.lastUs, RX | RUN | (records > 1 ? SEVERAL : 0), bytes);
    if (records > 1) {
      this.#version = FRAME_VERSION_RUNS;
      this.#headsLength = writeVarint(this.#heads, this.#headsLength, records);
      this.#headsLength = writeVarint(this.#heads, this.#headsLength, atUs - firstUs);
    }
    this.#payloads[this.#roomForPayload(1)] = byte;
  }

  #addHead(deltaUs: number, code: number, length: number): void {
    if (this.#heads.length - this.#headsLength < 1 + 4 * VARINT_BYTES_MAX) {
      this.#heads = grown(this.#heads, this.#heads.length * 2);
    }
    let at = writeVarint(this.#heads, this.#headsLength, zigzag(deltaUs));
    this.#heads[at++] = code;
    this.#headsLength = writeVarint(this.#heads, at, length);
    this.#headCount++;
  }

  /** Where the payload goes, to be written by the caller. */
  #roomForPayload(length: number): number {
    const at = this.#payloadsLength;
    const needed = at + length;
    if (needed > this.#payloads.length) {
      this.#payloads = grown(this.#payloads, Math.max(needed, this.#payloads.length * 2));
    }
    this.#payloadsLength = needed;
    return at;
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
  const { version, count, heads, payloadsAt } = readPreamble(packed);
  let at = payloadsAt;
  let bytes = 0;
  const end: FrameEnd = {
    nextSeq: head.firstSeq,
    endOffset: head.offset,
    lastUs: head.firstUs,
    records: 0,
  };
  for (let i = 0; i < count; i++) {
    const firstUs = end.lastUs + unzigzag(heads.varint());
    const code = heads.byte();
    const isSeveral = version === FRAME_VERSION_RUNS && code === (RX | RUN | SEVERAL);
    const isRun = isSeveral || code === (RX | RUN);
    const kind = isRun ? 'rx' : kindOfCode(code);
    if (kind === null) throw damaged(`a record is of an unknown kind (${code})`);
    const length = heads.varint();
    const stored = isRun ? 1 : length;
    bytes += length;
    if (stored > packed.length - at) throw damaged('a record is longer than its frame');
    if (bytes > FRAME_BYTES_MAX) throw damaged('a frame holds more than any frame can');
    const several = isSeveral ? readSeveral(heads, length) : ONE;
    const { records, spanUs } = several;
    if (end.records + records > FRAME_RECORDS_MAX) {
      throw damaged('a frame holds more records than any frame can');
    }
    let given = 0;
    for (let nth = 1; nth <= records; nth++) {
      const upTo = nth === records ? length : Math.floor((length * nth) / records);
      const atUs = nth === 1 ? firstUs : firstUs + Math.floor((spanUs * (nth - 1)) / (records - 1));
      const [seq, offset] = [end.nextSeq, end.endOffset];
      end.nextSeq += 1;
      end.lastUs = atUs;
      if (code === GAP) {
        const gap = decodeBody('gap', packed.subarray(at, at + length));
        assert(gap.kind === 'gap');
        end.nextSeq = seq + gap.seqs;
        end.endOffset = offset + gap.to - gap.from;
      } else if (kind === 'rx') {
        end.endOffset = offset + upTo - given;
      }
      if (!Number.isSafeInteger(end.endOffset) || !Number.isSafeInteger(end.nextSeq)) {
        throw damaged('a record stands beyond every offset');
      }
      if (!Number.isSafeInteger(atUs)) throw damaged('a record has an impossible time');
      end.records++;
      const goesOn = visit(kind, seq, offset, atUs, packed, at, upTo - given, isRun);
      if (goesOn === false) return end;
      given = upTo;
    }
    at += stored;
  }
  if (heads.at !== heads.end || at !== packed.length) throw damaged('a frame has a surplus');
  return end;
}

const ONE = { records: 1, spanUs: 0 } as const;

/** What the head of a run of several records says besides its bytes. */
function readSeveral(heads: ByteReader, bytes: number): { records: number; spanUs: number } {
  const records = heads.varint();
  const spanUs = heads.varint();
  if (records < 2 || records > bytes || spanUs > RUN_SPAN_US_MAX) {
    throw damaged('a run is not what any frame holds');
  }
  return { records, spanUs };
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
  const kind = kindOfCode(heads.byte() & ~(RUN | SEVERAL));
  if (kind === null) throw damaged('a frame begins with an unknown record');
  return kind;
}

/** A frame and where it begins and ends. */
type Joinable = Pick<PackedFrame, 'firstSeq' | 'offset' | 'firstUs' | 'lastUs' | 'packed'>;

/**
 * Joins frames, each going on where the one before ended, into one frame. A copy, no decoding: only
 * each frame's first time difference is written anew. But frames of one and the same byte, which a
 * slow line of NULs fills, are packed together anew: each alone may be too short for a run.
 * @throws Fault LOG_DAMAGED.
 */
export function joinFrames(frames: readonly Joinable[]): Buffer {
  const parts = withRunsJoined(frames).map((frame) => ({ ...readPreamble(frame.packed), frame }));
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
  let version = FRAME_VERSION;
  for (const { heads, frame, count: headCount, version: ofPart } of parts) {
    if (heads.varint() !== 0) throw damaged('a frame does not begin at its first time');
    headsLength = writeVarint(headsBytes, headsLength, zigzag(frame.firstUs - lastUs));
    headsBytes.set(heads.rest(), headsLength);
    headsLength += heads.end - heads.at;
    lastUs = frame.lastUs;
    count += headCount;
    version = Math.max(version, ofPart);
  }
  const joined = Buffer.allocUnsafe(bound);
  let at = writePreamble(joined, version, count, headsLength);
  at += headsBytes.copy(joined, at, 0, headsLength);
  for (const { frame, payloadsAt } of parts) at += frame.packed.copy(joined, at, payloadsAt);
  return joined.subarray(0, at);
}

/** Puts one frame in the place of several in a row whose payloads are all of one byte. */
function withRunsJoined(frames: readonly Joinable[]): Joinable[] {
  const result: Joinable[] = [];
  let row: Joinable[] = [];
  let byte: number | null = null;
  const endRow = (): void => {
    if (row.length > 1) result.push(packedAnew(row));
    else result.push(...row);
    row = [];
  };
  for (const frame of frames) {
    const own = onlyByteOf(frame);
    if (own === null || own !== byte) endRow();
    byte = own;
    row.push(frame);
  }
  endRow();
  return result;
}

/** The byte that is all of a frame's payload; null: there are several. */
function onlyByteOf({ packed }: Joinable): number | null {
  const { payloadsAt } = readPreamble(packed);
  const length = packed.length - payloadsAt;
  return length > 0 && isOneByte(packed, payloadsAt, length) ? packed[payloadsAt] : null;
}

function packedAnew(frames: readonly Joinable[]): PackedFrame {
  const builder = new FrameBuilder();
  for (const frame of frames) {
    const { packed } = frame;
    walkFrame(frame, packed, (kind, seq, offset, atUs, _memory, start, length, isRun) => {
      if (isRun) builder.addRun(seq, offset, atUs, packed[start], length);
      else builder.add(kind, seq, offset, atUs, packed, start, length);
      return true;
    });
  }
  return builder.finish();
}

function writePreamble(
  target: Buffer,
  version: number,
  count: number,
  headsLength: number,
): number {
  target[0] = version;
  return writeVarint(target, writeVarint(target, 1, count), headsLength);
}

function readPreamble(packed: Uint8Array): {
  version: number;
  count: number;
  heads: ByteReader;
  payloadsAt: number;
} {
  const reader = new ByteReader(packed);
  const version = reader.byte();
  if (version !== FRAME_VERSION && version !== FRAME_VERSION_RUNS)
    throw damaged(`a frame has the unknown version ${version}`);
  const count = reader.varint();
  const headsLength = reader.varint();
  const payloadsAt = reader.at + headsLength;
  // A head takes 3 bytes at least: a frame cannot claim more records than it has heads for.
  if (payloadsAt > packed.length || count * 3 > headsLength || count === 0) {
    throw damaged('a frame is shorter than it says');
  }
  return { version, count, heads: new ByteReader(packed, reader.at, payloadsAt), payloadsAt };
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
