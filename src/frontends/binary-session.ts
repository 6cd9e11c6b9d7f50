import type { PortAccess } from '../core/attach.ts';
import type { Clock, Journal } from '../core/clock.ts';
import type { LogPlace, LogReader } from '../core/log-reader.ts';
import type { Caller } from '../core/user.ts';

/** sessions/session.ts, as far as doors for programs use it. */
export type OpenSession = (
  services: { access: PortAccess; log: LogReader; clock: Clock; journal: Journal },
  request: {
    caller: Caller;
    port: string;
    mode: 'write' | 'view' | 'force';
    delivery: 'person' | 'program';
    from: LogPlace | null;
    notices: boolean;
    keys: boolean;
  },
  output: {
    /** Passes bytes on; `done` once they were taken. */
    write(bytes: Uint8Array, done: () => void): void;
    ended(why: string): void;
  },
) => Promise<BinarySession>;

export interface BinarySession {
  input(bytes: Uint8Array): Promise<void>;
  detach(why: string): void;
}
