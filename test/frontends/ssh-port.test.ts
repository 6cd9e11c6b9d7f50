import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SshDoor } from './ssh-door.ts';

describe("a port's own SSH door and OpenSSH's client", () => {
  let door: SshDoor;
  let tcpPort: number | null;
  before(async () => {
    door = await new SshDoor().start();
    tcpPort = await door.openPortDoor();
  });
  after(() => door.stop());

  const run = (args: readonly string[], options: Parameters<SshDoor['run']>[1] = {}) =>
    door.run(args, { tcpPort, ...options });
  const lastArgv = () => door.services.verbs.runs.at(-1)?.argv;

  it('attaches whoever logs in, with options behind the user', async () => {
    const result = await run(['-tt', 'alice@127.0.0.1'], { input: 'hello.' });
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, /^attached db1\r\n/);
    assert.equal(door.services.verbs.runs.at(-1)?.caller.frontend, 'ssh');
    assert.equal(door.services.audited.at(-1)?.port, 'db1');
    await run(['-tt', 'alice:view:replay=10@127.0.0.1'], { input: '.' });
    assert.deepEqual(lastArgv(), ['attach', 'db1', '--view', '--replay', '10']);
    await run(['-tt', 'alice+db1+force@127.0.0.1'], { input: '.' });
    assert.deepEqual(lastArgv(), ['attach', 'db1', '--force']);
    await run(['-tt', 'carol@127.0.0.1'], { key: '', password: 'open sesame', input: '.' });
    assert.deepEqual(lastArgv(), ['attach', 'db1']);
    const wrong = await run(['alice:fast@127.0.0.1']);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /"fast" is no option/);
  });

  it('lets the key name the user where the login name is the port, or an alias of it', async () => {
    for (const login of ['db1', 'CORE']) {
      await run(['-tt', `${login}@127.0.0.1`], { key: 'bob', input: '.' });
      assert.deepEqual(lastArgv(), ['attach', 'db1']);
      assert.equal(door.services.verbs.runs.at(-1)?.caller.user, 'bob');
    }
    const runs = door.services.verbs.runs.length;
    const other = await run(['-l', 'db2', '127.0.0.1'], { key: 'bob' });
    assert.equal(other.code, 255);
    assert.equal(door.services.verbs.runs.length, runs);
  });

  it('runs verbs on its port, and nothing else', async () => {
    await run(['alice@127.0.0.1', 'log --last 10']);
    assert.deepEqual(lastArgv(), ['log', 'db1', '--last', '10']);
    await run(['-tt', 'alice@127.0.0.1', 'core --view'], { input: '.' });
    assert.deepEqual(lastArgv(), ['attach', 'db1', '--view']);
    const other = await run(['-tt', 'alice@127.0.0.1', 'db2']);
    assert.equal(other.code, 2);
    assert.match(other.stdout, /db2: not a command; this door already says which port/);
  });

  it('forwards to its port by any of its names, and to no other', async () => {
    const client = door.spawn(['-W', 'db1:1', 'alice@127.0.0.1'], { tcpPort });
    client.stdin.write('x');
    await door.ports.until(() => door.ports.inputs['db1']?.toString() === 'x');
    client.kill('SIGTERM');
    const sessions = door.ports.sessions.length;
    const other = await run(['-W', 'db2:1', 'alice@127.0.0.1'], { logLevel: 'INFO' });
    assert.match(other.stderr, /this is the door of db1 alone/);
    assert.equal(door.ports.sessions.length, sessions);
  });

  it('has the host key of the other doors', async () => {
    const both = ['-o', 'HostKeyAlias=rack', 'alice@127.0.0.1', 'both'];
    assert.equal((await door.run(both)).stdout, 'out\n'); // learns the key under that name
    // The first value of an option counts, and the door's own come in front.
    const { stderr, stdout } = await run([...both.slice(0, 2), '-v', ...both.slice(2)], {
      logLevel: 'DEBUG1',
    });
    assert.match(stderr, /Host 'rack' is known and matches/);
    assert.equal(stdout, 'out\n');
  });

  it('closes when its port loses the number, and leaves the others alone', async () => {
    const settings = { host: '127.0.0.1', base: -1, allow: [] };
    const db1 = { name: 'db1', n: 1, aliases: ['core', 'new'] };
    await door.portFrontend.update(settings, [db1]);
    assert.equal(door.portFrontend.tcpPortOf('db1'), tcpPort, 'another alias closes no door');
    await run(['-tt', 'new@127.0.0.1'], { key: 'bob', input: '.' });
    assert.deepEqual(lastArgv(), ['attach', 'db1']);
    await door.portFrontend.update(settings, []);
    assert.equal(door.portFrontend.tcpPortOf('db1'), null);
    assert.notEqual(door.frontend.tcpPort, null);
  });
});
