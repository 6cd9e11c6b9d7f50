import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, posix } from 'node:path';
import { describe, it } from 'node:test';
import ts from 'typescript';
import { PROJECT } from './support/project.ts';

/**
 * The import table of STYLE.md, by machine. A room may import itself and a room of a lower number:
 * within the engine (20 to 29) a verb may use a session, a session a port, and never the reverse.
 */
const ROOMS: Readonly<Record<string, number>> = {
  'main.ts': 41,
  app: 40,
  backends: 30,
  frontends: 30,
  store: 30,
  config: 30,
  native: 30,
  verbs: 23,
  sessions: 22,
  log: 22,
  postmortem: 22,
  ports: 21,
  auth: 20,
  protocols: 11,
  core: 10,
};

/** Where each npm package lives. One that is not named here may be imported nowhere. */
const PACKAGES: Readonly<Record<string, string>> = {
  '@serialport/bindings-cpp': 'backends/',
  serialport: 'backends/',
  ssh2: 'frontends/ssh/',
  'better-sqlite3': 'store/',
  koffi: 'native/',
  yaml: 'config/',
  zod: 'config/',
  commander: 'verbs/',
  pino: 'app/',
  '@xterm/headless': 'sessions/',
};

/** Floor 1 touches nothing outside: of Node it may use what computes and nothing else. */
const PURE_BUILT_INS = ['node:assert', 'node:assert/strict', 'node:buffer', 'node:util'];

/** One empty file in each room, to be imported. */
const GOOD: [string, string][] = Object.keys(ROOMS)
  .filter((room) => room !== 'main.ts')
  .map((room) => [`${room}/b.ts`, '']);

const BUILT_INS = new Set(builtinModules);

const SOURCE = join(PROJECT, 'src');

describe('the import table', () => {
  it('holds for every file in src', () => {
    const files = new Map<string, string>();
    for (const entry of readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })) {
      if (/\.tsx?$/.test(entry)) files.set(entry, readFileSync(join(SOURCE, entry), 'utf8'));
    }
    assert.ok(files.size > 10, `only ${files.size} files in ${SOURCE}`);
    assert.deepEqual(violations(files), []);
  });

  const broken: [what: string, path: string, text: string, complaint: RegExp][] = [
    [
      'an import of a higher floor',
      'core/a.ts',
      `import { b } from '../ports/b.ts';`,
      /core\/a\.ts.*ports/,
    ],
    [
      'an edge that imports another edge',
      'store/a.ts',
      `export * from '../config/b.ts';`,
      /store\/a\.ts.*config/,
    ],
    [
      'the engine importing an edge, though only a type',
      'ports/a.ts',
      `import type { B } from '../store/b.ts';`,
      /ports\/a\.ts.*store/,
    ],
    [
      'a port that knows of sessions',
      'ports/a.ts',
      `import { b } from '../sessions/b.ts';`,
      /ports\/a\.ts.*sessions/,
    ],
    [
      'neighbours of one rank',
      'log/a.ts',
      `import { b } from '../sessions/b.ts';`,
      /log\/a\.ts.*sessions/,
    ],
    [
      'an import by call',
      'core/a.ts',
      `export const b = await import('../verbs/b.ts');`,
      /core\/a\.ts.*verbs/,
    ],
    [
      'a package outside its room',
      'frontends/raw/a.ts',
      `import { Server } from 'ssh2';`,
      /ssh2 .*frontends\/ssh/,
    ],
    ['a part of a package', 'log/a.ts', `import x from 'pino/file';`, /pino\/file .*app/],
    ['a package nobody named', 'app/a.ts', `import x from 'left-pad';`, /left-pad .*no room/],
    ['a built-in without node:', 'app/a.ts', `import { join } from 'path';`, /path .*node:/],
    [
      'files in the core',
      'core/a.ts',
      `import { readFileSync } from 'node:fs';`,
      /core\/a\.ts.*node:fs/,
    ],
    [
      'an import that does not end in .ts',
      'log/a.ts',
      `import { b } from '../core/b.js';`,
      /core\/b\.js.*\.ts/,
    ],
    [
      'a file that is not there',
      'log/a.ts',
      `import { b } from './c.ts';`,
      /log\/c\.ts.*not there/,
    ],
    [
      'an import from outside src',
      'log/a.ts',
      `import { b } from '../../test/b.ts';`,
      /outside src/,
    ],
    ['a room nobody named', 'attic/a.ts', '', /attic.*no room/],
  ];
  for (const [what, path, text, complaint] of broken) {
    it(`refuses ${what}`, () => {
      const found = violations(new Map([...GOOD, [path, text]]));
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0]!, complaint);
    });
  }

  it('refuses a circle, and names it once', () => {
    const circle = new Map([
      ['log/a.ts', `import './b.ts';`],
      ['log/b.ts', `import './c.ts';`],
      ['log/c.ts', `import './a.ts';`],
      ['log/d.ts', `import './a.ts';`],
    ]);
    assert.deepEqual(violations(circle), [
      'a circle: log/a.ts -> log/b.ts -> log/c.ts -> log/a.ts',
    ]);
  });

  it('accepts what goes down', () => {
    const files = new Map([
      ...GOOD,
      ['verbs/a.ts', `import '../sessions/b.ts'; import { Command } from 'commander';`],
      ['sessions/a.ts', `import '../ports/b.ts'; import '../core/b.ts';`],
      ['frontends/ssh/a.ts', `import '../../ports/b.ts'; import ssh2 from 'ssh2';`],
      ['protocols/a.ts', `import '../core/b.ts'; import assert from 'node:assert';`],
      ['main.ts', `import './app/b.ts'; import 'node:net';`],
    ]);
    assert.deepEqual(violations(files), []);
  });
});

