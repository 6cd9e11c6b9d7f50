import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PROJECT } from '../support/project.ts';
import { CAPTURE_ROWS } from './capture.ts';
import type { Measurement, Row } from './row.ts';
import { SESSION_ROWS } from './sessions.ts';
import { STUCK_ROWS } from './stuck.ts';
import { SURVIVAL_ROWS } from './survival.ts';

/** The rows of DESIGN 9 that exist by now. `npm run bench -- NAME...` measures some, without names all. */
const ROWS: readonly Row[] = [...CAPTURE_ROWS, ...SESSION_ROWS, ...STUCK_ROWS, ...SURVIVAL_ROWS];

const { values: options, positionals: names } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    peers: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
});
const unknown = names.filter((name) => !ROWS.some((row) => row.name === name));
if (options.list || unknown.length > 0) {
  if (unknown.length > 0) console.error(`no row ${unknown.join(', ')}; there are:`);
  for (const row of ROWS) console.log(`${row.name.padEnd(12)} ${row.what}`);
  process.exit(unknown.length > 0 ? 2 : 0);
}

const measured: Measurement[] = [];
let failures = 0;
for (const row of ROWS) {
  if (names.length > 0 && !names.includes(row.name)) continue;
  console.error(`${row.name}: ${row.what}`);
  const parent = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
  const directory = join(parent, row.name);
  mkdirSync(directory);
  try {
    const say = (text: string): void => console.error(`  ${text}`);
    const lines = await row.measure({ quick: options.quick, peers: options.peers, directory, say });
    for (const line of lines) console.error(`  ${line.what}: ${line.result}`);
    measured.push(...lines);
  } catch (error) {
    failures++;
    console.error(
      `  failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
}

const table = [
  '| what | budget | result | | C logger (our multiple) |',
  '| --- | --- | --- | --- | --- |',
  ...measured.map(
    ({ what, budget, result, floor, isMet }) =>
      `| ${what} | ${budget} | ${result} | ${isMet === null ? '' : isMet ? 'met' : '**missed**'} | ${floor} |`,
  ),
].join('\n');
console.log(table);
if (options.write) {
  writeFileSync(join(PROJECT, 'docs', 'benchmarks.md'), `${pageHead()}\n\n${table}\n`);
}
process.exitCode = failures > 0 ? 1 : 0;

function pageHead(): string {
  const command = ['npm run bench', ...(process.argv.length > 2 ? ['--'] : [])];
  return [
    '# Benchmarks',
    '',
    `Made by \`${[...command, ...process.argv.slice(2)].join(' ')}\` on ${new Date().toISOString().slice(0, 10)}: ${machine()}.`,
    '',
    'The devices are ptys fed by a program on the same cores, so the figures are bounds from one side: CPU per MB is',
    "the process's own, wall-clock rates are lower bounds. Every log is compared with what was fed, byte for byte.",
    'The C logger is the smallest program that logs every byte with its time (`test/bench/logger.c`): it has no',
    'sessions, no compression, no index, and syncs nothing. Trust ratios of one run, not figures of two.',
  ].join('\n');
}

function machine(): string {
  const processors = cpus();
  const system = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${processors.length} x ${processors[0]?.model.trim()}, ${memory} GiB, Linux ${release()}, ${system}, Node ${process.version}`;
}
