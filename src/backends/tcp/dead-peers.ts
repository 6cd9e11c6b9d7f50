import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';

const LOOK_MS = 5_000;
/** A peer that confirmed nothing for so long, though we sent again and again, is gone. */
const SILENT_MS = 20_000;
/** With TCP's shortest first wait of 200 ms these are over within 2 s, with 3 s in 21 s. */
const UNANSWERED_MIN = 3;

/** What a socket's line in /proc/net/tcp says (Documentation/networking/proc_net_tcp.rst). */
export interface TcpState {
  /** Bytes the other side has not confirmed, or not had room for. */
  unconfirmedBytes: number;
  /** Segments, or probes of a closed window, sent again without an answer. */
  unanswered: number;
}

/**
 * Finds connections whose other side is gone while something waits to reach it, one for the process.
 * TCP's keepalive probes only when nothing does, and retransmission takes a quarter of an hour to
 * give up. TCP_USER_TIMEOUT is no help: it also ends connections to a server that lives and has no
 * room, as in front of a device that was sent XOFF.
 */
export class DeadPeers {
  readonly #watched = new Map<Socket, Watched>();
  readonly #readTable: (path: string) => Promise<string>;
  readonly #nowMs: () => number;
  #timer: NodeJS.Timeout | null = null;

  constructor(
    readTable: (path: string) => Promise<string> = (path) => readFile(path, 'latin1'),
    nowMs: () => number = () => performance.now(),
  ) {
    this.#readTable = readTable;
    this.#nowMs = nowMs;
  }

  /** Destroys the connected `socket` with an error ETIMEDOUT when its other side is gone. Returns a stop. */
  watch(socket: Socket): () => void {
    const { bytesRead, bytesWritten } = socket;
    this.#watched.set(socket, { bytesRead, bytesWritten, sinceMs: null });
    this.#timer ??= setInterval(() => void this.look(), LOOK_MS).unref();
    return () => {
      this.#watched.delete(socket);
      if (this.#watched.size > 0 || this.#timer === null) return;
      clearInterval(this.#timer);
      this.#timer = null;
    };
  }

  /** Looks once, as it does every 5 s by itself. */
  async look(): Promise<void> {
    const suspects = [...this.#watched].filter(([socket, state]) => this.#isSuspect(socket, state));
    if (suspects.length === 0) return;
    const tables = new Map<string, string>();
    for (const path of new Set(suspects.map(([socket]) => tableOf(socket)))) {
      tables.set(path, await this.#readTable(path).catch(() => '')); // no /proc: nothing is known
    }
    for (const [socket, state] of suspects) {
      const found = findTcpState(tables.get(tableOf(socket))!, socket);
      if (found === null || !this.#watched.has(socket)) continue;
      if (found.unconfirmedBytes === 0) {
        state.bytesWritten = socket.bytesWritten;
        state.sinceMs = null;
      } else if (found.unanswered >= UNANSWERED_MIN) {
        const why = `the other side has confirmed nothing that was sent for ${SILENT_MS / 1_000} s`;
        socket.destroy(Object.assign(new Error(why), { code: 'FAIRLEAD_PEER_SILENT' }));
      }
    }
  }

  /** Something was written 20 s ago, and nothing has come since. */
  #isSuspect(socket: Socket, state: Watched): boolean {
    if (socket.destroyed) return false;
    if (socket.bytesRead !== state.bytesRead) {
      state.bytesRead = socket.bytesRead;
      state.bytesWritten = socket.bytesWritten;
      state.sinceMs = null;
    }
    if (socket.bytesWritten === state.bytesWritten) return false;
    state.sinceMs ??= this.#nowMs();
    return this.#nowMs() - state.sinceMs >= SILENT_MS;
  }
}

interface Watched {
  bytesRead: number;
  /** At the last sign of life. */
  bytesWritten: number;
  sinceMs: number | null;
}

function tableOf({ localAddress }: Socket): string {
  return localAddress?.includes(':') === true ? '/proc/net/tcp6' : '/proc/net/tcp';
}

/** The socket's line; null when there is none, or more than one that might be it. */
export function findTcpState(
  table: string,
  { localPort, remotePort }: Pick<Socket, 'localPort' | 'remotePort'>,
): TcpState | null {
  if (localPort === undefined || remotePort === undefined) return null;
  const ends = [localPort, remotePort].map(
    (tcpPort) => `[0-9A-F]+:${tcpPort.toString(16).toUpperCase().padStart(4, '0')}`,
  );
  const line = new RegExp(`^ *\\d+: ${ends.join(' ')} [0-9A-F]{2} .*$`, 'gm');
  const [found, ...more] = table.match(line) ?? [];
  if (found === undefined || more.length > 0) return null;
  // sl, local, remote, st, tx:rx, timer:when, retransmits, uid, probes, ...
  const fields = found.trim().split(/\s+/);
  const timer = fields[5]!.slice(0, 2);
  const unanswered =
    timer === '01' ? parseInt(fields[6]!, 16) : timer === '04' ? Number(fields[8]) : 0;
  return { unconfirmedBytes: parseInt(fields[4]!.split(':')[0]!, 16), unanswered };
}
