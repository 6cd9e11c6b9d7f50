import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import { Bench, portStatus } from './fakes.ts';

const TASKS = [
  { name: 'grub-menu', breakKey: null, confirm: false, help: 'holds GRUB' },
  { name: 'reset', breakKey: '3', confirm: true, help: 'BREAK, b' },
];

function withTasks(): Bench {
  const bench = new Bench();
  bench.access.details = { tasks: TASKS };
  return bench;
}

describe('task', () => {
  it('lists them with their keys', async () => {
    const bench = withTasks();
    assert.equal(await bench.run('task', 'db1'), 0);
    assert.equal(
      bench.io.output,
      'TASK       KEY  ASKS  DOES\ngrub-menu             holds GRUB\nreset      3    yes   BREAK, b\n',
    );
    const json = withTasks();
    await json.run('task', 'db1', '--json');
    assert.deepEqual(JSON.parse(json.io.output), TASKS);
    const none = new Bench();
    assert.equal(await none.run('task', 'db1'), 0);
    assert.equal(none.io.errors, 'db1 has no tasks\n');
  });

  it('runs one by name or key, and asks where the configuration says so', async () => {
    const bench = withTasks();
    assert.equal(await bench.run('task', 'db1', 'GRUB-menu'), 0);
    assert.equal(await bench.run('task', 'db1', '3'), 2);
    assert.match(bench.io.errors, /task reset on db1 must be confirmed: give --yes/);
    assert.equal(await bench.run('task', 'db1', 'reset', '-y'), 0);
    assert.deepEqual(bench.access.asked, [
      'run db1 task grub-menu false',
      'run db1 task reset false',
      'run db1 task reset true',
    ]);
    const terminal = withTasks();
    terminal.io.isTerminal = true;
    terminal.io.type('y\r');
    assert.equal(await terminal.run('task', 'db1', 'reset'), 0);
    assert.deepEqual(terminal.access.asked, [
      'run db1 task reset false',
      'run db1 task reset true',
    ]);
    assert.match(terminal.io.errors, /task reset on db1\? \[y\/N\]/);
  });

  it('names the nearest for one that is not there', async () => {
    const bench = withTasks();
    assert.equal(await bench.run('task', 'db1', 'rest'), 3);
    assert.match(bench.io.errors, /db1 has no task "rest"; did you mean "reset"/);
    assert.equal(await bench.run('task', 'db9', 'reset'), 3);
    assert.deepEqual(bench.access.asked, []);
  });
});

describe('reset', () => {
  it('runs the task of that name, and asks where the configuration says so', async () => {
    const bench = new Bench();
    const reset = { ...TASKS[1]!, confirm: false };
    bench.access.details = { tasks: [TASKS[0]!, reset] };
    assert.equal(await bench.run('reset', 'db1'), 0);
    const careful = withTasks();
    assert.equal(await careful.run('reset', 'db1'), 2);
    assert.match(careful.io.errors, /reset db1 must be confirmed: give --yes/);
    assert.equal(await careful.run('reset', 'db1', '--yes'), 0);
    assert.deepEqual(bench.access.asked, ['run db1 task reset false']);
    assert.equal(careful.access.asked.at(-1), 'run db1 task reset true');
  });

  it('says what to write where there is no recipe', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('reset', 'db1'), 2);
    assert.match(
      bench.io.errors,
      /db1 has no reset; write .*"reset: \[dtr=off rts=on, 100ms, rts=off\]"/,
    );
    assert.deepEqual(bench.access.asked, []);
  });
});

