import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PAYLOAD_BYTES_MAX } from '../../src/core/spool.ts';
import type { SpoolPort } from '../../src/core/spool.ts';
import { BLOCK_BYTES, BLOCK_HEAD_BYTES, ENTRY_HEAD_BYTES } from '../../src/store/spool-layout.ts';
import { recoverSpool } from '../../src/store/spool-recovery.ts';
import { IDS, contentOf, intoList, openBench, readOf, uuidOf } from './spool-support.ts';
import type { SeenEntry, SpoolBench } from './spool-support.ts';

const MEMORIES = ['mapped', 'copied'] as const;
/** Blocks of the smallest spool that `createSpool` makes for two ports, and bytes to fill them. */
const SMALL_BYTES = 4_194_304 + 4 * BLOCK_BYTES;

for (const memory of MEMORIES) {
  describe(`a ${memory} spool`, () => {
    it('hands over what was appended and read, in order, once', async () => {
      await using(memory, {}, (bench) => {
        const port = portOf(bench, 1);
        const nowUs = () => 1_700_000_000_000_123;
        port.append('up', 0, 0, 1000.5, Buffer.from('hello'));
        const read = port.readInto(1, 0, nowUs, readOf(Buffer.from('login: ')));
        assert.equal(read.count, 7);
        assert.equal(read.atUs, 1_700_000_000_000_123);
        assert.equal(
          read.memory.toString('latin1', read.start, read.start + read.count),
          'login: ',
        );
        port.append('break', 2, 7, 3000, Buffer.alloc(0));
        bench.spool.publish();

        assert.deepEqual(bench.takeAll(), [
          entry('up', 0, 0, 1000.5, 'hello'),
          entry('rx', 1, 0, 1_700_000_000_000_123, 'login: '),
          entry('break', 2, 7, 3000, ''),
        ]);
        assert.deepEqual(bench.takeAll(), []);
        assert.equal(bench.reader.waitingBytes(), 0);
      });
    });

    it('is behind while much waits and commits go on, not when they have stopped', async () => {
      await using(memory, {}, (bench) => {
        const port = portOf(bench, 1);
        const payload = Buffer.alloc(PAYLOAD_BYTES_MAX);
        let seq = 0;
        const fill = (): void => {
          for (let i = 0; i < bench.spool.bytes / BLOCK_BYTES / 2; i++) {
            port.append('rx', seq, seq * payload.length, 0, payload);
            seq++;
          }
          bench.spool.publish();
        };
        assert.equal(bench.spool.isBehind(0), false, 'empty');
        fill();
        bench.takeAll();
        bench.reader.committed();
        assert.equal(bench.spool.isBehind(1_000), false, 'all taken');
        fill();
        assert.equal(bench.spool.isBehind(2_000), true);
        assert.equal(bench.spool.isBehind(6_999), true);
        assert.equal(bench.spool.isBehind(7_000), false, 'no commit for 5 s');
        bench.takeAll();
        bench.reader.committed();
        fill();
        assert.equal(bench.spool.isBehind(8_000), true, 'commits go on');
      });
    });

    it('logs nothing of a read that found nothing, hung up, or threw', async () => {
      await using(memory, {}, (bench) => {
        const port = portOf(bench, 1);
        assert.equal(port.readInto(0, 0, Date.now, () => 0).count, 0);
        assert.equal(port.readInto(0, 0, Date.now, () => -1).count, -1);
        const broken = () => {
          throw new Error('EIO');
        };
        assert.throws(() => port.readInto(0, 0, Date.now, broken), /EIO/);
        port.append('down', 0, 0, 5, Buffer.from('gone'));
        bench.spool.publish();
        assert.deepEqual(bench.takeAll(), [entry('down', 0, 0, 5, 'gone')]);
        assert.deepEqual(
          bench.recover().map(({ kind, seq }) => [kind, seq]),
          [['down', 0]],
        );
      });
    });

    it('gives every read room for 4 KiB, and takes a record as long as a block holds', async () => {
      await using(memory, {}, (bench) => {
        const port = portOf(bench, 1);
        let offset = 0;
        for (let seq = 0; seq < 50; seq++) {
          const bytes = contentOf(1, seq, (seq * 1009) % 4097);
          const read = port.readInto(seq, offset, Date.now, (memory, start, lengthMax) => {
            assert.ok(lengthMax >= 4096);
            assert.ok(start + lengthMax <= memory.length);
            return readOf(bytes.length === 0 ? Buffer.from('x') : bytes)(memory, start);
          });
          offset += read.count;
        }
        const longest = contentOf(1, 50, PAYLOAD_BYTES_MAX);
        port.append('rx', 50, offset, 1, longest);
        bench.spool.publish();
        const seen = bench.takeAll();
        assert.deepEqual(
          seen.map(({ seq }) => seq),
          Array.from({ length: 51 }, (_, seq) => seq),
        );
        assert.deepEqual(seen[50]!.bytes, longest);
        assert.equal(PAYLOAD_BYTES_MAX, BLOCK_BYTES - BLOCK_HEAD_BYTES - ENTRY_HEAD_BYTES);
      });
    });

    it('takes about as much as asked for, goes on from there, and lets no flood starve a port', async () => {
      await using(memory, {}, (bench) => {
        const flood = portOf(bench, 1);
        const quiet = portOf(bench, 2);
        for (let seq = 0; seq < 400; seq++) flood.append('rx', seq, 0, 1, contentOf(1, seq, 4000));
        quiet.append('rx', 0, 0, 1, Buffer.from('last words'));
        bench.spool.publish();

        const seen: SeenEntry[] = [];
        const first = bench.reader.take(65_536, intoList(seen));
        assert.ok(first >= 65_536 && first < 65_536 + 8192, `took ${first}`);
        bench.reader.take(65_536, intoList(seen));
        assert.ok(
          seen.some(({ port }) => port === 2),
          'the quiet port had its turn',
        );
        seen.push(...bench.takeAll());
        assert.deepEqual(
          seen.filter(({ port }) => port === 1).map(({ seq }) => seq),
          Array.from({ length: 400 }, (_, seq) => seq),
        );
        assert.equal(seen.length, 401);
      });
    });

    it('loses nothing of ten times its size when the store keeps up', async () => {
      await using(memory, { bytes: SMALL_BYTES }, (bench) => {
        const port = portOf(bench, 1);
        let next = 0;
        for (let seq = 0; seq < 10_500; seq++) {
          port.append('rx', seq, seq * 4000, 1, contentOf(1, seq, 4000));
          if (seq % 500 === 499) {
            bench.spool.publish();
            for (const seen of bench.takeAll()) {
              assert.equal(seen.seq, next++);
              assert.ok(seen.bytes.equals(contentOf(1, seen.seq, 4000)));
            }
            bench.reader.committed();
          }
        }
        assert.equal(next, 10_500);
      });
    });

    it('begins a small block anew once it is committed: few pages are touched', async () => {
      await using(memory, {}, (bench) => {
        const port = portOf(bench, 1);
        let highest = 0;
        for (let seq = 0; seq < 1000; seq++) {
          const read = port.readInto(seq, seq * 500, Date.now, readOf(contentOf(1, seq, 500)));
          highest = Math.max(highest, read.start);
          bench.spool.publish();
          assert.equal(bench.takeAll().length, 1);
          bench.reader.committed();
        }
        assert.ok(highest < 4096 + 2 * 4096, `reached ${highest}`);
      });
    });

    it('takes the oldest of a flood, and no other port loses its last words', async () => {
      await using(memory, { bytes: SMALL_BYTES }, (bench) => {
        const victim = portOf(bench, 1);
        const flood = portOf(bench, 2);
        for (let seq = 0; seq < 30; seq++) {
          victim.append('rx', seq, seq * 3000, 1, contentOf(1, seq, 3000));
        }
        for (let seq = 0; seq < 5000; seq++) {
          flood.append('rx', seq, seq * 4000, 1, contentOf(2, seq, 4000));
        }
        bench.spool.publish();
        const seen = bench.takeAll();
        assert.deepEqual(
          seen.filter(({ port }) => port === 1).map(({ seq }) => seq),
          Array.from({ length: 30 }, (_, seq) => seq),
        );
        const kept = seen.filter(({ port }) => port === 2).map(({ seq }) => seq);
        assert.ok(kept.length > 900 && kept.length < 1100, `kept ${kept.length}`);
        assert.equal(kept[0], 5000 - kept.length, 'one hole, at the beginning');
        assert.equal(kept.at(-1), 4999);
        assert.equal(bench.reader.waitingBytes(), 0);
      });
    });

    it('keeps what the store took until it is committed, whatever a flood does', async () => {
      await using(memory, { bytes: SMALL_BYTES }, (bench) => {
        const port = portOf(bench, 1);
        for (let seq = 0; seq < 100; seq++) port.append('rx', seq, 0, 1, contentOf(1, seq, 4000));
        bench.spool.publish();
        const taken: SeenEntry[] = [];
        bench.reader.take(200_000, intoList(taken));
        for (let seq = 100; seq < 3000; seq++)
          port.append('rx', seq, 0, 1, contentOf(1, seq, 4000));
        const inFile = new Map(bench.recover().map((seen) => [seen.seq, seen]));
        for (const { seq, bytes } of taken) assert.deepEqual(inFile.get(seq)?.bytes, bytes);
        assert.ok(!inFile.has(200), 'others were evicted');
      });
    });

    it('lets a flood lose its newest rather than take from a port with less', async () => {
      await using(memory, { bytes: SMALL_BYTES }, (bench) => {
        const flood = portOf(bench, 1);
        const quiet = portOf(bench, 2);
        const blocks = Math.floor(bench.spool.bytes / BLOCK_BYTES);
        let seq = 0;
        for (; seq < blocks - 3; seq++) flood.append('rx', seq, 0, 1, contentOf(1, seq, 16_000));
        for (let i = 0; i < 3; i++) quiet.append('rx', i, 0, 1, contentOf(2, i, 16_000));
        bench.spool.publish();
        const taken: SeenEntry[] = [];
        bench.reader.take((blocks - 4) * BLOCK_BYTES, intoList(taken));
        assert.ok(taken.length === blocks - 3 && taken.every(({ port }) => port === 1));
        for (let i = 0; i < 50; i++) flood.append('rx', seq++, 0, 1, contentOf(1, seq, 16_000));
        bench.spool.publish();
        assert.deepEqual(
          bench.takeAll().map(({ port, seq }) => [port, seq]),
          [0, 1, 2].map((seq) => [2, seq]),
        );
      });
    });

    it('keeps no more blocks from eviction than were asked for', async () => {
      await using(memory, {}, (bench) => {
        const port = portOf(bench, 1);
        for (let seq = 0; seq < 100; seq++) port.append('rx', seq, 0, 1, contentOf(1, seq, 9000));
        bench.spool.publish();
        const taken: SeenEntry[] = [];
        bench.reader.take(10 * BLOCK_BYTES, intoList(taken)); // one of these records to a block
        assert.ok(taken.length === 10 || taken.length === 11, `${taken.length} blocks`);
      });
    });

    it('drops records, and never throws, when there is no block at all', async () => {
      await using(memory, { bytes: SMALL_BYTES, ports: 2 }, (bench) => {
        const blocks = Math.floor(bench.spool.bytes / BLOCK_BYTES);
        const ports = Array.from({ length: blocks + 10 }, (_, index) => portOf(bench, index + 1));
        for (const port of ports) port.append('rx', 0, 0, 1, Buffer.from('first'));
        const last = ports.at(-1)!;
        const read = last.readInto(1, 5, Date.now, readOf(Buffer.from('still read')));
        assert.equal(read.memory.toString('latin1', read.start, read.start + 10), 'still read');
        bench.spool.publish();
        assert.equal(bench.takeAll().length, blocks);
        bench.reader.committed();
        last.append('rx', 2, 15, 1, Buffer.from('room again'));
        bench.spool.publish();
        assert.deepEqual(
          bench.takeAll().map(({ port, seq }) => [port, seq]),
          [[blocks + 10, 2]],
        );
      });
    });

    it('keeps the order of a port that is released, comes back, and begins an epoch', async () => {
      await using(memory, {}, (bench) => {
        const first = portOf(bench, 1);
        for (let seq = 0; seq < 20; seq++) first.append('rx', seq, 0, 1, contentOf(1, seq, 4000));
        first.release();
        const again = bench.spool.port(1, uuidOf(1), { epoch: 7, seq: 20, offset: 0 });
        again.append('rx', 20, 0, 1, Buffer.from('again'));
        const renumbered = bench.spool.port(9, uuidOf(1), { epoch: 8, seq: 0, offset: 0 });
        renumbered.append('rx', 0, 0, 1, Buffer.from('new epoch'));
        bench.spool.publish();
        const seen = bench.takeAll().map(({ port, epoch, seq }) => [port, epoch, seq]);
        assert.deepEqual(
          seen.slice(0, 21).map(([, , seq]) => seq),
          [...Array(21).keys()],
        );
        assert.deepEqual(seen[21], [9, 8, 0]);
        const recovered = bench.recover().map(({ epoch, seq }) => [epoch, seq]);
        assert.deepEqual(recovered.at(-1), [8, 0]);
        assert.equal(recovered.length, 22);
      });
    });

    it('gives its room back when it is closed with all committed, else keeps the rest', async () => {
      await using(memory, {}, (bench) => {
        const port = portOf(bench, 1);
        port.append('rx', 0, 0, 1, Buffer.from('committed'));
        bench.spool.publish();
        bench.takeAll();
        bench.reader.committed();
        port.append('rx', 1, 9, 1, Buffer.from('not committed'));
        bench.spool.close();
        assert.equal(statSync(bench.path).size, bench.spool.bytes);
        assert.equal(bench.recover().at(-1)!.bytes.toString(), 'not committed');
      });
      await using(memory, {}, (bench) => {
        const port = portOf(bench, 1);
        port.append('rx', 0, 0, 1, Buffer.from('committed'));
        bench.spool.publish();
        bench.takeAll();
        bench.reader.committed();
        bench.spool.close();
        assert.equal(statSync(bench.path).size, 4096);
        const { isContinuous, why } = recoverSpool(bench.path, IDS);
        assert.deepEqual({ isContinuous, why }, { isContinuous: true, why: null });
        port.append('rx', 1, 9, 1, Buffer.from('too late'));
        const read = port.readInto(1, 9, Date.now, readOf(Buffer.from('too late')));
        assert.equal(read.count, 8, 'dropped without harm');
      });
    });

    it('holds for any run of appends, reads, takes, commits and floods', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 120 }), async (steps) => {
          await using(memory, { bytes: SMALL_BYTES, ports: PORTS }, (bench) =>
            runSteps(bench, steps),
          );
        }),
        { numRuns: memory === 'mapped' ? 60 : 15 },
      );
    });
  });
}

