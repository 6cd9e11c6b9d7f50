import { Fault } from '../core/fault.ts';
import type { LogCursor, LogPlace } from '../core/log-reader.ts';
import { walkFrame } from '../log/frame.ts';
import { BANNER_CHARS_MAX, findBanners } from '../postmortem/rules/banners.ts';
import type { Piece, PortPieces } from './pieces.ts';

/** How far back lines and boots are looked for. */
const LINES_BYTES_MAX = 16 * 1024 * 1024;
const BOOT_BYTES_MAX = 64 * 1024 * 1024;
/** Firmware, loader, hypervisor and kernel of one boot follow each other within this time. */
const BOOT_STAGES_US = 180_000_000;
const LF = 10;

/**
 * Finds a place in a port's log; what it means is said with `LogPlace`. A time after the last
 * record is the end, more bytes or lines than there are the start.
 * @throws Fault LOG_NOT_FOUND for an offset or a boot that the log does not hold.
 */
export function locate(pieces: PortPieces, place: LogPlace): LogCursor {
  switch (place.at) {
    case 'start':
      return startOf(pieces);
    case 'end':
      return endOf(pieces);
    case 'offset':
      return locateOffset(pieces, place.offset, place.epoch);
    case 'time':
      return locateTime(pieces, place.us);
    case 'last-bytes':
      return locateLastBytes(pieces, place.bytes);
    case 'last-lines':
      return locateLastLines(pieces, place.lines);
    case 'boot':
      return locateBoot(pieces);
  }
}

function startOf(pieces: PortPieces): LogCursor {
  const oldest = pieces.epochs()[0];
  return oldest ? { epoch: oldest.epoch, seq: oldest.firstSeq } : { epoch: 0, seq: 1 };
}

function endOf(pieces: PortPieces): LogCursor {
  const newest = pieces.epochs().at(-1);
  return newest ? { epoch: newest.epoch, seq: newest.nextSeq } : { epoch: 0, seq: 1 };
}

function locateOffset(pieces: PortPieces, offset: number, epoch?: number): LogCursor {
  const found = pieces
    .epochs()
    .findLast(
      (one) =>
        (epoch === undefined || one.epoch === epoch) &&
        one.firstOffset <= offset &&
        offset <= one.endOffset,
    );
  if (!found) {
    const where = epoch === undefined ? '' : ` in epoch ${epoch}`;
    throw new Fault('LOG_NOT_FOUND', `the log of this port does not hold offset ${offset}${where}`);
  }
  const piece = pieces.first((place) => place.endOffset > offset, found.epoch);
  if (!piece) return { epoch: found.epoch, seq: found.nextSeq };
  return firstRecord(piece, (_atUs, endOffset) => endOffset > offset);
}

function locateTime(pieces: PortPieces, us: number): LogCursor {
  const piece = pieces.first((place) => place.lastUs >= us);
  return piece ? firstRecord(piece, (atUs) => atUs >= us) : endOf(pieces);
}

function locateLastBytes(pieces: PortPieces, bytes: number): LogCursor {
  let left = bytes;
  for (const { epoch, firstOffset, endOffset } of pieces.epochs().reverse()) {
    if (left <= endOffset - firstOffset) return locateOffset(pieces, endOffset - left, epoch);
    left -= endOffset - firstOffset;
  }
  return startOf(pieces);
}

/** The first record for which `isReached` holds; `endOffset`: where its rx bytes end. */
function firstRecord(
  piece: Piece,
  isReached: (atUs: number, endOffset: number) => boolean,
): LogCursor {
  const { epoch } = piece;
  let seq = -1;
  let atUs = 0;
  let isFound = false;
  // A record's bytes end where the next one stands, so each is judged when the next is seen.
  const end = walkFrame(piece, piece.load(), (_kind, nextSeq, nextOffset, nextUs) => {
    isFound = seq >= 0 && isReached(atUs, nextOffset);
    if (isFound) return false;
    seq = nextSeq;
    atUs = nextUs;
    return true;
  });
  isFound ||= isReached(atUs, end.endOffset);
  return { epoch, seq: isFound ? seq : end.nextSeq };
}

interface RxRecord {
  seq: number;
  atUs: number;
  bytes: Uint8Array;
}

/** The rx records of a piece before the cursor, in order. */
function rxBefore(piece: Piece, cursor: LogCursor): RxRecord[] {
  const records: RxRecord[] = [];
  walkFrame(piece, piece.load(), (kind, seq, _offset, atUs, memory, start, length, isRun) => {
    if (piece.epoch === cursor.epoch && seq >= cursor.seq) return false;
    if (kind !== 'rx') return true;
    const bytes = isRun
      ? Buffer.alloc(length, memory[start])
      : memory.subarray(start, start + length);
    records.push({ seq, atUs, bytes });
    return true;
  });
  return records;
}

function locateLastLines(pieces: PortPieces, lines: number): LogCursor {
  let cursor = endOf(pieces);
  let ends = 0;
  let scanned = 0;
  for (let piece = pieces.before(cursor); piece; piece = pieces.before(cursor)) {
    const { epoch } = piece;
    for (const { seq, bytes } of rxBefore(piece, cursor).reverse()) {
      for (let at = bytes.lastIndexOf(LF); at >= 0;) {
        if (ends++ === lines) return { epoch, seq: at + 1 < bytes.length ? seq : seq + 1 };
        at = at === 0 ? -1 : bytes.lastIndexOf(LF, at - 1);
      }
      scanned += bytes.length;
      if (scanned >= LINES_BYTES_MAX) return { epoch, seq };
    }
    cursor = { epoch, seq: piece.firstSeq };
  }
  return startOf(pieces);
}

interface FoundBanner extends LogCursor {
  atUs: number;
  stage: number;
}

function locateBoot(pieces: PortPieces): LogCursor {
  let cursor = endOf(pieces);
  let boot: FoundBanner | null = null;
  let scanned = 0;
  /** Text right after the piece: a banner may lie across the cut. */
  let after = '';
  for (let piece = pieces.before(cursor); piece; piece = pieces.before(cursor)) {
    if (boot && piece.lastUs < boot.atUs - BOOT_STAGES_US) break;
    const records = rxBefore(piece, cursor);
    const text = Buffer.concat(records.map((record) => record.bytes)).toString('latin1');
    for (const { index, rule } of findBanners(text + after).reverse()) {
      if (index >= text.length) continue;
      const { seq, atUs } = recordAt(records, index);
      const isEarlierStage =
        boot === null || (rule.stage < boot.stage && atUs >= boot.atUs - BOOT_STAGES_US);
      if (!isEarlierStage) return { epoch: boot!.epoch, seq: boot!.seq };
      boot = { epoch: piece.epoch, seq, atUs, stage: rule.stage };
    }
    after = (text + after).slice(0, BANNER_CHARS_MAX);
    scanned += text.length;
    if (scanned >= BOOT_BYTES_MAX) break;
    cursor = { epoch: piece.epoch, seq: piece.firstSeq };
  }
  if (boot) return { epoch: boot.epoch, seq: boot.seq };
  const where = scanned >= BOOT_BYTES_MAX ? ` in its last ${BOOT_BYTES_MAX / 1024 ** 2} MB` : '';
  throw new Fault('LOG_NOT_FOUND', `the log of this port holds no start banner${where}`);
}

function recordAt(records: readonly RxRecord[], index: number): RxRecord {
  let end = 0;
  return records.find((record) => (end += record.bytes.length) > index)!;
}
