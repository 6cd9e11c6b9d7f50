import { Fault } from '../core/fault.ts';
import type { LogCursor, LogPlace, LogReader } from '../core/log-reader.ts';
import { offsetsOf, seqsOf } from '../core/record.ts';
import type { LogRecord } from '../core/record.ts';
import type { Caller } from '../core/user.ts';

/** The store is behind when nothing is committed for this long: history ends there. */
export const COMMIT_WAIT_MS = 5_000;
const READ_BYTES = 32_768;

/** A byte's place: everything before it has been delivered. */
export interface StreamPlace {
  epoch: number;
  offset: number;
}

export interface HistorySource {
  log: LogReader;
  caller: Caller;
  uuid: string;
}

export interface HistorySink {
  /** Resolves when more may be written; false: the session is over. */
  write(bytes: Uint8Array): Promise<boolean>;
  /** A line for people, after what was written. */
  notice(text: string): void;
}

/**
 * A port's rx bytes from the log, in order, up to places that the live stream gives (DESIGN 3). Both
 * count by offset, so the seam shows nothing twice and misses nothing; what is missing is told.
 */
export class History {
  readonly #source: HistorySource;
  readonly #sink: HistorySink;
  #cursor: LogCursor;
  /** Null: nothing delivered yet, whatever comes first is right. */
  #at: StreamPlace | null;
  #parts: Uint8Array[] = [];
  #partsBytes = 0;

  private constructor(
    source: HistorySource,
    sink: HistorySink,
    cursor: LogCursor,
    at: StreamPlace | null,
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#cursor = cursor;
    this.#at = at;
  }

  /**
   * `live` is where the live stream begins: what lies before it may still be on its way to the log.
   * @throws Fault LOG_NOT_FOUND when there is no such place, and what the log says otherwise.
   */
  static async begin(
    source: HistorySource,
    sink: HistorySink,
    wanted: LogPlace,
    live: StreamPlace,
  ): Promise<History> {
    const from = wanted.at === 'last-lines' ? await lastLines(source, wanted.lines, live) : wanted;
    const counted = countedFrom(live, from);
    const found = counted && (await tryLocate(source, counted));
    const place = found ? counted : from;
    const cursor = found ?? (await locate(source, from, live));
    if (place.at !== 'offset') return new History(source, sink, cursor, null);
    return new History(source, sink, cursor, { epoch: cursor.epoch, offset: place.offset });
  }

