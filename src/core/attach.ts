import type { Flow, LineSettings, LineState } from './line-settings.ts';
import type { PortDetails, PortStatus, SessionStatus } from './port-status.ts';
import type { SignalStates } from './line-settings.ts';
import type { LineError } from './record.ts';
import type { PaceTimes, PowerAction, SequenceStep } from './settings.ts';
import type { Caller } from './user.ts';

/**
 * The attach contract (DESIGN 3): how a session joins a port, the same in-thread, across a
 * MessagePort, or across a fleet. Live frames only: history comes from the log and is joined to
 * them by offset in sessions/session.ts.
 */
export interface AttachRequest {
  caller: Caller;
  /** Name, alias or unique prefix. */
  port: string;
  /**
   * `write`: view if somebody writes, and write when they leave. `force`: take it. `write-or-leave`:
   * no session at all if somebody writes.
   */
  mode: 'write' | 'view' | 'force' | 'write-or-leave';
  /** A person skips what they cannot take; a program is disconnected instead. */
  delivery: 'person' | 'program';
  /** Output credit to begin with: bytes that may be under way to the session at once. */
  creditBytes: number;
}

export interface Attached {
  session: number;
  port: string;
  uuid: string;
  mode: 'write' | 'view';
  writer: string | null;
  epoch: number;
  /** Offset of the first live byte this session will be given. */
  offset: number;
  state: PortStatus['state'];
  why: string | null;
  /** Input bytes that may be under way unacknowledged. */
  inputCreditBytes: number;
  /** Who wrote last before this session, and when; null if unknown. */
  lastUsedBy: { user: string; atUs: number } | null;
  /** For people, several lines perhaps; null: none. */
  motd: string | null;
  /** A person who types nothing for this long is to be let go; null: never. */
  idleTimeoutMs: number | null;
}

export type SessionEvent =
  /** Live bytes; spends as much credit as `bytes` is long. */
  | { kind: 'frame'; epoch: number; offset: number; atUs: number; bytes: Uint8Array }
  /** The session had no credit: rx bytes from..to were not sent. They are in the log. */
  | { kind: 'skipped'; epoch: number; from: number; to: number }
  /** Who writes now. `you`: this session. `by`: who took it over. */
  | { kind: 'writer'; writer: string | null; you: boolean; by: string | null }
  | { kind: 'down'; why: string }
  | { kind: 'up' }
  | { kind: 'epoch'; epoch: number; offset: number }
  | { kind: 'message'; from: string; text: string }
  /** Somebody changed the line settings. `by` null: they went back to the configured ones. */
  | { kind: 'line'; line: LineSettings; flow: Flow; by: string | null }
  /** Signals that changed, whether we drove them or saw them. */
  | { kind: 'signals'; signals: SignalStates }
  /** The device sent BREAK. */
  | { kind: 'break' }
  | ({ kind: 'line-error' } & LineError)
  /** Input up to and with `seq` went to the device (or was refused); frees its bytes of input credit. */
  | { kind: 'acknowledged'; seq: number; bytes: number }
  | { kind: 'refused'; why: string }
  /** Nothing follows. */
  | { kind: 'ended'; why: string };

/** A session's side of the contract. Calls after `ended` or `detach` do nothing. */
export interface PortSession {
  readonly attached: Attached;
  /** The session consumed this many bytes of frames. */
  credit(bytes: number): void;
  /**
   * `seq` counts up by one from 1; a repeated or older one is ignored. `bytes` is copied or taken over.
   * `asIs`: a program's among what a person types; line ends stay what they are.
   */
  input(seq: number, bytes: Uint8Array, asIs?: boolean): void;
  /** @throws Fault DENIED. */
  takeOver(): Promise<void>;
  /** Gives write up and waits for it no more. */
  view(): Promise<void>;
  /** From now on it is a program's: it is disconnected rather than skipped. */
  becomeProgram(): void;
  /** @throws Fault DENIED, NOT_WRITER, PORT_UNSUPPORTED, PORT_DOWN. */
  sendBreak(durationMs: number): Promise<void>;
  /** @throws Fault DENIED, NOT_WRITER, PORT_UNSUPPORTED, PORT_DOWN. */
  setLine(line: LineSettings, flow: Flow): Promise<void>;
  setSignals(signals: { dtr?: boolean; rts?: boolean }): Promise<void>;
  /** Begins or ends a BREAK of no fixed length. @throws as `sendBreak`. */
  setBreak(isOn: boolean): Promise<void>;
  /**
   * Throws away what waits: `rx` in the driver (what was read is under way to the sessions and in
   * the log), `tx` this session's input that the device has not taken. @throws Fault DENIED, NOT_WRITER.
   */
  purge(queue: 'rx' | 'tx' | 'both'): Promise<void>;
  /** Settings as they are; needs no write. Signals as the driver tells them now. */
  lineState(): Promise<LineState>;
  detach(why: string): void;
}

