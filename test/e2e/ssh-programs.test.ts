import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { requireLibc } from '../support/pty.ts';
import { Heard, Machine, numberedLines, SshKit } from './console.ts';
import { Daemon, freeTcpPort, run, scratchDirectory, type CommandResult } from './daemon.ts';
import { startGuest } from './guest/guest.ts';
import { GUEST_LOGIN } from './guest/image.ts';

/** Programs that speak SSH, as distributions ship them, against a running daemon. */
describe('SSH programs', () => {
  const directory = scratchDirectory();
  let machine: Machine;
  let daemon: Daemon;
  let ssh: SshKit;
  let portDoor: SshKit;
  const file = (name: string): string => join(directory.path, name);

  before(async () => {
    machine = new Machine(await requireLibc());
    ssh = new SshKit(directory.path, await freeTcpPort());
    portDoor = new SshKit(directory.path, await freeTcpPort());
    const authority = ssh.makeKey('authority');
    for (const name of ['certified', 'revoked']) ssh.makeKey(name);
    certify('certified', ['-I', 'ann at work', '-n', 'ann', '-V', '-5m:+1h', '-z', '7']);
    certify('revoked', ['-I', 'stolen laptop', '-n', 'ann', '-V', '-5m:+1h', '-z', '8']);
    writeFileSync(file('void'), 'serial: 8\n');
    execFileSync('ssh-keygen', [
      '-q',
      '-k',
      '-f',
      file('krl'),
      '-s',
      `${file('key-authority')}.pub`,
      file('void'),
    ]);
    daemon = await Daemon.start(
      directory.path,
      `
data: ./data
listen:
  ssh: 127.0.0.1:${ssh.tcpPort}
  port-ssh: { base: ${portDoor.tcpPort - 1} }
certificates: { authorities: ['${authority}'], revokedFile: ./krl }
users:
  alice: { role: admin, keys: ['${ssh.makeKey('alice')}'] }
  ann: { role: operator, ports: [db1] }
ports:
  db1: { n: 1, device: ${machine.path} }
`,
    );
    await daemon.said('port up');
  });
  after(async () => {
    ssh.dispose();
    portDoor.dispose();
    await daemon.stop();
    machine.dispose();
    directory.dispose();
  });

  function certify(name: string, args: readonly string[]): void {
    const key = file(`key-${name}`);
    execFileSync('ssh-keygen', ['-q', '-s', file('key-authority'), ...args, `${key}.pub`]);
    assert.ok(existsSync(`${key}-cert.pub`));
  }

  describe('OpenSSH', () => {
    it('logs in with a certificate, which the journal names', async () => {
      const args = ['-o', `CertificateFile=${file('key-certified')}-cert.pub`];
      const who = await ssh.run([...args, 'ann@127.0.0.1', 'ports'], { key: 'certified' });
      assert.equal(who.code, 0, who.stderr);
      assert.match(who.out, /db1/);
      const entry = await daemon.said('logged in', (line) => line['user'] === 'ann');
      assert.match(JSON.stringify(entry), /ann at work.*serial 7/);
    });

    it('is refused with a certificate that was revoked, or is for somebody else', async () => {
      for (const [name, user] of [
        ['revoked', 'ann'],
        ['certified', 'alice'],
      ] as const) {
        const args = ['-o', `CertificateFile=${file(`key-${name}`)}-cert.pub`];
        const refused = await ssh.run([...args, `${user}@127.0.0.1`, 'ports'], {
          key: name,
          source: '127.0.0.9',
        });
        assert.equal(refused.code, 255);
        assert.match(refused.stderr, /Permission denied/);
      }
    });

    it('reaches one port at its own TCP port', async () => {
      const client = portDoor.spawn(['-tt', 'alice@127.0.0.1'], { key: 'alice' });
      await client.out.until('db1: you write');
      client.type('by its own door\r');
      await machine.heard.until('by its own door\r');
      client.type('\x05c.');
      assert.equal(await client.exited, 0);
    });

    it('-L reaches a port by its name', async () => {
      const local = await freeTcpPort();
      const client = ssh.spawn(
        ['-v', '-o', 'LogLevel=DEBUG1', '-N', '-L', `${local}:db1:1`, 'alice@127.0.0.1'],
        { key: 'alice' },
      );
      await client.err.until(/Local forwarding listening on 127.0.0.1/);
      const sent = await run('socat', ['-t', '1', '-', `TCP:127.0.0.1:${local}`], {
        input: 'through a forwarding\r',
      });
      assert.equal(sent.code, 0, sent.stderr);
      await machine.heard.until('through a forwarding\r');
      client.process.kill();
      await client.exited;
    });

    it('renews its keys in the middle of 4 MB without a byte lost', async () => {
      const client = ssh.spawn(['-o', 'RekeyLimit=512K', '-W', 'db1:1', 'alice@127.0.0.1'], {
        key: 'alice',
      });
      await until(async () => {
        await machine.say('are you there?\n');
        return client.out.text.includes('are you there?');
      });
      const said = Buffer.concat([Buffer.from('-- it begins --\n'), numberedLines(4_000_000)]);
      await machine.say(said);
      await client.out.until('-- it begins --\n');
      const from = client.out.text.indexOf('-- it begins --\n');
      const all = await client.out.untilLength(from + said.length);
      assert.equal(Buffer.compare(all.subarray(from, from + said.length), said), 0);
      client.process.kill();
      await client.exited;
    });

    it('sftp and scp fetch the log of a day, and change nothing', async () => {
      await machine.say('a line for the archive\r\n');
      const today = new Date().toISOString().slice(0, 10);
      await until(async () => (await logged()).includes('a line for the archive'));
      writeFileSync(file('batch'), `ls -l /\nls /db1\nget /db1/${today}.raw ${file('raw')}\n`);
      const listed = await transfer('sftp', ['-b', file('batch'), 'alice@127.0.0.1']);
      assert.equal(listed.code, 0, listed.stderr);
      assert.match(listed.stdout.toString(), /db1/);
      assert.match(listed.stdout.toString(), /live\.log/);
      assert.deepEqual(readFileSync(file('raw')), await logged());

      mkdirSync(file('copy'));
      const copied = await transfer('scp', ['-r', 'alice@127.0.0.1:/db1', file('copy')]);
      assert.equal(copied.code, 0, copied.stderr);
      assert.match(readFileSync(file(`copy/db1/${today}.log`), 'utf8'), /a line for the archive/);

      const put = await transfer('scp', [file('batch'), 'alice@127.0.0.1:/db1/x']);
      assert.notEqual(put.code, 0);
      assert.match(put.stderr, /denied/i);
      const hidden = await transfer('scp', ['alice@127.0.0.1:/../etc/passwd', file('copy')]);
      assert.notEqual(hidden.code, 0);
    });

    it('scp -O is refused with a clear word', async () => {
      const old = await transfer('scp', ['-O', 'alice@127.0.0.1:/db1/live.log', file('copy')]);
      assert.notEqual(old.code, 0);
      assert.match(old.stderr + old.stdout.toString(), /leave -O out/);
    });

    it('shows the menu, and Enter opens a port', async () => {
      const client = ssh.spawn(['-tt', 'alice@127.0.0.1'], { key: 'alice' });
      await client.out.until('db1');
      client.type('\r');
      await client.out.until('db1: you write');
      client.type('\x05c.');
      await client.out.until('db1', client.out.length);
      client.type('\x03');
      await client.exited;
    });
  });

  function transfer(program: 'sftp' | 'scp', args: readonly string[]): Promise<CommandResult> {
    return run(program, [
      ...['-q', '-F', '/dev/null', '-o', 'StrictHostKeyChecking=no', '-o', 'BatchMode=yes'],
      ...['-o', `UserKnownHostsFile=${file('known_hosts')}`, '-o', 'IdentitiesOnly=yes'],
      ...['-o', 'IdentityAgent=none', '-i', file('key-alice'), '-P', String(ssh.tcpPort)],
      ...args,
    ]);
  }

  async function logged(): Promise<Buffer> {
    return (await daemon.cli(['log', 'db1', '--format', 'raw'])).stdout;
  }

  it("dropbear's client runs a verb, and opens a port on a terminal", async () => {
    const key = file('key-dropbear');
    await run('dropbearconvert', ['openssh', 'dropbear', file('key-alice'), key]);
    const words = ['dbclient', '-y', '-y', '-i', key, '-p', String(ssh.tcpPort)];
    const env = { ...process.env, HOME: directory.path };
    const ports = await run(words[0]!, [...words.slice(1), 'alice@127.0.0.1', 'ports', '--json'], {
      env,
    });
    assert.equal(ports.code, 0, ports.stderr);
    assert.match(ports.stdout.toString(), /"name":\s*"db1"/);
    const child = spawn(
      'script',
      ['-qfec', [...words, '-t', 'alice:db1@127.0.0.1'].join(' '), '/dev/null'],
      { env },
    );
    const screen = new Heard().listenTo(child.stdout);
    const ended = once(child, 'close');
    await screen.until('db1: you write');
    child.stdin.write('by dropbear\r');
    await machine.heard.until('by dropbear\r');
    child.stdin.write('\x05c.');
    assert.deepEqual(await ended, [0, null]);
  });

  it("PuTTY's plink runs a verb, and opens a port", async () => {
    const key = file('key.ppk');
    execFileSync('puttygen', [
      ...[file('key-alice'), '-O', 'private', '-o', key],
      ...['--new-passphrase', '/dev/null'],
    ]);
    const { fingerprints } = (await daemon.said('ssh host keys made')) as unknown as {
      fingerprints: string[];
    };
    const hostKeys = fingerprints.flatMap((line) => {
      const found = /SHA256:\S+/.exec(line);
      return found ? ['-hostkey', found[0]] : [];
    });
    const words = ['-batch', '-ssh', '-i', key, '-P', String(ssh.tcpPort), ...hostKeys];
    const env = { ...process.env, HOME: directory.path };
    const ports = await run('plink', [...words, 'alice@127.0.0.1', 'ports', '--json'], { env });
    assert.equal(ports.code, 0, ports.stderr);
    assert.match(ports.stdout.toString(), /"name":\s*"db1"/);
    const from = machine.heard.length;
    const child = spawn('plink', [...words, '-T', 'alice@127.0.0.1', 'attach', 'db1'], { env });
    const ended = once(child, 'close');
    const heard = new Heard().listenTo(child.stdout);
    child.stdin.write('by plink\r');
    await machine.heard.until('by plink\r', from);
    await machine.say('to plink');
    await heard.until('to plink');
    child.kill();
    await ended;
  });

  async function until(isSo: () => Promise<boolean>): Promise<void> {
    while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 100));
  }
});

