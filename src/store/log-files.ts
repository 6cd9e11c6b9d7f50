import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { LogBatch, LogCursor, LogEpoch, LogPlace, LogPort } from '../core/log-reader.ts';
import type { CommitSignal, RecoveredSpool } from '../core/store.ts';
import type { Frame } from '../log/recorder.ts';
import { Recorder } from '../log/recorder.ts';
import type { LogSource } from '../log/source.ts';
import type { DataPaths } from './data-directory.ts';
import { isCorruption, openReadOnly, type Database } from './database.ts';
import { HotIndex } from './hot-index.ts';
import { HotRecords } from './hot.ts';
import { locate } from './locate.ts';
import { LogFileReader, UnbornLogFile, type Span } from './log-file-reader.ts';
import { listLogFiles } from './log-shelf.ts';
import { Vanished, type Piece, type PortPieces } from './pieces.ts';
import { readBatch } from './read-batch.ts';
import { decompress, type SegmentPlace } from './segment.ts';
import { SealedHeads, type LogFileRow, type SealedHead } from './sealed-heads.ts';

interface KnownPort {
  uuid: string;
  name: string;
  hot: HotIndex;
  /** What only the spool holds. */
  recovered: Frame[];
  spans: { span: Span; reader: LogFileReader }[];
}

export interface LogFilesOptions {
  /** Folder of log files, and where each is opened: elsewhere when it had to be copied. */
  folder: string;
  pathOf?: (name: string) => string;
  /** The state database; null: only the log files are to be had. */
  database: string | null;
  /** Counts commits; null: nobody writes, or nobody says so. */
  signal: CommitSignal | null;
  onClose?: () => void;
}

/** Decompressed segments kept for the next read. */
const CACHE_BYTES_MAX = 8 * 1024 * 1024;
const TRIES = 5;
/** Where nobody announces commits. */
const POLL_MS = 200;

/**
 * Reads the log of a data directory that its store is writing.
 * @throws SQLite's own error when it cannot be opened.
 */
export function openLogFiles(paths: DataPaths, signal: CommitSignal | null): LogFiles {
  const database = existsSync(paths.database) ? paths.database : null;
  return new LogFiles({ folder: paths.log, database, signal });
}

/** The committed log, read only, in short statements that hold up no checkpoint. */
export class LogFiles implements LogSource {
  readonly #options: LogFilesOptions;
  readonly #state: Database | null;
  readonly #hot: HotRecords | null;
  readonly #ports = new Map<string, KnownPort>();
  readonly #portsById = new Map<number, KnownPort>();
  readonly #readers = new Map<string, LogFileReader>();
  readonly #cache = new Map<string, Buffer>();
  #cacheBytes = 0;
  #seenCommits = -1;
  #dataVersion = -1;
  #lastHotId = 0;
  #isClosed = false;

  constructor(options: LogFilesOptions) {
    this.#options = options;
    this.#state = options.database === null ? null : openReadOnly(options.database);
    this.#hot = this.#state && new HotRecords(this.#state, false);
    this.refresh(true);
  }

