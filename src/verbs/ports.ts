import { Fault } from '../core/fault.ts';
import type { LogPort } from '../core/log-reader.ts';
import { didYouMean, globMatches, sameName } from '../core/names.ts';
import type { PortStatus } from '../core/port-status.ts';
import { formatAge, formatTable } from './table.ts';
import type { Column } from './table.ts';
import { flag, needLog } from './verb.ts';
import type { Verb, VerbContext } from './verb.ts';

export const portsVerb: Verb = {
  name: 'ports',
  summary: 'lists the ports: state, last byte, who writes',
  usage: '[GLOB]',
  args: ['[glob]'],
  right: 'view',
  where: 'anywhere',
  needsDaemon: false,
  options: [{ flags: '--json', does: 'print one JSON array' }],
  details: [
    'GLOB is a pattern (*, ?, [abc]), or one name, alias or unique prefix. A port that is down does',
    'not make the exit code other than 0. With no daemon it lists what the log knows.',
  ],
  examples: [
    { command: 'fairlead ports', does: 'all you may view' },
    { command: "fairlead ports 'db*' --json", does: 'those that match, for a program' },
  ],
  async run(context, parsed) {
    const rows = selected(await allPorts(context), parsed.args[0]);
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

/**
 * The one port meant by a name, alias or unique prefix.
 * @throws Fault PORT_UNKNOWN with the nearest names.
 */
export function onePort<T extends Pick<PortStatus, 'name' | 'aliases'>>(
  ports: readonly T[],
  name: string,
): T {
  const exact =
    ports.find((port) => sameName(port.name, name)) ??
    ports.find((port) => port.aliases.some((alias) => sameName(alias, name)));
  if (exact) return exact;
  const begun = ports.filter((port) => port.name.toLowerCase().startsWith(name.toLowerCase()));
  if (begun.length === 1 && name !== '') return begun[0]!;
  const why =
    begun.length > 1
      ? ` alone; it could be ${begun.map((port) => `"${port.name}"`).join(' or ')}`
      : didYouMean(
          name,
          ports.flatMap((port) => [port.name, ...port.aliases]),
        );
  throw new Fault('PORT_UNKNOWN', `no port "${name}"${why}`);
}

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
  };
}

function selected(ports: PortStatus[], pattern: string | undefined): PortStatus[] {
  if (pattern === undefined) return ports;
  if (!/[*?[]/.test(pattern)) return [onePort(ports, pattern)];
  const matching = ports.filter((port) =>
    [port.name, ...port.aliases].some((name) => globMatches(pattern, name)),
  );
  if (matching.length > 0) return matching;
  throw new Fault('PORT_UNKNOWN', `no port matches "${pattern}"`);
}

function columnsAt(nowUs: number): Column<PortStatus>[] {
  return [
    { title: 'PORT', of: (port) => port.name },
    { title: 'N', of: (port) => port.n, right: true, spare: 3 },
    { title: 'STATE', of: (port) => port.state },
    { title: 'LAST', of: (port) => formatAge(port.lastByteAtUs, nowUs), right: true },
    { title: 'LINE', of: (port) => lineOf(port), spare: 4 },
    { title: 'WRITER', of: (port) => port.writer, spare: 1 },
    { title: 'VIEWERS', of: (port) => port.viewers || null, right: true, spare: 5 },
    { title: 'INCIDENTS', of: (port) => port.incidents || null, right: true, spare: 2 },
    { title: 'GROUP', of: (port) => port.group, spare: 6 },
    { title: 'BACKEND', of: (port) => `${port.backend} ${port.target}`.trim(), spare: 7 },
    { title: 'WHY', of: (port) => port.why },
  ];
}

function lineOf(port: PortStatus): string | null {
  if (port.line === null) return null;
  return port.differs ? `${port.line}, differs from file` : port.line;
}
