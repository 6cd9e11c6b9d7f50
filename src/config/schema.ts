import * as z from 'zod';
import { Fault } from '../core/fault.ts';
import { parseLineSettings } from '../core/line-settings.ts';
import { globMatches, isPortName, NAME_PATTERN } from '../core/names.ts';
import { BUILT_IN_ROLES, RIGHTS } from '../core/user.ts';
import { parseCidr } from '../auth/cidr.ts';
import { parsePasswordHash } from '../auth/password.ts';
import { formatPublicKey, parseAuthorizedKey, PUBLIC_KEY_EXPECTED } from '../auth/ssh-keys.ts';
import { isHost, parseAddress, parseDurationMs, parseSizeBytes } from './units.ts';

/*
 * The whole file, as zod schemas. Two conventions tie them to zod-problems.ts: a schema's error
 * message is what was expected (it follows the word "expected"), and a transform that refuses says
 * what is wrong in `params.what`. Descriptions become docs/config.md and the editors' JSON Schema.
 */

/** Keys of DESIGN 6 that a later version brings, by the map they stand in: refused, but not as unknown. */
export const keysOfLaterVersions = z.registry<{ keys: readonly string[] }>();

/** Reads a text, or says what is wrong with it (null: that it does not fit). */
type Reader<T> = (text: string) => Right<T> | Wrong;
type Right<T> = { value: T };
type Wrong = { wrong: string | null };

function text<T>(expected: string, read: Reader<T>) {
  return z
    .string({ error: () => expected })
    .transform((input, context) => pass(read(input), expected, input, context));
}

function textOrNumber<T>(expected: string, read: Reader<T>) {
  return z
    .union([z.string(), z.number()], { error: () => expected })
    .transform((input, context) => pass(read(String(input)), expected, input, context));
}

function pass<T>(
  result: Right<T> | Wrong,
  expected: string,
  input: unknown,
  context: z.core.$RefinementCtx,
): T {
  if ('value' in result) return result.value;
  context.issues.push({ code: 'custom', message: expected, params: { what: result.wrong }, input });
  return z.NEVER;
}

function wrong(what: string | null = null): Wrong {
  return { wrong: what };
}

function orWrong<T>(value: T | null): Right<T> | Wrong {
  return value === null ? wrong() : { value };
}

/** A text that has to look right and is kept as it is. */
function checkedText(expected: string, isRight: (input: string) => boolean) {
  return text(expected, (input) => (isRight(input) ? { value: input } : wrong()));
}

function oneOf<const T extends readonly [string, ...string[]]>(...words: T) {
  return z.enum(words, { error: () => inWords(words) });
}

