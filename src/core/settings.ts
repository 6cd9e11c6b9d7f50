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
  autoPorts: readonly AutoPortSettings[];
  /** Said before login, where the protocol has a place for it; null: nothing. */
  banner: string | null;
  certificates: CertificateSettings;
  /** Interval of MARK records; null: none. */
  markMs: number | null;
  log: LogSettings;
}

/** OpenSSH user certificates: who signs them, and which are void. */
export interface CertificateSettings {
  /** Public keys of the authorities, `type base64 [comment]`; empty: no certificate is taken. */
  authorities: readonly string[];
  /** Path of a revocation list, read anew when it changes (ssh-keygen -k, or one public key a line); null: none. */
  revokedFile: string | null;
}

export interface LogSettings {
  /** Segment codec. */
  codec: 'brotli' | 'zstd';
  /** Bytes of the spool; more when the number of ports asks for it. */
  spoolBytes: number;
}

export interface ListenSettings {
  /** One door; the port is chosen by name. */
  ssh: DoorSettings | null;
  /** SSH to one port at base + n. */
  portSsh: NumberedDoorSettings | null;
  /** Telnet and RFC 2217 at base + n. */
  telnet: TelnetDoorSettings | null;
  /** The port's bytes and nothing else at base + n. */
  raw: RawDoorSettings | null;
  caps: DoorCaps;
}

/** How much clients of one door may take, those that are logged in included. */
export interface DoorCaps {
  /** Connections to one door at once. */
  connectionsMax: number;
  /** Of these from one source address. */
  perSourceMax: number;
}

export interface DoorSettings {
  host: string;
  tcpPort: number;
  /** CIDRs; empty: anybody who can reach the address. */
  allow: readonly string[];
}

/** A door for each port with a number, at base + n. */
export interface NumberedDoorSettings {
  host: string;
  base: number;
  allow: readonly string[];
}

/** What a door without a place to say so does when somebody writes on its port already. */
export type Busy = 'refuse' | 'view' | 'takeover';

/**
 * A door of programs. `auth` `none`: everybody is the user `as`, and `allow` is not empty.
 * `certificate`: the TLS client certificate's common name is the user, or everybody is `as`.
 */
export interface RawDoorSettings extends NumberedDoorSettings {
  auth: 'none' | 'certificate';
  as: string | null;
  tls: TlsSettings | null;
  busy: Busy;
}

export interface TelnetDoorSettings extends NumberedDoorSettings {
  /** A second base for the same doors, e.g. 5000; null: none. */
  aliasBase: number | null;
  /** `login`: asks login and password. */
  auth: 'login' | 'none' | 'certificate';
  as: string | null;
  tls: TlsSettings | null;
  busy: Busy;
}

/** Absolute paths of PEM files, read when the door opens and on reload. */
export interface TlsSettings {
  cert: string;
  key: string;
  /** Authorities of client certificates; null: clients are not asked for one. */
  clientCa: string | null;
}

/** Ports made by themselves for UDP sources that no port of the configuration claims. */
export interface AutoPortSettings {
  listen: UdpAddress;
  /** CIDRs of sources; never empty. */
  from: readonly string[];
  format: UdpFormat;
  /** No more ports than this; further sources are counted in the journal. */
  portsMax: number;
  /** Begins the ports' names; the source's address follows: `nc-10.0.0.7`. */
  prefix: string;
  /** What such a port is besides name and backend. */
  port: Omit<PortSettings, 'name' | 'was' | 'n' | 'aliases' | 'backend'>;
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
  pace: PaceSettings;
  /** Line settings and signals that a session changed go back to the configured ones when it leaves. */
  restoreLine: boolean;
  /** Sent each time the line was opened; empty: nothing. */
  onOpen: readonly SequenceStep[];
  /** Sent when the last session that wrote has left. */
  onDetach: readonly SequenceStep[];
  /** Sent when the device said nothing and nobody typed for so long, again after each such time. */
  idle: { afterMs: number; steps: readonly SequenceStep[] } | null;
  /** A person who types nothing for this long is let go; null: never. */
  idleTimeoutMs: number | null;
  /** Shown to people on attach: the global message of the day and the port's own. */
  motd: string | null;
  /** Named sequences, the break list included. */
  tasks: readonly TaskSettings[];
  power: PowerSettings | null;
  expose: ExposeSettings | null;
}

/** How fast and in which form typed input goes to a slow device. */
export interface PaceSettings {
  /** Wait after each byte, 0: none. */
  byteMs: number;
  /** Wait after each line end, 0: none. */
  lineMs: number;
  /** What a CR, LF or CR LF that a person or `send` types becomes; programs' bytes are never changed. */
  newline: 'as-is' | 'cr' | 'lf' | 'crlf';
}

/** How fast alone. */
export type PaceTimes = Pick<PaceSettings, 'byteMs' | 'lineMs'>;

