import { createHash } from 'node:crypto';
import * as zlib from 'node:zlib';
import { Fault } from '../core/fault.ts';
import { FRAME_BYTES_MAX } from '../log/frame.ts';

export type Codec = 'none' | 'brotli' | 'zstd';

/** Where a segment stands: contiguous records of one port and epoch, time never falling. */
export interface SegmentPlace {
  epoch: number;
  firstSeq: number;
  lastSeq: number;
  offset: number;
  endOffset: number;
  firstUs: number;
  lastUs: number;
}

/** A segment as a log file stores it. */
export interface StoredSegment extends SegmentPlace {
  records: number;
  frameBytes: number;
  codec: Codec;
  previousHash: Buffer;
  hash: Buffer;
  data: Buffer;
}

/** The hash before a port's first segment. */
export const FIRST_HASH: Buffer = Buffer.alloc(32);

/**
 * sha256(previous hash, header, data). The header is text with every field that gives the data its
 * place, so that nothing can be moved, renumbered or re-dated either. Stored for ever: never change.
 */
export function segmentHash(uuid: string, segment: Omit<StoredSegment, 'hash'>): Buffer {
  const header = [
    'fairlead segment 1',
    uuid,
    segment.epoch,
    segment.firstSeq,
    segment.lastSeq,
    segment.offset,
    segment.endOffset,
    segment.firstUs,
    segment.lastUs,
    segment.records,
    segment.frameBytes,
    segment.codec,
  ].join('\n');
  return createHash('sha256')
    .update(segment.previousHash)
    .update(`${header}\n\n`)
    .update(segment.data)
    .digest();
}

/** zstd came to Node in 22.15; a log must stay readable on the oldest Node we support. */
interface ZstdCalls {
  zstdCompressSync(data: Buffer): Buffer;
  zstdDecompressSync(data: Buffer, options: { maxOutputLength: number }): Buffer;
}
const zstd = 'zstdCompressSync' in zlib ? (zlib as unknown as ZstdCalls) : null;

/** Quality 3: a third cheaper than 4 for 2 to 4 % of size, measured on real crash logs. */
const BROTLI_QUALITY = 3;

/** Compresses with the wanted codec, or one that is there, or none when that does not help. */
export function compress(frame: Buffer, wanted: 'brotli' | 'zstd'): { codec: Codec; data: Buffer } {
  const codec = wanted === 'zstd' && zstd !== null ? 'zstd' : 'brotli';
  const data =
    codec === 'zstd' && zstd !== null
      ? zstd.zstdCompressSync(frame)
      : zlib.brotliCompressSync(frame, {
          params: {
            [zlib.constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY,
            [zlib.constants.BROTLI_PARAM_SIZE_HINT]: frame.length,
          },
        });
  return data.length < frame.length ? { codec, data } : { codec: 'none', data: Buffer.from(frame) };
}

/**
 * The frame of a segment. Never gives more than the segment says it holds.
 * @throws Fault LOG_DAMAGED when the data is not what was compressed; PORT_UNSUPPORTED for zstd on a
 * Node without it.
 */
export function decompress(segment: Pick<StoredSegment, 'codec' | 'data' | 'frameBytes'>): Buffer {
  const { codec, data, frameBytes } = segment;
  if (!(frameBytes > 0 && frameBytes <= FRAME_BYTES_MAX)) {
    throw new Fault('LOG_DAMAGED', 'a segment has an impossible size');
  }
  const frame = decompressed(codec, data, frameBytes);
  if (frame.length !== frameBytes) {
    throw new Fault('LOG_DAMAGED', 'a segment holds less or more than it says');
  }
  return frame;
}

function decompressed(codec: Codec, data: Buffer, frameBytes: number): Buffer {
  const options = { maxOutputLength: frameBytes };
  if (codec === 'none') return data;
  if (codec === 'zstd' && zstd === null) {
    throw new Fault(
      'LOG_DAMAGED',
      'a segment was compressed with zstd, which this Node cannot read; use Node 22.15 or later',
    );
  }
  try {
    return codec === 'zstd' && zstd !== null
      ? zstd.zstdDecompressSync(data, options)
      : zlib.brotliDecompressSync(data, options);
  } catch (cause) {
    throw new Fault('LOG_DAMAGED', 'a segment cannot be decompressed', cause);
  }
}
