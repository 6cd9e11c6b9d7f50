import { setTimeout as sleep } from 'node:timers/promises';
import type { PortStatus } from '../../src/core/port-status.ts';
import type { CommandResult } from '../e2e/daemon.ts';

/** A safety net: machines without KVM boot in ten to thirty seconds. */
const PATIENCE_MS = 240_000;
const LOOK_MS = 200;

/** Looks until it is so, and returns what was seen. @throws Error with what was seen last. */
export async function eventually<Seen>(
  what: string,
  look: () => Promise<Seen>,
  isSo: (seen: Seen) => boolean,
): Promise<Seen> {
  for (const endMs = performance.now() + PATIENCE_MS; ;) {
    const seen = await look();
    if (isSo(seen)) return seen;
    if (performance.now() > endMs) {
      const shown = Buffer.isBuffer(seen) ? seen.toString('latin1') : JSON.stringify(seen);
      throw new Error(`waited for ${what}; last seen: ${shown.slice(-2_000)}`);
    }
    await sleep(LOOK_MS);
  }
}

/** One port's line of what `ports --json` printed. */
export function statusIn({ stdout }: CommandResult, port: string): PortStatus {
  const list = JSON.parse(stdout.toString()) as PortStatus[];
  const found = list.find(({ name }) => name === port);
  if (found === undefined) throw new Error(`no port ${port} in ${stdout.toString()}`);
  return found;
}
