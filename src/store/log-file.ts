import { chmodSync } from 'node:fs';
import { basename } from 'node:path';
import { isBusy, openDatabase, type Database, type Schema } from './database.ts';
import type { CheckpointHead, SigningKey } from './signing.ts';
import type { SegmentPlace, StoredSegment } from './segment.ts';
import type { SessionRow } from './sessions.ts';

/** A port as a log file knows it. */
export interface LogFilePort {
  uuid: string;
  name: string;
  backend: string;
}

export interface NewSegment {
  port: LogFilePort;
  segment: StoredSegment;
  /** Sessions that the segment's records speak of. */
  sessions: readonly SessionRow[];
}

export interface LogFileOrigin {
  dataId: string;
  /** Name of the log file before this one; null: the first. */
  previous: string | null;
  beganUs: number;
}

/**
 * A log file being written. With log-file-reader.ts the only file that knows its tables. Every call
 * is one transaction, durable on return.
 */
export class LogFile {
  readonly name: string;
  readonly #path: string;
  readonly #db: Database;
  readonly #append: (segments: readonly NewSegment[]) => number[];
  readonly #savePorts: (ports: readonly LogFilePort[]) => void;
  readonly #addCheckpoint: (
    atUs: number,
    heads: readonly CheckpointHead[],
    key: string,
    signature: Buffer,
  ) => void;
  readonly #setMeta: (key: string, value: string) => void;
  /** Ports as they stand in the file, by uuid. */
  readonly #ports = new Map<string, LogFilePort & { local: number }>();

  /** Opens a log file to append to it; `origin` is written when it is a new one. */
  constructor(path: string, schema: Schema, origin: LogFileOrigin, key: SigningKey) {
    this.name = basename(path);
    this.#path = path;
    const db = openDatabase(path, schema);
    this.#db = db;
    const setMeta = db.prepare<[string, string]>(
      'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING',
    );
    this.#setMeta = (name, value) => void setMeta.run(name, value);
    db.transaction(() => {
      setMeta.run('data_id', origin.dataId);
      setMeta.run('began_us', String(origin.beganUs));
      setMeta.run('previous', origin.previous ?? '');
      setMeta.run(`key ${key.id}`, key.publicKey);
    }).immediate();
    this.#readPorts();

    const insert = db.prepare<unknown[]>(
      `INSERT INTO segment (port, epoch, first_seq, last_seq, offset, end_offset, first_us, last_us,
         records, frame_bytes, codec, previous_hash, hash, data)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    const addSpan = spanWriter(db);
    const saveSession = sessionWriter(db);
    this.#append = db.transaction((segments: readonly NewSegment[]) =>
      segments.map(({ port, segment, sessions }) => {
        const local = this.#local(port);
        addSpan(local, segment);
        for (const session of sessions) saveSession(local, session);
        const { lastInsertRowid } = insert.run(
          local,
          segment.epoch,
          segment.firstSeq,
          segment.lastSeq,
          segment.offset,
          segment.endOffset,
          segment.firstUs,
          segment.lastUs,
          segment.records,
          segment.frameBytes,
          segment.codec,
          segment.previousHash,
          segment.hash,
          segment.data,
        );
        return Number(lastInsertRowid);
      }),
    );
    this.#savePorts = db.transaction((ports: readonly LogFilePort[]) => {
      for (const port of ports) this.#local(port);
    });
    const insertHead = db.prepare<[number, number, number, Buffer]>(
      'INSERT OR REPLACE INTO checkpoint (at_us, port, segment, hash) VALUES (?, ?, ?, ?)',
    );
    const insertSignature = db.prepare<[number, string, Buffer]>(
      'INSERT OR REPLACE INTO signature (at_us, key_id, signature) VALUES (?, ?, ?)',
    );
    this.#addCheckpoint = db.transaction(
      (atUs: number, heads: readonly CheckpointHead[], keyId: string, signature: Buffer) => {
        for (const head of heads) {
          const local = this.#ports.get(head.uuid)?.local;
          if (local !== undefined) insertHead.run(atUs, local, head.segment, head.hash);
        }
        insertSignature.run(atUs, keyId, signature);
      },
    );
  }

  /** Adds segments in their order and returns their ids. All or none. */
  append(segments: readonly NewSegment[]): number[] {
    try {
      return this.#append(segments);
    } catch (error) {
      this.#readPorts(); // what the transaction added to the list is not in the file
      throw error;
    }
  }

  /** Writes ports, so that their uuids outlive the state database even if nothing is sealed yet. */
  savePorts(ports: readonly LogFilePort[]): void {
    try {
      this.#savePorts(ports);
    } catch (error) {
      this.#readPorts();
      throw error;
    }
  }

  addCheckpoint(
    atUs: number,
    heads: readonly CheckpointHead[],
    keyId: string,
    signature: Buffer,
  ): void {
    this.#addCheckpoint(atUs, heads, keyId, signature);
  }

  /** Size of the file without its WAL. */
  bytes(): number {
    const pages = this.#db.pragma('page_count', { simple: true }) as number;
    return pages * (this.#db.pragma('page_size', { simple: true }) as number);
  }

  /**
   * Makes the file one that is never altered again: no WAL beside it, read-only. False when a reader
   * still holds it; to be tried again.
   */
  finish(finishedUs: number): boolean {
    this.#setMeta('finished_us', String(finishedUs));
    if (!this.#leaveWal()) return false;
    this.#db.close();
    chmodSync(this.#path, 0o440);
    return true;
  }

  /** Closes an unfinished file; without the WAL where no reader prevents it. */
  close(): void {
    this.#leaveWal();
    this.#db.close();
  }

  /** Lets go of a damaged file without another write. */
  abandon(): void {
    this.#db.close();
  }

  #leaveWal(): boolean {
    const timeout = this.#db.pragma('busy_timeout', { simple: true }) as number;
    try {
      this.#db.pragma('busy_timeout = 0');
      this.#db.pragma('wal_checkpoint(TRUNCATE)');
      return this.#db.pragma('journal_mode = DELETE', { simple: true }) === 'delete';
    } catch (error) {
      if (isBusy(error)) return false;
      throw error;
    } finally {
      this.#db.pragma(`busy_timeout = ${timeout}`);
    }
  }

  #readPorts(): void {
    const rows = this.#db
      .prepare<[], LogFilePort & { local: number }>(
        'SELECT port AS local, uuid, name, backend FROM port',
      )
      .all();
    this.#ports.clear();
    for (const row of rows) this.#ports.set(row.uuid, row);
  }

  /** The port's number in this file; adds it or brings name and backend up to date. */
  #local(port: LogFilePort): number {
    const known = this.#ports.get(port.uuid);
    if (known && known.name === port.name && known.backend === port.backend) return known.local;
    const local = this.#db
      .prepare<[string, string, string], number>(
        `INSERT INTO port (uuid, name, backend) VALUES (?, ?, ?)
         ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, backend = excluded.backend
         RETURNING port`,
      )
      .pluck()
      .get(port.uuid, port.name, port.backend)!;
    this.#ports.set(port.uuid, { ...port, local });
    return local;
  }
}

/** Lengthens the port's last span, or begins one where seq, epoch or time does not go on. */
function spanWriter(db: Database): (port: number, place: SegmentPlace) => void {
  const selectLast = db.prepare<[number], SegmentPlace>(
    `SELECT epoch, first_seq AS firstSeq, last_seq AS lastSeq, last_us AS lastUs FROM span
     WHERE port = ? ORDER BY epoch DESC, first_seq DESC LIMIT 1`,
  );
  const lengthen = db.prepare<[number, number, number, number, number, number]>(
    `UPDATE span SET last_seq = ?, end_offset = ?, last_us = ?, segments = segments + 1
     WHERE port = ? AND epoch = ? AND first_seq = ?`,
  );
  const insert = db.prepare<unknown[]>(
    `INSERT INTO span (port, epoch, first_seq, last_seq, offset, end_offset, first_us, last_us, segments)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)`,
  );
  return (port, place) => {
    const { epoch, firstSeq, lastSeq, offset, endOffset, firstUs, lastUs } = place;
    const last = selectLast.get(port);
    if (last?.epoch === epoch && last.lastSeq + 1 === firstSeq && last.lastUs <= firstUs) {
      lengthen.run(lastSeq, endOffset, lastUs, port, epoch, last.firstSeq);
    } else {
      insert.run(port, epoch, firstSeq, lastSeq, offset, endOffset, firstUs, lastUs);
    }
  };
}

function sessionWriter(db: Database): (port: number, row: SessionRow) => void {
  const upsert = db.prepare<unknown[]>(
    `INSERT INTO session (session, port, user, remote, frontend, attached_us, detached_us)
     VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET detached_us = excluded.detached_us`,
  );
  return (port, row) =>
    void upsert.run(
      row.session,
      port,
      row.user,
      row.remote,
      row.frontend,
      row.attachedUs,
      row.detachedUs,
    );
}
