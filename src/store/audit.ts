import { createHash } from 'node:crypto';
import type { AuditRow } from '../core/store.ts';
import type { Database } from './database.ts';

interface StoredAuditRow extends AuditRow {
  id: number;
  hash: Buffer;
}

/** The audit trail, a chain of hashes. The only file that knows the table `audit`. */
export class Audit {
  /** To be called within a transaction. */
  readonly append: (row: AuditRow) => void;
  /** Rows after `id`, oldest first. */
  readonly after: (id: number, rowsMax: number) => AuditRow[];
  /** The id of the first row that does not follow from the ones before it; null: all do. */
  readonly firstBroken: () => number | null;

  constructor(db: Database) {
    const columns = 'id, at_us AS atUs, user, remote, frontend, action, port, detail, hash';
    const selectLast = db
      .prepare<[], Buffer>('SELECT hash FROM audit ORDER BY id DESC LIMIT 1')
      .pluck();
    const insert = db.prepare<AuditRow & { hash: Buffer }>(
      `INSERT INTO audit (at_us, user, remote, frontend, action, port, detail, hash)
       VALUES (@atUs, @user, @remote, @frontend, @action, @port, @detail, @hash)`,
    );
    const select = db.prepare<[number, number], StoredAuditRow>(
      `SELECT ${columns} FROM audit WHERE id > ? ORDER BY id LIMIT ?`,
    );
    const selectAll = db.prepare<[], StoredAuditRow>(`SELECT ${columns} FROM audit ORDER BY id`);

    this.append = (row) => {
      const fields = plainRow(row);
      insert.run({ ...fields, hash: auditHash(selectLast.get() ?? FIRST_HASH, fields) });
    };
    this.after = (id, rowsMax) => select.all(id, rowsMax).map(plainRow);
    this.firstBroken = () => {
      let previous = FIRST_HASH;
      let nextId = 1;
      for (const row of selectAll.iterate()) {
        if (row.id !== nextId || !row.hash.equals(auditHash(previous, plainRow(row)))) {
          return nextId;
        }
        previous = row.hash;
        nextId = row.id + 1;
      }
      return null;
    };
  }
}

const FIRST_HASH: Buffer = Buffer.alloc(32);

function plainRow(row: AuditRow): AuditRow {
  const { atUs, user, remote, frontend, action, port, detail } = row;
  return { atUs: Math.trunc(atUs), user, remote, frontend, action, port, detail };
}

function auditHash(previous: Buffer, row: AuditRow): Buffer {
  const text = JSON.stringify([
    row.atUs,
    row.user,
    row.remote,
    row.frontend,
    row.action,
    row.port,
    row.detail,
  ]);
  return createHash('sha256').update(previous).update(text).digest();
}
