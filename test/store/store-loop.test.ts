import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import SQLite from 'better-sqlite3';
import type { LogRecord } from '../../src/core/record.ts';
import type { AuditRow } from '../../src/core/store.ts';
import type { User } from '../../src/core/user.ts';
import { Audit } from '../../src/store/audit.ts';
import { openLogFiles, type LogFiles } from '../../src/store/log-files.ts';
import { verifyLog, type VerifyResult } from '../../src/store/verify.ts';
import { plain } from '../log/records.ts';
import { FakeSpool, NOON_US, Rig, Writer } from './store-support.ts';

const rigs: Rig[] = [];
const readers: LogFiles[] = [];

function newRig(options: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = new Rig(options);
  rigs.push(rig);
  return rig;
}

function openReader(rig: Rig): LogFiles {
  const files = openLogFiles(rig.directory, null);
  readers.push(files);
  return files;
}

/** Every record of a port, read in small steps. */
function readAll(files: LogFiles, uuid: string, bytesMax = 5000): LogRecord[] {
  const records: LogRecord[] = [];
  let cursor = { epoch: 0, seq: 0 };
  for (;;) {
    const batch = files.read(uuid, cursor, bytesMax);
    records.push(...batch.records);
    cursor = batch.next;
    if (batch.atEnd) return records;
    assert(batch.records.length > 0, 'a batch that is not the last holds a record');
  }
}

function verify(rig: Rig): VerifyResult {
  const files = openLogFiles(rig.directory, null);
  try {
    const walk = verifyLog(files);
    for (let step = walk.next(); ; step = walk.next()) if (step.done) return step.value;
  } finally {
    files.close();
  }
}

function same(actual: readonly LogRecord[], expected: readonly LogRecord[]): void {
  assert.deepEqual(actual.map(plain), expected.map(plain));
}

function logFiles(rig: Rig): string[] {
  return readdirSync(join(rig.path, 'log')).filter((name) => name.endsWith('.db'));
}

function auditRow(action: string): AuditRow {
  return { atUs: 5, user: 'alice', remote: 'x', frontend: 'ssh', action, port: null, detail: '' };
}

afterEach(() => {
  for (const files of readers.splice(0)) files.close();
  for (const rig of rigs.splice(0)) rig.close();
});