const PORTS = 4;
/** What the store holds is to the spool as it is in the daemon, about an eighth. */
const UNDER_WAY_BYTES_MAX = 500_000;
/** Writes of a quiet port stay so few that all of them fit into its fair share. */
const QUIET_BYTES_MAX = 1_000_000;

interface WriteStep {
  do: 'write';
  port: number;
  count: number;
  length: number;
  read: boolean;
}

type Step = WriteStep | { do: 'publish' } | { do: 'commit' } | { do: 'take'; bytesMax: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      port: fc.integer({ min: 1, max: PORTS }),
      count: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 50, max: 300 })),
      length: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 8192 })),
      read: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('publish' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('commit' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('take' as const),
      bytesMax: fc.oneof(fc.integer({ min: 1, max: 50_000 }), fc.constant(500_000)),
    }),
  },
);

/** Every entry is visited once, whole, in order; or its port is over its share and shows a hole. */
function runSteps(bench: SpoolBench, steps: readonly Step[]): void {
  const ports = Array.from({ length: PORTS }, (_, index) => portOf(bench, index + 1));
  const written = Array.from({ length: PORTS + 1 }, () => [] as number[]); // lengths, by seq
  const bytesOf = Array<number>(PORTS + 1).fill(0);
  const lastSeen = Array<number>(PORTS + 1).fill(-1);
  const missing = Array<number>(PORTS + 1).fill(0);
  let uncommitted: SeenEntry[] = [];

  const take = (bytesMax: number): number => {
    if (uncommitted.reduce((sum, { bytes }) => sum + bytes.length, 0) > UNDER_WAY_BYTES_MAX) {
      bench.reader.committed();
      uncommitted = [];
    }
    const seen: SeenEntry[] = [];
    const bytes = bench.reader.take(bytesMax, intoList(seen));
    for (const { port, seq, bytes: content } of seen) {
      const number = Number(port);
      assert.ok(seq > lastSeen[number]!, 'in order, and once');
      missing[number]! += seq - lastSeen[number]! - 1;
      lastSeen[number] = seq;
      assert.ok(content.equals(contentOf(number, seq, written[number]![seq]!)), 'whole');
    }
    uncommitted.push(...seen);
    return bytes;
  };

  const write = (step: WriteStep): void => {
    const port = ports[step.port - 1]!;
    for (let i = 0; i < step.count; i++) {
      const seq = written[step.port]!.length;
      const length = step.read ? Math.min(step.length, 4096) : step.length;
      const bytes = contentOf(step.port, seq, length);
      if (step.read) port.readInto(seq, bytesOf[step.port]!, Date.now, readOf(bytes));
      else port.append('rx', seq, bytesOf[step.port]!, 1, bytes);
      written[step.port]!.push(length);
      bytesOf[step.port]! += length;
    }
  };

  for (const each of steps) {
    switch (each.do) {
      case 'write':
        write(each);
        break;
      case 'publish':
        bench.spool.publish();
        break;
      case 'take':
        take(each.bytesMax);
        break;
      case 'commit':
        bench.reader.committed();
        uncommitted = [];
    }
  }
  bench.spool.publish();
  while (take(500_000) > 0);
  assert.equal(bench.reader.waitingBytes(), 0);

  for (let port = 1; port <= PORTS; port++) {
    const count = written[port]!.length;
    // The newest is never evicted while older ones are, so a hole never reaches the end.
    assert.equal(lastSeen[port], count - 1, 'nothing is missing at the end');
    if (bytesOf[port]! + 40 * count <= QUIET_BYTES_MAX / 2) assert.equal(missing[port], 0, 'fair');
  }
  const inFile = new Set<string>();
  const lastRecovered = new Map<number | string, number>();
  for (const { port, seq, bytes } of bench.recover()) {
    const number = Number(String(port).slice(-12));
    assert.ok(seq > (lastRecovered.get(port) ?? -1), 'recovered in order');
    lastRecovered.set(port, seq);
    assert.ok(bytes.equals(contentOf(number, seq, written[number]![seq]!)), 'recovered whole');
    inFile.add(`${number} ${seq}`);
  }
  for (const { port, seq } of uncommitted) {
    assert.ok(inFile.has(`${port} ${seq}`), 'what is not committed can be recovered');
  }
}

function portOf(bench: SpoolBench, port: number): SpoolPort {
  return bench.spool.port(port, uuidOf(port), { epoch: 7, seq: 0, offset: 0 });
}

function entry(kind: SeenEntry['kind'], seq: number, offset: number, atUs: number, text: string) {
  return { port: 1, epoch: 7, kind, seq, offset, atUs, bytes: Buffer.from(text) };
}

async function using(
  memory: 'mapped' | 'copied',
  size: { bytes?: number; ports?: number },
  work: (bench: SpoolBench) => void,
): Promise<void> {
  const bench = await openBench(memory, size);
  try {
    work(bench);
  } finally {
    bench.end();
  }
}
