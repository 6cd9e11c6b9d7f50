import { crc32 } from 'node:zlib';
import { RECORD_KINDS } from '../core/record.ts';
import type { RecordKind } from '../core/record.ts';

/**
 * What the spool's file looks like (docs/decisions/0002): a page of header, then blocks. Numbers lie
 * in the byte order of the machine: the file never leaves it.
 *
 *     file    header | block | block | ...
 *     block   head (64) | entry | entry | ...              owned by one port and epoch at a time
 *     entry   head (40) | payload | up to 7 bytes, to a multiple of 8
 *
 * Word 0 of an entry's place is its state. It is written last, so that a process killed between any
 * two stores leaves either the end of the block or a whole entry.
 */
export const FILE_HEADER_BYTES = 4096;
export const BLOCK_BYTES = 16_384;
export const BLOCK_HEAD_BYTES = 64;
export const ENTRY_HEAD_BYTES = 40;
/** A read wants at least this much room: n_tty hands over about as much at once. */
export const READ_BYTES_MIN = 4096;
/** Block numbers are packed into 16 bits where blocks are sorted. 1 GiB. */
export const BLOCKS_MAX = 65_535;

/** Fields of a block head: indexes of 32-bit words and of doubles, from the start of the block. */
export const BLOCK = {
  /** BLOCK_MAGIC while the block is in use, BLOCK_EMPTY before and while it is begun. Written last. */
  magic: 0,
  /** CRC32 of the rest of the head. Also the seed of the CRCs of its entries. */
  crc: 1,
  portId: 2,
  /** How often this block has been begun: tells its entries from those of an earlier use. */
  use: 3,
  uuidBytes: 16,
  epoch: 4,
  firstSeq: 5,
  firstOffset: 6,
  /** Counts the blocks of a port. */
  order: 7,
} as const;

/** "FLBK" */
export const BLOCK_MAGIC = 0x4b42_4c46;
/** "FLEM": not zero, so that a page that lost its contents is seen as damage. */
export const BLOCK_EMPTY = 0x4d45_4c46;

/** Fields of an entry head, likewise. `length` is the payload's. */
export const ENTRY = {
  state: 0,
  /** Of everything behind it, payload included; seeded with the block's. */
  crc: 1,
  /** kind | length << 8 */
  kindAndLength: 2,
  /** `openCheck` while the entry is open. */
  check: 3,
  seq: 2,
  offset: 3,
  atUs: 4,
} as const;

export const STATE_END = 0;
/** "OPEN": a read is under way into the payload. Its length is 0 until the read returned. */
export const STATE_OPEN = 0x4e45_504f;
/** "DONE" */
export const STATE_CLOSED = 0x454e_4f44;

/** Kinds by their number; holes are undefined. */
export const KIND_OF_NUMBER: readonly (RecordKind | undefined)[] = Object.entries(
  RECORD_KINDS,
).reduce<(RecordKind | undefined)[]>((kinds, [kind, number]) => {
  kinds[number] = kind as RecordKind;
  return kinds;
}, []);

/** Bytes an entry takes in its block. */
export function entryBytes(length: number): number {
  return (ENTRY_HEAD_BYTES + length + 7) & ~7;
}

/** Where block number `block` begins in the file. */
export function blockStart(block: number): number {
  return FILE_HEADER_BYTES + block * BLOCK_BYTES;
}

export function spoolFileBytes(blocks: number): number {
  return FILE_HEADER_BYTES + blocks * BLOCK_BYTES;
}

/** Binds the head of an open entry to its block, without a CRC call for every read. */
export function openCheck(seed: number, words: Int32Array, entryWord: number): number {
  let hash = seed ^ 0x5bd1_e995;
  for (let word = entryWord + 2 * ENTRY.seq; word < entryWord + 2 * ENTRY.atUs; word++) {
    hash = Math.imul(hash ^ words[word]!, 0x9e37_79b1);
    hash ^= hash >>> 15;
  }
  return hash | 0;
}

/** CRC of an entry whose head begins at `at` of `buffer`, as a signed word. */
export function entryCrc(buffer: Buffer, at: number, length: number, seed: number): number {
  return crc32(buffer.subarray(at + 8, at + ENTRY_HEAD_BYTES + length), seed >>> 0) | 0;
}

/** CRC of the block head that begins at `at`, as a signed word. */
export function blockCrc(buffer: Buffer, at: number): number {
  return crc32(buffer.subarray(at + 8, at + BLOCK_HEAD_BYTES)) | 0;
}

