import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MessageTarget, PortAccess, Sequence } from '../../src/core/attach.ts';
import { Fault } from '../../src/core/fault.ts';
import type { HostTerminal } from '../../src/core/frontend.ts';
import type { PortDetails } from '../../src/core/port-status.ts';
import type { Caller } from '../../src/core/user.ts';
import type { SessionOptions } from '../../src/sessions/session.ts';
import { World, callerOf, portSettings, settle } from '../ports/support.ts';
import { Client, FakeLog } from './support.ts';

/** The rack, but for what this room only passes on. */
function recording(world: World, calls: string[]): PortAccess {
  const { rack } = world;
  const record = (call: string, caller: Caller, port: string, ...args: unknown[]): void => {
    calls.push([call, caller.user, port, ...args.map((arg) => JSON.stringify(arg))].join(' '));
  };
  let isLogging = true;
  return {
    attach: (request, onEvent) => rack.attach(request, onEvent),
    ports: (caller) => rack.ports(caller),
    who: (caller) => rack.who(caller),
    kick: (caller, session) => rack.kick(caller, session),
    send: (caller, port, bytes) => rack.send(caller, port, bytes),
    sendBreak: (caller, port, durationMs) => rack.sendBreak(caller, port, durationMs),
    setLine: (caller, port, line, flow) => rack.setLine(caller, port, line, flow),
    setSignals: (caller, port, signals) => rack.setSignals(caller, port, signals),
    power: () => assert.fail('no key does that'),
    async message(caller: Caller, to: MessageTarget, text: string) {
      record('message', caller, JSON.stringify(to), text);
      return 1;
    },
    async inspect(caller: Caller, port: string): Promise<PortDetails> {
      const status = (await rack.ports(caller)).find(({ name }) => name === port)!;
      return {
        status,
        line: { line: null, flow: 'none', signals: { dtr: true, cts: false }, isBreaking: false },
        isLogging,
        isHeld: false,
        motd: 'Ask bob\nfirst',
        tasks: [
          { name: 'reset', breakKey: '2', confirm: true, help: 'press the button' },
          { name: 'reports', breakKey: null, confirm: false, help: 'ask it' },
          { name: 'sysrq', breakKey: 's', confirm: false, help: 'SysRq s' },
        ],
        power: ['cycle'],
      };
    },
    async run(caller: Caller, port: string, sequence: Sequence) {
      record('run', caller, port, sequence);
    },
    async hold(caller: Caller, port: string, isDown: boolean) {
      record('hold', caller, port, isDown);
    },
    async setLogging(caller: Caller, port: string, isOn: boolean) {
      isLogging = isOn;
      record('logging', caller, port, isOn);
    },
    async note(caller: Caller, port: string, text: string) {
      record('note', caller, port, text);
    },
  };
}

async function start() {
  const ports = ['db1', 'db2', 'web1'].map((name) =>
    portSettings(name, name === 'web1' ? { aliases: ['front'] } : {}),
  );
  const world = await new World().start(ports);
  const log = new FakeLog(world.spool, world.timers);
  const { timers, journal } = world;
  const calls: string[] = [];
  const clock = { nowUs: () => timers.nowMs() * 1_000 };
  const services = { access: recording(world, calls), log, clock, journal, timers };
  const open = async (user: string, options: Partial<SessionOptions> = {}) => {
    const client = await new Client().open(services, { caller: callerOf(user), ...options });
    await settle();
    return client;
  };
  const backend = (name: string) => world.openers.get(name)!.backend;
  return { world, log, calls, open, backend, services };
}

/** Each key as a chunk of its own, as fingers do; then time for what follows. */
async function fingers(client: Client, keys: string): Promise<void> {
  for (const key of keys) await client.type(key);
  await settle(10);
}

async function chunk(client: Client, keys: string): Promise<void> {
  await client.type(keys);
  await settle(10);
}

const since = (client: Client, count: number): string[] => client.notices.slice(count);

