import { after, before, describe, it, type TestContext } from 'node:test';
import { LINE_RATE } from '../bench/feeder.ts';
import { FedRack, RackReader } from './fed-rack.ts';
import { FedStream } from './fed-stream.ts';

const stream = new FedStream();

describe('every byte that was fed is in the log', () => {
  rack('48 ports at full speed', {
    ports: 48,
    feed: { rate: 0, bytes: 1_500_000 },
    byCommand: Array.from({ length: 48 }, (_, port) => port),
  });
  rack('256 ports at 115,200 baud', {
    ports: 256,
    feed: { rate: LINE_RATE, seconds: 4 },
    byCommand: [0, 100, 255],
  });
  rack('1,024 ports at 115,200 baud', {
    ports: 1_024,
    feed: { rate: LINE_RATE, seconds: 4 },
    byCommand: [0, 511, 1_023],
  });
});

interface Load {
  ports: number;
  feed: { rate: number; seconds?: number; bytes?: number };
  /** Ports whose log is read by the command as well; all are read through the library. */
  byCommand: readonly number[];
}

function rack(name: string, { ports, feed, byCommand }: Load): void {
  describe(name, () => {
    let fed: FedRack;
    before(async () => {
      fed = await FedRack.start(ports);
    });
    after(() => fed.close());

    it('while the daemon runs', async (t) => {
      sayReady(t, await fed.startDaemon(), fed);
      const { sent } = await fed.feeder.run(feed);
      fed.expectAll(sent);
      await fed.committed();
      const files = fed.logInPlace();
      try {
        new RackReader(fed, stream).compare(files);
      } finally {
        files.close();
      }
      await fed.compareAllByCommand(stream, byCommand);
      t.diagnostic(`${(fed.bytes / 1e6).toFixed(0)} MB in ${ports} ports`);
    });

    it('and when it was stopped', async () => {
      await fed.daemon!.stop();
      const files = fed.logAtRest();
      try {
        new RackReader(fed, stream).compare(files);
      } finally {
        files.close();
      }
      await fed.compareAllByCommand(stream, byCommand);
      await fed.verify();
    });
  });
}

/** A budget of DESIGN 9, printed, not asserted: the machine may be busy. */
function sayReady(t: TestContext, readyMs: number, { daemon }: FedRack): void {
  const { durationMs } = daemon!.journal.find(({ msg }) => msg === 'ready')!;
  t.diagnostic(
    `ready in ${Math.round(readyMs)} ms, ${String(durationMs)} of them after the start of node`,
  );
}
