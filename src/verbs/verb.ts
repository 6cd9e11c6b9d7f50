import type { PortAccess } from '../core/attach.ts';
import type { Clock, Journal } from '../core/clock.ts';
import type { DiscoveredLine, Finding, LoopbackResult } from '../core/diagnosis.ts';
import { Fault } from '../core/fault.ts';
import type { DaemonControl, UserPreferences, VerbIo } from '../core/frontend.ts';
import type { LineSettings } from '../core/line-settings.ts';
import type { LogReader } from '../core/log-reader.ts';
import type { Caller, Right } from '../core/user.ts';

/** One entry of the table. Shell, SSH, control socket, help and docs/verbs.md are made from it. */
export interface Verb {
  name: string;
  /** One line, for the overview. */
  summary: string;
  /** What follows the name in `usage`: `PORT [SETTINGS...]`. */
  usage: string;
  /** The same for the parser: `<port>`, `[settings...]`. */
  args: readonly string[];
  /**
   * After so many words the rest is text, whatever it looks like: options come before it. Absent:
   * options may stand anywhere.
   */
  textAfter?: number;
  /** Needed on the port; `admin` on the whole. Checked where the work is done, not here. */
  right: Right | null;
  /** `local`: names a file of the server, or starts or changes the daemon. Never over SSH. */
  where: 'anywhere' | 'local';
  needsDaemon: boolean;
  /** Runs in the daemon where one answers, else in the shell itself; for verbs that are `local`. */
  prefersDaemon?: boolean;
  options: readonly VerbOption[];
  /** Further lines of help. */
  details?: readonly string[];
  examples: readonly VerbExample[];
  /** Resolves with the exit code. @throws Fault, which becomes one line on stderr. */
  run(context: VerbContext, parsed: ParsedVerb): Promise<number>;
}

export interface VerbOption {
  /** `--since <time>`; `-f, --follow`. */
  flags: string;
  does: string;
}

export interface VerbExample {
  command: string;
  does: string;
}

export interface ParsedVerb {
  args: readonly string[];
  options: Readonly<Record<string, string | true | undefined>>;
}

/** All a verb may know. `app/` makes one for each call. */
export interface VerbContext {
  caller: Caller;
  /** null: no daemon. */
  access: PortAccess | null;
  /** null: there is no log to read, e.g. no data directory yet. */
  log: LogReader | null;
  /** null: not inside a daemon. */
  daemon: DaemonControl | null;
  /** null: not the local shell of the server. */
  local: LocalActions | null;
  io: VerbIo;
  /** Of the caller. */
  preferences: UserPreferences;
  clock: Clock;
  journal: Journal;
}

/** `--config FILE` and `--data DIR` as given, not resolved; null: not given. */
export interface GlobalOptions {
  config: string | null;
  data: string | null;
}

/** What the local shell can do that nobody else may. `app/` implements it. */
export interface LocalActions {
  /** Runs the daemon in the foreground until it is told to stop; resolves with the exit code. */
  serve(options: ServeOptions, io: VerbIo): Promise<number>;
  demo(options: DemoOptions, io: VerbIo): Promise<number>;
  /**
   * Reads and checks the configuration; `assign` writes missing port numbers into the file.
   * Resolves with what was found, in words. @throws Fault CONFIG_INVALID; its message may have
   * several lines.
   */
  check(options: GlobalOptions & { assign: boolean }): Promise<string[]>;
  /** Checks the log; says what it finds as it goes. Resolves true when nothing is damaged. */
  verify(
    options: GlobalOptions,
    report: (line: string) => Promise<void>,
    signal: AbortSignal,
  ): Promise<boolean>;
  /** Sends SIGHUP to the daemon of this data directory. @throws Fault DAEMON_UNREACHABLE. */
  signalReload(options: GlobalOptions): Promise<void>;
  users: UserActions;
  lines: LineActions;
}