describe('store', () => {
  it('commits a lone record at once and then at most each 100 ms', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.clock.pass(1000);
    const before = rig.commits;
    rig.spool.push(port!.portId, [writer.rx('Oops')]);
    rig.turn();
    assert.equal(rig.commits, before + 1);
    rig.spool.push(port!.portId, [writer.rx('more')]);
    rig.turn();
    assert.equal(rig.commits, before + 1, 'within the 100 ms it waits');
    rig.turn();
    assert.equal(rig.commits, before + 2);
    same(readAll(openReader(rig), port!.uuid), writer.records);
  });

  it('commits at once when 1 MB waits', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.clock.pass(1000);
    rig.spool.push(port!.portId, writer.chatter(2));
    rig.turn();
    const before = rig.commits;
    rig.spool.push(port!.portId, writer.chatter(1100));
    rig.turn();
    assert.equal(rig.commits, before + 1);
  });

  it('keeps every record through commits, seals and deletes', () => {
    const rig = newRig();
    const ports = rig.start(['db1', 'db2']);
    const writers = ports.map((port) => new Writer(port));
    for (let round = 0; round < 12; round++) {
      writers.forEach((writer, i) => rig.spool.push(ports[i]!.portId, writer.chatter(30 + i * 25)));
      writers[0]!.write({ kind: 'mark', text: `round ${round}` });
      rig.spool.push(ports[0]!.portId, writers[0]!.records.slice(-1));
      rig.pass(1500);
    }
    const files = openReader(rig);
    ports.forEach((port, i) => same(readAll(files, port.uuid), writers[i]!.records));
    const result = verify(rig);
    assert.equal(result.damage, null);
    assert(result.counts.segments >= 2, `sealed ${result.counts.segments}`);
    const db = new SQLite(rig.directory.database, { readonly: true });
    const hot = db.prepare('SELECT sum(bytes) FROM hot').pluck().get() as number;
    db.close();
    const total = writers.reduce((sum, writer) => sum + writer.position.offset, 0);
    assert(hot < total / 2, 'sealed rows were deleted');
  });

  it('seals a port that fell silent after 15 minutes', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.spool.push(port!.portId, [writer.rx('login: ')]);
    rig.drain();
    assert.equal(verify(rig).counts.segments, 0);
    rig.pass(15 * 60_000 + 3000);
    const result = verify(rig);
    assert.equal(result.counts.segments, 1);
    assert(result.counts.checkpoints >= 0);
    same(readAll(openReader(rig), port!.uuid), writer.records);
  });

  it('begins a segment at a clock step', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    const records = writer.chatter(3);
    records.push(writer.write({ kind: 'clock-step', stepUs: -3_600_000_000 }, -3_600_000_000));
    records.push(...writer.chatter(2));
    rig.spool.push(port!.portId, records);
    rig.drain();
    rig.store.sealAll();
    const result = verify(rig);
    assert.equal(result.damage, null);
    assert.equal(result.counts.segments, 2);
    const files = openReader(rig);
    same(readAll(files, port!.uuid), writer.records);
    const found = files.locate(port!.uuid, {
      at: 'time',
      us: writer.records[0]!.atUs - 3_600_000_000,
    });
    assert.equal(found.seq, 1, 'the first in the order of the log');
  });

  it('begins a new log file each UTC day and finishes the old one', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.spool.push(port!.portId, writer.chatter(300));
    rig.pass(3000);
    assert.deepEqual(logFiles(rig), ['2026-11-20.db']);
    rig.clock.pass(12 * 3_600_000);
    writer.atUs = rig.clock.nowUs();
    rig.spool.push(port!.portId, writer.chatter(300));
    rig.pass(3000);
    assert.deepEqual(logFiles(rig), ['2026-11-20.db', '2026-11-21.db']);
    const old = join(rig.path, 'log', '2026-11-20.db');
    assert.equal(statSync(old).mode & 0o777, 0o440);
    assert.equal(readFileSync(old)[18], 1, 'not in WAL any more');
    assert.deepEqual(
      readdirSync(join(rig.path, 'log')).filter((name) => name.startsWith('2026-11-20')),
      ['2026-11-20.db'],
    );
    assert.equal(verify(rig).damage, null);
    same(readAll(openReader(rig), port!.uuid), writer.records);
  });

  it('begins another file of the day when one is full, though a reader holds the old one', () => {
    const rig = newRig({ logFileBytesMax: 100_000 });
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    const files = openReader(rig);
    for (let i = 0; i < 6; i++) {
      rig.spool.push(port!.portId, writer.chatter(300));
      rig.pass(2000);
      same(readAll(files, port!.uuid, 200_000), writer.records);
    }
    rig.pass(121_000);
    assert(logFiles(rig).length >= 3, logFiles(rig).join());
    const unfinished = logFiles(rig).filter(
      (name) => readFileSync(join(rig.path, 'log', name))[18] === 2,
    );
    assert.equal(unfinished.length, 1, 'only the newest');
    assert.equal(verify(rig).damage, null);
  });

  it('knows what was sealed when a crash fell between the segment and its note', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.spool.push(port!.portId, writer.chatter(300));
    rig.drain();
    // The state database as it is now, with every hot row, and none of the segment's traces.
    const db = new SQLite(rig.directory.database);
    db.pragma('wal_checkpoint(TRUNCATE)');
    db.close();
    const state = readFileSync(rig.directory.database);
    rig.pass(3000);
    assert.equal(verify(rig).counts.segments, 1);
    rig.store.close();
    for (const suffix of ['', '-wal', '-shm'])
      rmSync(rig.directory.database + suffix, { force: true });
    writeFileSync(rig.directory.database, state);
    rig.reopen();
    const [again] = rig.start(['db1'], rig.spool.recovered([]));
    assert.deepEqual(again!.position, writer.position);
    same(readAll(openReader(rig), port!.uuid), writer.records);
    rig.spool.push(port!.portId, writer.chatter(300));
    rig.pass(3000);
    const result = verify(rig);
    assert.equal(result.damage, null);
    assert.equal(result.counts.segments, 2);
    same(readAll(openReader(rig), port!.uuid), writer.records);
  });

  it('commits what the spool of a killed daemon holds exactly once', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.spool.push(port!.portId, writer.chatter(5));
    rig.drain();
    const uuids = ['', port!.uuid];
    // Committed records whose blocks were not freed yet, and some that were never committed.
    rig.spool.push(port!.portId, writer.records);
    rig.spool.push(port!.portId, writer.chatter(4));
    const recovered = rig.spool.recovered(uuids);
    rig.spool = new FakeSpool(rig.clock);
    for (let kill = 0; kill < 2; kill++) {
      rig.reopen();
      const [again] = rig.start(['db1'], recovered);
      assert.deepEqual(again!.position, writer.position);
      assert.equal(again!.newEpochBecause, null);
      same(readAll(openReader(rig), port!.uuid), writer.records);
    }
  });

  it('begins a new epoch only when nothing proves continuity', () => {
    const rig = newRig();
    const [first] = rig.start(['db1']);
    assert.equal(first!.newEpochBecause, 'new port');
    assert.deepEqual(first!.position, { epoch: NOON_US / 1e6, seq: 1, offset: 0 });
    const writer = new Writer(first!);
    rig.spool.push(first!.portId, writer.chatter(2));
    rig.stop();
    rig.reopen();
    const [clean] = rig.start(['db1'], null);
    assert.equal(clean!.newEpochBecause, null, 'a clean stop needs no spool');
    assert.deepEqual(clean!.position, writer.position);

    rig.reopen();
    const [other] = rig.start(['db1', 'db2'], rig.spool.recovered([], false));
    assert.equal(other!.newEpochBecause, 'another boot of the kernel');
    assert.equal(other!.position.epoch, NOON_US / 1e6 + 1, 'no epoch is used twice');
    rig.reopen();
    const [missing] = rig.start(['db1'], null);
    assert.equal(missing!.newEpochBecause, 'the spool is missing');
    rig.stop();
    rig.reopen();
    // db2 was not there when continuity broke; a clean stop since then does not mend that.
    const [kept, broken] = rig.start(['db1', 'db2'], null);
    assert.equal(kept!.newEpochBecause, null);
    assert.equal(broken!.newEpochBecause, 'the spool is missing');
  });

  it('keeps uuid and log through renames, also a chain of them', () => {
    const rig = newRig();
    const [a, b] = rig.start(['db1', 'db2']);
    const renamed = rig.store.registerPorts([
      { name: 'db2', was: 'db1', backend: 'sim' },
      { name: 'db3', was: 'db2', backend: 'sim' },
      { name: 'DB4', was: null, backend: 'sim' },
    ]);
    assert.equal(renamed[0]!.uuid, a!.uuid);
    assert.equal(renamed[1]!.uuid, b!.uuid);
    assert.deepEqual(renamed[0]!.position, a!.position);
    const again = rig.register(['db4', 'db3']);
    assert.equal(again[0]!.uuid, renamed[2]!.uuid, 'names are compared without case');
    assert.equal(again[1]!.uuid, b!.uuid);
    assert.deepEqual(
      openReader(rig)
        .ports()
        .map((port) => port.name),
      ['db2', 'db3', 'db4'],
    );
  });

  it('answers a registration with the position after all that is spooled', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.turn();
    rig.spool.push(port!.portId, writer.chatter(3));
    const ports = [{ name: 'db1', was: null, backend: 'sim' }];
    rig.requests.push({ kind: 'register', id: 7, ports });
    rig.turn();
    const answer = rig.answers[0]!;
    assert('ports' in answer && answer.id === 7);
    assert.deepEqual(answer.ports[0]!.position, writer.position);
  });

  it('answers a flush when everything spooled so far is durable', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.turn();
    rig.spool.push(port!.portId, writer.chatter(3));
    rig.requests.push({ kind: 'flush', id: 5 });
    rig.turn();
    assert.deepEqual(rig.answers, [{ id: 5, done: true }]);
    same(readAll(openReader(rig), port!.uuid), writer.records);
  });

  it('keeps the batch and tries again while the disk fails', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.clock.pass(1000);
    const holder = new SQLite(rig.directory.database);
    holder.pragma('busy_timeout = 0');
    // A writer that holds the lock looks to the store like any other failure of SQLite.
    holder.exec('BEGIN IMMEDIATE');
    rig.spool.push(port!.portId, writer.chatter(2));
    rig.turn();
    assert.equal(rig.journal.messages().at(-1), 'commit failed, kept to be tried again');
    rig.spool.push(port!.portId, writer.chatter(2));
    rig.requests.push({ kind: 'audit', row: auditRow('login') });
    rig.onSleep = () => {
      if (!holder.open) return;
      holder.exec('ROLLBACK');
      holder.close();
    };
    rig.turn();
    assert.deepEqual(rig.sleeps, [500]);
    rig.turn();
    assert.equal(rig.journal.messages().at(-1), 'store writes again');
    rig.drain();
    same(readAll(openReader(rig), port!.uuid), writer.records);
    const db = new SQLite(rig.directory.database, { readonly: true });
    assert.equal(db.prepare('SELECT count(*) FROM audit').pluck().get(), 1);
    db.close();
  });

  it('fills the tables of sessions, in the state and in the log file', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    const [session, user] = [rig.store.nextSession, 'alice'];
    assert.equal(session, 1);
    const remote = '192.0.2.7:51234';
    const records = [
      writer.write({ kind: 'attached', session, user, remote, frontend: 'ssh', mode: 'write' }),
      writer.write({ kind: 'tx', session, count: 3, bytes: Buffer.from('ls\r') }),
      writer.rx('ls\r\n'),
      writer.write({ kind: 'detached', session, why: 'left' }),
    ];
    rig.spool.push(port!.portId, records);
    rig.drain();
    assert.equal(rig.store.nextSession, 2);
    assert.deepEqual(rig.register(['db1'])[0]!.lastUsedBy, { user, atUs: records[3]!.atUs });
    rig.store.sealAll();
    const db = new SQLite(join(rig.path, 'log', '2026-11-20.db'), { readonly: true });
    assert.deepEqual(db.prepare('SELECT * FROM session').all(), [
      {
        session,
        port: 1,
        user,
        remote,
        frontend: 'ssh',
        attached_us: records[0]!.atUs,
        detached_us: records[3]!.atUs,
      },
    ]);
    db.close();
  });

  it('signs a checkpoint each minute something was sealed, with a line for the journal', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.spool.push(port!.portId, writer.chatter(300));
    rig.pass(62_000);
    const lines = rig.journal.lines.filter((line) => line.message === 'log checkpoint signed');
    assert.equal(lines.length, 1);
    rig.pass(62_000);
    assert.equal(verify(rig).counts.checkpoints, 1, 'nothing new, nothing to sign');
    assert.equal(statSync(join(rig.path, 'keys', 'log-signing.key')).mode & 0o777, 0o600);
  });

  it('keeps users and answers with all of them', () => {
    const rig = newRig();
    rig.start([]);
    const put: User = {
      name: 'carol',
      role: 'view',
      ports: ['db*'],
      keys: [],
      password: null,
      unix: null,
      from: ['10.0.0.0/8'],
      totp: 'JBSWY3DPEHPK3PXPJBSWY3DPEE',
      principals: ['ops'],
      escape: [0x1c, 0x2e],
    };
    rig.requests.push({ kind: 'users', id: 1, put }, { kind: 'users', id: 2, remove: 'CAROL' });
    rig.turn();
    assert.deepEqual(rig.answers, [
      { id: 1, users: [put], removed: false },
      { id: 2, users: [], removed: true },
    ]);
  });
});

