import assert from 'node:assert/strict';
import xterm from '@xterm/headless';
import { after, afterEach, before, describe, it } from 'node:test';
import { hashPassword } from '../../src/auth/password.ts';
import type { Busy } from '../../src/core/settings.ts';
import { freeBase } from '../frontends/fakes.ts';
import { until } from '../support/pty.ts';
import { TelnetDevice } from '../support/telnet-device.ts';
import { RawClient, type Machine, type Terminal } from './console.ts';
import { People, press } from './people.ts';
import { everybodyLeft, nextSession, troubles } from './serial-tools.ts';

/** inetutils' telnet, as a person uses it. */
describe('telnet in character mode', () => {
  const board = new TelnetDevice();
  let people: People;
  let db1: Machine;
  let grub: Machine;
  let base: number;

  before(async () => {
    people = await People.make();
    [db1, grub] = [people.machine(), people.machine()];
    await board.start();
    base = await freeBase(20);
    await people.start(
      `
banner: Only for those who keep machines alive
listen:
  ssh: none
  telnet: { base: ${base}, alias: ${base + 10}, allow: [127.0.0.0/8] }
users:
  ann: { role: admin, password: '${await hashPassword('open sesame')}' }
ports:
  db1: { n: 1, device: ${db1.path}, motd: mind the gap }
  grub: { n: 2, device: ${grub.path} }
  board: { n: 3, telnet: '127.0.0.1:${board.tcpPort}' }
`,
      ['db1', 'grub', 'board'],
    );
    assert.deepEqual(troubles(people.daemon), []);
  });
  afterEach(async () => {
    people.endClients();
    await everybodyLeft(people.daemon);
  });
  after(async () => {
    await people.dispose();
    await board.dispose();
    assert.deepEqual(troubles(people.daemon), []);
  });

  function telnet(tcpPort: number, stty = 'sane'): Terminal {
    const command = `stty ${stty}; exec inetutils-telnet 127.0.0.1 ${tcpPort}`;
    return people.terminal(['sh', '-c', command]);
  }

  async function logIn(terminal: Terminal, greeting: string): Promise<void> {
    await terminal.heard.until('login: ');
    await press(terminal, 'ann\r', 'Password: ');
    await press(terminal, 'open sesame\r', greeting);
  }

  it("asks for login and password, shows the port, and every key but ^] is the device's", async () => {
    const terminal = telnet(base + 1);
    await terminal.heard.until('Only for those who keep machines alive');
    await logIn(terminal, 'db1: you write');
    assert.match(terminal.heard.text, /mind the gap/);
    assert.doesNotMatch(terminal.heard.text, /sesame/);

    await db1.say('\r\ndb1 login: ');
    await terminal.heard.until('db1 login: ');
    let from = db1.heard.length;
    terminal.type('root\r');
    await db1.heard.until('root\r', from);
    for (const keys of ['\x01\x01\x01', '\x03', '\x1a', '\x1c', '\x04', '\x11\x13', '\t\x7f\0']) {
      from = db1.heard.length;
      terminal.type(keys);
      await db1.heard.until(keys, from);
    }
    assert.doesNotMatch(db1.heard.text, /root\r[\n\0]/, 'Enter is one carriage return');
    await press(terminal, '\x05c?', 'octal code');
    await press(terminal, '\x05cw', /ann writes, from .* by telnet/);

    await press(terminal, '\x1d', 'telnet> ');
    terminal.type('quit\r');
    await terminal.exited;
  });

  it('leaves by ^Ec. as everywhere', async () => {
    const terminal = telnet(base + 1);
    await logIn(terminal, 'db1: you write');
    terminal.type('\x05c.');
    await terminal.exited;
    assert.match(terminal.heard.text, /Connection closed by foreign host/);
  });

  it('makes BREAK of `send brk`, or says why not', async () => {
    const terminal = telnet(base + 3);
    await logIn(terminal, 'board: you write');
    await press(terminal, '\x1d', 'telnet> ');
    terminal.type('send brk\r');
    await until(() => board.commands.includes('break'), 'BREAK at the board', 90_000);
    const records = await people.records('board', ({ kind }) => kind === 'break');
    const { session } = records.find(({ kind }) => kind === 'break')!;
    assert.equal(typeof session, 'number', 'it says whose BREAK it was');
    terminal.type('\x05c.');
    await terminal.exited;

    const other = telnet(base + 1);
    await logIn(other, 'db1: you write');
    await press(other, '\x1d', 'telnet> ');
    await press(other, 'send brk\r', 'is a pty: it has no BREAK');
  });

  it('sends what stands for a key as that key', async () => {
    const terminal = telnet(base + 1);
    await logIn(terminal, 'db1: you write');
    for (const [command, key] of [
      ['ip', '\x03'],
      ['ec', '\x7f'],
      ['el', '\x15'],
      ['eof', '\x04'],
      ['escape', '\x1d'],
    ] as const) {
      const from = db1.heard.length;
      await press(terminal, '\x1d', 'telnet> ');
      terminal.type(`send ${command}\r`);
      await db1.heard.until(key, from);
    }
    await press(terminal, '\x1d', 'telnet> ');
    await press(terminal, 'send ayt\r', '[fairlead: yes, db1]');
  });

  it('shows the screen as it stands at the size of the window', async () => {
    // A menu as firmware draws it, in the corner of a window that is larger than most.
    await grub.say('\x1b[2J\x1b[1;1Htop\x1b[40;96Hcorner');
    await people.portIs('grub', ({ offset }) => offset > 0);
    const [columns, rows] = [132, 43];
    const terminal = telnet(base + 2, `cols ${columns} rows ${rows}`);
    await logIn(terminal, 'corner');
    const screen = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true });
    await new Promise<void>((resolve) => screen.write(terminal.heard.bytes, resolve));
    const { active } = screen.buffer;
    const line = (row: number): string =>
      active.getLine(active.baseY + row - 1)!.translateToString(true);
    assert.equal(line(1), 'top');
    assert.equal(line(40), `${' '.repeat(95)}corner`);
    screen.dispose();
  });

  it('is served at a second base, too', async () => {
    const attached = nextSession(people.daemon, 'db1');
    const terminal = telnet(base + 11);
    await logIn(terminal, 'db1: you write');
    assert.equal((await attached)['user'], 'ann');
  });
});

