import assert from 'node:assert/strict';
import { connect, type AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';
import ssh2, { type Connection } from 'ssh2';
import { wireString } from '../../src/auth/ssh-wire.ts';
import { ConnectionGuard } from '../../src/frontends/ssh/guards.ts';
import { makeHostKey } from './host-key.ts';
import { loginAs, sendPacket, type Attacker } from './ssh-attacker.ts';
import { heard, SshDoor } from './ssh-door.ts';

const CHANNEL_REQUEST = 98;

function uint32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => bytes.writeUInt32BE(value, 4 * i));
  return bytes;
}

/** A client that asks for things by hand, on its one channel. */
class Asker {
  readonly client: Attacker;
  /** What the channel said. */
  output = '';
  readonly #replies: boolean[] = [];
  readonly #waiters: ((isDone: boolean) => void)[] = [];
  #recipient = 0;
  #changed: () => void = () => undefined;

  constructor(client: Attacker) {
    this.client = client;
    const { _handlers: handlers } = client._protocol;
    const replied = (isDone: boolean) => () => {
      const waiter = this.#waiters.shift();
      if (waiter === undefined) this.#replies.push(isDone);
      else waiter(isDone);
    };
    handlers['CHANNEL_SUCCESS'] = replied(true);
    handlers['CHANNEL_FAILURE'] = replied(false);
    handlers['CHANNEL_DATA'] = (_self, _recipient, bytes: Buffer) => {
      this.output += bytes.toString('latin1');
      this.#changed();
    };
  }

  /** Opens the channel; `type` and what follows it in an open message. */
  open(type = 'session', more = Buffer.alloc(0)): Promise<void> {
    return new Promise((resolve) => {
      const { _handlers: handlers } = this.client._protocol;
      handlers['CHANNEL_OPEN_CONFIRMATION'] = (_self, info: { sender: number }) => {
        this.#recipient = info.sender;
        resolve();
      };
      const size = uint32(0, 2_000_000, 32_768);
      const open = Buffer.concat([Buffer.from([90]), wireString(type), size, more]);
      sendPacket(this.client, open);
    });
  }

