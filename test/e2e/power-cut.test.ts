import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FedStream } from './fed-stream.ts';
import { cutPower, formatPowerCutReport } from './power-cuts.ts';

/** `npm run test:power-cut` does two hundred. */
const STATES = 40;
const RESTARTS = 4;
/** Twenty times what DESIGN 5 promises, as the machine may be busy. */
const AGE_MS_MAX = 2_000;

describe('a power cut', () => {
  it('damages nothing and takes only the last moment', async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const report = await cutPower(STATES, RESTARTS, { stream: new FedStream(), seed });
    assert.equal(report.restarts, RESTARTS);
    t.diagnostic(formatPowerCutReport(report));
    assert.ok(report.beforeCommitMs.worst < AGE_MS_MAX, formatPowerCutReport(report));
  });
});