describe('the keys of a session', () => {
  it('leave, list themselves, and tell who is here and what all ports do', async () => {
    const { open } = await start();
    const alice = await open('alice');
    const bob = await open('bob');
    await fingers(alice, '\x05c?');
    assert.ok(alice.notices.some((line) => line.startsWith('^Ec\\ooo  ')));
    await fingers(alice, '\x05cw');
    assert.ok(
      alice.notices.some((line) => /^session \d+: alice writes, from .* \(you\)/.test(line)),
    );
    assert.ok(alice.notices.some((line) => /bob views, from /.test(line)));
    await fingers(alice, '\x05cu');
    assert.ok(alice.notices.includes('db1 up, alice writes, 1 view'));
    assert.ok(alice.notices.includes('web1 up'));
    await fingers(alice, '\x05c.');
    assert.equal(alice.endedWhy, 'left');
    assert.equal(bob.notices.at(-1), 'you write now');
  });

  it('ask for write, spy and force; asking anew shows nothing twice and misses nothing', async () => {
    const { open, backend, log } = await start();
    const alice = await open('alice');
    const bob = await open('bob');
    await chunk(alice, '\x05ca');
    assert.equal(alice.notices.at(-1), 'you write already');
    await chunk(bob, '\x05ca');
    assert.equal(bob.notices.at(-1), 'you get write when whoever has it leaves');
    await chunk(bob, '\x05cs');
    backend('db1').say('one ');
    log.committed = 0;
    const first = bob.session.attached.session;
    const asked = bob.type('\x05ca');
    backend('db1').say('two ');
    await asked;
    await settle(10);
    backend('db1').say('three ');
    log.commit(1_000);
    await bob.until(/three /);
    assert.equal(bob.text, 'one two three ');
    assert.notEqual(bob.session.attached.session, first);
    assert.match(bob.notices.at(-1)!, /^db1: you view; alice writes; you get write/);
    await chunk(alice, '\x05c.');
    assert.equal(bob.notices.at(-1), 'you write now');
    await chunk(bob, 'typed');
    assert.equal(backend('db1').writtenText, 'typed');
    const carol = await open('carol', { mode: 'view' });
    await chunk(carol, '\x05cf');
    assert.equal(bob.notices.at(-1), 'taken over by carol; you view now');
    await chunk(bob, '\x05ca');
    assert.match(bob.notices.at(-1)!, /^you get write/, 'who lost it is the first to get it back');
  });

  it('show nothing twice of what comes while write is asked for', async () => {
    for (const more of [5, 500_000]) {
      const { open, backend, services } = await start();
      await open('alice');
      const bob = await open('bob', { mode: 'view' });
      backend('db1').say('before ');
      const { attach } = services.access;
      services.access.attach = async (request, onEvent) => {
        const session = await attach(request, onEvent);
        backend('db1').say('x'.repeat(more));
        await settle();
        return session;
      };
      await chunk(bob, '\x05ca');
      backend('db1').say(' after');
      await bob.until(/after/);
      assert.equal(bob.text, `before ${'x'.repeat(more)} after`);
      assert.equal(bob.notices.length, 2);
    }
  });

  it('take along what is typed behind them, and tell of input that went nowhere', async () => {
    const { open, backend, world } = await start();
    const alice = await open('alice', { mode: 'view' });
    void alice.type('\x05ca');
    void alice.type('x');
    await settle(10);
    assert.equal(backend('db1').writtenText, 'x');
    backend('db1').roomBytes = 0;
    await chunk(alice, 'stuck');
    await chunk(alice, '\x05cs');
    await chunk(alice, '\x05ca');
    await world.timers.advance(6_000);
    assert.ok(alice.notices.some((line) => line.startsWith('input refused')));
    assert.match(alice.notices.at(-1)!, /^db1: you write/);
  });

  it('replay the last lines without their questions, then go on live', async () => {
    const { open, backend } = await start();
    const alice = await open('alice');
    for (let i = 0; i < 70; i++) backend('db1').say(`line ${i}\x1b[6n\r\n`);
    const before = alice.text.length;
    for (const [key, lines] of [
      ['r', 20],
      ['p', 60],
      ['\x12', 1],
    ] as const) {
      const from = alice.text.length;
      await chunk(alice, `\x05c${key}`);
      const shown = alice.text.slice(from);
      const right = Array.from({ length: lines }, (_, i) => `line ${70 - lines + i}\r\n`).join('');
      assert.equal(shown, right);
    }
    assert.ok(before > 0);
    const from = alice.text.length;
    const replayed = alice.type('\x05c\x12');
    backend('db1').say('live\r\n');
    await replayed;
    await alice.until(/live/);
    assert.match(alice.text.slice(from), /^(?:line 69\r\n)?live\r\n$/);
  });

  it('count the last lines with those that are on their way to the log', async () => {
    const { open, backend, log } = await start();
    const alice = await open('alice');
    const lines = Array.from({ length: 30 }, (_, i) => `line ${i}\r\n`);
    for (let i = 0; i < 30; i += 10) backend('db1').say(lines.slice(i, i + 10).join(''));
    log.committed = 3;
    const from = alice.text.length;
    await chunk(alice, '\x05c\x12');
    assert.equal(alice.text.length, from);
    log.commit(1_000);
    await alice.until(/the last line:\][^]*line 29\r\n/);
    assert.equal(alice.text.slice(from), 'line 29\r\n');
    await chunk(alice, '\x05cr');
    assert.equal(alice.text.slice(from), lines.slice(29).concat(lines.slice(10)).join(''));
  });

  it('send BREAK, entries of the break list, and characters by their code', async () => {
    const { open, backend, calls } = await start();
    const alice = await open('alice');
    await fingers(alice, '\x05cl0');
    assert.deepEqual(backend('db1').breaks, [300]);
    await fingers(alice, '\x05cl?');
    assert.deepEqual(since(alice, 1), [
      '0  BREAK',
      '2  reset: press the button',
      's  sysrq: SysRq s',
    ]);
    await fingers(alice, '\x05cls');
    assert.equal(calls.at(-1), 'run alice db1 {"task":"sysrq","isConfirmed":false}');
    assert.equal(alice.notices.at(-1), 'sysrq done');
    await fingers(alice, '\x05cl2n');
    assert.equal(calls.length, 1);
    await fingers(alice, '\x05cl2\t\x1f?y');
    assert.equal(calls.at(-1), 'run alice db1 {"task":"reset","isConfirmed":true}');
    assert.match(alice.all, /run reset\? \(y\/n\) no\][^]*run reset\? \(y\/n\) yes\]/);
    await fingers(alice, '\x05clz');
    assert.equal(alice.notices.at(-1), 'the break list has no entry z');
    await fingers(alice, '\x05c\\003');
    await fingers(alice, '\x05c\\005');
    await chunk(alice, '\x05c\\377');
    assert.deepEqual(backend('db1').written, [3, 5, 255]);
  });

  it('run a task by name with completion, and ask first where it is wanted', async () => {
    const { open, calls, backend } = await start();
    const alice = await open('alice');
    await fingers(alice, '\x05c!');
    await chunk(alice, '?');
    assert.match(alice.text, /reset {2}reports {2}sysrq/);
    await chunk(alice, 'sy\t\r');
    assert.equal(calls.at(-1), 'run alice db1 {"task":"sysrq","isConfirmed":false}');
    assert.equal(alice.notices.at(-1), 'sysrq done');
    await chunk(alice, '\x05c!');
    await chunk(alice, 're\t');
    await chunk(alice, '\t');
    assert.match(alice.text, /\r\nreset {2}reportsre/);
    await chunk(alice, 's\t\ry');
    await chunk(alice, 'n');
    assert.equal(calls.length, 1, 'a paste does not answer the question after it');
    await chunk(alice, '\x05c!');
    await chunk(alice, 'RESET\r');
    await chunk(alice, 'y');
    assert.equal(calls.at(-1), 'run alice db1 {"task":"reset","isConfirmed":true}');
    await chunk(alice, '\x05c!');
    await chunk(alice, 'nope\r');
    assert.equal(alice.notices.at(-1), 'the port has no task "nope"');
    assert.equal(backend('db1').writtenText, '', 'nothing of it reached the device');
  });

  it('take the port down and open it, turn logging off and on, tell of the port and its line', async () => {
    const { open, calls } = await start();
    const alice = await open('alice');
    await fingers(alice, '\x05cdn');
    await fingers(alice, '\x05cd\r');
    await fingers(alice, '\x05cdy');
    await fingers(alice, '\x05co');
    await fingers(alice, '\x05cL');
    await fingers(alice, '\x05ci');
    assert.ok(alice.notices.includes('what it says is NOT logged at the moment'));
    assert.ok(alice.notices.includes('tasks: reset, reports, sysrq'));
    await fingers(alice, '\x05cL');
    assert.deepEqual(calls, [
      'hold alice db1 true',
      'hold alice db1 false',
      'logging alice db1 false',
      'logging alice db1 true',
    ]);
    await fingers(alice, '\x05cx');
    assert.ok(alice.notices.includes('line: 115200 8N1, flow control none'));
    await fingers(alice, '\x05cm');
    assert.deepEqual(alice.notices.slice(-2), ['Ask bob', 'first']);
  });

  it('take messages and notes, while what the device says waits', async () => {
    const { open, backend, calls } = await start();
    const alice = await open('alice');
    await fingers(alice, '\x05cM');
    backend('db1').say('meanwhile');
    await fingers(alice, 'hallo w\x7f\x7f\x7fö\r'.replace('ö', '\xc3\xb6'));
    assert.equal(calls.at(-1), 'message alice {"port":"db1"} "hallö"');
    assert.ok(alice.all.indexOf('hall') < alice.all.indexOf('meanwhile'));
    await fingers(alice, '\x05cnwas down\r');
    assert.equal(calls.at(-1), 'note alice db1 "was down"');
    for (const cancel of ['\x03', '\x1b', '\r', '\x15\r']) await fingers(alice, `\x05cn${cancel}`);
    await fingers(alice, '\x05cn');
    await chunk(alice, '\x1b[A');
    await chunk(alice, '\x1b[24;80R');
    await fingers(alice, 'a\x15b\r');
    assert.equal(calls.at(-1), 'note alice db1 "b"');
    assert.equal(calls.length, 3);
    await fingers(alice, '\x05cn');
    await chunk(alice, 'x'.repeat(10_000));
    await chunk(alice, '\r');
    assert.ok(calls.at(-1)!.length < 250);
    assert.equal(backend('db1').writtenText, '\x1b[24;80R', 'the device had asked');
  });

  it('change what they begin with', async () => {
    const { open, backend } = await start();
    const alice = await open('alice');
    await fingers(alice, '\x05cea');
    await fingers(alice, 'b');
    assert.match(alice.notices.at(-1)!, /^the first is a control character/);
    await fingers(alice, '\x05ce\x01\x02');
    assert.equal(alice.notices.at(-1), '^A^B begins the keys of this session now');
    await chunk(alice, '\x05c.');
    assert.equal(backend('db1').writtenText, '\x05c.');
    await chunk(alice, '\x01\x02q');
    assert.equal(alice.notices.at(-1), '^A^Bq is no key; ^A^B? lists them');
    await fingers(alice, '\x01\x02.');
    assert.equal(alice.endedWhy, 'left');
    const bob = await open('bob', { keys: [0x1d, 0x78] });
    assert.match(bob.notices[0]!, /; \^\]x\? for help$/);
  });
});

