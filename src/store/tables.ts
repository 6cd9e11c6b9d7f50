import { Audit } from './audit.ts';
import type { Database } from './database.ts';
import { HotRecords } from './hot.ts';
import { Meta } from './meta.ts';
import { Ports } from './ports.ts';
import { SealedHeads } from './sealed-heads.ts';
import { Sessions } from './sessions.ts';
import { Users } from './users.ts';

/** `fairlead.db`, table by table. */
export interface State {
  db: Database;
  meta: Meta;
  ports: Ports;
  hot: HotRecords;
  sealed: SealedHeads;
  sessions: Sessions;
  audit: Audit;
  users: Users;
}

/** The tables of an open state database. */
export function tablesOf(db: Database): State {
  return {
    db,
    meta: new Meta(db),
    ports: new Ports(db),
    hot: new HotRecords(db),
    sealed: new SealedHeads(db),
    sessions: new Sessions(db),
    audit: new Audit(db),
    users: new Users(db),
  };
}