  /** As `deliver`; the session was given everything before `from`, partly by other means. */
  async deliverFrom(from: StreamPlace, until: StreamPlace): Promise<boolean> {
    this.#at = from;
    // The cursor may be past it: it stands where the log ended when it was asked, not where live began.
    const place: LogPlace = { at: 'offset', ...from };
    const found = await tryLocate(this.#source, place).catch(() => null); // reading tells why
    this.#cursor = found ?? this.#cursor;
    return this.deliver(until);
  }

  /**
   * Delivers what lies before `until`, waiting for its commit. False: the session is over.
   * @throws what the log says; by then the hole has been told.
   */
  async deliver(until: StreamPlace): Promise<boolean> {
    try {
      const isComplete = await this.#read(until);
      return await this.#finish(until, isComplete ? NOT_LOGGED : 'they are not in the log yet');
    } catch (error) {
      await this.#finish(until, 'the log could not be read');
      throw error;
    }
  }

  /** True: all that the log will ever have before `until` was read. */
  async #read(until: StreamPlace): Promise<boolean> {
    const { log, caller, uuid } = this.#source;
    let isAllThere = false;
    for (;;) {
      const batch = await log.read(caller, uuid, this.#cursor, READ_BYTES);
      for (const record of batch.records) {
        const { epoch, seq } = record;
        if (!(await this.#take(record, until))) {
          this.#cursor = { epoch, seq };
          return true;
        }
        this.#cursor = { epoch, seq: seq + seqsOf(record) };
        if (epoch === until.epoch && endOf(record) === until.offset) return true;
      }
      this.#cursor = batch.next;
      if (!(await this.#flush())) return true;
      if (!batch.atEnd) continue;
      if (isAllThere && batch.records.length === 0) return true;
      isAllThere = await isCommitted(this.#source, until);
      // If it is, one more look: it may have been committed after the read.
      if (!isAllThere && !(await log.changed(caller, uuid, this.#cursor, COMMIT_WAIT_MS))) {
        return false;
      }
    }
  }

  /** Delivers what of this record lies before `until`; false: not all of it does. */
  async #take(record: LogRecord, until: StreamPlace): Promise<boolean> {
    const { epoch } = record;
    const limit = epoch === until.epoch ? until.offset : Number.POSITIVE_INFINITY;
    if (epoch > until.epoch || record.offset >= limit) return false;
    const end = endOf(record);
    if (end === record.offset) return true;
    const to = Math.min(end, limit);
    const from = await this.#advance(epoch, record.offset);
    if (from >= to) return end <= limit;
    if (record.kind === 'rx') {
      await this.#add(record.bytes.subarray(from - record.offset, to - record.offset));
    } else if (record.kind === 'gap') {
      const count = record.count === null ? 'an unknown number of' : to - from;
      await this.#tell(`skipped ${count} bytes (${from}..${to}), missing: ${record.reason}`);
    }
    this.#at = { epoch, offset: to };
    return end <= limit;
  }

  /** The log goes on at this place: returns what of it is new, and tells of a hole before it. */
  async #advance(epoch: number, offset: number): Promise<number> {
    const at = this.#at;
    if (at === null) return offset;
    if (at.epoch === epoch) {
      if (offset > at.offset) await this.#tellHole(at.offset, offset, NOT_LOGGED);
      return Math.max(at.offset, offset);
    }
    await this.#tell('continuity is not proven here: a new epoch begins');
    if (offset > 0) await this.#tellHole(0, offset, NOT_LOGGED);
    return offset;
  }

  /** Everything before `until` has been delivered or told to be missing. */
  async #finish(until: StreamPlace, whyMissing: string): Promise<boolean> {
    const at = this.#at;
    if (at === null) {
      if (whyMissing !== NOT_LOGGED) await this.#tell(`history is left out: ${whyMissing}`);
    } else if (at.epoch !== until.epoch) {
      if (until.offset > 0) await this.#tellHole(0, until.offset, whyMissing);
    } else if (at.offset < until.offset) {
      await this.#tellHole(at.offset, until.offset, whyMissing);
    }
    if (at === null || at.epoch !== until.epoch || at.offset < until.offset) this.#at = until;
    return this.#flush();
  }

  async #tellHole(from: number, to: number, why: string): Promise<void> {
    await this.#tell(`skipped ${to - from} bytes (${from}..${to}), ${why}`);
  }

  async #tell(text: string): Promise<void> {
    await this.#flush();
    this.#sink.notice(text);
  }

  async #add(bytes: Uint8Array): Promise<void> {
    this.#parts.push(bytes);
    this.#partsBytes += bytes.length;
    if (this.#partsBytes >= READ_BYTES) await this.#flush();
  }

  async #flush(): Promise<boolean> {
    const parts = this.#parts;
    this.#parts = [];
    this.#partsBytes = 0;
    return this.#sink.write(parts.length === 1 ? parts[0]! : Buffer.concat(parts));
  }
}

const LF = 0x0a;
const NOT_LOGGED = 'the log does not have them';

function endOf(record: LogRecord): number {
  return record.offset + offsetsOf(record);
}

/**
 * A place that is not committed yet counts as there: reading then begins at the end of the log and
 * waits. The end is asked for first, so that a commit in between cannot hide bytes.
 */
async function locate(
  source: HistorySource,
  place: LogPlace,
  live: StreamPlace,
): Promise<LogCursor> {
  const beforeAll: LogCursor = { epoch: live.epoch, seq: 0 };
  const end = (await tryLocate(source, { at: 'end' })) ?? beforeAll;
  const found = await tryLocate(source, place);
  if (found) return found;
  const isOnItsWay =
    place.at === 'offset'
      ? (place.epoch ?? live.epoch) === live.epoch && place.offset <= live.offset
      : place.at !== 'time' && place.at !== 'boot';
  if (!isOnItsWay) throw new Fault('LOG_NOT_FOUND', 'the log does not reach back to that place');
  return end.epoch < live.epoch ? beforeAll : end;
}

/**
 * Where the last lines before `live` begin. The log answers with the record that the first of them
 * is in: what that holds before it is found here.
 */
async function lastLines(
  source: HistorySource,
  lines: number,
  live: StreamPlace,
): Promise<LogPlace> {
  await waitForCommit(source, live);
  const place: LogPlace = { at: 'last-lines', lines };
  const cursor = await tryLocate(source, place);
  if (cursor === null) return place;
  let tooMany = -lines;
  for await (const { bytes } of rxBetween(source, cursor, live)) tooMany += lineFeeds(bytes).length;
  if (tooMany <= 0) return place;
  for await (const { epoch, offset, bytes } of rxBetween(source, cursor, live)) {
    const ends = lineFeeds(bytes);
    const end = ends[tooMany - 1];
    if (end !== undefined) return { at: 'offset', epoch, offset: offset + end + 1 };
    tooMany -= ends.length;
  }
  return place;
}

async function* rxBetween(
  { log, caller, uuid }: HistorySource,
  from: LogCursor,
  until: StreamPlace,
): AsyncGenerator<{ epoch: number; offset: number; bytes: Uint8Array }> {
  for (let cursor = from; ;) {
    const batch = await log.read(caller, uuid, cursor, READ_BYTES);
    for (const record of batch.records) {
      const { epoch, offset } = record;
      const limit = epoch === until.epoch ? until.offset - offset : Number.POSITIVE_INFINITY;
      if (epoch > until.epoch || limit <= 0) return;
      if (record.kind === 'rx') yield { epoch, offset, bytes: record.bytes.subarray(0, limit) };
    }
    if (batch.atEnd) return;
    cursor = batch.next;
  }
}

/** Where they are. */
function lineFeeds(bytes: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) found.push(at);
  return found;
}