describe('moving to another port', () => {
  it('goes by name, alias or beginning, with completion; both ports see it', async () => {
    const { open, backend, world } = await start();
    const alice = await open('alice');
    const bob = await open('bob');
    backend('web1').say('web says\r\n');
    backend('db1').say('db1 says');
    await chunk(alice, '\x05c;');
    await chunk(alice, 'fr\t\r');
    assert.equal(alice.session.attached.port, 'web1');
    assert.equal(bob.notices.at(-1), 'you write now');
    await alice.until(/web says/);
    backend('db1').say('not for alice');
    backend('web1').say('for alice');
    await alice.until(/for alice/);
    assert.doesNotMatch(alice.all, /not for alice/);
    await chunk(alice, 'typed');
    assert.equal(backend('web1').writtenText, 'typed');
    assert.equal(backend('db1').writtenText, '');
    const who = await world.rack.who(callerOf('alice'));
    assert.deepEqual(
      who.map(({ user, port }) => `${user} ${port}`),
      ['bob db1', 'alice web1'],
    );
    assert.equal(alice.endedWhy, null);
    await fingers(alice, '\x05c;');
    await chunk(alice, 'db2\r');
    assert.equal(alice.session.attached.port, 'db2');
  });

  it('stays where it is when it cannot, and says why', async () => {
    const { open, backend, world } = await start();
    world.authorizer.deny('alice', 'export');
    const alice = await open('alice');
    await chunk(alice, '\x05c;');
    await chunk(alice, 'db\t');
    await chunk(alice, '\t');
    assert.match(alice.text, /\r\ndb1 {2}db2db/);
    await chunk(alice, '\r');
    assert.match(alice.notices.at(-1)!, /"db" fits db1, db2/);
    await chunk(alice, '\x05c;');
    await chunk(alice, 'wbe1\r');
    assert.match(alice.notices.at(-1)!, /no port "wbe1"; did you mean "web1"/);
    await chunk(alice, 'still here');
    assert.equal(backend('db1').writtenText, 'still here');
    const leaving = open('bob').then(async (bob) => {
      await bob.type('\x05c;');
      const moved = bob.type('web1\r');
      bob.session.detach();
      await moved;
      await settle(10);
      return bob;
    });
    await leaving;
    const who = await world.rack.who(callerOf('alice'));
    assert.deepEqual(
      who.map(({ user }) => user),
      ['alice'],
    );
  });
});

