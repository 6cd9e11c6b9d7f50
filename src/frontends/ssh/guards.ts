import type { Socket } from 'node:net';
import type { Connection } from 'ssh2';
import { WireReader, wireString } from '../../auth/ssh-wire.ts';

/**
 * What ssh2 1.17.0 lets a client do to its server, prevented for one connection (DESIGN 11). ssh2
 * has no public hook for any of it: this file is the only one that touches its private parts, and
 * a test fails when they move.
 *
 * - A channel whose packet size is 0 makes the first write loop for ever: refused when under 1,024.
 * - Data beyond the window is buffered without bound: the client is cut at the first such packet.
 * - Output goes to the socket, or during a key exchange to a queue, whether or not they take it: a
 *   client may announce a window of 4 GB and read nothing. `room` waits for both, and replies that
 *   the client does not read have a bound.
 * - A session that is closed before it had a shell keeps its place for ever: it is given back.
 * - An RSA host key is offered for SHA-1 signatures too, whatever the settings: taken off the offer.
 * - A request on a channel that runs already is answered never, whatever its listener says: answered
 *   here, in order. BREAK (RFC 4335) is among them, which ssh2 does not know.
 * - The list of signatures it takes has a typing error, so clients with RSA keys cannot use SHA-512:
 *   told in its place.
 * - A client that guesses the key exchange (dropbear) has its guess thrown away though it was right,
 *   and waits for ever: kept.
 */
export class ConnectionGuard {
  readonly socket: Socket;
  readonly #client: PrivateClient;
  readonly #options: GuardOptions;
  readonly #closedListeners = new Map<number, () => void>();
  readonly #requestListeners = new Map<number, RequestListener>();
  /** Resolves when the last request of the channel is answered. */
  readonly #lastAnswers = new Map<number, Promise<void>>();
  #unanswered = 0;
  readonly #roomWaiters = new Set<() => void>();
  #opening = 0;
  #isCut = false;

  constructor(connection: Connection, options: GuardOptions) {
    const client = privateParts(connection);
    this.#client = client;
    this.#options = options;
    this.socket = client._sock;
    client._protocol._offer = withoutSha1(client._protocol._offer);
    this.#guardChannelOpen();
    this.#guardChannelData();
    this.#guardChannelClose();
    this.#guardChannelRequest();
    this.#tellSignatureAlgorithms();
    keepRightGuesses(client._protocol);
    const wake = () => this.#wakeRoomWaiters();
    this.socket.on('drain', wake);
    connection.on('handshake', wake);
    this.socket.on('data', (bytes: Buffer) => {
      if (this.socket.writableLength > REPLY_BYTES_MAX) this.cut('it does not read the answers');
      if (bytes.length >= READ_BYTES_MAX) this.#giveWay();
    });
    this.socket.once('close', () => {
      wake();
      for (const closed of this.#closedListeners.values()) closed();
      this.#closedListeners.clear();
      this.#requestListeners.clear();
    });
  }

  /** Ends the connection at once and for good. */
  cut(why: string): void {
    if (this.#isCut) return;
    this.#isCut = true;
    this.#options.onCut(why);
    this.socket.destroy();
  }

  /** Resolves when the connection can take more output, or is closed. */
  async room(): Promise<void> {
    while (!this.socket.destroyed && this.#isFull()) {
      await new Promise<void>((resolve) => this.#roomWaiters.add(resolve));
    }
  }

  /** The client closed the channel, or the connection is gone. ssh2 tells only those who read. */
  onChannelClosed(channel: PrivateChannel, closed: () => void): void {
    this.#closedListeners.set(channel.incoming.id, closed);
  }

  /** What the client asks of a channel that runs; true is success. One listener a channel. */
  serveRequests(channel: PrivateChannel, listener: RequestListener): void {
    this.#requestListeners.set(channel.incoming.id, listener);
  }

  /** Of a client that sends without end libuv reads 32 times before anybody else has a turn. */
  #giveWay(): void {
    this.socket.pause();
    setImmediate(() => this.socket.resume());
  }

  #isFull(): boolean {
    return (
      this.socket.writableLength >= OUTPUT_BYTES_MAX ||
      this.#client._protocol._kexinit !== undefined
    );
  }

  #wakeRoomWaiters(): void {
    const waiters = [...this.#roomWaiters];
    this.#roomWaiters.clear();
    for (const resolve of waiters) resolve();
  }

  #guardChannelOpen(): void {
    const { _protocol: protocol, _chanMgr: channels } = this.#client;
    const handlers = protocol._handlers;
    const open = handlers.CHANNEL_OPEN;
    handlers.CHANNEL_OPEN = (self, info) => {
      const refuse = (reason: number, why: string) =>
        protocol.channelOpenFail(info.sender, reason, why);
      if (info.packetSize < PACKET_BYTES_MIN) {
        refuse(RESOURCE_SHORTAGE, `a packet size under ${PACKET_BYTES_MIN} is not served`);
        return this.cut(`it asked for a packet size of ${info.packetSize}`);
      }
      if (channels._count + this.#opening >= CHANNELS_MAX) {
        return refuse(RESOURCE_SHORTAGE, `at most ${CHANNELS_MAX} channels a connection`);
      }
      if (!this.#client.authenticated) return open(self, info);
      if (info.type === 'session') return open(self, info);
      if (info.type !== 'direct-tcpip') {
        return refuse(ADMINISTRATIVELY_PROHIBITED, 'only sessions and -W PORT:1 are served');
      }
      this.#opening++;
      this.#options
        .onDirect(info.data.destIP ?? '')
        .then(
          (accepted) => {
            if (this.socket.destroyed) return accepted.abandon();
            this.#client.once('tcpip', accepted.attach);
            open(self, info);
            this.#client.off('tcpip', accepted.attach);
          },
          (error: unknown) => {
            const why = error instanceof Error ? error.message : String(error);
            if (!this.socket.destroyed) refuse(ADMINISTRATIVELY_PROHIBITED, why.slice(0, 1_000));
          },
        )
        .finally(() => this.#opening--)
        .catch((error: unknown) => this.cut(`a channel could not be opened: ${String(error)}`));
    };
  }

  #guardChannelData(): void {
    const handlers = this.#client._protocol._handlers;
    const data = handlers.CHANNEL_DATA;
    handlers.CHANNEL_DATA = (self, recipient, bytes) => {
      const entry = this.#client._chanMgr.get(recipient);
      const channel = typeof entry === 'object' ? (entry._channel ?? entry) : undefined;
      const window = channel?.incoming?.window;
      if (window !== undefined && bytes.length > window) {
        return this.cut('it sent more than its window');
      }
      data(self, recipient, bytes);
    };
  }

  #guardChannelClose(): void {
    const { _protocol: protocol, _chanMgr: channels } = this.#client;
    const close = protocol._handlers.CHANNEL_CLOSE;
    protocol._handlers.CHANNEL_CLOSE = (self, recipient) => {
      const entry = channels.get(recipient);
      close(self, recipient);
      if (typeof entry === 'object' && entry._chanInfo !== undefined && !entry._channel) {
        channels.remove(recipient);
        protocol.channelClose(entry._chanInfo.outgoing.id);
      }
      this.#requestListeners.delete(recipient);
      const closed = this.#closedListeners.get(recipient);
      this.#closedListeners.delete(recipient);
      closed?.();
    };
  }

