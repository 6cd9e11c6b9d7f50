import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { LogPlace } from '../../src/core/log-reader.ts';
import type { LogRecord } from '../../src/core/record.ts';
import { LogRange } from '../../src/log/range.ts';
import { CALLER, FakeLog } from './fake-log.ts';

async function read(
  log: FakeLog,
  from: LogPlace,
  until: LogPlace | null = null,
): Promise<LogRecord[]> {
  const range = await LogRange.open(log, CALLER, log.uuid, from, until);
  const found: LogRecord[] = [];
  for (;;) {
    const { records, atEnd } = await range.next(10);
    found.push(...records);
    if (atEnd) return found;
  }
}

async function rxOf(log: FakeLog, from: LogPlace, until: LogPlace | null = null): Promise<string> {
  const records = await read(log, from, until);
  return records.map((record) => (record.kind === 'rx' ? Buffer.from(record.bytes) : '')).join('');
}

const TEXT = 'one\ntwo\nthree\nfo';

function textLog(): FakeLog {
  return new FakeLog()
    .rx(10, 'one\ntw')
    .add(15, { kind: 'mark', text: 'x' })
    .rx(20, 'o\nthr')
    .rx(30, 'ee\nfo');
}

describe('a range of the log', () => {
  it('cuts offsets to the byte, wherever records begin', async () => {
    for (let from = 0; from < TEXT.length; from++) {
      for (let until = 0; until <= TEXT.length + 1; until++) {
        const text = await rxOf(
          textLog(),
          { at: 'offset', offset: from },
          { at: 'offset', offset: until },
        );
        assert.equal(text, TEXT.slice(from, until), `${from}..${until}`);
      }
    }
  });

  it('gives the offset of the first byte it kept', async () => {
    const [first] = await read(textLog(), { at: 'offset', offset: 4 });
    assert.equal(first!.offset, 4);
  });

  it('begins exactly at the last lines, with the rest that has no end yet', async () => {
    const lines = ['one\n', 'two\n', 'three\n', 'fo'];
    for (let count = 0; count < 6; count++) {
      const expected = lines.slice(Math.max(0, 3 - count)).join('');
      assert.equal(await rxOf(textLog(), { at: 'last-lines', lines: count }), expected);
    }
  });

  it('finds the last lines however records are cut, also across epochs', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '\n') }), { maxLength: 12 }),
        fc.nat(12),
        fc.nat(12),
        async (pieces, newEpochAt, lines) => {
          const log = new FakeLog();
          for (const [index, piece] of pieces.entries()) {
            if (index === newEpochAt) log.newEpoch(7);
            if (piece !== '') log.rx(index, piece);
          }
          const all = pieces.join('').split(/(?<=\n)/);
          if (!all.at(-1)!.endsWith('\n')) lines++;
          const expected = lines === 0 ? '' : all.slice(-lines).join('');
          const asked = all.at(-1)!.endsWith('\n') ? lines : lines - 1;
          assert.equal(await rxOf(log, { at: 'last-lines', lines: asked }), expected);
        },
      ),
    );
  });

  it('begins exactly at the last bytes, also across epochs', async () => {
    const log = textLog().newEpoch(9).rx(40, 'new');
    const all = `${TEXT}new`;
    for (let bytes = 0; bytes <= all.length + 2; bytes++) {
      const expected = bytes === 0 ? '' : all.slice(-bytes);
      assert.equal(await rxOf(log, { at: 'last-bytes', bytes }), expected);
    }
  });

  it('ends before a time, and takes one that is not reached yet for no end', async () => {
    assert.equal(await rxOf(textLog(), { at: 'start' }, { at: 'time', us: 30 }), 'one\ntwo\nthr');
    const log = textLog();
    const range = await LogRange.open(
      log,
      CALLER,
      log.uuid,
      { at: 'end' },
      { at: 'time', us: 100 },
    );
    assert.deepEqual(await range.next(100), { records: [], atEnd: true });
    assert.equal(range.isEnded, false);
    log.rx(99, 'in').rx(100, 'out');
    const { records } = await range.next(100);
    assert.equal(records.length, 1);
    assert.equal(range.isEnded, true);
  });

  it('is empty for a time after the end, and goes on from there', async () => {
    const log = textLog();
    const range = await LogRange.open(log, CALLER, log.uuid, { at: 'time', us: 500 }, null);
    assert.deepEqual((await range.next(100)).records, []);
    log.rx(600, 'new');
    assert.equal((await range.next(100)).records.length, 1);
  });

  it('is empty for a log that holds nothing yet, and goes on with what comes', async () => {
    const log = new FakeLog();
    const places: LogPlace[] = [
      { at: 'start' },
      { at: 'last-lines', lines: 5 },
      { at: 'last-bytes', bytes: 5 },
    ];
    const ranges = await Promise.all(
      places.map((place) => LogRange.open(log, CALLER, log.uuid, place, null)),
    );
    for (const range of ranges) assert.deepEqual((await range.next(100)).records, []);
    log.rx(1, 'hello');
    for (const range of ranges) assert.equal((await range.next(100)).records.length, 1);
  });

  it('says so when the log does not hold the offset to begin at', async () => {
    await assert.rejects(rxOf(textLog(), { at: 'offset', offset: 99 }), { code: 'LOG_NOT_FOUND' });
  });

  it('reads again from a place named before', async () => {
    const log = textLog();
    const range = await LogRange.open(
      log,
      CALLER,
      log.uuid,
      { at: 'offset', offset: 2 },
      { at: 'end' },
    );
    const { cursor } = range;
    const first = await range.next(1000);
    await range.next(1000);
    assert.equal(range.isEnded, false);
    range.goTo(cursor);
    assert.deepEqual((await range.next(1000)).records, first.records);
  });
});
