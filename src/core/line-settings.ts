import { Fault } from './fault.ts';

export type Parity = 'none' | 'odd' | 'even' | 'mark' | 'space';
export type Flow = 'none' | 'rtscts' | 'xonxoff';

/** Line settings of an asynchronous serial line (baud, data bits, parity, stop bits). */
export interface LineSettings {
  baud: number;
  dataBits: 5 | 6 | 7 | 8;
  parity: Parity;
  stopBits: 1 | 1.5 | 2;
}

export interface SignalStates {
  dtr?: boolean;
  rts?: boolean;
  cts?: boolean;
  dsr?: boolean;
  dcd?: boolean;
  ri?: boolean;
}

/** A line as it is now. */
export interface LineState {
  /** null where there is no UART: network lines, commands. */
  line: LineSettings | null;
  flow: Flow;
  /** What is known of the signals: those we drive, and those we see. */
  signals: SignalStates;
  /** The line is held in BREAK by `setBreak`. */
  isBreaking: boolean;
}

/** `115200 8N1` */
export type FormattedLineSettings = string;

const PARITY_LETTERS: Record<string, Parity> = {
  n: 'none',
  o: 'odd',
  e: 'even',
  m: 'mark',
  s: 'space',
};

/**
 * Reads line settings as people write them: `115200 8N1`, `115200,8n1` (GRUB, Xen `com1=`),
 * `9600n81` (IOS and old Linux `console=` order: parity, bits, stop), `115200n8` (Linux), `115200`.
 * @throws Fault LINE_SETTINGS_INVALID with what was expected.
 */
export function parseLineSettings(text: string): LineSettings {
  const trimmed = text.trim().toLowerCase();
  const match =
    /^(\d{1,8})(?:[ ,/]*(?:([5-8])([noems])(1\.5|1|2)|([noems])([5-8])(1\.5|1|2)?))?$/.exec(
      trimmed,
    );
  const baud = match ? Number(match[1]) : 0;
  if (!match || baud < 1) {
    throw new Fault(
      'LINE_SETTINGS_INVALID',
      `"${text}" is not a line setting; expected baud, data bits 5-8, parity N/O/E/M/S and stop bits 1/1.5/2, as in "115200 8N1"`,
    );
  }
  const parity = PARITY_LETTERS[match[3] ?? match[5] ?? 'n'] ?? 'none';
  return {
    baud,
    dataBits: Number(match[2] ?? match[6] ?? 8) as LineSettings['dataBits'],
    parity,
    stopBits: Number(match[4] ?? match[7] ?? 1) as LineSettings['stopBits'],
  };
}

/** `115200 8N1`; the inverse of `parseLineSettings`. */
export function formatLineSettings(line: LineSettings): FormattedLineSettings {
  return `${line.baud} ${line.dataBits}${line.parity[0]!.toUpperCase()}${line.stopBits}`;
}
