import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Fault, faultFrom, type FaultMessage } from '../core/fault.ts';
import type { Settings } from '../core/settings.ts';

/**
 * Parses and checks a configuration file on a thread of its own, so that a reload of a large file
 * delays no byte, and the parser's memory goes with the thread.
 * @throws Fault CONFIG_INVALID with every problem's file:line:column.
 */
export async function readSettings(path: string, verbs: readonly string[]): Promise<Settings> {
  const worker = new Worker(new URL('./config-thread.js', import.meta.url), {
    workerData: { path, verbs },
  });
  const [answer] = (await once(worker, 'message')) as [
    { settings?: Settings; fault?: FaultMessage },
  ];
  if (answer.fault) throw faultFrom(answer.fault);
  if (!answer.settings) throw new Fault('CONFIG_INVALID', `${path} could not be read`);
  return answer.settings;
}
