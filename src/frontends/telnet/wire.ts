import type { Socket } from 'node:net';
import type { Journal } from '../../core/clock.ts';
import {
  askOption,
  hearChatter,
  hearNegotiation,
  isOn,
  NO_OPTIONS,
  TELNET_OPTIONS,
  type Chatter,
  type Negotiation,
  type OptionStates,
  type OptionStep,
  type Side,
  type Supported,
} from '../../protocols/telnet-options.ts';
import {
  decodeTelnet,
  encodeNegotiation,
  encodeTelnet,
  fromNvt,
  TELNET_START,
  toNvt,
  type TelnetCommand,
  type TelnetEvent,
  type TelnetState,
} from '../../protocols/telnet.ts';

export type WireEvent =
  /** For the device: data, and keys for the commands that stand for one. */
  | { kind: 'data'; bytes: Uint8Array }
  | { kind: 'break' | 'ayt' }
  | { kind: 'subnegotiation'; option: number; bytes: Uint8Array };

/** What comes from the client; nothing more is read until what they return has resolved. */
export interface WireListener {
  event(event: WireEvent): Promise<void>;
  option(side: Side, option: number, isOn: boolean): Promise<void>;
  /** The client sends no more, but may still read. */
  ended(): Promise<void>;
}

/**
 * A telnet connection: framing, options and line ends between a socket and its client's session, with
 * every bound on what a peer can cause. A client that never said a word of telnet is taken as it is:
 * all but IAC is transparent both ways.
 */
export class TelnetWire {
  readonly #socket: Socket;
  readonly #journal: Journal;
  readonly #listener: WireListener;
  #state: TelnetState = TELNET_START;
  #options: OptionStates = NO_OPTIONS;
  #chatter: Chatter = [];
  #isTelnet = false;
  #isInputAfterCr = false;
  #isOutputAfterCr = false;
  #replyBytes = 0;

  /** Options that may be on. */
  supported: Supported;
  /**
   * No line ends of a terminal either way. For RFC 2217, whose clients send bytes as they are, also
   * before BINARY is agreed and, as pyserial, without asking for it.
   */
  isTransparent = false;

