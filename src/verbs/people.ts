import type { MessageTarget } from '../core/attach.ts';
import { Fault } from '../core/fault.ts';
import type { SessionStatus } from '../core/port-status.ts';
import { sanitizeText } from '../protocols/sanitize.ts';
import { PORT_LIST, portsMatching } from './port-list.ts';
import { formatAge, formatTable } from './table.ts';
import type { Column } from './table.ts';
import { flag, needAccess } from './verb.ts';
import type { Verb } from './verb.ts';

export const whoVerb: Verb = {
  name: 'who',
  summary: 'lists who is attached to which port',
  usage: '[GLOB...]',
  args: ['[globs...]'],
  right: 'view',
  where: 'anywhere',
  needsDaemon: true,
  options: [{ flags: '--json', does: 'print one JSON array' }],
  details: [`GLOB: ${PORT_LIST}.`, 'IDLE is how long ago they typed, or came and typed nothing.'],
  examples: [
    { command: 'fairlead who', does: 'the sessions on ports you may view' },
    { command: 'fairlead who db1', does: 'those on db1' },
  ],
  async run(context, parsed) {
    const { io, caller } = context;
    const access = needAccess(context);
    let sessions = await access.who(caller);
    if (parsed.args.length > 0) {
      const ports = portsMatching(await access.ports(caller), parsed.args);
      const names = new Set(ports.map((port) => port.name));
      sessions = sessions.filter((session) => names.has(session.port));
    }
    if (flag(parsed, 'json')) await io.write(`${JSON.stringify(sessions, null, 2)}\n`);
    else if (sessions.length === 0) await io.writeError('nobody is attached\n');
    else {
      const columns = columnsAt(context.clock.nowUs());
      await io.write(formatTable(columns, sessions, io.isTerminal ? io.size().columns : null));
    }
    return 0;
  },
};

export const kickVerb: Verb = {
  name: 'kick',
  summary: 'ends a session',
  usage: 'SESSION',
  args: ['<session>'],
  right: 'control',
  where: 'anywhere',
  needsDaemon: true,
  options: [],
  details: ['SESSION is the number that "who" shows.'],
  examples: [{ command: 'fairlead kick 42', does: 'ends session 42; its client is told by whom' }],
  async run(context, parsed) {
    const text = parsed.args[0]!;
    if (!/^\d{1,15}$/.test(text)) {
      throw new Fault('USAGE', `"${text}" is not a session number; "fairlead who" shows them`);
    }
    await needAccess(context).kick(context.caller, Number(text));
    return 0;
  },
};

export const messageVerb: Verb = {
  name: 'message',
  summary: 'says something to everybody on a port, to one session, or to all',
  usage: 'PORT|SESSION TEXT... | --all TEXT...',
  args: ['<words...>'],
  textAfter: 1,
  right: 'write',
  where: 'anywhere',
  needsDaemon: true,
  options: [{ flags: '--all', does: 'to everybody on every port' }],
  details: ['SESSION is the number that "who" shows. Options come before the text.'],
  examples: [
    { command: 'fairlead message db1 "rebooting in 5 minutes"', does: 'to those on db1' },
    { command: 'fairlead message 42 "are you done?"', does: 'to session 42' },
    { command: 'fairlead message --all "power work at 18:00"', does: 'to everybody' },
  ],
  async run(context, parsed) {
    const toAll = flag(parsed, 'all');
    const words = toAll ? parsed.args : parsed.args.slice(1);
    const text = oneLine(words);
    if (text === '') throw new Fault('USAGE', 'there is no text to say');
    const to = toAll ? 'all' : targetOf(parsed.args[0]!);
    const heard = await needAccess(context).message(context.caller, to, text);
    await context.io.write(heard === 0 ? 'nobody heard it\n' : `${sessionsOf(heard)} heard it\n`);
    return 0;
  },
};

export const markVerb: Verb = {
  name: 'mark',
  summary: "writes a remark into a port's log",
  usage: 'PORT TEXT...',
  args: ['<port>', '<text...>'],
  textAfter: 1,
  right: 'write',
  where: 'anywhere',
  needsDaemon: true,
  options: [],
  details: ['It stands between what the port said before and after, with its time and your name.'],
  examples: [{ command: 'fairlead mark db1 "new DIMM in slot 4"', does: '"log db1" shows it' }],
  async run(context, parsed) {
    const [port, ...words] = parsed.args as [string, ...string[]];
    const text = oneLine(words);
    if (text === '') throw new Fault('USAGE', 'there is no text to write');
    await needAccess(context).note(context.caller, port, text);
    return 0;
  },
};

function targetOf(word: string): MessageTarget {
  return /^\d{1,15}$/.test(word) ? { session: Number(word) } : { port: word };
}

/** One line with nothing in it that a terminal would act on. */
function oneLine(words: readonly string[]): string {
  return sanitizeText(words.join(' ')).replace(/\s+/g, ' ').trim();
}

function sessionsOf(count: number): string {
  return count === 1 ? '1 session' : `${count} sessions`;
}

function columnsAt(nowUs: number): Column<SessionStatus>[] {
  return [
    { title: 'SESSION', of: (session) => session.session, right: true },
    { title: 'PORT', of: (session) => session.port },
    { title: 'USER', of: (session) => session.user },
    { title: 'MODE', of: (session) => session.mode },
    { title: 'SINCE', of: (session) => formatAge(session.attachedAtUs, nowUs), right: true },
    {
      title: 'IDLE',
      of: (session) => formatAge(session.lastInputAtUs ?? session.attachedAtUs, nowUs),
      right: true,
      spare: 2,
    },
    { title: 'BY', of: (session) => session.frontend, spare: 3 },
    { title: 'FROM', of: (session) => session.remote, spare: 1 },
  ];
}
