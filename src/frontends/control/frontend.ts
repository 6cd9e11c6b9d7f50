import { chmod, chown, lstat, readFile, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Fault } from '../../core/fault.ts';
import type { Frontend, FrontendServices } from '../../core/frontend.ts';
import type { Libc } from '../../core/libc.ts';
import { serveControlClient } from './client-connection.ts';

export interface ControlFrontendDeps {
  services: FrontendServices;
  libc: Pick<Libc, 'peerCredentials'>;
  /** Unix group that may connect, where it exists. */
  group?: string;
  retryMs?: number;
}

/**
 * The local control socket (DESIGN 7): how the `fairlead` command reaches the daemon. The kernel
 * says which unix user connects; `login.ofUnixUser` says which of ours that is.
 */
export class ControlFrontend implements Frontend {
  readonly kind = 'control';
  readonly #path: string;
  readonly #deps: ControlFrontendDeps;
  readonly #journal: FrontendServices['journal'];
  #server: Server | null = null;
  #inode: bigint | null = null;
  #retry: NodeJS.Timeout | null = null;
  #isRunning = false;
  readonly #sockets = new Set<Socket>();

  constructor(path: string, deps: ControlFrontendDeps) {
    this.#path = path;
    this.#deps = deps;
    this.#journal = deps.services.journal;
  }

  async start(): Promise<void> {
    this.#isRunning = true;
    await this.#open();
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    if (this.#retry !== null) clearTimeout(this.#retry);
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const isOurs = this.#inode !== null && (await inodeOf(this.#path)) === this.#inode;
    await new Promise<void>((resolve) => {
      server.close(() => resolve()); // removes the socket file
      for (const socket of this.#sockets) socket.destroy();
    });
    if (isOurs) await unlink(this.#path).catch(() => undefined);
  }

  async #open(): Promise<void> {
    try {
      this.#server = await this.#listen();
      this.#inode = await inodeOf(this.#path);
      this.#journal.info({ path: this.#path }, 'control socket open');
    } catch (error) {
      const fields = error instanceof Fault ? { why: error.message } : { err: error };
      this.#journal.error({ path: this.#path, ...fields }, 'control socket cannot be opened');
      if (!this.#isRunning) return;
      const retryMs = this.#deps.retryMs ?? RETRY_MS;
      this.#retry = setTimeout(() => void this.#open(), retryMs).unref();
    }
  }

  async #listen(): Promise<Server> {
    if (Buffer.byteLength(this.#path) > PATH_BYTES_MAX) {
      throw new Fault(
        'LISTEN_FAILED',
        `a socket path has at most ${PATH_BYTES_MAX} bytes; use a shorter data directory`,
      );
    }
    const server = createServer({ allowHalfOpen: false }, (socket) => this.#enter(socket));
    server.maxConnections = CONNECTIONS_MAX;
    try {
      await listen(server, this.#path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      if (await answers(this.#path)) {
        throw new Fault('LISTEN_FAILED', 'another daemon answers there');
      }
      await unlink(this.#path); // left behind by a daemon that was killed
      await listen(server, this.#path);
    }
    server.on('error', (err) => this.#journal.error({ err }, 'control socket failed'));
    const gid = await groupId(this.#deps.group ?? 'fairlead');
    // Not ours to give unless we are root or in it: then it stays with our own group.
    if (gid !== null) await chown(this.#path, -1, gid).catch(() => undefined);
    await chmod(this.#path, 0o660);
    return server;
  }

  #enter(socket: Socket): void {
    socket.on('error', () => undefined); // the client was killed; 'close' follows
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    try {
      const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
      const peer = this.#deps.libc.peerCredentials(fd);
      serveControlClient(socket, peer, this.#deps.services);
    } catch (err) {
      this.#journal.error({ err }, 'control client could not be served');
      socket.destroy();
    }
  }
}

/** sun_path of unix(7), less its end. */
const PATH_BYTES_MAX = 107;
const CONNECTIONS_MAX = 256;
const RETRY_MS = 30_000;

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Whether a process accepts connections at the path. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // EAGAIN: its backlog is full, so somebody is there.
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'EAGAIN'));
  });
}

async function inodeOf(path: string): Promise<bigint | null> {
  return lstat(path, { bigint: true }).then(
    ({ ino }) => ino,
    () => null,
  );
}

/** From group(5); Node has no getgrnam. */
async function groupId(name: string): Promise<number | null> {
  const text = await readFile('/etc/group', 'utf8').catch(() => '');
  const line = text.split('\n').find((entry) => entry.startsWith(`${name}:`));
  const gid = Number(line?.split(':')[2]);
  return Number.isInteger(gid) ? gid : null;
}
