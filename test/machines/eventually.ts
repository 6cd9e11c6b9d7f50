import { setTimeout as sleep } from 'node:timers/promises';
import type { PortStatus } from '../../src/core/port-status.ts';
import type { RawClient } from '../e2e/console.ts';
import type { CommandResult } from '../e2e/daemon.ts';
import { GUEST_LOGIN } from '../e2e/guest/image.ts';

export const LOGIN = 'guest login: ';

/** A safety net: machines without KVM boot in ten seconds, in each other in a hundred. */
const PATIENCE_MS = 240_000;
/** To look may take a second of a processor. */
const LOOK_MS = 1_000;

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
      const shown = typeof seen === 'string' ? seen : JSON.stringify(seen);
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

/** Logs in to a guest that waits for it; a shell is there then. */
export async function logIn({ heard, socket }: RawClient): Promise<void> {
  socket.write('\r');
  await heard.until(LOGIN);
  socket.write(`${GUEST_LOGIN.user}\r`);
  await heard.until('Password: ');
  socket.write(`${GUEST_LOGIN.password}\r`);
  await heard.until('# ');
}
