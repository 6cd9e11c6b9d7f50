import type { Clock, Journal } from '../core/clock.ts';
import type { RecordBody } from '../core/record.ts';
import type { Spool } from '../core/spool.ts';
import type { AuditRow } from '../core/store.ts';
import type { Authorizer } from '../core/user.ts';
import type { RunCommand } from './power-outlet.ts';
import type { Timers } from './timers.ts';

/** What every port of the rack shares. */
export interface PortServices {
  spool: Spool;
  authorizer: Authorizer;
  clock: Clock;
  journal: Journal;
  audit: (row: AuditRow) => void;
  encodeBody: (body: RecordBody) => Uint8Array;
  timers: Timers;
  /** Tells the store that something was spooled; may gather several calls. */
  publish: () => void;
  /** The next session number. */
  nextSession: () => number;
  /** For power outlets. */
  runCommand: RunCommand;
}
