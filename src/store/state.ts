import { existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Clock, Journal } from '../core/clock.ts';
import { adoptFromLog } from './adopt.ts';
import type { DataDirectory } from './data-directory.ts';
import {
  checkPages,
  damagedDatabase,
  isCorruption,
  openDatabase,
  type Schema,
} from './database.ts';
import { tablesOf, type State } from './tables.ts';

/** Databases up to this size are checked whole at start; it takes a fraction of a second. */
const CHECK_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Opens the state database for its one writer. A corrupt one is moved aside whole, a new one begun,
 * and what the log files know (uuids, epochs, chains) is taken over, so that no address is used
 * twice; the journal says so.
 * @throws Fault STORE_NEWER (nothing is touched then); SQLite's own error when the disk fails.
 */
export function openState(
  directory: DataDirectory,
  schema: Schema,
  clock: Clock,
  journal: Journal,
): State {
  const path = directory.database;
  const existed = existsSync(path);
  let movedTo: string | null = null;
  let state: State | null = null;
  try {
    if (existsSync(damageMark(path))) throw damagedDatabase('found damaged by the last run');
    state = openChecked(path, schema);
  } catch (error) {
    if (!isCorruption(error)) throw error;
    movedTo = moveAside(path, clock);
    journal.error(
      { fault: 'STORE_CORRUPT', file: path, movedTo, err: error },
      'state database corrupt, moved aside, a new one begun',
    );
  }
  state ??= openChecked(path, schema);
  rmSync(damageMark(path), { force: true });
  if (state.meta.get('data-id') === null) {
    const because = movedTo
      ? `the state database was corrupt and was moved to ${basename(movedTo)}`
      : 'the state database was lost';
    const count = adoptFromLog(state, directory, because, journal);
    if (count > 0 && !existed) {
      journal.warn({ ports: count }, 'state database missing, ports taken over from the log files');
    }
    state.meta.set('data-id', directory.id);
  }
  return state;
}

/** Damage met while running: the next start moves the database aside, whatever its size. */
export function markDamaged(path: string): void {
  writeFileSync(damageMark(path), '', { mode: 0o600 });
}

function openChecked(path: string, schema: Schema): State {
  const db = openDatabase(path, schema);
  try {
    if (statSync(path).size <= CHECK_BYTES_MAX) checkPages(db);
    return tablesOf(db);
  } catch (error) {
    db.close();
    throw error;
  }
}

function damageMark(path: string): string {
  return `${path}.damaged`;
}

/** With its WAL: a repair by hand needs both. */
function moveAside(path: string, clock: Clock): string {
  const stamp = new Date(clock.nowUs() / 1000).toISOString().replace(/[:.]/g, '-');
  const target = `${path}.corrupt-${stamp}`;
  for (const suffix of ['', '-wal', '-shm', '-journal']) {
    if (existsSync(path + suffix)) renameSync(path + suffix, target + suffix);
  }
  return target;
}
