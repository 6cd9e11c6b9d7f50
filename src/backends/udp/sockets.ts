import { createSocket } from 'node:dgram';
import type { RemoteInfo, Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { createAddressFilter, formatIpAddress, parseIpAddress } from '../../auth/cidr.ts';
import { Fault } from '../../core/fault.ts';
import type { UdpAddress } from '../../core/settings.ts';

/** Who sent a datagram. */
export interface UdpSource {
  /** As sockets take it; IPv4 that came mapped into IPv6 is IPv4 here. */
  address: string;
  udpPort: number;
}

/** What one port wants of a socket. */
export interface UdpClaim {
  /** CIDRs. */
  from: readonly string[];
  /** null: any; a claim with a number goes before one without. */
  sourcePort: number | null;
  /** `bytes` is the claim's to keep. */
  received(bytes: Uint8Array, source: UdpSource): void;
  /** The kernel threw datagrams of this socket away, of this source or another. */
  dropped(datagrams: number): void;
  failed(fault: Fault): void;
}

export interface UdpRoute {
  /** `sent` is called when the kernel took it, or refused it. */
  send(bytes: Uint8Array, to: UdpSource, sent: () => void): void;
  /** Asks whether the kernel had to throw something away. */
  checkDrops(): void;
  leave(): void;
}

/** Sources that no port claims, one call each while it speaks and stays unclaimed. */
export interface UnclaimedWatch {
  from: readonly string[];
  found(source: UdpSource): void;
}

/** Asked of the kernel, which gives what net.core.rmem_max allows: a boot's messages come at once. */
const RECEIVE_BYTES = 4 * 1024 * 1024;
/** What an unclaimed source said waits so long for its port, and so much of it. */
const HELD_MS = 5_000;
const HELD_BYTES_MAX = 65_536;
const HELD_SOURCES_MAX = 64;
/** Sources whose claim is remembered; beyond that it is looked for anew. */
const ROUTES_MAX = 4_096;

/** The UDP sockets of the process: one for each address, however many ports it feeds. */
export class UdpSockets {
  readonly #sockets = new Map<string, SharedSocket>();

  /** @throws Fault PORT_OPEN_FAILED. */
  async claim(listen: UdpAddress, claim: UdpClaim): Promise<UdpRoute> {
    const socket = await this.#open(listen);
    socket.claims.add(claim);
    socket.claimsChanged();
    return {
      send: (bytes, to, sent) => socket.send(bytes, to, sent),
      checkDrops: () => socket.checkDrops(),
      leave: () => {
        socket.claims.delete(claim);
        socket.claimsChanged();
        this.#closeUnused(socket);
      },
    };
  }

  /** @throws Fault PORT_OPEN_FAILED. */
  async watchUnclaimed(listen: UdpAddress, watch: UnclaimedWatch): Promise<() => void> {
    const socket = await this.#open(listen);
    socket.watches.add(watch);
    return () => {
      socket.watches.delete(watch);
      this.#closeUnused(socket);
    };
  }

  async #open(listen: UdpAddress): Promise<SharedSocket> {
    const key = `${listen.host} ${listen.udpPort}`;
    let socket = this.#sockets.get(key);
    if (!socket) {
      socket = new SharedSocket(key, listen, () => this.#sockets.delete(key));
      this.#sockets.set(key, socket);
    }
    await socket.bound;
    return socket;
  }

  #closeUnused(socket: SharedSocket): void {
    if (socket.claims.size > 0 || socket.watches.size > 0) return;
    if (this.#sockets.get(socket.key) === socket) this.#sockets.delete(socket.key);
    socket.close();
  }
}

class SharedSocket {
  readonly key: string;
  readonly claims = new Set<UdpClaim>();
  readonly watches = new Set<UnclaimedWatch>();
  readonly bound: Promise<void>;
  readonly #listen: UdpAddress;
  readonly #socket: Socket;
  /** By source; null: nobody's. */
  #routes = new Map<string, UdpClaim | null>();
  readonly #filters = new WeakMap<UdpClaim | UnclaimedWatch, (address: string) => boolean>();
  readonly #held = new Map<string, Held>();
  #drops = 0;

  constructor(key: string, listen: UdpAddress, failed: () => void) {
    this.key = key;
    this.#listen = listen;
    const isIpv6 = parseIpAddress(listen.host)?.family === 6;
    this.#socket = createSocket({ type: isIpv6 ? 'udp6' : 'udp4', reuseAddr: false });
    this.bound = new Promise((resolve, reject) => {
      this.#socket.once('listening', () => {
        this.#enlarge();
        resolve();
      });
      this.#socket.on('error', (error: NodeJS.ErrnoException) => {
        failed();
        this.close();
        const fault = new Fault('PORT_OPEN_FAILED', explain(listen, error), error);
        reject(fault);
        for (const claim of this.claims) claim.failed(fault);
      });
    });
    this.#socket.on('message', (bytes, remote) => this.#received(bytes, remote));
    this.#socket.bind({ address: listen.host, port: listen.udpPort, exclusive: true });
  }

  /** Sources go to other ports now, or to one at last. */
  claimsChanged(): void {
    this.#routes = new Map();
    for (const [key, held] of this.#held) {
      const claim = this.#claimOf(held.source);
      if (claim === null) continue;
      this.#forget(key, held);
      for (const bytes of held.datagrams) claim.received(bytes, held.source);
    }
  }

  send(bytes: Uint8Array, to: UdpSource, sent: () => void): void {
    // A refusal is of no interest: UDP promises nothing, and the port's other end may be away.
    this.#socket.send(bytes, to.udpPort, to.address, sent);
  }

  /** Linux counts per socket what found no room (`drops` of /proc/net/udp, proc(5)). */
  checkDrops(): void {
    const drops = readDrops(this.#listen);
    if (drops === null || drops <= this.#drops) return;
    const lost = drops - this.#drops;
    this.#drops = drops;
    for (const claim of this.claims) claim.dropped(lost);
  }

  close(): void {
    for (const [key, held] of this.#held) this.#forget(key, held);
    try {
      this.#socket.close();
    } catch {
      // It never opened, or failed: it is closed already.
    }
  }

  #received(bytes: Uint8Array, remote: RemoteInfo): void {
    const source = sourceOf(remote);
    const key = keyOf(source);
    let claim = this.#routes.get(key);
    if (claim === undefined) {
      claim = this.#claimOf(source);
      if (this.#routes.size >= ROUTES_MAX) this.#routes.clear();
      this.#routes.set(key, claim);
    }
    if (claim !== null) claim.received(bytes, source);
    else this.#unclaimed(key, source, bytes);
  }

  /** The first that wants exactly this source port, else the first that wants the address. */
  #claimOf(source: UdpSource): UdpClaim | null {
    let found: UdpClaim | null = null;
    for (const claim of this.claims) {
      if (claim.sourcePort !== null && claim.sourcePort !== source.udpPort) continue;
      if (found !== null && claim.sourcePort === null) continue;
      if (!this.#wants(claim, source)) continue;
      if (claim.sourcePort !== null) return claim;
      found = claim;
    }
    return found;
  }

  #unclaimed(key: string, source: UdpSource, bytes: Uint8Array): void {
    const watch = [...this.watches].find((one) => this.#wants(one, source));
    if (!watch) return;
    let held = this.#held.get(key);
    const isNew = held === undefined;
    if (!held) {
      if (this.#held.size >= HELD_SOURCES_MAX) {
        const [oldest, its] = this.#held.entries().next().value!;
        this.#forget(oldest, its);
      }
      const timer = setTimeout(() => this.#held.delete(key), HELD_MS);
      held = { source, datagrams: [], bytes: 0, timer };
      this.#held.set(key, held);
    }
    if (held.bytes + bytes.length <= HELD_BYTES_MAX) {
      held.datagrams.push(bytes);
      held.bytes += bytes.length;
    }
    if (isNew) watch.found(source);
  }

  #forget(key: string, held: Held): void {
    clearTimeout(held.timer);
    this.#held.delete(key);
  }

  #wants(who: UdpClaim | UnclaimedWatch, source: UdpSource): boolean {
    let filter = this.#filters.get(who);
    if (!filter) this.#filters.set(who, (filter = createAddressFilter(who.from)));
    return filter(source.address);
  }

  #enlarge(): void {
    try {
      this.#socket.setRecvBufferSize(RECEIVE_BYTES);
    } catch {
      // The kernel's default has to do.
    }
  }
}

