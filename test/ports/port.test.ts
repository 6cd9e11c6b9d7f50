import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { INPUT_CREDIT_BYTES, STUCK_OUTPUT_MS } from '../../src/core/attach.ts';
import { Fault } from '../../src/core/fault.ts';
import { World, callerOf, portSettings, registered, settle } from './support.ts';

describe('a port and its device', () => {
  it('numbers every record, reads and lone bytes alike', async () => {
    const world = await new World().start();
    world.backend.say('boot');
    world.backend.sink.rx(new Uint8Array(20_000));
    world.backend.sink.event({ kind: 'break' });
    world.backend.say('\n');
    assert.deepEqual(
      world.spool.bodies().map(({ kind }) => kind),
      ['up', 'rx', 'rx', 'rx', 'rx', 'break', 'rx'],
    );
    const [status] = await world.rack.ports(callerOf('alice'));
    assert.equal(status!.offset, 20_005);
    assert.equal(status!.state, 'up');
    await settle();
    assert.ok(world.spool.published > 0);
  });

  it('defers what a backend reports from within its own read', async () => {
    const world = await new World().start();
    world.backend.sink.rxInto((memory, start) => {
      world.backend.sink.event({ kind: 'line-error', error: 'framing', count: 1 });
      memory[start] = 65;
      return 1;
    });
    world.backend.sink.rxInto(() => {
      world.backend.sink.gone(new Fault('PORT_GONE', 'hung up'));
      return -1;
    });
    const kinds = world.spool.bodies().map(({ kind }) => kind);
    assert.deepEqual(kinds, ['up', 'rx', 'line-error', 'down']);
  });

  it('is down with the cause, and comes back with growing pauses', async () => {
    const world = new World();
    const opener = world.makeOpener(portSettings('db1'));
    opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    await world.start();
    const [status] = await world.rack.ports(callerOf('alice'));
    assert.equal(status!.state, 'down');
    assert.equal(status!.why, 'no such device');
    await world.timers.advance(60_000);
    assert.ok(opener.attempts > 12 && opener.attempts < 25, `${opener.attempts} attempts`);
    assert.equal(world.spool.of('down').length, 1, 'said once');
    opener.failure = null;
    await world.timers.advance(6_100);
    assert.equal(world.spool.of('up').length, 1);
  });

  it('opens at once when the device returns, and when asked to', async () => {
    const world = await new World().start();
    await world.timers.advance(10_000);
    world.opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await world.timers.advance(30_000);
    const { attempts } = world.opener;
    world.opener.failure = null;
    world.opener.returned!();
    world.opener.returned!();
    await world.timers.advance(60);
    assert.equal(world.opener.attempts, attempts + 1);
    assert.equal(world.opener.returned, null, 'watches only while down');
    assert.equal(world.spool.of('up').length, 2);
    world.opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await world.timers.advance(30_000);
    world.opener.failure = null;
    world.rack.retryNow();
    await world.timers.advance(60);
    assert.equal(world.spool.of('up').length, 3);
  });

  it('sees by probing that a device left, and hears no more of it', async () => {
    const world = await new World().start();
    const first = world.backend;
    first.alive = false;
    await world.timers.advance(2_300);
    assert.ok(first.isClosed);
    assert.notEqual(world.backend, first);
    first.say('ghost');
    first.sink.gone(new Fault('PORT_GONE', 'again'));
    assert.equal(world.spool.of('rx').length, 0);
    assert.equal(world.spool.of('down').length, 1);
  });

  it('waits for a slow open, shows it as down, and never opens twice', async () => {
    const world = new World();
    const opener = world.makeOpener(portSettings('db1'));
    let open!: () => void;
    opener.openGate = new Promise((resolve) => (open = resolve));
    const started = world.start();
    await world.timers.advance(1_100);
    await started;
    assert.equal((await world.rack.ports(callerOf('alice')))[0]!.state, 'opening');
    await world.timers.advance(20_000);
    assert.equal((await world.rack.ports(callerOf('alice')))[0]!.state, 'down');
    world.rack.retryNow();
    await world.timers.advance(1_000);
    assert.equal(opener.attempts, 1);
    open();
    await settle();
    assert.equal((await world.rack.ports(callerOf('alice')))[0]!.state, 'up');
  });

  it('tells sessions of down and up, and keeps them', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.say('a');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await world.timers.advance(300);
    world.backend.say('b');
    assert.deepEqual(
      alice.events.map(({ kind }) => kind),
      ['frame', 'down', 'up', 'frame'],
    );
    assert.equal(alice.text, 'ab');
  });

  it('reads at once only while somebody watches', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    alice.session.detach('left');
    assert.deepEqual(world.backend.watched, [false, true]);
    bob.session.detach('left');
    assert.deepEqual(world.backend.watched, [false, true, false]);
  });

  it('closes its sessions and its device when it stops', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    await world.rack.stop();
    assert.ok(world.backend.isClosed);
    assert.equal(alice.of('ended').length, 1);
    assert.deepEqual(
      world.spool.bodies().map(({ kind }) => kind),
      ['up', 'attached', 'detached', 'down'],
    );
  });
});

