/** Who of the two a byte is for. */
export type GdbSide = 'gdb' | 'console';

export interface GdbPiece {
  to: GdbSide;
  bytes: Uint8Array;
}

/** Longest packet that is waited for; gdbserver's are up to 18,432 bytes (its PacketSize). */
export const PACKET_BYTES_MAX = 65_536;
/** Silence after which a packet that gdb waits for, or is sending, will not be finished any more. */
export const PACKET_SILENCE_MS = 1_000;
/** The same for one that gdb does not wait for: a `$` somebody types is to be seen soon. */
export const UNASKED_SILENCE_MS = 200;
/** A stub acknowledges at once; gdb itself sends again after 2 s. */
export const ACK_WAIT_MS = 5_000;
const ACKS_DUE_MAX = 4;
/** Of a packet of gdb's, to tell what it asks for. */
const HEAD_BYTES_MAX = 24;

const DOLLAR = 0x24;
const PERCENT = 0x25;
const HASH = 0x23;
const PLUS = 0x2b;
const MINUS = 0x2d;

/** What gdb asks for with these is answered with bytes of any value; all other answers are text. */
const ASKS_FOR_BINARY = /^(?:qXfer:|vFile:|x)/;
const STARTS_NO_ACK_MODE = 'QStartNoAckMode';
const STARTS_SESSION = 'qSupported';

/**
 * Tells gdb's remote protocol from console text on one line (gdb manual, appendix E "Overview",
 * "Packet Acknowledgment", "Notification Packets"), as agent-proxy and kdmx do. To gdb go packets,
 * `$...#xx`, and notifications, `%...#xx`, whose checksum is right, and the `+` and `-` that a packet
 * of gdb's is owed. All else is the console's, what only looked like a packet included. Each byte
 * goes to one of the two, in order; what may become a packet is held back until that is decided.
 * Knows nothing of lines and timers: who uses it calls `expire` when `dueMs` has come.
 */
export class GdbSplit {
  /** What may become a packet. */
  #held: HeldPacket | null = null;
  #heldAtMs = 0;
  /** gdb sent a packet, ever. */
  #hasSpoken = false;
  #acksDue = 0;
  #ackDueUntilMs = 0;
  /** After QStartNoAckMode nothing is acknowledged, until a gdb begins anew. */
  #isNoAckMode = false;
  /** The beginning of gdb's last packet, until it is answered. */
  #asked: string | null = null;
  /** The packet that gdb is sending; null: none. */
  #sending: { head: string; bytes: number; hashBytes: number } | null = null;
  #sentAtMs = 0;

