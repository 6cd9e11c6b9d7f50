import {
  accessSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  statSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { Fault } from '../core/fault.ts';
import {
  BLOCK,
  BLOCKS_MAX,
  BLOCK_BYTES,
  BLOCK_EMPTY,
  BLOCK_HEAD_BYTES,
  ENTRY_HEAD_BYTES,
  FILE_HEADER_BYTES,
  PATTERN,
  encodeSpoolHeader,
  spoolFileBytes,
} from './spool-layout.ts';
import type { SpoolHeader } from './spool-layout.ts';

/** The default of DESIGN 5. */
export const SPOOL_BYTES = 33_554_432;
/** Smaller than this the spool is not worth having. */
export const SPOOL_BYTES_MIN = 2_097_152;
/** What the store may hold at once (4 MiB) beside two blocks for each port. */
const UNDER_WAY_BYTES = 4_194_304;

/** Size of a spool in which each of `ports` has two blocks and the store its share: at least `wished`. */
export function spoolBytesFor(ports: number, wished: number = SPOOL_BYTES): number {
  const bytes = Math.max(wished, SPOOL_BYTES_MIN, 2 * ports * BLOCK_BYTES + UNDER_WAY_BYTES);
  return spoolFileBytes(Math.min(BLOCKS_MAX, Math.ceil(bytes / BLOCK_BYTES)));
}

export interface SpoolPlaces {
  /** Absolute path of the data directory: the last resort. */
  dataDirectory: string;
  /** In order of preference; the default is /run/fairlead, then /dev/shm/fairlead-UID. */
  memoryDirectories?: readonly string[];
}

export interface SpoolPath {
  path: string;
  /** What the operator should know of this choice; null: as it should be. */
  warning: string | null;
}

/**
 * Where the spool of a data directory belongs: in memory that outlives the process, else beside the
 * data. Makes the directory (0700) where it can. A place that already holds this spool goes first,
 * so that a restart under other circumstances still finds what a kill left.
 */
export function spoolPath(dataId: string, places: SpoolPlaces): SpoolPath {
  const name = spoolName(dataId);
  const uid = process.geteuid!();
  const directories = places.memoryDirectories ?? memoryDirectories(uid);
  const refused: string[] = [];
  const usable = directories.filter((directory) => {
    const why = whyUnusable(directory, uid);
    if (why !== null) refused.push(`${directory} ${why}`);
    return why === null;
  });
  const beside = join(places.dataDirectory, name);
  const paths = [...usable.map((directory) => join(directory, name)), beside];
  const path = paths.find((candidate) => isFile(candidate)) ?? paths[0]!;
  if (path !== beside) return { path, warning: null };
  return {
    path,
    warning:
      usable.length > 0
        ? `the spool stays beside the data, where it was; stop the daemon and remove ${path} to move it into memory`
        : `the spool is beside the data and wears its disk: ${refused.join('; ')}`,
  };
}

/**
 * Where a daemon, perhaps another user's, keeps or left the spool of a data directory; null: nowhere.
 * Makes and changes nothing.
 */
export function findSpool(dataId: string, places: SpoolPlaces): string | null {
  const ofData = statSync(places.dataDirectory, { throwIfNoEntry: false })?.uid;
  const owners = [...new Set([process.geteuid!(), ofData ?? 0])];
  for (const uid of owners) {
    for (const directory of places.memoryDirectories ?? memoryDirectories(uid)) {
      const path = join(directory, spoolName(dataId));
      if (isDirectoryOf(directory, owners) && isFile(path)) return path;
    }
  }
  const beside = join(places.dataDirectory, spoolName(dataId));
  return isFile(beside) ? beside : null;
}

/** A spool file open for writing, its room written, its blocks empty; the header is not written yet. */
export interface SpoolFile {
  fd: number;
  blocks: number;
  /** Why it is smaller than wished; null: it is not. */
  warning: string | null;
}

/**
 * Opens or makes the file and writes all of its room: an earlier spool's entries are gone (they must
 * be committed before), its header still stands. Halves the size while the file system has not twice
 * the room, down to 2 MiB.
 * @throws Fault SPOOL_FAILED: not ours, not a file, no permission, no room for 2 MiB.
 */
export function prepareSpoolFile(path: string, wishedBytes: number): SpoolFile {
  const fd = openOwnFile(path);
  try {
    const own = fstatSync(fd).blocks * 512;
    const system = statfsSync(dirname(path));
    let bytes = fittingSpoolBytes(wishedBytes, own + Number(system.bavail) * Number(system.bsize));
    for (;;) {
      const blocks = Math.min(BLOCKS_MAX, Math.floor((bytes - FILE_HEADER_BYTES) / BLOCK_BYTES));
      if (writeEmptyBlocks(fd, blocks)) {
        const isSmaller = bytes < wishedBytes;
        return {
          fd,
          blocks,
          warning: isSmaller
            ? `the spool has ${mebibytes(bytes)} instead of ${mebibytes(wishedBytes)}: ${dirname(path)} has no room for more`
            : null,
        };
      }
      if (bytes / 2 < SPOOL_BYTES_MIN) {
        ftruncateSync(fd, 0);
        throw new Fault('SPOOL_FAILED', `${path}: no room for a spool of 2 MiB; free some space`);
      }
      bytes /= 2;
      // Gives back what was written too much. A header that stands until then was of an empty spool.
      ftruncateSync(fd, FILE_HEADER_BYTES);
    }
  } catch (cause) {
    closeSync(fd);
    if (cause instanceof Fault) throw cause;
    throw new Fault('SPOOL_FAILED', `${path}: ${messageOf(cause)}`, cause);
  }
}

/** The wished size, halved until twice of it fits into `roomBytes` or another half were under 2 MiB. */
export function fittingSpoolBytes(wishedBytes: number, roomBytes: number): number {
  let bytes = Math.max(SPOOL_BYTES_MIN, wishedBytes);
  while (bytes - FILE_HEADER_BYTES > roomBytes / 2 && bytes / 2 >= SPOOL_BYTES_MIN) bytes /= 2;
  return bytes;
}

/** Makes the blocks count: from here on the file is a spool of `header`. */
export function writeSpoolHeader(fd: number, header: SpoolHeader): void {
  writeSync(fd, encodeSpoolHeader(header), 0, FILE_HEADER_BYTES, 0);
  ftruncateSync(fd, spoolFileBytes(header.blocks));
}

/**
 * Opens a file that nobody else can have put there.
 * @throws Fault SPOOL_FAILED
 */
function openOwnFile(path: string): number {
  let fd: number;
  try {
    const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (cause) {
    throw new Fault('SPOOL_FAILED', `cannot open the spool: ${messageOf(cause)}`, cause);
  }
  const stat = fstatSync(fd);
  const wrong = !stat.isFile()
    ? 'is not a file'
    : stat.uid !== process.geteuid!()
      ? `belongs to uid ${stat.uid}`
      : stat.nlink !== 1
        ? 'has another name as well (a hard link)'
        : null;
  if (wrong !== null) {
    closeSync(fd);
    throw new Fault('SPOOL_FAILED', `${path} ${wrong}; remove it`);
  }
  if ((stat.mode & 0o777) !== 0o600) fchmodSync(fd, 0o600);
  return fd;
}

/** False when there is no room. Real writes: a hole under a mapping is a SIGBUS once the disk is full. */
function writeEmptyBlocks(fd: number, blocks: number): boolean {
  const empty = Buffer.from(PATTERN);
  empty.fill(0, 0, BLOCK_HEAD_BYTES + ENTRY_HEAD_BYTES);
  new Int32Array(empty.buffer, empty.byteOffset, 1)[BLOCK.magic] = BLOCK_EMPTY;
  const blocksAtOnce = 64;
  const chunk = Buffer.concat(Array<Buffer>(blocksAtOnce).fill(empty));
  const end = spoolFileBytes(blocks);
  try {
    for (let at = FILE_HEADER_BYTES; at < end;) {
      const from = (at - FILE_HEADER_BYTES) % BLOCK_BYTES; // a short write goes on inside a block
      at += writeSync(fd, chunk, from, Math.min(end - at, chunk.length - from), at);
    }
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOSPC' || code === 'EDQUOT') return false;
    throw error;
  }
}

function memoryDirectories(uid: number): readonly string[] {
  return ['/run/fairlead', `/dev/shm/fairlead-${uid}`];
}

function spoolName(dataId: string): string {
  return `spool-${dataId}.ring`;
}

/** Nobody but these owners can have put a file there. */
function isDirectoryOf(directory: string, owners: readonly number[]): boolean {
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  return (
    stat !== undefined &&
    stat.isDirectory() &&
    owners.includes(stat.uid) &&
    (stat.mode & 0o022) === 0
  );
}

/** Why no spool can be kept in this directory, or null. */
function whyUnusable(directory: string, uid: number): string | null {
  try {
    const isMissing = lstatSync(directory, { throwIfNoEntry: false }) === undefined;
    const type = Number(statfsSync(isMissing ? dirname(directory) : directory).type);
    if (type !== TMPFS_MAGIC && type !== RAMFS_MAGIC) return 'is not in memory (tmpfs)';
    if (isMissing) mkdirSync(directory, { mode: 0o700 });
    const stat = lstatSync(directory);
    if (!stat.isDirectory()) return 'is not a directory';
    if (stat.uid !== uid) return `belongs to uid ${stat.uid}`;
    if ((stat.mode & 0o022) !== 0) return 'may be written by others';
    accessSync(directory, constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    return `cannot be used (${(error as NodeJS.ErrnoException).code})`;
  }
}

/** statfs(2) */
const TMPFS_MAGIC = 0x0102_1994;
const RAMFS_MAGIC = 0x8584_58f6;

function isFile(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