/** What breaks the table, as sentences. `files`: path from src, and text. */
function violations(files: ReadonlyMap<string, string>): string[] {
  const found: string[] = [];
  const graph = new Map<string, string[]>();
  for (const [path, text] of files) {
    const targets: string[] = [];
    graph.set(path, targets);
    if (ROOMS[roomOf(path)] === undefined) {
      found.push(`src/${path}: there is no room of that name`);
      continue;
    }
    for (const { fileName } of ts.preProcessFile(text, true, true).importedFiles) {
      if (!fileName.startsWith('.')) {
        const why = whyNotModule(path, fileName);
        if (why !== null) found.push(`src/${path}: ${fileName} ${why}`);
        continue;
      }
      const target = posix.join(posix.dirname(path), fileName);
      const why = whyNotFile(path, target, files);
      if (why === null) targets.push(target);
      else found.push(`src/${path}: ${target} ${why}`);
    }
  }
  return [...found, ...circles(graph)];
}

function roomOf(path: string): string {
  return path.split('/', 1)[0]!;
}

function whyNotFile(
  from: string,
  target: string,
  files: ReadonlyMap<string, string>,
): string | null {
  if (target.startsWith('../')) return 'is outside src';
  if (!target.endsWith('.ts')) return 'should end in .ts';
  if (!files.has(target)) return 'is not there';
  const [room, other] = [roomOf(from), roomOf(target)];
  if (room === other || ROOMS[other]! < ROOMS[room]!) return null;
  return `may not be imported by ${room}`;
}

function whyNotModule(from: string, name: string): string | null {
  if (name.startsWith('node:')) {
    const isFloorOne = ROOMS[roomOf(from)]! < 20;
    if (!isFloorOne || PURE_BUILT_INS.includes(name)) return null;
    return `may not be imported by ${roomOf(from)}, which touches nothing outside`;
  }
  const parts = name.split('/');
  const packageName = name.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]!;
  const room = PACKAGES[packageName];
  if (room !== undefined) return from.startsWith(room) ? null : `may only be imported by ${room}`;
  return BUILT_INS.has(packageName)
    ? 'should start with node:'
    : 'has no room in the table of packages';
}

/** Circles of files, each told once, from its first file in alphabetical order. */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found = new Set<string>();
  const done = new Set<string>();
  function visit(path: string, way: readonly string[]): void {
    const at = way.indexOf(path);
    if (at >= 0) {
      const circle = way.slice(at);
      const first = circle.indexOf([...circle].sort()[0]!);
      const turned = [...circle.slice(first), ...circle.slice(0, first), circle[first]!];
      found.add(`a circle: ${turned.join(' -> ')}`);
      return;
    }
    if (done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...way, path]);
    done.add(path);
  }
  for (const path of [...graph.keys()].sort()) visit(path, []);
  return [...found];
}
