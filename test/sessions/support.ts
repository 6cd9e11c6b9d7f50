import { Fault } from '../../src/core/fault.ts';
import type {
  LogBatch,
  LogCursor,
  LogPlace,
  LogPort,
  LogReader,
} from '../../src/core/log-reader.ts';
import { offsetsOf } from '../../src/core/record.ts';
import type { LogRecord } from '../../src/core/record.ts';
import { DEFAULT_ESCAPE } from '../../src/core/user.ts';
import type { Caller } from '../../src/core/user.ts';
import { openSession } from '../../src/sessions/session.ts';
import type {
  LineEvent,
  Session,
  SessionOptions,
  SessionServices,
} from '../../src/sessions/session.ts';
import { bodyOf, callerOf } from '../ports/support.ts';
import type { FakeSpool, FakeTimers } from '../ports/support.ts';

/** The log of what a fake spool got, as far as it is committed. */
export class FakeLog implements LogReader {
  readonly #spool: FakeSpool;
  readonly #timers: FakeTimers;
  /** Commits everything at once unless set. */
  committed: number | null = null;
  reads = 0;
  failure: Fault | null = null;
  #waiting: (() => void)[] = [];

  constructor(spool: FakeSpool, timers: FakeTimers) {
    this.#spool = spool;
    this.#timers = timers;
  }

  commit(records: number): void {
    this.committed = (this.committed ?? 0) + records;
    for (const look of this.#waiting.splice(0)) look();
  }

  async ports(_caller: Caller, name?: string): Promise<LogPort[]> {
    await aMoment();
    const uuid = name!;
    const epochs = new Map<number, LogPort['epochs'][number]>();
    for (const record of this.#records(uuid)) {
      const { epoch, seq, offset, atUs } = record;
      const known = epochs.get(epoch) ?? {
        epoch,
        firstSeq: seq,
        nextSeq: seq,
        firstOffset: offset,
        endOffset: offset,
        firstUs: atUs,
        lastUs: atUs,
      };
      known.nextSeq = seq + 1;
      known.endOffset = offset + offsetsOf(record);
      epochs.set(epoch, known);
    }
    return [{ uuid, name: 'db1', epochs: [...epochs.values()] }];
  }

  async locate(_caller: Caller, uuid: string, place: LogPlace): Promise<LogCursor> {
    await aMoment();
    const records = this.#records(uuid);
    const last = records.at(-1);
    if (!last) throw new Fault('LOG_NOT_FOUND', 'empty');
    const end = { epoch: last.epoch, seq: last.seq + 1 };
    const cursorOf = (record: LogRecord | undefined): LogCursor => {
      if (!record) throw new Fault('LOG_NOT_FOUND', 'no such place');
      return { epoch: record.epoch, seq: record.seq };
    };
    const endOf = (record: LogRecord): number => record.offset + offsetsOf(record);
    switch (place.at) {
      case 'start':
        return cursorOf(records[0]);
      case 'end':
        return end;
      case 'offset': {
        const epoch = place.epoch ?? last.epoch;
        return cursorOf(
          records.find((record) => record.epoch === epoch && endOf(record) > place.offset),
        );
      }
      case 'last-lines': {
        let left = place.lines;
        const at = records.findLastIndex(
          (record) =>
            record.kind === 'rx' &&
            (left -= Buffer.from(record.bytes).toString().split('\n').length - 1) < 0,
        );
        return cursorOf(records[at + 1] ?? last);
      }
      case 'last-bytes': {
        const offset = Math.max(0, endOf(last) - place.bytes);
        return cursorOf(records.find((record) => endOf(record) > offset) ?? last);
      }
      default:
        throw new Fault('LOG_NOT_FOUND', 'no such place');
    }
  }

  async read(_caller: Caller, uuid: string, from: LogCursor, bytesMax: number): Promise<LogBatch> {
    this.reads++;
    await aMoment();
    if (this.failure) throw this.failure;
    const after = this.#records(uuid).filter((record) => isAtOrAfter(record, from));
    const records: LogRecord[] = [];
    let bytes = 0;
    for (const record of after) {
      if (records.length > 0 && bytes >= bytesMax) break;
      records.push(record);
      bytes += offsetsOf(record);
    }
    const last = records.at(-1);
    const next = last ? { epoch: last.epoch, seq: last.seq + 1 } : from;
    return { records, next, atEnd: records.length === after.length };
  }

  async changed(
    _caller: Caller,
    uuid: string,
    from: LogCursor,
    timeoutMs: number,
  ): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = this.#timers.after(timeoutMs, () => resolve(false));
      const look = (): void => {
        if (!this.#records(uuid).some((record) => isAtOrAfter(record, from))) {
          this.#waiting.push(look);
          return;
        }
        cancel();
        resolve(true);
      };
      look();
    });
  }

  #records(uuid: string): LogRecord[] {
    const all = this.#spool.records.get(uuid) ?? [];
    const committed = this.committed === null ? all : all.slice(0, this.committed);
    return committed.map((record) => {
      const { epoch, seq, offset, atUs } = record;
      return { epoch, seq, offset, atUs, ...bodyOf(record) };
    });
  }
}

