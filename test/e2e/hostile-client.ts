import { connect, type Socket } from 'node:net';

/** A connection that whoever has it may misuse. */
export function knock(tcpPort: number, source: string): Socket {
  return connect({ host: '127.0.0.1', port: tcpPort, localAddress: source });
}

export interface HostileConduct {
  /** What it sends, in this order. */
  sends: Iterable<Uint8Array>;
  /** Says back whatever it is told. */
  isMirror?: boolean;
  /** Never reads what it is told. */
  isDeaf?: boolean;
  /** Waits to be cut when it has sent all; else it leaves as soon as nothing more comes. */
  stays?: boolean;
}

/** So long it waits for one more word. */
const SILENCE_MS = 500;

export interface HostileEnd {
  /** Bytes that it was told. */
  heard: number;
  /** The other side ended it. */
  wasCut: boolean;
}

/** Has a client behave without manners on this connection, to its end. */
export function misbehave(socket: Socket, conduct: HostileConduct): Promise<HostileEnd> {
  const end: HostileEnd = { heard: 0, wasCut: true };
  const pieces = conduct.sends[Symbol.iterator]();
  let silence: NodeJS.Timeout | null = null;
  const leaveSoon = (): void => {
    if (silence !== null) clearTimeout(silence);
    silence = setTimeout(() => {
      end.wasCut = false;
      socket.destroy();
    }, SILENCE_MS);
  };
  const send = (): void => {
    while (!socket.destroyed) {
      const { done, value } = pieces.next() as IteratorResult<Uint8Array, undefined>;
      if (done) {
        if (!conduct.stays) leaveSoon();
        return;
      }
      if (!socket.write(value)) return void socket.once('drain', send);
    }
  };
  socket.on('error', () => undefined);
  if (conduct.isDeaf) socket.pause();
  else {
    socket.on('data', (bytes: Buffer) => {
      end.heard += bytes.length;
      if (silence !== null) leaveSoon();
      if (conduct.isMirror) socket.write(bytes);
    });
  }
  if (socket.connecting) socket.once('connect', send);
  else send();
  return new Promise((resolve) =>
    socket.once('close', () => {
      if (silence !== null) clearTimeout(silence);
      resolve(end);
    }),
  );
}

/** One piece again and again, `total` bytes of it. */
export function* flood(piece: Uint8Array, total: number): Generator<Uint8Array> {
  const copies = Math.ceil(65_536 / piece.length);
  const chunk = Buffer.concat(Array.from({ length: copies }, () => piece));
  for (let sent = 0; sent < total; sent += chunk.length) yield chunk;
}
