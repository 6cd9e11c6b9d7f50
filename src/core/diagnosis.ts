import type { FormattedLineSettings } from './line-settings.ts';

/** What a USB adapter says of itself, and where it is plugged. */
export interface UsbIdentity {
  /** Four lower-case hexadecimal digits. */
  vendor: string;
  product: string;
  /** null: it has no serial number. */
  serial: string | null;
  maker: string | null;
  model: string | null;
  /** bInterfaceNumber. */
  interface: number;
  /** The kernel's name of the USB device: `1-1.2`, busnum-devpath. */
  usbPath: string;
}

/** A serial line of this machine, as `discover` shows it. */
export interface DiscoveredLine {
  /** The most stable path there is. */
  path: string;
  /** `/dev/ttyUSB0` */
  device: string;
  driver: string | null;
  usb: UsbIdentity | null;
  /** Another adapter says the same of itself, to the serial number. */
  sharesIdentity: boolean;
  /** The kernel of this machine writes its own messages there. */
  isConsole: boolean;
  /** null: nobody whom this user may see. */
  heldBy: { pid: number; name: string } | null;
  /** The port that uses it. */
  port: string | null;
  said: Heard | null;
}

/** What a line said while it was listened to, or last. */
export interface Heard {
  /** In these seconds; null: not counted, as it is from the log. */
  bytes: number | null;
  /** The last line of it, made safe; empty: nothing. */
  text: string;
  /** At which settings it was listened to. */
  line: FormattedLineSettings | null;
  /** Why it could not be listened to; null: it was. */
  why: string | null;
}

/** What `doctor` found. */
export interface Finding {
  /** Of the check: API, as programs look for it. */
  id: string;
  /** `error`: it does not work. `warning`: it will hurt. `note`: it could be better. */
  severity: 'error' | 'warning' | 'note';
  /** A port's name, a path, or what of the machine it is about. */
  subject: string;
  why: string;
  fix: string;
}

/** What came back through a loop-back plug (2-3, 7-8, 4-6 with 1 on a DE-9). */
export interface LoopbackResult {
  device: string;
  line: FormattedLineSettings;
  sentBytes: number;
  /** Of the bytes sent: came back as they were, came back as something else, did not come back. */
  right: number;
  wrong: number;
  missing: number;
  /** Came back though never sent. */
  extra: number;
  parity: number;
  framing: number;
  overrun: number;
  breaks: number;
  /** From the first byte sent to the last one back. */
  durationMs: number;
  /** Of each signal we drive: those that followed it both ways; null: this line cannot tell. */
  signals: { rts: readonly string[] | null; dtr: readonly string[] | null };
}