/**
 * What a block is filled with ahead of a read, by position in the block: bytes that no UTF-8 text
 * has. Recovery takes a cut-off read to end at the last byte that differs, so a read whose last
 * bytes happen to be these is shortened by them.
 */
export const PATTERN: Buffer = makePattern();

function makePattern(): Buffer {
  const never = [0xc0, 0xc1, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe];
  const pattern = Buffer.alloc(BLOCK_BYTES);
  let state = 0x2545_f491;
  for (let i = 0; i < pattern.length; i++) {
    state ^= state << 13; // Marsaglia's xorshift32
    state ^= state >>> 17;
    state ^= state << 5;
    pattern[i] = never[(state >>> 8) % never.length]!;
  }
  return pattern;
}

/** The first page of the file: whose it is. */
export interface SpoolHeader {
  dataId: string;
  /** /proc/sys/kernel/random/boot_id */
  bootId: string;
  /** 0: the daemon stopped and left nothing. */
  blocks: number;
  /** Reads land straight in the file; false: each is written once it is done, and a kill may cut one off. */
  isMapped: boolean;
  /** The daemon stopped in order: no read was under way. */
  isClean: boolean;
}

const FILE_MAGIC = 'FLSPOOL\n';
const FILE_VERSION = 1;
const IDS_AT = 32;
const ID_BYTES_MAX = 255;

/** @throws RangeError when an id is longer than 255 bytes. */
export function encodeSpoolHeader(header: SpoolHeader): Buffer {
  const page = Buffer.alloc(FILE_HEADER_BYTES);
  page.write(FILE_MAGIC, 'latin1');
  const fields = new Int32Array(page.buffer, page.byteOffset, 8);
  fields[2] = FILE_VERSION;
  fields[3] = BLOCK_BYTES;
  fields[4] = header.blocks;
  fields[5] = (header.isMapped ? 1 : 0) | (header.isClean ? 2 : 0);
  [header.dataId, header.bootId].forEach((id, index) => {
    const bytes = Buffer.from(id);
    if (bytes.length > ID_BYTES_MAX) throw new RangeError(`an id of ${bytes.length} bytes`);
    const at = IDS_AT + index * (ID_BYTES_MAX + 1);
    page[at] = bytes.length;
    bytes.copy(page, at + 1);
  });
  page.writeUInt32LE(crc32(page.subarray(0, FILE_HEADER_BYTES - 4)), FILE_HEADER_BYTES - 4);
  return page;
}

/** null: no spool of this version, or a damaged header. */
export function decodeSpoolHeader(page: Buffer): SpoolHeader | null {
  if (page.length < FILE_HEADER_BYTES) return null;
  const copy = Buffer.alloc(FILE_HEADER_BYTES);
  page.copy(copy, 0, 0, FILE_HEADER_BYTES);
  const fields = new Int32Array(copy.buffer, copy.byteOffset, 8);
  const crc = copy.readUInt32LE(FILE_HEADER_BYTES - 4);
  if (crc32(copy.subarray(0, FILE_HEADER_BYTES - 4)) !== crc) return null;
  if (copy.toString('latin1', 0, FILE_MAGIC.length) !== FILE_MAGIC) return null;
  if (fields[2] !== FILE_VERSION || fields[3] !== BLOCK_BYTES) return null;
  const blocks = fields[4]!;
  if (blocks < 0 || blocks > BLOCKS_MAX) return null;
  const [dataId, bootId] = [0, 1].map((index) => {
    const at = IDS_AT + index * (ID_BYTES_MAX + 1);
    return copy.toString('utf8', at + 1, at + 1 + copy[at]!);
  });
  return {
    dataId: dataId!,
    bootId: bootId!,
    blocks,
    isMapped: (fields[5]! & 1) !== 0,
    isClean: (fields[5]! & 2) !== 0,
  };
}

/** `8-4-4-4-12` hexadecimal digits to 16 bytes. @throws RangeError for anything else. */
export function uuidToBytes(uuid: string): Buffer {
  const bytes = Buffer.from(uuid.replaceAll('-', ''), 'hex');
  if (bytes.length !== 16) throw new RangeError(`"${uuid}" is no uuid`);
  return bytes;
}

export function uuidFromBytes(buffer: Buffer, at: number): string {
  const hex = buffer.toString('hex', at, at + 16);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join('-');
}
