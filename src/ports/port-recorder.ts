import type { Clock } from '../core/clock.ts';
import type { RecordBody } from '../core/record.ts';
import type { PortPosition, Spool, SpooledRead, SpoolPort } from '../core/spool.ts';
import type { Timers } from './timers.ts';

/** More bytes at once (sockets, pastes) become several records: the spool likes them this size. */
export const RECORD_BYTES_MAX = 8_192;
/** While logging is off, what was read is accounted for this often: a kill loses no more offsets. */
const UNLOGGED_GAP_MS = 1_000;
const TEXT_CHARS_MAX = 1_000;

/** Texts from elsewhere must fit a record. */
export function recordText(text: string): string {
  return text.length > TEXT_CHARS_MAX ? `${text.slice(0, TEXT_CHARS_MAX)}...` : text;
}

/**
 * Numbers a port's records and puts them into the spool (DESIGN 2): the only place where seq and
 * offset grow. An rx record with nobody attached costs some property writes and the spool's work.
 */
export class PortRecorder {
  readonly #spool: Spool;
  readonly #encodeBody: (body: RecordBody) => Uint8Array;
  readonly #publish: () => void;
  readonly #nowUs: () => number;
  readonly #timers: Timers;
  readonly #portId: number;
  readonly #uuid: string;
  #port: SpoolPort;
  #epoch: number;
  #seq: number;
  #offset: number;
  /** Records that a backend brought about from within its own read wait for its end. */
  #isReading = false;
  #afterRead: RecordBody[] = [];
  /** rx goes here instead of into the spool; null: logging is on. */
  #unlogged: UnloggedReads | null = null;
  #isReleased = false;
  /** When the last rx byte came; null: none since the start. */
  lastByteAtUs: number | null = null;

  /** `publish` is called after each record; it may gather several. */
  constructor(
    spool: Spool,
    clock: Clock,
    timers: Timers,
    encodeBody: (body: RecordBody) => Uint8Array,
    publish: () => void,
    place: { portId: number; uuid: string; position: PortPosition },
  ) {
    this.#spool = spool;
    this.#timers = timers;
    this.#encodeBody = encodeBody;
    this.#publish = publish;
    this.#nowUs = () => clock.nowUs();
    this.#portId = place.portId;
    this.#uuid = place.uuid;
    this.#epoch = place.position.epoch;
    this.#seq = place.position.seq;
    this.#offset = place.position.offset;
    this.#port = spool.port(place.portId, place.uuid, place.position);
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Of the next rx byte. */
  get offset(): number {
    return this.#offset;
  }

  get position(): PortPosition {
    return { epoch: this.#epoch, seq: this.#seq, offset: this.#offset };
  }

  /** False: rx is counted, and stands as gaps in the log. */
  get isLogging(): boolean {
    return this.#unlogged === null;
  }

  /** Stops logging rx; `reason` stands in the gaps. Everything else is still logged. */
  stopLogging(reason: string): void {
    this.#accountForUnlogged();
    this.#unlogged = new UnloggedReads(reason, this.#offset);
  }

  resumeLogging(): void {
    this.#accountForUnlogged();
    this.#unlogged = null;
  }

  /** Logs at most RECORD_BYTES_MAX bytes as one record; returns its time. */
  rx(bytes: Uint8Array): number {
    const atUs = this.#nowUs();
    if (this.#unlogged === null) this.#port.append('rx', this.#seq, this.#offset, atUs, bytes);
    this.#count(bytes.length, atUs);
    return atUs;
  }

  /** One read straight into the spool. With `count <= 0` nothing was logged. */
  rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): SpooledRead {
    this.#isReading = true;
    const done =
      this.#unlogged === null
        ? this.#port.readInto(this.#seq, this.#offset, this.#nowUs, read)
        : this.#unlogged.read(this.#nowUs, read);
    this.#isReading = false;
    if (done.count > 0) this.#count(done.count, done.atUs);
    return done;
  }

  /** To be called when the bytes of `rxInto` have been copied: the spool's memory moves on. */
  readIsOver(): void {
    if (this.#afterRead.length === 0) return;
    for (const body of this.#afterRead.splice(0)) this.record(body);
  }

  /** Logs anything but rx; returns its time. After `release`, when a call was still under way, nothing. */
  record(body: RecordBody): number {
    const atUs = this.#nowUs();
    if (this.#isReading) {
      this.#afterRead.push(body);
    } else if (!this.#isReleased) {
      this.#accountForUnlogged();
      this.#append(body, this.#offset, atUs);
    }
    return atUs;
  }

  mark(text: string): number {
    return this.record({ kind: 'mark', text: recordText(text) });
  }

  /** Continuity is lost: what follows is counted anew from `position`. */
  beginEpoch(position: PortPosition): void {
    this.#accountForUnlogged();
    this.#port.release();
    this.#epoch = position.epoch;
    this.#seq = position.seq;
    this.#offset = position.offset;
    if (this.#unlogged !== null) this.#unlogged.fromOffset = position.offset;
    this.#port = this.#spool.port(this.#portId, this.#uuid, position);
  }

  release(): void {
    this.#accountForUnlogged();
    this.#isReleased = true;
    this.#port.release();
  }

  #append(body: RecordBody, offset: number, atUs: number): void {
    this.#port.append(body.kind, this.#seq, offset, atUs, this.#encodeBody(body));
    this.#seq++;
    this.#publish();
  }

  #count(bytes: number, atUs: number): void {
    this.#offset += bytes;
    this.lastByteAtUs = atUs;
    if (this.#unlogged === null) {
      this.#seq++;
      this.#publish();
    } else {
      this.#unlogged.cancelTimer ??= this.#timers.after(UNLOGGED_GAP_MS, () =>
        this.#accountForUnlogged(),
      );
    }
  }

  /**
   * Puts a gap in the place of what was read and not logged. It comes before every other record, so
   * that offsets in the spool never jump without one.
   */
  #accountForUnlogged(): void {
    const unlogged = this.#unlogged;
    if (unlogged === null) return;
    unlogged.cancelTimer?.();
    unlogged.cancelTimer = null;
    const { fromOffset: from, reason } = unlogged;
    const to = this.#offset;
    if (from === to) return;
    unlogged.fromOffset = to;
    this.#append({ kind: 'gap', from, to, count: to - from, reason, seqs: 1 }, from, this.#nowUs());
  }
}

/** Reads while logging is off: memory of their own, and where the gap begins. */
class UnloggedReads {
  readonly reason: string;
  /** Everything before it is logged, or stands as a gap. */
  fromOffset: number;
  cancelTimer: (() => void) | null = null;
  readonly #result: { -readonly [K in keyof SpooledRead]: SpooledRead[K] };

  constructor(reason: string, fromOffset: number) {
    this.reason = reason;
    this.fromOffset = fromOffset;
    this.#result = { count: 0, atUs: 0, memory: Buffer.alloc(RECORD_BYTES_MAX), start: 0 };
  }

  read(
    nowUs: () => number,
    read: (memory: Buffer, start: number, lengthMax: number) => number,
  ): SpooledRead {
    const result = this.#result;
    result.count = read(result.memory, 0, result.memory.length);
    result.atUs = nowUs();
    return result;
  }
}