describe('a port that somebody writes on', () => {
  let people: People;
  let db1: Machine;
  let bases: { telnet: number; raw: number };

  async function start(busy: Busy): Promise<void> {
    people = await People.make();
    db1 = people.machine();
    bases = { telnet: await freeBase(), raw: await freeBase() };
    const as = (user: string): string => `auth: none, allow: [127.0.0.1/32], as: ${user}`;
    await people.start(
      `
listen:
  ssh: none
  telnet: { base: ${bases.telnet}, busy: ${busy}, ${as('tess')} }
  raw: { base: ${bases.raw}, busy: ${busy}, ${as('ray')} }
users:
  tess: { role: operator, ports: ['*'] }
  ray: { role: operator, ports: ['*'] }
ports:
  db1: { n: 1, device: ${db1.path} }
`,
      ['db1'],
    );
    assert.deepEqual(troubles(people.daemon), []);
  }
  afterEach(async () => {
    await people.dispose();
  });

  async function rawClient(): Promise<RawClient> {
    const attached = nextSession(people.daemon, 'db1');
    const client = await RawClient.enter(bases.raw + 1);
    await attached;
    return client;
  }

  const telnet = (): Terminal =>
    people.terminal(['inetutils-telnet', '127.0.0.1', String(bases.telnet + 1)]);

  it('is refused to others at a door that says so', async () => {
    await start('refuse');
    const first = await rawClient();
    const second = await RawClient.enter(bases.raw + 1);
    await second.closed;
    assert.equal(second.heard.length, 0);
    const person = telnet();
    await person.heard.until('ray writes on db1');
    await person.exited;
    first.socket.write('still mine');
    await db1.heard.until('still mine');
    const refused = [/"msg":"raw client refused"/, /"msg":"telnet client refused"/];
    assert.deepEqual(troubles(people.daemon, refused), []);
    assert.equal(troubles(people.daemon).length, 2);
    first.socket.destroy();
  });

  it('can be viewed, and is whose turn it is when the writer leaves', async () => {
    await start('view');
    const first = await rawClient();
    const second = await rawClient();
    const person = telnet();
    await person.heard.until(/db1: you view.*ray/);
    await db1.say('for everybody\r\n');
    for (const { heard } of [first, second, person]) await heard.until('for everybody');
    await press(person, 'x', 'input refused');
    second.socket.write('not mine yet');
    first.socket.write('mine');
    await db1.heard.until('mine');
    assert.equal(db1.heard.text, 'mine');
    first.socket.destroy();
    second.socket.destroy();
    await person.heard.until('you write now');
    person.type('at last');
    await db1.heard.until('at last');
    assert.deepEqual(troubles(people.daemon), []);
  });

  it('is taken over at a door that says so, and the loser views, told by whom', async () => {
    await start('takeover');
    const first = await rawClient();
    const person = telnet();
    await person.heard.until('db1: you write');
    first.socket.write('too late');
    person.type('hers');
    await db1.heard.until('hers');
    const third = await rawClient();
    await person.heard.until('taken over by ray; you view now');
    third.socket.write('his');
    await db1.heard.until('his');
    assert.equal(db1.heard.text, 'hershis');
    await db1.say('for everybody\r\n');
    for (const { heard } of [first, person, third]) await heard.until('for everybody');
    assert.deepEqual(troubles(people.daemon), []);
    first.socket.destroy();
    third.socket.destroy();
  });
});
