import { Fault } from '../core/fault.ts';
import { didYouMean, sameName } from '../core/names.ts';
import type { PortDetails, TaskStatus } from '../core/port-status.ts';
import type { SignalStates } from '../core/line-settings.ts';
import { POWER_ACTIONS } from '../core/settings.ts';
import { sanitizeText } from '../protocols/sanitize.ts';
import { confirming, YES_OPTION } from './confirm.ts';
import { formatTable } from './table.ts';
import { flag, needAccess } from './verb.ts';
import type { Verb } from './verb.ts';

export const taskVerb: Verb = {
  name: 'task',
  summary: "lists a port's named sequences, or runs one",
  usage: 'PORT [NAME]',
  args: ['<port>', '[name]'],
  right: 'write',
  where: 'anywhere',
  needsDaemon: true,
  options: [YES_OPTION, { flags: '--json', does: 'list: print one JSON array' }],
  details: [
    'They are in the configuration file, "tasks:" of the port. NAME is a task or its key in the break',
    'list. The server does all of its steps; some must be confirmed. A step with BREAK needs the right',
    'break, one with signals control; to list them needs only view.',
  ],
  examples: [
    { command: 'fairlead task db1', does: 'what there is' },
    { command: 'fairlead task db1 grub-menu', does: 'runs it, and returns when it is done' },
  ],
  async run(context, parsed) {
    const { io, caller } = context;
    const access = needAccess(context);
    const [port, name] = parsed.args as [string, string | undefined];
    const details = await access.inspect(caller, port);
    const { tasks } = details;
    if (name !== undefined) {
      const task = taskNamed(details, name);
      const what = `task ${task.name} on ${nameOf(details)}`;
      await confirming(context, parsed, what, (isConfirmed) =>
        access.run(caller, port, { task: task.name, isConfirmed }),
      );
      return 0;
    }
    if (flag(parsed, 'json')) await io.write(`${JSON.stringify(tasks, null, 2)}\n`);
    else if (tasks.length === 0) await io.writeError(`${nameOf(details)} has no tasks\n`);
    else await io.write(formatTable(TASKS, tasks, io.isTerminal ? io.size().columns : null));
    return 0;
  },
};

export const resetVerb: Verb = {
  name: 'reset',
  summary: "resets a port's machine by its DTR and RTS, as its recipe says",
  usage: 'PORT',
  args: ['<port>'],
  right: 'control',
  where: 'anywhere',
  needsDaemon: true,
  options: [YES_OPTION],
  details: [
    'The recipe is "reset:" of the port in the configuration file: signals, waits, BREAK and text, as',
    'in a task. The server does all of its steps, each within 5 ms of its time. It is the task "reset".',
  ],
  examples: [{ command: 'fairlead reset esp1', does: 'what the button on the board does' }],
  async run(context, parsed) {
    const { caller } = context;
    const access = needAccess(context);
    const port = parsed.args[0]!;
    const details = await access.inspect(caller, port);
    const task = details.tasks.find(({ name }) => sameName(name, RESET));
    if (!task) {
      throw new Fault(
        'USAGE',
        `${nameOf(details)} has no reset; write its recipe into the configuration file, ` +
          'as in "reset: [dtr=off rts=on, 100ms, rts=off]"',
      );
    }
    await confirming(context, parsed, `reset ${nameOf(details)}`, (isConfirmed) =>
      access.run(caller, port, { task: task.name, isConfirmed }),
    );
    return 0;
  },
};

export const powerVerb: Verb = {
  name: 'power',
  summary: "switches the power of a port's machine, or tells how it is",
  usage: 'PORT on|off|cycle|status',
  args: ['<port>', '<action>'],
  right: 'control',
  where: 'anywhere',
  needsDaemon: true,
  options: [YES_OPTION],
  details: [
    'Runs the command that the configuration file names in "power:" of the port, and prints what it',
    'says. off and cycle are asked for, and are done once in 5 minutes at most. status needs only view.',
  ],
  examples: [
    { command: 'fairlead power db1 status', does: 'what the outlet says' },
    { command: 'fairlead power db1 cycle --yes', does: 'off and on again, without being asked' },
  ],
  async run(context, parsed) {
    const { io, caller } = context;
    const access = needAccess(context);
    const [port, word] = parsed.args as [string, string];
    const action = POWER_ACTIONS.find((known) => sameName(known, word));
    if (!action) {
      const near = didYouMean(word, POWER_ACTIONS);
      throw new Fault('USAGE', `power: on, off, cycle or status, not "${word}"${near}`);
    }
    const what = `power ${action} for ${nameOf(await access.inspect(caller, port))}`;
    const said = await confirming(context, parsed, what, (isConfirmed) =>
      access.power(caller, port, action, isConfirmed),
    );
    const shown = sanitizeText(said).trimEnd();
    if (shown !== '') await io.write(`${shown}\n`);
    return 0;
  },
};

