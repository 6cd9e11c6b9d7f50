import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import type { RecordBody } from '../../src/core/record.ts';
import { EVENT_RECORDS_PER_SECOND } from '../../src/ports/line-events.ts';
import { callerOf, portSettings, registered, World } from './support.ts';

async function statusOf(world: World) {
  const [status] = await world.rack.ports(callerOf('alice'));
  return status!;
}

/** Records but those of the line itself. */
function said(world: World): RecordBody[] {
  return world.spool.bodies().filter(({ kind }) => !['up', 'attached'].includes(kind));
}

describe('a device that floods', () => {
  it('has its BREAKs recorded up to a bound, and all of them counted', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    for (let i = 0; i < 1_000; i++) world.backend.sink.event({ kind: 'break' });
    assert.equal((await statusOf(world)).errors.breaks, 1_000);
    await world.timers.advance(999);
    assert.equal(said(world).length, EVENT_RECORDS_PER_SECOND - 1);
    await world.timers.advance(1);
    const single = { kind: 'break', session: null, durationMs: null };
    const rest = { kind: 'line-error', error: 'break', count: 985, from: 0 };
    assert.deepEqual(said(world), [...new Array<object>(15).fill(single), rest]);
    assert.deepEqual(
      alice.events.filter(({ kind }) => kind === 'line-error'),
      [rest],
    );
    assert.equal(alice.of('break').length, 15);
    await world.timers.advance(60_000);
    assert.equal(said(world).length, EVENT_RECORDS_PER_SECOND, 'nothing more of it');
  });

  it('does not go over the bound however long it floods, and no error is lost', async () => {
    const world = await new World().start();
    for (let ms = 0; ms < 10_000; ms++) {
      world.backend.sink.event({ kind: 'line-error', error: 'framing', count: 1 });
      if (ms % 10 === 0)
        world.backend.sink.event({ kind: 'line-error', error: 'parity', count: 1 });
      if (ms % 100 === 0) world.backend.say('x');
      await world.timers.advance(1);
    }
    await world.timers.advance(1_000);
    for (const [error, count] of [
      ['framing', 10_000],
      ['parity', 1_000],
    ] as const) {
      const records = world.spool.of('line-error').filter((record) => record.error === error);
      assert.equal(
        records.reduce((sum, record) => sum + record.count, 0),
        count,
      );
      assert.ok(records.length <= EVENT_RECORDS_PER_SECOND * 11, `${records.length} records`);
      assert.equal((await statusOf(world)).errors[error], count);
    }
  });

  it('says where errors lie that have no record each, be it only one', async () => {
    const world = await new World().start();
    for (let i = 0; i < EVENT_RECORDS_PER_SECOND; i++) {
      world.backend.say('ab');
      world.backend.sink.event({ kind: 'line-error', error: 'parity', count: 1 });
    }
    world.backend.say('the bad one and more');
    await world.timers.advance(1_000);
    const records = world.spool.of('line-error');
    assert.deepEqual(records[0], { kind: 'line-error', error: 'parity', count: 1 });
    assert.deepEqual(records.at(-1), { kind: 'line-error', error: 'parity', count: 1, from: 32 });
  });

  it('has a few events recorded at once, each', async () => {
    const world = await new World().start();
    for (let second = 0; second < 5; second++) {
      for (let i = 0; i < EVENT_RECORDS_PER_SECOND - 1; i++) {
        world.backend.sink.event({ kind: 'line-error', error: 'overrun', count: 3 });
      }
      assert.equal(said(world).length, (second + 1) * (EVENT_RECORDS_PER_SECOND - 1));
      await world.timers.advance(1_000);
    }
    assert.equal((await statusOf(world)).errors.overrun, 225);
  });

  it('has signals that flap bounded too, and the last state of each exact', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    for (let i = 0; i < 1_000; i++) {
      world.backend.sink.event({ kind: 'signals', signals: { dcd: i % 2 === 0 } });
      if (i === 500) world.backend.sink.event({ kind: 'signals', signals: { ri: true } });
      await world.timers.advance(1);
    }
    await world.timers.advance(1_000);
    const records = world.spool.of('signals');
    assert.ok(records.length <= 2 * EVENT_RECORDS_PER_SECOND, `${records.length} records`);
    const last = Object.assign({}, ...records.map(({ signals }) => signals)) as object;
    assert.deepEqual(last, { dcd: false, ri: true });
    assert.equal(alice.of('signals').length, records.length);
  });

  it('leaves nothing behind that belongs before the end of the line, or of the epoch', async () => {
    const world = await new World().start();
    const flood = (): void => {
      for (let i = 0; i < 100; i++) world.backend.sink.event({ kind: 'break' });
    };
    flood();
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    assert.deepEqual(
      world.spool
        .bodies()
        .slice(-2)
        .map(({ kind }) => kind),
      ['line-error', 'down'],
    );
    await world.timers.advance(300);
    flood();
    const position = { epoch: 8, seq: 0, offset: 0 };
    await world.rack.apply([portSettings('db1')], [registered('db1', { position })]);
    await world.timers.advance(2_000);
    const records = world.spool.records.get('uuid-db1')!;
    assert.equal(records.at(-1)!.epoch, 7, 'counted in the epoch it happened in');
    const counts = world.spool.of('line-error').map(({ count }) => count);
    assert.deepEqual(counts, [85, 85]);
    assert.equal((await statusOf(world)).errors.breaks, 200);
  });

  it('disturbs no other port', async () => {
    const world = await new World().start([portSettings('db1'), portSettings('db2')]);
    for (let i = 0; i < 10_000; i++) world.backend.sink.event({ kind: 'break' });
    world.openers.get('db2')!.backend.say('fine');
    await world.timers.advance(1_000);
    assert.deepEqual(
      world.spool.bodies('uuid-db2').map(({ kind }) => kind),
      ['up', 'rx'],
    );
  });
});
