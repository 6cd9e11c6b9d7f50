import { isIP } from 'node:net';
import * as z from 'zod';
import { isPortName, NAME_PATTERN } from '../core/names.ts';
import type { Rs485Settings, UdpAddress } from '../core/settings.ts';
import {
  address,
  checkedText,
  cidr,
  cidrs,
  command,
  devicePath,
  duration,
  map,
  oneKeyOf,
  oneOf,
  path,
  text,
  wholeNumber,
  wrong,
} from './shapes.ts';
import { canonicalHost, isHost, parseAddress } from './units.ts';

/*
 * Where the bytes of a port come from: the shapes of each backend's key. Each port has exactly one of
 * them; what they become, and what two ports cannot share, is in backends.ts.
 */

const usbIdExpected = 'four hexadecimal digits in quotes, such as "0403"';
/** Four lower-case hexadecimal digits. YAML takes most of them for a decimal number when unquoted. */
const usbId = z
  .union([z.string(), z.number()], { error: () => usbIdExpected })
  .transform((given, context) => {
    const digits = /^(?:0x)?([0-9a-f]{4})$/i.exec(String(given))?.[1];
    if (typeof given === 'string' && digits !== undefined) return digits.toLowerCase();
    const what = typeof given === 'number' ? `YAML reads the number ${given} here` : null;
    context.issues.push({
      code: 'custom',
      message: usbIdExpected,
      params: { what },
      input: given,
    });
    return z.NEVER;
  });

const match = map('a map with vendor, product, serial, interface and usbPath', {
  vendor: usbId.optional().describe('USB vendor id, four hexadecimal digits in quotes: `"0403"`.'),
  product: usbId.optional().describe('USB product id, four hexadecimal digits in quotes.'),
  serial: checkedText('a USB serial number in quotes', (given) => /^\P{Cc}{1,126}$/u.test(given))
    .optional()
    .describe('USB serial number, as the device gives it.'),
  interface: wholeNumber(0, 255)
    .optional()
    .describe('USB interface number, for adapters with several lines: 0 is the first.'),
  usbPath: checkedText('a place on the USB, such as 1-1.2', (given) =>
    /^\d{1,3}-\d{1,3}(\.\d{1,3}){0,6}$/.test(given),
  )
    .optional()
    .describe('Where it is plugged in, as the kernel names it: `1-1.2`.'),
}).superRefine((value, context) => {
  if (context.issues.length > 0) return; // a mistyped key explains it
  if (Object.values(value).some((part) => part !== undefined)) return;
  const message = 'at least one of vendor, product, serial, interface and usbPath';
  context.addIssue({ code: 'custom', message, params: { what: 'fits every device' } });
});

const delay = duration(0, 100, 'a duration from 0ms to 100ms');
const rs485Defaults: Rs485Settings = {
  rtsOnSend: true,
  delayBeforeMs: 0,
  delayAfterMs: 0,
  hearsItself: false,
};
/** Half-duplex by the driver; null: none. */
export const rs485 = z
  .union(
    [
      z.boolean(),
      map('a map with rtsOnSend, before, after and hearsItself', {
        rtsOnSend: oneOf('high', 'low')
          .default('high')
          .describe('RTS while it sends; the opposite when it does not.'),
        before: delay.prefault('0ms').describe('From RTS to the first bit, such as `1ms`.'),
        after: delay.prefault('0ms').describe('From the last bit to RTS, such as `1ms`.'),
        hearsItself: z
          .boolean({ error: () => 'true or false' })
          .default(false)
          .describe('The receiver stays on while it sends.'),
      }),
    ],
    { error: () => 'true, false, or a map with rtsOnSend, before, after and hearsItself' },
  )
  .transform((value): Rs485Settings | null => {
    if (typeof value === 'boolean') return value ? rs485Defaults : null;
    const { rtsOnSend, before, after, hearsItself } = value;
    return {
      rtsOnSend: rtsOnSend === 'high',
      delayBeforeMs: before,
      delayAfterMs: after,
      hearsItself,
    };
  });

/** TLS towards a server; null: none. Paths are relative to the file yet. */
export const clientTls = z
  .union(
    [
      z.boolean(),
      map('a map with ca, cert, key and serverName', {
        ca: path
          .optional()
          .describe(
            'File with the authorities of the server, PEM. Without it those of the system.',
          ),
        cert: path.optional().describe('File with our certificate, PEM, if the server asks.'),
        key: path.optional().describe('File with its private key, PEM.'),
        serverName: checkedText('a host name or an IP address', isHost)
          .optional()
          .describe('Name the certificate must be for, where it is not that of the host.'),
      }).superRefine(({ cert, key }, context) => {
        if ((cert === undefined) === (key === undefined)) return;
        const [has, lacks] = cert === undefined ? ['key', 'cert'] : ['cert', 'key'];
        const what = `has a ${has} and no ${lacks}`;
        context.addIssue({ code: 'custom', message: 'both or neither', params: { what } });
      }),
    ],
    { error: () => 'true, false, or a map with ca, cert, key and serverName' },
  )
  .transform((value) => (typeof value === 'boolean' ? (value ? {} : null) : value));

const exec = z
  .union(
    [
      command,
      map('a map with command and on', {
        command: command.describe('The command and its arguments, as a list.'),
        on: oneOf('pty', 'pipe')
          .default('pty')
          .describe(
            '`pty`: on a terminal of its own. `pipe`: on pipes, byte for byte; what it says on its standard error is in the journal.',
          ),
      }),
    ],
    {
      error: () =>
        'a list of the command and its arguments (no shell reads it), or a map with command and on',
    },
  )
  .transform((value) => (Array.isArray(value) ? { command: value, on: 'pty' as const } : value));