/**
 * All ports of the rack, as everything above the port core sees them. Authorizes every call
 * through auth/; lists hold only what the caller may view.
 */
export interface PortAccess {
  /** @throws Fault PORT_UNKNOWN (with the nearest names), DENIED. */
  attach(request: AttachRequest, onEvent: (event: SessionEvent) => void): Promise<PortSession>;
  ports(caller: Caller): Promise<PortStatus[]>;
  who(caller: Caller): Promise<SessionStatus[]>;
  /** Ends a session; needs `admin`, or `control` on its port. @throws Fault SESSION_UNKNOWN, DENIED. */
  kick(caller: Caller, session: number): Promise<void>;
  /** Says something to whom is named. Returns how many sessions heard it. @throws Fault SESSION_UNKNOWN, PORT_UNKNOWN. */
  message(caller: Caller, to: MessageTarget, text: string): Promise<number>;
  /**
   * One-shot input without a session of its own; needs `write`. Resolves when the device took it.
   * `pace`: for these bytes, instead of the port's.
   */
  send(caller: Caller, port: string, bytes: Uint8Array, pace?: PaceTimes): Promise<void>;
  sendBreak(caller: Caller, port: string, durationMs: number): Promise<void>;
  /** Changes the live line settings; needs `control`. */
  setLine(caller: Caller, port: string, line: LineSettings, flow: Flow | null): Promise<void>;
  /** Drives DTR and RTS; needs `control`. */
  setSignals(
    caller: Caller,
    port: string,
    signals: { dtr?: boolean; rts?: boolean },
  ): Promise<void>;
  /** Everything there is to tell of one port; needs `view`. */
  inspect(caller: Caller, port: string): Promise<PortDetails>;
  /**
   * Does a sequence to the line, in the server, in order; resolves when it is done. Needs `write`
   * for text, `break` for BREAK and `control` for signals, all of them before the first step.
   * @throws Fault NOT_FOUND for a task the port does not have, CONFIRM, NOT_WRITER while another
   * user writes, PORT_DOWN, PORT_STUCK, PORT_UNSUPPORTED, TOO_SOON while another sequence runs.
   */
  run(caller: Caller, port: string, sequence: Sequence): Promise<void>;
  /**
   * Runs the command of the power outlet; needs `control`, `view` for `status`. Resolves with what
   * it printed. @throws Fault CONFIRM, TOO_SOON, POWER_FAILED, PORT_UNSUPPORTED.
   */
  power(caller: Caller, port: string, action: PowerAction, isConfirmed: boolean): Promise<string>;
  /** Closes the line until it is opened again, or opens it anew; needs `control`. Sessions stay. */
  hold(caller: Caller, port: string, isDown: boolean): Promise<void>;
  /** Stops or resumes logging of what the device says, counted as a gap meanwhile; needs `admin`. */
  setLogging(caller: Caller, port: string, isOn: boolean): Promise<void>;
  /** Writes a remark into the log, as a mark; needs `write`. */
  note(caller: Caller, port: string, text: string): Promise<void>;
}

export type MessageTarget = { port: string } | { session: number } | 'all';

/** A task by its name or its key in the break list, or steps given here under a label for the log. */
export type Sequence =
  { task: string; isConfirmed: boolean } | { label: string; steps: readonly SequenceStep[] };

/** Refuses input when the device has taken nothing for this long. */
export const STUCK_OUTPUT_MS = 5_000;
/** A program that lets this much queue up is disconnected. */
export const PROGRAM_QUEUE_BYTES_MAX = 1_048_576;
/** Output credit a person's session begins with. */
export const PERSON_CREDIT_BYTES = 262_144;
/** Input that may be under way from one session. */
export const INPUT_CREDIT_BYTES = 65_536;
/** `power` off and cycle: at most once in this time on one port. */
export const POWER_INTERVAL_MS = 300_000;