describe('sessions of a port', () => {
  it('get every byte from where they attached', async () => {
    const world = await new World().start();
    world.backend.say('before');
    const alice = await world.attach('alice');
    assert.equal(alice.session.attached.offset, 6);
    world.backend.say('after');
    assert.deepEqual(alice.of('frame')[0], {
      kind: 'frame',
      epoch: 7,
      offset: 6,
      atUs: world.timers.nowMs() * 1_000,
      bytes: new Uint8Array(Buffer.from('after')),
    });
  });

  it('skip, when people cannot keep up, and are told when they can again', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice', { creditBytes: 8_192 });
    const bob = await world.attach('bob');
    for (let i = 0; i < 4; i++) world.backend.say('x'.repeat(4_000));
    assert.equal(alice.text.length, 8_000);
    alice.session.credit(2_000);
    assert.equal(alice.of('skipped').length, 0, 'not before half of the credit is back');
    alice.session.credit(6_000);
    assert.deepEqual(alice.of('skipped'), [{ kind: 'skipped', epoch: 7, from: 8_000, to: 16_000 }]);
    world.backend.say('live');
    assert.ok(alice.text.endsWith('live'));
    assert.equal(bob.text.length, 16_004);
    assert.equal(bob.of('skipped').length, 0);
  });

  it('are ended with a record when a program does not read', async () => {
    const world = await new World().start();
    const lab = await world.attach('lab', { delivery: 'program', creditBytes: 10_000 });
    const bob = await world.attach('bob');
    for (let i = 0; i < 3; i++) world.backend.say('y'.repeat(4_000));
    assert.equal(lab.text.length, 8_000);
    assert.match(lab.of('ended')[0]!.why, /TOO_SLOW/);
    assert.match(world.spool.of('detached')[0]!.why, /TOO_SLOW/);
    assert.ok(
      world.journal.lines.some(({ level, message }) => level === 'warn' && /slow/.test(message)),
    );
    assert.equal(bob.session.attached.mode, 'view');
    assert.deepEqual(bob.of('writer')[0], { kind: 'writer', writer: 'bob', you: true, by: null });
    assert.equal(bob.text.length, 12_000);
  });

  it('do not notice one among 50 that stalls', async () => {
    const world = await new World().start();
    const stalled = await world.attach('stalled', { mode: 'view', creditBytes: 8_192 });
    const others = [];
    for (let i = 0; i < 49; i++) others.push(await world.attach(`u${i}`, { mode: 'view' }));
    let said = '';
    for (let i = 0; i < 500; i++) {
      const line = `line ${i}\r\n`.repeat(100);
      said += line;
      world.backend.say(line);
      for (const { session } of others) session.credit(line.length);
    }
    for (const other of others) assert.equal(other.text, said);
    assert.ok(stalled.text.length <= 8_192);
  });

  it('get bytes in the same order when one answers from within its frame', async () => {
    const world = await new World().start();
    world.backend.echo = (bytes) => world.backend.sink.rx(bytes);
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    let hasAnswered = false;
    alice.onEvent = (event) => {
      alice.events.push(event);
      if (event.kind !== 'frame' || hasAnswered) return;
      hasAnswered = true;
      alice.type('echo');
    };
    world.backend.say('login: ');
    assert.equal(alice.text, 'login: echo');
    assert.equal(bob.text, 'login: echo');
  });

  it('write in turn: first come, first served', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    const carol = await world.attach('carol');
    assert.equal(alice.session.attached.mode, 'write');
    assert.equal(carol.session.attached.mode, 'view');
    assert.equal(carol.session.attached.writer, 'alice');
    bob.type('no');
    assert.match(bob.of('refused')[0]!.why, /alice writes/);
    assert.deepEqual(bob.of('acknowledged'), [{ kind: 'acknowledged', seq: 1, bytes: 2 }]);
    alice.session.detach('left');
    assert.deepEqual(bob.of('writer'), [{ kind: 'writer', writer: 'bob', you: true, by: null }]);
    assert.deepEqual(carol.of('writer'), [{ kind: 'writer', writer: 'bob', you: false, by: null }]);
    bob.type('yes');
    assert.equal(world.backend.writtenText, 'yes');
    bob.session.detach('left');
    assert.equal(carol.of('writer')[1]!.you, true);
  });

  it('take write over, and the loser gets it back first', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    const carol = await world.attach('carol', { mode: 'force' });
    assert.equal(carol.session.attached.mode, 'write');
    assert.deepEqual(alice.of('writer'), [
      { kind: 'writer', writer: 'carol', you: false, by: 'carol' },
    ]);
    await bob.session.takeOver();
    assert.deepEqual(carol.of('writer'), [
      { kind: 'writer', writer: 'bob', you: false, by: 'bob' },
    ]);
    bob.session.detach('left');
    assert.equal(carol.of('writer')[1]!.you, true);
    await carol.session.view();
    assert.equal(alice.of('writer').at(-1)!.you, true);
    assert.deepEqual(
      world.spool.of('took-over').map(({ session, from }) => [session, from]),
      [
        [3, 1],
        [2, 3],
        [3, 2],
        [1, 3],
      ],
    );
    assert.deepEqual(
      world.audit.map(({ user, action }) => `${user} ${action}`),
      ['alice attach', 'bob attach', 'carol take over', 'bob take over'],
    );
  });

  it('share write where the port says so', async () => {
    const world = await new World().start([portSettings('db1', { writers: 'many' })]);
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    assert.equal(bob.session.attached.mode, 'write');
    assert.equal(bob.session.attached.writer, 'alice, bob');
    alice.type('a');
    bob.type('b');
    assert.equal(world.backend.writtenText, 'ab');
    await world.rack.apply([portSettings('db1')], [registered('db1')]);
    assert.equal(bob.of('writer').at(-1)!.you, false);
  });

  it('stay away, if they want it so, while somebody writes', async () => {
    const world = await new World().start();
    const alone = await world.attach('lab', { mode: 'write-or-leave' });
    assert.equal(alone.session.attached.mode, 'write');
    alone.session.detach('left');
    await world.attach('carol', { mode: 'view' });
    const alice = await world.attach('alice');
    await assert.rejects(world.attach('lab', { mode: 'write-or-leave' }), {
      code: 'PORT_BUSY',
      message: 'alice writes on db1',
    });
    assert.equal((await world.rack.who(callerOf('alice'))).length, 2);
    alice.session.detach('left');
    assert.equal((await world.attach('lab', { mode: 'write-or-leave' })).of('writer').length, 0);
    const many = await new World().start([portSettings('db1', { writers: 'many' })]);
    await many.attach('alice');
    const second = await many.attach('lab', { mode: 'write-or-leave' });
    assert.equal(second.session.attached.mode, 'write');
  });

  it('become those of programs, which do not skip', async () => {
    const world = await new World().start();
    const lab = await world.attach('lab', { creditBytes: 10_000 });
    world.backend.say('x'.repeat(4_000));
    lab.session.becomeProgram();
    world.backend.say('x'.repeat(4_000));
    assert.equal(lab.text.length, 8_000);
    world.backend.say('x'.repeat(4_000));
    assert.match(lab.of('ended')[0]!.why, /TOO_SLOW/);
  });

  it('are told what people are to be told, and how long they may be idle', async () => {
    const motd = 'maintenance on Friday\nask bob';
    const world = await new World().start([portSettings('db1', { motd, idleTimeoutMs: 900_000 })]);
    const { attached } = (await world.attach('alice')).session;
    assert.equal(attached.motd, motd);
    assert.equal(attached.idleTimeoutMs, 900_000);
    assert.equal((await world.rack.inspect(callerOf('alice'), 'db1')).motd, motd);
  });

  it('view without the right to write, and nothing without the right to view', async () => {
    const world = await new World().start();
    world.authorizer.deny('eve', 'write', 'break', 'control');
    world.authorizer.deny('mallory', 'view');
    const eve = await world.attach('eve');
    assert.equal(eve.session.attached.mode, 'view');
    eve.type('x');
    assert.match(eve.of('refused')[0]!.why, /eve may not write/);
    await assert.rejects(eve.session.takeOver(), { code: 'DENIED' });
    await assert.rejects(eve.session.sendBreak(300), { code: 'DENIED' });
    await assert.rejects(world.attach('eve', { mode: 'force' }), { code: 'DENIED' });
    await assert.rejects(world.attach('mallory'), { code: 'DENIED' });
    assert.deepEqual(await world.rack.ports(callerOf('mallory')), []);
    assert.deepEqual(await world.rack.who(callerOf('mallory')), []);
  });

  it('lose what their user may no longer do', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    world.authorizer.deny('alice', 'write');
    world.rack.recheckRights();
    assert.equal(alice.of('writer')[0]!.you, false);
    assert.equal(bob.of('writer')[0]!.you, true);
    world.authorizer.deny('bob', 'view');
    world.rack.recheckRights();
    assert.match(bob.of('ended')[0]!.why, /no longer/);
    assert.equal(alice.of('writer').at(-1)!.writer, null);
  });

  it('are counted anew when the store begins an epoch', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.say('old');
    const position = { epoch: 9, seq: 0, offset: 0 };
    await world.rack.apply([portSettings('db1')], [registered('db1', { position })]);
    world.backend.say('new');
    assert.deepEqual(
      alice.events.map((event) => [event.kind, 'offset' in event ? event.offset : null]),
      [
        ['frame', 0],
        ['epoch', 0],
        ['frame', 0],
      ],
    );
  });
});

