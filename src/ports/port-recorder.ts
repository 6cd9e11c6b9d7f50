import type { Clock } from '../core/clock.ts';
import type { RecordBody } from '../core/record.ts';
import type { PortPosition, Spool, SpooledRead, SpoolPort } from '../core/spool.ts';

/** More bytes at once (sockets, pastes) become several records: the spool likes them this size. */
export const RECORD_BYTES_MAX = 8_192;

/**
 * Numbers a port's records and puts them into the spool (DESIGN 2): the only place where seq and
 * offset grow. An rx record with nobody attached costs some property writes and the spool's work.
 */
export class PortRecorder {
  readonly #spool: Spool;
  readonly #encodeBody: (body: RecordBody) => Uint8Array;
  readonly #publish: () => void;
  readonly #nowUs: () => number;
  readonly #portId: number;
  readonly #uuid: string;
  #port: SpoolPort;
  #epoch: number;
  #seq: number;
  #offset: number;
  /** Records that a backend brought about from within its own read wait for its end. */
  #isReading = false;
  #afterRead: RecordBody[] = [];
  /** When the last rx byte came; null: none since the start. */
  lastByteAtUs: number | null = null;

  /** `publish` is called after each record; it may gather several. */
  constructor(
    spool: Spool,
    clock: Clock,
    encodeBody: (body: RecordBody) => Uint8Array,
    publish: () => void,
    place: { portId: number; uuid: string; position: PortPosition },
  ) {
    this.#spool = spool;
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

  /** Logs at most RECORD_BYTES_MAX bytes as one record; returns its time. */
  rx(bytes: Uint8Array): number {
    const atUs = this.#nowUs();
    this.#port.append('rx', this.#seq, this.#offset, atUs, bytes);
    this.#count(bytes.length, atUs);
    return atUs;
  }

  /** One read straight into the spool. With `count <= 0` nothing was logged. */
  rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): SpooledRead {
    this.#isReading = true;
    const done = this.#port.readInto(this.#seq, this.#offset, this.#nowUs, read);
    this.#isReading = false;
    if (done.count > 0) this.#count(done.count, done.atUs);
    return done;
  }

  /** To be called when the bytes of `rxInto` have been copied: the spool's memory moves on. */
  readIsOver(): void {
    if (this.#afterRead.length === 0) return;
    for (const body of this.#afterRead.splice(0)) this.record(body);
  }

  /** Logs anything but rx; returns its time. */
  record(body: RecordBody): number {
    const atUs = this.#nowUs();
    if (this.#isReading) {
      this.#afterRead.push(body);
      return atUs;
    }
    this.#port.append(body.kind, this.#seq, this.#offset, atUs, this.#encodeBody(body));
    this.#seq++;
    this.#publish();
    return atUs;
  }

  /** Continuity is lost: what follows is counted anew from `position`. */
  beginEpoch(position: PortPosition): void {
    this.#port.release();
    this.#epoch = position.epoch;
    this.#seq = position.seq;
    this.#offset = position.offset;
    this.#port = this.#spool.port(this.#portId, this.#uuid, position);
  }

  release(): void {
    this.#port.release();
  }

  #count(bytes: number, atUs: number): void {
    this.#seq++;
    this.#offset += bytes;
    this.lastByteAtUs = atUs;
    this.#publish();
  }
}
