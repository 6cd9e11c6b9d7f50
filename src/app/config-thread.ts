import { parentPort, workerData } from 'node:worker_threads';
import { formatProblem } from '../config/problems.ts';
import { loadConfig, type LoadOptions } from '../config/load.ts';
import { faultMessage } from '../core/fault.ts';

/** Reads and checks the configuration off the capture thread, answers once, and ends. */
const { path, options } = workerData as { path: string; options: LoadOptions };
try {
  const { settings, problems } = loadConfig(path, options);
  parentPort?.postMessage({ settings, warnings: problems.map(formatProblem) });
} catch (error) {
  parentPort?.postMessage({ fault: faultMessage(error) });
}
