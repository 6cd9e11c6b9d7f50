import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { hashPassword } from '../../src/auth/password.ts';
import type { SessionStatus } from '../../src/core/port-status.ts';
import { TelnetDevice } from '../support/telnet-device.ts';
import { until } from '../support/pty.ts';
import type { Machine } from './console.ts';
import { freeTcpPort } from './daemon.ts';
import { People, press } from './people.ts';

/** The keys behind ^Ec as a person uses them, at terminals and through the real `ssh`. */
describe('keys', () => {
  let people: People;
  let db1: Machine;
  let db2: Machine;
  let db3: Machine;
  let telnetBase: number;
  const board = new TelnetDevice();

  before(async () => {
    people = await People.make();
    [db1, db2, db3] = [people.machine(), people.machine(), people.machine()];
    await board.start();
    telnetBase = (await freeTcpPort()) - 1;
    const user = (name: string, more = ''): string =>
      `  ${name}: { role: operator, ports: ['*'], keys: ['${people.ssh.makeKey(name)}']${more} }\n`;
    await people.start(
      `
listen: { ssh: '127.0.0.1:${people.ssh.tcpPort}', telnet: { base: ${telnetBase} } }
motd: Be nice.
users:
  alice: { role: admin, keys: ['${people.ssh.makeKey('alice')}'] }
  erin: { role: operator, ports: [db1], password: '${await hashPassword('open sesame')}' }
${user('bob')}${user('carl', ', escape: "^Bq"')}${user('dora', ', escape: none')}
breaks: { 2: [{ send: "entry two\\r" }] }
tasks:
  hello: { help: says hello twice, key: h, steps: [{ send: "hello\\r" }, 20ms, { send: "again\\r" }] }
  wipe: { key: w, confirm: true, steps: [{ send: "wipe\\r" }] }
  drop: { key: d, steps: [dtr=off, 10ms, dtr=on] }
ports:
  db1: { n: 1, device: ${db1.path}, aliases: [main], group: rack3, motd: The first. }
  db2: { device: ${db2.path} }
  db3: { device: ${db3.path} }
  board: { telnet: '127.0.0.1:${board.tcpPort}' }
`,
      ['db1', 'db2', 'db3', 'board'],
    );
  });
  afterEach(() => people.endClients());
  after(async () => {
    await people.dispose();
    await board.dispose();
  });

  /** Resolves when all that was typed before went out, and nothing else did. */
  async function heardOnly(machine: Machine, from: number, text: string): Promise<void> {
    await machine.heard.until(text, from);
    assert.equal(machine.heard.text.slice(from), text);
  }

  it('. leaves, ? lists them all, others are named', async () => {
    const client = await people.attach('alice:db1', 'db1: you write');
    const help = await press(client, '\x05c?', 'octal code');
    for (const key of '. ? a f s w u r p ^R l0 l? ; o d i x b m | ! e z \\ooo L n M'.split(' ')) {
      assert.ok(help.includes(`^Ec${key} `), `${key} in ${help}`);
    }
    await press(client, '\x05cq', '^Ecq is no key; ^Ec? lists them');
    await people.leave(client);
    const records = await people.records('db1', ({ why }) => why === 'left by ^Ec.');
    assert.ok(!records.some(({ kind }) => kind === 'tx'), 'no key reaches the device');
  });

  it('s gives write up, a asks for it, f takes it, w and u tell who has it', async () => {
    const alice = await people.attach('alice:db1', 'db1: you write');
    const bob = await people.attach('bob:db1:view', 'db1: you view; alice writes');
    await press(bob, 'x', 'input refused: you only view; alice writes');
    await press(bob, '\x05ca', 'you get write when they leave');
    await press(bob, '\x05ca', 'you get write when whoever has it leaves');
    alice.type('\x05cs');
    await bob.out.until('you write now');
    await alice.out.until('you view now');

    const who = await press(alice, '\x05cw', /bob writes, from .*ssh\]/);
    assert.match(who, /session \d+: alice views, from 127\.0\.0\.1:\d+ by ssh \(you\)/);
    await press(alice, '\x05cu', 'db1 up, bob writes, 1 view');
    const from = alice.out.length;
    await press(alice, '\x05cf', 'you write now');
    await bob.out.until('taken over by alice; you view now');
    assert.doesNotMatch(alice.out.text.slice(from), /taken over/);
    await people.portIs('db1', ({ writer, viewers }) => writer === 'alice' && viewers === 1);
    await people.leave(bob, alice);
    const records = await people.records('db1', ({ kind }) => kind === 'took-over', 2);
    assert.equal(records.filter(({ kind }) => kind === 'took-over').length, 2);
  });

  it('^R, r and p show the last line, the last 20 and the last 60 again', async () => {
    const lines = Array.from({ length: 100 }, (_, i) => `row ${i + 1} of them`);
    const client = await people.attach('alice:db2', 'db2: you write');
    await db2.say(`${lines.join('\r\n')}\r\n`);
    await client.out.until(lines.at(-1)!);
    for (const [keys, title, count] of [
      ['\x05c\x12', 'the last line', 1],
      ['\x05cr', 'the last 20 lines', 20],
      ['\x05cp', 'the last 60 lines', 60],
    ] as const) {
      const shown = await press(client, keys, new RegExp(`${title}[^]*row 100 of them\r\n`));
      const rows = shown.split('\r\n').filter((line) => line.startsWith('row '));
      assert.deepEqual(rows, lines.slice(-count), title);
    }
    assert.equal(db2.heard.length, 0);
    await people.leave(client);
  });

  it('l0 is BREAK, l and a key sends an entry of the list, l? shows it', async () => {
    const client = await people.attach('bob:board', 'board: you write');
    client.type('\x05cl0');
    await until(() => board.commands.includes('break'), 'BREAK at the device');
    const records = await people.records('board', ({ kind }) => kind === 'break');
    const sent = records.find(({ kind }) => kind === 'break')!;
    const by = records.find(
      ({ kind, session }) => kind === 'attached' && session === sent['session'],
    );
    assert.equal(by!['user'], 'bob');

    const list = await press(client, '\x05cl?', /wipe: send 5 bytes/);
    assert.match(list, /0  break: BREAK of 300 ms[^]*2  break-2: send 10 bytes/);
    assert.match(list, /d  drop: dtr=off, wait 10 ms, dtr=on[^]*h  hello: says hello twice/);
    board.receive();
    const sends = async (keys: string, told: string, text: string): Promise<void> => {
      await press(client, keys, told);
      let got = '';
      await until(() => (got += board.receive().toString()).length >= text.length, text);
      assert.equal(got, text);
    };
    await sends('\x05cl2', 'break-2 done', 'entry two\r');
    await sends('\x05clh', 'hello done', 'hello\ragain\r');
    await press(client, '\x05cl9', 'the break list has no entry 9');

    await press(client, '\x05clw', 'run wipe? (y/n)');
    await press(client, '\tn', 'no]');
    await press(client, '\x05clw', 'run wipe? (y/n)');
    await sends('y', 'wipe done', 'wipe\r');
    await people.leave(client);
  });

  it('! runs a task by name; one that needs signals is refused on a pty, in words', async () => {
    const client = await people.attach('alice:db1', 'db1: you write');
    const from = db1.heard.length;
    await press(client, '\x05c!', 'task, ? lists them:');
    await press(client, '?', /break-2 {2}hello {2}wipe {2}drop|hello {2}wipe {2}drop/);
    await press(client, 'he\t', 'hello');
    await press(client, '\r', 'hello done');
    await press(client, '\x05c!', 'task, ? lists them:');
    await press(client, 'drop\r', /drop, step 1 of 3: \S+ is a pty: it has no signals/);
    await press(client, '\x05cl0', 'is a pty: it has no BREAK');
    await press(client, '\x05c!', 'task, ? lists them:');
    await press(client, 'nothing\r', 'the port has no task "nothing"');
    await press(client, '\x05c!', 'task, ? lists them:');
    await press(client, '\x03', 'cancelled]');
    await heardOnly(db1, from, 'hello\ragain\r');
    await people.leave(client);
    await people.records('db1', ({ text }) => text === 'task hello by alice');
  });

  it('; moves to another port, with completion; what fits no port moves nobody', async () => {
    const from = db2.heard.length;
    const client = await people.attach('alice:db1', 'db1: you write');
    await press(client, '\x05c;', 'move to port:');
    await press(client, 'd\t', 'db');
    await press(client, '\t', /db1 {2}db2 {2}db3[^]*move to port: db/);
    await press(client, '2\r', 'db2: you write');
    await people.portIs('db1', ({ writer }) => writer === null);
    client.type('at db2 now\r');
    await heardOnly(db2, from, 'at db2 now\r');
    await press(client, '\x05c;', 'move to port:');
    await press(client, 'db9\r', /no port "?db9"?.*did you mean/i);
    await press(client, '\x05c;', 'move to port:');
    await press(client, 'db1', 'db1');
    await press(client, '\x1b', 'cancelled]');
    client.type('still db2\r');
    await db2.heard.until('still db2\r');
    await press(client, '\x05c;', 'move to port:');
    await press(client, 'main\r', 'db1: you write');
    await people.leave(client);
  });

  it('d takes the port down when confirmed, o opens it again; all are told', async () => {
    const alice = await people.attach('alice:db3', 'db3: you write');
    const bob = await people.attach('bob:db3', 'db3: you view');
    await press(alice, '\x05cd', 'take db3 down? (y/n)');
    await press(alice, 'n', 'no]');
    assert.equal((await people.portIs('db3', () => true)).state, 'up');
    await press(alice, '\x05cd', 'take db3 down? (y/n)');
    alice.type('y');
    for (const { out } of [alice, bob]) await out.until('the port is down: held down by alice');
    const { why } = await people.portIs('db3', ({ state }) => state === 'down');
    assert.equal(why, 'held down by alice');
    await press(alice, 'x', 'input refused: db3 is down: held down by alice');
    await press(bob, '\x05co', 'the port is up again');
    await alice.out.until('the port is up again');
    await people.portIs('db3', ({ state }) => state === 'up');
    await db3.say('back\r\n');
    await alice.out.until('back');
    await people.leave(bob, alice);
  });

  it('i, x and m tell of the port, its line and its message of the day', async () => {
    const client = await people.attach('alice:db1', 'db1: you write');
    const details = await press(client, '\x05ci', /tasks: .*wipe/);
    for (const words of [
      ...['db1 (1): up', `device ${db1.path}`, 'writer: alice, viewers: 0', 'group: rack3'],
      ...['aliases: main', 'line: 115200 8N1'],
    ]) {
      assert.ok(details.includes(words), `${words} in ${details}`);
    }
    await press(client, '\x05cx', 'line: 115200 8N1, flow control none');
    await press(client, '\x05cm', /Be nice\.[^]*The first\./);
    await people.leave(client);
  });

  it('b types at a list of ports, shown first; at those that somebody else has it does not', async () => {
    const [from1, from2, from3] = [db1.heard.length, db2.heard.length, db3.heard.length];
    const bob = await people.attach('bob:db3', 'db3: you write');
    const alice = await people.attach('alice:db1', 'db1: you write');
    await press(alice, '\x05cb', 'type at this port and (names or globs):');
    await press(alice, 'db?, nope\r', 'no port fits nope');
    await press(alice, '\x05cb', 'type at this port and (names or globs):');
    const asked = await press(alice, 'db?\r', 'type at 3 ports? (y/n)');
    assert.match(asked, /keys will go to db1 and: db2, db3/);
    const told = await press(alice, 'y', 'keys go to db1, db2; ^Ecb ends that');
    assert.match(told, /nothing is typed at db3: bob writes/);
    alice.type('uptime\r');
    await heardOnly(db1, from1, 'uptime\r');
    await heardOnly(db2, from2, 'uptime\r');
    const who = await people.rows<SessionStatus>('who', 'db2');
    assert.deepEqual(
      who.map(({ user, mode }) => `${user} ${mode}`),
      ['alice write'],
    );
    await press(alice, '\x05cb', 'keys go to this port only');
    alice.type('alone\r');
    await db1.heard.until('alone\r', from1);
    await people.portIs('db2', ({ writer }) => writer === null);
    assert.equal(db2.heard.text.slice(from2), 'uptime\r');
    assert.equal(db3.heard.length, from3);
    await people.leave(alice, bob);
  });

  it('M says something to all on the port, n writes a note into the log', async () => {
    const alice = await people.attach('alice:db1', 'db1: you write');
    const bob = await people.attach('bob:db1', 'db1: you view');
    await press(bob, '\x05cM', 'message to all on db1:');
    bob.type('lunch at noon?\r');
    await alice.out.until('message from bob: lunch at noon?');
    await press(alice, '\x05cn', 'note for the log:');
    await press(alice, 'new DIMN\x7fM in slot 4\r', 'noted');
    await people.leave(alice, bob);
    await people.records('db1', ({ text }) => text === 'note by alice: new DIMM in slot 4');
    const { stdout } = await people.daemon.cli(['log', 'db1']);
    assert.match(stdout.toString(), /\[fairlead .*note by alice: new DIMM in slot 4\]/);
  });

  it('L stops logging, with a gap that counts what was said, and resumes it', async () => {
    const alice = await people.attach('alice:db2', 'db2: you write');
    await press(alice, '\x05cL', 'logging turned off by alice');
    await db2.say('a secret\r\n');
    await alice.out.until('a secret');
    await press(alice, '\x05ci', 'what it says is NOT logged at the moment');
    await press(alice, '\x05cL', 'logging turned on by alice');
    await db2.say('no secret\r\n');
    await alice.out.until('no secret');
    const bob = await people.attach('bob:db2', 'db2: you view');
    await press(bob, '\x05cL', /bob may not .*"admin"/);
    await people.leave(alice, bob);
    const records = await people.records('db2', ({ kind }) => kind === 'gap');
    const gap = records.find(({ kind }) => kind === 'gap')!;
    assert.equal(gap['count'], 'a secret\r\n'.length);
    const log = await people.daemon.cli(['log', 'db2', '--format', 'raw']);
    assert.ok(log.stdout.includes('no secret'));
    assert.ok(!log.stdout.includes('a secret'));
  });

  it('e takes other keys for this session, \\ooo sends any character', async () => {
    const client = await people.attach('alice:db1', 'db1: you write');
    const from = db1.heard.length;
    await press(client, '\x05ce', 'the two keys that are to begin these, now ^Ec:');
    await press(client, '\x01x', '^Ax begins the keys of this session now');
    client.type('\x05cw');
    await heardOnly(db1, from, '\x05cw');
    await press(client, '\x01xw', '(you)');
    client.type('\x01x\\101');
    await db1.heard.until('A', from);
    client.type('\x01x\\001');
    await heardOnly(db1, from, '\x05cwA\x01');
    client.type('\x01x.');
    assert.equal(await client.exited, 0);
  });

  it('has other keys for who is configured so, and none for who wants none', async () => {
    const from = db1.heard.length;
    const carl = await people.attach('carl:db1', '^Bq? for help');
    carl.type('\x05c.');
    await heardOnly(db1, from, '\x05c.');
    carl.type('\x02q.');
    assert.equal(await carl.exited, 0);
    const dora = await people.attach('dora:db1', 'db1: you write');
    assert.doesNotMatch(dora.out.text, /for help/);
    dora.type('\x05c.');
    await heardOnly(db1, from, '\x05c.\x05c.');
    dora.process.kill();
    await dora.exited;
    await people.portIs('db1', ({ writer }) => writer === null);
  });

  it('z and | need `fairlead attach`: through SSH they say so', async () => {
    const client = await people.attach('alice:db1', 'db1: you write');
    await press(client, '\x05cz', /only `fairlead attach` can suspend itself; .*~\^Z/);
    await press(client, '\x05c|', 'can be piped in `fairlead attach` only');
    await people.leave(client);
  });

  it('| connects a command of the own machine to the port, in a terminal', async () => {
    const terminal = people.terminal(people.fairlead('attach', 'db1'));
    await terminal.heard.until('db1: you write');
    const from = db1.heard.length;
    writeFileSync(people.file('upload'), 'first line\nsecond line\n');
    const upload = `sh -c 'read hello; echo "it said $hello" >&2; cat ${people.file('upload')}'`;
    await press(terminal, '\x05c|', 'command to pipe:');
    await press(terminal, `${upload}\r`, '^C or ^Ec. ends that');
    const shown = terminal.heard.length;
    terminal.type('not for the port');
    await db1.say('ready\n');
    await terminal.heard.until(/it said ready\r+\n[^]*ended with status 0/, shown);
    await heardOnly(db1, from, 'first line\nsecond line\n');
    assert.doesNotMatch(terminal.heard.text.slice(shown), /^ready/m);

    await press(terminal, '\x05c|', 'command to pipe:');
    await press(terminal, 'cat; exit 3\r', '^C or ^Ec. ends that');
    await press(terminal, '\x03', 'ended with status 3');
    await db1.say('shown again\r\n');
    await terminal.heard.until('shown again');
    await press(terminal, '\x05c.', '\r\n');
    assert.equal(await terminal.exited, 0);
  });

  it('z stops `fairlead attach` as ^Z does, and it goes on where it was', async () => {
    const shell = people.terminal(['bash', '--norc', '--noprofile', '-i']);
    const attach = people.fairlead('attach', 'db1').join(' ');
    await press(shell, `PS1='sh''ell> '; ${attach}\r`, 'db1: you write');
    assert.equal(shell.mode(), 'raw');
    await press(shell, '\x05cz', /Stopped[^]*shell> /);
    await press(shell, 'stty -a | tr " " "\\n" | grep -cx -e icanon -e echo -e isig\r', /^3\r$/m);
    await db1.say('said meanwhile\r\n');
    await press(shell, 'echo be""fore; fg\r', /before[^]*said meanwhile/);
    assert.equal(shell.mode(), 'raw');
    const from = db1.heard.length;
    shell.type('\x03still here\r');
    await heardOnly(db1, from, '\x03still here\r');
    await press(shell, '\x05c.', 'shell> ');
    await press(shell, 'stty -a | tr " " "\\n" | grep -cx -e icanon -e echo -e isig\r', /^3\r$/m);
    await press(shell, 'exit\r', 'exit');
    assert.equal(await shell.exited, 0);
  });

  it('works in telnet as well, where ^] is the client’s own', async () => {
    const terminal = people.terminal(['inetutils-telnet', '127.0.0.1', String(telnetBase + 1)]);
    await press(terminal, '', 'login: ');
    await press(terminal, 'erin\r', 'Password: ');
    await press(terminal, 'open sesame\r', 'db1: you write');
    assert.doesNotMatch(terminal.heard.text, /sesame/);
    await press(terminal, '\x05cz', /can suspend itself; in telnet it is \^\] and z/);
    await press(terminal, '\x05cw', /erin writes, from .* by telnet \(you\)/);
    await press(terminal, '\x1d', 'telnet> ');
    await press(terminal, 'send brk\r', 'is a pty: it has no BREAK');
    await press(terminal, '\x05c.', 'Connection closed');
    await terminal.exited;
  });
});
