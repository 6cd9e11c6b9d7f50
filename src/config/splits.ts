import { didYouMean } from '../core/names.ts';
import type { PortSettings, SplitSettings } from '../core/settings.ts';
import { placeOf, rawField, type Entry } from './files.ts';
import type { Problem } from './problems.ts';

/** What the ports of a file are split by. */
export interface SplitContext {
  entries: readonly Entry[];
  /** False: a port that is not found may be in a file that could not be read. */
  isComplete: boolean;
  problems: Problem[];
}

/**
 * Fills in what a part of a line has from the port it is a part of: that port's name as written
 * there, and its line settings. Those with problems are left out.
 */
export function resolveSplits(
  ports: readonly PortSettings[],
  context: SplitContext,
): PortSettings[] {
  const { entries, isComplete, problems } = context;
  const byName = entriesByName(entries);
  const known = new Map(ports.map((port) => [port.name, port]));
  const users = new Map<string, Map<SplitSettings['part'], Entry>>();

  function resolved(port: PortSettings, backend: SplitSettings): PortSettings | null {
    const entry = byName.get(port.name.toLowerCase())!;
    const refuse = (key: string, what: string): null => {
      const path = [...entry.path, 'split', key];
      problems.push(entry.file.problem(path, 'value', `${path.join('.')}: ${what}`));
      return null;
    };
    const parent = byName.get(backend.of.toLowerCase());
    if (!parent) {
      if (!isComplete) return null;
      const near = didYouMean(
        backend.of,
        entries.map(({ name }) => name),
      );
      return refuse('of', `no port "${backend.of}"; expected the name of a port${near}`);
    }
    if (parent === entry) return refuse('of', 'is the port itself; expected another one');
    if (rawField(parent, 'split') !== undefined) {
      const what = `${parent.name} is a part of a line itself (${placeOf(parent)})`;
      return refuse('of', `${what}; expected a port with a line of its own`);
    }
    const { part } = backend;
    const key = isHalf(part) ? 'half' : 'gdb';
    const parts = users.get(parent.name) ?? new Map<SplitSettings['part'], Entry>();
    users.set(parent.name, parts);
    const same = parts.get(part);
    if (same) {
      const what = `${same.name} already has this part of ${parent.name} (${placeOf(same)})`;
      return refuse(key, `${what}; expected each part once`);
    }
    const [otherWay] = [...parts].find(([other]) => isHalf(other) !== isHalf(part)) ?? [];
    if (otherWay !== undefined) {
      const first = parts.get(otherWay)!;
      const what = `${first.name} splits ${parent.name} by ${isHalf(otherWay) ? 'half' : 'gdb'} (${placeOf(first)})`;
      return refuse(key, `${what}; expected the same for all parts of a line`);
    }
    parts.set(part, entry);
    const { name, line, flow } = known.get(parent.name) ?? {};
    if (!name || !line || !flow) return null; // it has problems of its own
    if (key === 'half' && line.dataBits !== 8) {
      const what = `${name} has ${line.dataBits} data bits, and the halves are told apart by the eighth`;
      return refuse(key, `${what}; expected a line with 8`);
    }
    return { ...port, backend: { ...backend, of: name }, line, flow };
  }

  return ports.flatMap((port) =>
    port.backend.kind === 'split' ? (resolved(port, port.backend) ?? []) : port,
  );
}

function isHalf(part: SplitSettings['part']): boolean {
  return part === 'high' || part === 'low';
}

/** By lower-case name and alias. */
function entriesByName(entries: readonly Entry[]): Map<string, Entry> {
  const byName = new Map<string, Entry>();
  for (const entry of entries) {
    const aliases = rawField(entry, 'aliases');
    const names = Array.isArray(aliases) ? aliases.filter((name) => typeof name === 'string') : [];
    for (const name of names) byName.set(name.toLowerCase(), entry);
  }
  for (const entry of entries) byName.set(entry.name.toLowerCase(), entry);
  return byName;
}