describe('keys that go to several ports', () => {
  it('go there after the list was shown and confirmed, until it is ended', async () => {
    const { open, backend, world } = await start();
    const alice = await open('alice');
    await chunk(alice, '\x05cb');
    await chunk(alice, 'db* nothing\r');
    assert.equal(alice.notices.at(-1), 'no port fits nothing');
    await chunk(alice, '\x05cb');
    await chunk(alice, 'db*, front\r');
    assert.equal(alice.notices.at(-1), 'keys will go to db1 and: db2, web1');
    await chunk(alice, 'n');
    await chunk(alice, 'a');
    await chunk(alice, '\x05cb');
    await chunk(alice, 'db*, front\r');
    await chunk(alice, 'y');
    assert.equal(alice.notices.at(-1), 'keys go to db1, db2, web1; ^Ecb ends that');
    await chunk(alice, 'uptime\r');
    await chunk(alice, '\x05cb');
    await chunk(alice, 'z');
    assert.equal(backend('db1').writtenText, 'auptime\rz');
    assert.equal(backend('db2').writtenText, 'uptime\r');
    assert.equal(backend('web1').writtenText, 'uptime\r');
    assert.equal((await world.rack.who(callerOf('alice'))).length, 1);
  });

  it('leave out and name those that cannot be written to, now or later', async () => {
    const { open, backend, world } = await start();
    await open('bob', { port: 'db2' });
    const alice = await open('alice');
    await chunk(alice, '\x05cb');
    await chunk(alice, 'db2\r');
    await chunk(alice, 'y');
    assert.ok(alice.notices.some((line) => /^nothing is typed at db2: .*bob writes/.test(line)));
    assert.equal(alice.notices.at(-1), 'keys go to this port only');
    await chunk(alice, '\x05cb');
    await chunk(alice, 'db2 web1\r');
    await chunk(alice, 'y');
    assert.equal(alice.notices.at(-1), 'keys go to db1, web1; ^Ecb ends that');
    for (let i = 0; i < 100; i++) backend('web1').say('x'.repeat(1_000));
    await chunk(alice, 'k');
    assert.equal(backend('web1').writtenText, 'k');
    await open('carol', { port: 'web1', mode: 'force' });
    await settle();
    assert.deepEqual(alice.notices.slice(-2), [
      'nothing more is typed at web1: carol writes there now',
      'keys go to this port only',
    ]);
    await chunk(alice, 'l');
    assert.equal(backend('web1').writtenText, 'k');
    await chunk(alice, '\x05cb');
    await chunk(alice, 'web1\r');
    await chunk(alice, '\x03');
    alice.session.detach();
    await settle();
    const users = (await world.rack.who(callerOf('bob'))).map(({ user }) => user);
    assert.deepEqual(users.sort(), ['bob', 'carol']);
  });

  it('end with the session and with a move', async () => {
    const { open, world } = await start();
    const alice = await open('alice');
    const broadcast = async (): Promise<void> => {
      await chunk(alice, '\x05cb');
      await chunk(alice, 'web1\r');
      await chunk(alice, 'y');
    };
    const sessions = async (): Promise<number> => (await world.rack.who(callerOf('bob'))).length;
    await broadcast();
    assert.equal(await sessions(), 2);
    await chunk(alice, '\x05c;');
    await chunk(alice, 'db2\r');
    assert.equal(await sessions(), 1);
    assert.ok(alice.notices.includes('keys go to this port only'));
    await broadcast();
    assert.equal(await sessions(), 2);
    await chunk(alice, '\x05c.');
    assert.equal(await sessions(), 0);
  });
});