describe('input of a port', () => {
  it('arrives once and in order, acknowledged when the device took it', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.roomBytes = 3;
    alice.type('hello');
    alice.session.input(1, new Uint8Array(Buffer.from('again')));
    alice.type(' world');
    assert.equal(alice.of('acknowledged').length, 0);
    world.backend.giveRoom(4);
    assert.deepEqual(alice.of('acknowledged'), [{ kind: 'acknowledged', seq: 1, bytes: 5 }]);
    world.backend.giveRoom(100);
    assert.equal(world.backend.writtenText, 'hello world');
    assert.deepEqual(
      world.spool.of('tx').map(({ session, count }) => [session, count]),
      [
        [1, 5],
        [1, 6],
      ],
    );
  });

  it('waits for a slow device for ever, but for a stuck one only 5 s', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.roomBytes = 0;
    alice.type('x'.repeat(1_000));
    for (let i = 0; i < 10; i++) {
      await world.timers.advance(STUCK_OUTPUT_MS - 1);
      world.backend.giveRoom(1);
    }
    assert.equal(alice.of('refused').length, 0);
    await world.timers.advance(STUCK_OUTPUT_MS);
    assert.match(alice.of('refused')[0]!.why, /taken nothing for 5 s/);
    assert.equal(alice.of('acknowledged')[0]!.bytes, 1_000);
    assert.match(world.spool.of('mark')[0]!.text, /took 10 of 1000 bytes/);
    alice.type('y');
    assert.equal(alice.of('refused').length, 2, 'at once while it is stuck');
    world.backend.roomBytes = 10;
    alice.type('z');
    assert.equal(world.backend.writtenText, 'x'.repeat(10) + 'z');
    assert.equal(world.spool.of('tx').length, 2, 'what was never taken is not logged');
    await assert.doesNotReject(world.rack.send(callerOf('alice'), 'db1', Buffer.from('ok')));
  });

  it('is refused with the cause while the port is down, and when it goes down', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.roomBytes = 0;
    alice.type('queued');
    const sent = world.rack.send(callerOf('alice'), 'db1', Buffer.from('sent'));
    sent.catch(() => undefined);
    world.opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    alice.type('late');
    assert.deepEqual(
      alice.of('refused').map(({ why }) => why),
      ['db1 is down: unplugged', 'db1 is down: unplugged'],
    );
    assert.deepEqual(
      alice.of('acknowledged').map(({ seq }) => seq),
      [1, 2],
    );
    await assert.rejects(sent, { code: 'PORT_DOWN' });
    await assert.rejects(alice.session.sendBreak(300), { code: 'PORT_DOWN' });
  });

  it('of the loser is dropped by a take-over, and the loser told', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.roomBytes = 2;
    alice.type('runaway paste');
    const bob = await world.attach('bob', { mode: 'force' });
    bob.type('stop');
    world.backend.giveRoom(100);
    assert.equal(world.backend.writtenText, 'rustop');
    assert.match(alice.of('refused')[0]!.why, /bob took over/);
  });

  it('still goes out when its session has left', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.roomBytes = 0;
    alice.type('reboot\r');
    alice.session.detach('left');
    world.backend.giveRoom(100);
    assert.equal(world.backend.writtenText, 'reboot\r');
  });

  it('is bounded by the credit', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    assert.equal(alice.session.attached.inputCreditBytes, INPUT_CREDIT_BYTES);
    world.backend.roomBytes = 0;
    alice.type('x'.repeat(INPUT_CREDIT_BYTES));
    alice.type('y');
    assert.match(alice.of('refused')[0]!.why, /more input/);
  });

  it('is one-shot by `send`, unless another user writes', async () => {
    const world = await new World().start();
    await world.rack.send(callerOf('alice'), 'db1', Buffer.from('uptime\r'));
    assert.equal(world.backend.writtenText, 'uptime\r');
    assert.deepEqual(
      world.spool.bodies().map(({ kind }) => kind),
      ['up', 'attached', 'tx', 'detached'],
    );
    await world.attach('bob');
    await assert.rejects(world.rack.send(callerOf('alice'), 'db1', Buffer.from('x')), {
      code: 'NOT_WRITER',
    });
    assert.equal((await world.rack.who(callerOf('alice')))[0]!.session, 2);
  });

  it('is logged as the port says', async () => {
    for (const input of ['masked', 'full', 'none'] as const) {
      const world = await new World().start([portSettings('db1', { input })]);
      world.backend.echo = (bytes) => world.backend.say(bytes);
      const alice = await world.attach('alice');
      alice.type('id\r');
      world.backend.echo = null;
      alice.type('hunter2\r');
      world.backend.say('\r\nLogin incorrect\r\n');
      await world.timers.advance(5_000);
      const tx = world.spool.of('tx').map(({ bytes }) => Buffer.from(bytes).toString());
      assert.deepEqual(tx, input === 'full' ? ['id\r', 'hunter2\r'] : ['', '']);
      const text = world.spool.of('tx-text').map(({ bytes }) => Buffer.from(bytes).toString());
      assert.deepEqual(text, input === 'masked' ? ['id\r'] : []);
      assert.deepEqual(
        world.spool.of('tx').map(({ count }) => count),
        [3, 8],
      );
    }
  });

  it('sends BREAK, and line settings that differ until the port opens anew', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    await alice.session.sendBreak(300);
    assert.deepEqual(world.spool.of('break'), [{ kind: 'break', session: 1, durationMs: 300 }]);
    await assert.rejects(bob.session.sendBreak(300), { code: 'NOT_WRITER' });
    await assert.rejects(alice.session.sendBreak(0), { code: 'USAGE' });
    await assert.rejects(alice.session.setSignals({ dtr: true }), { code: 'PORT_UNSUPPORTED' });
    const slow = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 } as const;
    await world.rack.setLine(callerOf('bob'), 'db1', slow, null);
    const status = async () => (await world.rack.ports(callerOf('alice')))[0]!;
    assert.equal((await status()).line, '9600 8N1');
    assert.equal((await status()).differs, true);
    assert.deepEqual(world.spool.of('line'), [{ kind: 'line', line: '9600 8N1', session: null }]);
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await world.timers.advance(300);
    assert.equal((await status()).line, '115200 8N1');
    assert.equal((await status()).differs, false);
  });
});

