import { statSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import type { OpenerFactory } from '../services.ts';
import { describeSocketError, openSocket } from '../socket.ts';
import { watchPath } from '../tty/watch-return.ts';

const CONNECT_TIMEOUT_MS = 10_000;

/** A unix socket that somebody listens on: QEMU's `-serial unix:`, bhyve, Firecracker. */
export const unixOpener: OpenerFactory<'unix'> = (_settings, { path }, { sweep }) => ({
  kind: 'unix',
  target: path,
  line: null,
  open: (sink) =>
    openSocket(
      {
        connect: (onread) => net.connect({ path, onread }),
        readyAt: 'connect',
        sweep,
        description: `unix ${path}`,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        explain: (error) => explain(path, error),
      },
      sink,
    ),
  watchReturn: (returned) => watchPath(path, returned),
});

function explain(path: string, error: NodeJS.ErrnoException): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (error.code === 'ENOENT') return `unix ${path} does not exist; is the machine running?`;
  if (error.code === 'EACCES') {
    const { username } = os.userInfo();
    return `unix ${path}: permission denied; let user ${username} read and write the socket and search its directory`;
  }
  if (stat !== undefined && !stat.isSocket()) {
    return `${path} is not a unix socket; a tty is configured as "device: ${path}"`;
  }
  if (error.code === 'ECONNREFUSED') {
    return `unix ${path}: nobody listens there (a socket left behind?); is the machine running?`;
  }
  if (error.code === 'EAGAIN') {
    return `unix ${path}: it takes no more clients; QEMU's sockets take one at a time: who has it? (ss -xp | grep '${path}')`;
  }
  return `unix ${path}: ${describeSocketError(error)}`;
}
