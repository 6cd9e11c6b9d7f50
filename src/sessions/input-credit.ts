/** Pieces that a paste is cut into: small enough to keep the port's queue full and no more. */
const PIECE_BYTES = 16_384;

/**
 * A session's input under the port's credit: in order, never more under way than allowed, so that a
 * client whose socket is not read meanwhile may paste any amount at any baud rate.
 */
export class InputCredit {
  readonly #send: (seq: number, bytes: Uint8Array) => void;
  #creditBytes = 0;
  #underWayBytes = 0;
  #lastSeq = 0;
  #waiting: { bytes: Uint8Array; sent: () => void }[] = [];
  #awaitingDelivery: (() => void)[] = [];
  #isClosed = false;

  constructor(send: (seq: number, bytes: Uint8Array) => void) {
    this.#send = send;
  }

  open(creditBytes: number): void {
    this.#creditBytes = creditBytes;
    this.#sendWaiting();
  }

  /** Resolves when all of it is under way, or the session is over. */
  send(bytes: Uint8Array): Promise<void> {
    if (this.#isClosed || bytes.length === 0) return Promise.resolve();
    if (this.#waiting.length === 0 && this.#fits(bytes.length)) {
      this.#sendPiece(bytes);
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#waiting.push({ bytes, sent: resolve });
      this.#sendWaiting();
    });
  }

  /** Resolves when all that was given is under way, or the session is over. */
  sent(): Promise<void> {
    if (this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ bytes: new Uint8Array(0), sent: resolve });
    });
  }

  /** The port took or refused so many bytes. */
  acknowledged(bytes: number): void {
    this.#underWayBytes -= bytes;
    this.#sendWaiting();
    if (this.#isDelivered) this.#tellDelivered();
  }

  /** Resolves when the port took or refused all that was sent, or the session is over. */
  delivered(): Promise<void> {
    if (this.#isDelivered) return Promise.resolve();
    return new Promise((resolve) => this.#awaitingDelivery.push(resolve));
  }

  /** Nothing more is sent; whoever waits goes on. */
  close(): void {
    this.#isClosed = true;
    for (const { sent } of this.#waiting) sent();
    this.#waiting = [];
    this.#tellDelivered();
  }

  get #isDelivered(): boolean {
    return this.#isClosed || (this.#underWayBytes === 0 && this.#waiting.length === 0);
  }

  #tellDelivered(): void {
    for (const resolve of this.#awaitingDelivery.splice(0)) resolve();
  }

  #sendWaiting(): void {
    for (let first = this.#waiting[0]; first && !this.#isClosed; first = this.#waiting[0]) {
      const piece = first.bytes.subarray(0, PIECE_BYTES);
      if (!this.#fits(piece.length)) return;
      // Taken off before it is sent: its acknowledgement may come at once, and come back here.
      first.bytes = first.bytes.subarray(piece.length);
      if (first.bytes.length === 0) this.#waiting.shift();
      if (piece.length > 0) this.#sendPiece(piece);
      if (first.bytes.length === 0) first.sent();
    }
  }

  #fits(bytes: number): boolean {
    return bytes <= PIECE_BYTES && this.#underWayBytes + bytes <= this.#creditBytes;
  }

  #sendPiece(bytes: Uint8Array): void {
    this.#underWayBytes += bytes.length;
    this.#send(++this.#lastSeq, bytes);
  }
}
