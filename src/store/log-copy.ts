import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { RecoveredSpool } from '../core/store.ts';
import { dataPaths } from './data-directory.ts';
import { isCorruption, journalOf, openDatabase, rollBack, schemas } from './database.ts';
import { LogFiles } from './log-files.ts';
import { listLogFiles } from './log-shelf.ts';

const COPY_TRIES = 5;
/** What SQLite needs beside a database to read it: at most one of the latter two is there. */
const SUFFIXES = ['', '-wal', '-journal'];

/**
 * Reads the log of a data directory that no daemon uses, without writing a byte to it: read-only
 * media, too. The state database and the log file of a daemon that was killed are copied with their
 * WAL to a temporary directory, which `close` removes; finished log files are read in place.
 * `recovered`: the spool of that daemon, if there is one with this directory's id.
 * @throws Fault NOT_FOUND when there is no log at `dataDir`; STORE_NEWER.
 */
export function openLogCopy(
  dataDir: string,
  migrations: string,
  recovered: RecoveredSpool | null,
): LogFiles {
  const paths = dataPaths(dataDir);
  if (!existsSync(paths.database) && listLogFiles(paths.log).length === 0) {
    throw new Fault('NOT_FOUND', `${paths.path} is not a data directory: it holds no log`);
  }
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    const database = copyState(paths.database, folder, migrations);
    const files = new LogFiles({
      folder: paths.log,
      pathOf: (name) => readablePath(join(paths.log, name), folder),
      database,
      signal: null,
      onClose: remove,
    });
    if (recovered) files.addRecovered(recovered);
    return files;
  } catch (error) {
    remove();
    throw error;
  }
}

/** A copy of the state database, brought to today's version; null when there is none to read. */
function copyState(path: string, folder: string, migrations: string): string | null {
  if (!existsSync(path)) return null;
  const copy = copyWithWal(path, folder);
  try {
    openDatabase(copy, schemas(migrations).state).close();
    return copy;
  } catch (error) {
    if (!isCorruption(error)) throw error;
    return null;
  }
}

/** The file itself when SQLite can read it where it lies, else a copy. */
function readablePath(path: string, folder: string): string {
  if (!isInWal(path) && !existsSync(journalOf(path))) return path;
  const copy = copyWithWal(path, folder);
  rollBack(copy);
  return copy;
}

/** SQLite's file header: byte 18 is 2 for WAL (sqlite.org/fileformat.html, section 1.3.3). */
function isInWal(path: string): boolean {
  const header = Buffer.alloc(20);
  const fd = openSync(path, 'r');
  try {
    return readSync(fd, header, 0, header.length, 0) === header.length && header[18] === 2;
  } finally {
    closeSync(fd);
  }
}

/** Copies a database and its WAL or journal as they were at one moment, should somebody write them after all. */
function copyWithWal(path: string, folder: string): string {
  const copy = join(folder, basename(path));
  for (let tries = 1; ; tries++) {
    const before = stampOf(path);
    for (const suffix of SUFFIXES) {
      rmSync(copy + suffix, { force: true });
      if (existsSync(path + suffix)) {
        copyFileSync(path + suffix, copy + suffix, constants.COPYFILE_FICLONE);
      }
    }
    if (stampOf(path) === before || tries === COPY_TRIES) return copy;
  }
}

function stampOf(path: string): string {
  return SUFFIXES.map((suffix) => statSync(path + suffix, { throwIfNoEntry: false, bigint: true }))
    .map((stat) => `${stat?.size} ${stat?.mtimeNs}`)
    .join();
}
