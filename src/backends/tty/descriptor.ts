import { readSync, writeSync } from 'node:fs';
import { EVENTS } from '@serialport/bindings-cpp/dist/poller.js';
import type { Poller } from '@serialport/bindings-cpp/dist/poller.js';
import type { BackendSink } from '../../core/backend.ts';
import type { Libc } from '../../core/libc.ts';
import type { Swept, Sweep, SweptLine } from './sweep.ts';

/**
 * Reading and writing of one O_NONBLOCK descriptor (a tty, a pty's master) with bindings-cpp's
 * poller and the sweep. Owns neither the descriptor nor the poller: whoever opened them closes them.
 */
export interface Descriptor {
  readonly write: (bytes: Uint8Array) => number;
  readonly setWatched: (watched: boolean) => void;
  /** Reads what waits now, without the sweep. */
  readonly readAll: () => void;
  /** No call to the sink, and no event from the poller, after this. */
  readonly stop: () => void;
}

export interface DescriptorOptions {
  fd: number;
  poller: Poller;
  sink: BackendSink;
  sweep: Sweep;
  libc: Libc | null;
  /** `latency: low`: read at once also when nobody watches. */
  isLowLatency: boolean;
  /** Instead of `sink.rxInto`, for input that is more than bytes; returns what `read` returned. */
  receive?: (read: (memory: Buffer, start: number, lengthMax: number) => number) => number;
  /** The other end is gone; called once, the descriptor has stopped. `code`: of read(2), if any. */
  hungUp: (code: string | null) => void;
}

/** More than a tty can hold: 64 KB of buffers, in reads of 4 KB at most. */
const READS_MAX = 256;

/**
 * bindings-cpp's poller re-arms what was ever asked for and did not fire, so each event is followed
 * by one `poll` of just what is wanted now.
 */
export function startDescriptor(options: DescriptorOptions): Descriptor {
  const { fd, poller, sink, libc } = options;
  const receive = options.receive ?? ((read) => sink.rxInto(read));
  let wanted = 0;
  let isInEvent = false;
  let hasWaitedToWrite = false;
  let isStopped = false;
  let lastCode: string | null = null;

  function read(memory: Buffer, start: number, lengthMax: number): number {
    try {
      return readSync(fd, memory, start, lengthMax, null) || -1; // 0 bytes: hung up
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EAGAIN' || code === 'EINTR') return 0;
      lastCode = code ?? null; // EIO on a pty whose other end closed
      return -1;
    }
  }

  function hangUp(): void {
    if (isStopped) return;
    stop();
    options.hungUp(lastCode);
  }

  const line: SweptLine = {
    readOnce() {
      if (isStopped) return -1;
      const count = receive(read);
      if (count < 0) hangUp();
      return count;
    },
    isEmpty() {
      if (libc === null || isStopped) return false;
      try {
        return libc.inputWaiting(fd) === 0;
      } catch {
        return false; // hung up: the read will say so
      }
    },
    arm: () => want(EVENTS.UV_READABLE),
  };

  function readAll(): void {
    for (let reads = 0; reads < READS_MAX && line.readOnce() > 0; reads++);
  }

  function want(event: number): void {
    wanted |= event;
    if (!isInEvent && !isStopped) poller.poll(wanted);
  }

  /** `handle` may ask for events again; they go to the poller in one call, the dear part of an event. */
  function onEvent(event: number, handle: () => void): void {
    wanted &= ~event;
    isInEvent = true;
    handle();
    isInEvent = false;
    if (!isStopped && (wanted !== 0 || hasWaitedToWrite)) poller.poll(wanted);
  }

  function onReadable(error: Error | null): void {
    if (isStopped) return;
    if (error !== null) {
      // A hung-up tty polls as an error. What it still holds is read first.
      readAll();
      return hangUp();
    }
    onEvent(EVENTS.UV_READABLE, swept.readable);
  }

  function onWritable(error: Error | null): void {
    if (isStopped || error !== null) return;
    onEvent(EVENTS.UV_WRITABLE, () => sink.writable());
  }

  function stop(): void {
    if (isStopped) return;
    isStopped = true;
    swept.leave();
    poller.removeAllListeners();
    poller.stop();
  }

  poller.on('readable', onReadable);
  poller.on('writable', onWritable);
  const swept: Swept = options.sweep.join(line);
  swept.readAtOnce(options.isLowLatency);

  return {
    write(bytes) {
      if (isStopped || bytes.length === 0) return 0;
      let count = 0;
      try {
        count = writeSync(fd, bytes);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== 'EAGAIN' && code !== 'EINTR') {
          lastCode = code ?? null;
          setImmediate(hangUp); // never from inside the port's own call
          return 0;
        }
      }
      if (count < bytes.length) {
        hasWaitedToWrite = true;
        want(EVENTS.UV_WRITABLE);
      }
      return count;
    },
    setWatched: (watched) => swept.readAtOnce(watched || options.isLowLatency),
    readAll,
    stop,
  };
}