  ports(): LogPort[] {
    return this.#fresh(() =>
      [...this.#ports.values()]
        .map((port) => ({ uuid: port.uuid, name: port.name, epochs: this.#epochs(port) }))
        .sort((a, b) => a.name.localeCompare(b.name)),
    );
  }

  nameOf(uuid: string): string | null {
    return this.#fresh(() => this.#ports.get(uuid)?.name ?? null);
  }

  locate(uuid: string, place: LogPlace): LogCursor {
    return this.#fresh(() => locate(this.pieces(uuid), place));
  }

  read(uuid: string, from: LogCursor, bytesMax: number): LogBatch {
    return this.#fresh(() => readBatch(this.pieces(uuid), from, bytesMax));
  }

  async changed(uuid: string, from: LogCursor, timeoutMs: number): Promise<boolean> {
    const endMs = performance.now() + timeoutMs;
    const counter = this.#options.signal?.counter ?? new Int32Array(new SharedArrayBuffer(4));
    const stepMs = this.#options.signal ? timeoutMs : POLL_MS;
    for (;;) {
      const before = Atomics.load(counter, 0);
      if (this.#isClosed) return false;
      if (this.#fresh(() => this.pieces(uuid).at(from)) !== null) return true;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) return false;
      await nextChange(counter, before, Math.min(leftMs, stepMs));
    }
  }

  /**
   * Adds what a spool holds beyond what is committed, so that no byte is missing where no daemon can
   * commit it.
   */
  addRecovered(recovered: RecoveredSpool): void {
    const recorder = new Recorder();
    const ids = new Map<string, number>();
    const byId: KnownPort[] = [];
    recovered.visit((uuid, epoch, kind, seq, offset, atUs, memory, start, length) => {
      let id = ids.get(uuid);
      if (id === undefined) {
        const port = this.#ports.get(uuid) ?? this.#addPort(uuid, `recovered-${uuid.slice(0, 8)}`);
        id = byId.push(port) - 1;
        ids.set(uuid, id);
        const last = this.#epochs(port).at(-1);
        recorder.expect(
          id,
          last
            ? { epoch: last.epoch, seq: last.nextSeq, offset: last.endOffset }
            : { epoch, seq: 1, offset: 0 },
        );
      }
      recorder.add(id, epoch, kind, seq, offset, atUs, memory, start, length);
    });
    for (const frame of recorder.finish().frames) byId[frame.portId]!.recovered.push(frame);
  }

  /** One port's log in pieces. @throws Fault PORT_UNKNOWN. */
  pieces(uuid: string): PortPieces {
    const port = this.#ports.get(uuid);
    if (!port) throw new Fault('PORT_UNKNOWN', `the log knows no port ${uuid}`);
    return {
      at: (cursor) => this.#pieceAt(port, cursor),
      before: (cursor) => this.#pieceBefore(port, cursor),
      first: (isReached, epoch) => this.#firstPiece(port, isReached, epoch),
      epochs: () => this.#epochs(port),
    };
  }

  /** The log files that can be opened, oldest first; for `verify`. */
  files(): LogFileReader[] {
    return listLogFiles(this.#options.folder).flatMap((name) => this.#readers.get(name) ?? []);
  }

  /** Why files of the folder cannot be read; for `verify`. */
  readonly unreadable = new Map<string, string>();

  /** What the state database says must be there; for `verify`. */
  expected(): { heads: (SealedHead & { uuid: string })[]; files: LogFileRow[] } {
    if (this.#state === null) return { heads: [], files: [] };
    const sealed = new SealedHeads(this.#state);
    const heads = sealed.all().flatMap((head) => {
      const port = this.#portsById.get(head.port);
      return port ? [{ ...head, uuid: port.uuid }] : [];
    });
    return { heads, files: sealed.files() };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const reader of this.#readers.values()) reader.close();
    this.#state?.close();
    this.#options.onClose?.();
  }

  /** Takes notice of what was committed and sealed since. `force`: even if nobody announced it. */
  refresh(force = false): void {
    const { signal, folder } = this.#options;
    if (signal) {
      const commits = Atomics.load(signal.counter, 0);
      if (commits === this.#seenCommits && !force) return;
      this.#seenCommits = commits;
    }
    // Hot rows first: one that is gone by then is in a log file that is looked at after.
    this.#refreshState();
    const names = listLogFiles(folder);
    let isChanged = false;
    for (const name of names) {
      const known = this.#readers.get(name);
      isChanged = (known ? this.#refreshReader(known) : this.#openReader(name)) || isChanged;
    }
    for (const [name, reader] of this.#readers) {
      if (names.includes(name)) continue;
      reader.close();
      this.#readers.delete(name);
      isChanged = true;
    }
    if (isChanged) this.#collectSpans();
  }

  /** Runs `work` on a fresh view, again when a hot row was sealed under it. */
  #fresh<Result>(work: () => Result): Result {
    this.refresh();
    try {
      for (let tries = 1; ; tries++) {
        try {
          return work();
        } catch (error) {
          if (!(error instanceof Vanished) || tries === TRIES) throw error;
          this.refresh(true);
        }
      }
    } finally {
      this.#releaseOld();
    }
  }

  /** The store can finish a file only when nobody has it open: keep the newest and the finished. */
  #releaseOld(): void {
    const names = [...this.#readers.keys()].filter((name) => !this.#readers.get(name)!.isFinished);
    if (names.length < 2) return;
    const beganUs = (name: string): number => Number(this.#readers.get(name)!.meta('began_us'));
    names.sort((a, b) => beganUs(a) - beganUs(b));
    for (const name of names.slice(0, -1)) {
      this.#readers.get(name)!.close();
      this.#readers.delete(name);
    }
    this.#seenCommits = -1; // they are opened anew by the next call
  }

  #refreshState(): void {
    if (this.#state === null || this.#hot === null) return;
    const dataVersion = this.#state.pragma('data_version', { simple: true }) as number;
    if (dataVersion === this.#dataVersion) return;
    const rows = this.#state
      .prepare<[], { id: number; uuid: string; name: string }>('SELECT id, uuid, name FROM port')
      .all();
    for (const { id, uuid, name } of rows) {
      const port = this.#ports.get(uuid) ?? this.#addPort(uuid, name);
      port.name = name;
      this.#portsById.set(id, port);
    }
    const oldestId = this.#hot.oldestId() ?? 0;
    for (const port of this.#portsById.values()) port.hot.dropBefore(oldestId);
    for (const row of this.#hot.after(this.#lastHotId)) {
      this.#lastHotId = row.id;
      this.#portsById.get(row.port)?.hot.push(row);
    }
    this.#dataVersion = dataVersion;
  }

  /** A file that went bad is read no more: `verify` names it, and the others go on. */
  #refreshReader(reader: LogFileReader): boolean {
    try {
      return reader.refresh();
    } catch (error) {
      if (!isCorruption(error)) throw error;
      this.unreadable.set(reader.name, (error as Error).message);
      this.#readers.delete(reader.name);
      reader.close();
      return true;
    }
  }

  #openReader(name: string): boolean {
    const path = this.#options.pathOf?.(name) ?? join(this.#options.folder, name);
    try {
      this.#readers.set(name, new LogFileReader(path));
      this.unreadable.delete(name);
      return true;
    } catch (error) {
      if (error instanceof UnbornLogFile) this.unreadable.delete(name);
      else this.unreadable.set(name, error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  #collectSpans(): void {
    for (const port of this.#ports.values()) port.spans = [];
    for (const reader of this.files()) {
      for (const { uuid, name } of reader.ports()) {
        const port = this.#ports.get(uuid) ?? this.#addPort(uuid, name);
        for (const span of reader.spans(uuid)) port.spans.push({ span, reader });
      }
    }
    for (const { spans } of this.#ports.values()) {
      spans.sort((a, b) => a.span.epoch - b.span.epoch || a.span.firstSeq - b.span.firstSeq);
    }
  }

  #addPort(uuid: string, name: string): KnownPort {
    const port = { uuid, name, hot: new HotIndex(), recovered: [], spans: [] };
    this.#ports.set(uuid, port);
    return port;
  }

  #epochs(port: KnownPort): LogEpoch[] {
    const epochs = new Map<number, LogEpoch>();
    const add = (place: SegmentPlace): void => {
      const { epoch, firstSeq, lastSeq, offset, endOffset, firstUs, lastUs } = place;
      const known = epochs.get(epoch);
      if (!known) {
        const nextSeq = lastSeq + 1;
        epochs.set(epoch, {
          epoch,
          firstSeq,
          nextSeq,
          firstOffset: offset,
          endOffset,
          firstUs,
          lastUs,
        });
      } else if (lastSeq >= known.nextSeq) {
        known.nextSeq = lastSeq + 1;
        known.endOffset = endOffset;
        known.lastUs = lastUs;
      }
    };
    for (const { span } of port.spans) add(span);
    for (let i = 0; i < port.hot.length;) {
      const row = port.hot.at(i);
      add(row);
      i = port.hot.firstBeginningAt({ epoch: row.epoch + 1, seq: 0 });
      add(port.hot.at(i - 1));
    }
    for (const frame of port.recovered) add(frame);
    return [...epochs.values()].sort((a, b) => a.epoch - b.epoch);
  }

  #pieceAt(port: KnownPort, cursor: LogCursor): Piece | null {
    const found: Piece[] = [];
    for (const { span, reader } of port.spans) {
      if (!endsAtOrAfter(span, cursor)) continue;
      const seq = startWithin(span, cursor).seq;
      let place = reader.segmentUpTo(port.uuid, span.epoch, seq);
      // A damaged file may hold less than its spans say.
      if (!place || !endsAtOrAfter(place, cursor)) {
        place = reader.segmentAfter(port.uuid, span.epoch, seq);
      }
      if (!place) continue;
      found.push(this.#segmentPiece(port, reader, place));
      break;
    }
    const index = port.hot.firstEndingAt(cursor);
    if (index < port.hot.length) found.push(this.#hotPiece(port, index));
    const frame = port.recovered.find((one) => endsAtOrAfter(one, cursor));
    if (frame) found.push(framePiece(frame));
    return first(found, (a, b) => {
      const [atA, atB] = [startWithin(a, cursor), startWithin(b, cursor)];
      return atA.epoch - atB.epoch || atA.seq - atB.seq;
    });
  }

  #pieceBefore(port: KnownPort, cursor: LogCursor): Piece | null {
    const found: Piece[] = [];
    const segment = port.spans.findLast(({ span }) => beginsBefore(span, cursor));
    if (segment) {
      const { span, reader } = segment;
      const seq =
        span.epoch === cursor.epoch ? Math.min(span.lastSeq, cursor.seq - 1) : span.lastSeq;
      const place = reader.segmentUpTo(port.uuid, span.epoch, seq);
      if (place) found.push(this.#segmentPiece(port, reader, place));
    }
    const index = port.hot.firstBeginningAt(cursor) - 1;
    if (index >= 0) found.push(this.#hotPiece(port, index));
    const frame = port.recovered.findLast((one) => beginsBefore(one, cursor));
    if (frame) found.push(framePiece(frame));
    return first(found, (a, b) => {
      const [atA, atB] = [endWithin(a, cursor), endWithin(b, cursor)];
      return atB.epoch - atA.epoch || atB.seq - atA.seq;
    });
  }

  #firstPiece(
    port: KnownPort,
    isReached: (place: SegmentPlace) => boolean,
    epoch?: number,
  ): Piece | null {
    const isWanted = (place: SegmentPlace): boolean =>
      (epoch === undefined || place.epoch === epoch) && isReached(place);
    const found = port.spans.find(({ span }) => isWanted(span));
    if (found) {
      const place = bisect(found.reader, port.uuid, found.span, isReached);
      if (place) return this.#segmentPiece(port, found.reader, place);
    }
    for (let i = 0; i < port.hot.length; i++) {
      if (isWanted(port.hot.at(i))) return this.#hotPiece(port, i);
    }
    const frame = port.recovered.find(isWanted);
    return frame ? framePiece(frame) : null;
  }

  #segmentPiece(port: KnownPort, reader: LogFileReader, place: SegmentPlace): Piece {
    return { ...place, load: () => this.#loadSegment(port.uuid, reader, place) };
  }

  #hotPiece(port: KnownPort, index: number): Piece {
    const row = port.hot.at(index);
    const load = (): Buffer => {
      const frame = this.#hot?.frame(row.id) ?? null;
      if (frame === null) throw new Vanished('a hot row was sealed meanwhile');
      return frame;
    };
    return { ...row, load };
  }

  #loadSegment(uuid: string, reader: LogFileReader, place: SegmentPlace): Buffer {
    const key = `${reader.name} ${uuid} ${place.epoch} ${place.firstSeq}`;
    let frame = this.#cache.get(key);
    this.#cache.delete(key); // and set again: the order is by last use
    if (!frame) {
      const segment = reader.segment(uuid, place.epoch, place.firstSeq);
      if (!segment) throw new Vanished('a segment is gone');
      frame = decompress(segment);
      this.#cacheBytes += frame.length;
    }
    this.#cache.set(key, frame);
    for (const [oldest, kept] of this.#cache) {
      if (this.#cacheBytes <= CACHE_BYTES_MAX || oldest === key) break;
      this.#cache.delete(oldest);
      this.#cacheBytes -= kept.length;
    }
    return frame;
  }
}

function framePiece(frame: Frame): Piece {
  return { ...frame, load: () => frame.packed };
}

/** The smallest; of equals the first. */
function first<Item>(items: readonly Item[], compare: (a: Item, b: Item) => number): Item | null {
  let best: Item | null = null;
  for (const item of items) if (best === null || compare(item, best) < 0) best = item;
  return best;
}

function endsAtOrAfter(place: SegmentPlace, cursor: LogCursor): boolean {
  return (
    place.epoch > cursor.epoch || (place.epoch === cursor.epoch && place.lastSeq >= cursor.seq)
  );
}

function beginsBefore(place: SegmentPlace, cursor: LogCursor): boolean {
  return (
    place.epoch < cursor.epoch || (place.epoch === cursor.epoch && place.firstSeq < cursor.seq)
  );
}

/** Where reading would begin: within the piece that holds the cursor, that is the cursor. */
function startWithin(place: SegmentPlace, cursor: LogCursor): LogCursor {
  const isInside = place.epoch === cursor.epoch && place.firstSeq <= cursor.seq;
  return isInside ? cursor : { epoch: place.epoch, seq: place.firstSeq };
}

/** The last record before the cursor. */
function endWithin(place: SegmentPlace, cursor: LogCursor): LogCursor {
  const isCut = place.epoch === cursor.epoch && place.lastSeq >= cursor.seq;
  return { epoch: place.epoch, seq: isCut ? cursor.seq - 1 : place.lastSeq };
}

/** The first segment of a span for which `isReached` holds, touching a few index pages only. */
function bisect(
  reader: LogFileReader,
  uuid: string,
  span: Span,
  isReached: (place: SegmentPlace) => boolean,
): SegmentPlace | null {
  let low = span.firstSeq;
  let high = span.lastSeq;
  let found: SegmentPlace | null = null;
  while (low <= high) {
    const middle = Math.floor((low + high) / 2);
    const place = reader.segmentUpTo(uuid, span.epoch, middle);
    if (!place) return null;
    if (isReached(place)) {
      found = place;
      high = place.firstSeq - 1;
    } else {
      low = place.lastSeq + 1;
    }
  }
  return found;
}

async function nextChange(counter: Int32Array, seen: number, timeoutMs: number): Promise<void> {
  const { async: isWaiting, value } = Atomics.waitAsync(counter, 0, seen, timeoutMs);
  if (!isWaiting) return;
  const keepAlive = setTimeout(() => undefined, timeoutMs + 1000); // a waitAsync alone does not
  await value;
  clearTimeout(keepAlive);
}
