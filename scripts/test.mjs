/**
 * `npm test [-- PATTERN...]`: installs and builds if need be; then lint, format, and every test in
 * test/, the import table among them. With patterns: only the test files whose path contains one.
 *
 *   --unit       only what needs no other program (everything outside test/e2e)
 *   --e2e        only test/e2e
 *   --machines   only test/machines, which otherwise does not run: whole virtual machines, slow and
 *                with packages that nothing else needs
 *   --no-skips   a skipped test is a failure; the same when the environment says CI=true
 *   --no-lint    tests only (coverage)
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, sep } from 'node:path';
import { run as runTests } from 'node:test';
import { spec as Spec } from 'node:test/reporters';
import { fail, prepare, root, takeFlag, tool } from './prepare.mjs';

const patterns = process.argv.slice(2);
const onlyUnit = takeFlag(patterns, '--unit');
const onlyEndToEnd = takeFlag(patterns, '--e2e');
const onlyMachines = takeFlag(patterns, '--machines');
const noLint = takeFlag(patterns, '--no-lint') || onlyMachines;
const noSkips = takeFlag(patterns, '--no-skips') || process.env.CI === 'true';

/** A safety net for a test that never ends, not a limit to test against. */
const FILE_TIMEOUT_MS = 20 * 60_000;

prepare();
if (patterns.length === 0 && !noLint && !(await isTidy())) process.exit(1);

const files = testFiles();
if (files.length === 0) fail(`No test file matches ${patterns.join(' ') || 'test/**/*.test.ts'}.`);
const isEndToEnd = (file) => /[\\/](e2e|machines)[\\/]/.test(file);
const total = { tests: 0, suites: 0, pass: 0, fail: 0, cancelled: 0, skipped: 0, todo: 0 };
const skipped = [];
const startedAt = performance.now();
// End-to-end tests start whole machines: one file at a time.
await runAll(onlyEndToEnd ? [] : files.filter((file) => !isEndToEnd(file)), 2);
await runAll(onlyUnit ? [] : files.filter(isEndToEnd), 1);

if (noSkips && skipped.length > 0) {
  console.log('\nSkipped, and no skip is allowed here:');
  for (const line of skipped) console.log(`  ${line}`);
}
console.log('');
for (const [what, count] of Object.entries(total)) console.log(`# ${what} ${count}`);
console.log(`# duration_ms ${Math.round(performance.now() - startedAt)}`);
const isGood =
  total.fail + total.cancelled === 0 && total.tests > 0 && !(noSkips && skipped.length > 0);
process.exit(isGood ? 0 : 1);

async function runAll(list, concurrency) {
  if (list.length === 0) return;
  const events = runTests({ files: list, concurrency, timeout: FILE_TIMEOUT_MS });
  const report = events.compose(tally).compose(new Spec());
  for await (const text of report) process.stdout.write(text);
}

/** Counts, and keeps back each pass's own summary: one for all is printed at the end. */
async function* tally(events) {
  for await (const event of events) {
    const { type, data } = event;
    if (type === 'test:diagnostic' && data.nesting === 0) {
      const line = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) ([\d.]+)$/.exec(
        data.message,
      );
      if (line) {
        if (line[1] in total) total[line[1]] += Number(line[2]);
        continue;
      }
    }
    const isSkip = data?.skip !== undefined || data?.todo !== undefined;
    if ((type === 'test:pass' || type === 'test:fail') && isSkip) {
      const why = data.skip ?? data.todo;
      skipped.push(`${data.name}${typeof why === 'string' && why !== '' ? `: ${why}` : ''}`);
    }
    yield event;
  }
}

function testFiles() {
  const directory = join(root, 'dist', 'test');
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true })
    .filter((path) => path.endsWith('.test.js'))
    .filter((path) => path.startsWith(`machines${sep}`) === onlyMachines)
    .filter((path) => {
      const source = join('test', path).replace(/\.js$/, '.ts');
      return patterns.length === 0 || patterns.some((pattern) => source.includes(pattern));
    })
    .sort()
    .map((path) => join(directory, path));
}

/** Lint and format, side by side. */
async function isTidy() {
  const results = await Promise.all([
    collect(tool('eslint/bin/eslint.js'), ['--max-warnings=0', '.']),
    collect(tool('prettier/bin/prettier.cjs'), ['--check', '--log-level=warn', '.']),
  ]);
  for (const { output } of results) process.stdout.write(output);
  const isGood = results.every(({ code }) => code === 0);
  if (!isGood) console.log('Lint or format failed. `npm run format` mends the format.');
  return isGood;
}

function collect(script, args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [script, ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => (output += text));
    }
    child.on('close', (code) => resolve({ code, output }));
  });
}
