import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { percentile } from '../bench/row.ts';
import { LINE_RATE } from '../bench/feeder.ts';
import { FedRack, RackReader } from './fed-rack.ts';
import type { FedStream } from './fed-stream.ts';

export interface KillLoad {
  name: string;
  ports: number;
  /** Bytes a second and port; 0: as fast as the ttys take them. */
  rate: number;
}

/** The two of DESIGN 9's row. */
export const PACED: KillLoad = { name: '48 ports at 115,200 baud', ports: 48, rate: LINE_RATE };
export const FLAT_OUT: KillLoad = { name: '16 ports flat out', ports: 16, rate: 0 };

export interface KillReport {
  kills: number;
  /** Of those, in a start, while what the kill before it had left was being recovered. */
  killsInStart: number;
  fedBytes: number;
  /** Found in the ttys after the kills: never read, so never logged. */
  leftBytes: number;
  /** How often a kill fell into a read whose bytes the spool gave back. */
  cutShort: number;
  readyMs: { median: number; worst: number };
}

/** Kills fall at a random instant of this time after the load began. */
const KILL_WITHIN_MS = { paced: 1_000, flatOut: 400 };
/** After every so many kills under load the next daemon is killed as well, while it starts. */
const KILL_IN_START_EVERY = 2;

/**
 * Kills the daemon by SIGKILL under load, again and again. After each kill what nobody read is taken
 * out of the ttys, whose masters stay open, and counted; what the log holds must be all the rest,
 * byte for byte: before the next daemon starts, read from database and spool, and after it.
 * @throws AssertionError at the first byte that is missing or wrong.
 */
export async function killAgainAndAgain(
  load: KillLoad,
  kills: number,
  options: {
    stream: FedStream;
    /** How many kills apart the log is looked at before the next start; it is copied for that. */
    lookAtRestEvery: number;
    say?: (text: string) => void;
  },
): Promise<KillReport> {
  const rack = await FedRack.start(load.ports);
  const say = options.say ?? (() => undefined);
  const withinMs = load.rate > 0 ? KILL_WITHIN_MS.paced : KILL_WITHIN_MS.flatOut;
  const readyMs: number[] = [];
  const report = { kills: 0, killsInStart: 0, cutShort: 0 };
  try {
    const inPlace = new RackReader(rack, options.stream);
    let lastReadyMs = await rack.startDaemon();
    while (report.kills < kills) {
      const daemon = rack.daemon!;
      const fed = rack.feeder.run({ rate: load.rate });
      await sleep(Math.random() * withinMs);
      daemon.signal('SIGKILL');
      await daemon.exited;
      rack.feeder.stop();
      await fed;
      await rack.account();
      report.kills++;
      const underLoad = report.kills - report.killsInStart;
      if (underLoad % KILL_IN_START_EVERY === 0 && report.kills < kills) {
        const starting = rack.launchDaemon();
        await sleep(Math.random() * lastReadyMs);
        starting.signal('SIGKILL');
        await starting.exited;
        await rack.account();
        report.kills++;
        report.killsInStart++;
      }
      if (report.kills % options.lookAtRestEvery === 0) {
        const atRest = rack.logAtRest();
        try {
          new RackReader(rack, options.stream).compare(atRest);
        } finally {
          atRest.close();
        }
      }
      lastReadyMs = await rack.startDaemon();
      readyMs.push(lastReadyMs);
      report.cutShort += cutShortIn(rack);
      await rack.committed();
      const files = rack.logInPlace();
      try {
        inPlace.compare(files);
      } finally {
        files.close();
      }
      say(
        `kill ${report.kills}: ${rack.bytes} bytes logged, ready in ${Math.round(lastReadyMs)} ms`,
      );
    }
    await rack.daemon!.stop();
    await rack.verify();
    await rack.compareByCommand(options.stream, 0);
    for (const { name, epochs } of rack.logged()) {
      assert.equal(epochs.length, 1, `${name}: the spool proves continuity, so no new epoch`);
    }
    const fedBytes = rack.fed.reduce((sum, bytes) => sum + bytes, 0);
    return {
      ...report,
      fedBytes,
      leftBytes: fedBytes - rack.bytes,
      readyMs: { median: percentile(readyMs, 0.5), worst: Math.max(...readyMs) },
    };
  } finally {
    await rack.close();
  }
}

export function formatKillReport(load: KillLoad, report: KillReport): string {
  const { kills, killsInStart, fedBytes, leftBytes, cutShort, readyMs } = report;
  const seconds = (ms: number): string => (ms / 1000).toFixed(2);
  return (
    `${load.name}: ${kills} kills (${killsInStart} in a start), ${fedBytes} bytes fed, ` +
    `${leftBytes} left in the ttys, 0 missing, ${cutShort} reads cut short and recovered; ` +
    `ready again: median ${seconds(readyMs.median)} s, worst ${seconds(readyMs.worst)} s`
  );
}

/** How many ports had a read that the kill cut short, as the recovering daemon said. */
function cutShortIn(rack: FedRack): number {
  const recovered = rack.daemon!.journal.find(({ msg }) => msg === 'spool recovered');
  return (recovered?.['cutShort'] as string[] | undefined)?.length ?? 0;
}
