import assert from 'node:assert/strict';
import { rename } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { freeTcpPort, heard, SshDoor } from './ssh-door.ts';

describe("ssh door and OpenSSH's client", () => {
  let door: SshDoor;
  before(async () => {
    const users = { dora: { password: 'right', code: '123456' } };
    door = await new SshDoor({}, { users }).start();
  });
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

  it('takes options after the port', async () => {
    await door.run(['-tt', 'alice:db1:view:replay=200@127.0.0.1'], { input: '.' });
    assert.deepEqual(lastRun()?.argv, ['attach', 'db1', '--view', '--replay', '200']);
    await door.run(['-tt', 'alice+db1+from=2026-11-20T03:12+force@127.0.0.1'], { input: '.' });
    assert.deepEqual(lastRun()?.argv.slice(2), ['--from', '2026-11-20T03:12', '--force']);
    await door.run(['-tt', 'alice:db1:wait@127.0.0.1', 'attach --view'], { input: '.' });
    assert.deepEqual(lastRun()?.argv, ['attach', 'db1', '--wait', '--view']);
    const result = await door.run(['alice:db1:fast@127.0.0.1']);
    assert.equal(result.code, 2);
    assert.match(result.stderr, /"fast" is no option.*view, force, wait, replay=LINES/);
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

  it('shows a terminal the menu, and a pipe the ports and how to reach one', async () => {
    const menu = await door.run(['-tt', 'alice@127.0.0.1']);
    assert.deepEqual([menu.code, menu.stdout], [0, 'the menu\r\n']);
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
        keys: null,
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
    const refusal = async (target: string) => {
      const { stderr } = await door.run(['-W', target, 'alice@127.0.0.1'], { logLevel: 'INFO' });
      assert.match(stderr, /administratively prohibited: /);
      return stderr;
    };
    assert.match(await refusal('nix:1'), /no port "nix"; no address or host can be reached/);
    assert.match(await refusal('127.0.0.1:22'), /no address or host can be reached/);
    assert.match(await refusal('[::1]:22'), /not the name of a port; no address or host/);
    const sessions = door.ports.sessions.length;
    assert.match(await refusal('../db1:1'), /not the name of a port/);
    assert.equal(door.ports.sessions.length, sessions);
    const subsystem = await door.run(['-s', 'alice@127.0.0.1', 'netconf']);
    assert.notEqual(subsystem.code, 0);
    const forward = ['-o', 'ExitOnForwardFailure=yes', '-R', '0:127.0.0.1:1', 'alice@127.0.0.1'];
    assert.equal((await door.run([...forward, 'both'])).code, 255);
  });

  it('joins -L to a port by its name', async () => {
    const tcpPort = await freeTcpPort();
    const forwarding = [
      '-N',
      '-L',
      `127.0.0.1:${tcpPort}:echo:1`,
      '-o',
      'ExitOnForwardFailure=yes',
    ];
    const client = door.spawn([...forwarding, '-v', 'alice@127.0.0.1'], { logLevel: 'VERBOSE' });
    await heard(client.stderr, 'Entering interactive session');
    for (const text of ['first', 'second']) {
      const socket = connect(tcpPort, '127.0.0.1');
      socket.write(text);
      await heard(socket, text);
      socket.destroy();
    }
    assert.equal(door.ports.sessions.at(-1)?.request.delivery, 'program');
    client.kill('SIGTERM');
  });

  it('has sftp as a subsystem, and says of scp -O what to do', async () => {
    assert.equal((await door.run(['-s', 'alice@127.0.0.1', 'sftp'])).code, 0);
    await door.services.journal.said('sftp began');
    const old = await door.run(['alice@127.0.0.1', 'scp -f /db1']);
    assert.equal(old.code, 2);
    assert.match(old.stderr, /leave -O out/);
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

    it('asks for password and code in one go where the user has codes', async () => {
      const options = { key: '', password: 'right', code: '123456' };
      const good = await door.run(['dora@127.0.0.1', 'both'], options);
      assert.equal(good.stdout, 'out\n', good.stderr);
      assert.equal(door.services.audited.at(-1)?.detail, 'keyboard-interactive');
      for (const [what, wrong] of Object.entries({
        'the same code again': options,
        'a wrong code': { ...options, code: '000000' },
        'a wrong password': { ...options, password: 'wrong', code: '654321' },
      })) {
        const bad = await door.run(['dora@127.0.0.1', 'both'], wrong);
        assert.equal(bad.code, 255, what);
        assert.match(bad.stderr, /Permission denied \(publickey,keyboard-interactive\)/, what);
      }
      door.services.login.withCode = () => true;
      const args = ['-o', 'PreferredAuthentications=password', 'dora@127.0.0.1', 'both'];
      assert.equal((await door.run(args, options)).code, 255, 'a password alone');
    });

    it('takes RSA keys with SHA-512 and SHA-256, and says so before it is asked', async () => {
      for (const algorithm of ['rsa-sha2-512', 'rsa-sha2-256']) {
        const args = ['-v', '-o', `PubkeyAcceptedAlgorithms=${algorithm}`, 'bob@127.0.0.1', 'both'];
        const result = await door.run(args, { key: 'bob', logLevel: 'DEBUG1' });
        assert.equal(result.stdout, 'out\n', algorithm);
        const known = /server-sig-algs=<(.*)>/.exec(result.stderr)?.[1]?.split(',') ?? [];
        assert.ok(known.includes(algorithm), `${known.join(' ')} lacks ${algorithm}`);
        assert.ok(known.includes('ecdsa-sha2-nistp521'));
        assert.ok(!known.includes('ssh-rsa'));
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

describe('ssh doors without their host key', () => {
  it('stay shut, say so once, and open once the key is back', async () => {
    const first = await new SshDoor().start();
    const { keysDirectory } = first;
    const path = join(keysDirectory, 'ssh_host_rsa_key');
    await rename(path, `${path}.away`);

    const door = await new SshDoor({ retryMs: 20 }, { keysDirectory }).start();
    assert.equal(await door.openPortDoor(), null);
    assert.equal(door.frontend.tcpPort, null);
    const { journal } = door.services;
    const what = 'ssh door stays shut: no usable host keys';
    assert.match(String((await journal.said(what))['why']), /ssh_host_rsa_key is missing.*SHA256:/);

    await rename(`${path}.away`, path);
    await journal.said('ssh host keys read');
    while (door.portFrontend.tcpPortOf('db1') === null) await new Promise(setImmediate);
    assert.equal((await door.run(['alice@127.0.0.1', 'both'])).stdout, 'out\n');
    assert.equal(journal.lines.filter(({ message }) => message === what).length, 1);
    await door.stop();
    await first.stop();
  });
});

describe('a banner', () => {
  it('is shown before login, and is another one after a reload', async () => {
    const door = await new SshDoor({}, { banner: 'Authorized use only.\nSecond line.' }).start();
    const shown = async () => {
      const options = { logLevel: 'INFO' };
      return (await door.run(['alice@127.0.0.1', 'both'], options)).stderr.replaceAll('\r', '');
    };
    assert.match(await shown(), /^Authorized use only\.\nSecond line\.\n(?!\n)/m);
    door.server.setBanner('Changed.');
    assert.match(await shown(), /^Changed\.\n/m);
    door.server.setBanner(null);
    assert.doesNotMatch(await shown(), /Changed|Authorized/);
    await door.stop();
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
