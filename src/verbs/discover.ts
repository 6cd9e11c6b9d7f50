import type { DiscoveredLine, Heard } from '../core/diagnosis.ts';
import { parseLineSettings } from '../core/line-settings.ts';
import { sanitizeText } from '../protocols/sanitize.ts';
import { stanzaFor } from './stanza.ts';
import { formatTable } from './table.ts';
import type { Column } from './table.ts';
import { flag, needLocal, positiveNumber, text } from './verb.ts';
import type { Verb } from './verb.ts';

export const discoverVerb: Verb = {
  name: 'discover',
  summary: 'lists the serial lines of this machine, and what to write into the configuration',
  usage: '',
  args: [],
  right: null,
  where: 'local',
  needsDaemon: false,
  options: [
    { flags: '--listen <seconds>', does: 'open those that are free, and show what they say' },
    { flags: '--line <settings>', does: 'with --listen: at these settings, such as "9600 8N1"' },
    { flags: '--json', does: 'print one JSON array' },
  ],
  details: [
    'Each line with its most stable path, its driver, who holds it, which port uses it, and what that',
    'port said last. A ttyS without a UART is left out. --listen raises DTR and RTS of the lines it',
    'opens, which resets some boards; a line that somebody holds is left alone. Only root sees all',
    'who hold a line.',
  ],
  examples: [
    { command: 'fairlead discover', does: 'what is there; opens nothing' },
    { command: 'fairlead discover --listen 5', does: 'which of them speaks at 115200 8N1' },
  ],
  async run(context, parsed) {
    const { io } = context;
    const { lines } = needLocal(context);
    const seconds = positiveNumber(parsed, 'listen');
    const line = text(parsed, 'line');
    const found = await lines.discover(
      {
        listenMs: seconds === undefined ? null : seconds * 1_000,
        line: line === undefined ? null : parseLineSettings(line),
      },
      io.signal,
      (note) => io.writeError(`${note}\n`),
    );
    if (flag(parsed, 'json')) {
      await io.write(`${JSON.stringify(found, null, 2)}\n`);
      return 0;
    }
    if (found.length === 0) {
      await io.writeError('this machine has no serial line; "fairlead doctor" may know why\n');
      return 0;
    }
    await io.write(formatTable(COLUMNS, found, io.isTerminal ? io.size().columns : null));
    const stanza = stanzaFor(found);
    if (stanza !== null) await io.write(`\nFor the configuration file:\n\n${stanza}`);
    return 0;
  },
};

const COLUMNS: readonly Column<DiscoveredLine>[] = [
  { title: 'DEVICE', of: (line) => line.device },
  { title: 'PORT', of: (line) => line.port },
  { title: 'DRIVER', of: (line) => line.driver, spare: 2 },
  {
    title: 'USB',
    of: ({ usb }) => (usb === null ? null : `${usb.vendor}:${usb.product}`),
    spare: 3,
  },
  { title: 'SERIAL', of: ({ usb }) => usb?.serial ?? null, spare: 1 },
  { title: 'AT', of: ({ usb }) => usb?.usbPath ?? null, spare: 4 },
  { title: 'HELD BY', of: ({ heldBy }) => (heldBy === null ? null : holderOf(heldBy)) },
  { title: 'BYTES', of: ({ said }) => said?.bytes ?? null, right: true },
  { title: 'SAID', of: ({ said }) => (said === null ? null : heard(said)) },
  { title: 'PATH', of: (line) => (line.path === line.device ? null : line.path), spare: 5 },
];

function holderOf({ pid, name }: { pid: number; name: string }): string {
  return `${sanitizeText(name) || 'process'} (${pid})`;
}

function heard({ text: said, why }: Heard): string {
  return why ?? said;
}
