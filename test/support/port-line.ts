import type { BackendOpener } from '../../src/core/backend.ts';
import { PortLine } from '../../src/ports/port-line.ts';
import { realTimers } from '../../src/ports/timers.ts';
import { silentJournal } from './backend.ts';

/** The device end of a real port, with what it was told. */
export interface RunningLine {
  line: PortLine;
  /** Why it went down, each time. */
  downs: string[];
  ups: number;
  received: Buffer[];
}

/** As a rack starts a port, without the rack. The test closes `line`. */
export function runLine(opener: BackendOpener): RunningLine {
  const running: Omit<RunningLine, 'line'> = { downs: [], ups: 0, received: [] };
  const line = new PortLine(
    () => 'lab1',
    opener,
    {
      rx: (bytes) => running.received.push(Buffer.from(bytes)),
      rxInto(read) {
        const memory = Buffer.alloc(8_192);
        const count = read(memory, 0, memory.length);
        if (count > 0) running.received.push(memory.subarray(0, count));
        return count;
      },
      writable: () => undefined,
      event: () => undefined,
      up: () => running.ups++,
      down: (why) => running.downs.push(why),
    },
    realTimers,
    silentJournal,
  );
  void line.start();
  return Object.assign(running, { line });
}
