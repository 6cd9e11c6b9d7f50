import { Fault } from '../core/fault.ts';
import { didYouMean, globMatches, sameName } from '../core/names.ts';
import type { PortStatus } from '../core/port-status.ts';

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

/** For help: what `portsMatching` takes. */
export const PORT_LIST =
  'a pattern (*, ?, [abc]), @GROUP, a name, alias or unique prefix; several with commas';

/** Whether a word may mean more than one port. */
export function isPortList(word: string): boolean {
  return /[*?[,@]/.test(word);
}

/**
 * The ports that any of the words means, each once, in the order of `ports`.
 * @throws Fault PORT_UNKNOWN, with the nearest names, when one of them means none.
 */
export function portsMatching<T extends Pick<PortStatus, 'name' | 'aliases' | 'group'>>(
  ports: readonly T[],
  words: readonly string[],
): T[] {
  const chosen = new Set<T>();
  for (const word of words.flatMap((list) => list.split(','))) {
    for (const port of portsOf(ports, word)) chosen.add(port);
  }
  return ports.filter((port) => chosen.has(port));
}

function portsOf<T extends Pick<PortStatus, 'name' | 'aliases' | 'group'>>(
  ports: readonly T[],
  word: string,
): T[] {
  if (!isPortList(word)) return [onePort(ports, word)];
  const matching = ports.filter(({ name, aliases, group }) => {
    if (word.startsWith('@')) return group !== null && globMatches(word.slice(1), group);
    return [name, ...aliases].some((known) => globMatches(word, known));
  });
  if (matching.length > 0) return matching;
  const known = ports.flatMap(({ name, aliases, group }) => [
    name,
    ...aliases,
    ...(group === null ? [] : [`@${group}`]),
  ]);
  const near = didYouMean(word.replace(/[*?[\]]/g, ''), new Set(known));
  throw new Fault('PORT_UNKNOWN', `no port matches "${word}"${near}`);
}
