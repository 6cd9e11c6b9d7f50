import assert from 'node:assert/strict';
import { closeSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Libc } from '../../src/core/libc.ts';
import { loadLibc } from '../../src/native/libc.ts';

/** The C library, or the test fails: a test that needs a pty must not pass without one. */
export async function requireLibc(): Promise<Libc> {
  const libc = await loadLibc();
  assert.ok(libc !== null, 'koffi is installed where the tests run');
  return libc;
}

/** Waits for a condition of the outside world; the deadline is only a safety net. */
export async function until(
  condition: () => boolean,
  what: string,
  deadlineMs = 20_000,
): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${deadlineMs} ms for ${what}`);
    await sleep(1);
  }
}

/** The far end of a line: a test plays the device on the master of a pty. */
export interface PtyDevice {
  readonly masterFd: number;
  /** What a backend opens. */
  readonly path: string;
  /** Sends all of it, at the pace the line takes it. */
  readonly send: (bytes: Uint8Array) => Promise<void>;
  /** What has come so far and was not read yet, or that much of it; empty when nothing has. */
  readonly receive: (bytesMax?: number) => Buffer;
  /** The device is unplugged. */
  readonly close: () => void;
}

/** `isTerminal`: with echo, line editing and signals, for a person's program instead of a backend. */
export function makePtyDevice(libc: Libc, isTerminal = false): PtyDevice {
  const { masterFd, slavePath } = libc.openPty(80, 24);
  if (!isTerminal) libc.makeRaw(masterFd); // acts on the pair: no echo before the slave is opened
  let isClosed = false;
  return {
    masterFd,
    path: slavePath,
    async send(bytes) {
      for (let sent = 0; sent < bytes.length;) {
        const count = isClosed ? bytes.length : tryWrite(masterFd, bytes.subarray(sent));
        if (count === 0) await sleep(1);
        sent += count;
      }
    },
    receive(bytesMax = Number.POSITIVE_INFINITY) {
      const parts: Buffer[] = [];
      for (let left = bytesMax; ; left -= parts.at(-1)!.length) {
        const buffer = Buffer.allocUnsafe(Math.min(65_536, left));
        const count = isClosed ? 0 : tryRead(masterFd, buffer);
        if (count === 0) return Buffer.concat(parts);
        parts.push(buffer.subarray(0, count));
      }
    },
    close() {
      if (!isClosed) closeSync(masterFd);
      isClosed = true;
    },
  };
}

function tryWrite(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
    throw error;
  }
}

/** EIO: nobody holds the slave at the moment. */
function tryRead(fd: number, buffer: Buffer): number {
  try {
    return readSync(fd, buffer);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN' || code === 'EIO') return 0;
    throw error;
  }
}