  #guardChannelRequest(): void {
    const { _protocol: protocol, _chanMgr: channels } = this.#client;
    const request = protocol._handlers.CHANNEL_REQUEST;
    protocol._handlers.CHANNEL_REQUEST = (self, recipient, type, wantReply, data) => {
      const entry = channels.get(recipient);
      const channel = typeof entry === 'object' ? (entry._channel ?? entry) : undefined;
      // A session before its shell: ssh2 knows what to do.
      if (!isRunning(channel)) return request(self, recipient, type, wantReply, data);
      const listener = this.#requestListeners.get(recipient);
      const asked = parseRequest(type, data);
      const answer = listener === undefined || asked === null ? false : listener(asked);
      this.#answerInOrder(recipient, channel, wantReply, answer);
    };
  }

  /** RFC 4254 section 5.4: replies come in the order of the requests. */
  #answerInOrder(
    recipient: number,
    channel: PrivateChannel,
    wantReply: boolean,
    answer: boolean | Promise<boolean>,
  ): void {
    const { _protocol: protocol } = this.#client;
    const reply = (isDone: boolean) => {
      const { id, state } = channel.outgoing;
      if (!wantReply || this.socket.destroyed || !['open', 'eof'].includes(state)) return;
      if (isDone) protocol.channelSuccess(id);
      else protocol.channelFailure(id);
    };
    const last = this.#lastAnswers.get(recipient);
    if (last === undefined && typeof answer === 'boolean') return reply(answer);
    if (++this.#unanswered > REQUESTS_UNANSWERED_MAX) return this.cut('it asks too much at once');
    const answered = Promise.all([answer, last])
      .then(
        ([isDone]) => reply(isDone),
        (error: unknown) => this.cut(`a request could not be served: ${String(error)}`),
      )
      .finally(() => {
        this.#unanswered--;
        if (this.#lastAnswers.get(recipient) === answered) this.#lastAnswers.delete(recipient);
      });
    this.#lastAnswers.set(recipient, answered);
  }

  /** EXT_INFO (RFC 8308) right behind the first NEWKEYS, in place of the one ssh2 would send. */
  #tellSignatureAlgorithms(): void {
    const { _protocol: protocol } = this.#client;
    const complete = protocol._onHandshakeComplete;
    let isFirst = true;
    protocol._onHandshakeComplete = (...negotiated) => {
      if (isFirst && protocol._kex?.remoteExtInfoEnabled === true) {
        protocol._kex.remoteExtInfoEnabled = false;
        const packet = protocol._cipher.allocPacket(EXT_INFO.length);
        packet.set(EXT_INFO, PACKET_HEAD_BYTES);
        protocol._cipher.encrypt(packet);
      }
      isFirst = false;
      complete(...negotiated);
    };
  }
}