  /** Asks without waiting for a reply. */
  tell(type: string, data: Uint8Array = Buffer.alloc(0), wantReply = false): void {
    const head = Buffer.concat([Buffer.from([CHANNEL_REQUEST]), uint32(this.#recipient)]);
    const flag = Buffer.from([wantReply ? 1 : 0]);
    sendPacket(this.client, Buffer.concat([head, wireString(type), flag, data]));
  }

  /** Asks, and resolves with the next reply that comes. */
  ask(type: string, data?: Uint8Array): Promise<boolean> {
    const reply = new Promise<boolean>((resolve) => this.#waiters.push(resolve));
    this.tell(type, data, true);
    return reply;
  }

  endInput(): void {
    this.client._protocol.channelEOF(this.#recipient);
  }

  async says(text: string): Promise<void> {
    while (!this.output.includes(text)) {
      await new Promise<void>((resolve) => (this.#changed = resolve));
    }
  }
}

describe('requests on an SSH channel', () => {
  let door: SshDoor;
  const clients: ssh2.Client[] = [];
  before(async () => (door = await new SshDoor().start()));
  beforeEach(() => {
    door.services.verbs.refuses = false;
    door.services.verbs.slowness = () => Promise.resolve();
  });
  after(async () => {
    for (const client of clients) client.destroy();
    await door.stop();
  });

  async function asker(): Promise<Asker> {
    const client = await loginAs(door, 'alice');
    clients.push(client);
    return new Asker(client);
  }

  /** With a verb that runs on the channel. */
  async function running(command: string, said: string): Promise<Asker> {
    const client = await asker();
    await client.open();
    assert.equal(await client.ask('exec', wireString(command)), true);
    await client.says(said);
    return client;
  }

  it("send BREAK at OpenSSH's ~B", async () => {
    const args = ['-tt', '-e', '~', 'alice@127.0.0.1', 'requests'];
    const client = door.spawn(args);
    await heard(client.stdout, 'ready');
    client.stdin.write('~B');
    await heard(client.stdout, 'BREAK of 1000 ms');
    door.services.verbs.refuses = true;
    client.stdin.write('\r~B');
    await heard(client.stdout, 'BREAK was not sent: bob lacks break on db1');
    client.kill('SIGKILL');
  });

  it('send BREAK of the length asked for, at most 3 s, and 300 ms where any will do', async () => {
    const client = await running('requests', 'ready');
    for (const [askedMs, sentMs] of [
      [0, 300],
      [1, 1],
      [3_000, 3_000],
      [3_001, 3_000],
      [0xffff_ffff, 3_000],
    ] as const) {
      client.output = '';
      assert.equal(await client.ask('break', uint32(askedMs)), true);
      await client.says(`BREAK of ${sentMs} ms`);
    }
    assert.equal(await client.ask('break'), false, 'without a length');
    assert.equal(await client.ask('break', Buffer.alloc(3)), false, 'with half of one');
    door.services.verbs.refuses = true;
    assert.equal(await client.ask('break', uint32(500)), false, 'refused');
  });

  it('are refused before there is a command, and by one that does not listen', async () => {
    const client = await asker();
    await client.open();
    assert.equal(await client.ask('break', uint32(500)), false);
    assert.equal(await client.ask('x11-req', x11()), false);
    assert.equal(await client.ask('auth-agent-req@openssh.com'), false);
    assert.equal(await client.ask('exec', wireString('wait')), true);
    await client.says('waiting');
    assert.equal(await client.ask('break', uint32(500)), false);
  });

  it('reach a port by -W', async () => {
    const client = await asker();
    const target = [wireString('db1'), uint32(1), wireString('127.0.0.1'), uint32(1)];
    await client.open('direct-tcpip', Buffer.concat(target));
    assert.equal(await client.ask('break', uint32(700)), true);
    assert.deepEqual(door.ports.sessions.at(-1)?.calls, [['sendBreak', 700]]);
    assert.equal(await client.ask('signal', wireString('INT')), false);
    assert.equal(await client.ask('window-change', uint32(80, 24, 0, 0)), false);
  });

  it('are answered in order, whatever takes its time', async () => {
    const client = await running('requests', 'ready');
    let release: () => void = () => undefined;
    const slow = new Promise<void>((resolve) => (release = resolve));
    door.services.verbs.slowness = () => slow;
    const order: string[] = [];
    const asked = [
      client.ask('break', uint32(500)).then((isDone) => order.push(`BREAK ${isDone}`)),
      client.ask('winadj@putty.projects.tartarus.org').then((d) => order.push(`winadj ${d}`)),
      client.ask('window-change', uint32(99, 33, 0, 0)).then((d) => order.push(`size ${d}`)),
      client.ask('shell').then((isDone) => order.push(`shell ${isDone}`)),
    ];
    await client.says('99x33'); // what needs no time is done at once, and answered in its turn
    assert.deepEqual(order, []);
    release();
    await Promise.all(asked);
    assert.deepEqual(order, ['BREAK true', 'winadj false', 'size true', 'shell false']);
  });

  it('cut a client that asks for more BREAKs than anybody waits for', async () => {
    const client = await running('requests', 'ready');
    door.services.verbs.slowness = () => new Promise(() => undefined);
    const cut = new Promise<void>((resolve) => client.client.once('close', () => resolve()));
    for (let i = 0; i < 40 && client.client._sock.writable; i++) client.tell('break', uint32(500));
    await cut;
    const line = door.services.journal.lines.findLast((said) => said.message === 'ssh client cut');
    assert.equal(line?.['why'], 'it asks too much at once');
  });

  it('change the size of the terminal, also when its input has ended', async () => {
    const client = await running('requests', 'ready');
    client.tell('window-change', uint32(132, 50, 0, 0));
    await client.says('132x50');
    client.tell('window-change', uint32(0, 0, 640, 480)); // no size at all
    client.endInput();
    client.tell('window-change', uint32(40, 12, 0, 0));
    await client.says('40x12');
    assert.doesNotMatch(client.output, /0x0/);
    assert.equal(await client.ask('break', uint32(500)), true);
  });

  it('are signals to whoever listens, else what a signal does', async () => {
    const listening = await running('requests', 'ready');
    assert.equal(await listening.ask('signal', wireString('INT')), true);
    await listening.says('signal INT');
    door.services.verbs.refuses = true;
    assert.equal(await listening.ask('signal', wireString('USR1')), false);

    const plain = await running('wait', 'waiting');
    assert.equal(await plain.ask('signal', wireString('USR1')), false);
    const run = door.services.verbs.runs.at(-1)!;
    assert.equal(await plain.ask('signal', wireString('TERM')), true);
    while (!door.services.verbs.left.includes(run)) await new Promise(setImmediate);
  });

  it('ask in vain for channels and forwardings that are not served', async () => {
    const { client } = await asker();
    const refusal = new Promise<string>((resolve) => {
      client._protocol._handlers['CHANNEL_OPEN_FAILURE'] = (
        _self,
        _recipient,
        _reason,
        why: string,
      ) => resolve(why);
    });
    const path = Buffer.concat([wireString('/run/x'), wireString(''), uint32(0)]);
    await Promise.race([
      new Asker(client).open('direct-streamlocal@openssh.com', path),
      refusal.then((why) => assert.match(why, /only sessions and -W PORT:1/)),
    ]);
    await refusal;
    await assert.rejects(
      new Promise((resolve, reject) =>
        client.forwardIn('127.0.0.1', 0, (error, port) => (error ? reject(error) : resolve(port))),
      ),
    );
  });
});

describe('a client that guesses the key exchange', () => {
  const KEXINIT = 20;
  const ECDH_INIT = 30;
  const ECDH_REPLY = 31;
  let door: SshDoor;
  before(async () => (door = await new SshDoor().start()));
  after(() => door.stop());

  /** RFC 4253 section 6, before there are keys. */
  function packet(payload: Buffer): Buffer {
    const padding = 8 - ((5 + payload.length) % 8) + 8;
    const head = Buffer.concat([uint32(1 + payload.length + padding), Buffer.from([padding])]);
    return Buffer.concat([head, payload, Buffer.alloc(padding)]);
  }

  function kexInit(exchange: string, hostKey: string): Buffer {
    const cipher = wireString('aes128-ctr');
    const mac = wireString('hmac-sha2-256');
    const none = wireString('none');
    const nothing = wireString('');
    return Buffer.concat([
      ...[Buffer.from([KEXINIT]), Buffer.alloc(16, 1), wireString(exchange), wireString(hostKey)],
      ...[cipher, cipher, mac, mac, none, none, nothing, nothing],
      ...[Buffer.from([1]), uint32(0)],
    ]);
  }

  const ecdhInit = (point: Buffer) => Buffer.concat([Buffer.from([ECDH_INIT]), wireString(point)]);

  /** Sends all at once; resolves with the types of the server's packets up to its reply, or its end. */
  async function replies(...payloads: Buffer[]): Promise<number[]> {
    const socket = connect(door.frontend.tcpPort!, '127.0.0.1');
    socket.write(Buffer.concat([Buffer.from('SSH-2.0-guesser\r\n'), ...payloads.map(packet)]));
    let received = Buffer.alloc(0);
    const types: number[] = [];
    for await (const bytes of socket as AsyncIterable<Buffer>) {
      received = Buffer.concat([received, bytes]);
      types.length = 0;
      let at = received.indexOf('\n') + 1;
      while (at > 0 && at + 6 <= received.length) {
        types.push(received[at + 5]!);
        at += 4 + received.readUInt32BE(at);
      }
      if (types.includes(ECDH_REPLY)) break;
    }
    socket.destroy();
    return types;
  }

  const good = Buffer.alloc(32, 9);

  it('has its guess taken where it is right', async () => {
    const types = await replies(kexInit('curve25519-sha256', 'ssh-ed25519'), ecdhInit(good));
    assert.deepEqual(types.slice(0, 2), [KEXINIT, ECDH_REPLY]);
  });

  for (const [what, exchange, hostKey] of [
    ['key exchange', 'curve25519-sha256@libssh.org', 'ssh-ed25519'],
    ['host key', 'curve25519-sha256', 'rsa-sha2-256'],
  ] as const) {
    it(`has it thrown away where it prefers another ${what}`, async () => {
      const wrong = ecdhInit(Buffer.alloc(3)); // would end the connection
      const types = await replies(kexInit(exchange, hostKey), wrong, ecdhInit(good));
      assert.deepEqual(types.slice(0, 2), [KEXINIT, ECDH_REPLY]);
    });
  }
});

describe('the private parts of ssh2 that the guards hold on to', () => {
  type Parts = Record<string, unknown>;
  const handlersOf = (protocol: Parts) => protocol['_handlers'] as Parts;
  const parts: [string, (protocol: Parts) => void][] = [
    ['channel requests', (protocol) => delete handlersOf(protocol)['CHANNEL_REQUEST']],
    ['channel opens', (protocol) => delete handlersOf(protocol)['CHANNEL_OPEN']],
    ['data', (protocol) => delete handlersOf(protocol)['CHANNEL_DATA']],
    ['closes', (protocol) => delete handlersOf(protocol)['CHANNEL_CLOSE']],
    ['success', (protocol) => (protocol['channelSuccess'] = undefined)],
    ['failure', (protocol) => (protocol['channelFailure'] = undefined)],
    ['the end of a handshake', (protocol) => delete protocol['_onHandshakeComplete']],
    ['the cipher', (protocol) => delete protocol['_cipher']],
    ['the key exchange', (protocol) => delete protocol['_kex']],
    ['its state', (protocol) => delete protocol['_kexinit']],
    ['its guess', (protocol) => delete protocol['_skipNextInboundPacket']],
  ];

  /** What the guards say of a connection of which `change` was made. */
  async function guarded(change: (protocol: Parts) => void): Promise<unknown> {
    const hostKeys = [makeHostKey()];
    const server = new ssh2.Server({ hostKeys });
    const tcpPort = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
    });
    const outcome = new Promise<unknown>((resolve) => {
      server.once('connection', (connection: Connection) => {
        connection.on('error', () => undefined);
        const { _protocol: protocol, _sock: socket } = connection as unknown as Attacker;
        change(protocol as unknown as Parts);
        try {
          resolve(
            new ConnectionGuard(connection, {
              onCut: () => undefined,
              onDirect: () => Promise.reject(new Error('no port')),
            }),
          );
        } catch (error) {
          resolve(error);
        }
        socket.destroy();
      });
    });
    const client = new ssh2.Client().on('error', () => undefined);
    client.connect({ host: '127.0.0.1', port: tcpPort, username: 'x', password: 'x' });
    const said = await outcome;
    server.close();
    client.destroy();
    return said;
  }

  it('are where they were', async () => {
    assert.ok((await guarded(() => undefined)) instanceof ConnectionGuard);
  });

  for (const [what, move] of parts) {
    it(`are missed when ssh2 moves ${what}`, async () => {
      const said = await guarded(move);
      assert.ok(said instanceof Error && /ssh2 differs/.test(said.message), String(said));
    });
  }
});

/** RFC 4254 section 6.3.1. */
function x11(): Buffer {
  return Buffer.concat([
    Buffer.from([1]),
    wireString('MIT-MAGIC-COOKIE-1'),
    wireString('00'),
    uint32(0),
  ]);
}
