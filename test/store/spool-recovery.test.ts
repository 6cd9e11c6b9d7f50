import assert from 'node:assert/strict';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { SpoolPort } from '../../src/core/spool.ts';
import {
  BLOCK_BYTES,
  BLOCK_HEAD_BYTES,
  FILE_HEADER_BYTES,
  PATTERN,
} from '../../src/store/spool-layout.ts';
import { recoverSpool } from '../../src/store/spool-recovery.ts';
import { createSpool } from '../../src/store/spool.ts';
import {
  BOOT_ID,
  DATA_ID,
  IDS,
  contentOf,
  openBench,
  readOf,
  recoveredEntries,
  requireLibc,
  uuidOf,
} from './spool-support.ts';
import type { SpoolBench } from './spool-support.ts';

// A daemon that is killed leaves its file as it is at that moment: here it is read while its owner
// still has it open, or from a copy made in the middle of a read.

describe('recovery of a spool', () => {
  for (const memory of ['mapped', 'copied'] as const) {
    it(`finds all entries of a ${memory} one, port by port, in order`, async () => {
      const bench = await openBench(memory);
      try {
        const ports = [3, 1, 2].map((port) => portOf(bench, port));
        for (let seq = 0; seq < 60; seq++) {
          for (const port of ports) port.append('rx', seq, seq * 900, seq, contentOf(1, seq, 900));
        }
        const entries = bench.recover();
        for (const number of [1, 2, 3]) {
          const own = entries.filter(({ port }) => port === uuidOf(number));
          assert.deepEqual(
            own.map(({ epoch, kind, seq, offset, atUs }) => [epoch, kind, seq, offset, atUs]),
            Array.from({ length: 60 }, (_, seq) => [7, 'rx', seq, seq * 900, seq]),
          );
          for (const { seq, bytes } of own) assert.deepEqual(bytes, contentOf(1, seq, 900));
        }
        assert.equal(entries.length, 180);
      } finally {
        bench.end();
      }
    });
  }

  it('keeps the bytes of a read that never returned, with the time before it', async () => {
    const bench = await openBench('mapped');
    try {
      const port = portOf(bench, 1);
      port.append('up', 0, 0, 1, Buffer.from('up'));
      let image = Buffer.alloc(0);
      port.readInto(
        1,
        0,
        () => 777,
        (memory, start) => {
          memory.write('Kernel panic - not sync', start);
          image = readFileSync(bench.path); // what a kill at this moment leaves
          return 0;
        },
      );
      checkPanic(image);

      // The same, killed between the return of the read and the end of its record.
      port.readInto(
        1,
        0,
        () => {
          image = readFileSync(bench.path);
          return 777;
        },
        readOf(Buffer.from('Kernel panic - not sync')),
      );
      checkPanic(image);
    } finally {
      bench.end();
    }

    function checkPanic(left: Buffer): void {
      const path = `${bench.path}.killed`;
      writeFileSync(path, left);
      const recovered = recoverSpool(path, IDS);
      assert.equal(recovered.isContinuous, true);
      assert.deepEqual(recovered.cutShort, [uuidOf(1)]);
      const last = recoveredEntries(recovered).at(-1)!;
      assert.deepEqual(
        [last.kind, last.seq, last.offset, last.atUs, last.bytes.toString()],
        ['rx', 1, 0, 777, 'Kernel panic - not sync'],
      );
    }
  });

  it('finds nothing of a read that had put nothing yet, in a block used before as well', async () => {
    const bench = await openBench('mapped');
    try {
      const port = portOf(bench, 1);
      for (let seq = 0; seq < 300; seq++) {
        const before = bench.recover().length;
        port.readInto(seq, 0, Date.now, (memory, start) => {
          const recovered = recoverSpool(bench.path, IDS);
          assert.equal(recovered.isContinuous, true);
          assert.deepEqual(recovered.cutShort, [], `at record ${seq}`);
          if (seq % 20 === 0) assert.ok(recoveredEntries(recovered).length <= before);
          return readOf(contentOf(1, seq, 700))(memory, start);
        });
        bench.spool.publish();
        if (seq % 10 === 0) {
          bench.takeAll();
          bench.reader.committed();
        }
      }
    } finally {
      bench.end();
    }
  });

  it('never yields an entry of an earlier use of a block', async () => {
    const bench = await openBench('mapped');
    try {
      const port = portOf(bench, 1);
      for (let round = 0; round < 30; round++) {
        // Entries of one size: those of the last round begin where those of this one would.
        for (let i = 0; i < 12; i++) {
          const seq = round * 12 + i;
          port.append('rx', seq, 0, 1, contentOf(1, seq, 400));
        }
        bench.spool.publish();
        bench.takeAll();
        bench.reader.committed();
        port.append('rx', 10_000 + round, 0, 1, Buffer.alloc(400));
        const seqs = bench.recover().map(({ seq }) => seq);
        assert.deepEqual(
          [...seqs].sort((a, b) => a - b),
          seqs,
        );
        assert.equal(seqs.at(-1), 10_000 + round);
        assert.ok(seqs.every((seq) => seq >= 10_000 || seq >= round * 12));
        port.release();
        bench.spool.publish();
        bench.takeAll();
        bench.reader.committed();
        bench.spool.port(1, uuidOf(1), { epoch: 7, seq: 0, offset: 0 });
      }
    } finally {
      bench.end();
    }
  });

  it('never yields an entry of another block', async () => {
    const bench = await openBench('mapped');
    try {
      portOf(bench, 1).append('rx', 0, 0, 1, Buffer.from('of port 1'));
      portOf(bench, 2).append('rx', 0, 0, 1, Buffer.from('of port 2'));
      const image = readFileSync(bench.path);
      const first = FILE_HEADER_BYTES + BLOCK_HEAD_BYTES;
      image.copyWithin(first + BLOCK_BYTES, first, first + 64);
      const path = `${bench.path}.mixed`;
      writeFileSync(path, image);
      const recovered = recoverSpool(path, IDS);
      assert.match(recovered.why!, /1 blocks .* damaged/);
      assert.deepEqual(
        recoveredEntries(recovered).map(({ port, bytes }) => [port, bytes.toString()]),
        [[uuidOf(1), 'of port 1']],
      );
    } finally {
      bench.end();
    }
  });

  it('does not take what a decoder left behind its bytes for a later read', async () => {
    const bench = await openBench('mapped');
    try {
      const port = portOf(bench, 1);
      port.readInto(0, 0, Date.now, (memory, start) => {
        memory.write('raw bytes, more of them than are reported', start);
        return 9;
      });
      port.readInto(1, 9, Date.now, () => {
        assert.deepEqual(recoverSpool(bench.path, IDS).cutShort, []);
        return 0;
      });
      // Nothing of this read was a byte of the line.
      port.readInto(1, 9, Date.now, (memory, start) => {
        memory.write('\xff\0\0', start, 'latin1');
        return 0;
      });
      port.readInto(1, 9, Date.now, () => {
        assert.deepEqual(recoverSpool(bench.path, IDS).cutShort, []);
        return 0;
      });
    } finally {
      bench.end();
    }
  });

  it('is continuous only where nothing can be missing, and says why not', async () => {
    const libc = await requireLibc();
    const bench = await openBench('mapped');
    const why = (path = bench.path, ids = IDS) => recoverSpool(path, ids).why;
    try {
      portOf(bench, 1).append('rx', 0, 0, 1, Buffer.from('x'));
      assert.equal(why(), null);
      assert.match(why(`${bench.path}.not`)!, /there is no spool/);
      assert.match(
        why(bench.path, { dataId: 'other', bootId: BOOT_ID })!,
        /another data directory/,
      );
      assert.equal(
        recoveredEntries(recoverSpool(bench.path, { dataId: 'o', bootId: '' })).length,
        0,
      );
      const otherBoot = { dataId: DATA_ID, bootId: 'later' };
      assert.match(why(bench.path, otherBoot)!, /restarted/);
      assert.equal(recoveredEntries(recoverSpool(bench.path, otherBoot)).length, 1);

      const file = readFileSync(bench.path);
      const copy = `${bench.path}.copy`;
      writeFileSync(copy, file);
      truncateSync(copy, file.length - BLOCK_BYTES);
      assert.match(why(copy)!, /shorter/);
      const damaged = Buffer.from(file);
      damaged[50]! ^= 1;
      writeFileSync(copy, damaged);
      assert.match(why(copy)!, /header/);
      assert.equal(
        recoveredEntries(recoverSpool(copy, IDS)).length,
        1,
        'blocks speak for themselves',
      );
      writeFileSync(copy, Buffer.concat([file.subarray(0, -4096), Buffer.alloc(4096)]));
      assert.equal(why(copy), null, 'nothing was in there');
      const zeroPage = Buffer.from(file).fill(0, FILE_HEADER_BYTES, 2 * FILE_HEADER_BYTES);
      writeFileSync(copy, zeroPage);
      assert.match(why(copy)!, /1 blocks .* damaged/);

      const options = { path: copy, ...IDS, bytes: 1, ports: 1 };
      const unmapped = createSpool({ ...options, libc: null });
      assert.match(why(copy)!, /not mapped/);
      unmapped.close();
      assert.equal(why(copy, otherBoot), null, 'stopped in order');
      const mapped = createSpool({ ...options, libc });
      assert.match(why(copy, otherBoot)!, /restarted/);
      mapped.close();
      rmSync(copy);
    } finally {
      bench.end();
    }
  });

  it('survives any damage: no throw, no wrong byte, no disorder', async () => {
    const bench = await openBench('mapped');
    try {
      const ports = [1, 2, 3].map((port) => portOf(bench, port));
      for (let seq = 0; seq < 150; seq++) {
        ports.forEach((port, index) => {
          const bytes = contentOf(index + 1, seq, (seq * 37 + index) % 900);
          if (seq % 3 === 0) port.append('tx', seq, 0, seq, bytes);
          else if (bytes.length > 0) port.readInto(seq, 0, () => seq, readOf(bytes));
        });
      }
      const whole = new Map(bench.recover().map((each) => [`${each.port} ${each.seq}`, each]));
      assert.ok(whole.size > 400);
      const used = FILE_HEADER_BYTES + 20 * BLOCK_BYTES;
      const file = readFileSync(bench.path);
      const path = `${bench.path}.damaged`;

      const damage = fc.record({
        at: fc.integer({ min: 0, max: used }),
        // Not random alone: heads of other entries in the wrong place look right at first.
        bytes: fc.oneof(
          fc.uint8Array({ minLength: 1, maxLength: 64 }),
          fc
            .record({ from: fc.nat(used), length: fc.integer({ min: 8, max: 20_000 }) })
            .map(({ from, length }) => file.subarray(from & ~7, (from & ~7) + length)),
          fc.constant(PATTERN.subarray(0, 4096)),
          fc.constant(Buffer.alloc(4096)),
        ),
        isAligned: fc.boolean(),
      });
      fc.assert(
        fc.property(fc.array(damage, { minLength: 1, maxLength: 8 }), (damages) => {
          const image = Buffer.from(file.subarray(0, used + BLOCK_BYTES));
          for (const { at, bytes, isAligned } of damages) {
            image.set(bytes.subarray(0, image.length - at), isAligned ? at & ~7 : at);
          }
          writeFileSync(path, image);
          const recovered = recoverSpool(path, IDS);
          const last = new Map<string, number>();
          for (const { port, epoch, kind, seq, atUs, bytes } of recoveredEntries(recovered)) {
            const key = String(port);
            assert.ok(seq > (last.get(key) ?? -1), 'in order');
            last.set(key, seq);
            const original = whole.get(`${key} ${seq}`);
            assert.ok(original !== undefined, 'nothing was made up');
            assert.deepEqual(
              { epoch, kind, seq, atUs, bytes },
              { epoch: original.epoch, kind: original.kind, seq, atUs, bytes: original.bytes },
            );
          }
        }),
        { numRuns: 150 },
      );
      rmSync(path);
    } finally {
      bench.end();
    }
  });
});

function portOf(bench: SpoolBench, port: number): SpoolPort {
  return bench.spool.port(port, uuidOf(port), { epoch: 7, seq: 0, offset: 0 });
}
