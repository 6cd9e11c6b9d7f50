import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createPenalties, PENALTY_MS, type Offence } from '../../src/auth/penalties.ts';

const SOURCE = '192.0.2.1';

describe('createPenalties', () => {
  it('forgives two wrong passwords, refuses after three, and ends', () => {
    const penalties = createPenalties();
    for (const failures of [1, 2]) {
      penalties.penalise(SOURCE, 'authfail', 0);
      assert.equal(penalties.refusedForMs(SOURCE, 0), 0, `after ${failures}`);
    }
    penalties.penalise(SOURCE, 'authfail', 0);
    assert.equal(penalties.refusedForMs(SOURCE, 0), 15_000);
    assert.equal(penalties.refusedForMs(SOURCE, 14_999), 1, 'enforced to its end');
    assert.equal(penalties.refusedForMs(SOURCE, 15_000), 0);
    penalties.penalise(SOURCE, 'authfail', 15_001);
    assert.equal(penalties.refusedForMs(SOURCE, 15_001), 0, 'and starts afresh');
  });

  it('does not add up what lies far apart', () => {
    const penalties = createPenalties();
    for (let nowMs = 0; nowMs < 600_000; nowMs += 6_000) {
      penalties.penalise(SOURCE, 'authfail', nowMs);
      assert.equal(penalties.refusedForMs(SOURCE, nowMs), 0);
    }
  });

  it('refuses at once what broke the protocol', () => {
    const penalties = createPenalties();
    penalties.penalise(SOURCE, 'crash', 1_000);
    assert.equal(penalties.refusedForMs(SOURCE, 1_000), 90_000);
    assert.equal(penalties.refusedForMs('192.0.2.2', 1_000), 0);
  });

  it('never refuses for more than 600 s, whatever happens', () => {
    const offences = fc.constantFrom(...(Object.keys(PENALTY_MS) as Offence[]));
    const history = fc.array(fc.tuple(offences, fc.nat(20_000)), { maxLength: 200 });
    fc.assert(
      fc.property(history, (events) => {
        const penalties = createPenalties();
        let nowMs = 0;
        for (const [offence, pauseMs] of events) {
          nowMs += pauseMs;
          penalties.penalise(SOURCE, offence, nowMs);
          assert.ok(penalties.refusedForMs(SOURCE, nowMs) <= 600_000);
        }
        assert.equal(penalties.refusedForMs(SOURCE, nowMs + 600_000), 0);
      }),
    );
  });

  it('counts an IPv6 /64 as one source, and a mapped address as its IPv4', () => {
    const penalties = createPenalties();
    penalties.penalise('2001:db8:0:1::1', 'crash', 0);
    penalties.penalise('::ffff:192.0.2.1', 'crash', 0);
    assert.equal(penalties.refusedForMs('2001:db8:0:1:ffff::2', 0), 90_000);
    assert.equal(penalties.refusedForMs('2001:db8:0:2::1', 0), 0);
    assert.equal(penalties.refusedForMs(SOURCE, 0), 90_000);
    assert.equal(penalties.sources, 2);
  });

  it('forgets the source longest without an offence when there are too many', () => {
    const penalties = createPenalties(3);
    for (const last of [1, 2, 3, 1, 4]) penalties.penalise(`192.0.2.${last}`, 'crash', last);
    assert.equal(penalties.sources, 3);
    assert.equal(penalties.refusedForMs('192.0.2.2', 5), 0);
    assert.ok(penalties.refusedForMs('192.0.2.1', 5) > 0);
  });
});
