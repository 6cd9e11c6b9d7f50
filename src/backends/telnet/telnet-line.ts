import assert from 'node:assert/strict';
import type { Backend, BackendSink } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import {
  decodeTelnet,
  encodeNegotiation,
  encodeSubnegotiation,
  encodeTelnet,
  TELNET_START,
  type TelnetEvent,
} from '../../protocols/telnet.ts';
import {
  askOption,
  hearChatter,
  hearNegotiation,
  NO_OPTIONS,
  TELNET_OPTIONS,
  type Chatter,
  type OptionState,
  type OptionStates,
  type OptionStep,
  type Side,
} from '../../protocols/telnet-options.ts';

export interface TelnetLineOptions {
  description: string;
  /** Options that may be on besides BINARY and SGA, on either side, and the server's ECHO. */
  more: readonly number[];
  /** Gets the data, and is told the rest as any backend's sink is. */
  sink: BackendSink;
  subnegotiation?(option: number, bytes: Uint8Array): void;
}

/**
 * The client's end of a telnet connection between a port and a byte stream: asks for BINARY and SGA
 * both ways, and until BINARY is on speaks as a network virtual terminal. Everything sent goes
 * through one queue, so nothing gets into the middle of a sequence.
 */
export class TelnetLine {
  /** For the stream beneath. */
  readonly streamSink: BackendSink;
  readonly #options: TelnetLineOptions;
  readonly #supported: Readonly<Record<Side, ReadonlySet<number>>>;
  #stream: Backend | null = null;
  #decoding = TELNET_START;
  #states: OptionStates = NO_OPTIONS;
  #chatter: Chatter = [];
  /** The server's last byte of data was CR. */
  #afterCr = false;
  /** Encoded, and not yet taken by the stream. */
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #isRefused = false;
  #isHeld = false;
  #isOver = false;
  /** Something was agreed on or refused, or all is over. */
  #progress: (() => void) | null = null;

