import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

/**
 * Reads a small regular file unless it is the version known already; null: it is. Blocks, so it is
 * for files of a few megabytes on a local disk (auth/revocation-file.ts, ReadIfChanged).
 * @throws Error with a reason when it cannot be read or has more than `bytesMax` bytes.
 */
export function readIfChanged(
  path: string,
  knownVersion: string | null,
  bytesMax: number,
): { version: string; bytes: Uint8Array } | null {
  // Without O_NONBLOCK opening a FIFO would wait for its other end.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(file, { bigint: true });
    if (!stat.isFile()) throw new Error('it is not a file');
    if (stat.size > bytesMax) throw new Error(`it has more than ${bytesMax} bytes`);
    const version = [stat.mtimeNs, stat.ctimeNs, stat.size, stat.ino].join(' ');
    return version === knownVersion ? null : { version, bytes: readFileSync(file) };
  } finally {
    closeSync(file);
  }
}
