import type { LogReader } from '../core/log-reader.ts';
import type { Caller } from '../core/user.ts';
import { LogRange } from '../log/range.ts';
import { sanitize, startSanitizer } from '../protocols/sanitize.ts';

/** A port's last words, and up to where the log held them. */
export interface LastLine {
  text: string;
  epoch: number;
  /** Of the byte after. */
  offset: number;
}

/**
 * The last line with something in it that a port said, made safe; empty when there is none in its
 * last 2 KB. Bounded, however long the line or fast the port. @throws what the log says.
 */
export async function lastLineOf(log: LogReader, caller: Caller, uuid: string): Promise<LastLine> {
  const place = { at: 'last-bytes', bytes: LOOK_BYTES } as const;
  const range = await LogRange.open(log, caller, uuid, place, null);
  let said: Uint8Array = new Uint8Array(0);
  let at = { epoch: 0, offset: 0 };
  for (let reads = 0; reads < READS_MAX; reads++) {
    const { records, atEnd } = await range.next(READ_BYTES);
    for (const record of records) {
      if (record.kind !== 'rx') continue;
      said = Buffer.concat([said, record.bytes]).subarray(-LOOK_BYTES);
      at = { epoch: record.epoch, offset: record.offset + record.bytes.length };
    }
    if (atEnd) break;
  }
  const { bytes } = sanitize(startSanitizer('text'), said);
  const lines = Buffer.from(bytes)
    .toString('utf8')
    .split(/[\r\n]+/);
  return { text: (lines.findLast((line) => line.trim() !== '') ?? '').trim(), ...at };
}

const LOOK_BYTES = 2_048;
const READ_BYTES = 8_192;
const READS_MAX = 4;
