import assert from 'node:assert/strict';
import { chmodSync, cpSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import fc from 'fast-check';
import type { LogCursor, LogPlace } from '../../src/core/log-reader.ts';
import { offsetsOf, type LogRecord } from '../../src/core/record.ts';
import type { RegisteredPort } from '../../src/core/store.ts';
import { openLogCopy } from '../../src/store/log-copy.ts';
import { openLogFiles, type LogFiles } from '../../src/store/log-files.ts';
import { plain } from '../log/records.ts';
import { MIGRATIONS, Rig, Writer, textOf } from './store-support.ts';

const rigs: Rig[] = [];
const readers: LogFiles[] = [];

afterEach(() => {
  for (const files of readers.splice(0)) files.close();
  for (const rig of rigs.splice(0)) rig.close();
});

function kept(files: LogFiles): LogFiles {
  readers.push(files);
  return files;
}

function newRig(): Rig {
  const rig = new Rig();
  rigs.push(rig);
  return rig;
}

function readAll(files: LogFiles, uuid: string, from: LogCursor, bytesMax = 3000): LogRecord[] {
  const records: LogRecord[] = [];
  for (let cursor = from; ;) {
    const batch = files.read(uuid, cursor, bytesMax);
    records.push(...batch.records);
    cursor = batch.next;
    if (batch.atEnd) return records;
  }
}

/** Two epochs; the first in segments, the second partly, the rest in hot rows. */
function filledRig(): { rig: Rig; port: RegisteredPort; old: Writer; writer: Writer } {
  const rig = newRig();
  const [first] = rig.start(['db1']);
  const old = new Writer(first!);
  rig.spool.push(first!.portId, old.chatter(20));
  rig.drain();
  rig.store.sealAll();
  rig.reopen();
  const [port] = rig.start(['db1'], rig.spool.recovered([], false));
  const writer = new Writer(port!, old.atUs + 5_000_000);
  const push = (): void => {
    rig.spool.push(port!.portId, writer.records.slice(pushed));
    pushed = writer.records.length;
    rig.drain();
  };
  let pushed = 0;
  writer.chatter(10);
  push();
  writer.chatter(10);
  push();
  rig.store.sealAll();
  for (let i = 0; i < 10; i++) {
    writer.rx(`line ${i} of the tail\r\n`);
    writer.write({ kind: 'mark', text: `${i}` });
    if (i % 3 === 0) push();
  }
  writer.rx('# ');
  push();
  return { rig, port: port!, old, writer };
}

describe('log files', () => {
  it('read the same from every cursor, in steps of any size', () => {
    const { rig, port, old, writer } = filledRig();
    const all = [...old.records, ...writer.records];
    const files = kept(openLogFiles(rig.directory, null));
    fc.assert(
      fc.property(
        fc.nat(all.length - 1),
        fc.integer({ min: 1, max: 20_000 }),
        (index, bytesMax) => {
          const { epoch, seq } = all[index]!;
          const records = readAll(files, port.uuid, { epoch, seq }, bytesMax);
          assert.deepEqual(records.map(plain), all.slice(index).map(plain));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('say what epochs a port has', () => {
    const { rig, port, old, writer } = filledRig();
    const files = kept(openLogFiles(rig.directory, null));
    const [listed] = files.ports();
    assert.equal(listed!.uuid, port.uuid);
    assert.deepEqual(
      listed!.epochs,
      [old, writer].map(({ records, position, atUs }) => ({
        epoch: position.epoch,
        firstSeq: 1,
        nextSeq: position.seq,
        firstOffset: 0,
        endOffset: position.offset,
        firstUs: records[0]!.atUs,
        lastUs: atUs,
      })),
    );
  });

  it('find the record at every offset, time and distance from the end', () => {
    const { rig, port, old, writer } = filledRig();
    const all = [...old.records, ...writer.records];
    const files = kept(openLogFiles(rig.directory, null));
    const locate = (place: LogPlace): LogCursor => files.locate(port.uuid, place);
    const cursorOf = ({ epoch, seq }: LogRecord): LogCursor => ({ epoch, seq });
    const end = { epoch: writer.position.epoch, seq: writer.position.seq };
    fc.assert(
      fc.property(fc.nat(old.position.offset - 1), (offset) => {
        const { epoch } = old.position;
        const wanted = old.records.find((record) => record.offset + offsetsOf(record) > offset)!;
        assert.deepEqual(locate({ at: 'offset', offset, epoch }), cursorOf(wanted));
      }),
    );
    fc.assert(
      fc.property(fc.nat(writer.position.offset - 1), (offset) => {
        const wanted = writer.records.find((record) => record.offset + offsetsOf(record) > offset)!;
        assert.deepEqual(locate({ at: 'offset', offset }), cursorOf(wanted));
      }),
    );
    const firstUs = all[0]!.atUs;
    fc.assert(
      fc.property(fc.integer({ min: -10, max: writer.atUs - firstUs + 10 }), (afterUs) => {
        const us = firstUs + afterUs;
        const wanted = all.find((record) => record.atUs >= us);
        assert.deepEqual(locate({ at: 'time', us }), wanted ? cursorOf(wanted) : end);
      }),
    );
    const total = old.position.offset + writer.position.offset;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: total + 5 }), (bytes) => {
        let left = Math.min(bytes, total);
        const wanted = all.findLast((record) => (left -= offsetsOf(record)) <= 0)!;
        const from = locate({ at: 'last-bytes', bytes });
        if (bytes >= total) assert.deepEqual(from, cursorOf(all[0]!));
        else assert.deepEqual(from, cursorOf(wanted));
      }),
    );
    assert.deepEqual(locate({ at: 'start' }), cursorOf(all[0]!));
    assert.deepEqual(locate({ at: 'end' }), end);
    assert.deepEqual(locate({ at: 'last-bytes', bytes: 0 }), end);
    assert.deepEqual(locate({ at: 'offset', offset: writer.position.offset }), end);
    assert.throws(() => locate({ at: 'offset', offset: total * 2 }), { code: 'LOG_NOT_FOUND' });
  });

  it('find the last lines, and the text after them is those lines and the rest', () => {
    const { rig, port, old, writer } = filledRig();
    const files = kept(openLogFiles(rig.directory, null));
    const text = textOf([...old.records, ...writer.records]);
    const lines = text.split('\n');
    for (const count of [0, 1, 5, 10, 11, 40, 300, lines.length + 10]) {
      const from = files.locate(port.uuid, { at: 'last-lines', lines: count });
      const got = textOf(readAll(files, port.uuid, from));
      const wanted = lines.slice(-count - 1).join('\n');
      assert(got.endsWith(wanted), `${count} lines`);
      // The record that holds the first of them may begin with the end of an earlier line.
      assert(got.length < wanted.length + 1024, `${count} lines`);
    }
  });

  it('find the start of the newest boot, also when a cut runs through the banner', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    const text =
      '\r\nU-Boot 2023.01 (Mar 04 2023)\r\n[    0.000000] Linux version 6.1.0 (x)\r\nlogin: ';
    writer.rx(text);
    writer.rx('idle\r\n', 600_000_000);
    const boot = writer.rx('\r\nU-Bo', 600_000_000);
    writer.rx('ot 2024.07 (Jul 01 2024)\r\nLoading\r\n');
    writer.rx('[    0.000000] Linux ver', 2_000_000);
    writer.rx('sion 6.12.0 (x)\r\nlogin: ');
    const files = kept(openLogFiles(rig.directory, null));
    for (const record of writer.records) {
      rig.spool.push(port!.portId, [record]);
      rig.drain();
    }
    const wanted = { epoch: boot.epoch, seq: boot.seq };
    assert.deepEqual(files.locate(port!.uuid, { at: 'boot' }), wanted);
    rig.store.sealAll();
    assert.deepEqual(files.locate(port!.uuid, { at: 'boot' }), wanted);
  });

  it('say so when the log holds no boot', () => {
    const { rig, port } = filledRig();
    const files = kept(openLogFiles(rig.directory, null));
    assert.throws(() => files.locate(port.uuid, { at: 'boot' }), { code: 'LOG_NOT_FOUND' });
  });

  it('follow the tail through commits, seals, deletes and new files without a hole', () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    const counter = new Int32Array(new SharedArrayBuffer(4));
    const files = kept(openLogFiles(rig.directory, { counter }));
    const seen: LogRecord[] = [];
    let cursor: LogCursor = files.locate(port!.uuid, { at: 'end' });
    let commits = rig.commits;
    for (let round = 0; round < 30; round++) {
      rig.spool.push(port!.portId, writer.chatter(40));
      if (round === 15) rig.clock.pass(24 * 3_600_000);
      rig.pass(500);
      Atomics.add(counter, 0, rig.commits - commits);
      commits = rig.commits;
      const batch = files.read(port!.uuid, cursor, 30_000);
      seen.push(...batch.records);
      cursor = batch.next;
    }
    seen.push(...readAll(files, port!.uuid, cursor));
    assert.deepEqual(seen.map(plain), writer.records.map(plain));
  });

  it('wake who waits for a commit, and let the time run out otherwise', async () => {
    const rig = newRig();
    const [port] = rig.start(['db1']);
    const writer = new Writer(port!);
    const counter = new Int32Array(new SharedArrayBuffer(4));
    const files = kept(openLogFiles(rig.directory, { counter }));
    const from = files.locate(port!.uuid, { at: 'end' });
    assert.equal(await files.changed(port!.uuid, from, 20), false);
    const waiting = files.changed(port!.uuid, from, 60_000);
    rig.spool.push(port!.portId, [writer.rx('news')]);
    rig.drain();
    Atomics.add(counter, 0, 1);
    Atomics.notify(counter, 0);
    assert.equal(await waiting, true);
    assert.equal(await files.changed(port!.uuid, from, 60_000), true, 'already there');
  });

  it('know no port that was never registered', () => {
    const rig = newRig();
    rig.start(['db1']);
    const files = kept(openLogFiles(rig.directory, null));
    assert.equal(files.nameOf('nobody'), null);
    assert.throws(() => files.read('nobody', { epoch: 0, seq: 0 }, 1), { code: 'PORT_UNKNOWN' });
  });
});

