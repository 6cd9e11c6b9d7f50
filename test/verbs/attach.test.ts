import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Bench } from './fakes.ts';

async function attached(bench: Bench, ...argv: string[]): Promise<{ done: Promise<number> }> {
  const done = bench.run('attach', 'db1', ...argv);
  await bench.io.when(() => bench.io.hasListener);
  return { done };
}

describe('attach', () => {
  it('is a raw terminal on the port, greeted, until ^Ec.', async () => {
    const bench = new Bench();
    bench.io.isTerminal = true;
    const { done } = await attached(bench);
    const session = bench.access.session!;
    assert.deepEqual(bench.access.asked, ['attach db1 write person']);
    assert.equal(bench.io.isRaw, true);
    await bench.io.when(() => /\[fairlead: db1: you write/.test(bench.io.output));
    session.say(0, 'login: \x1b[6n');
    await bench.io.when(() => bench.io.output.endsWith('login: \x1b[6n'));
    bench.io.type('root\r').type('\x03').type('\x05c.');
    assert.equal(await done, 0);
    assert.equal(session.typed, 'root\r\x03');
    assert.notEqual(session.detachedBecause, null);
    assert.equal(bench.io.hasListener, false);
  });

  it('views, and takes over, when asked', async () => {
    for (const [option, mode] of [
      ['--view', 'view'],
      ['--force', 'force'],
    ] as const) {
      const bench = new Bench();
      const { done } = await attached(bench, option);
      assert.deepEqual(bench.access.asked, [`attach db1 ${mode} person`]);
      bench.io.abort();
      assert.equal(await done, 0);
    }
    assert.equal(await new Bench().run('attach', 'db1', '--view', '--force'), 2);
  });

  it('without a terminal passes bytes as they are, and reads on when the input ended', async () => {
    const bench = new Bench();
    const { done } = await attached(bench);
    const session = bench.access.session!;
    bench.io.type('\x05c.').type('uptime\r').type(null);
    session.say(0, 'up 5 days\r\n');
    await bench.io.when(() => bench.io.output === 'up 5 days\r\n');
    assert.equal(session.typed, '\x05c.uptime\r');
    await bench.io.when(() => session.gaveUpWrite);
    session.emit({ kind: 'ended', why: 'the port was removed' });
    assert.equal(await done, 5);
    assert.equal(bench.io.errors, 'fairlead: the port was removed\n');
  });

  it('ends quietly when the reader left', async () => {
    const bench = new Bench();
    const { done } = await attached(bench);
    bench.io.isBroken = true;
    bench.access.session!.say(0, 'x');
    assert.equal(await done, 0);
    assert.notEqual(bench.access.session!.detachedBecause, null);
  });

  it('passes on why it was refused', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('attach', 'db1', '--from', 'soon'), 2);
    assert.equal(bench.access.session, null);
  });
});
