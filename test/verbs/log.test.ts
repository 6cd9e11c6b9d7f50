import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Bench, NOW_US } from './fakes.ts';

const MINUTE_US = 60_000_000;

/** 300 lines, one a minute; the last one now. */
function hours(): Bench {
  const bench = new Bench();
  for (let line = 1; line <= 300; line++) {
    bench.log.rx(NOW_US - (300 - line) * MINUTE_US, `line ${line}\r\n`);
  }
  return bench;
}

async function lines(bench: Bench, ...argv: string[]): Promise<string[]> {
  assert.equal(await bench.run('log', 'db1', ...argv), 0, bench.io.errors);
  return bench.io.output.split(/\r?\n/).slice(0, -1);
}

describe('log', () => {
  it('prints all in a pipe, the last 200 lines on a terminal', async () => {
    assert.equal((await lines(hours())).length, 300);
    const terminal = hours();
    terminal.io.isTerminal = true;
    const shown = await lines(terminal);
    assert.deepEqual([shown.length, shown[0]], [200, 'line 101']);
    assert.match(terminal.io.output, /^line 101\r\nline 102\r\n/);
  });

  it('prints from, up to, and the last', async () => {
    assert.deepEqual(await lines(hours(), '--since', '2m'), ['line 298', 'line 299', 'line 300']);
    assert.deepEqual(await lines(hours(), '--since', '2m', '--until', '1m'), ['line 298']);
    assert.deepEqual(await lines(hours(), '--last', '2'), ['line 299', 'line 300']);
    assert.deepEqual(await lines(hours(), '--until', '@16'), ['line 1', 'line 2']);
    assert.deepEqual(await lines(hours(), '--since', '@8', '--until', '@13'), ['line ']);
    assert.equal((await lines(hours(), '--last', '1K')).join('\r\n').length + 2, 1024);
    const local = hours();
    local.io.timeZone = 'Europe/Berlin';
    assert.deepEqual(await lines(local, '--since', '12:59'), ['line 299', 'line 300']);
  });

  it('refuses --tx to whom what was typed is withheld, and only that', async () => {
    const bench = hours();
    bench.log.withholdsTx = true;
    assert.equal(await bench.run('log', 'db1', '--tx'), 4);
    assert.match(bench.io.errors, /may not read what was typed on db1 \(right "tx"\)/);
    assert.equal(bench.io.output, '');
    assert.equal(await bench.run('log', 'db1'), 0);
  });

  it('prints raw exactly what came, also on a terminal', async () => {
    const bench = new Bench();
    bench.log.rx(NOW_US, '\x1b[6n\xff').rx(NOW_US, Buffer.from([0xff, 0x00, 0x0d, 0x0a]));
    bench.io.isTerminal = true;
    assert.equal(await bench.run('log', 'db1', '--format', 'raw'), 0);
    const sent = bench.log.records.map((record) => (record.kind === 'rx' ? record.bytes : []));
    assert.deepEqual(bench.io.bytes, Buffer.concat(sent.map((bytes) => Buffer.from(bytes))));
  });

  it('shows times in the zone of the caller, or in UTC', async () => {
    const bench = hours();
    bench.io.timeZone = 'Asia/Kathmandu';
    const [local] = await lines(bench, '--last', '1', '--format', 'time');
    assert.equal(local, '2026-11-20 17:45:00.000+05:45 line 300');
    const [utc] = await lines(hours(), '--last', '1', '--format', 'time', '--utc');
    assert.equal(utc, '2026-11-20 12:00:00.000Z line 300');
  });

  it('follows what comes until it is interrupted', async () => {
    const bench = new Bench();
    bench.log.rx(NOW_US, 'old\n');
    const done = bench.run('log', 'db1', '--follow');
    await bench.io.when(() => bench.io.output === 'old\n');
    bench.log.rx(NOW_US, 'new\n# ');
    await bench.io.when(() => bench.io.output === 'old\nnew\n# ');
    bench.io.abort();
    assert.equal(await done, 0);
    assert.equal(bench.io.errors, '');
  });

  it('follows a port that has said nothing yet', async () => {
    const bench = new Bench();
    const done = bench.run('log', 'db1', '-f');
    bench.log.rx(NOW_US, 'first\n');
    await bench.io.when(() => bench.io.output === 'first\n');
    bench.io.abort();
    assert.equal(await done, 0);
  });

  it('follows up to a place', async () => {
    const bench = new Bench();
    bench.log.rx(NOW_US, 'abc');
    const done = bench.run('log', 'db1', '-f', '--until', '@5', '--format', 'raw');
    await bench.io.when(() => bench.io.output === 'abc');
    bench.log.rx(NOW_US, 'defg');
    bench.log.rx(NOW_US, 'h');
    assert.equal(await done, 0);
    assert.equal(bench.io.output, 'abcde');
  });

  it('stops at what was logged when it began', async () => {
    const bench = new Bench();
    bench.log.rx(NOW_US, 'before\n').rx(NOW_US, 'too\n');
    bench.log.recordsMax = 1;
    const done = bench.run('log', 'db1');
    await bench.io.when(() => bench.io.output === 'before\n');
    bench.log.rx(NOW_US, 'after\n');
    assert.equal(await done, 0);
    assert.equal(bench.io.output, 'before\ntoo\n');
  });

  it('ends when the reader leaves while it follows', async () => {
    const bench = new Bench();
    const done = bench.run('log', 'db1', '-f');
    bench.io.isBroken = true;
    bench.log.rx(NOW_US, 'x\n');
    assert.equal(await done, 0);
  });

  it('works with no daemon', async () => {
    const bench = new Bench({ access: null });
    bench.log.rx(NOW_US, 'x\n');
    assert.equal(await bench.run('log', 'db1'), 0);
    assert.equal(bench.io.output, 'x\n');
    assert.equal(await new Bench({ access: null, log: null }).run('log', 'db1'), 5);
  });

  it('refuses what makes no sense', async () => {
    const wrong: [code: number, argv: string[]][] = [
      [2, ['db1', '--since', 'soon']],
      [2, ['db1', '--last', 'many']],
      [2, ['db1', '--last', '5', '--since', '1m']],
      [2, ['db1', '--format', 'pdf']],
      [3, ['db1', '--since', 'incident:4']],
      [3, ['db1', '--since', '@99999999']],
      [3, ['nope']],
    ];
    for (const [code, argv] of wrong) {
      const bench = hours();
      assert.equal(await bench.run('log', ...argv), code, argv.join(' '));
      assert.match(bench.io.errors, /^fairlead: .+\n$/);
    }
  });
});
