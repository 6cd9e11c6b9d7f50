import type { DiscoveredLine } from '../core/diagnosis.ts';
import { isPortName } from '../core/names.ts';

/**
 * `ports:` of the configuration file for the lines that no port uses yet; null: each has one. A
 * path where udev made a stable one, else a `match:`.
 */
export function stanzaFor(lines: readonly DiscoveredLine[]): string | null {
  const taken = new Set(lines.map(({ port }) => port?.toLowerCase() ?? ''));
  const entries = lines
    .filter(({ port }) => port === null)
    .map((line) => {
      const entry = `${suggestName(line, taken)}: ${settingsOf(line)}`;
      return line.isConsole ? `  # this machine's own console: ${entry}\n` : `  ${entry}\n`;
    });
  return entries.length === 0 ? null : `ports:\n${entries.join('')}`;
}

/** What it calls itself and the end of its serial number, else the kernel's name; never one twice. */
function suggestName({ device, usb }: DiscoveredLine, taken: Set<string>): string {
  const bare = device.replace(/^.*\//, '');
  const serial = (usb?.serial ?? '').replace(/[^A-Za-z0-9]/g, '').slice(-SERIAL_CHARACTERS);
  const model = (usb?.model ?? '').split(/[^A-Za-z0-9]+/).filter((word) => word !== '');
  const wished =
    usb === null || model.length === 0
      ? bare
      : [model[0]!.slice(0, MODEL_CHARACTERS).toLowerCase(), serial, usb.interface || '']
          .filter((part) => part !== '')
          .join('-');
  const candidates = [
    wished,
    bare,
    ...Array.from({ length: 999 }, (_, at) => `${wished}-${at + 2}`),
  ];
  const name =
    candidates.find((each) => isPortName(each) && !taken.has(each.toLowerCase())) ?? bare;
  taken.add(name.toLowerCase());
  return name;
}

const SERIAL_CHARACTERS = 8;
const MODEL_CHARACTERS = 16;

function settingsOf({ path, device, usb, sharesIdentity }: DiscoveredLine): string {
  if (usb === null || path !== device) return `{ device: ${quoted(path)} }`;
  const byPlace = usb.serial === null || sharesIdentity;
  const match = [
    `vendor: ${quoted(usb.vendor)}`,
    `product: ${quoted(usb.product)}`,
    byPlace ? `usbPath: ${quoted(usb.usbPath)}` : `serial: ${quoted(usb.serial!)}`,
    ...(usb.interface === 0 ? [] : [`interface: ${usb.interface}`]),
  ];
  return `{ match: { ${match.join(', ')} } }`;
}

/** Plain where YAML takes it for a text whatever it holds, else a JSON string, which YAML reads. */
function quoted(text: string): string {
  return /^\/[A-Za-z0-9_/.-]+$/.test(text) ? text : JSON.stringify(text);
}