describe('verify', () => {
  function sealedRig(): { rig: Rig; uuid: string; writer: Writer } {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    for (let i = 0; i < 3; i++) {
      rig.spool.push(port!.portId, writer.chatter(270));
      rig.pass(3000);
    }
    rig.spool.push(port!.portId, writer.chatter(2));
    rig.drain();
    const result = verify(rig);
    assert.equal(result.damage, null);
    assert.equal(result.counts.segments, 3);
    return { rig, uuid: port!.uuid, writer };
  }

  function alter(rig: Rig, sql: string, ...values: unknown[]): void {
    const db = new SQLite(join(rig.path, 'log', '2026-11-20.db'));
    const { changes } = db.prepare(sql).run(...values);
    assert(changes > 0);
    db.close();
  }

  it('finds a flipped bit in a segment, and names it', () => {
    const { rig } = sealedRig();
    const db = new SQLite(join(rig.path, 'log', '2026-11-20.db'));
    const data = db.prepare('SELECT data FROM segment WHERE id = 2').pluck().get() as Buffer;
    db.close();
    data[100]! ^= 1;
    alter(rig, 'UPDATE segment SET data = ? WHERE id = 2', data);
    const { damage } = verify(rig);
    assert.match(damage!.what, /not what was written \(epoch \d+, seq \d+ to \d+/);
    assert.equal(damage!.file, '2026-11-20.db');
    assert.equal(damage!.port, 'db1');
  });

  it('finds a segment taken out of the middle', () => {
    const { rig } = sealedRig();
    alter(rig, 'DELETE FROM segment WHERE id = 2');
    assert.match(verify(rig).damage!.what, /chain of hashes is broken/);
  });

  it('finds a cut tail', () => {
    const { rig } = sealedRig();
    alter(rig, 'DELETE FROM segment WHERE id = 3');
    assert.match(verify(rig).damage!.what, /end of the log is cut off/);
  });

  it('finds a missing log file', () => {
    const { rig } = sealedRig();
    rig.store.close();
    rmSync(join(rig.path, 'log', '2026-11-20.db'));
    const { damages } = verify(rig);
    assert.equal(damages[0]!.what, 'log file 2026-11-20.db is missing');
  });

  it('finds a changed time, and a checkpoint that does not fit', () => {
    const { rig } = sealedRig();
    rig.pass(62_000);
    alter(rig, 'UPDATE segment SET first_us = first_us - 5 WHERE id = 1');
    assert.match(verify(rig).damage!.what, /not what was written/);
    alter(rig, 'UPDATE segment SET first_us = first_us + 5 WHERE id = 1');
    assert.equal(verify(rig).damage, null);
    alter(rig, 'UPDATE signature SET at_us = at_us + 1');
    assert.match(verify(rig).damage!.what, /wrong signature/);
  });

  it('lists recorded gaps without calling them damage', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    const records = writer.chatter(10);
    rig.spool.push(port!.portId, [...records.slice(0, 4), ...records.slice(7)]);
    rig.drain();
    const result = verify(rig);
    assert.equal(result.damage, null);
    assert.deepEqual(
      result.gaps.map(({ port: name, from, to, count, reason }) => [name, from, to, count, reason]),
      [['db1', 4096, 7168, 3072, 'spool full']],
    );
  });
});

