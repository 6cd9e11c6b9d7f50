import type { Socket } from 'node:net';
import ssh2, { type Connection, type ServerConfig } from 'ssh2';
import { Fault } from '../../core/fault.ts';
import type { Frontend } from '../../core/frontend.ts';
import type { DoorSettings } from '../../core/settings.ts';
import { Door, DOOR_LIMITS, type DoorDeps, type Guest } from '../door.ts';
import { SshConnection, type SshDeps } from './connection.ts';
import { loadHostKeys, type HostKeys } from './host-keys.ts';

export interface SshFrontendDeps extends SshDeps, Pick<DoorDeps, 'penalties' | 'limits'> {
  /** `keys/` of the data directory. */
  keysDirectory: string;
}

/** The SSH door: all ports and all verbs behind one address. */
export class SshFrontend implements Frontend {
  readonly kind = 'ssh';
  readonly #deps: SshFrontendDeps;
  readonly #journal: SshFrontendDeps['services']['journal'];
  #settings: DoorSettings | null;
  #server: ssh2.Server | null = null;
  #door: Door | null = null;
  /** Shut, but perhaps with clients left inside. */
  #formerDoors: Door[] = [];
  /** Start, stop, update and retry take turns. */
  #turn: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | null = null;
  #isRunning = false;
  /** From the door to ssh2's `connection` event, which comes with the client's first line. */
  readonly #guests = new WeakMap<Socket, Guest>();

  constructor(settings: DoorSettings | null, deps: SshFrontendDeps) {
    this.#settings = settings;
    this.#deps = deps;
    this.#journal = deps.services.journal;
  }

  start(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = true;
      await this.#open();
    });
  }

  stop(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = false;
      if (this.#retry !== null) clearTimeout(this.#retry);
      const doors = this.#door === null ? this.#formerDoors : [this.#door, ...this.#formerDoors];
      await Promise.all(doors.map((door) => door.stop(true)));
      this.#door = null;
      this.#formerDoors = [];
      this.#server = null;
    });
  }

  /** The port listened on; null while the door is shut. */
  get tcpPort(): number | null {
    return this.#door?.tcpPort ?? null;
  }

  /** A new address moves the listener and leaves its clients alone; without one they are ended. */
  update(settings: DoorSettings | null): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.#settings;
      this.#settings = settings;
      if (!this.#isRunning) return;
      const isSameAddress =
        before !== null &&
        settings !== null &&
        before.host === settings.host &&
        before.tcpPort === settings.tcpPort;
      if (isSameAddress && this.#door !== null) return this.#door.setAllow(settings.allow);
      await this.#leave(settings === null);
      await this.#open();
    });
  }

  async #leave(cut: boolean): Promise<void> {
    if (this.#door !== null) this.#formerDoors.push(this.#door);
    this.#door = null;
    await Promise.all(this.#formerDoors.map((door) => door.stop(cut)));
    this.#formerDoors = this.#formerDoors.filter((door) => door.clients > 0);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #open(): Promise<void> {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
    const settings = this.#settings;
    if (settings === null) return;
    try {
      this.#server ??= this.#createServer(await loadHostKeys(this.#deps.keysDirectory));
    } catch (error) {
      this.#keysFailed(error);
      return;
    }
    const { penalties, limits } = this.#deps;
    this.#door = new Door(
      { ...settings, welcome: (guest) => this.#welcome(guest) },
      { journal: this.#journal, penalties, ...(limits && { limits }) },
    );
    await this.#door.start();
  }

  /** The door stays shut until the keys are back; looked for now and then, said once. */
  #keysFailed(error: unknown): void {
    const fields =
      error instanceof Fault ? { fault: error.code, why: error.message } : { err: error };
    this.#journal.error(fields, 'ssh door stays shut: no usable host keys');
    this.#retry = setTimeout(
      () => void this.#inTurn(() => this.#retryKeys()),
      this.#deps.limits?.retryMs ?? DOOR_LIMITS.retryMs,
    ).unref();
  }

  async #retryKeys(): Promise<void> {
    if (!this.#isRunning || this.#settings === null) return;
    try {
      await loadHostKeys(this.#deps.keysDirectory);
    } catch {
      this.#retry?.refresh();
      return;
    }
    await this.#open();
  }

  #createServer({ privateKeys, fingerprints, isNew }: HostKeys): ssh2.Server {
    this.#journal.info({ fingerprints }, isNew ? 'ssh host keys made' : 'ssh host keys read');
    const server = new ssh2.Server({ ...SERVER_CONFIG, hostKeys: privateKeys });
    server.on('connection', (client: Connection) => {
      const { _sock: socket } = client as Connection & { _sock: Socket };
      const guest = this.#guests.get(socket);
      if (guest === undefined) {
        socket.destroy();
        return;
      }
      guest.identified();
      try {
        new SshConnection(client, guest, this.#deps);
      } catch (err) {
        this.#journal.error({ err }, 'ssh connection could not be served');
        socket.destroy();
      }
    });
    return server;
  }

  #welcome(guest: Guest): void {
    this.#guests.set(guest.socket, guest);
    this.#server!.injectSocket(guest.socket);
  }
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
