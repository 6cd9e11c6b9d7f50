import { Fault } from '../core/fault.ts';
import { walkFrame, decodeBody } from '../log/frame.ts';
import type { LogFiles } from './log-files.ts';
import { Vanished } from './pieces.ts';
import type { LogFileReader } from './log-file-reader.ts';
import { decompress, FIRST_HASH, segmentHash, type SegmentPlace } from './segment.ts';
import { checkpointText, isSignedBy } from './signing.ts';

/** rx bytes that the log says are missing. */
export interface VerifiedGap {
  port: string;
  uuid: string;
  epoch: number;
  from: number;
  to: number;
  count: number | null;
  reason: string;
  atUs: number;
}

/** Something that is not as it was written. */
export interface Damage {
  port: string | null;
  uuid: string | null;
  /** Name of the log file; null: the state database. */
  file: string | null;
  /** A sentence. */
  what: string;
}

export interface VerifyResult {
  gaps: VerifiedGap[];
  /** The first found, null when the log is whole. */
  damage: Damage | null;
  /** Everything found, the first DAMAGES_MAX of it. */
  damages: Damage[];
  counts: {
    files: number;
    ports: number;
    segments: number;
    records: number;
    /** rx bytes in segments and hot rows. */
    bytes: number;
    checkpoints: number;
  };
}

export interface VerifyProgress {
  port: string;
  segments: number;
  segmentsTotal: number;
}

const DAMAGES_MAX = 100;

/**
 * Walks every port's log: chain of hashes, contents of every segment, seq and offset without a hole
 * from segment to segment and on through the hot rows, signed checkpoints, and that nothing the
 * state database knows of is missing at the end. Sealing may go on meanwhile. `files` belongs to this
 * walk until it ends. Yields progress.
 */
export function* verifyLog(files: LogFiles): Generator<VerifyProgress, VerifyResult, void> {
  files.refresh(true);
  const result: VerifyResult = {
    gaps: [],
    damage: null,
    damages: [],
    counts: { files: 0, ports: 0, segments: 0, records: 0, bytes: 0, checkpoints: 0 },
  };
  const { counts } = result;
  // What must be there is read before what is there: sealing in between adds, it takes nothing away.
  const expected = files.expected();
  const hotPorts = files.ports();
  files.refresh(true);
  const readers = files.files();
  counts.files = readers.length;
  const names = new Map(hotPorts.map((port) => [port.uuid, port.name]));
  for (const reader of readers) {
    for (const port of reader.ports()) {
      if (!names.has(port.uuid)) names.set(port.uuid, port.name);
    }
  }
  counts.ports = names.size;
  const report = (damage: Damage): void => {
    result.damage ??= damage;
    if (result.damages.length < DAMAGES_MAX) result.damages.push(damage);
  };

  for (const [name, reason] of files.unreadable) {
    report({
      port: null,
      uuid: null,
      file: name,
      what: `log file ${name} is unreadable: ${reason}`,
    });
  }
  for (const { name } of expected.files) {
    if (readers.some((reader) => reader.name === name) || files.unreadable.has(name)) continue;
    report({ port: null, uuid: null, file: name, what: `log file ${name} is missing` });
  }
  const segmentsTotal = [...names.keys()].reduce(
    (sum, uuid) => sum + readers.reduce((all, reader) => all + segmentCount(reader, uuid), 0),
    0,
  );
  for (const [uuid, name] of names) {
    const head = expected.heads.find((one) => one.uuid === uuid) ?? null;
    const walk = new PortWalk(uuid, name, result, report);
    for (const { reader, place } of placesOf(readers, uuid, report)) {
      walk.segment(reader, place);
      counts.segments++;
      if (counts.segments % 16 === 0) {
        yield { port: name, segments: counts.segments, segmentsTotal };
      }
    }
    if (head) walk.expectHead(head);
    walk.hotRows(files);
    yield { port: name, segments: counts.segments, segmentsTotal };
  }
  for (const reader of readers) verifyCheckpoints(reader, result, report);
  return result;
}

/** One port's log, walked from its oldest segment to its newest hot row. */
class PortWalk {
  readonly #uuid: string;
  readonly #name: string;
  readonly #result: VerifyResult;
  readonly #report: (damage: Damage) => void;
  #hash: Buffer = FIRST_HASH;
  #place: SegmentPlace | null = null;
  /** The hole before the hot rows is known already. */
  #isCut = false;
  readonly #hashes = new Set<string>();

  constructor(uuid: string, name: string, result: VerifyResult, report: (damage: Damage) => void) {
    this.#uuid = uuid;
    this.#name = name;
    this.#result = result;
    this.#report = report;
  }

