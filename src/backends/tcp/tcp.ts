import net from 'node:net';
import tls from 'node:tls';
import type { Backend, BackendOpener, BackendSink } from '../../core/backend.ts';
import type { ServerSettings } from '../../core/settings.ts';
import { explainTlsError } from '../client-tls.ts';
import type { BackendServices, OpenerFactory } from '../services.ts';
import { describeSocketError, HANDSHAKE_TIMED_OUT, openSocket } from '../socket.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** For each address of a name that has several; Node's own 250 ms is less than a satellite takes. */
const ADDRESS_TIMEOUT_MS = 3_000;
/**
 * Silence after which the kernel probes; libuv then gives up after 10 probes, one a second. So a peer
 * that is gone is noticed within 20 s, and within 30 s while output waits to reach it (DeadPeers).
 */
const KEEPALIVE_MS = 10_000;

/** What to do about a refused connect, by error code. */
const FIXES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; is the server running, and is the TCP port right?',
  ETIMEDOUT: 'is the host up, and does a firewall let the connection through?',
  EHOSTUNREACH: 'is the host up?',
  ENETUNREACH: 'check the route and the address',
  ENOTFOUND: 'check the name, or use an address',
  EAI_AGAIN: 'check the name server, or use an address',
  [HANDSHAKE_TIMED_OUT]: 'is it the TCP port with TLS? Without TLS leave "tls" out',
};

/** A raw TCP server: a serial server's port, QEMU's `-serial tcp:`, another Fairlead's raw door. */
export const tcpOpener: OpenerFactory<'tcp'> = (_settings, backend, services) => ({
  kind: 'tcp',
  ...reachServer('tcp', backend, services),
});

/** What the openers of all lines at a TCP server have in common; `open` gives the bare stream. */
export function reachServer(
  kind: 'tcp' | 'telnet' | 'rfc2217',
  { host, tcpPort, tls: secure }: ServerSettings,
  { sweep, hosts, peers, tls: clientTls }: BackendServices,
): Omit<BackendOpener, 'kind'> & { line: null; description: string } {
  const target = host.includes(':') ? `[${host}]:${tcpPort}` : `${host}:${tcpPort}`;
  const description = `${kind} ${target}${secure === null ? '' : ' (TLS)'}`;

  async function open(sink: BackendSink): Promise<Backend> {
    const address = { host, port: tcpPort, autoSelectFamilyAttemptTimeout: ADDRESS_TIMEOUT_MS };
    const secureOptions =
      secure === null ? null : await clientTls.options(description, host, secure);
    return hosts.pass(host, async (ended) => {
      let stopWatch = (): void => undefined;
      let socket!: net.Socket;
      const backend = await openSocket(
        {
          connect: (onread) => {
            socket =
              secureOptions === null
                ? net.connect({ ...address, onread })
                : tls.connect({ ...address, ...secureOptions, onread } as tls.ConnectionOptions);
            return socket;
          },
          readyAt: secureOptions === null ? 'connect' : 'secureConnect',
          description,
          connectTimeoutMs: CONNECT_TIMEOUT_MS,
          explain,
          explainEnd: explainTls,
          ended: () => {
            stopWatch();
            ended();
          },
          sweep,
        },
        sink,
      );
      socket.setKeepAlive(true, KEEPALIVE_MS);
      stopWatch = peers.watch(socket);
      return backend;
    });
  }

  const explainTls = (error: NodeJS.ErrnoException): string | null =>
    secure === null ? null : explainTlsError(error, secure.serverName ?? host);

  function explain(error: NodeJS.ErrnoException): string {
    const why = explainTls(error);
    if (why !== null) return `${description}: ${why}`;
    if (secure !== null && error.code === 'ECONNRESET') {
      return `${description}: the other side ended the TLS handshake; does it speak TLS there, and does it want a client certificate ("tls: { cert: FILE, key: FILE }")?`;
    }
    const fix = FIXES[error.code ?? ''];
    return `${description}: ${describeSocketError(error)}${fix === undefined ? '' : `; ${fix}`}`;
  }

  return {
    target,
    description,
    line: null,
    open,
    watchReturn: (returned) => hosts.watchReturn(host, returned),
    hurry: () => hosts.hurry(host),
  };
}
