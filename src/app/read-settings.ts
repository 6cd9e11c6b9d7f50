import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { SIM_MACHINES } from '../backends/sim/sim.ts';
import { Fault, faultFrom, type FaultMessage } from '../core/fault.ts';
import type { Settings } from '../core/settings.ts';
import { VERBS } from '../verbs/index.ts';

/** No port may have these names either: help itself, and a directory beside the ports' in sftp. */
const OTHER_WORDS = ['help', 'incidents'];

/** What a configuration is checked against besides itself. */
export function configContext(): { verbs: string[]; machines: readonly string[] } {
  return { verbs: [...VERBS.map((verb) => verb.name), ...OTHER_WORDS], machines: SIM_MACHINES };
}

/**
 * Parses and checks a configuration file on a thread of its own, so that a reload of a large file
 * delays no byte, and the parser's memory goes with the thread.
 * @throws Fault CONFIG_INVALID with every problem's file:line:column.
 */
export async function readSettings(
  path: string,
  databaseUsers: readonly string[],
): Promise<{ settings: Settings; warnings: readonly string[] }> {
  const worker = new Worker(new URL('./config-thread.js', import.meta.url), {
    workerData: { path, options: { ...configContext(), databaseUsers } },
  });
  const [answer] = (await once(worker, 'message')) as [
    { settings?: Settings; warnings?: readonly string[]; fault?: FaultMessage },
  ];
  if (answer.fault) throw faultFrom(answer.fault);
  if (!answer.settings) throw new Fault('CONFIG_INVALID', `${path} could not be read`);
  return { settings: answer.settings, warnings: answer.warnings ?? [] };
}
