import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import SQLite from 'better-sqlite3';
import { Fault } from '../core/fault.ts';

export type Database = SQLite.Database;

/** A kind of database: its migrations and how it is laid out. */
export interface Schema {
  /** Folder of `0001_name.sql`, `0002_name.sql`, ... */
  migrations: string;
  pageBytes: number;
  cacheBytes: number;
  /** Pages in the WAL before a commit checkpoints it. */
  checkpointPages: number;
}

/** The two schemas of a data directory. `migrations`: the package's folder of that name. */
export function schemas(migrations: string): { state: Schema; log: Schema } {
  return {
    state: {
      migrations: join(migrations, 'state'),
      pageBytes: 4096,
      cacheBytes: 8 * 1024 * 1024,
      checkpointPages: 2000,
    },
    log: {
      migrations: join(migrations, 'log'),
      pageBytes: 8192,
      cacheBytes: 2 * 1024 * 1024,
      checkpointPages: 500,
    },
  };
}

/** How long a statement waits for another connection's lock. Readers hold theirs for milliseconds. */
const BUSY_TIMEOUT_MS = 2_000;

/**
 * Opens a database for its one writer: WAL, synchronous=FULL, brought to today's version, each
 * migration in one transaction with its number.
 * @throws Fault STORE_NEWER when a newer Fairlead wrote it (nothing is touched then); SQLite's own
 * error otherwise, see `isCorruption`.
 */
export function openDatabase(path: string, schema: Schema): Database {
  const migrations = listMigrations(schema.migrations);
  if (existsSync(path)) {
    rollBack(path);
    refuseNewer(path, migrations.length);
  }
  const db = new SQLite(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    db.pragma(`page_size = ${schema.pageBytes}`); // before the first page; without effect later
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma(`cache_size = -${schema.cacheBytes / 1024}`);
    db.pragma(`wal_autocheckpoint = ${schema.checkpointPages}`);
    db.pragma(`journal_size_limit = ${64 * 1024 * 1024}`);
    db.pragma('foreign_keys = ON');
    for (let number = versionOf(db) + 1; number <= migrations.length; number++) {
      db.transaction(() => {
        db.exec(readFileSync(migrations[number - 1]!, 'utf8'));
        db.pragma(`user_version = ${number}`);
      }).immediate();
    }
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Opens a database that another connection, thread or process may be writing.
 * @throws SQLite's own error.
 */
export function openReadOnly(path: string): Database {
  const db = new SQLite(path, { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
  db.pragma('cache_size = -4096');
  return db;
}

/**
 * Undoes what a power cut left half done while the database was not in WAL: when it was made, or
 * left WAL at a stop. Until then it can only be opened for writing.
 * @throws SQLite's own error.
 */
export function rollBack(path: string): void {
  if (!existsSync(journalOf(path))) return;
  const db = new SQLite(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    versionOf(db); // the first read does it
  } finally {
    db.close();
  }
}

/** The rollback journal beside a database: there while a change is under way, or was. */
export function journalOf(path: string): string {
  return `${path}-journal`;
}

/** How many migrations a database has seen; 0: empty. */
export function versionOf(db: Database): number {
  return db.pragma('user_version', { simple: true }) as number;
}

/**
 * Looks at every page. Takes a fraction of a second for 64 MB.
 * @throws an error that `isCorruption` knows.
 */
export function checkPages(db: Database): void {
  const found = db.pragma('quick_check(1)', { simple: true }) as string;
  if (found !== 'ok') throw damagedDatabase(found);
}

/** An error that `isCorruption` knows. */
export function damagedDatabase(what: string): Error {
  return new SQLite.SqliteError(what, 'SQLITE_CORRUPT');
}

/** True for what SQLite says of the disk and its files; false for our own mistakes. */
export function isSqliteError(error: unknown): boolean {
  return error instanceof SQLite.SqliteError;
}

/** True for what no retry heals: the file is no database, or its pages make no sense. */
export function isCorruption(error: unknown): boolean {
  return (
    error instanceof SQLite.SqliteError &&
    (error.code.startsWith('SQLITE_CORRUPT') || error.code === 'SQLITE_NOTADB')
  );
}

/** True when another connection holds the lock. */
export function isBusy(error: unknown): boolean {
  return error instanceof SQLite.SqliteError && error.code.startsWith('SQLITE_BUSY');
}

function refuseNewer(path: string, known: number): void {
  const db = new SQLite(path, { readonly: true, timeout: BUSY_TIMEOUT_MS });
  try {
    const version = versionOf(db);
    if (version <= known) return;
    throw new Fault(
      'STORE_NEWER',
      `${path} was written by a newer Fairlead (version ${version}, this one knows ${known}); ` +
        'run that one, or name another data directory',
    );
  } finally {
    db.close();
  }
}

function listMigrations(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => /^\d{4}_.+\.sql$/.test(name));
  names.sort();
  names.forEach((name, index) => {
    assert(Number(name.slice(0, 4)) === index + 1, `${folder} has no gap and no number twice`);
  });
  return names.map((name) => join(folder, name));
}
