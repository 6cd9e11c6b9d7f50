import type { Socket } from 'node:net';
import type { Backend, BackendSink } from '../core/backend.ts';
import { Fault } from '../core/fault.ts';
import { atMost } from './deadline.ts';
import { ReadPace } from './read-pace.ts';
import { StreamOutput } from './stream-output.ts';
import type { Sweep } from './tty/sweep.ts';

/** A read hands over at most this much. */
const READ_BYTES = 16_384;
/** What was taken is still sent on close, if the other side reads it within this time. */
const CLOSE_FLUSH_MS = 500;

export interface SocketOptions {
  /** For `connect`: address or path, already in `net`'s words. */
  connect: (onread: OnRead) => Socket;
  /** `secureConnect`: the line is open when the TLS handshake is done, too. */
  readyAt: 'connect' | 'secureConnect';
  description: string;
  /** For each step: the connect, then the handshake. */
  connectTimeoutMs: number;
  /** Why it could not be opened and what to do, for the error of `connect`. */
  explain: (error: NodeJS.ErrnoException) => string;
  /** Why an open line ended, where `describeSocketError` has no words for it. */
  explainEnd?: (error: NodeJS.ErrnoException) => string | null;
  /** Called when the open line has ended, for whatever reason. */
  ended?: () => void;
  sweep: Sweep;
}

/** The `onread` of net.connect: reads into one buffer again and again. */
export interface OnRead {
  buffer: Uint8Array;
  callback: (count: number, buffer: Uint8Array) => boolean;
}

/** Code of the error when the other side answers a connect, and not the TLS handshake. */
export const HANDSHAKE_TIMED_OUT = 'FAIRLEAD_TLS_TIMED_OUT';

/**
 * A line at the other end of a client socket. There is no UART this side of it: settings, signals
 * and BREAK are PORT_UNSUPPORTED.
 * @throws Fault PORT_OPEN_FAILED.
 */
export async function openSocket(options: SocketOptions, sink: BackendSink): Promise<Backend> {
  const { description } = options;
  let isClosed = false;

  const socket = options.connect({
    buffer: new Uint8Array(READ_BYTES),
    callback: (count, buffer) =>
      isClosed || pace.read(count, () => sink.rx(buffer.subarray(0, count))),
  });
  const pace = new ReadPace(options.sweep, () => socket.resume());
  const output = new StreamOutput(socket, () => sink.writable());
  await connected(socket, options);

  function stop(): void {
    isClosed = true;
    pace.stop();
    output.stop();
  }

  function gone(why: string, cause?: unknown): void {
    if (isClosed) return;
    stop();
    socket.destroy();
    sink.gone(new Fault('PORT_GONE', `${description}: ${why}`, cause));
  }

  function unsupported(what: string): Promise<never> {
    const why = `${description} is a network line: it has no ${what}`;
    return Promise.reject(new Fault('PORT_UNSUPPORTED', why));
  }

  socket.setNoDelay(true);
  socket.on('end', () => gone('the other side closed the connection'));
  socket.on('error', (error) => {
    gone(options.explainEnd?.(error) ?? describeSocketError(error), error);
  });
  socket.on('close', () => {
    gone('the connection ended');
    options.ended?.();
  });

  return {
    description,
    write: (bytes) => output.write(bytes),
    setWatched: () => undefined, // read at once anyhow
    setLine: () => unsupported('line settings'),
    setSignals: () => unsupported('signals'),
    sendBreak: () => unsupported('BREAK'),
    setBreak: () => unsupported('BREAK'),
    purge: () => Promise.resolve(), // a stream's bytes cannot be called back
    signals: () => Promise.resolve({}),
    isAlive: () => !isClosed && !socket.destroyed,
    async close() {
      const wasClosed = isClosed;
      stop();
      if (wasClosed && socket.destroyed) return;
      const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      socket.destroySoon();
      await atMost(CLOSE_FLUSH_MS, ended);
      socket.destroy();
    },
  };
}

/** Resolves when connected. @throws Fault PORT_OPEN_FAILED. */
function connected(socket: Socket, options: SocketOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer = setTimeout(timedOut, options.connectTimeoutMs, 'ETIMEDOUT');
    function timedOut(code: string): void {
      fail(Object.assign(new Error('timed out'), { code }));
    }
    function fail(error: Error): void {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => undefined); // a late one of a socket given up
      socket.destroy();
      reject(new Fault('PORT_OPEN_FAILED', options.explain(firstOf(error)), error));
    }
    socket.once('error', fail);
    if (options.readyAt === 'secureConnect') {
      socket.once('connect', () => {
        clearTimeout(timer);
        timer = setTimeout(timedOut, options.connectTimeoutMs, HANDSHAKE_TIMED_OUT);
      });
    }
    socket.once(options.readyAt, () => {
      clearTimeout(timer);
      socket.removeListener('error', fail);
      resolve();
    });
  });
}

/** Node tries all addresses of a name and wraps what each said. */
function firstOf(error: Error): NodeJS.ErrnoException {
  return error instanceof AggregateError ? (error.errors[0] as Error) : error;
}

const SOCKET_ERRORS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the other side reset the connection',
  EPIPE: 'the other side closed the connection',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'the network is unreachable',
  ENOTFOUND: 'the name does not resolve',
  EAI_AGAIN: 'the name server does not answer',
  EACCES: 'permission denied',
  ENOENT: 'does not exist',
  [HANDSHAKE_TIMED_OUT]: 'it answers, but not as TLS does',
};

/** The error in words, with its code where there are no words for it. */
export function describeSocketError(error: NodeJS.ErrnoException): string {
  return SOCKET_ERRORS[error.code ?? ''] ?? error.message;
}
