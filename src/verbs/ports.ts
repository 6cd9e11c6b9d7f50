import type { LogPort } from '../core/log-reader.ts';
import type { PortStatus } from '../core/port-status.ts';
import { PORT_LIST, portsMatching } from './port-list.ts';
import { formatAge, formatTable } from './table.ts';
import type { Column } from './table.ts';
import { flag, needLog } from './verb.ts';
import type { Verb, VerbContext } from './verb.ts';

export const portsVerb: Verb = {
  name: 'ports',
  summary: 'lists the ports: state, last byte, who writes',
  usage: '[GLOB...]',
  args: ['[globs...]'],
  right: 'view',
  where: 'anywhere',
  needsDaemon: false,
  options: [{ flags: '--json', does: 'print one JSON array' }],
  details: [
    `GLOB: ${PORT_LIST}.`,
    'A port that is down does not make the exit code other than 0. With no daemon it lists what the',
    'log knows.',
  ],
  examples: [
    { command: 'fairlead ports', does: 'all you may view' },
    { command: "fairlead ports 'db*' --json", does: 'those that match, for a program' },
  ],
  async run(context, parsed) {
    const ports = await allPorts(context);
    const rows = parsed.args.length === 0 ? ports : portsMatching(ports, parsed.args);
    const { io } = context;
    if (flag(parsed, 'json')) await io.write(`${JSON.stringify(rows, null, 2)}\n`);
    else if (rows.length === 0) await io.writeError('there are no ports you may view\n');
    else {
      const columns = columnsAt(context.clock.nowUs());
      await io.write(formatTable(columns, rows, io.isTerminal ? io.size().columns : null));
    }
    return 0;
  },
};

async function allPorts(context: VerbContext): Promise<PortStatus[]> {
  const { access, caller } = context;
  if (access !== null) return access.ports(caller);
  return (await needLog(context).ports(caller)).map(statusOfLogged);
}

function statusOfLogged({ name, uuid, epochs }: LogPort): PortStatus {
  const newest = epochs.at(-1);
  return {
    name,
    n: null,
    uuid,
    state: 'down',
    why: 'no daemon runs',
    backend: '',
    target: '',
    line: null,
    differs: false,
    group: null,
    aliases: [],
    epoch: newest?.epoch ?? 0,
    offset: newest?.endOffset ?? 0,
    lastByteAtUs: newest?.lastUs ?? null,
    writer: null,
    viewers: 0,
    incidents: 0,
    errors: { breaks: 0, parity: 0, framing: 0, overrun: 0 },
    looksLike: null,
  };
}

function columnsAt(nowUs: number): Column<PortStatus>[] {
  return [
    { title: 'PORT', of: (port) => port.name },
    { title: 'N', of: (port) => port.n, right: true, spare: 3 },
    { title: 'STATE', of: (port) => stateOf(port) },
    { title: 'LAST', of: (port) => formatAge(port.lastByteAtUs, nowUs), right: true },
    { title: 'LINE', of: (port) => lineOf(port), spare: 4 },
    { title: 'WRITER', of: (port) => port.writer, spare: 1 },
    { title: 'VIEWERS', of: (port) => port.viewers || null, right: true, spare: 5 },
    { title: 'INCIDENTS', of: (port) => port.incidents || null, right: true, spare: 2 },
    { title: 'GROUP', of: (port) => port.group, spare: 6 },
    { title: 'BACKEND', of: (port) => `${port.backend} ${port.target}`.trim(), spare: 7 },
    { title: 'ERRORS', of: (port) => errorsOf(port.errors), spare: 1 },
    { title: 'WHY', of: (port) => port.why },
  ];
}

function stateOf({ state, looksLike }: PortStatus): string {
  return looksLike === null ? state : `${state}, looks like ${looksLike}`;
}

/** `3 BREAK, 12 framing`; null: none. */
function errorsOf({ breaks, framing, parity, overrun }: PortStatus['errors']): string | null {
  const counts = { BREAK: breaks, framing, parity, overrun };
  const words = Object.entries(counts).flatMap(([name, count]) =>
    count === 0 ? [] : [`${count} ${name}`],
  );
  return words.length === 0 ? null : words.join(', ');
}

function lineOf(port: PortStatus): string | null {
  if (port.line === null) return null;
  return port.differs ? `${port.line}, differs from file` : port.line;
}
