/**
 * What can go wrong in the world, by code. Codes are API: docs/faults.md lists them and a test
 * holds the two together. Each says what it means to whoever reads it.
 */
export const FAULT_CODES = {
  // ports and lines
  PORT_OPEN_FAILED: 'the device or peer could not be opened; the message says why and what to do',
  PORT_GONE: 'the device or peer went away while open',
  PORT_UNSUPPORTED: 'this kind of line cannot do what was asked',
  PORT_DOWN: 'the port is not open at the moment',
  PORT_STUCK: 'the device has taken no output for 5 s',
  PORT_UNKNOWN: 'no port of that name',
  LINE_SETTINGS_INVALID: 'line settings that cannot be read',
  // people and rights
  DENIED: 'the user lacks the right named in the message',
  LOGIN_FAILED: 'user unknown, or key or password wrong',
  SESSION_UNKNOWN: 'no session of that number',
  NOT_WRITER: 'the session views; another one writes',
  PORT_BUSY: 'somebody writes on the port already, and this door refuses a second client',
  CONFIRM: 'what was asked for must be confirmed first',
  TOO_SOON: 'the same was done a short while ago; the message says when it may be done again',
  POWER_FAILED: 'the command of the power outlet failed; the message has what it said',
  TOO_SLOW: 'a program did not read 1 MiB of output in time and was disconnected',
  // the log
  LOG_NOT_FOUND: 'the log holds nothing at the place asked for',
  LOG_DAMAGED: 'a stored frame or segment does not match its checksum',
  STORE_CORRUPT: 'a database is corrupt and was moved aside',
  STORE_NEWER: 'a database was written by a newer Fairlead',
  STORE_IN_USE: 'another daemon uses this data directory',
  STORE_FAILED: 'the store could not write; it will be tried again',
  SPOOL_FAILED: 'the spool could not be created or mapped',
  // what the operator wrote
  CONFIG_INVALID: 'the configuration is refused; file, line and column are in the message',
  USAGE: 'a command was used wrongly',
  TIME_INVALID: 'a time expression that cannot be read',
  NOT_FOUND: 'what was named does not exist',
  // the daemon
  DAEMON_UNREACHABLE: 'no daemon answers for this data directory',
  LISTEN_FAILED: 'an address could not be listened on',
  TLS_FAILED: 'the certificate or key of a door cannot be used',
  EXPOSE_FAILED: 'a port could not be exposed as a local pty',
  TIMED_OUT: 'the other side did not answer in time',
} as const;

export type FaultCode = keyof typeof FAULT_CODES;

/** An expected failure of the world: it has a code to branch on and a sentence to show. */
export class Fault extends Error {
  readonly code: FaultCode;
  constructor(code: FaultCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'Fault';
    this.code = code;
  }
}

/** Exit codes of the command line (DESIGN 7). */
export const EXIT = {
  ok: 0,
  found: 1,
  usage: 2,
  notFound: 3,
  denied: 4,
  unreachable: 5,
} as const;

export function exitCodeOf(error: unknown): number {
  if (!(error instanceof Fault)) return EXIT.found;
  switch (error.code) {
    case 'USAGE':
    case 'CONFIG_INVALID':
    case 'CONFIRM':
    case 'LINE_SETTINGS_INVALID':
    case 'TIME_INVALID':
      return EXIT.usage;
    case 'PORT_UNKNOWN':
    case 'SESSION_UNKNOWN':
    case 'LOG_NOT_FOUND':
    case 'NOT_FOUND':
      return EXIT.notFound;
    case 'DENIED':
    case 'LOGIN_FAILED':
    case 'NOT_WRITER':
      return EXIT.denied;
    case 'PORT_OPEN_FAILED':
    case 'PORT_GONE':
    case 'PORT_UNSUPPORTED':
    case 'PORT_DOWN':
    case 'PORT_STUCK':
    case 'DAEMON_UNREACHABLE':
    case 'LISTEN_FAILED':
    case 'TLS_FAILED':
    case 'EXPOSE_FAILED':
    case 'TIMED_OUT':
    case 'PORT_BUSY':
    case 'TOO_SOON':
    case 'POWER_FAILED':
    case 'STORE_IN_USE':
    case 'STORE_FAILED':
    case 'SPOOL_FAILED':
    case 'TOO_SLOW':
      return EXIT.unreachable;
    case 'LOG_DAMAGED':
    case 'STORE_CORRUPT':
    case 'STORE_NEWER':
      return EXIT.found;
  }
}

/** A Fault as plain data, for a MessagePort or a socket; `faultFrom` is its inverse. */
export interface FaultMessage {
  code: FaultCode;
  message: string;
}

export function faultMessage(error: unknown): FaultMessage {
  if (error instanceof Fault) return { code: error.code, message: error.message };
  return { code: 'STORE_FAILED', message: error instanceof Error ? error.message : String(error) };
}

export function faultFrom(message: FaultMessage): Fault {
  return new Fault(message.code, message.message);
}
