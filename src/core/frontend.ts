import type { Journal, Clock } from './clock.ts';
import type { PortAccess } from './attach.ts';
import type { LogReader } from './log-reader.ts';
import type { AuditRow } from './store.ts';
import type { Caller } from './user.ts';

/** What a frontend is given. It decides nothing: rights are checked by the port core and the log service. */
export interface FrontendServices {
  access: PortAccess;
  log: LogReader;
  login: Login;
  /** Runs a verb of the one table; resolves with its exit code. */
  runVerb(caller: Caller, argv: readonly string[], io: VerbIo): Promise<number>;
  journal: Journal;
  clock: Clock;
  audit(row: AuditRow): void;
}

/** Who a client is. Constant work whether the user exists or not. */
export interface Login {
  /** scrypt; at most two at once in the process. */
  withPassword(user: string, password: string, remoteAddress: string): Promise<boolean>;
  /** `blob`: the SSH wire form of the public key, whose signature the frontend has checked. */
  withKey(user: string, blob: Uint8Array, remoteAddress: string): boolean;
  /** Users who hold this key, for `ssh PORT@host`. */
  usersOfKey(blob: Uint8Array, remoteAddress: string): string[];
  /** The user with `unix: NAME`, an admin for uid 0 and the daemon's own uid; null: nobody. */
  ofUnixUser(uid: number): string | null;
  exists(user: string): boolean;
}

/** A way in: SSH, raw TCP, the control socket. */
export interface Frontend {
  readonly kind: string;
  /** Opens its listeners. A taken address costs that door, not the daemon: journalled and retried. */
  start(): Promise<void>;
  /** Closes listeners and clients. */
  stop(): Promise<void>;
}

/** A verb's view of who called it: a terminal, a pipe, an SSH channel, a control socket. */
export interface VerbIo {
  /** Resolves when more may be written; rejects when the reader left. */
  write(output: string | Uint8Array): Promise<void>;
  writeError(text: string): Promise<void>;
  /** Output goes to a terminal that understands escape sequences. */
  readonly isTerminal: boolean;
  /** Current size of the terminal. */
  size(): { columns: number; rows: number };
  onResize(listener: () => void): void;
  /**
   * Input as it comes, null at its end; one listener. Reading is paused while a returned promise
   * is pending, so a paste is never lost. The terminal is in raw mode while a listener is set and
   * `raw` is true.
   */
  onInput(
    listener: ((bytes: Uint8Array | null) => Promise<void> | void) | null,
    raw: boolean,
  ): void;
  /** Aborted when the caller leaves. */
  readonly signal: AbortSignal;
  /** Zone for times typed and shown: an IANA name. */
  readonly timeZone: string;
}

/** What `reload` and friends do to a running daemon. */
export interface DaemonControl {
  /** Parsed, checked, diffed, applied whole or not at all. Resolves with what changed, in words. @throws Fault CONFIG_INVALID. */
  reload(caller: Caller): Promise<string[]>;
}
