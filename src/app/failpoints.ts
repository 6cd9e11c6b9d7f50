import { existsSync } from 'node:fs';

/**
 * Faults on demand, for tests that must see the daemon survive them: `FAIRLEAD_FAIL_AT` holds
 * `NAME:FILE` pairs, comma-separated, and the fault NAME happens while FILE exists.
 */
export type Failpoints = Readonly<Record<string, string>>;

export function parseFailpoints(text: string | undefined): Failpoints {
  const pairs = (text ?? '').split(',').filter((pair) => pair.includes(':'));
  return Object.fromEntries(
    pairs.map((pair) => [pair.slice(0, pair.indexOf(':')), pair.slice(pair.indexOf(':') + 1)]),
  );
}

/** Hangs the calling thread for good, as a bug in a network library would, if asked to. */
export function hangHere(failpoints: Failpoints, name: string): void {
  const file = failpoints[name];
  if (file === undefined) return;
  while (existsSync(file));
}
