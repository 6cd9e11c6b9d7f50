import type { Journal, Clock } from './clock.ts';
import type { PortAccess } from './attach.ts';
import type { LogReader } from './log-reader.ts';
import type { AuditRow } from './store.ts';
import type { Caller, EscapePrefix } from './user.ts';

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
  /** May this user come from there. */
  mayComeFrom(user: string, remoteAddress: string): boolean;
  /** The user logs in with a one-time code besides the password (never besides a key). */
  needsCode(user: string): boolean;
  /** RFC 6238, one step of 30 s either way; a code is good once. */
  withCode(user: string, code: string): boolean;
  /**
   * Whether an OpenSSH user certificate admits this user: authority, signature, validity, principals,
   * source address, critical options, revocation. The frontend checks that the client holds `key`.
   */
  withCertificate(user: string, blob: Uint8Array, remoteAddress: string): CertificateAnswer;
  preferences(user: string): UserPreferences;
}

export type CertificateAnswer =
  /** `key`: SSH wire form of the public key that was certified. `id`: `"key id" (serial 7) by SHA256:...` */
  | { admitted: true; key: Uint8Array; id: string; permits: CertificatePermits }
  | { admitted: false; why: string };

/** What an authority lets the holder of a certificate ask for (PROTOCOL.certkeys, Extensions). */
export interface CertificatePermits {
  pty: boolean;
  portForwarding: boolean;
}

/** What a user's sessions look like. */
export interface UserPreferences {
  escape: EscapePrefix | null;
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
  /**
   * BREAK asked for by the protocol itself (RFC 4335 over SSH, IAC BREAK); one listener, null: none.
   * What the listener rejects with is the answer to the client, where the protocol has one.
   */
  onBreak?(listener: ((durationMs: number) => Promise<void>) | null): void;
  /** A signal sent by the protocol, `INT`; the listener answers whether it means something here. */
  onSignal?(listener: ((name: string) => boolean) | null): void;
  /**
   * How far the input is may be drawn on standard error: a terminal, over one line. `inputBytes`:
   * how long it is, null where nobody knows. Absent: not to be drawn.
   */
  readonly progress?: { inputBytes: number | null } | undefined;
  /** What only a program on the user's own machine can do; absent over a network protocol. */
  readonly host?: HostTerminal;
}

/** The program in whose terminal a verb of the daemon is shown: `fairlead attach`. */
export interface HostTerminal {
  /** Stops it as CTRL-Z does in a shell; resolves when it goes on. */
  suspend(): Promise<void>;
  /**
   * Runs a command line with the user's own shell and rights. What is given to `input` is its
   * standard input; `output` gets what it prints, and no more before what it returns resolves.
   * Resolves with its exit status. One at a time.
   */
  pipe(command: string, output: (bytes: Uint8Array) => Promise<void> | void): PipedCommand;
}

export interface PipedCommand {
  /** Resolves when more should be given. */
  input(bytes: Uint8Array): Promise<void> | void;
  /** Ends its input; it is ended itself when it has not exited 2 s later. */
  end(): void;
  /** @rejects Fault TOO_SLOW when it left 1 MiB of its input unread; USAGE when one runs already. */
  readonly exited: Promise<number>;
}

/** What `reload` and friends do to a running daemon. */
export interface DaemonControl {
  /** Parsed, checked, diffed, applied whole or not at all. Resolves with what changed, in words. @throws Fault CONFIG_INVALID. */
  reload(caller: Caller): Promise<string[]>;
}