  constructor(socket: Socket, supported: Supported, journal: Journal, listener: WireListener) {
    this.#socket = socket;
    this.supported = supported;
    this.#journal = journal;
    this.#listener = listener;
    socket.on('data', (bytes: Buffer) => {
      socket.pause();
      this.#guarded(this.#take(bytes).then(() => void socket.resume()));
    });
    socket.once('end', () => this.#guarded(listener.ended()));
  }

  /** The client spoke telnet, so it is not merely a TCP client. */
  get isTelnet(): boolean {
    return this.#isTelnet;
  }

  isOn(side: Side, option: number): boolean {
    return isOn(this.#options, side, option);
  }

  /** Asks for an option. */
  ask(side: Side, option: number): void {
    this.#say(askOption(this.#options, side, option, true));
  }

  /** Bytes of the session; `done` once the client took them. */
  write(bytes: Uint8Array, done: () => void): void {
    this.#socket.write(this.#encoded(bytes), () => done());
  }

  /** Text of ours. */
  tell(text: Uint8Array): void {
    this.reply(this.#encoded(text));
  }

  /** What the client's own words cause, as it goes on the wire. A client that lets it pile up is cut. */
  reply(bytes: Uint8Array): void {
    if (this.#replyBytes + bytes.length > REPLY_BYTES_MAX) {
      this.#cut('it does not read the replies to what it says');
      return;
    }
    this.#replyBytes += bytes.length;
    this.#socket.cork(); // many small ones go out as one
    process.nextTick(() => this.#socket.uncork());
    this.#socket.write(bytes, () => (this.#replyBytes -= bytes.length));
  }

  /** What it can still take, it gets. */
  end(): void {
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }

  async #take(bytes: Uint8Array): Promise<void> {
    const { state, events } = decodeTelnet(this.#state, bytes);
    this.#state = state;
    const typed: Uint8Array[] = [];
    const passOn = async (): Promise<void> => {
      const [first, ...more] = typed.splice(0);
      if (first === undefined) return;
      const all = more.length === 0 ? first : Buffer.concat([first, ...more]);
      await this.#listener.event({ kind: 'data', bytes: all });
    };
    let heard = 0;
    for (const event of events) {
      if (event.kind !== 'data') this.#isTelnet ||= TELNET_EVENTS.has(event.kind);
      // Commands between two bytes do not make two pieces of them: each would cost the port as much.
      const piece = this.#typed(event);
      if (piece !== null) {
        if (piece.length > 0) typed.push(piece);
        continue;
      }
      await passOn();
      if (this.#socket.destroyed) return;
      await this.#hear(event);
      // A chunk may hold ten thousand: other clients have their turns in between.
      if (++heard % EVENTS_A_TURN === 0) await new Promise(setImmediate);
    }
    await passOn();
  }

  /** What the event is to the device; null: it is not for the device. */
  #typed(event: TelnetEvent): Uint8Array | null {
    if (event.kind === 'data') return this.#decoded(event.bytes);
    if (event.kind !== 'command' || event.command === 'break' || event.command === 'ayt')
      return null;
    const key = KEYS[event.command];
    return key === undefined ? NOTHING : Uint8Array.of(key);
  }

  async #hear(event: TelnetEvent): Promise<void> {
    switch (event.kind) {
      case 'negotiate':
        if (this.countChatter()) await this.#negotiate(event);
        return;
      case 'oversized':
      case 'malformed':
        this.countChatter();
        return;
      case 'command':
        if (event.command === 'break' || event.command === 'ayt') {
          await this.#listener.event({ kind: event.command });
        }
        return;
      case 'subnegotiation':
        return this.#listener.event(event);
      case 'data':
        return;
    }
  }

  /** Something was said that costs us more than it tells. False: once too often, the client is cut. */
  countChatter(): boolean {
    const chatter = hearChatter(this.#chatter, performance.now());
    if (chatter === null) this.#cut('it negotiates without end, or is no telnet client');
    else this.#chatter = chatter;
    return chatter !== null;
  }

  async #negotiate(negotiation: Negotiation): Promise<void> {
    const step = hearNegotiation(this.#options, negotiation, this.supported);
    this.#say(step);
    const { changed } = step;
    if (changed !== null) await this.#listener.option(changed.side, changed.option, changed.isOn);
  }

  #say({ states, send }: OptionStep): void {
    this.#options = states;
    for (const { verb, option } of send) this.reply(encodeNegotiation(verb, option));
  }

  #isNvt(side: Side): boolean {
    return this.#isTelnet && !this.isTransparent && !this.isOn(side, TELNET_OPTIONS.binary);
  }

  #encoded(bytes: Uint8Array): Uint8Array {
    if (!this.#isNvt('us')) return encodeTelnet(bytes);
    const text = toNvt(this.#isOutputAfterCr, bytes);
    this.#isOutputAfterCr = text.afterCr;
    return encodeTelnet(text.bytes);
  }

  #decoded(bytes: Uint8Array): Uint8Array {
    if (!this.#isNvt('them')) return bytes;
    const text = fromNvt(this.#isInputAfterCr, bytes);
    this.#isInputAfterCr = text.afterCr;
    return text.bytes;
  }

  #cut(why: string): void {
    if (this.#socket.destroyed) return;
    this.#journal.warn({ why }, 'telnet client cut');
    this.#socket.destroy();
  }

  #guarded(work: Promise<void>): void {
    work.catch((err: unknown) => {
      this.#journal.error({ err }, 'telnet client could not be served');
      this.#socket.destroy();
    });
  }
}

/** What only a telnet client says. */
const TELNET_EVENTS: ReadonlySet<TelnetEvent['kind']> = new Set([
  'negotiate',
  'command',
  'subnegotiation',
]);

/** Commands that stand for a key, as a terminal of today has it; those that are not here do nothing. */
const KEYS: Readonly<Partial<Record<TelnetCommand, number>>> = {
  ip: 0x03, // ^C
  eof: 0x04, // ^D
  el: 0x15, // ^U
  suspend: 0x1a, // ^Z
  abort: 0x1c, // ^\
  ec: 0x7f, // DEL
};
const NOTHING = new Uint8Array(0);

/** About a millisecond's worth. */
const EVENTS_A_TURN = 100;
/** Replies that a peer may leave unread. */
const REPLY_BYTES_MAX = 262_144;
const LINGER_MS = 1_000;