describe('what is refused', () => {
  const audited = (world: World): string[] =>
    world.audit
      .filter(({ action }) => action === 'denied')
      .map(({ user, port, detail }) => `${user} ${port} ${detail}`);

  it('is audited, with the right that is missing', async () => {
    const world = await new World().start();
    world.authorizer.deny('eve', 'view', 'write', 'break', 'control', 'admin');
    const eve = callerOf('eve');
    const line = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 } as const;
    const { rack } = world;
    const attempts: [() => Promise<unknown>, string][] = [
      [() => world.attach('eve'), 'attach: right "view" is missing'],
      [() => rack.send(eve, 'db1', Buffer.from('x')), 'send: right "write" is missing'],
      [() => rack.sendBreak(eve, 'db1', 300), 'break: right "break" is missing'],
      [() => rack.setLine(eve, 'db1', line, null), 'line: right "control" is missing'],
      [() => rack.setSignals(eve, 'db1', { dtr: true }), 'signals: right "control" is missing'],
      [() => rack.inspect(eve, 'db1'), 'inspect: right "view" is missing'],
      [
        () => rack.run(eve, 'db1', { task: '0', isConfirmed: true }),
        'run: right "break" is missing',
      ],
      [() => rack.power(eve, 'db1', 'off', true), 'power: right "control" is missing'],
      [() => rack.hold(eve, 'db1', true), 'hold: right "control" is missing'],
      [() => rack.setLogging(eve, 'db1', false), 'logging: right "admin" is missing'],
      [() => rack.note(eve, 'db1', 'hm'), 'note: right "write" is missing'],
      [() => rack.message(eve, { port: 'db1' }, 'hi'), 'message: right "view" is missing'],
    ];
    for (const [attempt] of attempts) await assert.rejects(attempt(), { code: 'DENIED' });
    assert.deepEqual(
      audited(world),
      attempts.map(([, detail]) => `eve db1 ${detail}`),
    );
    assert.deepEqual(
      world.spool.bodies().map(({ kind }) => kind),
      ['up'],
    );
  });

  it('fills no audit: one row in 10 s for a user, port and action', async () => {
    const world = await new World().start([portSettings('db1'), portSettings('db2')]);
    world.authorizer.deny('eve', 'view');
    world.authorizer.deny('mallory', 'view');
    for (let i = 0; i < 100; i++) {
      await assert.rejects(world.attach('eve'), { code: 'DENIED' });
      await assert.rejects(world.attach('mallory'), { code: 'DENIED' });
    }
    assert.equal(audited(world).length, 2);
    await assert.rejects(world.attach('eve', { port: 'db2' }), { code: 'DENIED' });
    await assert.rejects(world.rack.inspect(callerOf('eve'), 'db1'), { code: 'DENIED' });
    assert.equal(audited(world).length, 4);
    await world.timers.advance(10_000);
    await assert.rejects(world.attach('eve'), { code: 'DENIED' });
    assert.equal(audited(world).length, 5);
  });
});

