import { Fault } from '../../src/core/fault.ts';
import type {
  LogBatch,
  LogCursor,
  LogEpoch,
  LogPlace,
  LogPort,
  LogReader,
} from '../../src/core/log-reader.ts';
import type { LogRecord, RecordBody } from '../../src/core/record.ts';
import { offsetsOf, seqsOf } from '../../src/core/record.ts';
import type { Caller } from '../../src/core/user.ts';

export const CALLER: Caller = { user: 'alice', remote: 'test', frontend: 'local' };

/** One port's log in memory, to the contract of `LogReader`. Knows no rights. */
export class FakeLog implements LogReader {
  readonly uuid = '0a0a0a0a-0000-4000-8000-000000000001';
  readonly name: string;
  readonly records: LogRecord[] = [];
  #next = { epoch: 1, seq: 0, offset: 0 };
  #waiting: (() => void)[] = [];
  /** The caller may not read what was typed. */
  withholdsTx = false;
  /** Largest number of records a call of `read` returns. */
  recordsMax = Number.POSITIVE_INFINITY;

  constructor(name = 'db1') {
    this.name = name;
  }

  add(atUs: number, body: RecordBody): this {
    const { epoch, seq, offset } = this.#next;
    const record = { epoch, seq, offset, atUs, ...body };
    this.records.push(record);
    this.#next.seq += seqsOf(body);
    this.#next.offset += offsetsOf(body);
    for (const wake of this.#waiting.splice(0)) wake();
    return this;
  }

  rx(atUs: number, text: string | Uint8Array): this {
    return this.add(atUs, { kind: 'rx', bytes: Buffer.from(text as string) });
  }

  newEpoch(epoch: number): this {
    this.#next = { epoch, seq: 0, offset: 0 };
    return this;
  }

  async ports(_caller: Caller, name?: string): Promise<LogPort[]> {
    if (name !== undefined && name !== this.name && name !== this.uuid) {
      throw new Fault('PORT_UNKNOWN', `no port "${name}" in the log`);
    }
    const port: LogPort = { uuid: this.uuid, name: this.name, epochs: this.#epochs() };
    return [this.withholdsTx ? { ...port, withholdsTx: true } : port];
  }

  async locate(_caller: Caller, _uuid: string, place: LogPlace): Promise<LogCursor> {
    const found = this.#find(place);
    if (found !== undefined) return { epoch: found.epoch, seq: found.seq };
    if (place.at === 'offset' || place.at === 'boot') {
      throw new Fault('LOG_NOT_FOUND', 'the log holds no such place');
    }
    return this.#end();
  }

  async read(_caller: Caller, _uuid: string, from: LogCursor, bytesMax: number): Promise<LogBatch> {
    const after = this.records.filter((record) => compare(record, from) >= 0);
    const records: LogRecord[] = [];
    let bytes = 0;
    for (const record of after) {
      if (records.length > 0 && (bytes >= bytesMax || records.length >= this.recordsMax)) break;
      records.push(record);
      bytes += 'bytes' in record ? record.bytes.length : 0;
    }
    const last = records.at(-1);
    const next = last ? { epoch: last.epoch, seq: last.seq + seqsOf(last) } : from;
    return { records, next, atEnd: records.length === after.length };
  }

  async changed(
    _caller: Caller,
    _uuid: string,
    from: LogCursor,
    _timeoutMs: number,
  ): Promise<boolean> {
    while (!this.records.some((record) => compare(record, from) >= 0)) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    return true;
  }

  /** How many calls of `changed` wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  #end(): LogCursor {
    const last = this.records.at(-1);
    return last ? { epoch: last.epoch, seq: last.seq + seqsOf(last) } : { epoch: 0, seq: 0 };
  }

  #find(place: LogPlace): LogRecord | undefined {
    const rx = this.records.filter((record) => record.kind === 'rx');
    switch (place.at) {
      case 'start':
        return this.records[0];
      case 'time':
        return this.records.find((record) => record.atUs >= place.us);
      case 'offset':
        return this.records.findLast(
          (record) =>
            (place.epoch === undefined || record.epoch === place.epoch) &&
            record.offset <= place.offset &&
            place.offset < record.offset + offsetsOf(record),
        );
      case 'last-lines': {
        let lines = 0;
        const first = rx.findLast((record) => {
          lines += record.bytes.filter((byte) => byte === 0x0a).length;
          return lines > place.lines;
        });
        return first ?? this.records[0];
      }
      case 'end':
      case 'boot':
      case 'last-bytes':
        return undefined;
    }
  }

  #epochs(): LogEpoch[] {
    const epochs = new Map<number, LogEpoch>();
    for (const record of this.records) {
      const known = epochs.get(record.epoch);
      epochs.set(record.epoch, {
        epoch: record.epoch,
        firstSeq: known?.firstSeq ?? record.seq,
        nextSeq: record.seq + seqsOf(record),
        firstOffset: known?.firstOffset ?? record.offset,
        endOffset: record.offset + offsetsOf(record),
        firstUs: known?.firstUs ?? record.atUs,
        lastUs: record.atUs,
      });
    }
    return [...epochs.values()];
  }
}

function compare(a: LogCursor, b: LogCursor): number {
  return a.epoch - b.epoch || a.seq - b.seq;
}