describe('power', () => {
  it('prints what the outlet says, made safe', async () => {
    const bench = new Bench();
    bench.access.powerSays = 'outlet 7: \x1b]0;x\x07on\n\n';
    assert.equal(await bench.run('power', 'db1', 'status'), 0);
    assert.equal(bench.io.output, 'outlet 7: on\n');
    assert.equal(await bench.run('power', 'db1', 'ON'), 0);
    assert.deepEqual(bench.access.asked, ['power db1 status false', 'power db1 on false']);
  });

  it('asks before off and cycle', async () => {
    for (const action of ['off', 'cycle'] as const) {
      const bench = new Bench();
      assert.equal(await bench.run('power', 'db1', action), 2);
      assert.match(bench.io.errors, /power \S+ for db1 must be confirmed: give --yes/);
      assert.equal(await bench.run('power', 'db1', action, '--yes'), 0);
      const terminal = new Bench();
      terminal.io.isTerminal = true;
      terminal.io.type('n\r');
      assert.equal(await terminal.run('power', 'db1', action), 2);
      terminal.io.type('y\r');
      assert.equal(await terminal.run('power', 'db1', action), 0);
      for (const { access } of [bench, terminal]) {
        const confirmed = access.asked.filter((asked) => asked === `power db1 ${action} true`);
        assert.equal(confirmed.length, 1);
      }
    }
  });

  it('does not ask for what cannot be done', async () => {
    const bench = new Bench();
    bench.io.isTerminal = true;
    bench.access.faults.set('db1', new Fault('PORT_UNSUPPORTED', 'db1: no power outlet'));
    assert.equal(await bench.run('power', 'db1', 'off'), 5);
    assert.equal(bench.io.errors, 'fairlead: db1: no power outlet\n');
    assert.equal(await bench.run('power', 'db1', 'of'), 2);
    assert.match(bench.io.errors, /did you mean "off"/);
    assert.equal(await bench.run('power', 'db1'), 2);
  });

  it('passes on that it is too soon', async () => {
    const bench = new Bench();
    bench.access.faults.set('db1', new Fault('TOO_SOON', 'again at 12:05'));
    assert.equal(await bench.run('power', 'db1', 'cycle', '--yes'), 5);
    assert.equal(bench.io.errors, 'fairlead: again at 12:05\n');
  });
});

describe('signals', () => {
  it('shows those that are known', async () => {
    const bench = new Bench();
    const signals = { dtr: true, rts: true, cts: false };
    bench.access.details = { line: { line: null, flow: 'none', signals, isBreaking: false } };
    assert.equal(await bench.run('signals', 'db1'), 0);
    assert.equal(await bench.run('signals', 'db1', '--json'), 0);
    assert.equal(bench.io.output, `dtr=on rts=on cts=off\n${JSON.stringify(signals)}\n`);
    const none = new Bench();
    none.access.list = [portStatus('db1', { backend: 'tcp' })];
    assert.equal(await none.run('signals', 'db1'), 5);
    assert.match(none.io.errors, /db1 has no signals: tcp/);
  });

  it('drives ours and refuses the others', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('signals', 'db1', 'dtr=off', 'RTS=1'), 0);
    assert.deepEqual(bench.access.asked, ['signals db1 {"dtr":false,"rts":true}']);
    for (const word of ['cts=on', 'dtr', 'dtr=maybe', 'dtr=on,rts=on']) {
      assert.equal(await bench.run('signals', 'db1', word), 2, word);
    }
    assert.equal(bench.access.asked.length, 1);
  });
});

describe('down and up', () => {
  it('close and open the line', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('down', 'db1'), 0);
    assert.equal(await bench.run('up', 'db1'), 0);
    assert.deepEqual(bench.access.asked, ['hold db1 true', 'hold db1 false']);
    bench.access.fault = new Fault('DENIED', 'bob may not control db1 (right "control")');
    assert.equal(await bench.run('up', 'db1'), 4);
  });
});

describe('complete', () => {
  async function completed(...words: string[]): Promise<string[]> {
    const bench = withTasks();
    bench.access.list = [portStatus('db1', { aliases: ['oracle'] }), portStatus('db2')];
    assert.equal(await bench.run('complete', '--', ...words), 0);
    assert.equal(bench.io.errors, '');
    return bench.io.output.split('\n').filter((line) => line !== '');
  }

  it('knows verbs, ports, tasks, actions, keys and options', async () => {
    assert.deepEqual(await completed('wa'), ['watch']);
    assert.deepEqual(await completed('help', 'att'), ['attach']);
    assert.deepEqual(await completed('attach', ''), ['db1', 'oracle', 'db2']);
    assert.deepEqual(await completed('attach', '--view', 'o'), ['oracle']);
    assert.deepEqual(await completed('watch', 'db1', 'db2'), ['db2']);
    assert.deepEqual(await completed('task', 'db1', ''), ['grub-menu', 'reset']);
    assert.deepEqual(await completed('power', 'db1', 'o'), ['on', 'off']);
    assert.deepEqual(await completed('send', '--sysrq', 'show-m'), ['show-memory']);
    assert.deepEqual(await completed('attach', '--fo'), ['--force']);
    assert.deepEqual(await completed('nonsense', ''), []);
    assert.ok((await completed()).includes('ports'));
  });

  it('comes with a script for bash only', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('completion', 'bash'), 0);
    assert.match(bench.io.output, /fairlead complete -- "\$\{COMP_WORDS\[@\]:1:COMP_CWORD\}"/);
    assert.equal(await bench.run('completion', 'fish'), 2);
  });
});
