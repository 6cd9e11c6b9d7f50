/** Typed bytes that wait for their echo at most. More is forgotten: a paste is known by its count. */
export const PENDING_BYTES_MAX = 4_096;
/** How long typed bytes wait for their echo, and an echoed piece for the rest of its line. */
export const ECHO_WAIT_MS = 2_000;
/** An echoed piece this long proves itself without the end of its line. */
export const ECHOED_BYTES_MAX = 256;

const LF = 10;
const CR = 13;

/**
 * Masked input (DESIGN 5): finds which typed bytes the device echoed, for the `tx-text` records.
 * Nothing else that was typed may leave this object: it may be a password. Pure: time is an
 * argument, proven text goes to `emit`.
 *
 * Why it is safe. What leaves is only text that the device printed itself, so a reader of the log
 * sees no byte that rx does not hold; the one thing to keep from him is *that a secret equals such
 * bytes*, or begins with them. Therefore the comparison proves whole pieces, never single letters:
 *
 * - The first byte that the device sends after something was typed must be the first byte typed,
 *   the next the next, with nothing between. A mask (`***`), a prompt, a log message in between or
 *   a redrawn line ends it: what was typed is forgotten, *with what had matched until then*. So a
 *   password that begins like the output which follows it (`Log1n`, then `Login incorrect`) leaves
 *   nothing.
 * - Bytes beyond what was typed, on a line whose echo is not complete, are a mismatch as well. So a
 *   password half typed when a message happens to begin with the same letters leaves nothing.
 * - After a mismatch, or an echo that did not come in time, the rest of that typed line is not
 *   compared at all, up to and with its CR or LF. So the later letters of a masked password, typed
 *   one by one, are never taken for a new beginning; and a password typed slowly at a prompt
 *   without echo is out of the game when its first letter was not echoed.
 * - A piece is proven by the end of its line, by length, or by 2 s of silence behind it. A run of
 *   one repeated character that may be a mask proves nothing and is forgotten: a password of `*`
 *   echoed as `*` stays a secret.
 *
 * CR and LF hold no secret: each is taken as the echo of the other, and one LF after the echo of a
 * CR is passed over (a terminal echoes CR as CR LF). Of several writers, only one is compared at a
 * time. Memory is overwritten when its bytes are forgotten or have left.
 */
export class TypedInput {
  readonly #emit: (session: number, bytes: Uint8Array) => void;
  /** Typed bytes; echoed ones at `#start`..`#matched`, waiting ones at `#matched`..`#end`. */
  readonly #bytes = new Uint8Array(PENDING_BYTES_MAX);
  #start = 0;
  #matched = 0;
  #end = 0;
  /** Who typed how many of the waiting bytes, and when, oldest first. */
  #chunks: { session: number; count: number; atMs: number }[] = [];
  #echoedSession = 0;
  #echoedAtMs = 0;
  /** The line being typed met a mismatch: nothing of it is compared until its end. */
  #lineIsSpoiled = false;
  #lastTypedEndsLine = true;
  /** The last byte compared was the echo of a line's end by CR: an LF may follow. */
  #afterCr = false;

  constructor(emit: (session: number, bytes: Uint8Array) => void) {
    this.#emit = emit;
  }

  /** False: `rx` need not be called. */
  get isActive(): boolean {
    return this.#end > this.#start || this.#afterCr;
  }

