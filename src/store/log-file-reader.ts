import { basename } from 'node:path';
import { Fault } from '../core/fault.ts';
import { isCorruption, openReadOnly, versionOf, type Database } from './database.ts';
import type { LogFilePort } from './log-file.ts';
import type { SegmentPlace, StoredSegment } from './segment.ts';
import type { CheckpointHead } from './signing.ts';

/** A stretch of a port's segments in one file, contiguous in seq, time never falling. */
export interface Span extends SegmentPlace {
  segments: number;
}

export interface StoredCheckpoint {
  atUs: number;
  keyId: string;
  signature: Buffer;
  heads: CheckpointHead[];
}

/** The newest log format this Fairlead reads; a test reads a file of each. */
const FORMAT_NEWEST = 1;

const PLACE = `epoch, first_seq AS firstSeq, last_seq AS lastSeq, offset, end_offset AS endOffset,
  first_us AS firstUs, last_us AS lastUs`;
/** A file that a power cut caught before its first transaction: it holds nothing, and never did. */
export class UnbornLogFile extends Error {}

/**
 * A log file being read, finished or not. All statements are short; none outlives its call. Every
 * read throws Fault LOG_DAMAGED where SQLite finds the file damaged.
 */
export class LogFileReader {
  readonly name: string;
  /** A value of the file's table of words; null: none. */
  readonly meta: (key: string) => string | null;
  /** The segment that holds `seq`, or the last one before it. */
  readonly segmentUpTo: (uuid: string, epoch: number, seq: number) => SegmentPlace | null;
  /** The first segment of the epoch that begins after `seq`. */
  readonly segmentAfter: (uuid: string, epoch: number, seq: number) => SegmentPlace | null;
  /** The segment that begins at `firstSeq`, with its data. */
  readonly segment: (uuid: string, epoch: number, firstSeq: number) => StoredSegment | null;
  /** All segments of a port in log order, without data. */
  readonly places: (uuid: string) => SegmentPlace[];
  readonly checkpoints: () => StoredCheckpoint[];
  /** The hash of the segment of this number, for checkpoints; null: no such segment. */
  readonly hashOf: (segment: number) => Buffer | null;
  /** The highest session number in the file; 0: none. */
  readonly newestSession: () => number;
  readonly #db: Database;
  #ports = new Map<string, LogFilePort & { local: number }>();
  #spans = new Map<string, Span[]>();
  #isFinished = false;
  #dataVersion = -1;

