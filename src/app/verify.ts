import { setImmediate as nextTurn } from 'node:timers/promises';
import { isCorruption } from '../store/database.ts';
import type { LogFiles } from '../store/log-files.ts';
import { verifyLog, type VerifyResult } from '../store/verify.ts';
import { openLogInPlace } from './offline-log.ts';

/**
 * Checks a whole log and says what it found. True: nothing is damaged. Recorded gaps are no damage:
 * the log says what is missing.
 */
export async function verifyDataDirectory(
  data: string,
  report: (line: string) => Promise<void>,
  signal: AbortSignal,
): Promise<boolean> {
  let files: LogFiles | null = null;
  try {
    files = openLogInPlace(data);
    const walk = verifyLog(files);
    for (;;) {
      const step = walk.next();
      if (step.done) {
        for (const line of reportLines(step.value)) await report(line);
        return step.value.damage === null;
      }
      await nextTurn();
      signal.throwIfAborted();
    }
  } catch (error) {
    if (!isCorruption(error)) throw error;
    await report(`damage: fairlead.db: ${(error as Error).message}`);
    return false;
  } finally {
    files?.close();
  }
}

function reportLines(result: VerifyResult): string[] {
  const { counts, damages, gaps } = result;
  return [
    ...gaps.map(
      (gap) =>
        `gap: ${gap.port} @${gap.epoch}/${gap.from}: ${gap.count ?? 'an unknown number of'} bytes missing (${gap.reason}), ${new Date(gap.atUs / 1000).toISOString()}`,
    ),
    ...damages.map(
      ({ port, file, what }) => `damage: ${[port, file].filter(Boolean).join(', ')}: ${what}`,
    ),
    `${damages.length === 0 ? 'ok' : 'DAMAGED'}: ${counts.ports} ports, ${counts.bytes} bytes in ${counts.records} records, ${counts.segments} segments in ${counts.files} files, ${counts.checkpoints} signed checkpoints, ${gaps.length} gaps`,
  ];
}
