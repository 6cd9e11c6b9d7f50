import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { hashPassword } from '../../src/auth/password.ts';
import { requireLibc } from '../support/pty.ts';
import { Machine, numberedLines, RawClient, SshKit, TURN_MS } from './console.ts';
import { Daemon, freeTcpPort, scratchDirectory } from './daemon.ts';

const PASTE_BYTES = 200_000;

describe('the doors of a running daemon', () => {
  const directory = scratchDirectory();
  const machines: Machine[] = [];
  let daemon: Daemon;
  let ssh: SshKit;
  let db1: Machine;
  let slow: Machine;
  let slowDoor: number;

  before(async () => {
    const libc = await requireLibc();
    for (let i = 0; i < 3; i++) machines.push(new Machine(libc));
    const [first, second, hidden] = machines as [Machine, Machine, Machine];
    db1 = first;
    slow = second;
    ssh = new SshKit(directory.path, await freeTcpPort());
    const base = (await freeTcpPort()) - 2;
    slowDoor = base + 2;
    daemon = await Daemon.start(
      directory.path,
      `
data: ${directory.path}/data
listen:
  ssh: 127.0.0.1:${ssh.tcpPort}
  raw: { host: 127.0.0.1, base: ${base}, auth: none, allow: [127.0.0.1/32], as: lab }
users:
  alice: { role: admin, keys: ["${ssh.makeKey('alice')}"] }
  carol: { role: view, ports: ["db*"], keys: ["${ssh.makeKey('carol')}"] }
  dave: { role: operator, ports: ["db*"], password: "${await hashPassword('open sesame')}" }
  lab: { role: operator, ports: ["*"] }
ports:
  db1: { device: ${db1.path}, aliases: [core] }
  slow: { n: 2, device: ${slow.path} }
  hidden: { device: ${hidden.path} }
`,
    );
  });
  after(async () => {
    ssh.dispose();
    await daemon.stop();
    for (const machine of machines) machine.dispose();
    directory.dispose();
  });

  describe('SSH forms', () => {
    const terminals: [string, string[]][] = [
      ['USER:PORT@host', ['-tt', 'alice:db1@127.0.0.1']],
      ['USER+PORT@host', ['-tt', 'alice+db1@127.0.0.1']],
      ['PORT@host, the key names the user', ['-tt', 'db1@127.0.0.1']],
      ['-t USER@host PORT', ['-tt', 'alice@127.0.0.1', 'db1']],
      ['an alias of the port', ['-tt', 'alice:core@127.0.0.1']],
    ];
    for (const [form, args] of terminals) {
      it(`${form}: both ways, and ^Ec. leaves`, async () => {
        const client = ssh.spawn(args, { key: 'alice' });
        await client.out.until('db1: you write');
        const typed = `to the machine by ${form}\r`;
        client.type(typed);
        await db1.heard.until(typed);
        await db1.say(`from the machine by ${form}\r\n`);
        await client.out.until(`from the machine by ${form}`);
        client.type('\x05c.');
        assert.equal(await client.exited, 0);
        await nobodyWrites('db1');
      });
    }

    it('leaves by ^Ec. typed key by key', async () => {
      const client = ssh.spawn(['-tt', 'alice:db1@127.0.0.1'], { key: 'alice' });
      await client.out.until('db1: you write');
      let hasExited = false;
      void client.exited.then(() => (hasExited = true));
      // On a busy machine ^E may have waited too long alone: then the device has it.
      for (let from = db1.heard.length; !hasExited; from = db1.heard.length) {
        await client.typeSlowly('\x05c.');
        await Promise.race([client.exited, db1.heard.until('\x05c.', from)]);
      }
      assert.equal(await client.exited, 0);
    });

    it('passes ^Ec. within a longer chunk, ^] and three times ^A to the device', async () => {
      const client = ssh.spawn(['-tt', '-e', 'none', 'alice:db1@127.0.0.1'], { key: 'alice' });
      await client.out.until('db1: you write');
      for (const keys of ['pasted \x05c. too', '\x1d', '\x01\x01\x01', '~.']) {
        const from = db1.heard.length;
        client.type(keys);
        await db1.heard.until(keys, from);
      }
      client.process.stdin.end();
      assert.equal(await client.exited, 0, 'closing leaves as well');
    });

    it('USER@host VERB runs a verb, with its exit code and its words on stderr', async () => {
      const ports = await ssh.run(['alice@127.0.0.1', 'ports', '--json'], { key: 'alice' });
      assert.equal(ports.code, 0, ports.stderr);
      const rows = JSON.parse(ports.out) as { name: string; state: string }[];
      assert.deepEqual(
        rows.map(({ name, state }) => `${name} ${state}`),
        ['db1 up', 'slow up', 'hidden up'],
      );
      const verb = await ssh.run(['alice@127.0.0.1', 'prots'], { key: 'alice' });
      assert.notEqual(verb.code, 0);
    });

    it('shows and finds only the ports one may view', async () => {
      const ports = await ssh.run(['carol@127.0.0.1', 'ports'], { key: 'carol' });
      assert.match(ports.out, /db1/);
      assert.doesNotMatch(ports.out, /hidden|slow/);
      const log = await ssh.run(['carol@127.0.0.1', 'log', 'hidden'], { key: 'carol' });
      assert.deepEqual([log.code, log.out], [4, '']);
      assert.match(log.stderr, /"view"/);
    });

    it('DENIED names the missing right, exit code 4', async () => {
      for (const [words, right] of [
        [['send', 'db1', 'x'], 'write'],
        [['send', 'db1', '--break'], 'break'],
        [['line', 'db1', '9600'], 'control'],
        [['attach', 'db1', '--force'], 'write'],
        [['log', 'db1', '--tx'], 'tx'],
      ] as const) {
        const { code, stderr } = await ssh.run(['carol@127.0.0.1', ...words], { key: 'carol' });
        assert.equal(code, 4, `${words.join(' ')}: ${stderr}`);
        assert.match(stderr, new RegExp(`"${right}"`));
      }
      const local = await ssh.run(['alice@127.0.0.1', 'reload'], { key: 'alice' });
      assert.equal(local.code, 4, local.stderr);
    });

    it('an unknown port gets the nearest name, exit code 3', async () => {
      for (const args of [
        ['alice@127.0.0.1', 'log', 'bd1'],
        ['alice:bd1@127.0.0.1', 'log'],
      ]) {
        const { code, stderr } = await ssh.run(args, { key: 'alice' });
        assert.equal(code, 3, stderr);
        assert.match(stderr, /no port "bd1".*"db1"/);
      }
      const attach = await ssh.run(['-tt', 'alice:bd1@127.0.0.1'], { key: 'alice' });
      assert.equal(attach.code, 3);
      assert.match(attach.out, /"db1"/);
    });

    it('-W PORT:1 is transparent, and refused for what is no port', async () => {
      const client = ssh.spawn(['-W', 'db1:1', 'alice@127.0.0.1'], { key: 'alice' });
      const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
      const from = db1.heard.length;
      client.type(every);
      await db1.heard.untilLength(from + 256);
      assert.deepEqual(db1.heard.bytes.subarray(from), every);
      await db1.say(every);
      assert.deepEqual(await client.out.untilLength(256), every);
      client.process.kill('SIGTERM');
      await client.exited;
      await nobodyWrites('db1');
      const refused = await ssh.run(['-W', '127.0.0.1:22', 'alice@127.0.0.1'], { key: 'alice' });
      assert.notEqual(refused.code, 0);
      assert.equal(refused.out, '');
    });

    it('frees the writer at once when the client is killed', async () => {
      const first = ssh.spawn(['-tt', 'alice:db1@127.0.0.1'], { key: 'alice' });
      await first.out.until('db1: you write');
      const second = ssh.spawn(['-tt', 'dave:db1@127.0.0.1'], { password: 'open sesame' });
      await second.out.until('db1: you view; alice writes');
      first.process.kill('SIGKILL');
      await second.out.until('you write now');
      second.type('\x05c.');
      assert.equal(await second.exited, 0);
    });
  });

  describe('logins', () => {
    it('takes a password, and refuses a wrong one and an unknown user', async () => {
      const right = await ssh.run(['dave@127.0.0.1', 'ports'], { password: 'open sesame' });
      assert.equal(right.code, 0, right.stderr);
      for (const [user, password] of [
        ['dave', 'open says me'],
        ['nobody', 'open sesame'],
      ] as const) {
        const wrong = await ssh.run([`${user}@127.0.0.1`, 'ports'], {
          password,
          source: '127.0.0.2',
        });
        assert.deepEqual([wrong.code, wrong.out], [255, '']);
        await daemon.said('login refused', (entry) => entry['user'] === user);
      }
      const foreign = await ssh.run(['dave@127.0.0.1', 'ports'], {
        key: 'carol',
        source: '127.0.0.3',
      });
      assert.equal(foreign.code, 255);
    });

    it('lets in whom "user add" names, with the daemon running', async () => {
      const password = 'correct horse';
      const added = await daemon.cli(
        ['user', 'add', 'erin', '--role', 'operator', '--ports', 'db*', '--password-stdin'],
        `${password}\n`,
      );
      assert.equal(added.code, 0, added.stderr);
      const ports = await ssh.run(['erin@127.0.0.1', 'ports'], { password });
      assert.equal(ports.code, 0, ports.stderr);
      assert.match(ports.out, /db1/);
      assert.equal((await daemon.cli(['user', 'remove', 'erin'])).code, 0);
      const gone = await ssh.run(['erin@127.0.0.1', 'ports'], { password, source: '127.0.0.4' });
      assert.equal(gone.code, 255);
    });
  });

  describe('a paste', () => {
    /** 100,000 bytes/s: what a line of a million baud takes. */
    const slowBytes = (100_000 * TURN_MS) / 1_000;

    it('of 200 KB at a slow device arrives whole and in order by SSH with a pty', async () => {
      slow.takesBytes = slowBytes;
      const from = slow.heard.length;
      const paste = numberedLines(PASTE_BYTES);
      const client = ssh.spawn(['-tt', 'alice:slow@127.0.0.1'], { key: 'alice' });
      await client.out.until('slow: you write');
      client.type(paste);
      await slow.heard.untilLength(from + paste.length);
      assert.ok(slow.heard.bytes.subarray(from).equals(paste));
      client.type('\x05c.');
      assert.equal(await client.exited, 0);
    });

    it('arrives whole also when the client leaves behind it', async () => {
      slow.takesBytes = slowBytes;
      const from = slow.heard.length;
      const paste = numberedLines(PASTE_BYTES);
      const { code } = await ssh.run(['-tt', 'alice:slow@127.0.0.1'], {
        key: 'alice',
        input: paste,
      });
      assert.equal(code, 0);
      await slow.heard.untilLength(from + paste.length);
      assert.ok(slow.heard.bytes.subarray(from).equals(paste));
    });

    it('arrives whole and in order by raw TCP', async () => {
      slow.takesBytes = slowBytes;
      const from = slow.heard.length;
      const paste = numberedLines(PASTE_BYTES);
      const client = await RawClient.enter(slowDoor);
      client.socket.write(paste);
      await slow.heard.untilLength(from + paste.length);
      assert.ok(slow.heard.bytes.subarray(from).equals(paste));
      client.socket.destroy();
      await nobodyWrites('slow');
    });

    it('is refused with a word when the device takes nothing for 5 s; the session stays', async () => {
      slow.takesBytes = 0;
      const client = ssh.spawn(['-tt', 'alice:slow@127.0.0.1'], { key: 'alice' });
      await client.out.until('slow: you ');
      client.type(numberedLines(300_000));
      await client.out.until('input refused: the device has taken nothing for 5 s');
      slow.takesBytes = Number.POSITIVE_INFINITY;
      // What it takes in the end is what it took before it stuck, and what comes from now on.
      for (let i = 0; !slow.heard.text.includes('after that'); i++) {
        client.type(`still here ${i}, after that\r`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      client.type('\x05c.');
      assert.equal(await client.exited, 0);
    });
  });

  describe('a client that has sent all it wanted', () => {
    it('by -W: has the answer, then ends by itself, and holds write no longer', async () => {
      const before = db1.heard.length;
      const client = ssh.spawn(['-W', 'db1:1', 'alice@127.0.0.1'], { key: 'alice' });
      client.process.stdin.end('status?\r');
      await db1.heard.until('status?\r', before);
      await db1.say('all is well');
      await client.out.until('all is well');
      assert.equal(await client.exited, 0);
      await nobodyWrites('db1');
    });

    it('by raw TCP: the same; while the device speaks, it stays', async () => {
      slow.takesBytes = Number.POSITIVE_INFINITY;
      const before = slow.heard.length;
      const client = await RawClient.enter(slowDoor);
      client.socket.end('status?\r');
      await slow.heard.until('status?\r', before);
      await nobodyWrites('slow');
      for (let i = 0; i < 6; i++) {
        await slow.say(`${i} `);
        await client.heard.until(`${i} `);
        await new Promise((resolve) => setTimeout(resolve, 500)); // 3 s in all: more than the silence
      }
      await once(client.socket, 'end');
      assert.equal(client.heard.text, '0 1 2 3 4 5 ');
      await client.closed;
      const { stdout } = await daemon.cli(['log', 'slow', '--format', 'jsonl']);
      assert.match(stdout.toString(), /"kind":"detached".*the line fell silent/);
    });

    it('by a pipe into ssh: goes on viewing, and holds write no longer', async () => {
      const before = db1.heard.length;
      const client = ssh.spawn(['alice:db1@127.0.0.1'], { key: 'alice' });
      client.process.stdin.end('status?\r');
      await db1.heard.until('status?\r', before);
      await nobodyWrites('db1');
      await db1.say('all is well');
      await client.out.until('all is well');
      client.process.kill('SIGTERM');
      await client.exited;
    });

    it('has all its input delivered to a slow device first', async () => {
      slow.takesBytes = (50_000 * TURN_MS) / 1_000;
      const from = slow.heard.length;
      const paste = numberedLines(PASTE_BYTES);
      const client = await RawClient.enter(slowDoor);
      client.socket.end(paste);
      await client.closed;
      await slow.heard.untilLength(from + paste.length);
      assert.ok(slow.heard.bytes.subarray(from).equals(paste));
    });
  });

  async function nobodyWrites(port: string): Promise<void> {
    for (;;) {
      const { stdout, code, stderr } = await daemon.cli(['ports', port, '--json']);
      assert.equal(code, 0, stderr);
      const [row] = JSON.parse(stdout.toString()) as [{ writer: string | null }];
      if (row.writer === null) return;
    }
  }
});

describe('fairlead user', () => {
  it('adds a user without a daemon, who then logs in to the next one', async () => {
    const directory = scratchDirectory();
    const ssh = new SshKit(directory.path, await freeTcpPort());
    const yaml = `
data: ${directory.path}/data
listen: { ssh: "127.0.0.1:${ssh.tcpPort}" }
ports:
  demo1: { sim: echo }
`;
    try {
      const first = await Daemon.start(directory.path, yaml);
      assert.equal(await first.stop(), 0);
      const add = ['user', 'add', 'erin', '--role', 'view', '--ports', 'demo*'];
      const added = await first.cli([...add, '--password-stdin'], 'correct horse\n');
      assert.equal(added.code, 0, added.stderr);
      const second = await Daemon.start(directory.path, yaml);
      const ports = await ssh.run(['erin@127.0.0.1', 'ports'], { password: 'correct horse' });
      assert.equal(ports.code, 0, ports.stderr);
      assert.match(ports.out, /demo1/);
      assert.equal(await second.stop(), 0);
    } finally {
      ssh.dispose();
      directory.dispose();
    }
  });
});
