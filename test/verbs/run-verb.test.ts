import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import { verbsMarkdown } from '../../src/verbs/help.ts';
import { VERBS } from '../../src/verbs/index.ts';
import { findGlobalOptions, planVerb } from '../../src/verbs/run-verb.ts';
import { Bench, SSH_CALLER } from './fakes.ts';

describe('the table of verbs', () => {
  it('is what docs/verbs.md says', () => {
    let root = import.meta.dirname;
    while (!existsSync(join(root, 'package.json'))) root = dirname(root);
    const page = readFileSync(join(root, 'docs/verbs.md'), 'utf8');
    assert.equal(page, verbsMarkdown(VERBS), 'make it anew: fairlead help --markdown');
  });

  it('has a summary, a way to call it and an example for each', () => {
    for (const verb of VERBS) {
      assert.match(verb.summary, /^[a-z].*[^.]$/);
      assert.ok(verb.examples.length > 0, verb.name);
      for (const { command } of verb.examples) {
        assert.ok(command.includes(verb.name), `${verb.name}: ${command}`);
      }
    }
    const names = VERBS.map((verb) => verb.name);
    assert.equal(new Set(names).size, names.length);
  });

  it('knows every verb of this version', () => {
    const expected = [
      'serve demo check discover doctor reload user verify complete completion ports menu',
      'attach watch log replay',
      'send task reset power line signals down up mark who kick message',
    ];
    assert.deepEqual(VERBS.map((verb) => verb.name).sort(), expected.join(' ').split(' ').sort());
  });
});

