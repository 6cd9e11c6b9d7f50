import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Libc } from '../../src/core/libc.ts';
import type { PortStatus, SessionStatus } from '../../src/core/port-status.ts';
import { requireLibc, until } from '../support/pty.ts';
import { Machine, numberedLines, RawClient, SshKit, type SshClient } from './console.ts';
import { cli, Daemon, freeTcpPort, scratchDirectory } from './daemon.ts';

describe('sessions of a running daemon', () => {
  let libc: Libc;
  let directory: ReturnType<typeof scratchDirectory>;
  let ssh: SshKit;
  let users: string;
  let daemon: Daemon | null;
  let machines: Machine[];
  let rawBase: number;
  let feeds: Feed[];

  before(async () => {
    libc = await requireLibc();
  });
  beforeEach(async () => {
    directory = scratchDirectory();
    machines = [];
    feeds = [];
    daemon = null;
    ssh = new SshKit(directory.path, await freeTcpPort());
    rawBase = (await freeTcpPort()) - 1;
    users = `
users:
  alice: { role: admin, keys: ["${ssh.makeKey('alice')}"] }
  bob: { role: operator, ports: ["db*"], keys: ["${ssh.makeKey('bob')}"] }
  lab: { role: operator, ports: ["*"] }
`;
  });
  afterEach(async () => {
    ssh.dispose();
    await Promise.all(feeds.map((feed) => feed.stop()));
    await daemon?.stop();
    for (const machine of machines) machine.dispose();
    directory.dispose();
  });

  function machine(): Machine {
    const made = new Machine(libc);
    machines.push(made);
    return made;
  }

  /** `ports`: lines of the map. */
  function yaml(ports: readonly string[], otherUsers = users): string {
    return `
data: ${directory.path}/data
listen:
  ssh: 127.0.0.1:${ssh.tcpPort}
  raw: { host: 127.0.0.1, base: ${rawBase}, auth: none, allow: [127.0.0.1/32], as: lab }
${otherUsers}
ports:
${ports.map((line) => `  ${line}`).join('\n')}
`;
  }

  async function start(text: string, env: NodeJS.ProcessEnv = {}): Promise<Daemon> {
    daemon = await Daemon.start(directory.path, text, { env });
    return daemon;
  }

  async function attach(user: string, port: string, greeting: string): Promise<SshClient> {
    const client = ssh.spawn(['-tt', `${user}:${port}@127.0.0.1`], { key: user });
    await client.out.until(greeting);
    return client;
  }

  async function leave(client: SshClient): Promise<void> {
    client.type('\x05c.');
    assert.equal(await client.exited, 0);
  }

  async function cliJson<Row>(args: readonly string[]): Promise<Row[]> {
    const { code, stdout, stderr } = await daemon!.cli([...args, '--json']);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout.toString()) as Row[];
  }

  /** Asks until the port is as wanted. */
  async function portIs(
    name: string,
    wanted: (status: PortStatus) => boolean,
  ): Promise<PortStatus> {
    for (;;) {
      const [status] = await cliJson<PortStatus>(['ports', name]);
      if (wanted(status!)) return status!;
    }
  }

  async function records(port: string): Promise<Record<string, unknown>[]> {
    const { code, stdout, stderr } = await daemon!.cli(['log', port, '--format', 'jsonl', '--tx']);
    assert.equal(code, 0, stderr);
    const lines = stdout.toString().trim().split('\n');
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async function raw(port: string, until: number): Promise<Buffer> {
    for (;;) {
      const { code, stdout, stderr } = await daemon!.cli(['log', port, '--format', 'raw']);
      assert.equal(code, 0, stderr);
      if (stdout.length >= until) return stdout;
    }
  }

  it('one of two writers wins; who waits writes next; force is told to the loser', async () => {
    const db1 = machine();
    await start(yaml([`db1: { device: ${db1.path} }`]));
    const alice = await attach('alice', 'db1', 'db1: you write');
    const bob = await attach('bob', 'db1', 'db1: you view; alice writes; you get write when they');
    bob.type('not now\r');
    await bob.out.until('input refused: you only view; alice writes');
    alice.type('from alice\r');
    await db1.heard.until('from alice\r');

    bob.type('\x05cf');
    await bob.out.until('you write now');
    await alice.out.until('taken over by bob; you view now');
    alice.type('too late\r');
    await alice.out.until('input refused: you only view; bob writes');
    bob.type('from bob\r');
    await db1.heard.until('from bob\r');

    await leave(bob);
    await alice.out.until('you write now');
    const carol = ssh.spawn(['-tt', 'bob@127.0.0.1', 'attach', 'db1', '--force'], { key: 'bob' });
    await carol.out.until('db1: you write');
    await alice.out.until(/taken over by bob; you view now[^]*taken over by bob; you view now/);
    carol.type('\x05cs');
    await alice.out.until(/you write now[^]*you write now/);
    await leave(carol);
    await leave(alice);
    assert.equal(db1.heard.text, 'from alice\rfrom bob\r');
    const kinds = (await records('db1')).map(({ kind }) => kind);
    assert.equal(kinds.filter((kind) => kind === 'took-over').length, 4);
  });

  for (const way of ['ssh', 'control socket'] as const) {
    it(`kick, message, who, send and line work by ${way}`, async () => {
      const db1 = machine();
      await start(yaml([`db1: { device: ${db1.path} }`, 'sim1: { sim: echo }']));
      const verb = (...words: string[]) =>
        way === 'ssh'
          ? ssh.run(['alice@127.0.0.1', ...words], { key: 'alice' })
          : daemon!.cli(words);
      const done = async (...words: string[]): Promise<string> => {
        const { code, stdout, stderr } = await verb(...words);
        assert.equal(code, 0, `${words.join(' ')}: ${stderr}`);
        return stdout.toString();
      };
      const bob = await attach('bob', 'db1', 'db1: you write');

      assert.match(await done('message', 'db1', 'lunch', 'soon'), /1 session heard it/);
      await bob.out.until(/message from \S+: lunch soon/);
      assert.match(await done('message', '--all', 'all', 'out'), /1 session heard it/);
      await bob.out.until(/message from \S+: all out/);

      const busy = await verb('send', 'db1', 'x');
      assert.equal(busy.code, 4);
      assert.match(busy.stderr.toString(), /bob writes/);
      assert.equal(await done('line', 'db1'), '115200 8N1\n');
      const line = await verb('line', 'db1', '9600');
      assert.equal(line.code, 5, 'a pty has no line settings');
      const unknown = await verb('line', 'db1', '9600 9X9');
      assert.equal(unknown.code, 2);

      const who = JSON.parse(await done('who', '--json')) as SessionStatus[];
      assert.deepEqual(
        who.map(({ port, user, mode, frontend }) => ({ port, user, mode, frontend })),
        [{ port: 'db1', user: 'bob', mode: 'write', frontend: 'ssh' }],
      );
      assert.match(await done('who'), /bob/);
      await done('kick', String(who[0]!.session));
      await bob.out.until(/ended: kicked by \S+/);
      assert.equal(await bob.exited, 5);
      assert.equal((await verb('kick', String(who[0]!.session))).code, 3);

      await done('send', 'db1', '--enter', 'uname');
      await db1.heard.until('uname\r');
      await done('send', 'db1', String.raw`'\x03'`.replaceAll("'", way === 'ssh' ? "'" : ''));
      await db1.heard.until('\x03');
    });
  }

  it('50 viewers, of which two read nothing: the others and the log have all of it', async () => {
    const db1 = machine();
    const running = await start(yaml([`db1: { n: 1, device: ${db1.path} }`]));
    const people = await Promise.all(
      Array.from({ length: 7 }, () => attach('alice', 'db1', 'db1: you ')),
    );
    const programs: RawClient[] = [];
    for (let i = 0; i < 41; i++) programs.push(await RawClient.enter(rawBase + 1));
    await portIs('db1', ({ viewers }) => viewers === people.length + programs.length - 1);
    const stalledSsh = ssh.spawn(['-tt', 'bob:db1:view@127.0.0.1'], { key: 'bob', listens: false });
    const stalledRaw = await RawClient.enter(rawBase + 1, false);
    await portIs('db1', ({ viewers }) => viewers === people.length + programs.length + 1);

    const fed = numberedLines(6_000_000);
    const greetings = people.map(({ out }) => out.length);
    // As fast as those who read can take it: who skips then does so for no fault of the stalled ones.
    let before = 0;
    for (let at = 0; at < fed.length; at += 65_536) {
      // Once it runs at speed: what it takes from here on is for those who read nothing.
      if (at === 8 * 65_536) before = residentBytes(running.process.pid!);
      const end = Math.min(at + 65_536, fed.length);
      await db1.say(fed.subarray(at, end));
      await Promise.all([
        ...people.map(({ out }, i) => out.untilLength(greetings[i]! + end)),
        ...programs.map(({ heard }) => heard.untilLength(end)),
      ]);
    }
    const grown = residentBytes(running.process.pid!) - before;
    console.log(`# 50 viewers, two stalled: RSS grew by ${(grown / 1e6).toFixed(1)} MB`);
    assert.ok(grown < 64e6, `RSS grew by ${grown} bytes`);

    for (const { heard } of programs) assert.ok(heard.bytes.equals(fed));
    for (const [i, { out }] of people.entries()) {
      assert.ok(out.bytes.subarray(greetings[i]!).equals(fed));
    }
    assert.ok((await raw('db1', fed.length)).equals(fed));

    const entry = await running.said('too slow', ({ frontend }) => frontend === 'raw');
    assert.equal(entry['fault'], 'TOO_SLOW');
    const gone = (await records('db1')).find(
      ({ kind, session }) => kind === 'detached' && session === entry['session'],
    );
    assert.match(String(gone?.['why']), /too slow: \d+ bytes of output were not read \(TOO_SLOW\)/);
    stalledRaw.socket.resume();
    await stalledRaw.closed;

    // The person jumps to live, told what was skipped.
    stalledSsh.out.listenTo(stalledSsh.process.stdout);
    await stalledSsh.out.until(/skipped \d+ bytes \(\d+\.\.\d+\), the log has them/);
    await db1.say('and the end\r\n');
    await stalledSsh.out.until('and the end');
    const who = await cliJson<SessionStatus>(['who']);
    assert.equal(who.length, people.length + programs.length + 1);
  });

  it('a busy loop in the frontends thread: SSH serves again, not a byte is lost', async () => {
    const db1 = machine();
    const hang = join(directory.path, 'hang');
    await start(yaml([`db1: { device: ${db1.path} }`]), {
      FAIRLEAD_FAIL_AT: `frontends-hang:${hang}`,
    });
    const before = await attach('alice', 'db1', 'db1: you write');
    const feeding = feed(db1);
    writeFileSync(hang, '');
    const hungAtMs = performance.now();
    await daemon!.said('thread hangs, ending it', ({ thread }) => thread === 'frontends');
    rmSync(hang);
    const after = await reattach('alice', 'db1', 'db1: you write');
    const downMs = performance.now() - hungAtMs;
    console.log(`# frontends hung: SSH serves again after ${(downMs / 1_000).toFixed(1)} s`);
    assert.ok(downMs < 30_000);
    await daemon!.said('thread started anew', ({ thread }) => thread === 'frontends');
    await before.exited;
    const fed = Buffer.concat([await feeding.stop(), Buffer.from('and live again\r\n')]);
    await db1.say(fed.subarray(-16));
    await after.out.until('and live again');
    assert.ok((await raw('db1', fed.length)).equals(fed));
    await leave(after);
    const told = (await records('db1')).filter(({ kind }) => kind === 'detached');
    assert.match(String(told[0]!['why']), /frontend/);
  });

  it('a busy loop in the reader thread: the log reads again, not a byte is lost', async () => {
    const db1 = machine();
    const hang = join(directory.path, 'hang');
    await start(yaml([`db1: { device: ${db1.path} }`]), {
      FAIRLEAD_FAIL_AT: `reader-hang:${hang}`,
    });
    const client = await attach('alice', 'db1', 'db1: you write');
    const feeding = feed(db1);
    writeFileSync(hang, '');
    const hungAtMs = performance.now();
    await daemon!.said('thread hangs, ending it', ({ thread }) => thread === 'reader');
    rmSync(hang);
    await daemon!.said('thread started anew', ({ thread }) => thread === 'reader');
    const fed = await feeding.stop();
    assert.ok((await raw('db1', fed.length)).equals(fed));
    const downMs = performance.now() - hungAtMs;
    console.log(`# reader hung: the log reads again after ${(downMs / 1_000).toFixed(1)} s`);
    assert.ok(downMs < 30_000);
    // The session went on all the time.
    await client.out.until(fed.subarray(-20).toString('latin1'));
    assert.ok(client.out.bytes.includes(fed.subarray(0, 1_000)));
    await leave(client);
  });

  it('refuses a second daemon on the same data, naming the first', async () => {
    const running = await start(yaml(['sim1: { sim: echo }']));
    const second = await cli(['serve', '--config', running.configPath]);
    assert.equal(second.code, 5, second.stderr);
    assert.match(second.stderr, new RegExp(`\\b${running.process.pid!}\\b`));
    assert.equal((await running.cli(['ports'])).code, 0);
  });

  it('refuses a bad configuration with file:line:column, exit code 2', async () => {
    const path = join(directory.path, 'bad.yaml');
    writeFileSync(path, 'data: ./data\nports:\n  db1: { devise: /dev/ttyS0 }\n');
    for (const verb of ['serve', 'check']) {
      const { code, stderr } = await cli([verb, '--config', path]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /bad\.yaml:3:10: .*devise.*"?device"?/);
    }
  });

  it('reload applies all of a good file and nothing of a bad one', async () => {
    const [db1, db2, db3] = [machine(), machine(), machine()];
    const ports = [`db1: { n: 1, device: ${db1.path} }`, `db2: { n: 2, device: ${db2.path} }`];
    const running = await start(yaml(ports));
    const { configPath } = running;
    const kept = await attach('alice', 'db1', 'db1: you write');
    const bob = await attach('bob', 'db2', 'db2: you write');
    const feeding = feed(db1);

    writeFileSync(configPath, yaml([...ports, 'db3: { devise: /dev/null }']));
    const refused = await running.cli(['reload']);
    assert.equal(refused.code, 2, refused.stderr);
    assert.match(refused.stderr, /fairlead\.yaml:\d+:\d+: .*devise/);
    writeFileSync(configPath, `${yaml(ports)}  db3: {\n`);
    running.signal('SIGHUP');
    await running.said('reload refused, the old configuration stays');
    // The command line finds its daemon all the same.
    assert.deepEqual(
      (await cliJson<PortStatus>(['ports'])).map(({ name }) => name),
      ['db1', 'db2'],
    );

    // db2 gets another name, db3 is new, bob may write no more.
    const next = users.replace('operator, ports: ["db*"]', 'view, ports: ["db*"]');
    assert.notEqual(next, users);
    const renamed = [
      ports[0]!,
      `db2b: { n: 2, device: ${db2.path}, was: db2 }`,
      `db3: { n: 3, device: ${db3.path} }`,
    ];
    writeFileSync(configPath, yaml(renamed, next));
    const [uuid] = (await cliJson<PortStatus>(['ports', 'db2'])).map((status) => status.uuid);
    const applied = await running.cli(['reload']);
    assert.equal(applied.code, 0, applied.stderr);
    assert.match(
      applied.stdout.toString(),
      /db2b \(was db2\)[^]*db3 added|db3 added[^]*\(was db2\)/,
    );
    await bob.out.until('you view now');
    bob.type('may I\r');
    await bob.out.until('input refused');
    assert.equal((await portIs('db2b', ({ state }) => state === 'up')).uuid, uuid);
    await portIs('db3', ({ state }) => state === 'up');
    await db3.say('hello from db3\r\n');
    await raw('db3', 16);

    // The signal does the same: db3 leaves, and bob's ports with him.
    writeFileSync(configPath, yaml(renamed.slice(0, 2), users.replace('["db*"]', '["db1"]')));
    running.signal('SIGHUP');
    await bob.out.until('ended: bob may no longer view db2b');
    assert.equal(await bob.exited, 5);
    assert.equal((await running.cli(['ports', 'db3'])).code, 3);
    assert.equal((await running.cli(['log', 'db3'])).code, 0, 'its log stays');

    const fed = await feeding.stop();
    assert.ok((await raw('db1', fed.length)).equals(fed), 'an unchanged port loses nothing');
    await kept.out.until(fed.subarray(-20).toString('latin1'));
    kept.type('still me\r');
    await db1.heard.until('still me\r');
    await leave(kept);
    const kinds = (await records('db1')).map(({ kind }) => kind).filter((kind) => kind !== 'rx');
    assert.deepEqual(kinds.slice(0, 2), ['up', 'attached']);
    assert.ok(!kinds.includes('down'));
  });

  it('a missing device is down with cause and fix, and comes up when it is there', async () => {
    const path = join(directory.path, 'dev', 'adapter');
    const held = machine();
    const holder = spawn('flock', ['-n', held.path, '-c', 'echo held; exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    const running = await start(
      yaml([
        `db1: { device: ${path} }`,
        'db2: { device: /etc/passwd }',
        `db3: { device: ${held.path} }`,
      ]),
    );
    const rows = await cliJson<PortStatus>(['ports']);
    assert.deepEqual(
      rows.map(({ state }) => state),
      ['down', 'down', 'down'],
    );
    assert.match(rows[0]!.why!, /adapter does not exist; is the adapter plugged in\?/);
    assert.match(rows[1]!.why!, /\/etc\/passwd is a regular file, not a tty/);
    assert.match(rows[2]!.why!, new RegExp(`is held by process ${holder.pid!} \\(flock\\)`));

    const down = await running.cli(['send', 'db1', 'x']);
    assert.equal(down.code, 5);
    assert.match(down.stderr, /db1 is down: .*does not exist/);
    const client = await attach('alice', 'db1', 'the port is down');
    const db1 = machine();
    mkdirSync(join(directory.path, 'dev'));
    symlinkSync(db1.path, path);
    await client.out.until('the port is up again');
    await db1.say('hello\r\n');
    await client.out.until('hello');
    rmSync(path);
    await client.out.until(/the port is down[^]*the port is down/);
    holder.stdin.end();
    await once(holder, 'close');
    running.signal('SIGUSR1');
    await portIs('db3', ({ state }) => state === 'up');
    running.signal('SIGUSR2');
    await running.said('no mirrors to reopen');
    await leave(client);
    const kinds = (await records('db1')).map(({ kind }) => kind);
    assert.deepEqual(
      kinds.filter((kind) => kind === 'up' || kind === 'down'),
      ['down', 'up', 'down'],
    );
  });

  it('SIGUSR1 retries at once what back-off would retry in up to 5 s', async () => {
    const server = createServer((socket) => socket.destroy());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const running = await start(yaml([`db1: { tcp: "127.0.0.1:${port}" }`]));
    const falls = (): number =>
      running.journal.filter(({ msg, port: name }) => msg === 'port down' && name === 'db1').length;
    // By itself it would take over two minutes for so many.
    for (let round = 1; round <= 30; round++) {
      await until(() => falls() >= round, `fall ${round}`, 60_000);
      running.signal('SIGUSR1');
    }
    server.close();
  });

  function feed(to: Machine): Feed {
    const made = feedOf(to);
    feeds.push(made);
    return made;
  }

  /** Attaches as soon as the door serves again. */
  async function reattach(user: string, port: string, greeting: string): Promise<SshClient> {
    for (;;) {
      const client = ssh.spawn(['-tt', `${user}:${port}@127.0.0.1`], { key: user });
      const isIn = client.out.until(greeting).then(
        () => true,
        () => false,
      );
      if (await isIn) return client;
    }
  }
});

interface Feed {
  /** Resolves with all that was fed. */
  stop(): Promise<Buffer>;
}

/** Has the machine talk without a pause, some 200 KB/s, until told to stop. */
function feedOf(machine: Machine): Feed {
  const parts: Buffer[] = [];
  let isStopped = false;
  const fed = (async () => {
    for (let i = 0; !isStopped; i++) {
      const part = Buffer.from(`[${String(i).padStart(8, '0')}] ${'x'.repeat(2_000)} ${i}\r\n`);
      await machine.say(part);
      parts.push(part);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return {
    async stop() {
      isStopped = true;
      await fed;
      return Buffer.concat(parts);
    },
  };
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) * 1_024;
}
