import * as z from 'zod';
import { Fault } from '../core/fault.ts';
import { parseLineSettings } from '../core/line-settings.ts';
import { NO_PACE, POWER_ACTIONS, type PaceSettings } from '../core/settings.ts';
import {
  BACKEND_KEYS,
  backends,
  clientTls,
  rs485,
  udpAddress,
  udpFormat,
  udpFrom,
} from './backend-schema.ts';
import {
  busy,
  busyText,
  checkedText,
  command,
  devicePath,
  duration,
  listOf,
  map,
  name,
  oneOf,
  orNone,
  portName,
  prose,
  textOrNumber,
  unixName,
  wholeNumber,
  wrong,
} from './shapes.ts';
import { breaks, idle, idleTimeout, onDetach, onOpen, reset, tasks } from './step-schema.ts';

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

const paceExpected = 'a map with byte, line and newline, or none';
const paceWait = duration(1, 10_000, 'a duration from 1ms to 10s');
const pace = orNone(
  map('a map with byte, line and newline', {
    byte: paceWait.optional().describe('Wait after each byte, such as `1ms`.'),
    line: paceWait.optional().describe('Wait after each line end, such as `20ms`.'),
    newline: oneOf('as-is', 'cr', 'lf', 'crlf')
      .default(NO_PACE.newline)
      .describe('What a line end that a person or `send` types becomes.'),
  }),
  paceExpected,
)
  .transform((value): PaceSettings =>
    value ? { byteMs: value.byte ?? 0, lineMs: value.line ?? 0, newline: value.newline } : NO_PACE,
  )
  .meta({
    id: 'pace',
    description:
      'How fast and in which form typed input goes to a slow device: `{ byte: 1ms, line: 20ms, newline: cr }`, or `none`.',
  });

/** What a port, a profile and the defaults may all say. */
const settings = {
  line,
  flow: oneOf('none', 'rtscts', 'xonxoff'),
  input: oneOf('masked', 'full', 'none'),
  latency: oneOf('normal', 'low'),
  writers: oneOf('one', 'many'),
  pace,
  restoreLine: z.boolean({ error: () => 'true or false' }),
  onOpen,
  onDetach,
  idle,
  idleTimeout,
  motd: prose,
  reset,
  tasks,
  breaks,
};

const meanings: Readonly<Record<keyof typeof settings, string>> = {
  line: 'Line settings: `115200 8N1`, `115200,8n1`, `9600n81`, or the baud rate alone for 8N1.',
  flow: 'Flow control: `none`, `rtscts` or `xonxoff`.',
  input:
    'What the log keeps of what people type: `masked` (only what the device echoes), `full` or `none`.',
  latency: '`low`: read at once also while nobody watches.',
  writers: '`many`: several people may write at the same time.',
  pace: 'How fast and in which form what people type goes to a slow device; or `none`.',
  restoreLine:
    'Line settings and signals that a session changed go back to the configured ones when it leaves.',
  onOpen: 'Sent each time the line was opened.',
  onDetach:
    'Done when the last session that wrote has left, so that the next one does not find its shell.',
  idle: 'Sent when nothing came and nobody typed for so long, and again after each such time.',
  idleTimeout: 'People who type nothing for this long are let go, such as `30m`; or `none`.',
  motd: 'Message of the day, shown to people on attach after the one of the whole file; or `none`.',
  reset:
    'How the device is reset, as steps: `[dtr=off rts=on, 100ms, rts=off]`. The task `reset`; or `none`.',
  tasks: 'Tasks, beside those of the whole file; of one name the nearer counts.',
  breaks: 'The break list, beside that of the whole file; of one key the nearer counts.',
};

/** What a port, a profile and the ports made for UDP sources may say. */
const sharedOptions = {
  input: settings.input.optional().describe(meanings.input),
  latency: settings.latency.optional().describe(meanings.latency),
  writers: settings.writers.optional().describe(meanings.writers),
  group: name.optional().describe('Group of the port, for `@group` in the `ports` of a user.'),
  pace: pace.optional().describe(meanings.pace),
  restoreLine: settings.restoreLine.optional().describe(meanings.restoreLine),
  onOpen: onOpen.optional().describe(meanings.onOpen),
  onDetach: onDetach.optional().describe(meanings.onDetach),
  idle: idle.optional().describe(meanings.idle),
  idleTimeout: idleTimeout.optional().describe(meanings.idleTimeout),
  motd: settings.motd.optional().describe(meanings.motd),
  reset: reset.optional().describe(meanings.reset),
  tasks: tasks.optional().describe(meanings.tasks),
  breaks: breaks.optional().describe(meanings.breaks),
};

const portOptions = {
  line: line.optional().describe(meanings.line),
  flow: settings.flow.optional().describe(meanings.flow),
  signals: signals
    .optional()
    .describe(
      'Signals to set right after a device was opened; others stay as the kernel set them.',
    ),
  rs485: rs485
    .optional()
    .describe('Half-duplex of a serial device, done by its driver: `true`, or a map.'),
  ...sharedOptions,
};

