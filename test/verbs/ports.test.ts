import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PortStatus } from '../../src/core/port-status.ts';
import { formatAge, formatTable } from '../../src/verbs/table.ts';
import { Bench, NOW_US, portStatus } from './fakes.ts';

function rack(): Bench {
  const bench = new Bench();
  bench.access.list = [
    portStatus('db1', { n: 1, group: 'rack3', writer: 'alice', viewers: 2, aliases: ['oracle'] }),
    portStatus('db2', { n: 2, lastByteAtUs: NOW_US - 7_200_000_000, differs: true }),
    portStatus('sw1', {
      state: 'down',
      why: '/dev/ttyUSB0: permission denied; add yourself to the group dialout',
      lastByteAtUs: null,
    }),
  ];
  return bench;
}

describe('ports', () => {
  it('shows state, age, who writes and why it is down', async () => {
    const bench = rack();
    assert.equal(await bench.run('ports'), 0);
    const [head, db1, db2, sw1] = bench.io.output.split('\n');
    assert.match(head!, /^PORT +N +STATE +LAST +LINE +WRITER +VIEWERS +GROUP +BACKEND +WHY$/);
    assert.match(db1!, /^db1 +1 +up +3s +115200 8N1 +alice +2 +rack3 +device \/dev\/db1$/);
    assert.match(db2!, /2h +115200 8N1, differs from file/);
    assert.match(sw1!, /^sw1 +down .*permission denied; add yourself to the group dialout$/);
  });

  it('shows what is wrong on the wire', async () => {
    const bench = new Bench();
    const none = { breaks: 0, parity: 0, framing: 0, overrun: 0 };
    bench.access.list = [
      portStatus('db1', {
        looksLike: '9600 8N1',
        errors: { ...none, framing: 1_200, breaks: 3 },
      }),
      portStatus('db2'),
    ];
    await bench.run('ports');
    const [head, db1, db2] = bench.io.output.split('\n');
    assert.match(head!, /STATE .*ERRORS$/);
    assert.match(db1!, /^db1 +up, looks like 9600 8N1 .* 3 BREAK, 1200 framing$/);
    assert.match(db2!, /^db2 +up +3s .*\/dev\/db2$/);
    const json = new Bench();
    json.access.list = bench.access.list;
    await json.run('ports', '--json');
    assert.deepEqual(JSON.parse(json.io.output), json.access.list);
  });

  it('fits a terminal of any width', async () => {
    for (let columns = 30; columns <= 200; columns += 10) {
      const bench = rack();
      bench.io.isTerminal = true;
      bench.io.columns = columns;
      await bench.run('ports');
      const lines = bench.io.output.split('\r\n');
      for (const line of lines) assert.ok(line.length <= columns, `${columns}: ${line}`);
      assert.match(lines[1]!, /^db1 .*up/);
    }
  });

  it('takes a pattern, a name, an alias and a unique prefix', async () => {
    const named = async (glob: string): Promise<string[]> => {
      const bench = rack();
      assert.equal(await bench.run('ports', glob, '--json'), 0);
      return (JSON.parse(bench.io.output) as PortStatus[]).map((port) => port.name);
    };
    assert.deepEqual(await named('db*'), ['db1', 'db2']);
    assert.deepEqual(await named('DB2'), ['db2']);
    assert.deepEqual(await named('Oracle'), ['db1']);
    assert.deepEqual(await named('s'), ['sw1']);
  });

  it('prints all of a port as JSON', async () => {
    const bench = rack();
    await bench.run('ports', '--json');
    assert.deepEqual(JSON.parse(bench.io.output), bench.access.list);
  });

  it('is not found, with the nearest names', async () => {
    const mistyped = rack();
    assert.equal(await mistyped.run('ports', 'dv1'), 3);
    assert.match(mistyped.io.errors, /no port "dv1"; did you mean "db1"/);
    const ambiguous = rack();
    assert.equal(await ambiguous.run('ports', 'db'), 3);
    assert.match(ambiguous.io.errors, /"db1" or "db2"/);
    assert.equal(await rack().run('ports', 'x*'), 3);
  });

  it('lists what the log knows when no daemon runs', async () => {
    const bench = new Bench({ access: null });
    bench.log.rx(NOW_US - 60_000_000, 'x');
    assert.equal(await bench.run('ports'), 0);
    assert.match(bench.io.output, /^db1 +down +1m +no daemon runs$/m);
    const bare = new Bench({ access: null, log: null });
    assert.equal(await bare.run('ports'), 5);
  });
});

describe('a table', () => {
  it('shows nothing a terminal would act on, on one line a row', () => {
    const columns = [{ title: 'A', of: (row: string) => row }];
    assert.equal(formatTable(columns, ['x\x1b[6n\ny'], null), 'A\nx y\n');
  });

  it('says ages in one unit', () => {
    const ages = [0, 59, 60, 3599, 3600, 86_399, 86_400].map((seconds) =>
      formatAge(NOW_US - seconds * 1_000_000, NOW_US),
    );
    assert.deepEqual(ages, ['0s', '59s', '1m', '59m', '1h', '23h', '1d']);
    assert.equal(formatAge(NOW_US + 5_000_000, NOW_US), '0s');
    assert.equal(formatAge(null, NOW_US), null);
  });
});
