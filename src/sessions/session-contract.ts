import type { Attached, AttachRequest, PortAccess, SessionEvent } from '../core/attach.ts';
import type { Clock, Journal } from '../core/clock.ts';
import type { HostTerminal } from '../core/frontend.ts';
import type { Flow, LineSettings, LineState } from '../core/line-settings.ts';
import type { LogPlace, LogReader } from '../core/log-reader.ts';
import type { Caller, EscapePrefix } from '../core/user.ts';
import type { Timers } from '../ports/timers.ts';

export interface SessionServices {
  access: PortAccess;
  log: LogReader;
  clock: Clock;
  journal: Journal;
  /** Real ones unless a test says otherwise. */
  timers?: Timers;
}

export interface SessionOptions {
  caller: Caller;
  /** Name, alias or unique prefix. */
  port: string;
  mode: AttachRequest['mode'];
  /** A person skips what they cannot take; a program is disconnected instead. */
  delivery: AttachRequest['delivery'];
  /** Where history begins; `screen`: the screen as it stands, made from the last 64 KB; null: live only. */
  from: LogPlace | 'screen' | null;
  /** Lines of Fairlead's own among the output, for people. */
  notices: boolean;
  /** The two bytes that begin a key of ours; null: every byte is the device's. */
  keys: EscapePrefix | null;
  /** Size of the client's terminal now; absent: it has none. */
  size?: () => { columns: number; rows: number };
  /** For the keys that only the user's own machine can serve. */
  host?: HostTerminal;
}

export interface SessionOutput {
  /** `done` once the client took the bytes. They are shared: not to be changed. */
  write(bytes: Uint8Array, done: () => void): void;
  /** The port or a key ended the session; after `detach` it is not called. Nothing follows. */
  ended(why: string): void;
  /** What a protocol with notifications of its own (RFC 2217) passes on; people are told by notices. */
  event?(event: LineEvent): void;
}

/** What happens on the line besides bytes, and who may write. */
export type LineEvent = Extract<
  SessionEvent,
  { kind: 'line' | 'signals' | 'break' | 'line-error' | 'writer' | 'down' | 'up' }
>;

export interface Session {
  readonly attached: Attached;
  /** `bytes` is taken over. Resolves when more may be sent: until then do not read the socket. */
  input(bytes: Uint8Array): Promise<void>;
  /** @throws Fault DENIED. */
  takeOver(): Promise<void>;
  /** Gives write up, behind the input already taken, and waits for it no more. */
  view(): Promise<void>;
  /** Resolves when the device took, or the port refused, all input so far; or the session is over. */
  inputDelivered(): Promise<void>;
  /** @throws Fault DENIED, NOT_WRITER, PORT_UNSUPPORTED, PORT_DOWN. */
  sendBreak(durationMs: number): Promise<void>;
  /** As in core/attach.ts; each goes behind the input already taken. */
  setLine(line: LineSettings, flow: Flow): Promise<void>;
  setSignals(signals: { dtr?: boolean; rts?: boolean }): Promise<void>;
  setBreak(isOn: boolean): Promise<void>;
  /** `tx` throws away what the client sent and the device did not take, at once. */
  purge(queue: 'rx' | 'tx' | 'both'): Promise<void>;
  lineState(): Promise<LineState>;
  /** The client turned out to be a program: keys, notices and skipping end. */
  becomeProgram(): void;
  /** The client left. Input already taken still goes to the device; no output follows. */
  detach(why?: string): void;
}
