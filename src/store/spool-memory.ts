import { readSync, writeSync } from 'node:fs';
import type { Libc } from '../core/libc.ts';

/** The spool's bytes as one thread sees them: the file mapped, or a copy kept in step with it. */
export interface SpoolMemory {
  readonly buffer: Buffer;
  /** A store into `buffer` is in the file at once, so it outlives the process. */
  readonly isMapped: boolean;
  /** Capture wrote here: brings it into the file. */
  written(start: number, length: number): void;
  /** The store is about to read here: brings it from the file. */
  refresh(start: number, length: number): void;
}

/**
 * The whole file, shared. Its room must have been written before: a page that tmpfs cannot give is
 * a SIGBUS. The descriptor may be closed afterwards.
 */
export function mapMemory(libc: Libc, fd: number, bytes: number): SpoolMemory {
  return {
    buffer: libc.mapShared(fd, bytes),
    isMapped: true,
    written: () => undefined,
    refresh: () => undefined,
  };
}

/**
 * Without a mapping: one write for each entry, one read for what the store takes of a block. Costs
 * some 1.6 us each, and a read(2) of the device that a kill cuts short is lost.
 */
export function copyMemory(fd: number, bytes: number): SpoolMemory {
  const buffer = Buffer.alloc(bytes);
  return {
    buffer,
    isMapped: false,
    written(start, length) {
      for (let done = 0; done < length;) {
        done += writeSync(fd, buffer, start + done, length - done, start + done);
      }
    },
    refresh(start, length) {
      for (let done = 0; done < length;) {
        const count = readSync(fd, buffer, start + done, length - done, start + done);
        if (count === 0) throw new Error('the spool became shorter');
        done += count;
      }
    },
  };
}
