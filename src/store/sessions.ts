import type { SessionRecord } from '../log/recorder.ts';
import type { Database } from './database.ts';

export interface SessionRow {
  session: number;
  port: number;
  user: string;
  remote: string;
  frontend: string;
  wrote: 0 | 1;
  attachedUs: number;
  detachedUs: number | null;
}

/** Who was on which port. The only file that knows the table `session` of `fairlead.db`. */
export class Sessions {
  /** One more than the highest number used. */
  readonly next: () => number;
  readonly get: (session: number) => SessionRow | null;
  /** Who had write on the port last, and until when. */
  readonly lastWriter: (port: number) => { user: string; atUs: number } | null;
  /** Takes over what a record says; repeating it changes nothing. */
  readonly note: (change: SessionRecord) => void;

  constructor(db: Database) {
    const selectNext = db.prepare<[], number>('SELECT coalesce(max(session), 0) + 1 FROM session');
    selectNext.pluck();
    const select = db.prepare<[number], SessionRow>(
      `SELECT session, port, user, remote, frontend, wrote, attached_us AS attachedUs,
         detached_us AS detachedUs
       FROM session WHERE session = ?`,
    );
    const selectWriter = db.prepare<[number], { user: string; atUs: number }>(
      `SELECT user, coalesce(detached_us, attached_us) AS atUs FROM session
       WHERE port = ? AND wrote = 1 ORDER BY session DESC LIMIT 1`,
    );
    const insert = db.prepare<unknown[]>(
      `INSERT INTO session (session, port, user, remote, frontend, wrote, attached_us)
       VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    );
    const detach = db.prepare<[number, number]>(
      'UPDATE session SET detached_us = ? WHERE session = ?',
    );
    const setWrote = db.prepare<[number]>('UPDATE session SET wrote = 1 WHERE session = ?');

    this.next = () => selectNext.get() ?? 1;
    this.get = (session) => select.get(session) ?? null;
    this.lastWriter = (port) => selectWriter.get(port) ?? null;
    this.note = ({ portId, record }) => {
      const { session, atUs } = record;
      switch (record.kind) {
        case 'attached': {
          const { user, remote, frontend, mode } = record;
          insert.run(session, portId, user, remote, frontend, mode === 'write' ? 1 : 0, atUs);
          break;
        }
        case 'detached':
          detach.run(atUs, session);
          break;
        case 'took-over':
          setWrote.run(session);
          break;
      }
    };
  }
}
