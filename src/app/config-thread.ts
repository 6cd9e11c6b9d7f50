import { parentPort, workerData } from 'node:worker_threads';
import { faultMessage } from '../core/fault.ts';
import { loadConfig } from '../config/load.ts';

/** Reads and checks the configuration off the capture thread, answers once, and ends. */
const { path, verbs } = workerData as { path: string; verbs: string[] };
try {
  parentPort?.postMessage({ settings: loadConfig(path, { verbs }) });
} catch (error) {
  parentPort?.postMessage({ fault: faultMessage(error) });
}
