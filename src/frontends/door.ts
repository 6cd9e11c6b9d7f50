import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createAddressFilter } from '../auth/cidr.ts';
import { sourceOf, type Offence, type Penalties } from '../auth/penalties.ts';
import type { Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { DoorCaps, TlsSettings } from '../core/settings.ts';
import { DoorTls, type ClientCertificate } from './door-tls.ts';
import { watchHalfClosed } from './half-closed.ts';

/**
 * A TCP listener that bounds what clients can take (DESIGN 11): who may connect at all, how many
 * connections there are from one source and in all, how many of these have not said yet who they
 * are, and how long each may take to say it, a TLS handshake included. Who is over a bound is closed
 * at once. SSH, telnet and raw TCP stand behind it.
 *
 * Strangers that never say a word lock nobody out: a newcomer takes the place of the oldest silent
 * one of its own source, or of the source that has most. Those that speak our protocol make room
 * only where one source has many.
 */
export class Door {
  readonly #options: DoorOptions;
  readonly #limits: DoorLimits;
  readonly #caps: () => DoorCaps;
  readonly #journal: Journal;
  readonly #penalties: Penalties;
  #isAllowed: (address: string) => boolean;
  #server: Server | null = null;
  #tlsSettings: TlsSettings | null;
  readonly #tls: DoorTls | null;
  #retry: NodeJS.Timeout | null = null;
  #isStopped = false;
  readonly #visits = new Set<Visit>();
  /** By source; how many of them are inside. */
  readonly #inside = new Map<string, number>();
  /** By source; of each the oldest first. */
  readonly #strangers = new Map<string, Set<Visit>>();
  #strangerCount = 0;
  #refused = 0;
  #refusalSaidAt = Number.NEGATIVE_INFINITY;

  constructor(options: DoorOptions, deps: DoorDeps) {
    this.#options = options;
    this.#limits = { ...DOOR_LIMITS, ...deps.limits };
    this.#caps = deps.caps ?? (() => NO_CAPS);
    this.#journal = deps.journal;
    this.#penalties = deps.penalties;
    this.#isAllowed = createAddressFilter(options.allow);
    this.#tlsSettings = options.tls ?? null;
    this.#tls = this.#tlsSettings && new DoorTls((address, why) => this.#sayRefused(address, why));
  }

  /** Listens; an address that is taken, or a certificate, is journalled and tried again every 30 s. */
  async start(): Promise<void> {
    const { host, tcpPort } = this.#options;
    const server = createServer(
      { allowHalfOpen: this.#options.allowHalfOpen ?? false, noDelay: true },
      (socket) => this.#enter(socket),
    );
    try {
      await this.#tls?.load(this.#tlsSettings!);
      await listen(server, host, tcpPort);
    } catch (error) {
      const fields = error instanceof Fault ? { why: error.message } : { err: error };
      this.#journal.error(
        { host, tcpPort, ...fields, retryMs: this.#limits.retryMs },
        error instanceof Fault
          ? 'certificate cannot be used, this door stays shut for now'
          : 'address cannot be listened on, this door stays shut for now',
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
    return this.#visits.size;
  }

  setAllow(allow: readonly string[]): void {
    this.#isAllowed = createAddressFilter(allow);
  }

  /**
   * Reads certificate and key anew, for connections to come. Files that cannot be used are
   * journalled, and those that were read before stay in use. Only for a door that has TLS.
   */
  async setTls(settings: TlsSettings): Promise<void> {
    this.#tlsSettings = settings;
    if (this.#server === null) return; // shut: `start` reads them when its time comes
    const { host, tcpPort } = this.#options;
    try {
      const isNew = await this.#tls!.load(settings);
      if (isNew) this.#journal.info({ host, tcpPort }, 'certificate read');
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#journal.error(
        { host, tcpPort, why: error.message },
        'new certificate cannot be used, the former one stays',
      );
    }
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
    for (const { socket } of this.#visits) socket.destroy();
    await closed;
  }

  #retryLater(): void {
    if (this.#isStopped) return;
    this.#retry = setTimeout(() => void this.start(), this.#limits.retryMs).unref();
  }

  #enter(socket: Socket): void {
    socket.on('error', () => undefined); // a reset by the peer; 'close' follows
    const address = plainAddress(socket.remoteAddress);
    const source = sourceOf(address);
    const why = address === '' ? 'already gone' : this.#refusal(address, source);
    if (why !== null) {
      socket.destroy();
      this.#sayRefused(address, why);
      return;
    }
    let offence: Offence = 'noauth';
    let isIdentified = false;
    const identified = () => {
      isIdentified = true;
      clearTimeout(identify);
    };
    const known = () => {
      if (!visit.isStranger) return;
      identified();
      clearTimeout(authenticate);
      this.#isKnown(visit);
    };
    const visit: Visit = {
      socket,
      address,
      source,
      // Of a TLS handshake under way nothing is heard but that there is one.
      isSilent: () => !isIdentified && (this.#tls === null || socket.bytesRead === 0),
      isStranger: true,
      leave: (isToBlame) => {
        if (!this.#visits.delete(visit)) return;
        if (visit.isStranger && isToBlame)
          this.#penalties.penalise(address, offence, performance.now());
        known();
        this.#left(source);
        socket.destroy();
      },
    };
    this.#admit(visit);
    const identify = setTimeout(() => visit.leave(true), this.#limits.identifyMs);
    const authenticate = setTimeout(() => {
      offence = 'grace-exceeded';
      visit.leave(true);
    }, this.#limits.authenticateMs);
    socket.once('close', () => visit.leave(true));
    const welcome = (guestSocket: Socket, certificate: ClientCertificate) => {
      guestSocket.once('end', () => watchHalfClosed(socket));
      this.#options.welcome({
        socket: guestSocket,
        address,
        remote: `${address.includes(':') ? `[${address}]` : address}:${socket.remotePort}`,
        certificateUser: certificate.user,
        certificateProblem: certificate.problem,
        identified,
        failed: () => (offence = 'authfail'),
        authenticated: known,
      });
    };
    if (this.#tls === null) welcome(socket, NO_CERTIFICATE);
    else {
      this.#tls.shake(socket, (secure, certificate) => {
        secure.on('error', () => undefined);
        welcome(secure, certificate);
      });
    }
  }

  #refusal(address: string, source: string): string | null {
    if (!this.#isAllowed(address)) return 'not in the allow list';
    if (this.#penalties.refusedForMs(address, performance.now()) > 0) return 'too many failures';
    const { connectionsMax, perSourceMax } = this.#caps();
    const { strangersMax, strangersPerSourceMax } = this.#limits;
    const own = this.#strangers.get(source) ?? NOBODY;
    if ((this.#inside.get(source) ?? 0) >= perSourceMax && !this.#endSilent(own)) {
      return 'too many connections from this source';
    }
    if (own.size >= strangersPerSourceMax && !this.#endSilent(own)) {
      return 'too many unauthenticated connections from this source';
    }
    if (this.#visits.size >= connectionsMax && !this.#makeRoom(own.size)) {
      return 'too many connections';
    }
    if (this.#strangerCount >= strangersMax && !this.#makeRoom(own.size)) {
      return 'too many unauthenticated connections';
    }
    return null;
  }

  /** Ends a stranger of the source that has most, for one whose source has `strangers`. */
  #makeRoom(strangers: number): boolean {
    let silent: ReadonlySet<Visit> = NOBODY;
    let speaking: ReadonlySet<Visit> = NOBODY;
    for (const visits of this.#strangers.values()) {
      const isSilent = [...visits].some((visit) => visit.isSilent());
      if (isSilent && visits.size > silent.size) silent = visits;
      if (visits.size > speaking.size) speaking = visits;
    }
    // The silent gave no reason to think that they will ever log in.
    if (silent.size >= strangers && this.#endSilent(silent)) return true;
    if (speaking.size <= strangers + 1) return false;
    const [oldest] = speaking;
    this.#end(oldest!);
    return true;
  }

  #endSilent(visits: ReadonlySet<Visit>): boolean {
    const oldest = [...visits].find((visit) => visit.isSilent());
    if (oldest !== undefined) this.#end(oldest);
    return oldest !== undefined;
  }

  /** At once: 'close' comes only after more newcomers. */
  #end(visit: Visit): void {
    visit.leave(false);
    this.#sayRefused(visit.address, 'made room for another');
  }

  #admit(visit: Visit): void {
    const { source } = visit;
    this.#visits.add(visit);
    this.#inside.set(source, (this.#inside.get(source) ?? 0) + 1);
    const strangers = this.#strangers.get(source) ?? new Set();
    this.#strangers.set(source, strangers.add(visit));
    this.#strangerCount++;
  }

  #isKnown(visit: Visit): void {
    visit.isStranger = false;
    const strangers = this.#strangers.get(visit.source)!;
    strangers.delete(visit);
    if (strangers.size === 0) this.#strangers.delete(visit.source);
    this.#strangerCount--;
  }

  #left(source: string): void {
    const left = this.#inside.get(source)! - 1;
    if (left === 0) this.#inside.delete(source);
    else this.#inside.set(source, left);
  }

  /** A flood must not flood the journal too: one line a minute, with the count since. */
  #sayRefused(remote: string | undefined, why: string): void {
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
  /** null or absent: plain TCP. */
  tls?: TlsSettings | null;
  welcome(guest: Guest): void;
}

/** A connection that was let in, with the TLS handshake behind it where the door has TLS. */
export interface Guest {
  /** A `TLSSocket` on a door with TLS. */
  readonly socket: Socket;
  /** IPv4 addresses plain, also on an IPv6 socket. */
  readonly address: string;
  /** `192.0.2.7:51234`, `[2001:db8::1]:51234`. */
  readonly remote: string;
  /** Subject common name of a client certificate that was verified; null: none such. */
  readonly certificateUser: string | null;
  /** Why there is no `certificateUser`, in words. */
  readonly certificateProblem: string | null;
  /** It spoke our protocol: the first deadline is met. */
  identified(): void;
  /** It tried to log in and failed: should it leave without success, that is what it pays for. */
  failed(): void;
  /** It is somebody: no deadline and no cap on strangers holds it any more. */
  authenticated(): void;
}

export interface DoorLimits {
  strangersMax: number;
  strangersPerSourceMax: number;
  identifyMs: number;
  authenticateMs: number;
  retryMs: number;
}

export const DOOR_LIMITS: DoorLimits = {
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
  /** Asked at each connection, as a reload may change them; absent: only strangers are capped. */
  caps?: () => DoorCaps;
}

interface Visit {
  /** The plain one, also under TLS. */
  readonly socket: Socket;
  readonly address: string;
  readonly source: string;
  /** It did not say a word of our protocol. */
  readonly isSilent: () => boolean;
  /** It did not log in. */
  isStranger: boolean;
  /** Ends it; `isToBlame`: a stranger pays for having gone without logging in. */
  readonly leave: (isToBlame: boolean) => void;
}

const NOBODY: ReadonlySet<Visit> = new Set();
const NO_CAPS: DoorCaps = { connectionsMax: Infinity, perSourceMax: Infinity };
const NO_CERTIFICATE: ClientCertificate = { user: null, problem: 'the door has no TLS' };

/**
 * Connections that wait to be accepted in a flood. Over that the kernel drops a newcomer's handshake,
 * who tries again a second later; silent ones it leaves believing that they are connected.
 */
const BACKLOG = 4_096;

function listen(server: Server, host: string, tcpPort: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port: tcpPort, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** `::ffff:192.0.2.7` is how an IPv6 socket shows an IPv4 peer. */
function plainAddress(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=\d+\.)/i, '');
}
