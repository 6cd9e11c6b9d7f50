import type { Flow, LineSettings } from './line-settings.ts';
import type { User } from './user.ts';

/**
 * The configuration as the rooms use it: checked, with defaults and profiles applied, frozen plain
 * data that can cross a MessagePort. config/ makes it from fairlead.yaml; each room gets its slice.
 */
export interface Settings {
  /** Absolute paths of the files it came from, the main one first; empty for the demo. */
  files: readonly string[];
  /** Absolute path of the data directory. */
  data: string;
  listen: ListenSettings;
  users: readonly User[];
  /** Own roles by name, beside the built-in ones. */
  roles: Readonly<Record<string, readonly string[]>>;
  ports: readonly PortSettings[];
  /** Interval of MARK records; null: none. */
  markMs: number | null;
  log: LogSettings;
}

export interface LogSettings {
  /** Segment codec. */
  codec: 'brotli' | 'zstd';
  /** Bytes of the spool; more when the number of ports asks for it. */
  spoolBytes: number;
}

export interface ListenSettings {
  ssh: DoorSettings | null;
  raw: RawDoorSettings | null;
}

export interface DoorSettings {
  host: string;
  tcpPort: number;
  /** CIDRs; empty: anybody who can reach the address. */
  allow: readonly string[];
}

/** Raw TCP at base + n. Without login: opens only with `auth: none`, `allow` and `as`. */
export interface RawDoorSettings {
  host: string;
  base: number;
  allow: readonly string[];
  /** User whom everybody on this door is. */
  as: string;
}

export interface PortSettings {
  name: string;
  /** Former name, for a rename that keeps uuid and log. */
  was: string | null;
  n: number | null;
  aliases: readonly string[];
  group: string | null;
  backend: BackendSettings;
  line: LineSettings;
  flow: Flow;
  /** What the log keeps of typed input. */
  input: 'masked' | 'full' | 'none';
  /** `low`: read at once also when nobody watches. */
  latency: 'normal' | 'low';
  writers: 'one' | 'many';
}

export type BackendSettings =
  | { kind: 'device'; path: string; signals: { dtr?: boolean; rts?: boolean } }
  | { kind: 'tcp'; host: string; tcpPort: number }
  | { kind: 'unix'; path: string }
  | { kind: 'exec'; command: readonly string[] }
  | { kind: 'pty'; path: string }
  | { kind: 'sim'; machine: string; seed: number; speed: number };
