import type { Socket } from 'node:net';
import type { Connection } from 'ssh2';

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
 */
export class ConnectionGuard {
  readonly socket: Socket;
  readonly #client: PrivateClient;
  readonly #options: GuardOptions;
  readonly #closedListeners = new Map<number, () => void>();
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
    const wake = () => this.#wakeRoomWaiters();
    this.socket.on('drain', wake);
    connection.on('handshake', wake);
    this.socket.on('data', () => {
      if (this.socket.writableLength > REPLY_BYTES_MAX) this.cut('it does not read the answers');
    });
    this.socket.once('close', () => {
      wake();
      for (const closed of this.#closedListeners.values()) closed();
      this.#closedListeners.clear();
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
      if (info.type !== 'direct-tcpip' || !this.#client.authenticated) return open(self, info);
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
      const window = (channel?.incoming as PrivateChannel['incoming'] | undefined)?.window;
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
      const closed = this.#closedListeners.get(recipient);
      this.#closedListeners.delete(recipient);
      closed?.();
    };
  }
}

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

/** RFC 4253 asks every implementation for 32 KiB. */
const PACKET_BYTES_MIN = 1_024;
const CHANNELS_MAX = 10;
/** Encrypted output waiting in the socket before channels have to wait. */
const OUTPUT_BYTES_MAX = 262_144;
/** More than the channels can put there: the rest are replies to a client that does not read. */
const REPLY_BYTES_MAX = 4_194_304;

// RFC 4254, 5.1
const ADMINISTRATIVELY_PROHIBITED = 1;
const RESOURCE_SHORTAGE = 4;

interface PrivateEntry {
  _channel?: PrivateEntry;
  _chanInfo?: { outgoing: { id: number } };
  incoming?: { window: number };
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
    _handlers: {
      CHANNEL_OPEN: (self: unknown, info: OpenInfo) => void;
      CHANNEL_DATA: (self: unknown, recipient: number, bytes: Uint8Array) => void;
      CHANNEL_CLOSE: (self: unknown, recipient: number) => void;
    };
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