describe('running a verb', () => {
  it('names the nearest verb for one it does not know', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('prots'), 2);
    assert.equal(bench.io.errors, 'fairlead: there is no verb "prots"; did you mean "ports"?\n');
    const far = new Bench();
    assert.equal(await far.run('xyzzy'), 2);
    assert.match(far.io.errors, /fairlead help/);
  });

  it('names the nearest option, and how the verb is used', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('log', 'db1', '--folow'), 2);
    assert.equal(
      bench.io.errors,
      "fairlead: log: unknown option '--folow'; did you mean --follow? (usage: fairlead log PORT)\n",
    );
    assert.equal(bench.io.output, '');
  });

  it('refuses a missing, and one too many', async () => {
    const missing = new Bench();
    assert.equal(await missing.run('log'), 2);
    assert.match(missing.io.errors, /^fairlead: log: missing required argument 'port' .*PORT\)\n$/);
    const more = new Bench();
    assert.equal(await more.run('kick', '1', '2'), 2);
    assert.match(more.io.errors, /too many arguments/);
  });

  it('shows help for all, for one, and behind one, also over SSH', async () => {
    for (const argv of [['help'], ['--help'], ['-h']]) {
      const bench = new Bench();
      assert.equal(await bench.run(...argv), 0);
      for (const { name, summary } of VERBS) {
        assert.ok(bench.io.output.includes(name) && bench.io.output.includes(summary));
      }
    }
    for (const argv of [
      ['help', 'log'],
      ['log', '--help'],
      ['log', 'db1', '-h'],
    ]) {
      const bench = new Bench({ caller: SSH_CALLER, local: null });
      assert.equal(await bench.run(...argv), 0);
      assert.match(bench.io.output, /^Usage: fairlead log PORT\n/);
      assert.match(bench.io.output, /--until <time> .*\n(.*\n)*\nExamples:\n/);
      assert.doesNotMatch(bench.io.output, /--config/);
      assert.equal(bench.io.errors, '');
    }
    const local = new Bench();
    await local.run('help', 'log');
    assert.match(local.io.output, /--config <file>/);
    const none = new Bench();
    assert.equal(await none.run(), 2);
    assert.match(none.io.output, /^Usage/);
  });

  it('keeps what changes the daemon or names its files out of SSH', async () => {
    for (const verb of VERBS.filter(({ where }) => where === 'local')) {
      const bench = new Bench({ caller: SSH_CALLER, local: null });
      assert.equal(await bench.run(verb.name), 4, verb.name);
      assert.match(bench.io.errors, /local shell of the server only/);
    }
    const bench = new Bench({ caller: SSH_CALLER, local: null });
    await bench.run('help');
    assert.doesNotMatch(bench.io.output, /reload/);
  });

  it('makes a fault one line on stderr and its exit code', async () => {
    const codes = { PORT_UNKNOWN: 3, DENIED: 4, PORT_DOWN: 5, TIME_INVALID: 2 } as const;
    for (const [code, exit] of Object.entries(codes)) {
      const bench = new Bench();
      bench.access.fault = new Fault(code as keyof typeof codes, 'not \x1b[6nso');
      assert.equal(await bench.run('kick', '1'), exit);
      assert.equal(bench.io.errors, 'fairlead: not so\n');
      assert.deepEqual(bench.journalled, []);
    }
  });

  it('puts its name in front of each line of a long fault', async () => {
    const bench = new Bench();
    bench.local.fault = new Fault('CONFIG_INVALID', 'a.yaml:1:1: no\na.yaml:2:1: no');
    assert.equal(await bench.run('check'), 2);
    assert.equal(bench.io.errors, 'fairlead: a.yaml:1:1: no\nfairlead: a.yaml:2:1: no\n');
  });

  it('journals what is no fault', async () => {
    const bench = new Bench();
    bench.access.who = () => Promise.reject(new TypeError('a bug'));
    assert.equal(await bench.run('who'), 1);
    assert.deepEqual(bench.journalled, ['verb failed']);
  });

  it('ends quietly when the reader left', async () => {
    const bench = new Bench();
    bench.io.isBroken = true;
    bench.log.rx(1, 'text\n');
    assert.equal(await bench.run('log', 'db1'), 0);
    assert.equal(bench.io.errors, '');
    assert.deepEqual(bench.journalled, []);
  });

  it('says that there is no daemon where one is needed', async () => {
    for (const argv of [
      ['who'],
      ['kick', '1'],
      ['send', 'db1', 'x'],
      ['attach', 'db1'],
      ['attach', 'db1', '--wait'],
      ['watch', '*'],
      ['menu'],
      ['task', 'db1'],
      ['power', 'db1', 'off', '--yes'],
      ['signals', 'db1'],
      ['down', 'db1'],
      ['up', 'db1'],
      ['mark', 'db1', 'x'],
    ]) {
      const bench = new Bench({ access: null });
      assert.equal(await bench.run(...argv), 5, argv[0]);
      assert.match(bench.io.errors, /fairlead serve/);
    }
  });

  it('takes --config and --data before and behind the verb', async () => {
    for (const argv of [
      ['--config', 'a.yaml', '--data=/d', 'check', '--assign'],
      ['check', '--data', '/d', '--assign', '--config=a.yaml'],
    ]) {
      const bench = new Bench();
      assert.equal(await bench.run(...argv), 0);
      assert.deepEqual(bench.local.asked, [
        ['check', { config: 'a.yaml', data: '/d', assign: true }],
      ]);
      assert.deepEqual(findGlobalOptions(argv), { config: 'a.yaml', data: '/d' });
    }
    for (const argv of [
      ['send', 'db1', '--', '--data', 'x'],
      ['send', 'db1', 'restore', '--data', 'x'],
      ['send', '--file', 'f', 'db1', 'restore', '--data', 'x'],
    ]) {
      assert.deepEqual(findGlobalOptions(argv), { config: null, data: null }, argv.join(' '));
    }
    assert.deepEqual(findGlobalOptions(['send', 'db1', '--data', 'd', 'x', '--data', 'e']), {
      config: null,
      data: 'd',
    });
  });

  it('plans where the local shell runs it', () => {
    const here = { place: 'here', inputFile: null };
    const daemon = { place: 'daemon', inputFile: null };
    for (const verb of ['serve', 'demo', 'check', 'verify', 'help', 'nonsense']) {
      assert.deepEqual(planVerb([verb]), here, verb);
    }
    assert.deepEqual(planVerb([]), here);
    assert.deepEqual(planVerb(['--data', '/d', 'log', 'db1']), daemon);
    assert.deepEqual(planVerb(['reload']), daemon);
    assert.deepEqual(planVerb(['user', 'list']), daemon);
    assert.deepEqual(planVerb(['send', 'db1', '--file', 'a.txt']), {
      place: 'daemon',
      inputFile: 'a.txt',
    });
    assert.deepEqual(planVerb(['send', '--nonsense']), daemon);
    assert.deepEqual(planVerb(['send', 'db1', 'grep', '--file', 'a.txt']), daemon);
    for (const verb of ['menu', 'complete', 'task']) assert.deepEqual(planVerb([verb]), daemon);
    assert.deepEqual(planVerb(['completion', 'bash']), here);
  });
});

describe('the verbs of the daemon', () => {
  it('pass on what they were told', async () => {
    const bench = new Bench();
    await bench.run('serve', '--config', 'a.yaml', '--ports');
    await bench.run('demo', '--speed', '10');
    assert.deepEqual(bench.local.asked, [
      ['serve', { config: 'a.yaml', data: null, ports: true }],
      ['demo', { config: null, data: null, speed: 10 }],
    ]);
    assert.equal(await bench.run('demo', '--speed', 'fast'), 2);
  });

  it('verify: 0 when clean, 1 when not', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('verify'), 0);
    assert.equal(bench.io.output, 'db1: 1 gap\n');
    bench.local.isClean = false;
    assert.equal(await bench.run('verify'), 1);
  });

  it('reload: by the daemon with what changed, else by a signal', async () => {
    const inDaemon = new Bench({
      daemon: { reload: async () => ['port db1: line 9600 8N1'] },
      local: null,
    });
    assert.equal(await inDaemon.run('reload'), 0);
    assert.equal(inDaemon.io.output, 'port db1: line 9600 8N1\n');
    const signalled = new Bench();
    assert.equal(await signalled.run('reload', '--data', '/d'), 0);
    assert.deepEqual(signalled.local.asked, [['signalReload', { config: null, data: '/d' }]]);
    assert.equal(await new Bench({ local: null }).run('reload'), 5);
  });
});