const power = map(`a map with ${POWER_ACTIONS.join(', ')}`, {
  on: command.optional().describe('Command that turns the outlet on, as a list.'),
  off: command.optional().describe('Command that turns it off.'),
  cycle: command.optional().describe('Command that turns it off and on again.'),
  status: command.optional().describe('Command that prints its state.'),
}).superRefine((value, context) => {
  if (POWER_ACTIONS.some((action) => value[action] !== undefined)) return;
  const params = { what: 'an outlet that can do nothing' };
  context.addIssue({ code: 'custom', message: `one of ${POWER_ACTIONS.join(', ')}`, params });
});

const exposePath = devicePath('/run/fairlead/db1');
const modeExpected = 'access bits in quotes, such as "0600" or "0660"';
const modeDefault = '0600';
const mode = z.string({ error: () => modeExpected }).transform((given, context) => {
  if (/^0?[0246]{3}$/.test(given)) return Number.parseInt(given, 8);
  context.issues.push({ code: 'custom', message: modeExpected, input: given });
  return z.NEVER;
});
const expose = z
  .union(
    [
      exposePath,
      map('a map with path, mode, group, as and busy', {
        path: exposePath.describe('Path of a link to the pty; made when the daemon starts.'),
        mode: mode
          .prefault(modeDefault)
          .describe('Who may open it, in quotes: `"0660"` for a group. No execute bits.'),
        group: unixName('the name of a group').optional().describe('Group that owns the pty.'),
        as: name
          .optional()
          .describe('User whose rights count. Without one: every right, as whoever opens the pty.'),
        busy: busy.default('view').describe(busyText),
      }),
    ],
    { error: () => 'a path, or a map with path, mode, group, as and busy' },
  )
  .transform((value) =>
    typeof value === 'string'
      ? {
          path: value,
          mode: Number.parseInt(modeDefault, 8),
          group: undefined,
          as: undefined,
          busy: 'view' as const,
        }
      : value,
  );

export const portSchema = map(`a map with one of ${BACKEND_KEYS.join(', ')}`, {
  n: wholeNumber(1, 999)
    .optional()
    .describe(
      'Small number of the port, unique; its numbered doors are at base + n. Without it the port has none. `fairlead check --assign` fills in missing ones.',
    ),
  aliases: listOf(portName, 'a list of names').optional().describe('Other names of the port.'),
  was: portName.optional().describe('Former name: the port keeps its log through the rename.'),
  profile: name.optional().describe('Profile whose settings the port takes over.'),
  ...backends,
  tls: clientTls
    .optional()
    .describe('TLS towards a `tcp`, `telnet` or `rfc2217` server: `true`, or a map.'),
  ...portOptions,
  power: power
    .optional()
    .describe('Commands of the power outlet, as lists: `{ cycle: [pdu, cycle, "7"] }`.'),
  expose: expose
    .optional()
    .describe(
      'A local pty that any serial program opens: its path, or a map with path, mode, group, as and busy.',
    ),
});

export const profileSchema = map('a map of port settings', {
  profile: name.optional().describe('Profile that this one builds on.'),
  ...portOptions,
});

export const defaultsSchema = map('a map of port settings', {
  line: line.prefault('115200 8N1').describe(meanings.line),
  flow: settings.flow.default('none').describe(meanings.flow),
  input: settings.input.default('masked').describe(meanings.input),
  latency: settings.latency.default('normal').describe(meanings.latency),
  writers: settings.writers.default('one').describe(meanings.writers),
  pace: pace.prefault('none').describe(meanings.pace),
  restoreLine: settings.restoreLine.default(false).describe(meanings.restoreLine),
  onOpen: onOpen.prefault('none').describe(meanings.onOpen),
  onDetach: onDetach.prefault('nothing').describe(meanings.onDetach),
  idle: idle.prefault('none').describe(meanings.idle),
  idleTimeout: idleTimeout.prefault('none').describe(meanings.idleTimeout),
  motd: settings.motd.prefault('none').describe(meanings.motd),
  reset: reset.optional().describe(meanings.reset),
  tasks: tasks.prefault({}).describe(meanings.tasks),
  breaks: breaks.prefault({}).describe(meanings.breaks),
});

const autoPort = map('a map with udp and from', {
  udp: udpAddress.describe('Address and UDP port to listen on.'),
  from: udpFrom,
  format: udpFormat
    .default('netconsole')
    .describe('`netconsole`: of the Linux kernel. `plain`: the bytes as they are.'),
  max: wholeNumber(1, 1000)
    .default(32)
    .describe('No more ports than this; further sources are counted in the journal.'),
  prefix: checkedText(
    'the begin of a name: letters, digits, ".", "_" and "-", at most 20, the first a letter',
    (given) => /^[A-Za-z][A-Za-z0-9._-]{0,19}$/.test(given),
  )
    .prefault('nc-')
    .describe("Begins the ports' names; the source's address follows: `nc-10.0.0.7`."),
  profile: name.optional().describe('Profile whose settings the ports take over.'),
  ...sharedOptions,
});
export const autoPortsSchema = listOf(autoPort, 'a list of maps with udp and from');

export type AutoPortValue = z.output<typeof autoPort>;
export type PortValue = z.output<typeof portSchema>;
export type ProfileValue = z.output<typeof profileSchema>;
export type DefaultsValue = z.output<typeof defaultsSchema>;
