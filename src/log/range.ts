import { Fault } from '../core/fault.ts';
import type { LogCursor, LogPlace, LogReader } from '../core/log-reader.ts';
import type { LogRecord } from '../core/record.ts';
import { offsetsOf } from '../core/record.ts';
import type { Caller } from '../core/user.ts';

/**
 * A stretch of a port's log, cut exactly: `LogReader` gives whole records, this one cuts the first
 * and the last to the byte. `from` a time after the last record is the end; `until` is exclusive.
 * Reads on when more is committed; `goTo` reads again.
 */
export class LogRange {
  /** @throws Fault LOG_NOT_FOUND for an offset or boot the log does not hold. */
  static async open(
    log: LogReader,
    caller: Caller,
    uuid: string,
    from: LogPlace,
    until: LogPlace | null,
  ): Promise<LogRange> {
    const source = { log, caller, uuid };
    const start = await findStart(source, from);
    const end = until === null ? {} : await findEnd(source, until);
    return new LogRange(source, start, end);
  }

  readonly #source: Source;
  readonly #cut: ByteAddress | null;
  readonly #end: RangeEnd;
  #cursor: LogCursor;
  #isEnded = false;

  private constructor(source: Source, start: RangeStart, end: RangeEnd) {
    this.#source = source;
    this.#cut = start.cut;
    this.#end = end;
    this.#cursor = start.cursor;
  }

  /** The next record to be read. */
  get cursor(): LogCursor {
    return this.#cursor;
  }