  segment(reader: LogFileReader, place: SegmentPlace): void {
    const { name: file } = reader;
    const damaged = (what: string): void => this.#damaged(file, `${what} (${describe(place)})`);
    const segment = readable(() => reader.segment(this.#uuid, place.epoch, place.firstSeq));
    if (!segment) return damaged('a segment cannot be read');
    if (!segment.previousHash.equals(this.#hash)) {
      damaged(
        this.#place === null
          ? 'the segments before this one are missing'
          : 'the chain of hashes is broken before this segment: one is missing or was changed',
      );
    }
    this.#contiguous(file, segment);
    if (!segmentHash(this.#uuid, segment).equals(segment.hash)) {
      damaged('a segment is not what was written');
    } else {
      this.#contents(file, segment, () => decompress(segment));
    }
    this.#hash = segment.hash;
    this.#hashes.add(segment.hash.toString('hex'));
    this.#place = place;
  }

  /** The state database knows the end of the chain: a cut tail is seen. */
  expectHead(head: { epoch: number; lastSeq: number; hash: Buffer; file: string }): void {
    if (this.#hashes.has(head.hash.toString('hex'))) return;
    this.#damaged(
      head.file,
      `the end of the log is cut off: the segment up to seq ${head.lastSeq} of epoch ${head.epoch} is missing`,
    );
    this.#isCut = true;
  }

  hotRows(files: LogFiles): void {
    const pieces = files.pieces(this.#uuid);
    let cursor = this.#place
      ? { epoch: this.#place.epoch, seq: this.#place.lastSeq + 1 }
      : { epoch: 0, seq: 0 };
    for (let piece = pieces.at(cursor); piece; piece = pieces.at(cursor)) {
      cursor = { epoch: piece.epoch, seq: piece.lastSeq + 1 };
      if (
        this.#place &&
        piece.epoch === this.#place.epoch &&
        piece.firstSeq <= this.#place.lastSeq
      ) {
        continue; // sealed meanwhile
      }
      if (!this.#isCut) this.#contiguous(null, piece);
      this.#isCut = false;
      try {
        const { load } = piece;
        this.#contents(null, piece, load);
      } catch (error) {
        if (!(error instanceof Vanished)) throw error;
      }
      this.#place = piece;
    }
  }

  #contiguous(file: string | null, place: SegmentPlace): void {
    const before = this.#place;
    if (before === null || before.epoch !== place.epoch) return;
    if (place.firstSeq === before.lastSeq + 1 && place.offset === before.endOffset) return;
    this.#damaged(
      file,
      `records are missing: seq ${before.lastSeq + 1} at offset ${before.endOffset} of epoch ` +
        `${place.epoch} is followed by seq ${place.firstSeq} at offset ${place.offset}`,
    );
  }

  #contents(file: string | null, place: SegmentPlace, load: () => Buffer): void {
    const { gaps, counts } = this.#result;
    const { epoch } = place;
    try {
      const frame = load();
      const end = walkFrame(place, frame, (kind, _seq, _offset, atUs, memory, start, length) => {
        if (kind === 'rx') {
          counts.bytes += length;
          return true;
        }
        const body = decodeBody(kind, memory.subarray(start, start + length));
        if (body.kind === 'gap') {
          const { from, to, count, reason } = body;
          const [port, uuid] = [this.#name, this.#uuid];
          gaps.push({ port, uuid, epoch, from, to, count, reason, atUs });
        }
        return true;
      });
      counts.records += end.records;
      if (
        end.nextSeq !== place.lastSeq + 1 ||
        end.endOffset !== place.endOffset ||
        end.lastUs !== place.lastUs
      ) {
        this.#damaged(file, `records do not end where they should (${describe(place)})`);
      }
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#damaged(file, `${error.message} (${describe(place)})`);
    }
  }

  #damaged(file: string | null, what: string): void {
    this.#report({ port: this.#name, uuid: this.#uuid, file, what });
  }
}

function segmentCount(reader: LogFileReader, uuid: string): number {
  return reader.spans(uuid).reduce((sum, span) => sum + span.segments, 0);
}

/** A port's segments in log order, over all files. */
function placesOf(
  readers: readonly LogFileReader[],
  uuid: string,
  report: (damage: Damage) => void,
): { reader: LogFileReader; place: SegmentPlace }[] {
  return readers
    .flatMap((reader) => {
      const places = readable(() => reader.places(uuid));
      const what = 'the list of segments cannot be read';
      if (!places) report({ port: null, uuid, file: reader.name, what });
      return (places ?? []).map((place) => ({ reader, place }));
    })
    .sort((a, b) => a.place.epoch - b.place.epoch || a.place.firstSeq - b.place.firstSeq);
}

function verifyCheckpoints(
  reader: LogFileReader,
  result: VerifyResult,
  report: (damage: Damage) => void,
): void {
  const { name: file } = reader;
  const damaged = (what: string, uuid: string | null = null): void =>
    report({ port: null, uuid, file, what });
  const signed = readable(() => ({
    dataId: reader.meta('data_id') ?? '',
    checkpoints: reader.checkpoints(),
  }));
  if (!signed) return damaged('the checkpoints cannot be read');
  for (const { atUs, keyId, signature, heads } of signed.checkpoints) {
    result.counts.checkpoints++;
    const at = new Date(atUs / 1000).toISOString();
    const publicKey = readable(() => reader.meta(`key ${keyId}`)) ?? '';
    if (!isSignedBy(publicKey, checkpointText(signed.dataId, file, atUs, heads), signature)) {
      damaged(`the checkpoint of ${at} has a wrong signature (key ${keyId})`);
    }
    for (const { uuid, segment, hash } of heads) {
      if (readable(() => reader.hashOf(segment))?.equals(hash)) continue;
      damaged(`segment ${segment} is not the one that the checkpoint of ${at} signed`, uuid);
    }
  }
}

/** What a damaged file does not tell is null. */
function readable<Result>(read: () => Result): Result | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof Fault && error.code === 'LOG_DAMAGED') return null;
    throw error;
  }
}

function describe(place: SegmentPlace): string {
  return `epoch ${place.epoch}, seq ${place.firstSeq} to ${place.lastSeq}, offset ${place.offset} to ${place.endOffset}`;
}
