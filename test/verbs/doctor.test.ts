import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Finding, LoopbackResult } from '../../src/core/diagnosis.ts';
import { Fault } from '../../src/core/fault.ts';
import { Bench } from './fakes.ts';

function finding(severity: Finding['severity'], more: Partial<Finding> = {}): Finding {
  return { id: 'held', severity, subject: 'db1', why: 'it is so', fix: 'do this', ...more };
}

const WHOLE: LoopbackResult = {
  device: '/dev/ttyUSB0',
  line: '9600 8N1',
  sentBytes: 960,
  right: 960,
  wrong: 0,
  missing: 0,
  extra: 0,
  parity: 0,
  framing: 0,
  overrun: 0,
  breaks: 0,
  durationMs: 1_012,
  signals: { rts: ['cts'], dtr: ['dsr', 'dcd'] },
};

describe('doctor', () => {
  it('says so when nothing is wrong, of all or of one', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('doctor'), 0);
    assert.equal(bench.io.output, 'nothing wrong was found\n');
    assert.equal(await bench.run('doctor', 'db1'), 0);
    assert.deepEqual(bench.local.asked, [
      ['doctor', null],
      ['doctor', 'db1'],
    ]);
  });

  it('prints the worst first, each with what to do, and what devices say made safe', async () => {
    const bench = new Bench();
    bench.local.findings = [
      finding('note', { subject: 'n' }),
      finding('error', { subject: 'e', why: 'held by \x1b]0;evil\x07me' }),
      finding('warning', { subject: 'w' }),
    ];
    assert.equal(await bench.run('doctor'), 1);
    assert.equal(
      bench.io.output,
      'error: e: held by me\n    do this\nwarning: w: it is so\n    do this\nnote: n: it is so\n    do this\n',
    );
  });

  it('exits with 1 for an error or a warning, not for a note', async () => {
    const codes = [];
    for (const severity of ['error', 'warning', 'note'] as const) {
      const bench = new Bench();
      bench.local.findings = [finding(severity)];
      codes.push(await bench.run('doctor', '--json'));
      assert.deepEqual(JSON.parse(bench.io.output), bench.local.findings);
    }
    assert.deepEqual(codes, [1, 1, 0]);
  });

  it('tests a plug only when it is confirmed', async () => {
    const bench = new Bench();
    bench.local.looped = WHOLE;
    assert.equal(await bench.run('doctor', 'db1', '--loopback'), 2);
    assert.match(bench.io.errors, /must be confirmed: give --yes/);
    assert.equal(await bench.run('doctor', 'db1', '--loopback', '--yes', '--line', '9600'), 0);
    assert.match(bench.io.output, /960 bytes sent, 960 came back right in 1012 ms/);
    assert.match(bench.io.output, /RTS moves CTS; DTR moves DSR and DCD/);
    const line = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 };
    assert.deepEqual(bench.local.asked.at(-1), [
      'loopback',
      { about: 'db1', line, isConfirmed: true },
    ]);
    assert.equal(await bench.run('doctor', '--loopback'), 2);
  });

  it('exits with 1 when not all came back, and says what is missing', async () => {
    const bench = new Bench();
    const signals = { rts: [], dtr: null };
    bench.local.looped = { ...WHOLE, right: 0, missing: 960, signals };
    assert.equal(await bench.run('doctor', 'db1', '--loopback', '-y'), 1);
    assert.match(bench.io.output, /960 missing/);
    assert.match(bench.io.output, /Nothing came back: is the plug on this line/);
    assert.match(bench.io.output, /RTS moves nothing \(no wire to CTS\); DTR cannot be tested/);
    for (const bad of ['wrong', 'extra', 'parity', 'framing', 'overrun', 'breaks']) {
      bench.local.looped = { ...WHOLE, [bad]: 1 };
      assert.equal(await bench.run('doctor', 'db1', '--loopback', '-y', '--json'), 1, bad);
    }
    bench.local.fault = new Fault('PORT_OPEN_FAILED', 'no such device');
    assert.equal(await bench.run('doctor', 'db1', '--loopback', '-y'), 5);
  });
});