/** What a client asks of a channel that runs. */
export type ChannelRequest =
  | { type: 'break'; durationMs: number }
  /** `INT`, without SIG. */
  | { type: 'signal'; name: string }
  | { type: 'window-change'; columns: number; rows: number };

export type RequestListener = (request: ChannelRequest) => boolean | Promise<boolean>;

export interface GuardOptions {
  /** The connection was ended for what it did. */
  onCut(why: string): void;
  /**
   * The client asks for a TCP forwarding to `host`, which names a port of ours. Rejects with the
   * reason to refuse it.
   */
  onDirect(host: string): Promise<DirectChannel>;
}

export interface DirectChannel {
  /** Listener of ssh2's `tcpip` event, called once the channel may be accepted. */
  readonly attach: (accept: () => unknown) => void;
  /** The client left before that. */
  abandon(): void;
}

/** What every ssh2 channel has and its types leave out. */
export interface PrivateChannel {
  incoming: { id: number; window: number };
  outgoing: { id: number; packetSize: number; state: string };
}

/** What one read gives when more is waiting. */
const READ_BYTES_MAX = 65_536;
/** RFC 4253 asks every implementation for 32 KiB. */
const PACKET_BYTES_MIN = 1_024;
const CHANNELS_MAX = 10;
/** Encrypted output waiting in the socket before channels have to wait. */
const OUTPUT_BYTES_MAX = 262_144;
/** More than the channels can put there: the rest are replies to a client that does not read. */
const REPLY_BYTES_MAX = 4_194_304;

/** BREAKs take their time; nobody sends so many while the first is under way. */
const REQUESTS_UNANSWERED_MAX = 32;
/** For a length of 0: any will do. */
const BREAK_MS = 300;
/** RFC 4335 section 3: what is longer is taken for this. */
const BREAK_MS_MAX = 3_000;
/** Of a packet: its length and that of its padding. */
const PACKET_HEAD_BYTES = 5;

// RFC 4254, 5.1
const ADMINISTRATIVELY_PROHIBITED = 1;
const RESOURCE_SHORTAGE = 4;

/** null: nothing that a channel could do something about. */
function parseRequest(type: string, data: unknown): ChannelRequest | null {
  switch (type) {
    case 'break': {
      if (!(data instanceof Uint8Array) || data.length < 4) return null;
      const askedMs = Buffer.from(data).readUInt32BE();
      return { type, durationMs: askedMs === 0 ? BREAK_MS : Math.min(askedMs, BREAK_MS_MAX) };
    }
    case 'signal':
      return { type, name: String(data).slice(0, 32) };
    case 'window-change': {
      const { cols, rows } = data as { cols: number; rows: number };
      return { type, columns: cols, rows };
    }
    default:
      return null;
  }
}

function isRunning(entry: PrivateEntry | undefined): entry is PrivateEntry & PrivateChannel {
  return entry?.incoming !== undefined && entry.outgoing !== undefined;
}

const EXT_INFO = extInfo([
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
]);

/** RFC 8308 section 2.3, with the one extension of section 3.1. */
function extInfo(signatureAlgorithms: readonly string[]): Buffer {
  const one = Buffer.from([0, 0, 0, 1]);
  const type = Buffer.from([7]); // SSH_MSG_EXT_INFO
  const value = wireString(signatureAlgorithms.join(','));
  return Buffer.concat([type, one, wireString('server-sig-algs'), value]);
}

interface PrivateEntry {
  _channel?: PrivateEntry;
  _chanInfo?: { outgoing: { id: number } };
  incoming?: PrivateChannel['incoming'];
  outgoing?: PrivateChannel['outgoing'];
}

interface OpenInfo {
  type: string;
  sender: number;
  window: number;
  packetSize: number;
  data: { destIP?: string };
}

type KexNames = Record<'cipher' | 'mac' | 'compress' | 'lang', { array: string[] }>;

interface KexOffer {
  lists: {
    kex: { array: string[] };
    serverHostKey: { array: string[] };
    cs: KexNames;
    sc: KexNames;
  };
}

