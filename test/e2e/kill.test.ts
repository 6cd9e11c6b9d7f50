import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FedStream } from './fed-stream.ts';
import { FLAT_OUT, formatKillReport, killAgainAndAgain, PACED } from './kills.ts';

/** `npm run test:kill` does a hundred. */
const KILLS = 6;
/** Ten times the budget of DESIGN 9, as the machine may be busy. */
const READY_MS_MAX = 20_000;

const stream = new FedStream();

describe('kill -9 at a random instant loses no byte', () => {
  for (const load of [PACED, FLAT_OUT]) {
    it(load.name, async (t) => {
      const report = await killAgainAndAgain(load, KILLS, { stream, lookAtRestEvery: 1 });
      assert.ok(report.killsInStart > 0);
      assert.ok(report.readyMs.worst < READY_MS_MAX, `ready in ${report.readyMs.worst} ms`);
      t.diagnostic(formatKillReport(load, report));
    });
  }
});
