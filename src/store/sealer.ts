import assert from 'node:assert/strict';
import type { Journal } from '../core/clock.ts';
import type { PortPosition } from '../core/spool.ts';
import { firstKindOf, joinFrames, walkFrame } from '../log/frame.ts';
import type { Frame } from '../log/recorder.ts';
import { isAfter } from './adopt.ts';
import type { HotPlace } from './hot.ts';
import type { LogFilePort, NewSegment } from './log-file.ts';
import type { LogShelf } from './log-shelf.ts';
import type { SealedHead } from './sealed-heads.ts';
import { compress, FIRST_HASH, segmentHash, type StoredSegment } from './segment.ts';
import { sessionsIn } from './session-mentions.ts';
import type { State } from './tables.ts';

export interface SealerParts {
  state: State;
  shelf: LogShelf;
  journal: Journal;
  codec: 'brotli' | 'zstd';
  /** Any clock that never steps. */
  monotonicMs(): number;
  /** What a log file writes of a port. */
  portOf(portId: number): LogFilePort;
}

/** A port's unsealed rows, oldest first. */
interface Tail {
  portId: number;
  ids: number[];
  /** The rows' frames, as far as they are kept in memory. */
  frames: (Frame | null)[];
  bytes: number;
  /** When the oldest of them was committed; of those of an earlier run: when this one began. */
  sinceMs: number;
}

/** One segment to be: rows of a tail from its front on. */
interface Group {
  frames: Frame[];
  bytes: number;
}

export const SEAL_BYTES = 256 * 1024;
export const SEAL_IDLE_MS = 15 * 60_000;
/** Sealed rows that may wait behind an unsealed one before that one is sealed, too. */
const HELD_BACK_BYTES_MAX = 64 * 1024 * 1024;
/** Unsealed frames kept in memory, over all ports, so that sealing need not read them back. */
const KEPT_BYTES_MAX = 16 * 1024 * 1024;
/** What a frame kept in memory costs besides its bytes. */
const KEPT_OVERHEAD_BYTES = 250;
/** Payload that one call seals, in one transaction; the time it takes delays the next commit. */
const BATCH_BYTES = 2 * 1024 * 1024;
/** The same while so much is due that sealing must outrun the commits. */
const BATCH_BYTES_HIGH = 8 * 1024 * 1024;
const DUE_BYTES_HIGH = 32 * 1024 * 1024;
const BATCH_PORTS_MAX = 32;
/** Due ports wait so long for others, to share a transaction. */
const GATHER_MS = 1_000;
/** Rows and payload that one commit deletes. */
const DELETE_ROWS_MAX = 1_000;
const DELETE_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Makes segments of hot rows: knows which rows are not sealed yet, when a port is due, where each
 * port's chain of hashes ends, and which rows may be deleted.
 */
export class Sealer {
  readonly #parts: SealerParts;
  readonly #tails = new Map<number, Tail>();
  readonly #heads: Map<number, SealedHead>;
  /** Heads not yet written to the state database. */
  readonly #unsavedHeads = new Map<number, SealedHead>();
  readonly #ends = new Map<number, PortPosition>();
  readonly #due = new Set<Tail>();
  #dueSinceMs = 0;
  #keptBytes = 0;
  #unsealedBytes = 0;
  /** Rows in the table, coarsely: up to this id so many rows and bytes, oldest first. */
  #marks: { lastId: number; rows: number; bytes: number }[] = [];
  #hotBytes = 0;

