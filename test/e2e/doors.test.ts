import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import Database from 'better-sqlite3';
import ssh2, { type ClientChannel } from 'ssh2';
import { TELNET_OPTIONS } from '../../src/protocols/telnet-options.ts';
import {
  decodeTelnet,
  encodeNegotiation,
  TELNET_START,
  type TelnetState,
} from '../../src/protocols/telnet.ts';
import { residentBytes } from '../bench/process-usage.ts';
import { clientHello } from '../frontends/certificates.ts';
import { loginAt } from '../frontends/ssh-attacker.ts';
import { requireLibc } from '../support/pty.ts';
import { AllDoors } from './all-doors.ts';
import { Heard, Machine, type SshClient } from './console.ts';
import { Daemon, scratchDirectory } from './daemon.ts';
import { flood, knock, misbehave } from './hostile-client.ts';
import { SilentFlood, sourceAddresses } from './silent-flood.ts';
import { SSH_ATTACKS } from './ssh-attacks.ts';
import { COM_PORT_ATTACKS, TELNET_ATTACKS } from './telnet-attacks.ts';

/** Far more than a busy daemon's memory goes up and down by itself, far less than it is sent. */
const MEMORY_GROWTH_BYTES_MAX = 100e6;
const { binary: BINARY } = TELNET_OPTIONS;
const PIECE_BYTES = 65_536;