  /** Bytes from the device, in any chunking. The pieces together are the bytes; they may share their memory. */
  fromDevice(bytes: Uint8Array, nowMs: number): GdbPiece[] {
    const pieces: GdbPiece[] = [];
    let textFrom = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (this.#held) {
        const became = this.#held.add(byte);
        if (became === 'unfinished') continue;
        const held = this.#held.bytes;
        this.#held = null;
        textFrom = at + 1;
        if (became === 'packet') {
          this.#gotPacket(held);
          pieces.push({ to: 'gdb', bytes: held });
          continue;
        }
        this.#text(held, nowMs, pieces);
        textFrom = at; // this byte may begin another one
      }
      if (byte === DOLLAR || (byte === PERCENT && this.#hasSpoken)) {
        this.#text(bytes.subarray(textFrom, at), nowMs, pieces);
        const mayBeBinary = this.#asked !== null && ASKS_FOR_BINARY.test(this.#asked);
        this.#held = new HeldPacket(byte, mayBeBinary);
      }
    }
    if (this.#held) this.#heldAtMs = nowMs;
    else this.#text(bytes.subarray(textFrom), nowMs, pieces);
    return pieces;
  }

  /** gdb's bytes that went to the device, in any chunking; none: the rest of them is on its way. */
  fromGdb(bytes: Uint8Array, nowMs: number): void {
    this.#sentAtMs = nowMs;
    for (const byte of bytes) {
      if (byte === DOLLAR) {
        this.#sending = { head: '', bytes: 0, hashBytes: 0 };
      } else if (this.#sending) {
        this.#send(this.#sending, byte, nowMs);
      }
    }
  }

  /** False: gdb is in the middle of a packet, and a key would spoil it. */
  get mayTypeNow(): boolean {
    return this.#sending === null;
  }

  /** When `expire` is to be called; null: nothing is waited for. */
  get dueMs(): number | null {
    const held = this.#held
      ? this.#heldAtMs + (this.#asked === null ? UNASKED_SILENCE_MS : PACKET_SILENCE_MS)
      : Number.POSITIVE_INFINITY;
    const sending = this.#sending ? this.#sentAtMs + PACKET_SILENCE_MS : Number.POSITIVE_INFINITY;
    const due = Math.min(held, sending);
    return Number.isFinite(due) ? due : null;
  }

  /** Waits no longer for what was not finished in time. */
  expire(nowMs: number): GdbPiece[] {
    if (this.#sending && nowMs >= this.#sentAtMs + PACKET_SILENCE_MS) this.#sending = null;
    const due = this.dueMs;
    return this.#held && due !== null && nowMs >= due ? this.flush(nowMs) : [];
  }

  /** What was held back is the console's: nothing follows it. */
  flush(nowMs: number): GdbPiece[] {
    const pieces: GdbPiece[] = [];
    const held = this.#held;
    this.#held = null;
    if (held) this.#text(held.bytes, nowMs, pieces);
    return pieces;
  }

  /** Console text, but for the acknowledgments that are due. */
  #text(bytes: Uint8Array, nowMs: number, pieces: GdbPiece[]): void {
    if (nowMs >= this.#ackDueUntilMs) this.#acksDue = 0;
    let from = 0;
    while (this.#acksDue > 0) {
      const at = bytes.findIndex(
        (byte, index) => index >= from && (byte === PLUS || byte === MINUS),
      );
      if (at < 0) break;
      this.#acksDue--;
      if (at > from) pieces.push({ to: 'console', bytes: bytes.subarray(from, at) });
      pieces.push({ to: 'gdb', bytes: bytes.subarray(at, at + 1) });
      from = at + 1;
    }
    if (from < bytes.length) pieces.push({ to: 'console', bytes: bytes.subarray(from) });
  }

  #gotPacket(packet: Uint8Array): void {
    if (packet[0] !== DOLLAR) return;
    const answer = String.fromCharCode(...packet.subarray(1, 3));
    if (this.#asked === STARTS_NO_ACK_MODE && answer === 'OK') this.#isNoAckMode = true;
    // `O` and hexadecimal digits is text the stub wants shown; the answer is still to come.
    if (answer[0] !== 'O' || answer === 'OK') this.#asked = null;
  }

  #send(
    sending: { head: string; bytes: number; hashBytes: number },
    byte: number,
    nowMs: number,
  ): void {
    sending.bytes++;
    if (sending.hashBytes > 0) sending.hashBytes++;
    else if (byte === HASH) sending.hashBytes = 1;
    else if (sending.head.length < HEAD_BYTES_MAX) sending.head += String.fromCharCode(byte);
    if (sending.hashBytes === 3) {
      this.#sending = null;
      this.#sent(sending.head, nowMs);
    } else if (sending.bytes >= PACKET_BYTES_MAX) {
      this.#sending = null;
    }
  }

  /** gdb's packet is whole. */
  #sent(head: string, nowMs: number): void {
    this.#hasSpoken = true;
    this.#asked = head;
    if (head.startsWith(STARTS_SESSION)) this.#isNoAckMode = false;
    if (this.#isNoAckMode) return;
    if (nowMs >= this.#ackDueUntilMs) this.#acksDue = 0;
    this.#acksDue = Math.min(this.#acksDue + 1, ACKS_DUE_MAX);
    this.#ackDueUntilMs = nowMs + ACK_WAIT_MS;
  }
}

/**
 * Bytes that may become a packet. Its checksum is of the bytes as they are on the wire, escapes (`}`)
 * and run lengths (`*`) included, and neither ever brings a `$` or `#` into it.
 */
class HeldPacket {
  readonly #lead: number;
  readonly #mayBeBinary: boolean;
  #bytes = new Uint8Array(64);
  #length = 0;
  #sum = 0;
  /** Of the `#` and the digits behind it. */
  #endBytes = 0;

  constructor(lead: number, mayBeBinary: boolean) {
    this.#lead = lead;
    this.#mayBeBinary = mayBeBinary;
    this.#keep(lead);
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** `no`: this is no packet, and the byte was not kept. */
  add(byte: number): 'unfinished' | 'packet' | 'no' {
    if (this.#length >= PACKET_BYTES_MAX) return 'no';
    if (this.#endBytes > 0) {
      if (!isHexDigit(byte)) return 'no';
      if (this.#endBytes === 2 && !this.#isChecksum(byte)) return 'no';
      this.#keep(byte);
      this.#endBytes++;
      return this.#endBytes === 3 ? 'packet' : 'unfinished';
    }
    if (byte === HASH && (this.#lead === DOLLAR || this.#length > 1)) {
      this.#keep(byte);
      this.#endBytes = 1;
      return 'unfinished';
    }
    if (!this.#fits(byte)) return 'no';
    this.#sum = (this.#sum + byte) & 0xff;
    this.#keep(byte);
    return 'unfinished';
  }

  #fits(byte: number): boolean {
    if (byte === DOLLAR) return false;
    if (this.#length > 1 && this.#mayBeBinary) return true;
    // A shell's prompt, `$ `, is no packet, and is seen at once.
    if (this.#length === 1) {
      return this.#lead === PERCENT ? isLetter(byte) : byte > 0x20 && byte < 0x7f;
    }
    return byte >= 0x20 && byte < 0x7f;
  }

  #isChecksum(lastDigit: number): boolean {
    const digits = String.fromCharCode(this.#bytes[this.#length - 1]!, lastDigit);
    return Number.parseInt(digits, 16) === this.#sum;
  }

  #keep(byte: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#length * 4);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = byte;
  }
}

function isHexDigit(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);
}

function isLetter(byte: number): boolean {
  return (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
}