  /** `until` was reached: nothing follows. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** `atEnd`: nothing more is committed for now, or `until` was reached. */
  async next(bytesMax: number): Promise<{ records: LogRecord[]; atEnd: boolean }> {
    if (this.#isEnded) return { records: [], atEnd: true };
    const { log, caller, uuid } = this.#source;
    const batch = await log.read(caller, uuid, this.#cursor, bytesMax);
    const records: LogRecord[] = [];
    for (const record of batch.records) {
      if (this.#isPast(record)) {
        this.#isEnded = true;
        break;
      }
      const cut = this.#trim(record);
      if (cut !== null) records.push(cut);
    }
    this.#cursor = batch.next;
    return { records, atEnd: batch.atEnd || this.#isEnded };
  }

  /** Reads again from a place that `cursor` named before. */
  goTo(cursor: LogCursor): void {
    this.#cursor = cursor;
    this.#isEnded = false;
  }

  /** Resolves true when there is more to read, false after `timeoutMs`. */
  changed(timeoutMs: number): Promise<boolean> {
    const { log, caller, uuid } = this.#source;
    return log.changed(caller, uuid, this.#cursor, timeoutMs);
  }

  #isPast(record: LogRecord): boolean {
    const { cursor, cut, us } = this.#end;
    if (cursor && compareCursors(record, cursor) >= 0) return true;
    if (
      cut &&
      (record.epoch > cut.epoch || (record.epoch === cut.epoch && record.offset >= cut.offset))
    ) {
      return true;
    }
    return us !== undefined && record.atUs >= us;
  }

  #trim(record: LogRecord): LogRecord | null {
    if (record.kind !== 'rx') return record;
    let { offset, bytes } = record;
    if (this.#cut?.epoch === record.epoch && offset < this.#cut.offset) {
      bytes = bytes.subarray(this.#cut.offset - offset);
      offset = this.#cut.offset;
    }
    const last = this.#end.cut;
    if (last?.epoch === record.epoch) bytes = bytes.subarray(0, Math.max(0, last.offset - offset));
    if (bytes.length === 0) return null;
    return bytes === record.bytes ? record : { ...record, offset, bytes };
  }
}

export function compareCursors(a: LogCursor, b: LogCursor): number {
  return a.epoch - b.epoch || a.seq - b.seq;
}

interface Source {
  log: LogReader;
  caller: Caller;
  uuid: string;
}

interface ByteAddress {
  epoch: number;
  offset: number;
}

interface RangeStart {
  cursor: LogCursor;
  /** rx bytes of this epoch before this offset are left out. */
  cut: ByteAddress | null;
}

interface RangeEnd {
  cursor?: LogCursor;
  cut?: ByteAddress;
  us?: number;
}

/** Before everything: where to read on from when nothing is logged yet. */
const BEGINNING: LogCursor = { epoch: 0, seq: 0 };
const LINES_BATCH_BYTES = 262_144;

async function locate(source: Source, place: LogPlace): Promise<LogCursor | null> {
  try {
    return await source.log.locate(source.caller, source.uuid, place);
  } catch (error) {
    if (error instanceof Fault && error.code === 'LOG_NOT_FOUND') return null;
    throw error;
  }
}

async function findStart(source: Source, place: LogPlace): Promise<RangeStart> {
  const { log, caller, uuid } = source;
  switch (place.at) {
    case 'offset': {
      const cursor = await log.locate(caller, uuid, place);
      return { cursor, cut: { epoch: cursor.epoch, offset: place.offset } };
    }
    case 'boot':
      return { cursor: await log.locate(caller, uuid, place), cut: null };
    case 'last-bytes':
      return findLastBytes(source, place.bytes);
    case 'last-lines':
      return findLastLines(source, place.lines);
    case 'start':
      return { cursor: (await locate(source, place)) ?? BEGINNING, cut: null };
    case 'end':
    case 'time': {
      const cursor = (await locate(source, place)) ?? (await locate(source, { at: 'end' }));
      return { cursor: cursor ?? BEGINNING, cut: null };
    }
  }
}

async function findEnd(source: Source, place: LogPlace): Promise<RangeEnd> {
  if (place.at === 'offset') {
    // It may not be reached yet; then the epoch is the newest one.
    const epoch =
      place.epoch ?? (await locate(source, place))?.epoch ?? (await newestEpoch(source));
    return epoch === null ? {} : { cut: { epoch, offset: place.offset } };
  }
  const cursor = await locate(source, place);
  if (place.at !== 'time') return cursor === null ? {} : { cursor };
  // A time that is not reached yet is answered with the end: more may be logged before it.
  const end = cursor && (await locate(source, { at: 'end' }));
  return cursor && end && compareCursors(cursor, end) < 0 ? { cursor } : { us: place.us };
}

async function newestEpoch({ log, caller, uuid }: Source): Promise<number | null> {
  const [port] = await log.ports(caller, uuid);
  return port?.epochs.at(-1)?.epoch ?? null;
}

async function findLastBytes(source: Source, bytes: number): Promise<RangeStart> {
  const [port] = await source.log.ports(source.caller, source.uuid);
  let wanted = bytes;
  for (const { epoch, firstOffset, endOffset } of [...(port?.epochs ?? [])].reverse()) {
    if (endOffset - firstOffset >= wanted) {
      const offset = endOffset - wanted;
      const cursor = await locate(
        source,
        wanted === 0 ? { at: 'end' } : { at: 'offset', epoch, offset },
      );
      return { cursor: cursor ?? BEGINNING, cut: { epoch, offset } };
    }
    wanted -= endOffset - firstOffset;
  }
  return findStart(source, { at: 'start' });
}

/** The reader answers with the record that holds the first line; lines before it are cut off here. */
async function findLastLines(source: Source, lines: number): Promise<RangeStart> {
  const { log, caller, uuid } = source;
  const end = await locate(source, { at: 'end' });
  const cursor = await locate(source, { at: 'last-lines', lines });
  if (end === null || cursor === null) return { cursor: cursor ?? BEGINNING, cut: null };
  /** Where each of the last lines begins, that is after the LF before it. */
  let starts: ByteAddress[] = [];
  for (let at = cursor; compareCursors(at, end) < 0;) {
    const batch = await log.read(caller, uuid, at, LINES_BATCH_BYTES);
    for (const record of batch.records) {
      if (compareCursors(record, end) >= 0) break;
      if (record.kind !== 'rx') continue;
      const { epoch, offset, bytes } = record;
      for (let i = bytes.indexOf(0x0a); i >= 0; i = bytes.indexOf(0x0a, i + 1)) {
        starts.push({ epoch, offset: offset + i + 1 });
      }
    }
    if (starts.length > 4 * (lines + 1)) starts = starts.slice(-(lines + 1));
    if (batch.atEnd) break;
    at = batch.next;
  }
  const cut = starts.at(-(lines + 1));
  if (cut === undefined) return { cursor, cut: null };
  return { cursor: await recordHolding(source, cut, cursor), cut };
}

/** Skips records that end before `address`, so that no event in front of the first line is shown. */
async function recordHolding(
  { log, caller, uuid }: Source,
  address: ByteAddress,
  from: LogCursor,
): Promise<LogCursor> {
  for (let at = from; ;) {
    const batch = await log.read(caller, uuid, at, LINES_BATCH_BYTES);
    for (const record of batch.records) {
      const endsAt = record.offset + offsetsOf(record);
      if (record.epoch > address.epoch || endsAt > address.offset) return record;
      if (record.epoch === address.epoch && record.offset >= address.offset) return record;
    }
    if (batch.atEnd) return batch.next;
    at = batch.next;
  }
}
