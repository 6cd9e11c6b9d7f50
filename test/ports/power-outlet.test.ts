import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { POWER_INTERVAL_MS } from '../../src/core/attach.ts';
import type { PowerSettings } from '../../src/core/settings.ts';
import { World, callerOf, portSettings, settle } from './support.ts';

const alice = callerOf('alice');
const power: PowerSettings = {
  on: ['pdu', 'on', '7'],
  off: ['pdu', 'off', '7'],
  cycle: ['pdu', 'cycle', '7'],
  status: ['pdu', 'status', '7'],
};

const worldOf = (settings: PowerSettings | null = power): Promise<World> =>
  new World().start([portSettings('db1', { power: settings })]);

describe('a power outlet', () => {
  it('runs its command once it is confirmed, and tells everybody', async () => {
    const world = await worldOf();
    const bob = await world.attach('bob');
    world.runCommand = async () => ({ status: 0, output: 'outlet 7: cycled\n' });
    const unconfirmed = world.rack.power(alice, 'db1', 'cycle', false);
    await assert.rejects(unconfirmed, { code: 'CONFIRM', message: /power cycle .*db1.*--yes/ });
    assert.deepEqual(world.commands, []);
    assert.equal(await world.rack.power(alice, 'db1', 'cycle', true), 'outlet 7: cycled\n');
    assert.deepEqual(world.commands, [['pdu', 'cycle', '7']]);
    const text = 'power cycle by alice: done';
    assert.deepEqual(bob.of('message'), [{ kind: 'message', from: 'fairlead', text }]);
    assert.deepEqual(world.spool.of('mark'), [{ kind: 'mark', text }]);
    assert.deepEqual(
      world.audit
        .filter(({ action }) => action === 'power')
        .map(({ user, detail }) => [user, detail]),
      [['alice', 'cycle']],
    );
  });

  it('cuts power at most once in five minutes, whoever asks; a failure does not count', async () => {
    const world = await worldOf();
    world.runCommand = async () => ({ status: 1, output: 'no answer' });
    await assert.rejects(world.rack.power(alice, 'db1', 'off', true), { code: 'POWER_FAILED' });
    world.runCommand = async () => ({ status: 0, output: '' });
    await world.rack.power(alice, 'db1', 'off', true);
    await world.timers.advance(10_000);
    await assert.rejects(world.rack.power(callerOf('bob'), 'db1', 'cycle', true), {
      code: 'TOO_SOON',
      message: 'power of db1 was cut 10 s ago; it may be again in 290 s',
    });
    await world.timers.advance(POWER_INTERVAL_MS - 10_001);
    await assert.rejects(world.rack.power(alice, 'db1', 'off', false), {
      code: 'TOO_SOON', // and not CONFIRM: nobody is to be asked in vain
    });
    for (const action of ['on', 'status', 'on'] as const) {
      await world.rack.power(alice, 'db1', action, false);
    }
    await world.timers.advance(1);
    await world.rack.power(alice, 'db1', 'off', true);
    assert.equal(world.commands.length, 6);
  });

  it('runs one command at a time', async () => {
    const world = await worldOf();
    let finish!: () => void;
    const finished = new Promise<void>((resolve) => (finish = resolve));
    world.runCommand = () => finished.then(() => ({ status: 0, output: '' }));
    const first = world.rack.power(alice, 'db1', 'on', false);
    await settle();
    await assert.rejects(world.rack.power(alice, 'db1', 'status', false), { code: 'TOO_SOON' });
    finish();
    await first;
    await world.rack.power(alice, 'db1', 'status', false);
  });

  it('says what the command said when it fails, within bounds', async () => {
    const world = await worldOf();
    const bob = await world.attach('bob');
    world.runCommand = async () => ({ status: 2, output: `outlet 7 ${'x'.repeat(100_000)}` });
    await assert.rejects(world.rack.power(alice, 'db1', 'on', false), (error: Error) => {
      assert.match(error.message, /power on of db1 failed: pdu ended with status 2: outlet 7 x/);
      assert.ok(error.message.length < 4_300);
      return true;
    });
    world.runCommand = async () => ({ status: null, output: '' });
    await assert.rejects(world.rack.power(alice, 'db1', 'on', false), {
      code: 'POWER_FAILED',
      message: 'power on of db1 failed: pdu was ended',
    });
    world.runCommand = () => Promise.reject(new Error('spawn pdu ENOENT'));
    await assert.rejects(world.rack.power(alice, 'db1', 'on', false), {
      code: 'POWER_FAILED',
      message: 'power on of db1 failed: spawn pdu ENOENT',
    });
    assert.equal(bob.of('message').length, 3);
    assert.ok(world.spool.of('mark').every(({ text }) => text.length < 1_100));
  });

  it('bounds what the command said when it works', async () => {
    const world = await worldOf();
    world.runCommand = async () => ({ status: 0, output: 'x'.repeat(100_000) });
    assert.equal((await world.rack.power(alice, 'db1', 'status', false)).length, 4_096);
    assert.deepEqual(world.spool.of('mark'), [], 'asking leaves no trace in the log');
    assert.deepEqual(
      world.audit.map(({ action }) => action),
      ['power'],
    );
  });

  it('does only what is configured, and says what that is', async () => {
    const world = await worldOf({ ...power, off: null, cycle: null });
    assert.deepEqual((await world.rack.inspect(alice, 'db1')).power, ['on', 'status']);
    await assert.rejects(world.rack.power(alice, 'db1', 'cycle', true), {
      code: 'PORT_UNSUPPORTED',
      message: 'db1: its power outlet can only on, status',
    });
    const odd = world.rack.power(alice, 'db1', 'toString' as 'on', true);
    await assert.rejects(odd, { code: 'PORT_UNSUPPORTED' });
    const none = await worldOf(null);
    await assert.rejects(none.rack.power(alice, 'db1', 'status', true), {
      code: 'PORT_UNSUPPORTED',
      message: 'db1: no power outlet is configured',
    });
  });

  it('needs `control`, and `view` for the status', async () => {
    const world = await worldOf();
    world.authorizer.deny('eve', 'control');
    world.authorizer.deny('mallory', 'view');
    await assert.rejects(world.rack.power(callerOf('eve'), 'db1', 'on', true), { code: 'DENIED' });
    await world.rack.power(callerOf('eve'), 'db1', 'status', false);
    const asking = world.rack.power(callerOf('mallory'), 'db1', 'status', false);
    await assert.rejects(asking, { code: 'DENIED' });
  });
});
