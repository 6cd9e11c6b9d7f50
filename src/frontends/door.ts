import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createAddressFilter } from '../auth/cidr.ts';
import type { Offence, Penalties } from '../auth/penalties.ts';
import type { Journal } from '../core/clock.ts';

/**
 * A TCP listener that bounds what strangers can take (DESIGN 11): who may connect at all, how many
 * unauthenticated connections there are from one source and in total, and how long each may take to
 * say who it is. SSH and raw TCP stand behind it.
 */
export class Door {
  readonly #options: DoorOptions;
  readonly #limits: DoorLimits;
  readonly #journal: Journal;
  readonly #penalties: Penalties;
  #isAllowed: (address: string) => boolean;
  #server: Server | null = null;
  #retry: NodeJS.Timeout | null = null;
  #isStopped = false;
  readonly #sockets = new Set<Socket>();
  readonly #strangers = new Map<string, number>();
  #strangerCount = 0;
  #refused = 0;
  #refusalSaidAt = Number.NEGATIVE_INFINITY;

  constructor(options: DoorOptions, deps: DoorDeps) {
    this.#options = options;
    this.#limits = { ...DOOR_LIMITS, ...deps.limits };
    this.#journal = deps.journal;
    this.#penalties = deps.penalties;
    this.#isAllowed = createAddressFilter(options.allow);
  }

  /** Listens; an address that is taken is journalled and tried again every 30 s. */
  async start(): Promise<void> {
    const { host, tcpPort } = this.#options;
    const server = createServer(
      { allowHalfOpen: this.#options.allowHalfOpen ?? false, noDelay: true },
      (socket) => this.#enter(socket),
    );
    server.maxConnections = this.#limits.connectionsMax;
    try {
      await listen(server, host, tcpPort);
    } catch (cause) {
      this.#journal.error(
        { host, tcpPort, err: cause, retryMs: this.#limits.retryMs },
        'address cannot be listened on, this door stays shut for now',
      );
      this.#retryLater();
      return;
    }
    if (this.#isStopped) {
      server.close();
      return;
    }
    server.on('error', (err) => this.#journal.error({ host, tcpPort, err }, 'door failed'));
    this.#server = server;
    this.#journal.info({ host, tcpPort: this.tcpPort }, 'door open');
  }

  /** The port listened on, null while shut; differs from the setting when that was 0. */
  get tcpPort(): number | null {
    return (this.#server?.address() as AddressInfo | null)?.port ?? null;
  }

  /** Connections inside. */
  get clients(): number {
    return this.#sockets.size;
  }

  setAllow(allow: readonly string[]): void {
    this.#isAllowed = createAddressFilter(allow);
  }

  /** Closes the listener; with `cut` its connections too. */
  async stop(cut: boolean): Promise<void> {
    this.#isStopped = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    const server = this.#server;
    this.#server = null;
    const closed = new Promise<void>((resolve) => {
      if (server === null) resolve();
      else server.close(() => resolve());
    });
    if (!cut) return;
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #retryLater(): void {
    if (this.#isStopped) return;
    this.#retry = setTimeout(() => void this.start(), this.#limits.retryMs).unref();
  }

  #enter(socket: Socket): void {
    socket.on('error', () => undefined); // a reset by the peer; 'close' follows
    const address = plainAddress(socket.remoteAddress);
    const why = address === '' ? 'already gone' : this.#refusal(address);
    if (why !== null) {
      socket.destroy();
      this.#sayRefused(address, why);
      return;
    }
    this.#sockets.add(socket);
    this.#strangers.set(address, (this.#strangers.get(address) ?? 0) + 1);
    this.#strangerCount++;
    let isStranger = true;
    let offence: Offence = 'noauth';
    const known = () => {
      if (!isStranger) return;
      isStranger = false;
      clearTimeout(identify);
      clearTimeout(authenticate);
      this.#strangerCount--;
      const left = this.#strangers.get(address)! - 1;
      if (left === 0) this.#strangers.delete(address);
      else this.#strangers.set(address, left);
    };
    const identify = setTimeout(() => socket.destroy(), this.#limits.identifyMs);
    const authenticate = setTimeout(() => {
      offence = 'grace-exceeded';
      socket.destroy();
    }, this.#limits.authenticateMs);
    socket.once('close', () => {
      if (isStranger) this.#penalties.penalise(address, offence, performance.now());
      known();
      this.#sockets.delete(socket);
    });
    this.#options.welcome({
      socket,
      address,
      remote: `${address.includes(':') ? `[${address}]` : address}:${socket.remotePort}`,
      identified: () => clearTimeout(identify),
      failed: () => (offence = 'authfail'),
      authenticated: known,
    });
  }

  #refusal(address: string): string | null {
    if (!this.#isAllowed(address)) return 'not in the allow list';
    if (this.#penalties.refusedForMs(address, performance.now()) > 0) return 'too many failures';
    if ((this.#strangers.get(address) ?? 0) >= this.#limits.strangersPerSourceMax) {
      return 'too many unauthenticated connections from this source';
    }
    if (this.#strangerCount >= this.#limits.strangersMax) {
      return 'too many unauthenticated connections';
    }
    return null;
  }

  /** A flood must not flood the journal too: one line a minute, with the count since. */
  #sayRefused(remote: string, why: string): void {
    this.#refused++;
    if (performance.now() - this.#refusalSaidAt < 60_000) return;
    this.#journal.warn({ remote, why, count: this.#refused }, 'connection refused');
    this.#refusalSaidAt = performance.now();
    this.#refused = 0;
  }
}

export interface DoorOptions {
  host: string;
  /** 0: any free port. */
  tcpPort: number;
  /** CIDRs or addresses; empty: anybody. */
  allow: readonly string[];
  allowHalfOpen?: boolean;
  welcome(guest: Guest): void;
}

/** A connection that was let in. */
export interface Guest {
  readonly socket: Socket;
  /** IPv4 addresses plain, also on an IPv6 socket. */
  readonly address: string;
  /** `192.0.2.7:51234`, `[2001:db8::1]:51234`. */
  readonly remote: string;
  /** It spoke our protocol: the first deadline is met. */
  identified(): void;
  /** It tried to log in and failed: should it leave without success, that is what it pays for. */
  failed(): void;
  /** It is somebody: no deadline and no cap on strangers holds it any more. */
  authenticated(): void;
}

export interface DoorLimits {
  connectionsMax: number;
  strangersMax: number;
  strangersPerSourceMax: number;
  identifyMs: number;
  authenticateMs: number;
  retryMs: number;
}

export const DOOR_LIMITS: DoorLimits = {
  connectionsMax: 1_000,
  strangersMax: 100,
  strangersPerSourceMax: 10,
  identifyMs: 10_000,
  authenticateMs: 30_000,
  retryMs: 30_000,
};

export interface DoorDeps {
  journal: Journal;
  penalties: Penalties;
  limits?: Partial<DoorLimits>;
}

function listen(server: Server, host: string, tcpPort: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port: tcpPort }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** `::ffff:192.0.2.7` is how an IPv6 socket shows an IPv4 peer. */
function plainAddress(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=\d+\.)/i, '');
}
