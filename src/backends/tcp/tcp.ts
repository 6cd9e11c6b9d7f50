import net from 'node:net';
import type { OpenerFactory } from '../services.ts';
import { describeSocketError, openSocket } from '../socket.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** Silence after which the kernel probes; libuv then gives up after 10 probes, one a second. */
const KEEPALIVE_MS = 10_000;

/** What to do about a refused connect, by error code. */
const FIXES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; is the server running, and is the TCP port right?',
  ETIMEDOUT: 'is the host up, and does a firewall let the connection through?',
  EHOSTUNREACH: 'is the host up?',
  ENETUNREACH: 'check the route and the address',
  ENOTFOUND: 'check the name, or use an address',
  EAI_AGAIN: 'check the name server, or use an address',
};

/** A raw TCP server: a serial server's port, QEMU's `-serial tcp:`, another Fairlead's raw door. */
export const tcpOpener: OpenerFactory<'tcp'> = (_settings, { host, tcpPort }) => {
  const target = host.includes(':') ? `[${host}]:${tcpPort}` : `${host}:${tcpPort}`;
  const description = `tcp ${target}`;
  return {
    kind: 'tcp',
    target,
    line: null,
    open: (sink) =>
      openSocket(
        {
          connect: (onread) =>
            net.connect({
              host,
              port: tcpPort,
              onread,
              keepAlive: true,
              keepAliveInitialDelay: KEEPALIVE_MS,
            }),
          description,
          connectTimeoutMs: CONNECT_TIMEOUT_MS,
          explain: (error) => {
            const fix = FIXES[error.code ?? ''];
            return `${description}: ${describeSocketError(error)}${fix === undefined ? '' : `; ${fix}`}`;
          },
        },
        sink,
      ),
  };
};