/** A machine of the user's own with one command. */
class FakeHost implements HostTerminal {
  suspended = 0;
  command = '';
  readonly stdin: Buffer[] = [];
  hasEnded = false;
  output: (bytes: Uint8Array) => Promise<void> | void = () => undefined;
  exit: (code: number) => void = () => undefined;
  fail: (error: Error) => void = () => undefined;

  async suspend(): Promise<void> {
    this.suspended++;
  }

  pipe(command: string, output: (bytes: Uint8Array) => Promise<void> | void) {
    this.command = command;
    this.output = output;
    this.hasEnded = false;
    const exited = new Promise<number>((resolve, reject) => {
      this.exit = resolve;
      this.fail = reject;
    });
    return {
      input: async (bytes: Uint8Array) => void this.stdin.push(Buffer.from(bytes)),
      end: () => {
        this.hasEnded = true;
      },
      exited,
    };
  }
}

describe('a command of the user', () => {
  it('is connected to the port until it exits, and is all that talks to it', async () => {
    const { open, backend } = await start();
    const host = new FakeHost();
    const alice = await open('alice', { host });
    await chunk(alice, '\x05c|');
    await chunk(alice, 'sx file\r');
    assert.equal(host.command, 'sx file');
    backend('db1').say('C\x05\x1b[6n');
    await settle();
    assert.equal(Buffer.concat(host.stdin).toString('latin1'), 'C\x05\x1b[6n');
    assert.doesNotMatch(alice.text, /C\x05/);
    await host.output(Buffer.from('block'));
    await chunk(alice, 'not for the device');
    await chunk(alice, '\x05');
    await settle();
    assert.equal(backend('db1').writtenText, 'block');
    host.exit(3);
    await settle();
    assert.equal(alice.notices.at(-1), '"sx file" ended with status 3');
    backend('db1').say('again');
    assert.ok(alice.text.endsWith('again'));
    await chunk(alice, 'typed');
    assert.equal(backend('db1').writtenText, 'blocktyped');
  });

  it('lets go of the port at ^C and at ^Ec., whatever it does', async () => {
    const { open, backend } = await start();
    const host = new FakeHost();
    const alice = await open('alice', { host });
    for (const end of ['\x03', '\x05c.']) {
      await chunk(alice, '\x05c|');
      await chunk(alice, 'yes\r');
      await chunk(alice, end);
      assert.equal(host.hasEnded, true);
      await host.output(Buffer.from('y'));
      backend('db1').say('seen ');
      host.fail(new Fault('TOO_SLOW', 'it did not read'));
      await settle();
      assert.equal(alice.notices.at(-1), '"yes": it did not read');
    }
    assert.equal(backend('db1').writtenText, '');
    assert.ok(alice.text.endsWith('seen '));
    assert.equal(alice.endedWhy, null);
  });

  it('waits for a slow device', async () => {
    const { open, backend } = await start();
    const host = new FakeHost();
    const alice = await open('alice', { host });
    await chunk(alice, '\x05c|');
    await chunk(alice, 'yes\r');
    backend('db1').roomBytes = 0;
    let isTaken = false;
    void Promise.resolve(host.output(Buffer.alloc(100_000))).then(() => (isTaken = true));
    await settle();
    assert.equal(isTaken, false);
    backend('db1').giveRoom(100_000);
    await settle();
    assert.equal(isTaken, true);
  });

  it('is there in fairlead attach only, and so is suspending', async () => {
    const { open } = await start();
    const host = new FakeHost();
    const alice = await open('alice');
    await chunk(alice, '\x05c|');
    assert.match(alice.notices.at(-1)!, /fairlead attach/);
    await chunk(alice, '\x05cz');
    assert.match(alice.notices.at(-1)!, /~\^Z/);
    const bob = await open('bob', { host });
    await chunk(bob, '\x05cz');
    assert.equal(host.suspended, 1);
  });
});

describe('a client that types and never reads', () => {
  it('is told a bounded amount, and moves nobody', async () => {
    const { services } = await start();
    const client = new Client();
    client.isStalled = true;
    await client.open(services, { caller: callerOf('mallory') });
    for (let i = 0; i < 2_000; i++) {
      await client.type(['\x05cu', '\x05cw', '\x05c?', '\x05cr', '\x05cq'][i % 5]!);
    }
    await client.type('\x05cn');
    for (let i = 0; i < 2_000; i++) await client.type('\t\x7fx');
    await settle(20);
    assert.ok(client.outstandingBytesMax < 64_000, String(client.outstandingBytesMax));
  });
});
