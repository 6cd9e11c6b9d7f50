import type { LineState } from './line-settings.ts';
import type { PowerAction } from './settings.ts';

/** What `ports` shows, and `ports --json` prints (DESIGN 7). */
export interface PortStatus {
  name: string;
  n: number | null;
  uuid: string;
  state: 'up' | 'down' | 'opening';
  /** Cause and fix when not up. */
  why: string | null;
  backend: string;
  target: string;
  /** `115200 8N1`, null where there is no UART. */
  line: string | null;
  /** A live change differs from the configuration file. */
  differs: boolean;
  group: string | null;
  aliases: readonly string[];
  epoch: number;
  offset: number;
  lastByteAtUs: number | null;
  /** User with write, null when nobody. */
  writer: string | null;
  viewers: number;
  incidents: number;
  /** Since the daemon started. */
  errors: LineErrorCounts;
  /** `9600 8N1`: what the bytes of the last seconds look like, when it is not the port's settings. */
  looksLike: string | null;
}

/** What came over the line that was no good byte, counted. */
export interface LineErrorCounts {
  breaks: number;
  parity: number;
  framing: number;
  /** Bytes lost in the UART or the driver, at least. */
  overrun: number;
}

/** What `who` shows. */
export interface SessionStatus {
  session: number;
  port: string;
  user: string;
  remote: string;
  frontend: string;
  mode: 'write' | 'view';
  attachedAtUs: number;
  lastInputAtUs: number | null;
}

/** All there is to tell of one port: `^Eci`, `^Ecl?`, `task PORT`. */
export interface PortDetails {
  status: PortStatus;
  line: LineState;
  /** False while logging of rx is turned off. */
  isLogging: boolean;
  /** Closed by `hold` until somebody opens it. */
  isHeld: boolean;
  motd: string | null;
  tasks: readonly TaskStatus[];
  /** What its outlet can do; empty: it has none. */
  power: readonly PowerAction[];
}

export interface TaskStatus {
  name: string;
  breakKey: string | null;
  confirm: boolean;
  help: string;
}