/** The serial lines of this machine, asked of its kernel; a daemon that runs is asked too. */
export interface LineActions {
  /** `report`: what the user should know meanwhile. Ends early when the signal aborts. */
  discover(
    options: DiscoverOptions,
    signal: AbortSignal,
    report: (text: string) => Promise<void>,
  ): Promise<DiscoveredLine[]>;
  /**
   * `about`: a port, a path or a tty's name; null: all ports, and without any all lines there are.
   * @throws Fault PORT_UNKNOWN.
   */
  doctor(about: string | null): Promise<Finding[]>;
  /**
   * Takes the line from a running daemon for the time of the test, as `down` and `up` do.
   * @throws Fault CONFIRM until confirmed; PORT_UNKNOWN; PORT_OPEN_FAILED.
   */
  loopback(options: LoopbackOptions): Promise<LoopbackResult>;
}

export interface DiscoverOptions {
  /** null: nothing is opened. */
  listenMs: number | null;
  /** null: as configured, else 115200 8N1. */
  line: LineSettings | null;
}

export interface LoopbackOptions {
  about: string;
  line: LineSettings | null;
  isConfirmed: boolean;
}

export interface ServeOptions extends GlobalOptions {
  /** Without a configuration: open the serial ports found without asking. */
  ports: boolean;
}

export interface DemoOptions extends GlobalOptions {
  /** How much faster than life the machines are; 1 is true speed. */
  speed: number;
}

/** Users of the state database; those of the configuration file are not changed here. */
export interface UserActions {
  /** @throws Fault USAGE when there is such a user, or a name, role, key or glob is not one. */
  add(options: GlobalOptions, user: NewUser): Promise<void>;
  /** @throws Fault NOT_FOUND. */
  passwd(options: GlobalOptions, name: string, password: string): Promise<void>;
  list(options: GlobalOptions): Promise<UserListing[]>;
  /** What the configuration file takes for this password; changes nothing. */
  hash(password: string): Promise<string>;
  /** @throws Fault NOT_FOUND. */
  remove(options: GlobalOptions, name: string): Promise<void>;
}

export interface NewUser {
  name: string;
  role: string;
  ports: readonly string[];
  keys: readonly string[];
  unix: string | null;
  /** In clear; whoever stores it hashes it. null: no login by password. */
  password: string | null;
}

export interface UserListing {
  name: string;
  role: string;
  ports: readonly string[];
  keys: number;
  hasPassword: boolean;
  unix: string | null;
  from: readonly string[];
  /** Kept in the configuration file, or in the state database. */
  source: 'file' | 'database';
}

/** @throws Fault DAEMON_UNREACHABLE. */
export function needAccess(context: VerbContext): PortAccess {
  if (context.access !== null) return context.access;
  throw new Fault(
    'DAEMON_UNREACHABLE',
    'no daemon answers for this data directory; start one with "fairlead serve"',
  );
}

/** @throws Fault DAEMON_UNREACHABLE. */
export function needLog(context: VerbContext): LogReader {
  if (context.log !== null) return context.log;
  throw new Fault(
    'DAEMON_UNREACHABLE',
    'there is no log: no daemon answers, and no data directory',
  );
}

/** @throws Fault DENIED. */
export function needLocal(context: VerbContext): LocalActions {
  if (context.local !== null) return context.local;
  throw new Fault('DENIED', 'this works in the local shell of the server only');
}

export function globalOptions(parsed: ParsedVerb): GlobalOptions {
  return { config: text(parsed, 'config') ?? null, data: text(parsed, 'data') ?? null };
}

/** An option's value; undefined when it was not given. */
export function text(parsed: ParsedVerb, option: string): string | undefined {
  const value = parsed.options[option];
  return typeof value === 'string' ? value : undefined;
}

export function flag(parsed: ParsedVerb, option: string): boolean {
  return parsed.options[option] === true;
}

/** @throws Fault USAGE. */
export function positiveNumber(parsed: ParsedVerb, option: string): number | undefined {
  const value = text(parsed, option);
  if (value === undefined) return undefined;
  const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN;
  if (number > 0) return number;
  throw new Fault('USAGE', `--${option} takes a number over 0, not "${value}"`);
}
