import { Fault } from '../core/fault.ts';

/** Pieces that a paste is cut into: small enough to keep the port's queue full and no more. */
const PIECE_BYTES = 16_384;
/** Calls that may wait for the input before them. */
const CALLS_MAX = 100;

/** What waits for its turn: bytes, somebody who asked, or a call that nothing may overtake. */
type Waiting =
  | { bytes: Uint8Array; asIs: boolean; sent: () => void }
  | { run: () => Promise<void>; given: () => void };

/**
 * A session's input under the port's credit: in order, never more under way than allowed, so that a
 * client whose socket is not read meanwhile may paste any amount at any baud rate.
 */
export class InputCredit {
  readonly #send: (seq: number, bytes: Uint8Array, asIs: boolean) => void;
  #creditBytes = 0;
  #underWayBytes = 0;
  #lastSeq = 0;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #awaitingDelivery: (() => void)[] = [];
  #calls = 0;
  #isCalling = false;
  #isClosed = false;

  constructor(send: (seq: number, bytes: Uint8Array, asIs: boolean) => void) {
    this.#send = send;
  }

  open(creditBytes: number): void {
    this.#creditBytes = creditBytes;
    this.#goOn();
  }

  /** Bytes that have not even been sent. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Resolves when all of it is under way, or the session is over. `asIs`: a program's, not typed. */
  send(bytes: Uint8Array, asIs = false): Promise<void> {
    if (this.#isClosed || bytes.length === 0) return Promise.resolve();
    if (this.#isIdle && this.#fits(bytes.length)) {
      this.#sendPiece(bytes, asIs);
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#waitingBytes += bytes.length;
      this.#waiting.push({ bytes, asIs, sent: resolve });
      this.#goOn();
    });
  }

  /** Resolves when all that was given is under way, or the session is over. */
  sent(): Promise<void> {
    if (this.#isIdle || this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ bytes: new Uint8Array(0), asIs: false, sent: resolve });
    });
  }

  /**
   * Calls `run` when the port took or refused all input before it, and holds what comes after it
   * until it is done. Passes on what `run` throws; does nothing when the session is over.
   * @throws Fault TOO_SOON when too many calls wait.
   */
  async inOrder(run: () => Promise<void>): Promise<void> {
    if (this.#isClosed) return;
    if (this.#calls >= CALLS_MAX) {
      throw new Fault('TOO_SOON', `${CALLS_MAX} changes of the line wait for input to go out`);
    }
    this.#calls++;
    try {
      await new Promise<void>((resolve, reject) => {
        const call = (): Promise<void> => run().then(resolve, reject);
        this.#waiting.push({ run: call, given: resolve });
        this.#goOn();
      });
    } finally {
      this.#calls--;
    }
  }

  /** The port took or refused so many bytes. */
  acknowledged(bytes: number): void {
    this.#underWayBytes -= bytes;
    this.#goOn();
    if (this.#isDelivered) this.#tellDelivered();
  }

  /** Resolves when the port took or refused all that was sent, or the session is over. */
  delivered(): Promise<void> {
    if (this.#isDelivered) return Promise.resolve();
    return new Promise((resolve) => this.#awaitingDelivery.push(resolve));
  }

  /** Throws away the bytes that have not been sent. Calls keep their order and are made. */
  discard(): void {
    const dropped = this.#waiting;
    this.#waiting = dropped.filter((each) => 'run' in each);
    this.#waitingBytes = 0;
    for (const each of dropped) if ('sent' in each) each.sent();
    this.#goOn();
    if (this.#isDelivered) this.#tellDelivered();
  }

  /** Nothing more is sent; whoever waits goes on. */
  close(): void {
    this.#isClosed = true;
    const dropped = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const each of dropped) ('sent' in each ? each.sent : each.given)();
    this.#tellDelivered();
  }

  get #isIdle(): boolean {
    return this.#waiting.length === 0 && !this.#isCalling;
  }

  get #isDelivered(): boolean {
    return this.#isClosed || (this.#underWayBytes === 0 && this.#isIdle);
  }

  #tellDelivered(): void {
    for (const resolve of this.#awaitingDelivery.splice(0)) resolve();
  }

  #goOn(): void {
    for (let first = this.#waiting[0]; first && !this.#isClosed; first = this.#waiting[0]) {
      if (this.#isCalling) return;
      if ('run' in first) {
        if (this.#underWayBytes > 0) return;
        this.#waiting.shift();
        this.#isCalling = true;
        void first.run().finally(() => {
          this.#isCalling = false;
          this.#goOn();
          if (this.#isDelivered) this.#tellDelivered();
        });
        return;
      }
      const piece = first.bytes.subarray(0, PIECE_BYTES);
      if (!this.#fits(piece.length)) return;
      // Taken off before it is sent: its acknowledgement may come at once, and come back here.
      first.bytes = first.bytes.subarray(piece.length);
      this.#waitingBytes -= piece.length;
      if (first.bytes.length === 0) this.#waiting.shift();
      if (piece.length > 0) this.#sendPiece(piece, first.asIs);
      if (first.bytes.length === 0) first.sent();
    }
  }

  #fits(bytes: number): boolean {
    return bytes <= PIECE_BYTES && this.#underWayBytes + bytes <= this.#creditBytes;
  }

  #sendPiece(bytes: Uint8Array, asIs: boolean): void {
    this.#underWayBytes += bytes.length;
    this.#send(++this.#lastSeq, bytes, asIs);
  }
}