  /**
   * @throws Fault STORE_NEWER for a format of a newer Fairlead; LOG_DAMAGED when it is no log file;
   * UnbornLogFile;
   * SQLite's own error.
   */
  constructor(path: string) {
    this.name = basename(path);
    const db = openReadOnly(path);
    this.#db = db;
    try {
      refuseUnreadable(path, db);
      const selectMeta = db
        .prepare<[string], string>('SELECT value FROM meta WHERE key = ?')
        .pluck();
      const selectUpTo = db.prepare<[number, number, number], SegmentPlace>(
        `SELECT ${PLACE} FROM segment WHERE port = ? AND epoch = ? AND first_seq <= ?
         ORDER BY first_seq DESC LIMIT 1`,
      );
      const selectAfter = db.prepare<[number, number, number], SegmentPlace>(
        `SELECT ${PLACE} FROM segment WHERE port = ? AND epoch = ? AND first_seq > ?
         ORDER BY first_seq LIMIT 1`,
      );
      const selectOne = db.prepare<[number, number, number], StoredSegment>(
        `SELECT ${PLACE}, records, frame_bytes AS frameBytes, codec,
           previous_hash AS previousHash, hash, data
         FROM segment WHERE port = ? AND epoch = ? AND first_seq = ? LIMIT 1`,
      );
      const selectPlaces = db.prepare<[number], SegmentPlace>(
        `SELECT ${PLACE} FROM segment WHERE port = ? ORDER BY epoch, first_seq`,
      );
      const selectHash = db.prepare<[number], Buffer>('SELECT hash FROM segment WHERE id = ?');
      const selectSession = db.prepare<[], number | null>('SELECT max(session) FROM session');
      const local = (uuid: string) => this.#ports.get(uuid)?.local ?? -1;
      const guarded = <Args extends unknown[], Result>(read: (...args: Args) => Result) =>
        readGuarded(this.name, read);
      this.meta = guarded((key) => selectMeta.get(key) || null);
      this.segmentUpTo = guarded(
        (uuid, epoch, seq) => selectUpTo.get(local(uuid), epoch, seq) ?? null,
      );
      this.segmentAfter = guarded(
        (uuid, epoch, seq) => selectAfter.get(local(uuid), epoch, seq) ?? null,
      );
      this.segment = guarded((uuid, epoch, seq) => selectOne.get(local(uuid), epoch, seq) ?? null);
      this.places = guarded((uuid) => selectPlaces.all(local(uuid)));
      this.checkpoints = guarded(() => readCheckpoints(db));
      this.hashOf = guarded((segment) => selectHash.pluck().get(segment) ?? null);
      this.newestSession = guarded(() => selectSession.pluck().get() ?? 0);
      this.refresh();
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** True when it will never change again. */
  get isFinished(): boolean {
    return this.#isFinished;
  }

  /** Takes notice of what was sealed since; true when there was anything. */
  refresh(): boolean {
    if (this.#isFinished) return false;
    const dataVersion = this.#db.pragma('data_version', { simple: true }) as number;
    if (dataVersion === this.#dataVersion) return false;
    // A kill may fall between the mark and the end of the WAL: then it is still to be finished.
    const isInWal = this.#db.pragma('journal_mode', { simple: true }) === 'wal';
    this.#isFinished = !isInWal && this.meta('finished_us') !== null;
    const ports = this.#db
      .prepare<[], LogFilePort & { local: number }>(
        'SELECT port AS local, uuid, name, backend FROM port',
      )
      .all();
    const spans = this.#db.prepare<[number], Span>(
      `SELECT ${PLACE}, segments FROM span WHERE port = ? ORDER BY epoch, first_seq`,
    );
    this.#ports = new Map(ports.map((port) => [port.uuid, port]));
    this.#spans = new Map(ports.map((port) => [port.uuid, spans.all(port.local)]));
    this.#dataVersion = dataVersion;
    return true;
  }

  ports(): LogFilePort[] {
    return [...this.#ports.values()];
  }

  /** In log order; as of the last `refresh`. */
  spans(uuid: string): readonly Span[] {
    return this.#spans.get(uuid) ?? [];
  }

  close(): void {
    this.#db.close();
  }
}

/** What SQLite finds damaged, as a fault that names the file. */
function readGuarded<Args extends unknown[], Result>(
  name: string,
  read: (...args: Args) => Result,
): (...args: Args) => Result {
  return (...args) => {
    try {
      return read(...args);
    } catch (error) {
      if (!isCorruption(error)) throw error;
      const { message } = error as Error;
      throw new Fault('LOG_DAMAGED', `log file ${name} is damaged: ${message}`, error);
    }
  };
}

function refuseUnreadable(path: string, db: Database): void {
  const version = versionOf(db);
  if (version > FORMAT_NEWEST) {
    throw new Fault(
      'STORE_NEWER',
      `${path} was written by a newer Fairlead; read it with that one`,
    );
  }
  if (version > 0) return;
  const isEmpty = db.prepare('SELECT 1 FROM sqlite_schema').get() === undefined;
  if (isEmpty) throw new UnbornLogFile(`${path} is empty`);
  throw new Fault('LOG_DAMAGED', `${path} is not a log file`);
}

function readCheckpoints(db: Database): StoredCheckpoint[] {
  const heads = db.prepare<[number], CheckpointHead>(
    `SELECT uuid, segment, hash FROM checkpoint JOIN port USING (port) WHERE at_us = ?`,
  );
  return db
    .prepare<[], Omit<StoredCheckpoint, 'heads'>>(
      'SELECT at_us AS atUs, key_id AS keyId, signature FROM signature ORDER BY at_us',
    )
    .all()
    .map((row) => ({ ...row, heads: heads.all(row.atUs) }));
}
