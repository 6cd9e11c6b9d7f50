import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, afterEach, before, describe, it } from 'node:test';
import Database from 'better-sqlite3';
import { openOfflineLog } from '../../src/app/offline-log.ts';
import type { LogPort } from '../../src/core/log-reader.ts';
import type { LogRecord } from '../../src/core/record.ts';
import { dataPaths, readDataId } from '../../src/store/data-directory.ts';
import { openLogFiles } from '../../src/store/log-files.ts';
import { listLogFiles } from '../../src/store/log-shelf.ts';
import { spoolPath } from '../../src/store/spool-file.ts';
import { decodeSpoolHeader, encodeSpoolHeader } from '../../src/store/spool-layout.ts';
import { fairleadConfig, portName } from '../bench/subjects.ts';
import { cli, Daemon } from './daemon.ts';
import { FedRack } from './fed-rack.ts';
import { FedStream, StreamCheck } from './fed-stream.ts';

const PORTS = 2;
/** More than a segment of 256 KB; then a rest that stays in hot rows. */
const SEALED_BYTES = 300_000;
const HOT_BYTES = 20_000;
const FED_LATER_BYTES = 3_000;

const stream = new FedStream();
let rack: FedRack;
/** What a daemon left that was killed with bytes in the spool only, and one that was stopped. */
let killed: Left;
let stopped: Left;
/** The daemon of the test under way. */
let daemon: Daemon | null = null;

/** A data directory put away, with the spool that belongs to it. */
interface Left {
  directory: string;
  spool: Buffer;
  /** Of each port: uuid, epoch, and how much of its stream was logged, and sealed. */
  ports: { uuid: string; epoch: number; bytes: number; sealedBytes: number }[];
}

before(async () => {
  rack = await FedRack.start(PORTS);
  await rack.startDaemon();
  rack.expectAll((await rack.feeder.run({ rate: 0, bytes: SEALED_BYTES })).sent);
  await untilSealed();
  rack.expectAll((await rack.feeder.run({ rate: 0, bytes: HOT_BYTES })).sent);
  await rack.committed();
  const fed = rack.feeder.run({ rate: 0, bytes: 50_000 });
  rack.daemon!.signal('SIGKILL');
  await rack.daemon!.exited;
  rack.feeder.stop();
  await fed;
  await rack.account();
  killed = putAway('killed');
  await rack.startDaemon();
  await rack.daemon!.stop();
  stopped = putAway('stopped');
});
after(() => rack.close());
afterEach(async () => {
  await daemon?.stop('SIGKILL');
  daemon = null;
});

