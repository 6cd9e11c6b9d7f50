/**
 * Gets a fresh clone ready to run: Node new enough, packages installed, TypeScript compiled. Does
 * nothing when nothing changed. Plain Node without packages, as it runs before `npm ci`.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

export const root = dirname(import.meta.dirname ?? dirname(new URL(import.meta.url).pathname));

const OLDEST_NODE = [20, 19];
/** What node-gyp needs where better-sqlite3 has no prebuilt binary, and Debian's names for it. */
const COMPILER = { 'g++': 'g++', make: 'make', python3: 'python3' };
const SOURCES = ['src', 'test', 'tsconfig.json', 'package.json'];

/** Installs and builds what is missing or out of date. Ends the process with a plain word if it cannot. */
export function prepare() {
  checkNode();
  install();
  build();
}

/** Runs a command in the project's directory, its output on ours; true when it succeeded. */
export function run(command, args, options = {}) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options }).status === 0;
}

/** The path of a package's command, to be run with this very Node. */
export function tool(path) {
  return join(root, 'node_modules', path);
}

export function fail(...lines) {
  for (const line of lines) console.error(line);
  process.exit(1);
}

/** The value of every `--name`, removed from `args`; what is left are the other arguments. */
export function takeFlag(args, name) {
  const at = args.indexOf(name);
  if (at >= 0) args.splice(at, 1);
  return at >= 0;
}

/** Compiles `src` and `test` into `dist` unless `dist` is made of exactly these files. */
export function build({ force = false } = {}) {
  const stamp = join(root, 'dist', '.built');
  const wanted = fingerprint();
  if (!force && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  note('building ...');
  rmSync(stamp, { force: true });
  removeOrphans(join(root, 'dist'));
  // The compiler's report goes to stderr: stdout belongs to the program that is started.
  if (!run(process.execPath, [tool('typescript/bin/tsc'), '-p', '.'], { stdio: [0, 2, 2] })) {
    fail('The build failed; the errors are above.');
  }
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, wanted);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return;
  fail(
    `Fairlead needs Node ${OLDEST_NODE.join('.')} or newer; this is ${process.versions.node} (${process.execPath}).`,
    'Debian 13 has it: apt install nodejs npm. Elsewhere: https://nodejs.org',
  );
}

function install() {
  const modules = join(root, 'node_modules');
  const stamp = join(modules, '.fairlead-installed');
  const wanted = installStamp();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  if (!existsSync(stamp) && isInstalled()) {
    writeFileSync(stamp, wanted);
    return;
  }
  const missing = Object.keys(COMPILER).filter((command) => !isOnPath(command));
  const hint = `  apt-get install ${missing.map((command) => COMPILER[command]).join(' ')}`;
  if (missing.length > 0) {
    note(
      `Not found: ${missing.join(', ')}. SQLite is compiled where no prebuilt one can be had;`,
      'if the installation fails, install what is missing and start again:',
      hint,
    );
  }
  note('installing packages ...');
  const npm = process.env.npm_execpath;
  const isScript = npm !== undefined && /\.c?js$/.test(npm);
  const args = ['ci', '--include=dev', '--no-progress'];
  const installed = isScript
    ? run(process.execPath, [npm, ...args], { stdio: [0, 2, 2] })
    : run('npm', args, { stdio: [0, 2, 2] });
  if (!installed) {
    if (missing.length > 0) fail('npm ci failed. Install what is missing first:', hint);
    fail('npm ci failed; its errors are above.');
  }
  writeFileSync(stamp, wanted);
}

/** Another lock file, another Node (native modules are built for one ABI) or machine: install anew. */
function installStamp() {
  const lock = createHash('sha256').update(readFileSync(join(root, 'package-lock.json')));
  return `${lock.digest('hex')} ${process.platform}-${process.arch} abi ${process.versions.modules}\n`;
}

/** Whether somebody ran `npm ci` by hand: npm notes what it installed, package by package. */
function isInstalled() {
  const noted = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(noted)) return false;
  const have = JSON.parse(readFileSync(noted, 'utf8')).packages;
  const want = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(want).every(
    ([path, { version, optional }]) =>
      path === '' ||
      (have[path] === undefined ? optional === true : have[path].version === version),
  );
}

function isOnPath(command) {
  return (process.env.PATH ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, command), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Changes whenever a source is added, removed or written. */
function fingerprint() {
  const hash = createHash('sha256');
  const add = (path) => {
    const stat = statSync(join(root, path), { throwIfNoEntry: false });
    if (!stat) return;
    if (!stat.isDirectory()) {
      if (/\.(ts|json)$/.test(path)) hash.update(`${path} ${stat.size} ${stat.mtimeMs}\n`);
      return;
    }
    for (const name of readdirSync(join(root, path)).sort()) add(join(path, name));
  };
  for (const path of SOURCES) add(path);
  return `${hash.digest('hex')}\n`;
}

/** Removes compiled files whose source is gone: a deleted test must not run again. */
function removeOrphans(directory) {
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { recursive: true })) {
    const source = /^((?:src|test)[/\\].*)\.js(\.map)?$/.exec(entry);
    if (source && !existsSync(join(root, `${source[1]}.ts`))) rmSync(join(directory, entry));
  }
}

function note(...lines) {
  for (const line of lines) console.error(line);
}
