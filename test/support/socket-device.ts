import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';

/** The far end of a socket line: a server for one client, which takes nothing by itself. */
export interface SocketDevice {
  readonly server: net.Server;
  /** Sends all of it, at the pace the line takes it. */
  readonly send: (bytes: Uint8Array) => Promise<void>;
  /** What has come so far and was not read yet. */
  readonly receive: () => Buffer;
  /** Ends the connection. */
  readonly close: () => void;
  readonly dispose: () => Promise<void>;
}

/** `secure`: it speaks TLS. */
export async function makeSocketDevice(
  listen: net.ListenOptions,
  secure: tls.TlsOptions | null = null,
): Promise<SocketDevice> {
  const server =
    secure === null
      ? net.createServer({ pauseOnConnect: true })
      : tls.createServer({ ...secure, pauseOnConnect: true });
  let client: net.Socket | null = null;
  const connected: (() => void)[] = [];
  server.on(secure === null ? 'connection' : 'secureConnection', (socket: net.Socket) => {
    client?.destroy();
    client = socket;
    socket.on('error', () => undefined);
    for (const resolve of connected.splice(0)) resolve();
  });
  server.listen(listen);
  await once(server, 'listening');

  async function current(): Promise<net.Socket> {
    if (client === null) await new Promise<void>((resolve) => connected.push(resolve));
    return client!;
  }

  return {
    server,
    async send(bytes) {
      const socket = await current();
      if (!socket.destroyed && !socket.write(bytes)) await once(socket, 'drain');
    },
    receive() {
      // `read(0)` asks the paused socket to fetch more from the kernel for the next call.
      const bytes = (client?.read() as Buffer | null) ?? Buffer.alloc(0);
      client?.read(0);
      return bytes;
    },
    close: () => client?.end(),
    async dispose() {
      client?.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
