import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Journal } from '../core/clock.ts';
import { syncFolder } from './data-directory.ts';
import { isCorruption, rollBack, type Schema } from './database.ts';
import { LogFile, type LogFilePort, type NewSegment } from './log-file.ts';
import { LogFileReader, UnbornLogFile } from './log-file-reader.ts';
import type { LogFileRow } from './sealed-heads.ts';
import { checkpointText, type CheckpointHead, type SigningKey } from './signing.ts';

/** A signed checkpoint, as the journal keeps it for a witness. */
export interface CheckpointLine {
  file: string;
  atUs: number;
  ports: number;
  keyId: string;
  /** Hex sha256 of the signed text. */
  digest: string;
  /** Base64. */
  signature: string;
}

export interface LogShelfParts {
  /** `log/` of the data directory. */
  folder: string;
  dataId: string;
  schema: Schema;
  key: SigningKey;
  clock: Clock;
  journal: Journal;
  /** A new file is begun beyond this. */
  fileBytesMax: number;
  /** Takes changes of the catalogue, to be written with the next commit. */
  onFile(row: LogFileRow): void;
  onCheckpoint(line: CheckpointLine): void;
}

/** Size at which a day's log file is full. */
export const LOG_FILE_BYTES_MAX = 2 * 1024 ** 3;

const FILE_NAME = /^(\d{4}-\d\d-\d\d)(?:-(\d+))?\.db$/;

/** Names of the log files in a folder, by day and number. */
export function listLogFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => FILE_NAME.test(name));
  const key = (name: string): [string, number] => {
    const match = FILE_NAME.exec(name)!;
    return [match[1]!, Number(match[2] ?? 1)];
  };
  return names.sort((a, b) => {
    const [dayA, numberA] = key(a);
    const [dayB, numberB] = key(b);
    return dayA === dayB ? numberA - numberB : dayA < dayB ? -1 : 1;
  });
}

/** Makes log files readable again that a power cut caught on their way out of WAL. */
export function rollBackLogFiles(folder: string, journal: Journal): void {
  for (const name of listLogFiles(folder)) {
    try {
      rollBack(join(folder, name));
    } catch (error) {
      journal.error({ file: name, err: error }, 'log file not rolled back');
    }
  }
}

/**
 * The log files as the store writes them: one is current, by the UTC day of sealing and by size;
 * the ones before are finished, never to be altered again.
 */
export class LogShelf {
  readonly #parts: LogShelfParts;
  /** Names that were ever used: none is used twice. */
  readonly #known = new Map<string, LogFileRow>();
  #current: LogFile | null = null;
  /** Done with, but a reader still holds them. */
  #unfinished: LogFile[] = [];
  #pendingHeads = new Map<string, CheckpointHead>();