/** Bytes go as they come. */
export const NO_PACE: PaceSettings = { byteMs: 0, lineMs: 0, newline: 'as-is' };

/** One step of what is done to a line by name, or when something happens. */
export type SequenceStep =
  | { do: 'send'; bytes: Uint8Array }
  | { do: 'break'; durationMs: number }
  | { do: 'wait'; durationMs: number }
  | { do: 'signals'; signals: { dtr?: boolean; rts?: boolean } };

export interface TaskSettings {
  name: string;
  /** What it is for, one line; null: its steps say. */
  help: string | null;
  /** Its key in the break list, `^Ecl` and then 0-9 or a-z; null: not in the list. */
  breakKey: string | null;
  /** Only runs when whoever asked said yes. */
  confirm: boolean;
  steps: readonly SequenceStep[];
}

export const POWER_ACTIONS = ['on', 'off', 'cycle', 'status'] as const;
export type PowerAction = (typeof POWER_ACTIONS)[number];

/** The commands of a power outlet, argument vectors; null: it cannot do that. */
export type PowerSettings = Readonly<Record<PowerAction, readonly string[] | null>>;

/** A local pty that any serial program opens. */
export interface ExposeSettings {
  /** Absolute path of a link to the pty. */
  path: string;
  /** Access bits of the pty, e.g. 0o600: whoever may open it is let in. */
  mode: number;
  /** Group of the pty; null: the daemon's. */
  group: string | null;
  /** User whose rights count; null: the local admin. */
  as: string | null;
  busy: Busy;
}

export type BackendSettings =
  | DeviceSettings
  | ({ kind: 'tcp' } & ServerSettings)
  | ({ kind: 'telnet' } & ServerSettings)
  | ({ kind: 'rfc2217'; signals: { dtr?: boolean; rts?: boolean } } & ServerSettings)
  | { kind: 'unix'; path: string }
  | { kind: 'exec'; command: readonly string[]; on: 'pty' | 'pipe' }
  /** One of both: the path itself, or a command that prints it, asked again at each opening. */
  | { kind: 'pty'; path: string; command: null }
  | { kind: 'pty'; path: null; command: readonly string[] }
  | UdpSettings
  | SplitSettings
  | { kind: 'sim'; machine: string; seed: number; speed: number };

/** A serial device: by its path, or whatever tty matches. */
export interface DeviceSettings {
  kind: 'device';
  /** Absolute; null: by `match`. */
  path: string | null;
  match: DeviceMatch | null;
  signals: { dtr?: boolean; rts?: boolean };
  rs485: Rs485Settings | null;
}

/** All that is said must be so. At least one. */
export interface DeviceMatch {
  /** USB ids, four lower-case hexadecimal digits. */
  vendor?: string;
  product?: string;
  /** USB serial number, as the device gives it. */
  serial?: string;
  /** USB interface number, of adapters with several lines: `bInterfaceNumber`. */
  interface?: number;
  /** Where it is plugged: `1-1.2`, the kernel's name of the USB device. */
  usbPath?: string;
}

/** Driver's half-duplex: RTS turns the transmitter on (linux/serial.h, struct serial_rs485). */
export interface Rs485Settings {
  /** RTS while it sends; the opposite when it does not. */
  rtsOnSend: boolean;
  /** Whole milliseconds; the kernel's limit is 100. */
  delayBeforeMs: number;
  delayAfterMs: number;
  /** The receiver stays on while it sends. */
  hearsItself: boolean;
}

/** A line at a terminal server. */
export interface ServerSettings {
  host: string;
  tcpPort: number;
  tls: ClientTlsSettings | null;
}

/** Absolute paths of PEM files, read at each opening. */
export interface ClientTlsSettings {
  /** Authorities of the server's certificate; null: those of the system. */
  ca: string | null;
  cert: string | null;
  key: string | null;
  /** Name the certificate must be for; null: the host's. */
  serverName: string | null;
}

export interface UdpAddress {
  host: string;
  udpPort: number;
}

/** `plain`: a datagram's bytes as they are. `netconsole`: of the Linux kernel, basic or extended. */
export type UdpFormat = 'plain' | 'netconsole';

/** Datagrams of one source; many ports share one listening socket. */
export interface UdpSettings {
  kind: 'udp';
  listen: UdpAddress;
  /** CIDRs of the source; never empty. */
  from: readonly string[];
  /** null: any. */
  sourcePort: number | null;
  format: UdpFormat;
}

/**
 * A part of another port's line. `high`, `low`: the bytes with the top bit set or clear, which is
 * taken off and put on (Xen's com1H, com1L). `gdb`: packets of gdb's remote protocol; `console`: all
 * else.
 */
export interface SplitSettings {
  kind: 'split';
  /** Name of the port. */
  of: string;
  part: 'high' | 'low' | 'gdb' | 'console';
}
