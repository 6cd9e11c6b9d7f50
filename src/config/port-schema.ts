import * as z from 'zod';
import { Fault } from '../core/fault.ts';
import { parseLineSettings } from '../core/line-settings.ts';
import { NAME_PATTERN } from '../core/names.ts';
import { POWER_ACTIONS } from '../core/settings.ts';
import {
  address,
  busy,
  busyText,
  checkedText,
  command,
  devicePath,
  listOf,
  map,
  name,
  oneOf,
  portName,
  prose,
  textOrNumber,
  unixName,
  wholeNumber,
  wrong,
} from './shapes.ts';
import { breaks, idle, idleTimeout, onDetach, onOpen, tasks } from './step-schema.ts';

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

/** What a port, a profile and the defaults may all say. */
const settings = {
  line,
  flow: oneOf('none', 'rtscts', 'xonxoff'),
  input: oneOf('masked', 'full', 'none'),
  latency: oneOf('normal', 'low'),
  writers: oneOf('one', 'many'),
  restoreLine: z.boolean({ error: () => 'true or false' }),
  onOpen,
  onDetach,
  idle,
  idleTimeout,
  motd: prose,
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
  restoreLine:
    'Line settings and signals that a session changed go back to the configured ones when it leaves.',
  onOpen: 'Sent each time the line was opened.',
  onDetach:
    'Done when the last session that wrote has left, so that the next one does not find its shell.',
  idle: 'Sent when nothing came and nobody typed for so long, and again after each such time.',
  idleTimeout: 'People who type nothing for this long are let go, such as `30m`; or `none`.',
  motd: 'Message of the day, shown to people on attach after the one of the whole file; or `none`.',
  tasks: 'Tasks, beside those of the whole file; of one name the nearer counts.',
  breaks: 'The break list, beside that of the whole file; of one key the nearer counts.',
};

const portOptions = {
  line: line.optional().describe(meanings.line),
  flow: settings.flow.optional().describe(meanings.flow),
  input: settings.input.optional().describe(meanings.input),
  latency: settings.latency.optional().describe(meanings.latency),
  writers: settings.writers.optional().describe(meanings.writers),
  group: name.optional().describe('Group of the port, for `@group` in the `ports` of a user.'),
  signals: signals
    .optional()
    .describe(
      'Signals to set right after a device was opened; others stay as the kernel set them.',
    ),
  restoreLine: settings.restoreLine.optional().describe(meanings.restoreLine),
  onOpen: onOpen.optional().describe(meanings.onOpen),
  onDetach: onDetach.optional().describe(meanings.onDetach),
  idle: idle.optional().describe(meanings.idle),
  idleTimeout: idleTimeout.optional().describe(meanings.idleTimeout),
  motd: settings.motd.optional().describe(meanings.motd),
  tasks: tasks.optional().describe(meanings.tasks),
  breaks: breaks.optional().describe(meanings.breaks),
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

/** The keys that say where a port's bytes come from: exactly one of them. */
export const BACKEND_KEYS = [
  'device',
  'tcp',
  'telnet',
  'rfc2217',
  'unix',
  'exec',
  'pty',
  'sim',
] as const;
const laterPortKeys = ['udp', 'split'];

export const portSchema = map(
  `a map with one of ${BACKEND_KEYS.join(', ')}`,
  {
    n: wholeNumber(1, 999)
      .optional()
      .describe(
        'Small number of the port, unique; its numbered doors are at base + n. Without it the port has none. `fairlead check --assign` fills in missing ones.',
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
    exec: command
      .optional()
      .describe(
        'Backend: a command on a terminal of its own, as a list: `[virsh, console, vm1]`. Started again when it ends.',
      ),
    pty: devicePath('/dev/pts/1').optional().describe('Backend: the path of an existing pty.'),
    sim: sim
      .optional()
      .describe('Backend: a simulated machine, by name or as a map with machine, seed and speed.'),
    ...portOptions,
    power: power
      .optional()
      .describe('Commands of the power outlet, as lists: `{ cycle: [pdu, cycle, "7"] }`.'),
    expose: expose
      .optional()
      .describe(
        'A local pty that any serial program opens: its path, or a map with path, mode, group, as and busy.',
      ),
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
    line: line.prefault('115200 8N1').describe(meanings.line),
    flow: settings.flow.default('none').describe(meanings.flow),
    input: settings.input.default('masked').describe(meanings.input),
    latency: settings.latency.default('normal').describe(meanings.latency),
    writers: settings.writers.default('one').describe(meanings.writers),
    restoreLine: settings.restoreLine.default(false).describe(meanings.restoreLine),
    onOpen: onOpen.prefault('none').describe(meanings.onOpen),
    onDetach: onDetach.prefault('nothing').describe(meanings.onDetach),
    idle: idle.prefault('none').describe(meanings.idle),
    idleTimeout: idleTimeout.prefault('none').describe(meanings.idleTimeout),
    motd: settings.motd.prefault('none').describe(meanings.motd),
    tasks: tasks.prefault({}).describe(meanings.tasks),
    breaks: breaks.prefault({}).describe(meanings.breaks),
  },
  laterPortKeys,
);

export type PortValue = z.output<typeof portSchema>;
export type ProfileValue = z.output<typeof profileSchema>;
export type DefaultsValue = z.output<typeof defaultsSchema>;