interface Held {
  source: UdpSource;
  datagrams: Uint8Array[];
  bytes: number;
  timer: NodeJS.Timeout;
}

function sourceOf({ address, port }: RemoteInfo): UdpSource {
  const parsed = parseIpAddress(address);
  const isMapped = parsed?.family === 4 && address.includes(':');
  return { address: isMapped ? formatIpAddress(parsed.bytes) : address, udpPort: port };
}

export function keyOf({ address, udpPort }: UdpSource): string {
  return `${address} ${udpPort}`;
}

/** Datagrams the kernel threw away at this address since the socket was made; null: it does not say. */
function readDrops({ host, udpPort }: UdpAddress): number | null {
  const isIpv6 = parseIpAddress(host)?.family === 6;
  let table: string;
  try {
    table = readFileSync(isIpv6 ? '/proc/net/udp6' : '/proc/net/udp', 'latin1');
  } catch {
    return null;
  }
  const port = udpPort.toString(16).toUpperCase().padStart(4, '0');
  for (const line of table.split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    if (fields[1]?.endsWith(`:${port}`) && isLocal(fields[1], host)) return Number(fields.at(-1));
  }
  return null;
}

/** The table holds IPv4 addresses as a hexadecimal number in the machine's byte order. */
function isLocal(field: string, host: string): boolean {
  const parsed = parseIpAddress(host);
  if (parsed?.family !== 4 || host.includes(':')) return true;
  const wanted = Buffer.from(parsed.bytes).reverse().toString('hex').toUpperCase();
  return field.startsWith(wanted);
}

function explain({ host, udpPort }: UdpAddress, error: NodeJS.ErrnoException): string {
  const where = `udp ${host}:${udpPort}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `${where}: another process listens there; find it with "ss -ulpn 'sport = ${udpPort}'"`;
    case 'EACCES':
      return `${where}: only root may listen below 1024; give the service CAP_NET_BIND_SERVICE (AmbientCapabilities=) or take another UDP port`;
    case 'EADDRNOTAVAIL':
      return `${where}: this machine does not have the address ${host}`;
    default:
      return `${where}: ${error.message}`;
  }
}
