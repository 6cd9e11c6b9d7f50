import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import ssh2, { type ClientChannel } from 'ssh2';
import { loginAs, sendPacket, type Attacker } from './ssh-attacker.ts';
import { heard, SshDoor } from './ssh-door.ts';

describe('ssh door under attack', () => {
  let door: SshDoor;
  const attackers: ssh2.Client[] = [];
  before(async () => (door = await new SshDoor().start()));
  after(async () => {
    for (const attacker of attackers) attacker.destroy();
    await door.stop();
  });

  async function login(): Promise<Attacker> {
    const client = await loginAs(door, 'alice');
    attackers.push(client);
    return client;
  }

  function exec(client: ssh2.Client, command: string): Promise<ClientChannel> {
    return new Promise((resolve, reject) => {
      client.exec(command, (error, channel) => (error ? reject(error) : resolve(channel)));
    });
  }

  const closed = (client: ssh2.Client) =>
    new Promise<void>((resolve) => client.once('close', resolve));

  async function isServed(): Promise<void> {
    assert.equal((await door.run(['alice@127.0.0.1', 'both'])).stdout, 'out\n');
  }

  for (const packetBytes of [0, 1, 1_023]) {
    it(`cuts a client that opens a channel with packets of ${packetBytes} bytes`, async () => {
      const other = door.spawn(['-tt', 'alice:db1@127.0.0.1']);
      await heard(other.stdout, 'attached');
      const attacker = await login();
      const cut = closed(attacker);
      attacker._protocol.session(0, 2_000_000, packetBytes);
      attacker._protocol.exec(0, 'flood 100000', false);
      const echo = heard(other.stdout, 'typed meanwhile');
      other.stdin.write('typed meanwhile');
      // This is one loop with the server: were it stalled, no timer would come.
      await new Promise((tick) => setTimeout(tick, 1));
      await echo;
      await cut;
      await isServed();
      other.kill('SIGKILL');
    });
  }

  it('serves a channel with packets and a window of any greater size', async () => {
    const client = await login();
    const confirmed = new Promise<{ sender: number }>((resolve) => {
      client._protocol._handlers['CHANNEL_OPEN_CONFIRMATION'] = (_self, info) => resolve(info);
    });
    const done = new Promise<void>((resolve) => {
      client._protocol._handlers['CHANNEL_CLOSE'] = () => resolve();
    });
    client._protocol.session(0, 0xffff_ffff, 0xffff_ffff);
    client._protocol.exec((await confirmed).sender, 'both', true);
    await done;
    client.end();
  });

  it('cuts a client that sends more than its window, at once', async () => {
    door.services.verbs.slowness = () => new Promise(() => undefined);
    const attacker = await login();
    await exec(attacker, 'sink');
    const cut = closed(attacker);
    let sentBytes = 0;
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const chunk = Buffer.alloc(30_000);
    const send = () => {
      for (let i = 0; i < 10 && sentBytes < 50_000_000; i++, sentBytes += chunk.length) {
        attacker._protocol.channelData(0, chunk);
      }
      if (attacker._sock.writable) setImmediate(send);
    };
    attacker._protocol._handlers['CHANNEL_WINDOW_ADJUST'] = () => undefined;
    send();
    await cut;
    clearInterval(timer);
    assert.ok(ticks > 0, 'no timer came meanwhile');
    assert.ok(sentBytes < 50_000_000, `${sentBytes} bytes`);
    const line = await door.services.journal.said('ssh client cut');
    assert.equal(line['user'], 'alice');
    await isServed();
  });

  it('lets others have their turns between the packets of a client', async () => {
    const attacker = await login();
    const ignore = Buffer.concat([Buffer.from([2, 0, 0, 0x40, 0]), Buffer.alloc(0x4000)]);
    attacker._sock.cork();
    const before = attacker._sock.bytesWritten;
    for (let i = 0; i < 1_000; i++) sendPacket(attacker, ignore);
    const bytes = attacker._sock.bytesWritten - before;
    attacker._sock.uncork();
    let turns = 0;
    let isAnswered = false;
    const answer = exec(attacker, 'both').then(() => (isAnswered = true));
    while (!isAnswered) {
      await new Promise(setImmediate);
      turns++;
    }
    await answer;
    // One read is 64 KB at most, and libuv would do 32 of them in a turn.
    assert.ok(turns > bytes / 65_536, `${turns} turns for ${bytes} bytes`);
    attacker.end();
  });

  it('holds back output for a client that announces a vast window and reads nothing', async () => {
    const attacker = await login();
    const confirmed = new Promise<{ sender: number }>((resolve) => {
      attacker._protocol._handlers['CHANNEL_OPEN_CONFIRMATION'] = (_self, info) => resolve(info);
    });
    attacker._protocol.session(0, 0xffff_ffff, 32_768);
    attacker._protocol.exec((await confirmed).sender, 'pour', false);
    attacker._sock.pause();
    const flood = await door.run(['alice@127.0.0.1', 'flood 9000000']);
    assert.equal(flood.stdout.length, 9_000_000);
    // What the kernel's socket buffers hold of it, and no more.
    const { pouredBytes } = door.services.verbs;
    assert.ok(pouredBytes > 0 && pouredBytes < 32_000_000, `${pouredBytes} bytes`);
  });

  it('allows ten channels a connection', async () => {
    const client = await login();
    for (let i = 0; i < 10; i++) await exec(client, 'wait');
    await assert.rejects(exec(client, 'both'), /at most 10 channels/);
    client.end();
  });

  it('gives a place back when a session is closed before it had a shell', async () => {
    const client = await login();
    const handlers = client._protocol._handlers;
    const { CHANNEL_OPEN_CONFIRMATION, CHANNEL_CLOSE } = handlers;
    for (let i = 0; i < 12; i++) {
      const isClosed = new Promise<void>((resolve) => {
        handlers['CHANNEL_OPEN_CONFIRMATION'] = (_self, { sender }: { sender: number }) =>
          client._protocol.channelClose(sender);
        handlers['CHANNEL_CLOSE'] = () => resolve();
      });
      client._protocol.session(100 + i, 2_000_000, 32_768);
      await isClosed;
    }
    Object.assign(handlers, { CHANNEL_OPEN_CONFIRMATION, CHANNEL_CLOSE });
    const channel = await exec(client, 'both');
    await new Promise((resolve) => channel.once('close', resolve).resume());
    client.end();
  });

  it('outlives a client that leaves while its password is checked', async () => {
    const { login: people } = door.services;
    const check = people.withPassword.bind(people);
    let answer: (isRight: boolean) => void = () => undefined;
    const asked = new Promise<void>((resolve) => {
      people.withPassword = () => {
        resolve();
        return new Promise((right) => (answer = right));
      };
    });
    const client = new ssh2.Client() as unknown as Attacker;
    attackers.push(client);
    client.on('error', () => undefined);
    client.connect({
      host: '127.0.0.1',
      port: door.frontend.tcpPort!,
      username: 'carol',
      password: 'x',
    });
    await asked;
    client._sock.resetAndDestroy();
    await closed(client);
    await isServed();
    answer(true);
    people.withPassword = check;
    await isServed();
    assert.ok(
      !door.services.audited.some(({ user, action }) => user === 'carol' && action === 'login'),
    );
  });

  it('ends a client after six failures', async () => {
    const client = new ssh2.Client();
    attackers.push(client);
    let tries = 0;
    await new Promise<void>((resolve) => {
      client.on('error', () => undefined);
      client.once('close', () => resolve());
      client.connect({
        host: '127.0.0.1',
        port: door.frontend.tcpPort!,
        username: 'carol',
        authHandler: (_left, _partial, next) => {
          tries++;
          next({ type: 'password', username: 'carol', password: `guess ${tries}` });
        },
      });
    });
    assert.ok(tries === 6 || tries === 7, `${tries} tries`); // the seventh may be under way
    assert.equal(door.services.journal.lines.filter((line) => line['user'] === 'carol').length, 6);
    await isServed();
  });

  it('ends only the client that sends anything at all once it is logged in', async () => {
    const other = door.spawn(['-tt', 'alice:db1@127.0.0.1']);
    await heard(other.stdout, 'attached');
    let attacker = await login();
    const wire = fc.array(
      fc.tuple(
        // Mostly messages of the connection protocol (RFC 4254), and a channel that may be open.
        fc.oneof(fc.integer({ min: 80, max: 100 }), fc.integer({ min: 1, max: 255 })),
        fc.oneof(fc.constant([0, 0, 0, 0]), fc.constant([])),
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.constantFrom(
            ...['break', 'window-change', 'subsystem', 'signal', 'session', 'direct-tcpip'].map(
              (name) => Buffer.concat([Buffer.from([0, 0, 0, name.length]), Buffer.from(name)]),
            ),
          ),
        ),
        fc.uint8Array({ maxLength: 40 }),
      ),
      { minLength: 1, maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(wire, async (packets) => {
        if (attacker._sock.destroyed) attacker = await login();
        attacker._protocol.session(0, 2_000_000, 32_768);
        for (const [type, channel, ...parts] of packets) {
          if (!attacker._sock.writable) break;
          sendPacket(attacker, Buffer.concat([Buffer.from([type, ...channel]), ...parts]));
        }
        await new Promise(setImmediate);
      }),
      { numRuns: 150 },
    );
    other.stdin.write('still here');
    await heard(other.stdout, 'still here');
    other.kill('SIGKILL');
    await isServed();
  });

  const openings: [string, Buffer | string][] = [
    ['an HTTP request', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a line without end', Buffer.alloc(100_000, 'x')],
    ['random bytes after the first line', Buffer.concat([ident(), Buffer.alloc(500, 0xa5)])],
    ['a packet of 4 GB', Buffer.concat([ident(), Buffer.alloc(64, 0xff)])],
    ['an empty packet', Buffer.concat([ident(), Buffer.alloc(64)])],
    ['SSH 1', 'SSH-1.5-x\r\n'],
  ];
  for (const [what, bytes] of openings) {
    it(`ends a client that opens with ${what}`, async () => {
      const socket = connect(door.frontend.tcpPort!, '127.0.0.1');
      socket.on('error', () => undefined).resume();
      socket.write(bytes);
      await new Promise((resolve) => socket.once('close', resolve));
      await isServed();
    });
  }

  it('outlives clients that send anything at all and leave', async () => {
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.uint8Array({ maxLength: 2_000 }), async (named, bytes) => {
        const socket = connect(door.frontend.tcpPort!, '127.0.0.1');
        socket.on('error', () => undefined).resume();
        const gone = new Promise((resolve) => socket.once('close', resolve));
        socket.end(named ? Buffer.concat([ident(), bytes]) : bytes);
        await gone;
      }),
      { numRuns: 60 },
    );
    await isServed();
  });
});