describe('state database', () => {
  it('moves a corrupt one aside and goes on with what the log files know', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    const session = 41;
    const attached = { user: 'bob', remote: 'x', frontend: 'ssh', mode: 'view' } as const;
    rig.spool.push(port!.portId, [writer.write({ kind: 'attached', session, ...attached })]);
    rig.spool.push(port!.portId, writer.chatter(300));
    rig.pass(3000);
    rig.spool.push(port!.portId, writer.chatter(3));
    rig.drain();
    const sealed = verify(rig);
    assert.equal(sealed.counts.segments, 1);
    rig.store.close();
    writeFileSync(rig.directory.database, Buffer.alloc(40_960, 'not a database'));
    rig.reopen();
    const lost = rig.spool;
    const [again] = rig.start(['db1'], lost.recovered(['', port!.uuid]));
    assert(rig.journal.messages().includes('state database corrupt, moved aside, a new one begun'));
    assert(readdirSync(rig.path).some((name) => name.startsWith('fairlead.db.corrupt-2026-11-20')));
    assert.equal(again!.uuid, port!.uuid);
    assert.match(again!.newEpochBecause!, /state database was corrupt/);
    assert(again!.position.epoch > writer.position.epoch);
    assert(rig.store.nextSession > session, 'no session number is used twice');
    const next = new Writer(again!, rig.clock.nowUs());
    rig.spool.push(again!.portId, next.chatter(300));
    rig.pass(3000);
    const result = verify(rig);
    assert.equal(result.damage, null, 'the chain goes on');
    assert.equal(result.counts.segments, 2);
  });

  it('says which records a lost database took along, when the spool goes on after them', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.spool.push(port!.portId, writer.chatter(300));
    rig.pass(3000);
    rig.store.sealAll();
    const kept = writer.records.length;
    rig.spool.push(port!.portId, writer.chatter(2));
    rig.drain();
    rig.spool.push(port!.portId, writer.chatter(2));
    const recovered = rig.spool.recovered(['', port!.uuid]);
    rig.store.close();
    rmSync(rig.directory.database);
    rig.reopen();
    rig.start(['db1'], recovered);
    const records = readAll(openReader(rig), port!.uuid);
    same(records.slice(0, kept), writer.records.slice(0, kept));
    same(records.slice(kept + 1), writer.records.slice(kept + 2));
    const gap = records[kept]!;
    assert(
      gap.kind === 'gap' && gap.count === 2048 && gap.reason === 'the state database was lost',
    );
  });

  it('refuses a newer one and touches nothing', () => {
    const rig = newRig();
    rig.start(['db1']);
    rig.store.close();
    const db = new SQLite(rig.directory.database);
    db.pragma('user_version = 999');
    db.close();
    const before = readFileSync(rig.directory.database);
    assert.throws(() => rig.reopen(), { code: 'STORE_NEWER' });
    assert.deepEqual(readFileSync(rig.directory.database), before);
  });

  it('is given up, and moved aside at the next start, when damage shows while it runs', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    rig.clock.pass(1000);
    const db = new SQLite(rig.directory.database);
    db.unsafeMode();
    db.pragma('writable_schema = ON');
    // The root of `hot` points where there is no page.
    db.exec("UPDATE sqlite_master SET rootpage = 100000 WHERE name = 'hot'");
    db.pragma('schema_version = 1000');
    db.close();
    rig.spool.push(port!.portId, writer.chatter(2));
    assert.throws(() => rig.turn(), { code: 'STORE_CORRUPT' });
    const recovered = rig.spool.recovered(['', port!.uuid]);
    rig.reopen();
    rig.start(['db1'], recovered);
    assert(rig.journal.messages().includes('state database corrupt, moved aside, a new one begun'));
    same(readAll(openReader(rig), port!.uuid), writer.records);
  });
});

describe('audit', () => {
  it('is a chain in which a changed or missing row shows', () => {
    const rig = newRig();
    rig.start([]);
    for (const action of ['login', 'attach', 'take over']) {
      rig.requests.push({ kind: 'audit', row: auditRow(action) });
    }
    rig.stop();
    const check = (sql: string): number | null => {
      const db = new SQLite(rig.directory.database);
      db.exec(sql);
      const broken = new Audit(db).firstBroken();
      db.close();
      return broken;
    };
    assert.equal(check(''), null);
    assert.equal(check("UPDATE audit SET user = 'eve' WHERE id = 2"), 2);
    assert.equal(check("UPDATE audit SET user = 'alice' WHERE id = 2"), null);
    assert.equal(check('DELETE FROM audit WHERE id = 1'), 1);
  });
});