interface PrivateClient extends Connection {
  _sock: Socket;
  authenticated: boolean;
  _chanMgr: {
    _count: number;
    get(id: number): PrivateEntry | true | undefined;
    remove(id: number): void;
  };
  _protocol: {
    /** Set while a key exchange is under way. */
    _kexinit: unknown;
    /** Sent once the `connection` event has returned. */
    _offer: KexOffer;
    /** Called with the new cipher in place. */
    _onHandshakeComplete: (...negotiated: unknown[]) => void;
    /** Set from the first key exchange on. */
    _kex: { remoteExtInfoEnabled: boolean; _remoteKexinit: Uint8Array } | undefined;
    /** Set at a KEXINIT that says a guess follows, asked for at the packet that follows. */
    _skipNextInboundPacket: boolean;
    _cipher: { allocPacket(payloadBytes: number): Uint8Array; encrypt(packet: Uint8Array): void };
    _handlers: {
      CHANNEL_OPEN: (self: unknown, info: OpenInfo) => void;
      CHANNEL_DATA: (self: unknown, recipient: number, bytes: Uint8Array) => void;
      CHANNEL_CLOSE: (self: unknown, recipient: number) => void;
      CHANNEL_REQUEST: (
        self: unknown,
        recipient: number,
        type: string,
        wantReply: boolean,
        data: unknown,
      ) => void;
    };
    channelSuccess(recipient: number): void;
    channelFailure(recipient: number): void;
    channelOpenFail(recipient: number, reason: number, description: string): void;
    channelClose(recipient: number): void;
  };
}

/** @throws Error when ssh2 is not built as this file expects: better no door than an unguarded one. */
function privateParts(connection: Connection): PrivateClient {
  const client = connection as PrivateClient;
  const handlers = client._protocol?._handlers;
  const isKnown =
    typeof handlers?.CHANNEL_OPEN === 'function' &&
    typeof handlers.CHANNEL_DATA === 'function' &&
    typeof handlers.CHANNEL_CLOSE === 'function' &&
    typeof handlers.CHANNEL_REQUEST === 'function' &&
    typeof client._protocol.channelSuccess === 'function' &&
    typeof client._protocol.channelFailure === 'function' &&
    typeof client._protocol._onHandshakeComplete === 'function' &&
    typeof client._protocol._cipher?.allocPacket === 'function' &&
    typeof client._protocol._cipher.encrypt === 'function' &&
    '_kex' in client._protocol &&
    client._protocol._skipNextInboundPacket === false &&
    typeof client._protocol.channelOpenFail === 'function' &&
    typeof client._protocol.channelClose === 'function' &&
    '_kexinit' in client._protocol &&
    Array.isArray(client._protocol._offer?.lists?.serverHostKey?.array) &&
    typeof client._chanMgr?.get === 'function' &&
    typeof client._chanMgr._count === 'number' &&
    typeof client._sock?.destroy === 'function';
  if (!isKnown) throw new Error('ssh2 differs from the version the guards were written for');
  return client;
}

/**
 * RFC 4253 section 7.1: the packet behind a KEXINIT that guesses is to be skipped when the two sides
 * prefer different key exchanges or host keys. ssh2 compares the name with its own first letter.
 */
function keepRightGuesses(protocol: PrivateClient['_protocol']): void {
  let isGuess = false;
  Object.defineProperty(protocol, '_skipNextInboundPacket', {
    set: (value: boolean) => (isGuess = value),
    get: () => isGuess && !isGuessRight(protocol),
  });
}

function isGuessRight({ _kex: kex, _offer: offer }: PrivateClient['_protocol']): boolean {
  if (kex === undefined) return false;
  const theirs = new WireReader(kex._remoteKexinit);
  theirs.take(1 + 16); // message type and cookie
  const ours = [offer.lists.kex.array[0], offer.lists.serverHostKey.array[0]];
  return ours.every((name) => theirs.text().split(',')[0] === name);
}

/** The same offer without the host key algorithm `ssh-rsa`; made once for each server's offer. */
function withoutSha1(offer: KexOffer): KexOffer {
  const known = SOUND_OFFERS.get(offer);
  if (known !== undefined) return known;
  const { kex, serverHostKey, cs, sc } = offer.lists;
  const arrays = ({ cipher, mac, compress, lang }: KexNames) => ({
    cipher: cipher.array,
    mac: mac.array,
    compress: compress.array,
    lang: lang.array,
  });
  const Offer = offer.constructor as new (lists: object) => KexOffer;
  const sound = new Offer({
    kex: kex.array,
    serverHostKey: serverHostKey.array.filter((name) => name !== 'ssh-rsa'),
    cs: arrays(cs),
    sc: arrays(sc),
  });
  SOUND_OFFERS.set(offer, sound);
  return sound;
}

const SOUND_OFFERS = new WeakMap<KexOffer, KexOffer>();
