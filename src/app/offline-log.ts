import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { dataPaths, readDataId } from '../store/data-directory.ts';
import { openLogCopy } from '../store/log-copy.ts';
import { openLogFiles, type LogFiles } from '../store/log-files.ts';
import { findSpool } from '../store/spool-file.ts';
import { recoverSpool } from '../store/spool-recovery.ts';
import { packageRoot } from './package-files.ts';

/**
 * The log of a data directory whose daemon does not run, or does not answer: a copy of the state
 * database, the log files as they are, and what only the spool holds. Changes nothing on disk.
 * @throws Fault NOT_FOUND.
 */
export function openOfflineLog(data: string): LogFiles {
  const paths = dataPaths(data);
  const id = readDataId(paths.path);
  const recovered = id === null ? null : spoolOf(paths.path, id);
  return openLogCopy(paths.path, join(packageRoot(), 'migrations'), recovered);
}

/** For `verify`: in place where that can be done without writing, so that a large log is not copied. */
export function openLogInPlace(data: string): LogFiles {
  const paths = dataPaths(data);
  try {
    accessSync(paths.path, constants.W_OK);
  } catch {
    return openOfflineLog(data);
  }
  return isCutOff(paths.log) ? openOfflineLog(data) : openLogFiles(paths, null);
}

/** True when a log file was leaving WAL as the power went: only a copy can be made readable. */
function isCutOff(folder: string): boolean {
  return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('-journal'));
}

function spoolOf(path: string, dataId: string): ReturnType<typeof recoverSpool> | null {
  const spool = findSpool(dataId, { dataDirectory: path });
  if (spool === null) return null;
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return recoverSpool(spool, { dataId, bootId });
}
