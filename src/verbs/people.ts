import { Fault } from '../core/fault.ts';
import type { SessionStatus } from '../core/port-status.ts';
import { sanitizeText } from '../protocols/sanitize.ts';
import { formatAge, formatTable } from './table.ts';
import type { Column } from './table.ts';
import { flag, needAccess } from './verb.ts';
import type { Verb } from './verb.ts';

export const whoVerb: Verb = {
  name: 'who',
  summary: 'lists who is attached to which port',
  usage: '',
  args: [],
  right: 'view',
  where: 'anywhere',
  needsDaemon: true,
  options: [{ flags: '--json', does: 'print one JSON array' }],
  examples: [{ command: 'fairlead who', does: 'the sessions on ports you may view' }],
  async run(context, parsed) {
    const sessions = await needAccess(context).who(context.caller);
    const { io } = context;
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
  summary: 'says something to everybody on a port, or on all',
  usage: 'PORT TEXT... | --all TEXT...',
  args: ['<words...>'],
  right: 'write',
  where: 'anywhere',
  needsDaemon: true,
  options: [{ flags: '--all', does: 'to everybody on every port' }],
  examples: [
    { command: 'fairlead message db1 "rebooting in 5 minutes"', does: 'to those on db1' },
    { command: 'fairlead message --all "power work at 18:00"', does: 'to everybody' },
  ],
  async run(context, parsed) {
    const toAll = flag(parsed, 'all');
    const words = toAll ? parsed.args : parsed.args.slice(1);
    const text = sanitizeText(words.join(' ')).replace(/\s+/g, ' ').trim();
    if (text === '') throw new Fault('USAGE', 'there is no text to say');
    const port = toAll ? null : parsed.args[0]!;
    const heard = await needAccess(context).message(context.caller, port, text);
    await context.io.write(heard === 0 ? 'nobody heard it\n' : `${sessionsOf(heard)} heard it\n`);
    return 0;
  },
};

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
      title: 'TYPED',
      of: (session) => formatAge(session.lastInputAtUs, nowUs),
      right: true,
      spare: 2,
    },
    { title: 'BY', of: (session) => session.frontend, spare: 3 },
    { title: 'FROM', of: (session) => session.remote, spare: 1 },
  ];
}