function wholeNumber(min: number, max: number) {
  const error = (): string => `a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

function listOf<T extends z.ZodType>(item: T, expected: string) {
  return z.array(item, { error: () => expected });
}

/** A map with these keys and no others. */
function map<T extends z.core.$ZodShape>(
  expected: string,
  shape: T,
  later: readonly string[] = [],
) {
  const schema = z.strictObject(shape, { error: () => expected });
  keysOfLaterVersions.add(schema, { keys: later });
  return schema;
}

/** "~" is the shell's to fill in. */
export function isPath(input: string): boolean {
  return input !== '' && !input.startsWith('~') && !input.includes('\0');
}

/** Where a bare word would be a mistake: `ttyS0`. */
function isDevicePath(input: string): boolean {
  return /^(\/|\.\.?\/)./.test(input) && isPath(input);
}

/** A pattern of port names, or `@group`. */
export function isPortPattern(input: string): boolean {
  if (input.startsWith('@')) return NAME_PATTERN.test(input.slice(1));
  if (!/^[A-Za-z0-9._*?[\]!-]{1,64}$/.test(input)) return false;
  if (/\[(?!!?[^\]]+\])|(?<!\[!?[^[\]]+)\]/.test(input)) return false;
  try {
    globMatches(input, '');
    return true;
  } catch {
    return false; // a range upside down: [z-a]
  }
}

const path = checkedText('a path (relative to this file; "~" is not filled in)', isPath);
const devicePath = (example: string) =>
  checkedText(`a path from "/", "./" or "../", such as ${example}`, isDevicePath);
const name = checkedText(
  'a name: letters, digits, ".", "_" and "-", at most 64, the first a letter or digit',
  (input) => NAME_PATTERN.test(input),
);
const portName = checkedText(
  'a name: letters, digits, ".", "_" and "-", at most 64, the first a letter or digit, not all digits',
  isPortName,
);
const cidr = text('an address or block such as 10.0.0.0/8 or 2001:db8::/32', (input) => {
  const block = parseCidr(input);
  return 'wrong' in block ? block : { value: input };
});
const address = (example: string) =>
  text(`host:port, such as ${example} or "[::1]:8022"`, (input) => orWrong(parseAddress(input)));

const flow = oneOf('none', 'rtscts', 'xonxoff');
const onOff = z
  .union([z.boolean(), z.enum(['on', 'off'])], { error: () => 'on or off' })
  .transform((input) => input === true || input === 'on');
const signals = map('a map with dtr and rts', {
  dtr: onOff.optional().describe('Data Terminal Ready: on or off.'),
  rts: onOff.optional().describe('Request To Send: on or off.'),
});
const line = textOrNumber(
  'baud, data bits 5-8, parity N/O/E/M/S and stop bits 1/1.5/2, as in "115200 8N1"',
  (input) => {
    try {
      return { value: parseLineSettings(input) };
    } catch (error) {
      if (error instanceof Fault) return wrong(`"${input}" is not a line setting`);
      throw error;
    }
  },
);

const lineText =
  'Line settings: `115200 8N1`, `115200,8n1`, `9600n81`, or the baud rate alone for 8N1.';
const flowText = 'Flow control: `none`, `rtscts` or `xonxoff`.';
const inputText =
  'What the log keeps of what people type: `masked` (only what the device echoes), `full` or `none`.';
const latencyText = '`low`: read at once also while nobody watches.';
const writersText = '`many`: several people may write at the same time.';
const input = oneOf('masked', 'full', 'none');
const latency = oneOf('normal', 'low');
const writers = oneOf('one', 'many');

const portOptions = {
  line: line.optional().describe(lineText),
  flow: flow.optional().describe(flowText),
  input: input.optional().describe(inputText),
  latency: latency.optional().describe(latencyText),
  writers: writers.optional().describe(writersText),
  group: name.optional().describe('Group of the port, for `@group` in the `ports` of a user.'),
  signals: signals
    .optional()
    .describe(
      'Signals to set right after a device was opened; others stay as the kernel set them.',
    ),
};

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
export const BACKEND_KEYS = ['device', 'tcp', 'unix', 'exec', 'pty', 'sim'] as const;
const laterPortKeys = ['rfc2217', 'udp', 'split', 'power', 'expose', 'onDetach', 'tasks'];

export const portSchema = map(
  `a map with one of ${BACKEND_KEYS.join(', ')}`,
  {
    n: wholeNumber(1, 999)
      .optional()
      .describe(
        'Small number of the port, unique; its raw door is at base + n. Without it the port has no numbered door. `fairlead check --assign` fills in missing ones.',
      ),
    aliases: listOf(portName, 'a list of names').optional().describe('Other names of the port.'),
    was: portName.optional().describe('Former name: the port keeps its log through the rename.'),
    profile: name.optional().describe('Profile whose settings the port takes over.'),
    device: devicePath('/dev/serial/by-id/...')
      .optional()
      .describe('Backend: a serial device. Prefer the paths in /dev/serial/by-id or by-path.'),
    tcp: address('10.0.0.9:5001')
      .optional()
      .describe('Backend: a TCP server, host:port, connected to again when it goes away.'),
    unix: devicePath('/run/qemu/vm1.sock')
      .optional()
      .describe('Backend: a unix socket, such as the one of a QEMU serial port.'),
    exec: listOf(
      z.string({ error: () => 'a word of the command (quote numbers)' }),
      'a list of the command and its arguments; no shell reads it',
    )
      .min(1, { error: () => 'a command' })
      .optional()
      .describe(
        'Backend: a command on a terminal of its own, as a list: `[virsh, console, vm1]`. Started again when it ends.',
      ),
    pty: devicePath('/dev/pts/1').optional().describe('Backend: the path of an existing pty.'),
    sim: sim
      .optional()
      .describe('Backend: a simulated machine, by name or as a map with machine, seed and speed.'),
    ...portOptions,
  },
  laterPortKeys,
);

export const profileSchema = map(
  'a map of port settings',
  {
    profile: name.optional().describe('Profile that this one builds on.'),
    ...portOptions,
  },
  laterPortKeys,
);

export const defaultsSchema = map(
  'a map of port settings',
  {
    line: line.prefault('115200 8N1').describe(lineText),
    flow: flow.default('none').describe(flowText),
    input: input.default('masked').describe(inputText),
    latency: latency.default('normal').describe(latencyText),
    writers: writers.default('one').describe(writersText),
  },
  laterPortKeys,
);

const passwordText = 'a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...';
const passwordHash = text(passwordText, (given) =>
  parsePasswordHash(given)
    ? { value: given }
    : wrong(given.startsWith('$scrypt$') ? 'this hash is damaged' : 'this is no scrypt hash'),
);

const publicKey = text(PUBLIC_KEY_EXPECTED, (given) => {
  try {
    return { value: formatPublicKey(parseAuthorizedKey(given)) };
  } catch (error) {
    if (error instanceof Fault) return wrong(error.message);
    throw error;
  }
});

export const userSchema = map('a map with role, ports and keys or a password', {
  role: name.describe(
    `What the user may do: ${Object.keys(BUILT_IN_ROLES).join(', ')}, or a role of \`roles\`.`,
  ),
  ports: listOf(
    checkedText('a pattern of port names such as db1 or "db*", or "@group"', isPortPattern),
    'a list of patterns',
  )
    .prefault([])
    .describe(
      'Patterns of port names (`*`, `?`, `[abc]`), or `@group`. Without any the user has no ports; an admin has all.',
    ),
  keys: listOf(publicKey, 'a list of public keys')
    .prefault([])
    .describe('Public keys, as in a .pub file: ssh-ed25519, ecdsa-sha2-* or ssh-rsa.'),
  keysFile: path.optional().describe('A file with more public keys, one on each line.'),
  password: passwordHash
    .optional()
    .describe('Hash of the password, as `fairlead user hash` prints it; never the password.'),
  passwordFile: path.optional().describe('A file with that hash, instead of `password`.'),
  unix: checkedText('the name of a unix user', (word) =>
    /^[A-Za-z0-9_][A-Za-z0-9._$-]{0,63}$/.test(word),
  )
    .optional()
    .describe('The unix user who is this user on the control socket.'),
  from: listOf(cidr, 'a list of address blocks')
    .prefault([])
    .describe('Address blocks the user may come from. Without any: from anywhere.'),
});

