import type { Socket } from 'node:net';
import type { Backend, BackendSink } from '../core/backend.ts';
import { Fault } from '../core/fault.ts';
import { atMost } from './deadline.ts';

/** Output kept here beyond what the kernel takes; a `write` over it is refused until it drains. */
export const SOCKET_OUTPUT_BYTES_MAX = 65_536;
/** A read hands over at most this much. */
const READ_BYTES = 16_384;
/** What was taken is still sent on close, if the other side reads it within this time. */
const CLOSE_FLUSH_MS = 500;

export interface SocketOptions {
  /** For `connect`: address or path, already in `net`'s words. */
  connect: (onread: OnRead) => Socket;
  description: string;
  connectTimeoutMs: number;
  /** Why it could not be opened and what to do, for the error of `connect`. */
  explain: (error: NodeJS.ErrnoException) => string;
}

/** The `onread` of net.connect: reads into one buffer again and again. */
export interface OnRead {
  buffer: Uint8Array;
  callback: (count: number, buffer: Uint8Array) => boolean;
}

/**
 * A line at the other end of a client socket. There is no UART this side of it: settings, signals
 * and BREAK are PORT_UNSUPPORTED.
 * @throws Fault PORT_OPEN_FAILED.
 */
export async function openSocket(options: SocketOptions, sink: BackendSink): Promise<Backend> {
  const { description } = options;
  let isClosed = false;
  /** Taken, not yet with the kernel. */
  let waitingBytes = 0;
  let isRefused = false;

  const socket = options.connect({
    buffer: new Uint8Array(READ_BYTES),
    callback: (count, buffer) => {
      if (!isClosed) sink.rx(buffer.subarray(0, count));
      return true;
    },
  });
  await connected(socket, options);

  function gone(why: string, cause?: unknown): void {
    if (isClosed) return;
    isClosed = true;
    socket.destroy();
    sink.gone(new Fault('PORT_GONE', `${description}: ${why}`, cause));
  }

  function unsupported(what: string): Promise<never> {
    const why = `${description} is a network line: it has no ${what}`;
    return Promise.reject(new Fault('PORT_UNSUPPORTED', why));
  }

  socket.setNoDelay(true);
  socket.on('end', () => gone('the other side closed the connection'));
  socket.on('error', (error) => gone(describeSocketError(error), error));
  socket.on('close', () => gone('the connection ended'));

  /** A piece of output left for the kernel. Not 'drain': it is not emitted after a write that did not wait. */
  function passedOn(bytes: number): void {
    waitingBytes -= bytes;
    if (isClosed || !isRefused || waitingBytes > SOCKET_OUTPUT_BYTES_MAX / 2) return;
    isRefused = false;
    sink.writable();
  }

  return {
    description,
    write(bytes) {
      if (isClosed) return 0;
      const count = Math.min(SOCKET_OUTPUT_BYTES_MAX - waitingBytes, bytes.length);
      isRefused = count < bytes.length;
      if (count === 0) return 0;
      waitingBytes += count;
      // A copy: the socket may hold it after the caller used its memory for something else.
      socket.write(Buffer.from(bytes.subarray(0, count)), () => passedOn(count));
      return count;
    },
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
      isClosed = true;
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
    const timer = setTimeout(() => {
      const error = Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' });
      fail(error);
    }, options.connectTimeoutMs);
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => undefined); // a late one of a socket given up
      socket.destroy();
      reject(new Fault('PORT_OPEN_FAILED', options.explain(firstOf(error)), error));
    };
    socket.once('error', fail);
    socket.once('connect', () => {
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
};

/** The error in words, with its code where there are no words for it. */
export function describeSocketError(error: NodeJS.ErrnoException): string {
  return SOCKET_ERRORS[error.code ?? ''] ?? error.message;
}