export const signalsVerb: Verb = {
  name: 'signals',
  summary: "shows a port's signals, or drives DTR and RTS",
  usage: 'PORT [dtr=on|off] [rts=on|off]',
  args: ['<port>', '[changes...]'],
  right: 'control',
  where: 'anywhere',
  needsDaemon: true,
  options: [{ flags: '--json', does: 'show: print one JSON object' }],
  details: [
    "DTR and RTS are ours, CTS, DSR, DCD and RI the device's. Needs only view to show.",
    'A change is for now: the configuration file is what a restart or reload goes back to.',
  ],
  examples: [
    { command: 'fairlead signals db1', does: 'dtr=on rts=on cts=on dsr=off dcd=off ri=off' },
    { command: 'fairlead signals db1 dtr=off', does: 'lowers DTR' },
  ],
  async run(context, parsed) {
    const { io, caller } = context;
    const access = needAccess(context);
    const [port, ...words] = parsed.args as [string, ...string[]];
    if (words.length > 0) {
      await access.setSignals(caller, port, signalsOf(words));
      return 0;
    }
    const details = await access.inspect(caller, port);
    const { signals } = details.line;
    const known = SIGNALS.filter((name) => signals[name] !== undefined);
    if (flag(parsed, 'json')) await io.write(`${JSON.stringify(signals)}\n`);
    else if (known.length === 0) {
      throw new Fault(
        'PORT_UNSUPPORTED',
        `${nameOf(details)} has no signals: ${details.status.backend}`,
      );
    } else {
      const words = known.map((name) => `${name}=${signals[name] ? 'on' : 'off'}`);
      await io.write(`${words.join(' ')}\n`);
    }
    return 0;
  },
};

export const downVerb: Verb = {
  name: 'down',
  summary: 'closes a port until "up" opens it',
  usage: 'PORT',
  args: ['<port>'],
  right: 'control',
  where: 'anywhere',
  needsDaemon: true,
  options: [],
  details: ['Another program may use the device meanwhile. Sessions stay, and go on after "up".'],
  examples: [{ command: 'fairlead down db1', does: 'lets go of the device' }],
  async run(context, parsed) {
    await needAccess(context).hold(context.caller, parsed.args[0]!, true);
    return 0;
  },
};

export const upVerb: Verb = {
  name: 'up',
  summary: 'opens a port that "down" closed, or opens it anew',
  usage: 'PORT',
  args: ['<port>'],
  right: 'control',
  where: 'anywhere',
  needsDaemon: true,
  options: [],
  details: ['A port that is open is closed first: its settings are applied as at the start.'],
  examples: [{ command: 'fairlead up db1', does: 'takes the device again' }],
  async run(context, parsed) {
    await needAccess(context).hold(context.caller, parsed.args[0]!, false);
    return 0;
  },
};

/** The task that the configuration makes of "reset:". */
const RESET = 'reset';

const TASKS: Parameters<typeof formatTable<TaskStatus>>[0] = [
  { title: 'TASK', of: (task) => task.name },
  { title: 'KEY', of: (task) => task.breakKey },
  { title: 'ASKS', of: (task) => (task.confirm ? 'yes' : null), spare: 1 },
  { title: 'DOES', of: (task) => task.help },
];

const SIGNALS = ['dtr', 'rts', 'cts', 'dsr', 'dcd', 'ri'] as const satisfies (keyof SignalStates)[];

/** @throws Fault NOT_FOUND with the nearest names. */
function taskNamed(details: PortDetails, name: string): TaskStatus {
  const { tasks } = details;
  const task =
    tasks.find((each) => sameName(each.name, name)) ??
    tasks.find((each) => each.breakKey !== null && each.breakKey === name);
  if (task) return task;
  const near = didYouMean(
    name,
    tasks.map((each) => each.name),
  );
  throw new Fault('NOT_FOUND', `${nameOf(details)} has no task "${name}"${near}`);
}

/** @throws Fault USAGE. */
function signalsOf(words: readonly string[]): { dtr?: boolean; rts?: boolean } {
  const signals: { dtr?: boolean; rts?: boolean } = {};
  for (const word of words) {
    const match = /^(dtr|rts)=(on|off|1|0)$/i.exec(word);
    if (!match) {
      throw new Fault('USAGE', `signals: dtr=on, dtr=off, rts=on or rts=off, not "${word}"`);
    }
    const name = match[1]!.toLowerCase() as 'dtr' | 'rts';
    signals[name] = ['on', '1'].includes(match[2]!.toLowerCase());
  }
  return signals;
}

function nameOf(details: PortDetails): string {
  return details.status.name;
}