  /** When `expire` wants to be called; null: not at all. */
  get dueMs(): number | null {
    if (this.#chunks.length > 0) return this.#chunks[0]!.atMs + ECHO_WAIT_MS;
    return this.#matched > this.#start ? this.#echoedAtMs + ECHO_WAIT_MS : null;
  }

  /** The device took these bytes from a session. Copied. */
  typed(session: number, bytes: Uint8Array, nowMs: number): void {
    this.expire(nowMs);
    let from = 0;
    if (this.#lineIsSpoiled) {
      from = bytes.findIndex(endsLine) + 1;
      this.#lineIsSpoiled = from === 0;
      if (this.#lineIsSpoiled) from = bytes.length;
    }
    if (bytes.length > 0) this.#lastTypedEndsLine = endsLine(bytes[bytes.length - 1]!);
    const count = bytes.length - from;
    if (count === 0) return;
    if (this.#end + count > PENDING_BYTES_MAX) this.#moveToFront();
    if (this.#end + count > PENDING_BYTES_MAX) return this.#forget();
    this.#bytes.set(from === 0 ? bytes : bytes.subarray(from), this.#end);
    this.#end += count;
    this.#chunks.push({ session, count, atMs: nowMs });
  }

  /** The device sent `count` bytes at `memory[start]`. Call it while `isActive`, for all of them. */
  rx(memory: Uint8Array, start: number, count: number, nowMs: number): void {
    this.expire(nowMs);
    for (let i = start; i < start + count && this.isActive; i++) this.#compare(memory[i]!, nowMs);
  }

  /** Forgets what waited too long, and lets go of what was proven by silence. */
  expire(nowMs: number): void {
    if (this.#chunks.length > 0) {
      if (nowMs - this.#chunks[0]!.atMs >= ECHO_WAIT_MS) this.#forget();
    } else if (this.#matched > this.#start && nowMs - this.#echoedAtMs >= ECHO_WAIT_MS) {
      this.#flush();
    }
  }

  /** The line went down or the setting changed: forgets everything. */
  clear(): void {
    this.#forget();
    this.#lineIsSpoiled = false;
    this.#lastTypedEndsLine = true;
  }

  #compare(byte: number, nowMs: number): void {
    const afterCr = this.#afterCr;
    this.#afterCr = false;
    if (this.#matched === this.#end) {
      if (this.#matched > this.#start) this.#forget();
      return; // nothing is awaited: the LF after a CR, or output
    }
    const expected = this.#bytes[this.#matched]!;
    const isLineEnd = endsLine(expected);
    if (afterCr && byte === LF && expected !== LF) return;
    if (byte !== expected && !(isLineEnd && endsLine(byte))) return this.#forget();
    this.#take(nowMs);
    if (isLineEnd) {
      this.#afterCr = byte === CR;
      this.#flush();
    } else if (this.#matched - this.#start >= ECHOED_BYTES_MAX) {
      this.#flush();
    }
  }

  /** The first waiting byte was echoed. */
  #take(nowMs: number): void {
    const chunk = this.#chunks[0]!;
    if (this.#matched > this.#start && chunk.session !== this.#echoedSession) {
      this.#bytes.fill(0, this.#start, this.#matched);
      this.#start = this.#matched;
    }
    this.#echoedSession = chunk.session;
    this.#echoedAtMs = nowMs;
    this.#matched++;
    if (--chunk.count === 0) this.#chunks.shift();
  }

  /** Lets the echoed piece go, unless it may be a mask. */
  #flush(): void {
    const piece = this.#bytes.slice(this.#start, this.#matched);
    this.#bytes.fill(0, this.#start, this.#matched);
    this.#start = this.#matched;
    if (this.#start === this.#end) this.#start = this.#matched = this.#end = 0;
    if (mayBeMask(piece)) piece.fill(0);
    else this.#emit(this.#echoedSession, piece);
  }

  #forget(): void {
    this.#bytes.fill(0, this.#start, this.#end);
    this.#start = this.#matched = this.#end = 0;
    this.#chunks = [];
    this.#afterCr = false;
    this.#lineIsSpoiled = !this.#lastTypedEndsLine;
  }

  #moveToFront(): void {
    if (this.#start === 0) return;
    this.#bytes.copyWithin(0, this.#start, this.#end);
    this.#bytes.fill(0, this.#end - this.#start, this.#end);
    this.#matched -= this.#start;
    this.#end -= this.#start;
    this.#start = 0;
  }
}

function endsLine(byte: number): boolean {
  return byte === CR || byte === LF;
}

/** One character again and again, perhaps with the line's end: what a password prompt may print. */
function mayBeMask(piece: Uint8Array): boolean {
  const text =
    piece.length > 1 && endsLine(piece[piece.length - 1]!) ? piece.subarray(0, -1) : piece;
  const first = text[0]!;
  if (endsLine(first) || first < 0x20) return false;
  const isAlphanumeric = /[0-9A-WYZa-wyz]/.test(String.fromCharCode(first)); // X and x mask, too
  return !isAlphanumeric && text.every((byte) => byte === first);
}