describe('ssh door and the silent', () => {
  it('bounds them by source and time, and serves others meanwhile', async () => {
    const door = await new SshDoor({ strangersPerSourceMax: 3, identifyMs: 300 }).start();
    const open = (localAddress: string) => {
      const socket = connect({ port: door.frontend.tcpPort!, host: '127.0.0.1', localAddress });
      socket.on('error', () => undefined).resume();
      return { socket, gone: new Promise((resolve) => socket.once('close', resolve)) };
    };
    const silent = Array.from({ length: 3 }, () => open('127.0.0.9'));
    await Promise.all(silent.map(({ socket }) => new Promise((r) => socket.once('connect', r))));
    await open('127.0.0.9').gone; // a fourth is refused while three wait
    assert.equal((await door.services.journal.said('connection refused'))['remote'], '127.0.0.9');
    assert.equal((await door.run(['alice@127.0.0.1', 'both'])).stdout, 'out\n');
    await Promise.all(silent.map(({ gone }) => gone));
    await door.stop();
  });

  it('gives those who said their version 30 s, here less, to log in', async () => {
    const door = await new SshDoor({ authenticateMs: 300 }).start();
    const socket = connect(door.frontend.tcpPort!, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    socket.write(ident());
    await new Promise((resolve) => socket.once('close', resolve));
    await door.stop();
  });
});

function ident(): Buffer {
  return Buffer.from('SSH-2.0-attacker\r\n');
}