describe('a state database that makes no sense', () => {
  const damages: [string, (path: string) => void][] = [
    ['overwritten pages', (path) => overwrite(path, 4_096, Buffer.alloc(3 * 4_096, 0xff))],
    ['cut short', (path) => truncateSync(path, 10_000)],
    ['a text file', (path) => writeFileSync(path, 'this is no database\n'.repeat(1_000))],
  ];
  for (const [what, damage] of damages) {
    it(`${what}: is moved aside, and capture goes on under the same addresses`, async () => {
      const directory = takeOut(stopped, what);
      const path = join(directory, 'data', 'fairlead.db');
      damage(path);
      const damaged = digest(path);
      const before = await verify(directory);
      assert.equal(before.code, 1);
      assert.match(before.stdout, /^damage: fairlead\.db: /m);
      daemon = await serve(directory);
      const said = await daemon.said('state database corrupt, moved aside, a new one begun');
      assert.equal(said.level, 'error');
      assert.equal(said['fault'], 'STORE_CORRUPT');
      assert.equal(digest(said['movedTo'] as string), damaged, 'the old one is all there');
      await captureMore(directory, stopped, { isNewEpoch: true });
      await daemon.stop();
      for (const port of stopped.ports.keys()) {
        const records = recordsOf(directory, port);
        checkAddresses(port, records, stopped.ports[port]!.epoch);
        const sealed = records.filter(({ epoch }) => epoch === stopped.ports[port]!.epoch);
        assert.ok(rxBytes(sealed) >= stopped.ports[port]!.sealedBytes, 'what was sealed is there');
      }
      assert.equal((await verify(directory)).code, 0);
    });
  }

  it('is refused, untouched, when a newer Fairlead wrote it', async () => {
    const directory = takeOut(stopped, 'newer');
    const path = join(directory, 'data', 'fairlead.db');
    const db = new Database(path);
    db.pragma('user_version = 9999');
    db.close();
    const contents = digest(path);
    const { code, stderr } = await cli(['serve', '--config', configOf(directory)]);
    assert.equal(code, 1);
    assert.match(stderr, /fairlead\.db was written by a newer Fairlead \(version 9999/);
    assert.equal(digest(path), contents);
  });
});

describe('a log file', () => {
  it('whose bytes changed is named by verify, and capture goes on', async () => {
    const directory = takeOut(stopped, 'changed-log');
    const [name, path] = logFileOf(directory);
    // Inside a segment's data, which SQLite does not look at; and where one of its pages begins.
    const page = 8_192 * Math.floor(statSync(path).size / 8_192 / 2);
    for (const at of [page + 1_000, page]) {
      overwrite(path, at, randomBytes(64));
      const { code, stdout } = await verify(directory);
      assert.equal(code, 1);
      assert.match(stdout, new RegExp(`^damage: .*${name}: `, 'm'));
      assert.match(stdout, /^DAMAGED: 2 ports, /m);
    }
    daemon = await serve(directory);
    await captureMore(directory, stopped, { isNewEpoch: false });
    await daemon.stop();
    assert.equal((await verify(directory)).code, 1, 'it stays damaged, and is named again');
  });

  it('whose every page but the first is garbage holds up nobody', async () => {
    const directory = takeOut(stopped, 'garbage-log');
    const [name, path] = logFileOf(directory);
    overwrite(path, 8_192, randomBytes(statSync(path).size - 8_192));
    daemon = await serve(directory);
    await captureMore(directory, stopped, { isNewEpoch: false });
    await daemon.stop();
    const { code, stdout } = await verify(directory);
    assert.equal(code, 1);
    assert.match(stdout, new RegExp(`^damage: .*${name}: `, 'm'));
  });

  it('that is none any more is named by verify and left alone', async () => {
    const directory = takeOut(stopped, 'no-log');
    const [name, path] = logFileOf(directory);
    overwrite(path, 0, randomBytes(8_192));
    const contents = digest(path);
    daemon = await serve(directory);
    const said = await daemon.said('log file unreadable, left alone');
    assert.equal(said['file'], name);
    await captureMore(directory, stopped, { isNewEpoch: false });
    await daemon.stop();
    assert.equal(digest(path), contents);
    const { code, stdout } = await verify(directory);
    assert.equal(code, 1);
    assert.match(stdout, new RegExp(`^damage: ${name}: `, 'm'));
  });

  it('that a power cut caught before its first transaction is no damage, and used', async () => {
    const directory = takeOut(stopped, 'unborn-log');
    const [, path] = logFileOf(directory);
    const unborn = path.replace('.db', '-2.db');
    writeFileSync(unborn, '');
    assert.equal((await verify(directory)).code, 0);
    daemon = await serve(directory);
    await captureMore(directory, stopped, { isNewEpoch: false });
    await daemon.stop();
    assert.ok(statSync(unborn).size > 0);
    const { code, stdout } = await verify(directory);
    assert.equal(code, 0, stdout);
    for (const port of stopped.ports.keys()) checkWhole(port, recordsOf(directory, port));
  });

  it('that a power cut caught half changed is rolled back', async () => {
    const directory = takeOut(stopped, 'half-changed');
    const [, path] = logFileOf(directory);
    leaveHalfChanged(path);
    assert.equal((await verify(directory)).code, 0, 'read from a copy');
    assert.ok(existsSync(`${path}-journal`), 'reading changed nothing');
    daemon = await serve(directory);
    await captureMore(directory, stopped, { isNewEpoch: false });
    await daemon.stop();
    assert.equal(existsSync(`${path}-journal`), false);
    const { code, stdout } = await verify(directory);
    assert.equal(code, 0, stdout);
    for (const port of stopped.ports.keys()) checkWhole(port, recordsOf(directory, port));
  });
});

describe('what a daemon left in the spool', () => {
  it('garbage: a new epoch, and what was committed is there', async () => {
    const directory = takeOut(killed, 'garbage-spool');
    writeFileSync(spoolOf(directory), randomBytes(killed.spool.length));
    daemon = await serve(directory);
    const said = await daemon.said('new epoch');
    assert.match(String(said['why']), /spool is damaged/);
    await captureMore(directory, killed, { isNewEpoch: true });
    await daemon.stop();
    for (const [port, { epoch }] of killed.ports.entries()) {
      const records = recordsOf(directory, port);
      checkAddresses(port, records, epoch);
      const old = records.filter((record) => record.epoch === epoch);
      assert.ok(rxBytes(old) >= SEALED_BYTES + HOT_BYTES, 'all that was committed');
    }
    assert.equal((await verify(directory)).code, 0);
  });

  it('of another boot of the kernel: is committed, and a new epoch begins', async () => {
    const directory = takeOut(killed, 'other-boot');
    const header = decodeSpoolHeader(killed.spool)!;
    const bootId = '00000000-0000-4000-8000-000000000000';
    overwrite(spoolOf(directory), 0, encodeSpoolHeader({ ...header, bootId }));
    daemon = await serve(directory);
    await daemon.said('spool recovered');
    const said = await daemon.said('new epoch');
    assert.match(String(said['why']), /restarted/);
    await captureMore(directory, killed, { isNewEpoch: true });
    await daemon.stop();
    for (const port of killed.ports.keys()) checkWhole(port, recordsOf(directory, port));
    assert.equal((await verify(directory)).code, 0);
  });

  it('of this boot: is committed, and the epoch goes on', async () => {
    const directory = takeOut(killed, 'same-boot');
    daemon = await serve(directory);
    await captureMore(directory, killed, { isNewEpoch: false });
    await daemon.stop();
    for (const port of killed.ports.keys()) checkWhole(port, recordsOf(directory, port));
    assert.equal((await verify(directory)).code, 0);
  });
});

describe('a data directory in order', () => {
  it('goes on in the same epoch after a clean stop, with the spool or without', async () => {
    for (const withSpool of [true, false]) {
      const directory = takeOut(stopped, `clean-${withSpool}`);
      if (!withSpool) rmSync(spoolOf(directory));
      daemon = await serve(directory);
      await captureMore(directory, stopped, { isNewEpoch: false });
      await daemon.stop();
      for (const port of stopped.ports.keys()) checkWhole(port, recordsOf(directory, port));
      assert.equal((await verify(directory)).code, 0);
    }
  });

  it('is read by log --data without a byte of it changing', async () => {
    for (const left of [killed, stopped]) {
      const directory = takeOut(left, `read-only-${left === killed}`);
      const data = join(directory, 'data');
      const files = listing(data);
      setModes(data, 0o444, 0o555); // the superuser is not kept out by this, but `listing` tells
      for (const [port, { bytes }] of left.ports.entries()) {
        const args = ['log', portName(port), '--format', 'raw', '--data', data];
        const { code, stdout, stderr } = await cli(args);
        assert.equal(code, 0, stderr);
        const check = new StreamCheck(stream, port, [[0, bytes]]);
        assert.equal(check.push(stdout), null);
        assert.equal(check.missing, 0);
      }
      assert.deepEqual(listing(data), files);
      setModes(data, 0o600, 0o700);
    }
  });

  it('is refused to a second daemon', async () => {
    const directory = takeOut(stopped, 'second');
    daemon = await serve(directory);
    const { code, stderr } = await cli(['serve', '--config', configOf(directory)]);
    assert.equal(code, 5);
    assert.match(stderr, new RegExp(`another daemon \\(pid ${daemon.process.pid}\\) uses`));
    await captureMore(directory, stopped, { isNewEpoch: false });
  });
});

/** Waits until the daemon has sealed something of each port. */
async function untilSealed(): Promise<void> {
  const files = rack.logInPlace();
  try {
    for (;;) {
      files.refresh(true);
      const ports = files.ports();
      const isSealed = (uuid: string): boolean =>
        files.files().some((file) => file.spans(uuid).length > 0);
      if (ports.length === PORTS && ports.every(({ uuid }) => isSealed(uuid))) return;
      await sleep(20);
    }
  } finally {
    files.close();
  }
}

/** Copies the rack's data directory and its spool, and notes what they hold. */
function putAway(name: string): Left {
  const directory = join(rack.directory, name);
  mkdirSync(directory);
  cpSync(rack.data, join(directory, 'data'), { recursive: true });
  const files = rack.logAtRest();
  try {
    const ports = files.ports().map(({ uuid, epochs }, port) => {
      assert.equal(epochs.length, 1);
      const sealed = files.files().flatMap((file) => [...file.spans(uuid)]);
      return {
        uuid,
        epoch: epochs[0]!.epoch,
        bytes: rack.parts(port).at(-1)![1],
        sealedBytes: sealed.reduce((end, span) => Math.max(end, span.endOffset), 0),
      };
    });
    return { directory, spool: readFileSync(spoolOf(rack.directory)), ports };
  } finally {
    files.close();
  }
}

/** A copy of what was left, for one test, with its spool in place. */
function takeOut(left: Left, what: string): string {
  const directory = join(rack.directory, what.replaceAll(' ', '-'));
  mkdirSync(directory);
  cpSync(join(left.directory, 'data'), join(directory, 'data'), { recursive: true });
  writeFileSync(spoolOf(directory), left.spool);
  writeFileSync(configOf(directory), fairleadConfig(rack.feeder.paths, directory));
  return directory;
}

function configOf(directory: string): string {
  return join(directory, 'fairlead.yaml');
}

function spoolOf(directory: string): string {
  const data = join(directory, 'data');
  return spoolPath(readDataId(data)!, { dataDirectory: data }).path;
}

function logFileOf(directory: string): [name: string, path: string] {
  const folder = join(directory, 'data', 'log');
  const [name] = listLogFiles(folder);
  return [name!, join(folder, name!)];
}

function serve(directory: string): Promise<Daemon> {
  return Daemon.start(directory, fairleadConfig(rack.feeder.paths, directory));
}

async function verify(directory: string): Promise<{ code: number | null; stdout: string }> {
  const { code, stdout, stderr } = await cli(['verify', '--data', join(directory, 'data')]);
  assert.equal(stderr, '');
  return { code, stdout: stdout.toString() };
}

/** What each port was fed last: from, to. */
let fedLast: (readonly [number, number])[] = [];

/** Feeds the ports some more and waits until it is all in the log, in the epoch it belongs to. */
async function captureMore(
  directory: string,
  left: Left,
  { isNewEpoch }: { isNewEpoch: boolean },
): Promise<void> {
  const before = rack.fed;
  const { sent } = await rack.feeder.run({ rate: 0, bytes: FED_LATER_BYTES });
  rack.expectAll(sent);
  fedLast = sent.map((bytes, port) => [before[port]!, bytes] as const);
  for (const [port, { uuid, epoch, bytes }] of left.ports.entries()) {
    const wanted = isNewEpoch ? FED_LATER_BYTES : bytes + FED_LATER_BYTES;
    const found = await untilLogged(join(directory, 'data'), port, wanted);
    assert.equal(found.uuid, uuid, 'the port keeps its uuid');
    const newest = found.epochs.at(-1)!;
    assert.equal(newest.endOffset, wanted);
    if (isNewEpoch) assert.ok(newest.epoch > epoch, 'a new epoch');
    else assert.equal(newest.epoch, epoch, 'the same epoch');
  }
}

/** Waits until the port's newest epoch reaches that offset. */
async function untilLogged(data: string, port: number, endOffset: number): Promise<LogPort> {
  const files = openLogFiles(dataPaths(data), null);
  try {
    for (;;) {
      const found = files.ports().find(({ name }) => name === portName(port))!;
      const newest = found.epochs.at(-1);
      if (newest && newest.epoch >= killed.ports[port]!.epoch && newest.endOffset >= endOffset) {
        return found;
      }
      const { epoch, nextSeq } = newest ?? { epoch: 0, nextSeq: 0 };
      await files.changed(found.uuid, { epoch, seq: nextSeq }, 1_000);
    }
  } finally {
    files.close();
  }
}

function recordsOf(directory: string, port: number): LogRecord[] {
  const files = openOfflineLog(join(directory, 'data'));
  try {
    const { uuid } = files.ports().find(({ name }) => name === portName(port))!;
    const records: LogRecord[] = [];
    let cursor = { epoch: 0, seq: 0 };
    for (let atEnd = false; !atEnd;) {
      const batch = files.read(uuid, cursor, 1024 * 1024);
      records.push(...batch.records);
      ({ next: cursor, atEnd } = batch);
    }
    return records;
  } finally {
    files.close();
  }
}

function rxBytes(records: readonly LogRecord[]): number {
  return records.reduce((sum, one) => sum + (one.kind === 'rx' ? one.bytes.length : 0), 0);
}

/** The whole stream is there, and no gap. */
function checkWhole(port: number, records: readonly LogRecord[]): void {
  const { bytes } = killed.ports[port]!;
  const check = new StreamCheck(stream, port, [[0, bytes], fedLast[port]!]);
  for (const record of records) {
    assert.notEqual(record.kind, 'gap');
    if (record.kind === 'rx') assert.equal(check.push(record.bytes), null);
  }
  assert.equal(check.missing, 0);
}

/** Each byte of the old epoch is the one that its offset names, and those of the new one follow. */
function checkAddresses(port: number, records: readonly LogRecord[], oldEpoch: number): void {
  for (const record of records) {
    if (record.kind !== 'rx') continue;
    const from = record.offset + (record.epoch === oldEpoch ? 0 : fedLast[port]![0]);
    const check = new StreamCheck(stream, port, [[from, from + record.bytes.length]]);
    assert.equal(check.push(record.bytes), null);
  }
}

function overwrite(path: string, at: number, bytes: Buffer): void {
  chmodSync(path, 0o600);
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

/** Copies a database out of the middle of a transaction: pages changed, and the journal beside it. */
function leaveHalfChanged(path: string): void {
  const db = new Database(path);
  db.pragma('cache_size = 1'); // so that changed pages go to the file before the commit
  db.exec('BEGIN; UPDATE segment SET data = zeroblob(length(data))');
  for (const suffix of ['', '-journal']) cpSync(path + suffix, `${path}.copy${suffix}`);
  db.exec('ROLLBACK');
  db.close();
  for (const suffix of ['', '-journal']) {
    cpSync(`${path}.copy${suffix}`, path + suffix);
    rmSync(`${path}.copy${suffix}`);
  }
}

function digest(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Every file below a folder, with what it holds. */
function listing(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort()
    .map((path) => `${path} ${digest(path)}`);
}

function setModes(folder: string, fileMode: number, folderMode: number): void {
  chmodSync(folder, 0o700);
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? folderMode : fileMode);
  }
  chmodSync(folder, folderMode);
}
