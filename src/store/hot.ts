import assert from 'node:assert/strict';
import type { Frame } from '../log/recorder.ts';
import type { Database } from './database.ts';

/** A hot row without its frame. */
export interface HotPlace {
  id: number;
  port: number;
  epoch: number;
  firstSeq: number;
  lastSeq: number;
  offset: number;
  endOffset: number;
  firstUs: number;
  lastUs: number;
  bytes: number;
}

/** Records not yet sealed, append-only. The only file that knows the table `hot`. */
export class HotRecords {
  /** Rows after `id`, oldest first, without touching their frames. */
  readonly after: (id: number) => IterableIterator<HotPlace>;
  /** One row's frame; null: sealed and deleted meanwhile. */
  readonly frame: (id: number) => Buffer | null;
  /** One row as it was appended; null: deleted. */
  readonly row: (id: number) => Frame | null;
  /** The oldest row left; null: none. */
  readonly oldestId: () => number | null;
  /** Appends a frame and returns its id. To be called within a transaction. */
  readonly append: (frame: Frame) => number;
  /** Deletes every row up to and with `id`. */
  readonly deleteThrough: (id: number) => void;

  /** `write` false: for a connection that only reads. */
  constructor(db: Database, write = true) {
    const scan = db.prepare<[number], HotPlace>(
      `SELECT id, port, epoch, first_seq AS firstSeq, last_seq AS lastSeq, offset,
         end_offset AS endOffset, first_us AS firstUs, last_us AS lastUs, bytes
       FROM hot WHERE id > ? ORDER BY id`,
    );
    const selectRow = db.prepare<[number], Frame>(
      `SELECT port AS portId, epoch, first_seq AS firstSeq, last_seq AS lastSeq, offset,
         end_offset AS endOffset, first_us AS firstUs, last_us AS lastUs, bytes, frame AS packed
       FROM hot WHERE id = ?`,
    );
    const selectFrame = db.prepare<[number], Buffer>('SELECT frame FROM hot WHERE id = ?').pluck();
    const selectOldest = db.prepare<[], number | null>('SELECT min(id) FROM hot').pluck();
    this.after = (id) => scan.iterate(id);
    this.frame = (id) => selectFrame.get(id) ?? null;
    this.row = (id) => selectRow.get(id) ?? null;
    this.oldestId = () => selectOldest.get() ?? null;
    if (!write) {
      this.append = this.deleteThrough = () => assert.fail('this connection only reads');
      return;
    }
    const insert = db.prepare<unknown[]>(
      `INSERT INTO hot (port, epoch, first_seq, last_seq, offset, end_offset, first_us, last_us, bytes, frame)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    const remove = db.prepare<[number]>('DELETE FROM hot WHERE id <= ?');
    this.append = (frame) =>
      Number(
        insert.run(
          frame.portId,
          frame.epoch,
          frame.firstSeq,
          frame.lastSeq,
          frame.offset,
          frame.endOffset,
          frame.firstUs,
          frame.lastUs,
          frame.bytes,
          frame.packed,
        ).lastInsertRowid,
      );
    this.deleteThrough = (id) => void remove.run(id);
  }
}
