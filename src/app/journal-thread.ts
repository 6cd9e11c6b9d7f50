import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import pino from 'pino';
import type { JournalLine } from './journal.ts';

/** The journal thread: pino on stdout, written synchronously here so that nothing waits elsewhere. */
const { level, pretty, pending } = workerData as {
  level: string;
  pretty: boolean;
  pending: Int32Array;
};

/** Written at once and from here: a worker's process.stdout goes by way of the main thread. */
const stdout = pino.destination({ fd: 1, sync: true });
const write = pretty ? writePretty : writeJson();

parentPort?.on('message', ({ port }: { port: MessagePort }) => {
  port.on('message', (line: JournalLine) => {
    write(line);
    Atomics.sub(pending, 0, 1);
  });
});

function writeJson(): (line: JournalLine) => void {
  const logger = pino(
    { level, base: null, timestamp: false, formatters: { level: (label) => ({ level: label }) } },
    stdout,
  );
  return ({ level: at, fields, message, atMs }) =>
    logger[at]({ time: new Date(atMs).toISOString(), ...fields }, message);
}

/** On a terminal: the time of day, the phrase, the facts. */
function writePretty({ level: at, fields, message, atMs }: JournalLine): void {
  const levels = pino.levels.values;
  if ((levels[at] ?? 0) < (levels[level] ?? 0)) return;
  const facts = Object.entries(fields)
    .filter(([key]) => key !== 'room')
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ');
  const mark = at === 'info' || at === 'debug' ? '' : `${at}: `;
  stdout.write(
    `${new Date(atMs).toTimeString().slice(0, 8)} ${mark}${message}${facts ? `  ${printable(facts)}` : ''}\n`,
  );
}

/** Facts may hold what a device or a client sent. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e\u00a0-\uffff]/g, (char) => JSON.stringify(char).slice(1, -1));
}
