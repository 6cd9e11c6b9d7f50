import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import type { LogCursor, LogPlace } from '../../src/core/log-reader.ts';
import type { Caller } from '../../src/core/user.ts';
import { FakeLog } from '../log/fake-log.ts';
import { Bench, NOW_US, portStatus } from './fakes.ts';

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

  it('shows a terminal the screen as it stands, a pipe nothing of before', async () => {
    const screen = afterLines();
    screen.io.isTerminal = true;
    await attached(screen);
    await screen.io.when(() => /line 29[^]*line 30/.test(screen.io.output));
    const pipe = afterLines();
    await attached(pipe);
    await goesLive(pipe);
    assert.equal(pipe.io.output, 'live');
    for (const bench of [screen, pipe]) bench.io.abort();
  });

  it('replays so many lines, or none, when asked', async () => {
    const lines = afterLines();
    await attached(lines, '--replay', '2');
    await goesLive(lines);
    assert.match(lines.io.output, /line 29\nline 30\nlive$/);
    assert.doesNotMatch(lines.io.output, /line 27/);
    const live = afterLines();
    live.io.isTerminal = true;
    await attached(live, '--live');
    await goesLive(live);
    assert.doesNotMatch(live.io.output, /line 30/);
    for (const bench of [lines, live]) bench.io.abort();
    for (const argv of [
      ['--replay', '0'],
      ['--replay', 'all'],
      ['--replay', '5', '--live'],
      ['--from', '10m', '--replay', '5'],
    ]) {
      const bench = new Bench();
      assert.equal(await bench.run('attach', 'db1', ...argv), 2, argv.join(' '));
      assert.equal(bench.access.session, null);
    }
  });

  it("has the user's own keys, or none", async () => {
    const own = new Bench({ preferences: { escape: [0x1d, 0x63] } });
    own.io.isTerminal = true;
    const { done } = await attached(own);
    own.io.type('\x05c.').type('\x1dc.');
    assert.equal(await done, 0);
    assert.equal(own.access.session!.typed, '\x05c.');
    const none = new Bench({ preferences: { escape: null } });
    none.io.isTerminal = true;
    await attached(none);
    none.io.type('\x05c.');
    none.io.abort();
    assert.equal(none.access.session!.typed, '\x05c.');
  });

  it("sends the protocol's BREAK, and answers why not", async () => {
    const bench = new Bench();
    const { done } = await attached(bench);
    const session = bench.access.session!;
    await bench.io.sendBreak!(400);
    assert.deepEqual(session.breaks, [400]);
    session.breakFault = new Fault('NOT_WRITER', 'bob writes');
    await assert.rejects(bench.io.sendBreak!(400), { code: 'NOT_WRITER' });
    bench.io.abort();
    await done;
    assert.equal(bench.io.sendBreak, null);
  });

  it("makes keys of the protocol's signals, and leaves at those that end", async () => {
    for (const [name, typed] of [
      ['INT', '\x03'],
      ['QUIT', '\x1c'],
      ['TSTP', '\x1a'],
    ] as const) {
      const bench = new Bench();
      await attached(bench);
      assert.equal(bench.io.sendSignal!(name), true);
      assert.equal(bench.io.sendSignal!('USR1'), false);
      bench.io.abort();
      assert.equal(bench.access.session!.typed, typed);
    }
    for (const name of ['HUP', 'TERM', 'KILL']) {
      const bench = new Bench();
      const { done } = await attached(bench);
      assert.equal(bench.io.sendSignal!(name), true);
      assert.equal(await done, 0);
      assert.notEqual(bench.access.session!.detachedBecause, null);
      assert.equal(bench.io.sendSignal, null);
    }
  });

  it('passes on why it was refused', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('attach', 'db1', '--from', 'soon'), 2);
    assert.equal(bench.access.session, null);
  });
});

describe('attach --wait', () => {
  it('waits for a port that is not there, then for it to come up, and says so once', async () => {
    const bench = new Bench();
    bench.access.list = [portStatus('vm30')];
    const done = bench.run('attach', 'vm3', '--wait');
    await bench.io.when(() => bench.io.errors === 'fairlead: waiting for a port "vm3"\n');
    bench.access.list = [portStatus('vm30'), portStatus('VM3', { state: 'down', why: 'refused' })];
    await bench.io.when(() => bench.io.errors.includes('to come up: refused\n'));
    assert.deepEqual(bench.access.asked, []);
    bench.access.list = [portStatus('vm30'), portStatus('VM3')];
    await bench.access.when(() => bench.access.session !== null);
    assert.deepEqual(bench.access.asked, ['attach VM3 write person']);
    bench.io.abort();
    assert.equal(await done, 0);
    assert.equal(bench.io.errors.split('\n').length, 3);
  });

  it('does not wait for one that is up', async () => {
    const bench = new Bench();
    bench.access.list = [portStatus('db1', { aliases: ['oracle'] })];
    const done = bench.run('attach', 'Oracle', '--wait');
    await bench.access.when(() => bench.access.session !== null);
    assert.deepEqual(bench.access.asked, ['attach db1 write person']);
    assert.equal(bench.io.errors, '');
    bench.io.abort();
    await done;
  });

  it('ends at an interrupt, and on a terminal at ^C', async () => {
    for (const end of [
      (bench: Bench) => bench.io.abort(),
      (bench: Bench) => bench.io.type('x').type('\x03'),
      (bench: Bench) => bench.io.type('\x05').type('c').type('.'),
    ]) {
      const bench = new Bench();
      bench.io.isTerminal = true;
      const done = bench.run('attach', 'vm3', '--wait');
      await bench.io.when(() => bench.io.errors !== '');
      end(bench);
      assert.equal(await done, 0);
      assert.equal(bench.access.session, null);
      assert.equal(bench.io.hasListener, false);
    }
  });

  it('does not wait for what can be no name', async () => {
    for (const name of ['../x', '17', 'a b', 'x'.repeat(65536), '\x1b[2J']) {
      const bench = new Bench();
      assert.equal(await bench.run('attach', '--wait', '--', name), 2, name.slice(0, 20));
      assert.match(bench.io.errors, /can be no port's name/);
      assert.doesNotMatch(bench.io.errors, /\x1b/);
    }
  });
});

const SAID = Array.from({ length: 30 }, (_, index) => `line ${index + 1}\n`);
const SAID_BYTES = SAID.join('').length;

/** The last bytes wanted are more than all there are. */
class ShortLog extends FakeLog {
  override locate(caller: Caller, uuid: string, place: LogPlace): Promise<LogCursor> {
    return super.locate(caller, uuid, place.at === 'last-bytes' ? { at: 'start' } : place);
  }
}

/** A port that said 30 lines before anybody attached. */
function afterLines(): Bench {
  const log = new ShortLog();
  for (const line of SAID) log.rx(NOW_US, line);
  const bench = new Bench({ log });
  bench.access.list = [portStatus('db1', { uuid: log.uuid, offset: SAID_BYTES })];
  return bench;
}

async function goesLive(bench: Bench): Promise<void> {
  (bench.context.log as FakeLog).rx(NOW_US, 'live');
  bench.access.session!.say(SAID_BYTES, 'live');
  await bench.io.when(() => bench.io.output.endsWith('live'));
}