describe('logging of a port', () => {
  it('can be turned off: sessions see everything, the log counts it', async () => {
    const world = await new World().start();
    const bob = await world.attach('bob');
    world.backend.say('one ');
    await world.rack.setLogging(callerOf('alice'), 'db1', false);
    await world.rack.setLogging(callerOf('carol'), 'db1', false);
    world.backend.say('two ');
    world.backend.sink.rx(Buffer.from('three '));
    const inspect = () => world.rack.inspect(callerOf('bob'), 'db1');
    assert.equal((await inspect()).isLogging, false);
    await world.rack.setLogging(callerOf('alice'), 'db1', true);
    world.backend.say('four');
    assert.equal((await inspect()).isLogging, true);
    assert.equal(bob.text, 'one two three four');
    const logged = world.spool.of('rx').map(({ bytes }) => Buffer.from(bytes).toString());
    assert.deepEqual(logged, ['one ', 'four']);
    assert.deepEqual(world.spool.of('gap'), [
      {
        kind: 'gap',
        from: 4,
        to: 14,
        count: 10,
        reason: 'logging turned off by alice',
        seqs: 1,
      },
    ]);
    assert.equal((await inspect()).status.offset, 18);
    assert.deepEqual(
      bob.of('message').map(({ from, text }) => [from, text]),
      [
        ['fairlead', 'logging turned off by alice'],
        ['fairlead', 'logging turned on by alice'],
      ],
    );
    assert.deepEqual(
      world.audit.filter(({ action }) => action === 'logging').map(({ detail }) => detail),
      ['off', 'on'],
    );
  });

  it('keeps echoed input out of the log while it is off', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.echo = (bytes) => world.backend.say(bytes);
    await world.rack.setLogging(callerOf('alice'), 'db1', false);
    alice.type('id\r');
    await world.timers.advance(5_000);
    assert.deepEqual(world.spool.of('tx-text'), []);
    assert.equal(world.spool.of('tx')[0]!.count, 3);
    await world.rack.setLogging(callerOf('alice'), 'db1', true);
    alice.type('id\r');
    await world.timers.advance(5_000);
    assert.equal(world.spool.of('tx-text').length, 1);
  });

  it('accounts for what it did not log when the port is closed', async () => {
    const world = await new World().start();
    await world.rack.setLogging(callerOf('alice'), 'db1', false);
    world.backend.say('last words');
    await world.rack.stop();
    const kinds = world.spool.bodies().map(({ kind }) => kind);
    assert.deepEqual(kinds, ['up', 'mark', 'gap', 'down']);
  });

  it('takes notes', async () => {
    const world = await new World().start();
    await world.rack.note(callerOf('alice'), 'db1', 'swapped the fan');
    await world.rack.note(callerOf('alice'), 'db1', 'x'.repeat(100_000));
    const [note, long] = world.spool.of('mark');
    assert.equal(note!.text, 'note by alice: swapped the fan');
    assert.ok(long!.text.length < 1_100);
    assert.deepEqual(
      world.audit.map(({ action }) => action),
      ['note', 'note'],
    );
    await assert.rejects(world.rack.note(callerOf('alice'), 'db1', ' '), { code: 'USAGE' });
  });
});
