import { Fault } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import type { LogPlace } from '../core/log-reader.ts';
import { LOG_FORMATS, LogFormatter } from '../log/format.ts';
import type { LogFormat } from '../log/format.ts';
import { LogRange } from '../log/range.ts';
import { TIME_EXPRESSIONS, parseTimeExpression } from '../log/time-expression.ts';
import { flag, needLog, text } from './verb.ts';
import type { ParsedVerb, Verb, VerbContext } from './verb.ts';

export const logVerb: Verb = {
  name: 'log',
  summary: 'prints what a port said',
  usage: 'PORT',
  args: ['<port>'],
  right: 'view',
  where: 'anywhere',
  needsDaemon: false,
  options: [
    { flags: '--since <time>', does: 'from this time or place on' },
    { flags: '--until <time>', does: 'up to this time or place' },
    { flags: '--last <count>', does: 'the last so many lines (200), or bytes (64K, 2M)' },
    { flags: '-f, --follow', does: 'go on with what comes, until CTRL-C' },
    { flags: '--tx', does: 'with what was typed (right: tx)' },
    { flags: '--format <format>', does: 'text (the default), time, raw, jsonl or hex' },
    { flags: '--utc', does: 'times in UTC instead of your zone' },
  ],
  details: [
    'Without --since and --last: the last 200 lines on a terminal, all in a pipe.',
    `Times: ${TIME_EXPRESSIONS}.`,
    'Formats: text is safe to show: colours and controls are dropped, gaps and other events are lines',
    '"[fairlead TIME ...]". time is the same with the time in front of each line. raw is exactly the',
    'bytes the device sent. jsonl is one record a line. hex is offset, time, bytes.',
  ],
  examples: [
    { command: 'fairlead log db1 --since 10m', does: 'the last ten minutes' },
    { command: 'fairlead log db1 -f --format time', does: 'follows it, with times' },
    { command: 'fairlead log db1 --since 03:10 --until 03:15', does: 'five minutes of last night' },
    { command: 'fairlead log db1 --format raw > db1.bin', does: 'every byte there is' },
  ],
  async run(context, parsed) {
    const { io, caller } = context;
    const log = needLog(context);
    const format = formatOf(text(parsed, 'format'));
    const follow = flag(parsed, 'follow');
    const from = placeFrom(context, parsed);
    const until = place(context, text(parsed, 'until')) ?? (follow ? null : { at: 'end' });
    const [port] = await log.ports(caller, parsed.args[0]);
    if (flag(parsed, 'tx') && port!.withholdsTx) {
      const what = `what was typed on ${port!.name}`;
      throw new Fault('DENIED', `${caller.user} may not read ${what} (right "tx")`);
    }
    const range = await LogRange.open(log, caller, port!.uuid, from, until);
    const formatter = new LogFormatter(format, {
      timeZone: flag(parsed, 'utc') ? 'UTC' : io.timeZone,
      tx: flag(parsed, 'tx'),
    });
    const print = (bytes: Uint8Array): Promise<void> => printAs(io, format, bytes);
    while (!io.signal.aborted) {
      const { records, atEnd } = await range.next(BATCH_BYTES);
      await print(formatter.push(records));
      if (range.isEnded || (atEnd && !follow)) break;
      if (atEnd) await changedOrAborted(range, io.signal);
    }
    await print(formatter.end());
    return 0;
  },
};

/**
 * `--from`, `--since` and the like as a place; null when not given.
 * @throws Fault TIME_INVALID, NOT_FOUND.
 */
export function place(context: VerbContext, expression: string | undefined): LogPlace | null {
  if (expression === undefined) return null;
  const { clock, io } = context;
  return parseTimeExpression(expression, { nowUs: clock.nowUs(), timeZone: io.timeZone });
}

const BATCH_BYTES = 262_144;
const LAST_LINES = 200;
const LAST_LINES_MAX = 1_000_000;
const FOLLOW_WAIT_MS = 10_000;

function formatOf(name: string | undefined): LogFormat {
  if (name === undefined) return 'text';
  const format = LOG_FORMATS.find((known) => known === name);
  if (format) return format;
  throw new Fault('USAGE', `--format is one of ${LOG_FORMATS.join(', ')}, not "${name}"`);
}

function placeFrom(context: VerbContext, parsed: ParsedVerb): LogPlace {
  const since = place(context, text(parsed, 'since'));
  const last = text(parsed, 'last');
  if (last === undefined) {
    if (since !== null) return since;
    const isBare = context.io.isTerminal && text(parsed, 'until') === undefined;
    return isBare ? { at: 'last-lines', lines: LAST_LINES } : { at: 'start' };
  }
  if (since !== null) throw new Fault('USAGE', 'give --since or --last, not both');
  const match = /^(\d{1,12})([KMG])?$/i.exec(last);
  if (!match) throw new Fault('USAGE', `--last takes lines (200) or bytes (64K), not "${last}"`);
  const unit = match[2]?.toUpperCase();
  if (unit === undefined) {
    return { at: 'last-lines', lines: Math.min(LAST_LINES_MAX, Number(match[1])) };
  }
  return { at: 'last-bytes', bytes: Number(match[1]) * 1024 ** ('KMG'.indexOf(unit) + 1) };
}

/** A string is text of ours, whose line ends suit a terminal; raw bytes go as they are. */
async function printAs(io: VerbIo, format: LogFormat, bytes: Uint8Array): Promise<void> {
  if (bytes.length === 0) return;
  const isText = io.isTerminal && format !== 'raw';
  await io.write(isText ? Buffer.from(bytes).toString('utf8') : bytes);
}

async function changedOrAborted(range: LogRange, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  let stop = (): void => {};
  const aborted = new Promise<void>((resolve) => {
    stop = () => resolve();
    signal.addEventListener('abort', stop, { once: true });
  });
  const changed = range.changed(FOLLOW_WAIT_MS);
  try {
    await Promise.race([changed, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
    changed.catch(() => {}); // when aborted first, nobody waits for it any more
  }
}
