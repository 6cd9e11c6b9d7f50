import { Fault } from '../core/fault.ts';
import { didYouMean, sameName } from '../core/names.ts';

/** What a port is called by. */
export interface PortNames {
  readonly name: string;
  readonly aliases: readonly string[];
}

/**
 * Finds a port by name, alias or unique prefix of either, without case (DESIGN 2). `mayView` keeps
 * what the caller may not see out of prefixes and suggestions; a full name is found anyway, so that
 * the refusal can say which right is missing.
 * @throws Fault PORT_UNKNOWN, with the nearest names or with those the prefix fits.
 */
export function findPort<T extends PortNames>(
  ports: Iterable<T>,
  wanted: string,
  mayView: (port: T) => boolean,
): T {
  const all = [...ports];
  const exact =
    all.find((port) => sameName(port.name, wanted)) ??
    all.find((port) => port.aliases.some((alias) => sameName(alias, wanted)));
  if (exact) return exact;
  const visible = all.filter(mayView);
  const prefix = wanted.toLowerCase();
  const begins = (name: string): boolean => name.toLowerCase().startsWith(prefix);
  const fitting =
    prefix === '' ? [] : visible.filter((port) => begins(port.name) || port.aliases.some(begins));
  const quoted = `"${printable(wanted)}"`;
  if (fitting.length === 1) return fitting[0]!;
  if (fitting.length > 1) {
    const some = fitting.slice(0, 5).map((port) => port.name);
    const more = fitting.length > some.length ? `, and ${fitting.length - some.length} more` : '';
    throw new Fault('PORT_UNKNOWN', `${quoted} fits ${some.join(', ')}${more}`);
  }
  const names = visible.flatMap((port) => [port.name, ...port.aliases]);
  throw new Fault('PORT_UNKNOWN', `no port ${quoted}${didYouMean(wanted, names)}`);
}

const QUOTED_CHARS_MAX = 64;

/** What somebody typed, fit for a message: bounded, and nothing in it that a terminal obeys. */
function printable(text: string): string {
  const quoted = text.slice(0, QUOTED_CHARS_MAX).replace(/[^\x20-\x7e]/g, '?');
  return text.length > QUOTED_CHARS_MAX ? `${quoted}...` : quoted;
}