const pty = z
  .union(
    [
      devicePath('/dev/pts/1'),
      map('a map with command', {
        command: command.describe(
          'Command that prints the path, such as `[virsh, ttyconsole, vm1]`.',
        ),
      }),
    ],
    { error: () => 'a path, or a map with command' },
  )
  .transform((value) => (typeof value === 'string' ? { path: value } : value));

const udpExpected = 'an address and UDP port, such as 0.0.0.0:6666 or "[::]:6666"';
/** One spelling for each address, as ports share a socket by it. */
export const udpAddress = text<UdpAddress>(udpExpected, (given) => {
  const at = parseAddress(given);
  if (!at || at.tcpPort === 0) return wrong();
  if (isIP(at.host.split('%')[0]!) === 0) return wrong(`"${at.host}" is no IP address`);
  return { value: { host: canonicalHost(at.host), udpPort: at.tcpPort } };
});
const fromExpected = 'an address, a block such as 10.0.0.0/8, or a list of them';
export const udpFrom = z
  .union([cidr.transform((block) => [block]), cidrs.min(1, { error: () => fromExpected })], {
    error: () => fromExpected,
  })
  .describe('Whose datagrams are taken: an address, a block, or a list of them.');
export const udpFormat = oneOf('plain', 'netconsole');

const udp = map('a map with listen, from, sourcePort and format', {
  listen: udpAddress.describe(
    'Address and UDP port to listen on; ports with the same share a socket.',
  ),
  from: udpFrom,
  sourcePort: wholeNumber(1, 65_535)
    .optional()
    .describe(
      'UDP port that the datagrams come from. Without it: any that no other port of ours names.',
    ),
  format: udpFormat
    .default('plain')
    .describe(
      '`plain`: the bytes as they are. `netconsole`: of the Linux kernel, basic or extended.',
    ),
});

const split = oneKeyOf(
  map('a map with of, and half or gdb', {
    of: checkedText('the name of a port', isPortName).describe('Port whose line it is.'),
    half: oneOf('high', 'low')
      .optional()
      .describe(
        'The bytes with the top bit set (`high`) or clear (`low`), which is taken off and put on: com1H and com1L of Xen.',
      ),
    gdb: z
      .boolean({ error: () => 'true or false' })
      .optional()
      .describe('`true`: the packets of a gdb stub. `false`: all else, the console.'),
  }),
  ['half', 'gdb'],
).transform(({ of, half, gdb }) => ({ of, part: half ?? (gdb ? 'gdb' : 'console') }) as const);

const simMachine = checkedText('the name of a simulated machine', (word) =>
  NAME_PATTERN.test(word),
);
const simDefaults = { seed: 1, speed: 1 };
const sim = z
  .union(
    [
      simMachine,
      map('a map with machine, seed and speed', {
        machine: simMachine.describe('Which machine is simulated.'),
        seed: wholeNumber(0, 4_294_967_295)
          .default(simDefaults.seed)
          .describe('The same seed gives the same machine.'),
        speed: z
          .number({ error: () => 'a number above 0' })
          .positive({ error: () => 'a number above 0' })
          .default(simDefaults.speed)
          .describe('How much faster than life it runs.'),
      }),
    ],
    { error: () => 'the name of a simulated machine, or a map with machine, seed and speed' },
  )
  .transform((value) => (typeof value === 'string' ? { machine: value, ...simDefaults } : value));

/** The keys that say where a port's bytes come from: exactly one of them. */
export const backends = {
  device: devicePath('/dev/serial/by-id/...')
    .optional()
    .describe('Backend: a serial device. Prefer the paths in /dev/serial/by-id or by-path.'),
  match: match
    .optional()
    .describe(
      'Backend: the serial device of which all this is so, whatever its path: `{ vendor: "0403", serial: FT1 }`.',
    ),
  tcp: address('10.0.0.9:5001')
    .optional()
    .describe('Backend: a TCP server, host:port, connected to again when it goes away.'),
  telnet: address('10.0.0.9:2001')
    .optional()
    .describe('Backend: a telnet server, host:port, such as a port of a terminal server.'),
  rfc2217: address('10.0.0.9:5001')
    .optional()
    .describe(
      'Backend: a telnet server with RFC 2217, host:port: line settings, signals and BREAK go through.',
    ),
  unix: devicePath('/run/qemu/vm1.sock')
    .optional()
    .describe('Backend: a unix socket, such as the one of a QEMU serial port.'),
  exec: exec
    .optional()
    .describe(
      'Backend: a command on a terminal of its own, as a list: `[virsh, console, vm1]`; or a map with command and on. Started again when it ends.',
    ),
  pty: pty
    .optional()
    .describe('Backend: the path of an existing pty, or a map with the command that prints it.'),
  udp: udp
    .optional()
    .describe('Backend: the datagrams of one source, such as the netconsole of a Linux kernel.'),
  split: split
    .optional()
    .describe(
      'Backend: a part of the line of another port: of Xen, or of a kernel with a gdb stub.',
    ),
  sim: sim
    .optional()
    .describe('Backend: a simulated machine, by name or as a map with machine, seed and speed.'),
};

export type BackendKey = keyof typeof backends;
export const BACKEND_KEYS = Object.keys(backends) as BackendKey[];
