import type { LogBatch, LogCursor } from '../core/log-reader.ts';
import type { LogRecord, RecordKind } from '../core/record.ts';
import { decodeBody, walkFrame } from '../log/frame.ts';
import type { PortPieces } from './pieces.ts';

/** A record where it lies, before it is copied. */
interface Found {
  epoch: number;
  kind: RecordKind;
  seq: number;
  offset: number;
  atUs: number;
  memory: Uint8Array;
  start: number;
  length: number;
  isRun: boolean;
}

/** What a record costs besides its payload, so that a batch of many small ones is bounded, too. */
const RECORD_BYTES = 16;

/** Records from a cursor on. The payloads lie in one buffer of their own: cheap to post to a thread. */
export function readBatch(pieces: PortPieces, from: LogCursor, bytesMax: number): LogBatch {
  const found: Found[] = [];
  let next = from;
  let weight = 0;
  let bytes = 0;
  let piece = pieces.at(next);
  while (piece !== null && (found.length === 0 || weight < bytesMax)) {
    const { epoch, firstSeq } = piece;
    const wanted = epoch === next.epoch ? next.seq : firstSeq;
    let stoppedAt: number | null = null;
    walkFrame(piece, piece.load(), (kind, seq, offset, atUs, memory, start, length, isRun) => {
      if (seq < wanted) return true;
      if (found.length > 0 && weight >= bytesMax) {
        stoppedAt = seq;
        return false;
      }
      found.push({ epoch, kind, seq, offset, atUs, memory, start, length, isRun });
      weight += length + RECORD_BYTES;
      bytes += length;
      return true;
    });
    next = { epoch, seq: stoppedAt ?? piece.lastSeq + 1 };
    piece = pieces.at(next);
  }
  return { records: copied(found, bytes), next, atEnd: piece === null };
}

function copied(found: readonly Found[], bytes: number): LogRecord[] {
  const memory = new Uint8Array(bytes);
  let at = 0;
  return found.map((one) => {
    const { epoch, kind, seq, offset, atUs, start, length } = one;
    const payload = memory.subarray(at, at + length);
    if (one.isRun) payload.fill(one.memory[start]!);
    else payload.set(one.memory.subarray(start, start + length));
    at += length;
    return { epoch, seq, offset, atUs, ...decodeBody(kind, payload) };
  });
}
