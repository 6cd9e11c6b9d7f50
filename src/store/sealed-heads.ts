import type { Database } from './database.ts';

/** The end of a port's chain of segments. */
export interface SealedHead {
  port: number;
  epoch: number;
  lastSeq: number;
  endOffset: number;
  lastUs: number;
  hash: Buffer;
  /** Name of the log file that holds the segment. */
  file: string;
}

export interface LogFileRow {
  name: string;
  beganUs: number;
  finishedUs: number | null;
}

/**
 * What the log files must hold at least. The only file that knows the tables `sealed` and
 * `log_file`.
 */
export class SealedHeads {
  readonly all: () => SealedHead[];
  readonly save: (head: SealedHead) => void;
  readonly files: () => LogFileRow[];
  readonly saveFile: (row: LogFileRow) => void;

  constructor(db: Database) {
    const select = db.prepare<[], SealedHead>(
      `SELECT port, epoch, last_seq AS lastSeq, end_offset AS endOffset, last_us AS lastUs, hash, file
       FROM sealed`,
    );
    const upsert = db.prepare<SealedHead>(
      `INSERT OR REPLACE INTO sealed (port, epoch, last_seq, end_offset, last_us, hash, file)
       VALUES (@port, @epoch, @lastSeq, @endOffset, @lastUs, @hash, @file)`,
    );
    const selectFiles = db.prepare<[], LogFileRow>(
      'SELECT name, began_us AS beganUs, finished_us AS finishedUs FROM log_file',
    );
    const upsertFile = db.prepare<LogFileRow>(
      `INSERT OR REPLACE INTO log_file (name, began_us, finished_us)
       VALUES (@name, @beganUs, @finishedUs)`,
    );
    this.all = () => select.all();
    this.save = (head) => void upsert.run(head);
    this.files = () => selectFiles.all();
    this.saveFile = (row) => void upsertFile.run(row);
  }
}
