import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import Database from 'better-sqlite3';
import { scratchDirectory } from '../../e2e/daemon.ts';
import { PROJECT } from '../project.ts';
import {
  crashStates,
  readTrace,
  seededRandom,
  tracedEnvironment,
  writeState,
  type FileEvent,
} from './replay.ts';

const scratch = scratchDirectory();
after(() => scratch.dispose());

/**
 * Commits rows one by one and says so after each by appending to `acknowledged`, which the trace
 * holds in its place among the writes.
 */
const WRITER = `
  import { appendFileSync } from 'node:fs';
  import { randomBytes } from 'node:crypto';
  import { pathToFileURL } from 'node:url';
  const [project, directory, synchronous] = process.argv.slice(2);
  const { default: Database } = await import(
    pathToFileURL(project + '/node_modules/better-sqlite3/lib/index.js').href
  );
  const db = new Database(directory + '/log.db');
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = ' + synchronous);
  db.pragma('wal_autocheckpoint = 20');
  db.exec('CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)');
  const insert = db.prepare('INSERT INTO row (id, bytes) VALUES (?, ?)');
  for (let id = 1; id <= 120; id++) {
    insert.run(id, randomBytes(3000));
    appendFileSync(directory + '/acknowledged', id + '\\n');
  }
  db.close();
`;

describe('a power cut while SQLite commits', () => {
  it('loses no committed row and damages nothing with synchronous=FULL', () => {
    const { lost, corrupt, states } = cutPower('FULL');
    assert.equal(states, 120);
    assert.deepEqual({ lost, corrupt }, { lost: 0, corrupt: 0 });
  });

  it('loses rows or the database with synchronous=OFF: the tool can fail', () => {
    const { lost, corrupt } = cutPower('OFF');
    assert.ok(lost + corrupt > 10, `${lost} lost, ${corrupt} corrupt`);
  });

  it('loses rows, but no database, with synchronous=NORMAL', () => {
    const { lost, corrupt } = cutPower('NORMAL');
    assert.ok(lost > 10, `${lost} lost`);
    assert.equal(corrupt, 0);
  });
});

describe('the state after a cut', () => {
  const at = (path: string) => ({ atUs: 0, path });
  const events: FileEvent[] = [
    { ...at('a'), kind: 'create' },
    { ...at('a'), kind: 'write', offset: 0, bytes: new Uint8Array(2048).fill(1) },
    { ...at('a'), kind: 'sync' },
    { ...at('a'), kind: 'write', offset: 256, bytes: new Uint8Array(1024).fill(2) },
    { ...at('b'), kind: 'create' },
    { ...at('b'), kind: 'write', offset: 0, bytes: Uint8Array.of(9) },
    { ...at('a'), kind: 'rename', to: 'c' },
    { ...at('c'), kind: 'sync' },
    { ...at('c'), kind: 'truncate', size: 10 },
    { ...at('b'), kind: 'unlink' },
  ];
  const statesAt = (cut: number) =>
    Array.from({ length: 200 }, (_, seed) => {
      const [found] = [...crashStates(events, [cut], seededRandom(seed))];
      return found!.state;
    });

  it('holds what was synced, and whole sectors of what was not', () => {
    const seen = new Set<string>();
    for (const state of statesAt(4)) {
      const bytes = state.get('a')!;
      assert.equal(bytes.length, 2048);
      assert.ok(bytes.subarray(0, 256).every((byte) => byte === 1));
      assert.ok(bytes.subarray(1280).every((byte) => byte === 1));
      const sectors = [
        bytes.subarray(256, 512),
        bytes.subarray(512, 1024),
        bytes.subarray(1024, 1280),
      ];
      for (const sector of sectors) assert.ok(sector.every((byte) => byte === sector[0]));
      seen.add(sectors.map((sector) => sector[0]).join(''));
    }
    assert.equal(seen.size, 8, 'each of the three sectors came and stayed away');
  });

  it('keeps names in order, and those before a sync for sure', () => {
    const namesAt = (cut: number) => [
      ...new Set(statesAt(cut).map((state) => [...state.keys()].sort().join())),
    ];
    assert.deepEqual(namesAt(7).sort(), ['a', 'a,b', 'b,c']);
    assert.deepEqual(namesAt(8), ['b,c']);
    assert.deepEqual(namesAt(10).sort(), ['b,c', 'c']);
  });

  it('cuts a file short, or not yet', () => {
    const sizes = new Set(statesAt(9).map((state) => state.get('c')!.length));
    assert.deepEqual([...sizes].sort(), [10, 2048]);
  });

  it('is the same for the same seed', () => {
    const cuts = [2, 4, 6, 9];
    const states = () => [...crashStates(events, cuts, seededRandom(7))];
    assert.deepEqual(states(), states());
  });
});

/** Runs the writer once, and cuts its power at 120 moments. */
function cutPower(synchronous: string): { lost: number; corrupt: number; states: number } {
  const directory = join(scratch.path, synchronous);
  const trace = join(scratch.path, `${synchronous}.trace`);
  const writer = join(scratch.path, 'writer.mjs');
  mkdirSync(directory);
  writeFileSync(writer, WRITER);
  execFileSync(process.execPath, [writer, PROJECT, directory, synchronous], {
    env: { ...process.env, ...tracedEnvironment(directory, trace) },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const events = readTrace(trace);
  const random = seededRandom(1);
  const first = events.findIndex((event) => event.path === 'acknowledged');
  const cuts = Array.from({ length: 120 }, () =>
    Math.floor(first + random() * (events.length - first)),
  );
  const result = { lost: 0, corrupt: 0, states: 0 };
  for (const { cut, state } of crashStates(events, cuts, random)) {
    const acknowledged = events
      .slice(0, cut)
      .filter((event) => event.path === 'acknowledged' && event.kind === 'write').length;
    const disk = join(scratch.path, `${synchronous}-${result.states++}`);
    writeState(state, disk);
    const rows = openAndCount(join(disk, 'log.db'));
    if (rows === null) result.corrupt++;
    else if (rows < acknowledged) result.lost++;
  }
  return result;
}

/** Rows 1..n without a hole (none: the table itself is lost), null when the database is damaged. */
function openAndCount(path: string): number | null {
  try {
    const db = new Database(path);
    try {
      if (db.pragma('integrity_check', { simple: true }) !== 'ok') return null;
      if (db.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'row'`).get() === undefined)
        return 0;
      const { rows, last } = db
        .prepare<[], { rows: number; last: number | null }>(
          'SELECT count(*) AS rows, max(id) AS last FROM row',
        )
        .get()!;
      return rows === (last ?? 0) ? rows : null;
    } finally {
      db.close();
    }
  } catch {
    return null;
  }
}