describe('the doors of a running daemon, under attack', () => {
  const directory = scratchDirectory();
  let doors: AllDoors;
  let daemon: Daemon;
  let uart: Machine;
  let wide: Machine;
  const bystanders: Bystander[] = [];
  /** Penalties and caps count by source: each attacker has one of its own. */
  const sources = sourceAddresses(20, 1_000)[Symbol.iterator]();
  const source = (): string => sources.next().value!;

  before(async () => {
    const libc = await requireLibc();
    uart = new Machine(libc);
    wide = new Machine(libc);
    doors = await AllDoors.plan(directory.path);
    daemon = await Daemon.start(
      directory.path,
      `
data: ./data
${doors.listen('certificate')}
users:
  ${doors.user('alice', 'role: admin')}
  ${doors.user('carol', "role: view, ports: ['db*']")}
ports:
  db1: { n: 1, sim: echo }
  db2: { n: 2, sim: echo }
  db3: { n: 3, sim: echo }
  db4: { n: 4, sim: echo }
  uart: { n: 5, device: ${uart.path} }
  slow: { n: 6, sim: echo }
  wide: { n: 7, device: ${wide.path}, expose: ./exposed }
  hidden: { sim: echo }
`,
    );
    for (const name of ['uart', 'wide']) await daemon.said('port up', ({ port }) => port === name);
    bystanders.push(
      ofSsh('port-ssh', doors.portSsh.spawn(['-tt', 'alice@127.0.0.1'], { key: 'alice' })),
      ofSsh('ssh', doors.ssh.spawn(['-W', 'db2:1', 'alice@127.0.0.1'], { key: 'alice' })),
      ofSocket('telnet', await doors.telnet(3)),
      ofSocket('raw', await doors.rawTls(4)),
    );
    await allAnswer();
  });
  after(async () => {
    doors.dispose();
    await daemon.stop();
    uart.dispose();
    wide.dispose();
    directory.dispose();
  });

  /** What each types comes back from its port. */
  async function allAnswer(): Promise<void> {
    for (const { type, heard } of bystanders) {
      const word = `<${randomBytes(6).toString('hex')}>`;
      const from = heard.length;
      type(word);
      await heard.until(word, from);
    }
  }

  async function newcomersEnter(): Promise<void> {
    for (const door of [doors.ssh, doors.portSsh]) {
      const { code, stderr } = await door.run(['alice@127.0.0.1', 'who'], { key: 'alice' });
      assert.equal(code, 0, stderr);
    }
    const person = await doors.telnet(3);
    await person.heard.until('db3: you view');
    person.socket.destroy();
    const program = await doors.rawTls(4);
    await allAnswer();
    await program.heard.until('<');
    program.socket.destroy();
  }

  /** Does it, and looks that nobody but the attacker had anything of it. */
  async function nobodyElseIsDisturbed(attack: () => Promise<void>): Promise<void> {
    const before = residentBytes(daemon.process.pid!);
    const errorsBefore = errors().length;
    await attack();
    await allAnswer();
    await newcomersEnter();
    const { peak } = residentBytes(daemon.process.pid!);
    assert.ok(peak - before.peak < MEMORY_GROWTH_BYTES_MAX, `${before.peak} grew to ${peak}`);
    assert.deepEqual(errors().slice(errorsBefore), []);
  }

  const errors = () => daemon.journal.filter(({ level }) => !['info', 'warn'].includes(level));

  describe('silent sockets', () => {
    const listeners: [string, () => number, (source: string) => Promise<void>][] = [
      ['ssh', () => doors.ssh.tcpPort, (from) => sshLogin(doors.ssh, from)],
      ['port-ssh', () => doors.portSsh.tcpPort, (from) => sshLogin(doors.portSsh, from)],
      [
        'telnet',
        () => doors.telnetBase + 3,
        async (from) => {
          const { heard, socket } = await doors.telnet(3, 'alice', from);
          await heard.until('you view');
          socket.destroy();
        },
      ],
      [
        'raw with TLS',
        () => doors.rawBase + 4,
        async (from) => {
          const { heard, socket } = await doors.rawTls(4, from);
          // It may not have its session yet when the others type for the first time.
          while (heard.length === 0) await allAnswer();
          socket.destroy();
        },
      ],
    ];

    async function sshLogin(door: AllDoors['ssh'], from: string): Promise<void> {
      const options = { key: 'alice', source: from };
      const { code, stderr } = await door.run(['alice@127.0.0.1', 'who'], options);
      assert.equal(code, 0, stderr);
    }

    it('400 at each door: 100 may wait, and a person gets in, from where they come from too', async () => {
      const crowds = listeners.map(([, tcpPort], index) => {
        const own = ownSource(index);
        const others = sourceAddresses(30 + index, 40).flatMap((other) => [other, own]);
        return new SilentFlood({ tcpPort: tcpPort(), count: 400, sources: others });
      });
      for (const [index, [name, , login]] of listeners.entries()) {
        const crowd = crowds[index]!;
        await crowd.tried();
        await crowd.closed(300);
        assert.ok(crowd.held > 0, `${name}: those over the bound were closed before the others`);
        await login(ownSource(index));
        await login('127.0.0.7');
      }
      await allAnswer();
      for (const crowd of crowds) {
        await crowd.closed();
        await crowd.stop();
      }
    });

    const ownSource = (index: number): string => `127.0.2.${index + 1}`;
  });

  describe('SSH', () => {
    for (const attack of SSH_ATTACKS) {
      it(`outlives ${attack.what}`, () =>
        nobodyElseIsDisturbed(() =>
          attack.run(doors.ssh.tcpPort, 'alice', doors.privateKey('alice')),
        ));
    }

    it('says in the journal whom it cut, and why', async () => {
      for (const why of [/packet size of 0$/, /packet size of 1$/, /more than its window/]) {
        const cut = await daemon.said('ssh client cut', (entry) => why.test(String(entry['why'])));
        assert.equal(cut['user'], 'alice');
      }
    });

    it('outlives streams that are no SSH, or soon are no more', () =>
      nobodyElseIsDisturbed(async () => {
        const ident = Buffer.from('SSH-2.0-attacker\r\n');
        const openings: Iterable<Uint8Array>[] = [
          [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
          flood(Buffer.from('x'), 64e6),
          flood(Buffer.from('no ident\r\n'), 64e6),
          [ident, Buffer.alloc(64, 0xff)],
          [ident, Buffer.alloc(64)],
          [ident, ...flood(Buffer.alloc(1_000, 0xa5), 8e6)],
          ...Array.from({ length: 40 }, () => [randomBytes(2_000)]),
          ...Array.from({ length: 40 }, () => [ident, randomBytes(2_000)]),
        ];
        const ends = await Promise.all(
          openings.map((sends) =>
            misbehave(knock(doors.ssh.tcpPort, source()), { sends, stays: true }),
          ),
        );
        for (const { heard } of ends) assert.ok(heard < 10_000, `${heard} bytes of answers`);
      }));
  });

  describe('telnet', () => {
    it('outlives anything that is said to it, and loops with nobody', () =>
      nobodyElseIsDisturbed(async () => {
        for (const { what, conduct, isCut } of TELNET_ATTACKS) {
          const end = await misbehave(knock(doors.telnetBase + 1, source()), conduct());
          assert.equal(end.wasCut, isCut, what);
          assert.ok(end.heard < 10_000, `${what}: ${end.heard} bytes of answers`);
        }
      }));

    it('outlives anything that is said by RFC 2217', () =>
      nobodyElseIsDisturbed(async () => {
        await Promise.all(
          COM_PORT_ATTACKS.map(async ({ what, conduct, isCut }) => {
            const { heard, socket } = await doors.telnet(5, 'alice', source());
            await heard.until(/you (write|view)/);
            const end = await misbehave(socket, conduct());
            assert.equal(end.wasCut, isCut, what);
          }),
        );
      }));
  });

  it('TLS outlives half of a handshake, and what is none', () =>
    nobodyElseIsDisturbed(async () => {
      const hello = await clientHello();
      const openings: Iterable<Uint8Array>[] = [
        [hello.subarray(0, hello.length / 2)],
        [hello],
        [hello, randomBytes(5_000)],
        [hello, hello],
        [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
        [Buffer.from([22, 3, 1, 255, 255]), ...flood(Buffer.alloc(1_000), 8e6)],
        ...Array.from({ length: 40 }, () => [randomBytes(2_000)]),
      ];
      await Promise.all(
        openings.map((sends) => misbehave(knock(doors.rawBase + 4, source()), { sends })),
      );
    }));

  describe('names', () => {
    const awkward = [
      '\x1b]0;owned\x07',
      '../../etc/passwd',
      'db1\nroot',
      '\u009b2J',
      'x'.repeat(30_000),
    ];

    it('that nobody can have are refused at login, and stand in the journal cut and escaped', async () => {
      const printed = new Heard().listenTo(daemon.process.stdout!);
      for (const name of [...awkward, 'alice:../db1', 'alice:db1:\x1b[2J', 'x'.repeat(64_000)]) {
        assert.equal(await isAdmitted(name), false, JSON.stringify(name.slice(0, 50)));
      }
      for (const name of [...awkward, 'alice:../db1']) {
        const user = name.slice(0, 64);
        const line = await daemon.said('login refused', (entry) => entry['user'] === user);
        assert.equal(line['why'], 'nobody can have that name');
      }
      assert.doesNotMatch(printed.text, /[^\n -~\x80-\xff]/, 'no control character in the journal');
      await newcomersEnter();
    });

    it('that no port can have are refused by every verb, on the command line and by SSH', async () => {
      for (const name of awkward) {
        const words = [`attach '${name}'`, `log '${name}'`, `line '${name}'`, `send '${name}' x`];
        for (const { code, stderr } of [
          await daemon.cli(['log', name]),
          ...(await Promise.all(words.map(execute))),
        ]) {
          assert.equal(code, 3, stderr);
          assert.doesNotMatch(stderr, /[^\n -~]/);
        }
        assert.equal((await daemon.cli([name])).code, 2);
      }
      assert.deepEqual(errors(), []);
    });

    it('that are mistyped: the nearest, and exit code 3', async () => {
      for (const verb of ['attach', 'log', 'line']) {
        for (const { code, stderr } of [
          await daemon.cli([verb, 'bd1']),
          await doors.ssh.run(['alice@127.0.0.1', verb, 'bd1'], { key: 'alice' }),
        ]) {
          assert.equal(code, 3, stderr);
          assert.match(stderr, /no port "bd1".*"db1"/);
        }
      }
    });

    it('that the menu finds no port for: it says so, and goes on', async () => {
      const menu = doors.ssh.spawn(['-tt', 'alice@127.0.0.1'], { key: 'alice' });
      await menu.out.until('hidden');
      menu.type('bd1');
      await menu.out.until('no port matches');
      const from = menu.out.length;
      menu.type('\x15db1\r');
      await menu.out.until('db1: you view', from);
      const left = menu.out.length;
      menu.type('\x05c.');
      await menu.out.until('db1', left);
      menu.type('\x03');
      assert.equal(await menu.exited, 0);
    });

    async function isAdmitted(username: string): Promise<boolean> {
      const client = new ssh2.Client();
      const isReady = new Promise<boolean>((resolve) => {
        client.once('ready', () => resolve(true));
        client.once('error', () => resolve(false));
        client.once('close', () => resolve(false));
      });
      const privateKey = doors.privateKey('alice');
      client.on('error', () => undefined);
      client.connect({ sock: knock(doors.ssh.tcpPort, source()), username, privateKey });
      const isIn = await isReady;
      client.end();
      return isIn;
    }

    /** By a client that passes on every byte, where OpenSSH's needs a shell. */
    async function execute(command: string): Promise<{ code: number; stderr: string }> {
      const client = await loginAt(doors.ssh.tcpPort, 'alice', doors.privateKey('alice'));
      const result = await new Promise<{ code: number; stderr: string }>((resolve, reject) =>
        client.exec(command, (error, channel) => {
          if (error) return reject(error);
          const stderr = new Heard().listenTo(channel.stderr);
          channel.resume().once('close', (code: number) => resolve({ code, stderr: stderr.text }));
        }),
      );
      client.end();
      return result;
    }
  });

  describe('who lacks a right', () => {
    it('is told which one, by exit code 4, and stands in the audit', async () => {
      for (const [words, right, port] of [
        [['attach', 'hidden'], 'view', 'hidden'],
        [['send', 'db1', 'x'], 'write', 'db1'],
        [['send', 'db1', '--break'], 'break', 'db1'],
        [['attach', 'db1', '--force'], 'write', 'db1'],
      ] as const) {
        const { code, stderr } = await doors.ssh.run(['carol@127.0.0.1', ...words], {
          key: 'carol',
        });
        assert.equal(code, 4, stderr);
        assert.match(stderr, new RegExp(`"${right}"`));
        await audited(
          (row) =>
            row.user === 'carol' &&
            row.action === 'denied' &&
            row.port === port &&
            row.detail.includes(`"${right}"`),
        );
      }
    });

    interface AuditRow {
      user: string;
      action: string;
      port: string | null;
      detail: string;
    }

    async function audited(isIt: (row: AuditRow) => boolean): Promise<void> {
      const path = join(directory.path, 'data', 'fairlead.db');
      const database = new Database(path, { readonly: true });
      const select = database.prepare<[], AuditRow>('SELECT user, action, port, detail FROM audit');
      while (!select.all().some(isIt)) await pause();
      database.close();
    }
  });

  it('50 sessions by all of them, one of which never reads: the others have every byte, and so has the log', async () => {
    const stalled = await doors.rawTls(7);
    stalled.socket.pause();
    const exposed = spawn('socat', ['-u', `OPEN:${join(directory.path, 'exposed')},rawer`, '-']);
    const readers = [new Heard().listenTo(exposed.stdout)];
    for (const tcpPort of [doors.ssh.tcpPort, doors.portSsh.tcpPort + 6]) {
      const client = await loginAt(tcpPort, 'alice', doors.privateKey('alice'));
      for (let i = 0; i < 9; i++) readers.push(await forwarded(client, 'wide'));
    }
    for (let i = 0; i < 20; i++) readers.push((await doors.rawTls(7)).heard);
    readers.push(...(await Promise.all(Array.from({ length: 10 }, telnetProgram))));
    while (sessionsOf('wide') < 50) await pause();

    const mark = Buffer.from('-- it begins --\n');
    await wide.say(mark);
    const begins = new Map<Heard, number>();
    for (const heard of readers) {
      begins.set(heard, (await heard.until(mark.toString())).indexOf(mark.toString()));
    }
    const all = Buffer.concat([mark, firmware(), firmware()]);
    for (let at = mark.length; at < all.length; at += PIECE_BYTES) {
      // All of these share one thread that may be busy: a program that is far behind is let go.
      const end = Math.min(at + PIECE_BYTES, all.length);
      await wide.say(all.subarray(at, end));
      for (const [heard, begin] of begins) await heard.untilLength(begin + end);
    }
    for (const [{ bytes }, begin] of begins) assert.ok(bytes.subarray(begin).equals(all));
    for (;;) {
      const { stdout } = await daemon.cli(['log', 'wide', '--format', 'raw']);
      if (stdout.length < all.length) continue;
      assert.ok(stdout.equals(all));
      break;
    }
    exposed.kill();
    await once(exposed, 'close');
    await allAnswer();
  });

  async function telnetProgram(): Promise<Heard> {
    const { heard, socket } = await doors.telnet(7, 'alice', source());
    await heard.until(/you (write|view)/);
    const program = new Heard();
    socket.once('close', () => program.end());
    let state: TelnetState = TELNET_START;
    socket.on('data', (bytes: Buffer) => {
      const { state: next, events } = decodeTelnet(state, bytes);
      state = next;
      for (const event of events) if (event.kind === 'data') program.add(event.bytes);
    });
    const from = heard.length;
    for (const verb of ['will', 'do'] as const) socket.write(encodeNegotiation(verb, BINARY));
    await heard.until(Buffer.from(encodeNegotiation('will', BINARY)).toString('latin1'), from);
    return program;
  }

  /** How many came to a port so far. */
  function sessionsOf(name: string): number {
    const came = daemon.journal.filter(({ msg }) => msg === 'session attached');
    return came.filter(({ port }) => port === name).length;
  }
});

describe('who may come from where', () => {
  const directory = scratchDirectory();
  let doors: AllDoors;
  let daemon: Daemon;

  before(async () => {
    doors = await AllDoors.plan(directory.path);
    const allow = {
      ssh: '127.0.1.0/24',
      portSsh: '127.0.2.0/24',
      telnet: '127.0.3.0/24',
      raw: '127.0.4.0/24',
    };
    daemon = await Daemon.start(
      directory.path,
      `
data: ./data
${doors.listen('none', { allow, caps: '{ connections: 100, perSource: 20 }' })}
users:
  ${doors.user('alice', 'role: admin, from: [127.0.1.9, 127.0.2.9, 127.0.3.9]')}
  lab: { role: operator, ports: ['*'], from: [127.0.4.8/30] }
ports:
  db1: { n: 1, sim: echo }
`,
    );
    await daemon.said('port up');
  });
  after(async () => {
    doors.dispose();
    await daemon.stop();
    directory.dispose();
  });

  for (const [name, block, kit] of [
    ['ssh', 1, () => doors.ssh],
    ['port-ssh', 2, () => doors.portSsh],
  ] as const) {
    it(`${name}: a list of its own, and one of the user's`, async () => {
      const from = (source: string) =>
        kit().run(['alice@127.0.0.1', 'who'], { key: 'alice', source });
      assert.equal((await from(`127.0.${block}.9`)).code, 0);
      const user = await from(`127.0.${block}.10`);
      assert.equal(user.code, 255);
      assert.match(user.stderr, /Permission denied/);
      const door = await from(`127.0.${block === 1 ? 2 : 1}.9`);
      assert.equal(door.code, 255);
      assert.doesNotMatch(door.stderr, /Permission denied/, 'it was not even asked who it is');
    });
  }

  it("telnet: a list of its own, and one of the user's", async () => {
    const inside = await doors.telnet(1, 'alice', '127.0.3.9');
    await inside.heard.until('you write');
    inside.socket.destroy();
    const user = await doors.telnet(1, 'alice', '127.0.3.10');
    await user.heard.until('Login incorrect');
    user.socket.destroy();
    await closedUnheard(doors.telnetBase + 1, '127.0.4.9');
  });

  it("raw: a list of its own, and one of the user's", async () => {
    const inside = await doors.raw(1, '127.0.4.9');
    await attached('127.0.4.9');
    inside.socket.destroy();
    await closedUnheard(doors.rawBase + 1, '127.0.4.12');
    const { why } = await daemon.said('raw client refused');
    assert.equal(why, 'lab may not come from 127.0.4.12');
    await closedUnheard(doors.rawBase + 1, '127.0.3.9');
    await daemon.said('connection refused', (entry) => entry['why'] === 'not in the allow list');
  });

  it('20 from one source may be there for as long as they like, and no other', async () => {
    const flood = { tcpPort: doors.rawBase + 1, count: 100, sources: ['127.0.4.8'] };
    const silent = new SilentFlood(flood);
    await silent.tried();
    await silent.closed(80);
    await closedUnheard(doors.rawBase + 1, '127.0.4.8');
    const other = await doors.raw(1, '127.0.4.10');
    await attached('127.0.4.10');
    assert.equal(silent.held, 20);
    other.socket.destroy();
    await silent.stop();
  });

  function attached(source: string): Promise<unknown> {
    return daemon.said('session attached', ({ remote }) => String(remote).startsWith(`${source}:`));
  }

  async function closedUnheard(tcpPort: number, source: string): Promise<void> {
    const end = await misbehave(knock(tcpPort, source), { sends: [], stays: true });
    assert.deepEqual(end, { heard: 0, wasCut: true });
  }
});

/** As `ssh -W`. */
async function forwarded(client: ssh2.Client, port: string): Promise<Heard> {
  const channel = await new Promise<ClientChannel>((resolve, reject) =>
    client.forwardOut('127.0.0.1', 0, port, 1, (error, opened) =>
      error ? reject(error) : resolve(opened),
    ),
  );
  return new Heard().listenTo(channel);
}

/** 1 MB with all bytes, IAC often. */
function firmware(): Buffer {
  return Buffer.concat([randomBytes(500_000), Buffer.alloc(5_000, 0xff), randomBytes(495_000)]);
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}

interface Bystander {
  name: string;
  type(text: string): void;
  heard: Heard;
}

function ofSsh(name: string, client: SshClient): Bystander {
  return { name, type: (text) => client.type(text), heard: client.out };
}

function ofSocket(
  name: string,
  { socket, heard }: Awaited<ReturnType<AllDoors['raw']>>,
): Bystander {
  return { name, type: (text) => void socket.write(text), heard };
}