  /**
   * Reads which rows wait. `sealedSince`: the ends of chains that log files may hold beyond what the
   * state database knows; a crash may have fallen between a segment and the note of it.
   */
  constructor(parts: SealerParts, sealedSince: readonly SealedHead[]) {
    this.#parts = parts;
    const { state } = parts;
    this.#heads = new Map(state.sealed.all().map((head) => [head.port, head]));
    for (const head of sealedSince) {
      if (isAfter(head, this.#heads.get(head.port))) this.#setHead(head);
    }
    for (const head of this.#heads.values()) this.#noteEnd(head.port, head);
    for (const row of state.hot.after(0)) {
      this.#addRow(row, null);
      this.#noteEnd(row.port, row);
    }
  }

  /** Payload bytes in ports that are due. */
  get dueBytes(): number {
    let bytes = 0;
    for (const tail of this.#due) bytes += tail.bytes;
    return bytes;
  }

  get unsealedBytes(): number {
    return this.#unsealedBytes;
  }

  /** The end of a port's chain; null: nothing sealed. */
  head(portId: number): SealedHead | null {
    return this.#heads.get(portId) ?? null;
  }

  /** Where each port's hot rows and segments end, as read at start. */
  ends(): ReadonlyMap<number, PortPosition> {
    return this.#ends;
  }

  /** Takes over what a commit appended. */
  added(frames: readonly Frame[], ids: readonly number[]): void {
    frames.forEach((frame, index) => {
      this.#addRow({ ...frame, id: ids[index]!, port: frame.portId }, frame);
    });
  }

  /** Marks ports due whose oldest record is too old. Cheap; to be called each second or so. */
  markOld(): void {
    const nowMs = this.#parts.monotonicMs();
    for (const tail of this.#tails.values()) {
      if (tail.ids.length > 0 && nowMs - tail.sinceMs >= SEAL_IDLE_MS) this.#markDue(tail);
    }
  }

  /** Too much is due: seal after each commit. */
  get isBehind(): boolean {
    return this.dueBytes > DUE_BYTES_HIGH;
  }

  /** True when there is enough to seal, or it has waited for more. */
  isWorthwhile(): boolean {
    if (this.#due.size === 0) return false;
    return (
      this.#parts.monotonicMs() - this.#dueSinceMs >= GATHER_MS || this.dueBytes >= BATCH_BYTES
    );
  }

  /**
   * Seals due ports, some MB of payload, in one transaction of the current log file. Returns the
   * payload bytes sealed.
   * @throws SQLite's own error; then nothing was sealed, and it is to be tried again.
   */
  seal(): number {
    const nowMs = this.#parts.monotonicMs();
    const bytesMax = this.isBehind ? BATCH_BYTES_HIGH : BATCH_BYTES;
    const segments: NewSegment[] = [];
    const taken: { tail: Tail; isWhole: boolean; rows: number; head: SealedHead; bytes: number }[] =
      [];
    let total = 0;
    for (const tail of this.#due) {
      if (total >= bytesMax || taken.length >= BATCH_PORTS_MAX) break;
      const isWhole = tail.bytes < SEAL_BYTES || nowMs - tail.sinceMs >= SEAL_IDLE_MS;
      const groups = this.#groups(tail, isWhole, bytesMax - total);
      let head = this.#heads.get(tail.portId) ?? null;
      let rows = 0;
      let bytes = 0;
      for (const group of groups) {
        const segment = this.#makeSegment(tail.portId, group, head?.hash ?? FIRST_HASH);
        segments.push(segment);
        head = { port: tail.portId, file: '', ...placeOf(segment.segment) };
        rows += group.frames.length;
        bytes += group.bytes;
      }
      if (head === null || rows === 0) continue;
      total += bytes;
      taken.push({ tail, isWhole, rows, head, bytes });
    }
    if (segments.length === 0) {
      this.#due.clear();
      return 0;
    }
    const file = this.#parts.shelf.append(segments);
    for (const { tail, isWhole, rows, head, bytes } of taken) {
      this.#drop(tail, isWhole, rows, bytes);
      this.#setHead({ ...head, file });
    }
    this.#dueSinceMs = nowMs;
    return total;
  }

  /** Everything of every port: before a clean end of a test or a backup. */
  markAll(): void {
    for (const tail of this.#tails.values()) {
      if (tail.ids.length === 0) continue;
      tail.sinceMs = Number.NEGATIVE_INFINITY;
      this.#markDue(tail);
    }
  }

  /** Heads to be written with the next commit; `headsSaved` when that commit is durable. */
  unsavedHeads(): readonly SealedHead[] {
    return [...this.#unsavedHeads.values()];
  }

  headsSaved(heads: readonly SealedHead[]): void {
    for (const head of heads) {
      if (this.#unsavedHeads.get(head.port) === head) this.#unsavedHeads.delete(head.port);
    }
  }

  /**
   * The last row of a slice that may be deleted now: everything up to it is sealed. Null: nothing,
   * or too little to bother. Ports that hold much back become due.
   */
  deletable(): number | null {
    if (this.#hotBytes - this.#unsealedBytes > HELD_BACK_BYTES_MAX) this.#pushOldest();
    const end = this.#oldestUnsealedId();
    let lastId: number | null = null;
    let rows = 0;
    let bytes = 0;
    // The newest rows stay: SQLite would give the ids of an emptied table out again.
    for (const mark of this.#marks.slice(0, -1)) {
      if (mark.lastId >= end || rows >= DELETE_ROWS_MAX || bytes >= DELETE_BYTES_MAX) break;
      rows += mark.rows;
      bytes += mark.bytes;
      lastId = mark.lastId;
    }
    return lastId;
  }

  /** The rows up to `id` are gone. */
  deleted(id: number): void {
    while (this.#marks.length > 0 && this.#marks[0]!.lastId <= id) {
      this.#hotBytes -= this.#marks.shift()!.bytes;
    }
  }

  #noteEnd(port: number, end: { epoch: number; lastSeq: number; endOffset: number }): void {
    const known = this.#ends.get(port);
    if (known && !isAfter(end, { epoch: known.epoch, lastSeq: known.seq - 1 })) return;
    const { epoch, lastSeq, endOffset } = end;
    this.#ends.set(port, { epoch, seq: lastSeq + 1, offset: endOffset });
  }

  #addRow(row: HotPlace, frame: Frame | null): void {
    const mark = this.#marks.at(-1);
    if (mark && mark.rows < 64 && mark.bytes < SEAL_BYTES) {
      mark.lastId = row.id;
      mark.rows++;
      mark.bytes += row.bytes;
    } else {
      this.#marks.push({ lastId: row.id, rows: 1, bytes: row.bytes });
    }
    this.#hotBytes += row.bytes;
    const head = this.#heads.get(row.port);
    if (head && !isAfter(row, head)) return; // sealed before a crash, deleted later
    let tail = this.#tails.get(row.port);
    if (!tail) {
      tail = { portId: row.port, ids: [], frames: [], bytes: 0, sinceMs: 0 };
      this.#tails.set(row.port, tail);
    }
    if (tail.ids.length === 0) tail.sinceMs = this.#parts.monotonicMs();
    const cost = frame ? frame.packed.length + KEPT_OVERHEAD_BYTES : 0;
    const isKept = frame !== null && this.#keptBytes + cost <= KEPT_BYTES_MAX;
    if (isKept) this.#keptBytes += cost;
    tail.ids.push(row.id);
    tail.frames.push(isKept ? frame : null);
    tail.bytes += row.bytes;
    this.#unsealedBytes += row.bytes;
    if (tail.bytes >= SEAL_BYTES) this.#markDue(tail);
  }

  #markDue(tail: Tail): void {
    if (this.#due.size === 0) this.#dueSinceMs = this.#parts.monotonicMs();
    this.#due.add(tail);
  }

  /** Cuts a tail's rows into segments; what is too little for one stays, unless `isWhole`. */
  #groups(tail: Tail, isWhole: boolean, bytesMax: number): Group[] {
    const groups: Group[] = [];
    let group: Group | null = null;
    let previous: Frame | null = null;
    let total = 0;
    for (let i = 0; i < tail.ids.length; i++) {
      const frame: Frame = tail.frames[i] ?? this.#readFrame(tail.ids[i]!);
      if (group && (group.bytes >= SEAL_BYTES || !goesOn(previous, frame))) {
        groups.push(group);
        total += group.bytes;
        group = null;
        if (total >= bytesMax) break;
      }
      group ??= { frames: [], bytes: 0 };
      group.frames.push(frame);
      group.bytes += frame.bytes;
      previous = frame;
    }
    if (group && (isWhole || group.bytes >= SEAL_BYTES)) groups.push(group);
    return groups;
  }

  #readFrame(id: number): Frame {
    const frame = this.#parts.state.hot.row(id);
    assert(frame !== null, 'an unsealed row is in the table');
    return frame;
  }

  #makeSegment(portId: number, group: Group, previousHash: Buffer): NewSegment {
    const first = group.frames[0]!;
    const last = group.frames.at(-1)!;
    const joined = joinFrames(group.frames);
    const mentioned = new Set<number>();
    const head = { firstSeq: first.firstSeq, offset: first.offset, firstUs: first.firstUs };
    const { records } = walkFrame(
      head,
      joined,
      (kind, _seq, _offset, _atUs, memory, at, length) => {
        if (kind !== 'rx') sessionsIn(kind, memory.subarray(at, at + length), mentioned);
        return true;
      },
    );
    const unhashed: Omit<StoredSegment, 'hash'> = {
      epoch: first.epoch,
      firstSeq: first.firstSeq,
      lastSeq: last.lastSeq,
      offset: first.offset,
      endOffset: last.endOffset,
      firstUs: first.firstUs,
      lastUs: last.lastUs,
      records,
      frameBytes: joined.length,
      previousHash,
      ...compress(joined, this.#parts.codec),
    };
    const port = this.#parts.portOf(portId);
    const sessions = [...mentioned].flatMap((session) => {
      const row = this.#parts.state.sessions.get(session);
      return row ? [row] : [];
    });
    return { port, sessions, segment: { ...unhashed, hash: segmentHash(port.uuid, unhashed) } };
  }

  #drop(tail: Tail, isWhole: boolean, rows: number, bytes: number): void {
    for (const frame of tail.frames.slice(0, rows)) {
      if (frame) this.#keptBytes -= frame.packed.length + KEPT_OVERHEAD_BYTES;
    }
    tail.ids = tail.ids.slice(rows);
    tail.frames = tail.frames.slice(rows);
    tail.bytes -= bytes;
    this.#unsealedBytes -= bytes;
    if (isWhole && tail.ids.length > 0) return; // the rest of it is still due
    tail.sinceMs = this.#parts.monotonicMs();
    if (tail.bytes < SEAL_BYTES) this.#due.delete(tail);
  }

  #setHead(head: SealedHead): void {
    this.#heads.set(head.port, head);
    this.#unsavedHeads.set(head.port, head);
  }

  #oldestUnsealedId(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { ids } of this.#tails.values()) {
      if (ids.length > 0 && ids[0]! < oldest) oldest = ids[0]!;
    }
    return oldest;
  }

  /** Makes the ports due whose rows hold the deletion back most. */
  #pushOldest(): void {
    const waiting = [...this.#tails.values()].filter((tail) => tail.ids.length > 0);
    waiting.sort((a, b) => a.ids[0]! - b.ids[0]!);
    for (const tail of waiting.slice(0, BATCH_PORTS_MAX)) this.#markDue(tail);
  }
}

/** Whether a frame may share a segment with the one before. */
function goesOn(previous: Frame | null, frame: Frame): boolean {
  return (
    previous !== null &&
    previous.epoch === frame.epoch &&
    previous.lastSeq + 1 === frame.firstSeq &&
    previous.lastUs <= frame.firstUs &&
    firstKindOf(frame.packed) !== 'clock-step'
  );
}

function placeOf(segment: StoredSegment): Omit<SealedHead, 'port' | 'file'> {
  const { epoch, lastSeq, endOffset, lastUs, hash } = segment;
  return { epoch, lastSeq, endOffset, lastUs, hash };
}
