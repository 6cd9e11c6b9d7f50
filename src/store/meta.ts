import type { Database } from './database.ts';

/** Words about the whole database. The only file that knows the table `meta` of `fairlead.db`. */
export class Meta {
  readonly get: (key: MetaKey) => string | null;
  readonly set: (key: MetaKey, value: string) => void;
  constructor(db: Database) {
    const select = db.prepare<[string], string>('SELECT value FROM meta WHERE key = ?').pluck();
    const upsert = db.prepare<[string, string]>(
      'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
    );
    this.get = (key) => select.get(key) ?? null;
    this.set = (key, value) => void upsert.run(key, value);
  }
}

/**
 * `clean-stop`: `yes` from a clean stop to the next start. `lost-hot`: hot rows of the database
 * before this one are gone for this reason. `next-session`: sessions numbered below it are in log
 * files that an earlier database knew.
 */
export type MetaKey = 'data-id' | 'clean-stop' | 'lost-hot' | 'next-session';