describe('log copy', () => {
  function listing(path: string): string[] {
    return readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => {
        const { size, mtimeMs } = statSync(join(entry.parentPath, entry.name));
        return `${entry.parentPath}/${entry.name} ${size} ${mtimeMs}`;
      })
      .sort();
  }

  it('reads a killed daemon with its WAL and its spool, and writes nothing there', () => {
    const { rig, port, old, writer } = filledRig();
    // Not committed: only the spool has it.
    rig.spool.push(port.portId, writer.chatter(3));
    const recovered = rig.spool.recovered(['', port.uuid]);
    assert(readdirSync(rig.path).includes('fairlead.db-wal'));
    const before = listing(rig.path);
    const files = kept(openLogCopy(rig.path, MIGRATIONS, recovered));
    const records = readAll(files, port.uuid, { epoch: 0, seq: 0 });
    assert.deepEqual(records.map(plain), [...old.records, ...writer.records].map(plain));
    const end = files.locate(port.uuid, { at: 'end' });
    assert.deepEqual(end, { epoch: writer.position.epoch, seq: writer.position.seq });
    assert.deepEqual(listing(rig.path), before);
  });

  it('reads finished log files in place, and alone', () => {
    const { rig, port, old, writer } = filledRig();
    rig.store.sealAll();
    rig.stop();
    const copy = join(rig.folder, 'copy');
    cpSync(join(rig.path, 'log'), join(copy, 'log'), { recursive: true });
    chmodSync(join(copy, 'log'), 0o500);
    try {
      const files = kept(openLogCopy(copy, MIGRATIONS, null));
      assert.equal(files.nameOf(port.uuid), 'db1');
      assert.deepEqual(
        readAll(files, port.uuid, { epoch: 0, seq: 0 }).map(plain),
        [...old.records, ...writer.records].map(plain),
      );
    } finally {
      chmodSync(join(copy, 'log'), 0o700);
    }
  });

  it('is refused where there is no log', () => {
    const rig = newRig();
    assert.throws(() => openLogCopy(join(rig.folder, 'nothing'), MIGRATIONS, null), {
      code: 'NOT_FOUND',
    });
  });
});
