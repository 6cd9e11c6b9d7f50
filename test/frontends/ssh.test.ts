import assert from 'node:assert/strict';
import { rename, chmod } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { heard, SshDoor } from './ssh-door.ts';

describe("ssh door and OpenSSH's client", () => {
  let door: SshDoor;
  before(async () => (door = await new SshDoor().start()));
  after(() => door.stop());

  const lastRun = () => door.services.verbs.runs.at(-1);

  it('attaches a shell to the port in the login name', async () => {
    for (const login of ['alice:db1', 'alice+db1']) {
      const result = await door.run(['-tt', `${login}@127.0.0.1`], { input: 'hello.' });
      assert.equal(result.code, 0, result.stderr);
      assert.match(result.stdout, /^attached db1\r\n/);
      assert.equal(lastRun()?.caller.user, 'alice');
      assert.equal(lastRun()?.caller.frontend, 'ssh');
      assert.match(lastRun()!.caller.remote, /^127\.0\.0\.1:\d+$/);
    }
  });

  it('takes view and force after the port', async () => {
    await door.run(['-tt', 'alice:db1:view@127.0.0.1'], { input: '.' });
    assert.deepEqual(lastRun()?.argv, ['attach', 'db1', '--view']);
    await door.run(['-tt', 'alice+db1+force@127.0.0.1'], { input: '.' });
    assert.deepEqual(lastRun()?.argv, ['attach', 'db1', '--force']);
    const result = await door.run(['alice:db1:fast@127.0.0.1']);
    assert.equal(result.code, 2);
    assert.match(result.stderr, /"view" and "force"/);
  });

  it('lets the key name the user where the login name is a port', async () => {
    await door.run(['-tt', 'db1@127.0.0.1'], { input: '.', key: 'bob' });
    assert.deepEqual(lastRun()?.argv, ['attach', 'db1']);
    assert.equal(lastRun()?.caller.user, 'bob');
    await door.run(['db2:view@127.0.0.1', 'log'], { key: 'bob' });
    assert.deepEqual(lastRun()?.argv, ['log', 'db2']);
  });

  it('attaches to a first word that is no verb, and runs one that is', async () => {
    await door.run(['-tt', 'alice@127.0.0.1', 'db1 --view'], { input: '.' });
    assert.deepEqual(lastRun()?.argv, ['attach', 'db1', '--view']);
    await door.run(['alice@127.0.0.1', `log db1 'two words' "a\\"b"`]);
    assert.deepEqual(lastRun()?.argv, ['log', 'db1', 'two words', 'a"b']);
    const result = await door.run(['alice@127.0.0.1', `log 'open`]);
    assert.equal(result.code, 2);
    assert.match(result.stderr, /not closed/);
  });

  it('shows the ports, and how to reach one, to a user without a port', async () => {
    const result = await door.run(['alice@127.0.0.1']);
    assert.equal(result.code, 0);
    assert.match(result.stdout, /^db1 up\ndb2 down\n/);
    assert.match(result.stdout, /ssh alice:PORT@HOST/);
  });

  it('delivers stdout, stderr and the exit code', async () => {
    for (let round = 0; round < 5; round++) {
      const result = await door.run(['alice@127.0.0.1', 'both']);
      assert.deepEqual(result, { code: 3, stdout: 'out\n', stderr: 'err\n' });
    }
    const denied = await door.run(['alice@127.0.0.1', 'fail db9']);
    assert.equal(denied.code, 4);
    assert.match(denied.stderr, /lacks view on db9/);
  });

  it('delivers more output than any window holds', async () => {
    const result = await door.run(['alice@127.0.0.1', 'flood 9000000']);
    assert.equal(result.code, 0);
    assert.equal(result.stdout.length, 9_000_000);
  });

  it('takes a 200 KB paste whole when the listener is slow', async () => {
    door.services.verbs.slowness = () => new Promise((resolve) => setTimeout(resolve, 5));
    const result = await door.run(['alice@127.0.0.1', 'sink'], {
      input: Buffer.alloc(200_000, 'p'),
    });
    assert.equal(result.stdout, '200000 bytes\n');
  });

  it('knows the terminal: size, its changes, and TZ', async () => {
    const size = await door.run(['-tt', 'alice@127.0.0.1', 'size']);
    assert.match(size.stdout, /^\d+x\d+ true\r\n$/);
    const pipe = await door.run(['alice@127.0.0.1', 'size']);
    assert.equal(pipe.stdout, '80x24 false\n');
    const sendTz = ['-o', 'SendEnv=TZ', 'alice@127.0.0.1', 'zone'];
    const zone = (TZ: string) => door.run(sendTz, { environment: { TZ } });
    assert.equal((await zone('Europe/Prague')).stdout, 'Europe/Prague\n');
    assert.equal((await zone('../../etc/passwd')).stdout, 'Etc/UTC\n');
  });

  it('stops a verb at ^C on a terminal', async () => {
    const client = door.spawn(['-tt', 'alice@127.0.0.1', 'wait']);
    await heard(client.stdout, 'waiting');
    client.stdin.write('\x03');
    const code = await new Promise((resolve) => client.once('close', resolve));
    assert.equal(code, 130);
  });

  it('frees the session of a client that is killed', async () => {
    const client = door.spawn(['-tt', 'alice:db1@127.0.0.1']);
    await heard(client.stdout, 'attached');
    const run = lastRun()!;
    client.kill('SIGKILL');
    while (!door.services.verbs.left.includes(run)) await new Promise(setImmediate);
  });

  it('joins -W to a port, byte for byte, and keeps the output after the end of input', async () => {
    const client = door.spawn(['-W', 'echo:1', 'alice@127.0.0.1']);
    const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    client.stdin.end(every);
    const got: Buffer[] = [];
    client.stdout.on('data', (bytes: Buffer) => got.push(bytes));
    await door.ports.until(() => door.ports.inputs['echo']?.length === 256);
    const session = door.ports.sessions.at(-1)!;
    assert.deepEqual(
      { ...session.request, caller: session.request.caller.user },
      {
        caller: 'alice',
        port: 'echo',
        mode: 'write',
        delivery: 'program',
        from: null,
        notices: false,
        keys: false,
      },
    );
    await door.ports.until(() => session.gaveUpWrite);
    await new Promise<void>((done) => session.output.write(Buffer.from('late'), done));
    session.output.ended('kicked');
    await new Promise((resolve) => client.once('close', resolve));
    assert.deepEqual(Buffer.concat(got), Buffer.concat([every, Buffer.from('late')]));
    await door.ports.until(() => session.detached !== null);
  });

  it('says why -W is refused, and refuses what else there is to ask for', async () => {
    const unknown = await door.run(['-W', 'nix:1', 'alice@127.0.0.1'], { logLevel: 'INFO' });
    assert.match(unknown.stderr, /administratively prohibited: no port "nix"/);
    const sftp = await door.run(['-s', 'alice@127.0.0.1', 'sftp']);
    assert.notEqual(sftp.code, 0);
    const forward = ['-o', 'ExitOnForwardFailure=yes', '-R', '0:127.0.0.1:1', 'alice@127.0.0.1'];
    assert.equal((await door.run([...forward, 'both'])).code, 255);
  });

  it('survives a new key exchange in the middle of a flood', async () => {
    const result = await door.run(['-o', 'RekeyLimit=1M', 'alice@127.0.0.1', 'flood 6000000']);
    assert.equal(result.stdout.length, 6_000_000);
  });

  describe('login', () => {
    it('takes a password, and one keyboard-interactive prompt', async () => {
      for (const method of ['password', 'keyboard-interactive']) {
        const options = { key: '', password: 'open sesame' };
        const args = ['-o', `PreferredAuthentications=${method}`, 'carol@127.0.0.1', 'both'];
        assert.equal((await door.run(args, options)).stdout, 'out\n');
        assert.equal(door.services.audited.at(-1)?.detail, method);
      }
    });

    const refusals: [string, string, Parameters<SshDoor['run']>[1]][] = [
      ['a wrong password', 'carol', { key: '', password: 'open' }],
      ['a user nobody knows', 'dave', { key: '', password: 'open sesame' }],
      ['a port with a password', 'db1', { key: '', password: 'open sesame' }],
      ['a key of somebody else', 'alice', { key: 'bob' }],
      ['a key nobody holds', 'db1', { key: 'eve' }],
      ['a name no grammar allows', 'alice:../db1', { key: 'alice' }],
    ];
    for (const [what, user, options] of refusals) {
      it(`refuses ${what}`, async () => {
        const runs = door.services.verbs.runs.length;
        const result = await door.run(['-l', user, '127.0.0.1', 'both'], options);
        assert.equal(result.code, 255);
        assert.match(result.stderr, /Permission denied/);
        assert.equal(door.services.verbs.runs.length, runs);
      });
    }

    it('refuses SHA-1: as signature of a user key, host key, key exchange, MAC', async () => {
      const sha1 = ['-o', 'PubkeyAcceptedAlgorithms=ssh-rsa'];
      const user = await door.run([...sha1, 'bob@127.0.0.1', 'both'], { key: 'bob' });
      assert.equal(user.code, 255);
      for (const option of [
        'HostKeyAlgorithms=ssh-rsa',
        'KexAlgorithms=diffie-hellman-group14-sha1',
        'MACs=hmac-sha1',
      ]) {
        const args = ['-o', option, '-o', 'Ciphers=aes128-ctr', 'alice@127.0.0.1', 'both'];
        const result = await door.run(args, { logLevel: 'INFO' });
        assert.equal(result.code, 255, option);
        assert.match(result.stderr, /no matching/, option);
      }
      const sound = ['-o', 'HostKeyAlgorithms=rsa-sha2-512', 'alice@127.0.0.1', 'both'];
      assert.equal((await door.run(sound)).stdout, 'out\n');
    });
  });
});

