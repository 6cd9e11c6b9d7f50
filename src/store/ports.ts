import type { Database } from './database.ts';

export interface PortRow {
  id: number;
  uuid: string;
  name: string;
  backend: string;
  /** Why the next registration begins a new epoch; null: the epoch goes on. */
  brokenBecause: string | null;
}

export interface EpochRow {
  port: number;
  epoch: number;
  beganUs: number;
  because: string;
}

/** The ports and their epochs. The only file that knows the tables `port` and `epoch`. */
export class Ports {
  readonly all: () => PortRow[];
  /** The newest epoch of each port that has one, by port. */
  readonly newestEpochs: () => Map<number, number>;
  /** Adds a port or changes what is known of it; the name must be free. */
  readonly save: (row: PortRow) => void;
  readonly addEpoch: (row: EpochRow) => void;

  constructor(db: Database) {
    const select = db.prepare<[], PortRow>(
      'SELECT id, uuid, name, backend, broken_because AS brokenBecause FROM port ORDER BY id',
    );
    const newest = db
      .prepare<[], [number, number]>('SELECT port, max(epoch) FROM epoch GROUP BY port')
      .raw();
    const upsert = db.prepare<PortRow>(
      `INSERT INTO port (id, uuid, name, backend, broken_because)
       VALUES (@id, @uuid, @name, @backend, @brokenBecause)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, backend = excluded.backend,
         broken_because = excluded.broken_because`,
    );
    const insertEpoch = db.prepare<EpochRow>(
      `INSERT INTO epoch (port, epoch, began_us, because)
       VALUES (@port, @epoch, @beganUs, @because) ON CONFLICT DO NOTHING`,
    );
    this.all = () => select.all();
    this.newestEpochs = () => new Map(newest.all());
    this.save = (row) => void upsert.run(row);
    this.addEpoch = (row) => void insertEpoch.run(row);
  }
}