const sshDefault = '127.0.0.1:8022';
const door = address(sshDefault);
const ssh = z
  .union(
    [
      z.literal('none'),
      door,
      map(
        'a map with address and allow',
        {
          address: door.describe('Where to listen, host:port.'),
          allow: listOf(cidr, 'a list of address blocks')
            .prefault([])
            .describe('Address blocks that may connect. Without any: all.'),
        },
        ['tls'],
      ),
    ],
    { error: () => `host:port, such as ${sshDefault}, a map with address and allow, or none` },
  )
  .transform((value) => {
    if (value === 'none') return null;
    if ('address' in value) return { ...value.address, allow: value.allow };
    return { ...value, allow: [] };
  });

const rawNeeds = ', as a raw door has no login: it needs auth: none, allow and as';
const raw = map(
  'a map with host, base, auth, allow and as',
  {
    host: checkedText('an IP address or host name', isHost)
      .prefault('127.0.0.1')
      .describe('Address to listen on.'),
    base: wholeNumber(1, 65_534).default(4000).describe('Port n is at base + n.'),
    auth: z
      .literal('none', { error: () => `none${rawNeeds}` })
      .describe('Must be `none`: says that you know there is no login.'),
    allow: listOf(cidr, `a list of address blocks${rawNeeds}`)
      .min(1, { error: () => `at least one address block${rawNeeds}` })
      .describe('Address blocks that may connect.'),
    as: z
      .string({ error: () => `the name of a user${rawNeeds}` })
      .describe('User whom everybody on this door is.'),
  },
  ['tls'],
);