describe('ssh door without its host key', () => {
  it('stays shut, says so, and opens once the key is back', async () => {
    const first = new SshDoor();
    const directory = join(first.directory, 'keys');
    await first.start();
    await first.frontend.stop();
    const path = join(directory, 'ssh_host_rsa_key');
    await rename(path, `${path}.away`);

    await first.frontend.start();
    assert.equal(first.frontend.tcpPort, null);
    const line = await first.services.journal.said('ssh door stays shut: no usable host keys');
    assert.match(String(line['why']), /ssh_host_rsa_key is missing.*SHA256:/);

    await rename(`${path}.away`, path);
    await chmod(path, 0o600);
    await first.frontend.update({ host: '127.0.0.1', tcpPort: 0, allow: [] });
    assert.equal((await first.run(['alice@127.0.0.1', 'both'])).stdout, 'out\n');
    await first.stop();
  });
});

describe('ssh door on reload', () => {
  it('moves to a new address and leaves its clients alone', async () => {
    const door = await new SshDoor().start();
    const before = door.frontend.tcpPort;
    const client = door.spawn(['-tt', 'alice:db1@127.0.0.1']);
    await heard(client.stdout, 'attached');
    await door.frontend.update({ host: '127.0.0.2', tcpPort: 0, allow: [] });
    assert.notEqual(door.frontend.tcpPort, before);
    client.stdin.write('still here');
    await heard(client.stdout, 'still here');
    const refused = connect(before!, '127.0.0.1');
    await new Promise((resolve) => refused.once('error', resolve));
    await door.stop();
  });
});
