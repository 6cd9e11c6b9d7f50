import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { hashPassword } from '../../src/auth/password.ts';
import { parseTotpSecret, TOTP_STEP_S, totpCode } from '../../src/auth/totp.ts';
import type { SessionStatus, TaskStatus } from '../../src/core/port-status.ts';
import { Screen } from '../sessions/terminal.ts';
import { TelnetDevice } from '../support/telnet-device.ts';
import { until } from '../support/pty.ts';
import type { Heard, Machine } from './console.ts';
import { People, press } from './people.ts';

const TOTP_SECRET = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP';
/** A safety net, generous on a busy machine. */
const DEADLINE_MS = 60_000;
const SIZE = { columns: 80, rows: 24 };

/** What people do together at the ports of a running daemon. */
describe('people', () => {
  let people: People;
  let db1: Machine;
  let db2: Machine;
  let door: Machine;
  let quiet: Machine;
  let many: Machine;
  const board = new TelnetDevice();

  before(async () => {
    people = await People.make();
    [db1, db2, door, quiet, many] = Array.from({ length: 5 }, () => people.machine()) as [
      ...[Machine, Machine, Machine, Machine, Machine],
    ];
    await board.start();
    writeFileSync(
      people.file('pdu'),
      `#!/bin/sh
echo "$1" >> ${people.file('pdu.log')}
case $1 in
  status) echo "outlet 7 is on" ;;
  on) echo "no answer from the outlet" >&2; exit 4 ;;
  *) echo "outlet 7: cycled" ;;
esac
`,
      { mode: 0o755 },
    );
    const pdu = (word: string): string => `${word}: [${people.file('pdu')}, ${word}]`;
    const key = (name: string): string => `keys: ['${people.ssh.makeKey(name)}']`;
    await people.start(
      `
listen: { ssh: '127.0.0.1:${people.ssh.tcpPort}' }
banner: Authorised use only.
motd: Be nice.
users:
  alice: { role: admin, ${key('alice')} }
  bob: { role: operator, ports: ['*'], ${key('bob')} }
  vera: { role: view, ports: ['*'], ${key('vera')} }
  tom: { role: operator, ports: ['*'], password: '${await hashPassword('open sesame')}', totp: ${TOTP_SECRET} }
ports:
  db1:
    { n: 1, device: ${db1.path}, aliases: [core], motd: The first., tasks: {
      hello: { help: says hello, steps: [{ send: "hello\\r" }] },
      wipe: { key: w, confirm: true, steps: [{ send: "wipe\\r" }] },
      slow: [{ send: "begin\\r" }, 50s, { send: "end\\r" }],
    } }
  db2: { device: ${db2.path} }
  door: { device: ${door.path}, onOpen: { send: "hello\\r" }, onDetach: { send: "exit\\r" } }
  quiet: { device: ${quiet.path}, idle: { after: 1s, send: "." }, idleTimeout: 1s }
  many: { device: ${many.path}, writers: many }
  board: { telnet: '127.0.0.1:${board.tcpPort}', power: { ${['status', 'on', 'cycle'].map(pdu).join(', ')} } }
  late: { device: ${people.file('dev/late')} }
`,
      ['db1', 'db2', 'door', 'quiet', 'many', 'board'],
    );
  });
  afterEach(() => people.endClients());
  after(async () => {
    await people.dispose();
    await board.dispose();
  });

  describe('tasks and power', () => {
    it('lists tasks, runs one, and asks where the configuration says so', async () => {
      const from = db1.heard.length;
      const tasks = await people.rows<TaskStatus>('task', 'db1');
      const named = tasks.map(({ name, breakKey, confirm }) => ({ name, breakKey, confirm }));
      assert.deepEqual(named, [
        { name: 'hello', breakKey: null, confirm: false },
        { name: 'wipe', breakKey: 'w', confirm: true },
        { name: 'slow', breakKey: null, confirm: false },
        { name: 'break', breakKey: '0', confirm: false },
      ]);
      const shown = await people.verb('vera', 'task', 'db1');
      assert.match(shown.out, /hello +says hello\n/);

      assert.equal((await people.verb('bob', 'task', 'db1', 'hello')).code, 0);
      const unsure = await people.verb('bob', 'task', 'db1', 'w');
      assert.equal(unsure.code, 2);
      assert.match(unsure.stderr, /task wipe on db1 must be confirmed: give --yes/);
      assert.equal((await people.verb('bob', 'task', 'db1', 'w', '--yes')).code, 0);
      await db1.heard.until('hello\rwipe\r', from);

      const denied = await people.verb('vera', 'task', 'db1', 'wipe');
      assert.equal(denied.code, 4, 'who may not is not asked');
      assert.match(denied.stderr, /"write"/);
      const unknown = await people.verb('bob', 'task', 'db1', 'helo');
      assert.equal(unknown.code, 3);
      assert.match(unknown.stderr, /no task "helo"; did you mean "hello"/);
    });

    it('runs one task at a time, none past somebody who writes, and none on when the port is down', async () => {
      const from = db1.heard.length;
      const alice = await people.attach('alice:db1', 'db1: you write');
      const busy = await people.verb('bob', 'task', 'db1', 'hello');
      assert.equal(busy.code, 4);
      assert.match(busy.stderr, /alice writes on db1/);
      await press(alice, '\x05c!', 'task, ? lists them:');
      alice.type('slow\r');
      await db1.heard.until('begin\r', from);
      await press(alice, '\x05c!', 'task, ? lists them:');
      await press(alice, 'hello\r', 'task slow is running on db1; try again when it is done');
      assert.equal((await people.daemon.cli(['down', 'db1'])).code, 0);
      await alice.out.until(/task slow, step 2 of 3: db1 is down: held down by/);
      assert.equal((await people.daemon.cli(['up', 'db1'])).code, 0);
      await alice.out.until('the port is up again');
      await people.leave(alice);
      assert.equal(db1.heard.text.slice(from), 'begin\r');
    });

    it('send --sysrq is a BREAK and then the key, asked for where it ends something', async () => {
      board.receive();
      const help = await people.verb('bob', 'send', 'board', '--sysrq', 'show-blocked');
      assert.equal(help.code, 0, help.stderr);
      let got = '';
      await until(() => (got += board.receive().toString()).length > 0, 'the key');
      assert.equal(got, 'w');
      assert.equal(board.commands.filter((command) => command === 'break').length, 1);
      const records = await people.records('board', ({ kind }) => kind === 'detached');
      const kinds = records.map(({ kind }) => kind).filter((kind) => kind !== 'rx');
      assert.deepEqual(kinds.slice(-5), ['attached', 'mark', 'break', 'tx', 'detached']);

      const unsure = await people.verb('bob', 'send', 'board', '--sysrq', 'reboot');
      assert.equal(unsure.code, 2);
      assert.match(unsure.stderr, /must be confirmed/);
      const shell = people.terminal(people.fairlead('send', 'board', '--sysrq', 'b'));
      await press(shell, '', /board\? \[y\/N\] $/);
      shell.type('y\r');
      assert.equal(await shell.exited, 0);
      await until(() => (got += board.receive().toString()).length > 1, 'the key');
      assert.equal(got, 'wb');
    });

    it('power runs the outlet’s command, once in five minutes, and tells who is there', async () => {
      const watcher = await people.attach('vera:board', 'board: you view');
      const status = await people.verb('vera', 'power', 'board', 'status');
      assert.deepEqual([status.code, status.out], [0, 'outlet 7 is on\n']);
      const denied = await people.verb('vera', 'power', 'board', 'cycle');
      assert.equal(denied.code, 4);
      assert.match(denied.stderr, /"control"/);
      const unsure = await people.verb('bob', 'power', 'board', 'cycle');
      assert.equal(unsure.code, 2);
      assert.match(unsure.stderr, /power cycle for board must be confirmed: give --yes/);
      const failed = await people.verb('bob', 'power', 'board', 'on');
      assert.equal(failed.code, 5);
      assert.match(failed.stderr, /status 4: no answer from the outlet/);
      const cannot = await people.verb('bob', 'power', 'board', 'off', '--yes');
      assert.equal(cannot.code, 5);
      assert.match(cannot.stderr, /its power outlet can only on, cycle, status/);

      const shell = people.terminal(people.fairlead('power', 'board', 'cycle'));
      await press(shell, '', 'power cycle for board? [y/N]');
      await press(shell, 'y\r', 'outlet 7: cycled');
      assert.equal(await shell.exited, 0);
      await watcher.out.until(/power cycle by \S+: done/);
      const again = await people.verb('bob', 'power', 'board', 'cycle');
      assert.equal(again.code, 5);
      assert.match(again.stderr, /power of board was cut \d+ s ago; it may be again in \d+ s/);
      assert.equal(readFileSync(people.file('pdu.log'), 'utf8'), 'status\non\ncycle\n');
      await people.leave(watcher);
      await people.records('board', ({ text }) => /power cycle by/.test(String(text)));
    });
  });

  describe('what is done by itself', () => {
    it('greets the device when it opens, and logs out when the last writer has left', async () => {
      await door.heard.until('hello\r');
      const viewer = await people.attach('bob:door:view', 'door: you view');
      const writer = await people.attach('alice:door', 'door: you write');
      writer.type('root\r');
      await door.heard.until('hello\rroot\r');
      await people.leave(writer);
      await door.heard.until('hello\rroot\rexit\r');
      await people.leave(viewer);
      const { code, stderr } = await people.daemon.cli(['up', 'door']);
      assert.equal(code, 0, stderr);
      await door.heard.until('exit\rhello\r');
      assert.equal(door.heard.text, 'hello\rroot\rexit\rhello\r');
      const records = await people.records('door', ({ kind }) => kind === 'mark', 3);
      const marks = records.filter(({ kind }) => kind === 'mark');
      const texts = ['onOpen', 'onDetach', 'onOpen'].map((what) => `${what} by fairlead`);
      assert.deepEqual(
        marks.map(({ text }) => text),
        texts,
      );
    });

    it('keeps an idle line awake, and lets go who types nothing', async () => {
      await quiet.heard.until('..');
      const client = await people.attach('alice:quiet', 'quiet: you write');
      await client.out.until('ended: idle for 1 s');
      assert.equal(await client.exited, 5);
      await people.portIs('quiet', ({ writer, viewers }) => writer === null && viewers === 0);
    });
  });

  describe('on a port', () => {
    it('are shown the banner, the messages of the day and who was there last', async () => {
      const from = db1.heard.length;
      const bob = await people.attach('bob:db1', 'db1: you write');
      bob.type('was here');
      await db1.heard.until('was here', from);
      await people.leave(bob);
      const options = { key: 'alice', logLevel: 'INFO' } as const;
      const client = people.ssh.spawn(['-tt', 'alice:db1@127.0.0.1'], options);
      await client.out.until(/db1: you write; last used by bob, .* for help\]\r\n[^]*The first\./);
      assert.match(client.out.text, /\[fairlead: Be nice\.\]\r\n\[fairlead: The first\.\]\r\n/);
      await client.err.until('Authorised use only.');
      await people.leave(client);
    });

    it('hear messages to their session, their port and all', async () => {
      const alice = await people.attach('alice:db1', 'db1: you write');
      const bob = await people.attach('bob:db2', 'db2: you write');
      const who = await people.rows<SessionStatus>('who');
      const { session } = who.find(({ user }) => user === 'bob')!;
      for (const [to, heard, others] of [
        [[String(session), 'only you'], [bob], [alice]],
        [['db1', 'only there'], [alice], [bob]],
        [['--all', 'everybody'], [alice, bob], []],
      ] as const) {
        const said = await people.verb('alice', 'message', ...to);
        assert.match(said.out, new RegExp(`^${heard.length} sessions? heard it`));
        for (const { out } of heard) await out.until(`message from alice: ${to[1]}]`);
        for (const { out } of others) assert.ok(!out.text.includes(to[1]));
      }
      const none = await people.verb('alice', 'message', '999999', 'hello?');
      assert.equal(none.code, 3);
      await people.verb('alice', 'kick', String(session));
      await bob.out.until('ended: kicked by alice');
      assert.equal(await bob.exited, 5);
      await people.leave(alice);
    });

    it('lose write to who takes it by the login name, and are told to whom', async () => {
      const bob = await people.attach('bob:db1', 'db1: you write');
      const alice = await people.attach('alice:db1:force', 'db1: you write');
      await bob.out.until('taken over by alice; you view now');
      await people.leave(alice);
      await bob.out.until('you write now');
      await people.leave(bob);
    });

    it('write together where the port says so', async () => {
      const alice = await people.attach('alice:many', 'many: you write');
      const bob = await people.attach('bob:many', 'many: you write');
      alice.type('from alice\r');
      await many.heard.until('from alice\r');
      bob.type('from bob\r');
      await many.heard.until('from bob\r');
      await people.portIs('many', ({ writer }) => writer === 'alice, bob');
      await people.leave(alice, bob);
    });
  });

  describe('attach', () => {
    it('--wait waits for a port to come up, and for one to be configured', async () => {
      const bob = people.ssh.spawn(['-tt', 'bob:late:wait@127.0.0.1'], { key: 'bob' });
      await bob.out.until(/waiting for late to come up: .*late does not exist/);
      const alice = people.terminal(people.fairlead('attach', 'added', '--wait'));
      await alice.heard.until('waiting for a port "added"');
      const impatient = people.terminal(people.fairlead('attach', 'added', '--wait'));
      await press(impatient, '', 'waiting for a port "added"');
      impatient.type('\x03');
      assert.equal(await impatient.exited, 0);

      const late = people.machine();
      mkdirSync(people.file('dev'));
      symlinkSync(late.path, people.file('dev/late'));
      await bob.out.until('late: you write');
      bob.type('at last\r');
      await late.heard.until('at last\r');
      await people.leave(bob);

      const added = people.machine();
      appendFileSync(people.daemon.configPath, `  added: { device: ${added.path} }\n`);
      const reload = await people.daemon.cli(['reload']);
      assert.equal(reload.code, 0, reload.stderr);
      await alice.heard.until('added: you write');
      alice.type('hello\r');
      await added.heard.until('hello\r');
      await press(alice, '\x05c.', '\r\n');
      assert.equal(await alice.exited, 0);
    });

    it('shows so many lines, or all from a place, and then goes on live', async () => {
      const lines = Array.from({ length: 50 }, (_, i) => `line ${i + 1} of db2`);
      const ways: [(offset: number) => string[], number][] = [
        [() => ['alice@127.0.0.1', 'attach', 'db2', '--replay', '3'], 3],
        [(offset) => ['alice@127.0.0.1', 'attach', 'db2', '--from', `@${offset}`], 50],
        [() => ['alice:db2:view:replay=7@127.0.0.1'], 7],
        [(offset) => [`alice+db2+from=@${offset}+view@127.0.0.1`], 50],
      ];
      for (const [words, count] of ways) {
        const { offset } = await people.portIs('db2', () => true);
        await db2.say(`${lines.join('\r\n')}\r\n`);
        await people.portIs('db2', (port) => port.offset === offset + lines.join('xx').length + 2);
        const client = people.ssh.spawn(['-tt', ...words(offset)], { key: 'alice' });
        await client.out.until('line 50 of db2\r\n');
        const shown = client.out.text.split(/\r\n/).filter((line) => line.startsWith('line '));
        assert.deepEqual(shown, lines.slice(-count), words(offset).join(' '));
        await db2.say('and live\r\n');
        await client.out.until('and live\r\n');
        await people.leave(client);
      }
    });

    it('refuses an option of the login name that is none, in words', async () => {
      const wrong = await people.ssh.run(['-tt', 'bob:db2:vew@127.0.0.1'], { key: 'bob' });
      assert.equal(wrong.code, 2);
      const told = wrong.out + wrong.stderr;
      assert.match(told, /"vew" is no option of a login name; .* view, force, wait, replay=LINES/);
    });

    it('takes aliases and unique beginnings, names what fits, and completes', async () => {
      for (const [typed, port] of [
        ['core', 'db1'],
        ['DOO', 'door'],
        ['boar', 'board'],
      ] as const) {
        const client = people.ssh.spawn(['-tt', 'alice@127.0.0.1', 'attach', typed, '--view'], {
          key: 'alice',
        });
        await client.out.until(`${port}: you view`);
        await people.leave(client);
      }
      const many = await people.verb('alice', 'attach', 'db');
      assert.equal(many.code, 3);
      assert.match(many.stderr, /"db" fits db1, db2/);
      const none = await people.verb('alice', 'attach', 'db7');
      assert.equal(none.code, 3);
      assert.match(none.stderr, /no port "db7"; did you mean "db1" or "db2"/);
      const ports = await people.verb('bob', 'complete', 'attach', 'd');
      assert.equal(ports.out, 'db1\ndb2\ndoor\n');
      const tasks = await people.verb('bob', 'complete', 'task', 'db1', "''");
      assert.equal(tasks.out, 'hello\nwipe\nslow\nbreak\n');
    });

    it('shows the screen as it stands to who comes after it was drawn', async () => {
      const drawn = [
        '\x1b[?1049h\x1b[2J\x1b[1;1H\x1b[44;37;1m  SETUP  ',
        '\x1b[0m\x1b[5;10H\x1b[7mBoot order\x1b[0m\x1b[6;10HSecurity',
        '\x1b[24;1H\x1b[4mF10 saves\x1b[0m\x1b(0lqk\x1b(B\x1b[5;10H\x1b[?25l',
      ].join('');
      const more = '\x1b[7mSecurity\x1b[0m\x1b[5;10HBoot order\x1b[6;10H';
      await many.say(drawn);
      const device = new Screen(SIZE);
      await device.feed(drawn);
      await until(() => device.text().includes('Security'), 'the picture');
      await people.records('many', ({ kind, bytes }) => {
        return kind === 'rx' && Buffer.from(bytes as string, 'base64').includes('[?25l');
      });
      const terminal = people.terminal(people.fairlead('attach', 'many', '--view'));
      await terminal.heard.until('F10 saves');
      const seen = new Seen(terminal.heard);
      await seen.until((screen) => screen.text().includes('Security'));
      assert.deepEqual((await seen.now()).shows(), device.shows());
      await many.say(more);
      await device.feed(more);
      await seen.until((screen) => screen.shows().join() === device.shows().join());
      terminal.type('\x05c.');
      assert.equal(await terminal.exited, 0);
      const left = (await seen.now()).terminal;
      assert.equal(left.buffer.active.type, 'normal', 'who leaves gets the own screen back');
      assert.match(terminal.heard.text, /\x1b\[\?25h/);
    });
  });

  it('watch shows many ports, and --unattended what nobody else looks after', async () => {
    const alice = await people.attach('alice:db1', 'db1: you write');
    const all = people.ssh.spawn(['vera@127.0.0.1', 'watch', 'db?'], { key: 'vera' });
    const rest = people.ssh.spawn(['vera@127.0.0.1', 'watch', 'db?', '--unattended'], {
      key: 'vera',
    });
    await people.portIs('db1', ({ viewers }) => viewers === 2);
    await people.portIs('db2', ({ viewers }) => viewers === 2);
    await db1.say('attended\r\n');
    await all.out.until('db1* | attended\n');
    await db2.say('alone\r\n');
    for (const { out } of [all, rest]) await out.until('db2  | alone\n');
    await people.leave(alice);
    await people.portIs('db1', ({ writer }) => writer === null);
    await db1.say('left behind\r\n');
    for (const { out } of [all, rest]) await out.until('db1  | left behind\n');
    assert.doesNotMatch(rest.out.text, /attended/);
  });

  it('choose a port in the menu, come back to it, and may resize it', async () => {
    const from = db2.heard.length;
    const terminal = people.terminal(
      people.ssh.command(['-t', '-e', 'none', 'bob@127.0.0.1'], { key: 'bob' }),
    );
    const seen = new Seen(terminal.heard);
    await seen.until(menuShows(/^Fairlead {2}\d ports/, /^Enter attaches/, SIZE.rows));
    terminal.type('db');
    await seen.until(menuShows(/^Fairlead {2}2 of \d: db_/, /^Enter attaches/, SIZE.rows));
    terminal.type('\x1b[B');
    await seen.until((screen) =>
      screen.shows().some((row) => row.startsWith('<inverse>d<inverse>b<inverse>2')),
    );
    terminal.type('\r');
    await terminal.heard.until('db2: you write');
    terminal.type('typed at db2\r');
    await db2.heard.until('typed at db2\r', from);
    terminal.type('\x05c.');
    await seen.until(menuShows(/^Fairlead {2}2 of \d: db_/, /^Enter attaches/, SIZE.rows));

    terminal.resize(60, 10);
    await seen.until(menuShows(/^Fairlead {2}2 of \d: db_/, /^Enter attaches, \? help/, 10));
    terminal.type('\x15');
    await seen.until(menuShows(/^Fairlead {2}\d ports/, /^Enter attaches, \? help/, 10));
    terminal.type('\x03');
    assert.equal(await terminal.exited, 0);
    assert.equal((await seen.now()).terminal.buffer.active.type, 'normal');
  });

  it('log in with a one-time code besides the password, each code once', async () => {
    const step = Math.floor(Date.now() / 1_000 / TOTP_STEP_S);
    const code = (later: number): string => totpCode(parseTotpSecret(TOTP_SECRET)!, step + later);
    const login = (typed: string, password = 'open sesame') =>
      people.ssh.run(['tom@127.0.0.1', 'ports'], {
        password,
        code: typed,
        source: '127.0.0.9',
      });
    const wrong = await login('000000');
    assert.equal(wrong.code, 255);
    assert.match(wrong.stderr, /Permission denied \(publickey,keyboard-interactive\)/);
    const right = await login(code(0));
    assert.equal(right.code, 0, right.stderr);
    assert.match(right.out, /db1/);
    assert.equal((await login(code(0))).code, 255, 'not a second time');
    assert.equal((await login(code(1), 'wrong')).code, 255);
    assert.equal((await login(code(1))).code, 0, 'a wrong password uses no code up');
  });
});

/** What a terminal shows of all that came so far. */
class Seen {
  readonly #heard: Heard;
  #size = SIZE;

  constructor(heard: Heard) {
    this.#heard = heard;
  }

  async now(): Promise<Screen> {
    const screen = new Screen(this.#size);
    await screen.feed(this.#heard.bytes);
    return screen;
  }

  async until(holds: (screen: Screen) => boolean): Promise<void> {
    const end = performance.now() + DEADLINE_MS;
    for (;;) {
      const { length } = this.#heard;
      const screen = await this.now();
      if (holds(screen)) return;
      if (performance.now() > end) throw new Error(`it shows:\n${screen.text()}`);
      await this.#heard.untilLength(length + 1);
    }
  }
}

/** The menu fills the screen from its title to its last row. */
function menuShows(title: RegExp, footer: RegExp, rows: number): (screen: Screen) => boolean {
  return (screen) => {
    const lines = screen.text().split('\n');
    return title.test(lines[0]!) && footer.test(lines[rows - 1]!);
  };
}