  constructor(options: TelnetLineOptions) {
    const { sink, more } = options;
    const { binary, suppressGoAhead, echo } = TELNET_OPTIONS;
    this.#options = options;
    this.#supported = {
      us: new Set([binary, suppressGoAhead, ...more]),
      them: new Set([binary, suppressGoAhead, echo, ...more]),
    };
    this.streamSink = {
      rx: (bytes) => this.#hear(bytes),
      rxInto: () => assert.fail('a network stream hands over bytes it holds'),
      gone: (fault) => {
        this.#isOver = true;
        sink.gone(fault);
        this.#progress?.();
      },
      writable: () => this.#flush(),
      event: (event) => sink.event(event),
    };
  }

  /** `stream` was opened with `streamSink`. */
  start(stream: Backend): void {
    this.#stream = stream;
    for (const option of [TELNET_OPTIONS.binary, TELNET_OPTIONS.suppressGoAhead]) {
      this.ask('us', option);
      this.ask('them', option);
    }
    this.#flush();
  }

  /** We do it (`us`), or want the server to. */
  ask(side: Side, option: number): void {
    this.#take(askOption(this.#states, side, option, true));
  }

  state(side: Side, option: number): OptionState {
    return this.#states[side].get(option) ?? 'no';
  }

  /**
   * Resolves when the server answered whether we may send BINARY and `isSettled` holds, too; or when
   * the time is up, or the connection. What we send before that answer might be taken for either.
   */
  async settled(timeoutMs: number, isSettled: () => boolean = () => true): Promise<void> {
    const isDone = (): boolean =>
      this.#isOver || (this.state('us', TELNET_OPTIONS.binary) !== 'want-yes' && isSettled());
    if (isDone()) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#progress = () => {
        if (!isDone()) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.#progress = null;
  }

  /** As `Backend.write`. */
  write(bytes: Uint8Array): number {
    let taken = 0;
    this.#isRefused = false; // whoever writes needs no word that it is possible
    while (taken < bytes.length && this.#canSend()) {
      const piece = bytes.subarray(taken, taken + PIECE_BYTES);
      this.#send(this.#encode(piece));
      taken += piece.length;
    }
    this.#isRefused = taken < bytes.length;
    return taken;
  }

  /** Sends a whole sequence behind what waits. */
  command(bytes: Uint8Array): void {
    if (!this.#isOver) this.#send(bytes);
  }

  subnegotiate(option: number, bytes: Uint8Array): void {
    this.command(encodeSubnegotiation(option, bytes));
  }

  /** The server wants nothing sent for now, or again. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    this.#flush();
  }

  isAlive(): boolean {
    return !this.#isOver && this.#stream !== null && this.#stream.isAlive();
  }

  async close(): Promise<void> {
    this.#isOver = true;
    await this.#stream?.close();
  }

  #canSend(): boolean {
    return !this.#isOver && !this.#isHeld && this.#waitingBytes === 0 && this.#stream !== null;
  }

  #encode(bytes: Uint8Array): Uint8Array {
    const isBinary = this.state('us', TELNET_OPTIONS.binary) === 'yes';
    return encodeTelnet(isBinary ? bytes : withNulAfterCr(bytes));
  }

  #send(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#flush();
    if (this.#waitingBytes > WAITING_BYTES_MAX) this.#fail('the other side takes no answers');
  }

  #flush(): void {
    if (this.#stream === null || this.#isOver) return;
    while (!this.#isHeld && this.#waiting.length > 0) {
      const bytes = this.#waiting[0]!;
      const count = this.#stream.write(bytes);
      this.#waitingBytes -= count;
      if (count < bytes.length) {
        this.#waiting[0] = bytes.subarray(count);
        return;
      }
      this.#waiting.shift();
    }
    if (this.#isHeld || !this.#isRefused) return;
    this.#isRefused = false;
    this.#options.sink.writable();
  }

  #hear(bytes: Uint8Array): void {
    const { state, events } = decodeTelnet(this.#decoding, bytes);
    this.#decoding = state;
    for (const event of events) {
      if (this.#isOver) return;
      this.#handle(event);
    }
  }

  #handle(event: TelnetEvent): void {
    switch (event.kind) {
      case 'data':
        return this.#data(event.bytes);
      case 'negotiate':
        if (!this.#hears()) return;
        this.#take(hearNegotiation(this.#states, event, this.#supported));
        return this.#progress?.();
      case 'subnegotiation':
        return this.#options.subnegotiation?.(event.option, event.bytes);
      case 'command':
      case 'oversized':
      case 'malformed':
        return; // nothing a line has to do with
    }
  }

  #data(bytes: Uint8Array): void {
    if (this.state('them', TELNET_OPTIONS.binary) === 'yes') {
      this.#afterCr = false;
      return this.#options.sink.rx(bytes);
    }
    const wasCr = this.#afterCr;
    this.#afterCr = bytes.at(-1) === CR;
    const heard = withoutNulAfterCr(wasCr, bytes);
    if (heard.length > 0) this.#options.sink.rx(heard);
  }

  /** One more of what must be answered; false: that is too much of it. */
  #hears(): boolean {
    const chatter = hearChatter(this.#chatter, performance.now());
    if (chatter === null) this.#fail('the other side negotiates without end');
    else this.#chatter = chatter;
    return chatter !== null;
  }

  #take({ states, send }: OptionStep): void {
    this.#states = states;
    for (const { verb, option } of send) this.#send(encodeNegotiation(verb, option));
  }

  #fail(why: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    void this.#stream?.close(); // it never rejects
    this.#options.sink.gone(new Fault('PORT_GONE', `${this.#options.description}: ${why}`));
    this.#progress?.();
  }
}

/** Data encoded at once. */
const PIECE_BYTES = 16_384;
/** A piece encoded at its worst, and answers. */
const WAITING_BYTES_MAX = 65_536;

const NUL = 0;
const CR = 13;

/** CR as a network virtual terminal sends it alone (RFC 854): so each byte arrives as it is. */
function withNulAfterCr(bytes: Uint8Array): Uint8Array {
  if (!bytes.includes(CR)) return bytes;
  const encoded = Buffer.allocUnsafe(2 * bytes.length);
  let length = 0;
  for (const byte of bytes) {
    encoded[length++] = byte;
    if (byte === CR) encoded[length++] = NUL;
  }
  return encoded.subarray(0, length);
}

function withoutNulAfterCr(wasCr: boolean, bytes: Uint8Array): Uint8Array {
  if (!wasCr && !bytes.includes(CR)) return bytes;
  const kept = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  let afterCr = wasCr;
  for (const byte of bytes) {
    if (!afterCr || byte !== NUL) kept[length++] = byte;
    afterCr = byte === CR;
  }
  return kept.subarray(0, length);
}
