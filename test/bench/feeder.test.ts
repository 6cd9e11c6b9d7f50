import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, describe, it } from 'node:test';
import { scratchDirectory } from '../e2e/daemon.ts';
import { capture } from './capture.ts';
import { Feeder, feederProgram, LINE_RATE, verifyStream } from './feeder.ts';
import { residentBytes } from './process-usage.ts';
import { floor, subjectDirectory } from './subjects.ts';

const scratch = scratchDirectory();
after(() => scratch.dispose());

describe('the stream of a port', () => {
  const stream = (port: number, from: number, to: number): Buffer =>
    execFileSync(feederProgram(), ['print', String(port), String(from), String(to)]);
  const whole = stream(7, 0, 200_000);

  it('is a function of port and offset, and printable lines', () => {
    assert.deepEqual(stream(7, 70_000, 140_000), whole.subarray(70_000, 140_000));
    assert.notDeepEqual(stream(8, 0, 1_000), whole.subarray(0, 1_000));
    assert.match(whole.toString('latin1'), /^[\x20-\x7e\r\n]+$/);
    assert.ok(whole.toString('latin1').split('\r\n').length > 1_000);
  });

  it('is verified whole and in parts', async () => {
    const found = await verifyStream(7, Readable.from([whole]));
    assert.deepEqual(found, { bytes: 200_000, expected: null, differsAt: null });
    const pieces = [whole.subarray(100, 200), whole.subarray(90_000)];
    const parts = [
      [100, 200],
      [90_000, 200_000],
    ] as const;
    assert.equal((await verifyStream(7, Readable.from(pieces), parts)).differsAt, null);
  });

  it('does not match with a byte lost, doubled, changed or from another port', async () => {
    const changed = Buffer.from(whole);
    changed[150_000]! ^= 1;
    const wrong: [string, Buffer[], number][] = [
      ['lost', [whole.subarray(0, 5_000), whole.subarray(5_001)], 5_000],
      ['doubled', [whole.subarray(0, 5_001), whole.subarray(5_000)], 5_001],
      ['changed', [changed], 150_000],
      ['too much', [whole, Buffer.from('x')], 200_000],
    ];
    for (const [what, bytes, at] of wrong) {
      const { differsAt } = await verifyStream(7, Readable.from(bytes), [[0, 200_000]]);
      // The next bytes may by chance be the same: near is near enough.
      assert.ok(
        differsAt !== null && differsAt >= at && differsAt < at + 10,
        `${what}: ${differsAt}`,
      );
    }
    assert.ok((await verifyStream(8, Readable.from([whole]))).differsAt !== null);
    const { bytes, expected } = await verifyStream(7, Readable.from([whole]), [[0, 200_001]]);
    assert.ok(bytes < expected!);
  });
});

describe('the feeder', () => {
  it('counts what the kernel took and what nobody read', async () => {
    const feeder = await Feeder.start(3);
    try {
      const { sent } = await feeder.run({ rate: 0, bytes: 2_000 });
      assert.deepEqual(sent, [2_000, 2_000, 2_000]);
      assert.deepEqual((await feeder.drain()).unread, [2_000, 2_000, 2_000]);
      assert.deepEqual(await feeder.drain(), { unread: [0, 0, 0], sent });
      // Nobody reads: the ttys fill up, and the run goes on until it is told to stop.
      const run = feeder.run({ rate: 0 });
      feeder.stop();
      const full = await run;
      assert.deepEqual(
        (await feeder.drain()).unread,
        full.sent.map((bytes) => bytes - 2_000),
      );
    } finally {
      await feeder.close();
    }
  });
});

describe('the C logger under the harness', () => {
  for (const [name, load] of [
    ['paced', { ports: 8, rate: LINE_RATE, seconds: 0.5 }],
    ['flat out', { ports: 4, rate: 0, bytes: 500_000 }],
  ] as const) {
    it(`logs every byte, ${name}`, async () => {
      const directory = join(scratch.path, name.replace(' ', '-'));
      mkdirSync(directory);
      const bench = { quick: false, peers: false, directory, say: () => undefined };
      const captured = await capture(bench, floor(), load);
      assert.equal(captured.lostBytes, 0);
      assert.equal(captured.badPorts, 0);
      assert.equal(captured.verifiedPorts, load.ports);
      assert.ok(captured.fedBytes > 10_000);
      assert.ok(captured.cpuSecondsPerMegabyte > 0);
    });
  }

  it('is measured while it runs', async () => {
    const feeder = await Feeder.start(1);
    const running = await floor().start(feeder.paths, subjectDirectory(scratch.path, floor()));
    try {
      const { now, peak } = residentBytes(running.pid);
      assert.ok(now > 100_000 && peak >= now, `${now} ${peak}`);
    } finally {
      await running.stop();
      await feeder.close();
    }
  });
});