describe('BREAK by OpenSSH', () => {
  const cleanups: (() => Promise<unknown> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  it('~B and a key reach the SysRq handler of a real kernel behind a telnet line', async () => {
    const directory = scratchDirectory();
    cleanups.push(() => directory.dispose());
    const guest = await startGuest({ serial: 'telnet', append: 'sysrq_always_enabled' });
    cleanups.push(() => guest.stop());
    const ssh = new SshKit(directory.path, await freeTcpPort());
    cleanups.push(() => ssh.dispose());
    const daemon = await Daemon.start(
      directory.path,
      `
data: ./data
listen: { ssh: '127.0.0.1:${ssh.tcpPort}' }
users: { alice: { role: admin, keys: ['${ssh.makeKey('alice')}'] } }
ports: { box: { telnet: '${guest.path}' } }
`,
    );
    cleanups.push(() => daemon.stop());
    await daemon.said('port up');
    const client = ssh.spawn(['-tt', '-e', '~', 'alice:box@127.0.0.1'], { key: 'alice' });
    await client.out.until('box: you write');
    await guest.run();
    await guest.saidText(`guest login: `);
    client.type(`${GUEST_LOGIN.user}\r`);
    await guest.saidText('Password: ');
    // The escape counts at the start of a line only.
    client.type('\r');
    await guest.saidText('Login incorrect');
    client.type('~B');
    // The kernel takes the key only after the BREAK.
    for (;;) {
      const { stdout } = await daemon.cli(['log', 'box', '--format', 'jsonl']);
      if (stdout.includes('"kind":"break"')) break;
    }
    client.type('h');
    await guest.saidText('sysrq: HELP');
  });
});
