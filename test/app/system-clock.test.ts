import assert from 'node:assert/strict';
import { afterEach, describe, it, mock } from 'node:test';
import { SystemClock } from '../../src/app/system-clock.ts';

describe('the system clock', () => {
  afterEach(() => mock.restoreAll());

  it('says by how much the wall clock was set, once, and follows it', () => {
    const clock = new SystemClock();
    const real = Date.now.bind(Date);
    mock.method(Date, 'now', () => real() + 3_600_000);
    const stepUs = clock.anchor();
    assert.ok(Math.abs(stepUs - 3_600_000_000) < 1_000_000, String(stepUs));
    assert.ok(Math.abs(clock.nowUs() - Date.now() * 1000) < 1_000_000);
    assert.equal(clock.anchor(), 0);
  });

  it('follows drift without calling it a step', () => {
    const clock = new SystemClock();
    const real = Date.now.bind(Date);
    mock.method(Date, 'now', () => real() + 500);
    const beforeUs = clock.nowUs();
    assert.equal(clock.anchor(), 0);
    assert.ok(clock.nowUs() - beforeUs > 400_000);
  });
});