  /** `catalogue`: the files the state database knows. */
  constructor(parts: LogShelfParts, catalogue: readonly LogFileRow[]) {
    this.#parts = parts;
    for (const row of catalogue) this.#known.set(row.name, row);
    const open: { name: string; beganUs: number }[] = [];
    for (const name of listLogFiles(parts.folder)) {
      if (this.#known.get(name)?.finishedUs) continue;
      const found = this.#inspect(name);
      if (found) open.push(found);
    }
    open.sort((a, b) => a.beganUs - b.beganUs);
    for (const { name, beganUs } of open) {
      this.#retire();
      try {
        this.#current = this.#open(name, beganUs, null);
      } catch (error) {
        if (!isCorruption(error)) throw error;
        parts.journal.error({ file: name, err: error }, 'log file damaged, another begun');
        this.#note({ name, beganUs, finishedUs: Math.trunc(parts.clock.nowUs()) });
      }
    }
    this.tidy();
  }

  /**
   * Adds segments in one transaction, durable on return, and returns the name of their file.
   * @throws SQLite's own error; nothing was added then.
   */
  append(segments: readonly NewSegment[]): string {
    const file = this.#writable();
    let ids: number[];
    try {
      ids = file.append(segments);
    } catch (error) {
      if (isCorruption(error)) this.#abandon(file, error);
      throw error;
    }
    segments.forEach(({ port, segment }, index) => {
      const { uuid } = port;
      this.#pendingHeads.set(uuid, { uuid, segment: ids[index]!, hash: segment.hash });
    });
    return file.name;
  }

  /** Writes ports into the current file, so that their uuids outlive the state database. */
  savePorts(ports: readonly LogFilePort[]): void {
    this.#writable().savePorts(ports);
  }

  /** Signs the chains that grew since the last checkpoint, if any did. */
  checkpoint(): void {
    const heads = [...this.#pendingHeads.values()];
    if (heads.length === 0 || this.#current === null) return;
    const { key, dataId, clock } = this.#parts;
    const file = this.#current.name;
    const atUs = Math.trunc(clock.nowUs());
    const text = checkpointText(dataId, file, atUs, heads);
    const signature = key.sign(text);
    this.#current.addCheckpoint(atUs, heads, key.id, signature);
    this.#pendingHeads.clear();
    this.#parts.onCheckpoint({
      file,
      atUs,
      ports: heads.length,
      keyId: key.id,
      digest: createHash('sha256').update(text).digest('hex'),
      signature: signature.toString('base64'),
    });
  }

  /** Finishes what readers held before. */
  tidy(): void {
    this.#unfinished = this.#unfinished.filter((file) => !this.#finish(file));
  }

  /** Signs, and closes everything. */
  close(): void {
    this.checkpoint();
    this.tidy();
    for (const file of this.#unfinished) file.close();
    this.#current?.close();
    this.#unfinished = [];
    this.#current = null;
  }

  #writable(): LogFile {
    const { clock, fileBytesMax, folder } = this.#parts;
    const today = new Date(clock.nowUs() / 1000).toISOString().slice(0, 10);
    const current = this.#current;
    if (current?.name.startsWith(today) && current.bytes() < fileBytesMax) return current;
    let name = `${today}.db`;
    for (let number = 2; this.#known.has(name) || existsSync(join(folder, name)); number++) {
      name = `${today}-${number}.db`;
    }
    this.checkpoint();
    const next = this.#open(name, Math.trunc(clock.nowUs()), current?.name ?? this.#newest());
    syncFolder(folder);
    this.#retire();
    this.#current = next;
    return next;
  }

  #open(name: string, beganUs: number, previous: string | null): LogFile {
    const { folder, schema, dataId, key } = this.#parts;
    const origin = { dataId, previous, beganUs };
    const file = new LogFile(join(folder, name), schema, origin, key);
    this.#note({ name, beganUs, finishedUs: null });
    return file;
  }

  /** The current file, if any, is current no more. */
  #retire(): void {
    if (this.#current === null) return;
    const file = this.#current;
    this.#current = null;
    if (!this.#finish(file)) this.#unfinished.push(file);
  }

  #finish(file: LogFile): boolean {
    const nowUs = Math.trunc(this.#parts.clock.nowUs());
    if (!file.finish(nowUs)) return false;
    this.#note({ ...this.#known.get(file.name)!, finishedUs: nowUs });
    this.#parts.journal.info({ file: file.name }, 'log file finished');
    return true;
  }

  /** A damaged file is left as it is, for `verify` to name, and never written again. */
  #abandon(file: LogFile, error: unknown): void {
    this.#parts.journal.error({ file: file.name, err: error }, 'log file damaged, another begun');
    this.#current = null;
    this.#pendingHeads.clear();
    this.#note({
      ...this.#known.get(file.name)!,
      finishedUs: Math.trunc(this.#parts.clock.nowUs()),
    });
    file.abandon();
  }

  #note(row: LogFileRow): void {
    this.#known.set(row.name, row);
    this.#parts.onFile(row);
  }

  /** Looks into a file that is not known to be finished. */
  #inspect(name: string): { name: string; beganUs: number } | null {
    const path = join(this.#parts.folder, name);
    try {
      const reader = new LogFileReader(path);
      try {
        const beganUs = Number(reader.meta('began_us') ?? 0);
        if (!reader.isFinished) return { name, beganUs };
        this.#note({ name, beganUs, finishedUs: Number(reader.meta('finished_us')) });
        return null;
      } finally {
        reader.close();
      }
    } catch (error) {
      if (error instanceof UnbornLogFile && !this.#known.has(name)) {
        return { name, beganUs: Math.trunc(this.#parts.clock.nowUs()) };
      }
      this.#parts.journal.error({ file: name, err: error }, 'log file unreadable, left alone');
      return null;
    }
  }

  #newest(): string | null {
    const rows = [...this.#known.values()].sort((a, b) => a.beganUs - b.beganUs);
    return rows.at(-1)?.name ?? null;
  }
}