/** Lines are counted from the end of the log: it has to hold what was heard so far. Bounded. */
async function waitForCommit(source: HistorySource, live: StreamPlace): Promise<void> {
  const { log, caller, uuid } = source;
  for (;;) {
    // The end first: a commit in between then ends the wait.
    const end = (await tryLocate(source, { at: 'end' })) ?? { epoch: live.epoch, seq: 0 };
    if (await isCommitted(source, live)) return;
    if (!(await log.changed(caller, uuid, end, COMMIT_WAIT_MS))) return;
  }
}

async function isCommitted(
  { log, caller, uuid }: HistorySource,
  until: StreamPlace,
): Promise<boolean> {
  if (until.offset === 0) return true;
  const [port] = await log.ports(caller, uuid);
  const epoch = port?.epochs.find((candidate) => candidate.epoch === until.epoch);
  return epoch !== undefined && epoch.endOffset >= until.offset;
}

/** So many bytes before `live`, where that is in the same epoch; the log's end may be past it. */
function countedFrom(live: StreamPlace, place: LogPlace): LogPlace | null {
  if (place.at !== 'last-bytes' || place.bytes > live.offset) return null;
  return { at: 'offset', epoch: live.epoch, offset: live.offset - place.bytes };
}

async function tryLocate(
  { log, caller, uuid }: HistorySource,
  place: LogPlace,
): Promise<LogCursor | null> {
  try {
    return await log.locate(caller, uuid, place);
  } catch (error) {
    if (error instanceof Fault && error.code === 'LOG_NOT_FOUND') return null;
    throw error;
  }
}
