import { randomUUID } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { Libc } from '../core/libc.ts';

/** Where everything of a data directory lies. */
export interface DataPaths {
  path: string;
  database: string;
  log: string;
  keys: string;
  index: string;
}

/** A data directory held by this process until `release`. */
export interface DataDirectory extends DataPaths {
  /** Made once; also names the spool, the socket and the log files. */
  id: string;
  release(): void;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Where things lie in `path`, which need not exist. */
export function dataPaths(path: string): DataPaths {
  const absolute = resolve(path);
  return {
    path: absolute,
    database: join(absolute, 'fairlead.db'),
    log: join(absolute, 'log'),
    keys: join(absolute, 'keys'),
    index: join(absolute, 'index'),
  };
}

/** The id of an existing data directory; null when it has none. */
export function readDataId(path: string): string | null {
  const file = join(resolve(path), 'data-id');
  if (!existsSync(file)) return null;
  const id = readFileSync(file, 'utf8').trim();
  return UUID.test(id) ? id : null;
}

/**
 * Makes the directory where it is missing and takes it for this process. Without `libc` (no koffi)
 * the lock is the living process whose number the file holds: good against mistakes, not races.
 * @throws Fault STORE_IN_USE with the other daemon's pid; STORE_FAILED when it cannot be made or
 * written, or when a symbolic link stands where a file of ours belongs.
 */
export function openDataDirectory(path: string, libc: Libc | null): DataDirectory {
  const paths = dataPaths(path);
  const lockPath = join(paths.path, 'lock');
  const idPath = join(paths.path, 'data-id');
  try {
    mkdirSync(dirname(paths.path), { recursive: true });
    for (const folder of [paths.path, paths.log, paths.keys, paths.index]) makeFolder(folder);
    for (const file of [lockPath, idPath, paths.database]) refuseLink(file);
    const lock = takeLock(lockPath, paths.path, libc);
    try {
      const id = readDataId(paths.path) ?? makeId(idPath);
      return { ...paths, id, release: () => closeSync(lock) };
    } catch (error) {
      closeSync(lock);
      throw error;
    }
  } catch (error) {
    if (error instanceof Fault) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new Fault(
      'STORE_FAILED',
      `the data directory ${paths.path} cannot be used: ${reason}`,
      error,
    );
  }
}

/** Makes what was renamed or created in a folder survive a power cut. */
export function syncFolder(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Writes a file whole or not at all, durable on return. */
export function writeFileOnce(path: string, text: string, mode: number): void {
  const draft = `${path}.new`;
  const fd = openSync(
    draft,
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
    mode,
  );
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(draft, path);
  syncFolder(dirname(path));
}

function makeFolder(path: string): void {
  refuseLink(path);
  if (existsSync(path)) return;
  mkdirSync(path, { mode: 0o700 });
  chmodSync(path, 0o700); // whatever the umask
}

function refuseLink(path: string): void {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) return;
  throw new Fault(
    'STORE_FAILED',
    `${path} is a symbolic link; put the real path into "data:", or move the file here`,
  );
}

function makeId(path: string): string {
  const id = randomUUID();
  writeFileOnce(path, `${id}\n`, 0o600);
  return id;
}

function takeLock(path: string, folder: string, libc: Libc | null): number {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
  const fd = openSync(path, flags, 0o600);
  try {
    const holder = readFileSync(path, 'utf8').trim();
    const isFree = libc ? libc.lockExclusive(fd) : !isAlive(Number(holder));
    if (!isFree) {
      throw new Fault(
        'STORE_IN_USE',
        `another daemon (pid ${holder || 'unknown'}) uses ${folder}; stop it, or name another directory in "data:"`,
      );
    }
    if (fstatSync(fd).size > 0) ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`, 0);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