/** Commits may come in between, as with a log on another thread. */
function aMoment(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function isAtOrAfter(record: LogRecord, cursor: LogCursor): boolean {
  return record.epoch > cursor.epoch || (record.epoch === cursor.epoch && record.seq >= cursor.seq);
}

/** A client at the end of a session, which takes what it is given, or stalls. */
export class Client {
  session!: Session;
  readonly chunks: Buffer[] = [];
  /** Output not taken yet. */
  outstandingBytes = 0;
  outstandingBytesMax = 0;
  endedWhy: string | null = null;
  isStalled = false;
  readonly events: LineEvent[] = [];
  #pending: (() => void)[] = [];

  async open(services: SessionServices, more: Partial<SessionOptions> = {}): Promise<this> {
    const options: SessionOptions = {
      caller: callerOf('alice'),
      port: 'db1',
      mode: 'write',
      delivery: 'person',
      from: null,
      notices: true,
      keys: DEFAULT_ESCAPE,
      ...more,
    };
    this.session = await openSession(services, options, {
      write: (bytes, done) => {
        this.chunks.push(Buffer.from(bytes));
        this.outstandingBytes += bytes.length;
        this.outstandingBytesMax = Math.max(this.outstandingBytesMax, this.outstandingBytes);
        const take = (): void => {
          this.outstandingBytes -= bytes.length;
          done();
        };
        if (this.isStalled) this.#pending.push(take);
        else take();
      },
      ended: (why) => {
        this.endedWhy = why;
      },
      event: (event) => this.events.push(event),
    });
    return this;
  }

  goOn(): void {
    this.isStalled = false;
    while (!this.isStalled && this.#pending.length > 0) this.#pending.shift()!();
  }

  type(text: string): Promise<void> {
    return this.session.input(Uint8Array.from(Buffer.from(text, 'latin1')));
  }

  /** Bytes of the device. */
  get text(): string {
    return Buffer.concat(this.chunks.filter((chunk) => !isNotice(chunk))).toString('latin1');
  }

  /** All that was written. */
  get all(): string {
    return Buffer.concat(this.chunks).toString('latin1');
  }

  /** Resolves when what was written fits. */
  async until(pattern: RegExp): Promise<void> {
    for (let turn = 0; !pattern.test(this.all); turn++) {
      if (turn > 10_000) throw new Error(`${pattern} is not in ${JSON.stringify(this.all)}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Lines of Fairlead's own, without their frame. */
  get notices(): string[] {
    return this.chunks
      .filter(isNotice)
      .flatMap((chunk) => [...chunk.toString().matchAll(/\[fairlead: (.*)\]\r\n/g)])
      .map((match) => match[1]!);
  }
}

export function isNotice(chunk: Buffer): boolean {
  return /^(?:\r\n)?\[fairlead:/.test(chunk.subarray(0, 12).toString());
}
