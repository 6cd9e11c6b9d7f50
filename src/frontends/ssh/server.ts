import type { Socket } from 'node:net';
import ssh2, { type Connection, type ServerConfig } from 'ssh2';
import { Fault } from '../../core/fault.ts';
import { DOOR_LIMITS, type Guest } from '../door.ts';
import { SshConnection, type SshDeps } from './connection.ts';
import { loadHostKeys, type HostKeys } from './host-keys.ts';
import type { DoorPort } from './login-name.ts';

export interface SshServerDeps extends SshDeps {
  /** `keys/` of the data directory. */
  keysDirectory: string;
  /** Said before login; null: nothing. */
  banner: string | null;
  /** How often missing host keys are looked for. */
  retryMs?: number;
}

/**
 * What all SSH doors have in common: the host keys, the banner, and ssh2. It listens nowhere; doors
 * hand it their guests. Without host keys it can serve nobody, and the doors stay shut.
 */
export class SshServer {
  readonly #deps: SshServerDeps;
  readonly #journal: SshServerDeps['services']['journal'];
  #keys: HostKeys | null = null;
  #server: ssh2.Server | null = null;
  #banner: string | null;
  #loading: Promise<boolean> | null = null;
  #isMissSaid = false;
  readonly #waiting = new Set<() => void>();
  #retry: NodeJS.Timeout | null = null;
  /** From the door to ssh2's `connection` event, which comes with the client's first line. */
  readonly #guests = new WeakMap<Socket, { guest: Guest; port: DoorPort | null }>();

  constructor(deps: SshServerDeps) {
    this.#deps = deps;
    this.#journal = deps.services.journal;
    this.#banner = deps.banner;
  }

  /** Reads the host keys, or makes them, unless that was done; false, journalled once: it cannot be. */
  load(): Promise<boolean> {
    this.#loading ??= this.#load().finally(() => (this.#loading = null));
    return this.#loading;
  }

  /**
   * Calls once, when keys that could not be read are back: they are looked for every 30 s until
   * then. Returns what calls it off.
   */
  whenLoaded(listener: () => void): () => void {
    this.#waiting.add(listener);
    this.#retryLater();
    return () => {
      this.#waiting.delete(listener);
      if (this.#waiting.size === 0) this.#stopRetrying();
    };
  }

  /** For connections to come. */
  setBanner(banner: string | null): void {
    if (banner === this.#banner) return;
    this.#banner = banner;
    if (this.#keys !== null) this.#server = this.#createServer(this.#keys);
  }

  /** Serves a client; `port`: the one whose door it came through, null: the door of all. */
  welcome(guest: Guest, port: DoorPort | null): void {
    this.#guests.set(guest.socket, { guest, port });
    this.#server!.injectSocket(guest.socket);
  }

  async #load(): Promise<boolean> {
    if (this.#server !== null) return true;
    try {
      this.#keys = await loadHostKeys(this.#deps.keysDirectory);
      this.#server = this.#createServer(this.#keys);
    } catch (error) {
      this.#keysFailed(error);
      return false;
    }
    const { fingerprints, isNew } = this.#keys;
    this.#journal.info({ fingerprints }, isNew ? 'ssh host keys made' : 'ssh host keys read');
    this.#stopRetrying();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const listener of waiting) listener();
    return true;
  }

  #keysFailed(error: unknown): void {
    if (this.#isMissSaid) return;
    this.#isMissSaid = true;
    const fields =
      error instanceof Fault ? { fault: error.code, why: error.message } : { err: error };
    this.#journal.error(fields, 'ssh door stays shut: no usable host keys');
  }

  #retryLater(): void {
    this.#retry ??= setInterval(
      () => void this.load(),
      this.#deps.retryMs ?? DOOR_LIMITS.retryMs,
    ).unref();
  }

  #stopRetrying(): void {
    if (this.#retry !== null) clearInterval(this.#retry);
    this.#retry = null;
  }

  #createServer({ privateKeys }: HostKeys): ssh2.Server {
    const banner = this.#banner === null ? {} : { banner: bannerText(this.#banner) };
    const server = new ssh2.Server({ ...SERVER_CONFIG, ...banner, hostKeys: privateKeys });
    server.on('connection', (client: Connection) => {
      const { _sock: socket } = client as Connection & { _sock: Socket };
      const welcomed = this.#guests.get(socket);
      if (welcomed === undefined) {
        socket.destroy();
        return;
      }
      const { guest, port } = welcomed;
      guest.identified();
      try {
        new SshConnection(client, guest, port, this.#deps);
      } catch (err) {
        this.#journal.error({ err }, 'ssh connection could not be served');
        socket.destroy();
      }
    });
    return server;
  }
}

/** RFC 4252 section 5.4: lines end in CR LF. */
function bannerText(text: string): string {
  return `${text.replace(/\r?\n$/, '').replace(/\r?\n/g, '\r\n')}\r\n`;
}

/**
 * No SHA-1 (guards.ts has the rest of that), no compression (before login it is an attack surface, after it a waste), no CBC. ssh2
 * has no post-quantum key exchange. AES-GCM first: without its own addon ssh2 pays twice for ChaCha.
 */
const SERVER_CONFIG: Omit<ServerConfig, 'hostKeys'> = {
  ident: 'Fairlead',
  keepaliveInterval: 20_000,
  keepaliveCountMax: 3,
  algorithms: {
    kex: [
      'curve25519-sha256',
      'curve25519-sha256@libssh.org',
      'ecdh-sha2-nistp256',
      'ecdh-sha2-nistp384',
      'ecdh-sha2-nistp521',
      'diffie-hellman-group16-sha512',
      'diffie-hellman-group18-sha512',
      'diffie-hellman-group14-sha256',
    ],
    serverHostKey: ['ssh-ed25519', 'rsa-sha2-512', 'rsa-sha2-256'],
    cipher: [
      'aes128-gcm@openssh.com',
      'aes256-gcm@openssh.com',
      'chacha20-poly1305@openssh.com',
      'aes256-ctr',
      'aes192-ctr',
      'aes128-ctr',
    ],
    hmac: [
      'hmac-sha2-256-etm@openssh.com',
      'hmac-sha2-512-etm@openssh.com',
      'hmac-sha2-256',
      'hmac-sha2-512',
    ],
    compress: ['none'],
  },
};