export const listenSchema = map(
  'a map of listeners',
  {
    ssh: ssh
      .prefault(sshDefault)
      .describe('The SSH door: host:port, a map with address and allow, or `none`.'),
    raw: raw.optional().describe('Raw TCP, a door for each port with n; closed unless configured.'),
  },
  ['web', 'telnet', 'port-ssh'],
);

const markMin = 1_000;
const markMax = 7 * 86_400_000;
export const markSchema = z
  .union(
    [
      z.literal('none'),
      text('a duration from 1s to 7d, such as 1h, or none', (given) => {
        const ms = parseDurationMs(given);
        return orWrong(ms !== null && ms >= markMin && ms <= markMax ? ms : null);
      }),
    ],
    { error: () => 'a duration from 1s to 7d, such as 1h, or none' },
  )
  .transform((value) => (value === 'none' ? null : value));

const spoolMin = 1_048_576;
const spoolMax = 1_073_741_824;
export const logSchema = map(
  'a map with codec and spool',
  {
    codec: oneOf('brotli', 'zstd')
      .default('brotli')
      .describe(
        'Compression of sealed segments. `zstd` needs Node 22.15 or later to write and read.',
      ),
    spool: textOrNumber('a size from 1M to 1G, such as 32M', (given) => {
      const bytes = parseSizeBytes(given);
      return orWrong(bytes !== null && bytes >= spoolMin && bytes <= spoolMax ? bytes : null);
    })
      .prefault('32M')
      .describe('Size of the spool that keeps what is not committed yet, in /run/fairlead.'),
  },
  ['retention', 'syslog'],
);

export const roleSchema = listOf(oneOf(...RIGHTS), `a list of rights: ${inWords(RIGHTS)}`).min(1, {
  error: () => 'at least one right',
});
export const dataSchema = path;
export const includeSchema = listOf(path, 'a list of paths, such as [ports.d/*.yaml]');

const sharedSections = {
  include: includeSchema
    .prefault([])
    .describe(
      'More files with `ports`, `profiles` and `users`: paths or patterns, relative to this file.',
    ),
  users: z
    .record(z.string().regex(NAME_PATTERN), userSchema, { error: () => 'a map of users' })
    .prefault({})
    .describe('Who may come in.'),
  profiles: z
    .record(z.string().regex(NAME_PATTERN), profileSchema, { error: () => 'a map of profiles' })
    .prefault({})
    .describe('Port settings by name, for `profile` of a port.'),
  ports: z
    .record(z.string().regex(NAME_PATTERN), portSchema, { error: () => 'a map of ports' })
    .prefault({})
    .describe(
      'The ports by name. The keys `device` to `sim` are backends: each port has exactly one.',
    ),
};

/** What an included file may hold. */
export const includedFileSchema = map('a map of ports, profiles and users', sharedSections);

export const fileSchema = map('a map with ports, users and listen', {
  data: dataSchema
    .prefault('/var/lib/fairlead')
    .describe('Directory of the database, the log and the keys.'),
  include: sharedSections.include,
  listen: listenSchema.prefault({}).describe('Ways in. All bind loopback until told otherwise.'),
  users: sharedSections.users,
  roles: z
    .record(z.string().regex(NAME_PATTERN), roleSchema, { error: () => 'a map of roles' })
    .prefault({})
    .describe(`Own roles: a list of rights each, of ${inWords(RIGHTS)}.`),
  profiles: sharedSections.profiles,
  defaults: defaultsSchema
    .prefault({})
    .describe('Settings of every port whose profile and own keys say nothing else.'),
  ports: sharedSections.ports,
  mark: markSchema.prefault('none').describe('Interval of MARK records, such as 1h.'),
  log: logSchema.prefault({}).describe('How the log is kept.'),
});

export type PortValue = z.output<typeof portSchema>;
export type ProfileValue = z.output<typeof profileSchema>;
export type DefaultsValue = z.output<typeof defaultsSchema>;
export type ListenValue = z.output<typeof listenSchema>;

/** `a, b or c` */
export function inWords(words: readonly string[]): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}
