import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createBackends } from '../../src/backends/index.ts';
import type { Backends } from '../../src/backends/index.ts';
import type { Backend } from '../../src/core/backend.ts';
import { NO_PACE } from '../../src/core/settings.ts';
import type { AutoPortSettings, UdpSettings } from '../../src/core/settings.ts';
import { describeBackendContract, hasCode } from '../contracts/backend.ts';
import { backendServices, createOpener, portSettings, RecordingSink } from '../support/backend.ts';
import { until } from '../support/pty.ts';
import { freeUdpPort } from '../support/udp.ts';

const ALL = ['line', 'signals', 'break'] as const;

describeBackendContract('udp', { unsupported: ALL }, async () => {
  const machine = await Machine.start();
  const listen = { host: '127.0.0.1', udpPort: await freeUdpPort() };
  machine.listen = listen;
  const from = ['127.0.0.1/32'];
  const opener = createOpener(
    portSettings({ kind: 'udp', listen, from, sourcePort: machine.udpPort, format: 'plain' }),
    backendServices(null),
  );
  return {
    opener,
    send: (bytes) => machine.send(bytes),
    receive: () => machine.receive(),
    leave: null,
    dispose: () => machine.stop(),
  };
});

describe('a UDP socket', () => {
  let backends: Backends;
  let listen: UdpSettings['listen'];
  const machines: Machine[] = [];
  const open: Backend[] = [];

  beforeEach(async () => {
    backends = createBackends(backendServices(null));
    listen = { host: '127.0.0.1', udpPort: await freeUdpPort() };
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((backend) => backend.close()));
    await Promise.all(machines.splice(0).map((machine) => machine.stop()));
  });

  async function machine(): Promise<Machine> {
    const made = await Machine.start();
    made.listen = listen;
    machines.push(made);
    return made;
  }

  async function port(
    changes: Partial<UdpSettings> = {},
  ): Promise<RecordingSink & { line: Backend }> {
    const settings: UdpSettings = {
      kind: 'udp',
      listen,
      from: ['127.0.0.0/8'],
      sourcePort: null,
      format: 'plain',
      ...changes,
    };
    const sink = new RecordingSink();
    const line = await backends.makeOpener(portSettings(settings)).open(sink);
    open.push(line);
    return Object.assign(sink, { line });
  }

  it('feeds each port by source port, as the domains of xen_read_console, the rest to the one that takes any', async () => {
    const [one, two, other] = [await machine(), await machine(), await machine()];
    const any = await port();
    const first = await port({ sourcePort: one.udpPort });
    const second = await port({ sourcePort: two.udpPort });
    for (let round = 0; round < 20; round++) {
      for (const sender of [one, two, other]) await sender.send(Buffer.from(`${sender.udpPort} `));
    }
    await until(() => any.receivedBytes >= 20 * 5, 'everything');
    assert.equal(first.text, `${one.udpPort} `.repeat(20));
    assert.equal(second.text, `${two.udpPort} `.repeat(20));
    assert.equal(any.text, `${other.udpPort} `.repeat(20));
    await second.line.close(); // its source is one among the rest now
    await two.send(Buffer.from('left'));
    await until(() => any.text.endsWith('left'), 'the rest');
  });

  it('hears nobody from elsewhere', async () => {
    const sender = await machine();
    const stranger = await port({ from: ['10.0.0.0/8'] });
    const own = await port({ from: ['127.0.0.1/32'] });
    await sender.send(Buffer.from('forged'));
    await until(() => own.text === 'forged', 'it to arrive where it may');
    assert.equal(stranger.calls, 0);
  });

  it('answers whoever spoke last, and nobody before that', async () => {
    const [one, two] = [await machine(), await machine()];
    const any = await port();
    assert.equal(any.line.write(Buffer.from('who')), 0);
    for (const sender of [one, two]) {
      const before = any.receivedBytes;
      await sender.send(Buffer.from('here'));
      await until(() => any.receivedBytes > before, 'the datagram');
      assert.equal(any.line.write(Buffer.from('you')), 3);
      let got = '';
      await until(() => (got += sender.receive().toString()) === 'you', 'the answer');
    }
  });

  it('follows a kernel: order, gaps in their place, the end of a wait', async () => {
    const sender = await machine();
    const console = await port({ format: 'netconsole' });
    for (const n of [1, 3, 2, 5]) await sender.send(Buffer.from(`6,${n},0,-;m${n}\n`));
    await until(() => console.text.includes('m5'), 'the last message');
    const stamp = '[    0.000000] ';
    assert.equal(console.text, [1, 2, 3, 5].map((n) => `${stamp}m${n}\r\n`).join(''));
    assert.deepEqual(
      console.events.map((event) => event.kind),
      ['gap'],
    );
    assert.equal(console.line.write(Buffer.from('x')), 0, 'a kernel listens to nobody');
  });

  it('is taken by another process: says so, and opens when it is free', async () => {
    const squatter = createSocket('udp4').bind(listen.udpPort, listen.host);
    await once(squatter, 'listening');
    await assert.rejects(port(), (error: Error) => {
      hasCode('PORT_OPEN_FAILED')(error);
      assert.match(error.message, /^udp 127\.0\.0\.1:\d+: another process listens there; find it/);
      return true;
    });
    squatter.close();
    await once(squatter, 'close');
    await port();
  });

  it('tells of sources nobody claims, and keeps what they said for their port', async () => {
    const [known, fresh] = [await machine(), await machine()];
    const claimed = await port({ sourcePort: known.udpPort });
    const found: string[] = [];
    const settings = auto(listen);
    const watch = backends.watchSources([settings], (one, address) => {
      assert.equal(one, settings);
      found.push(address);
    });
    await known.send(Buffer.from('known'));
    await until(() => claimed.text === 'known', 'the known one');
    for (const part of ['all ', 'of ', 'it']) await fresh.send(Buffer.from(part));
    await until(() => found.length > 0, 'the new source');
    const made = await port({ from: ['127.0.0.1'] });
    await until(() => made.text === 'all of it', 'what was kept');
    assert.deepEqual(found, ['127.0.0.1']);
    watch.stop();
  });
});

function auto(listen: UdpSettings['listen']): AutoPortSettings {
  const { name, was, n, aliases, backend, ...rest } = portSettings({
    kind: 'sim',
    machine: 'x',
    seed: 1,
    speed: 1,
  });
  assert.ok([name, was, n, aliases, backend].length === 5);
  return {
    listen,
    from: ['127.0.0.0/8'],
    format: 'plain',
    portsMax: 2,
    prefix: 'nc-',
    port: { ...rest, pace: NO_PACE },
  };
}

/** A machine that speaks UDP. */
class Machine {
  readonly udpPort: number;
  listen = { host: '127.0.0.1', udpPort: 0 };
  readonly #socket: Socket;
  #got: Buffer[] = [];

  static async start(): Promise<Machine> {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new Machine(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.udpPort = socket.address().port;
    socket.on('message', (bytes) => this.#got.push(bytes));
  }

  /** The kernel hands loop-back datagrams over before `send` is through; this lets us take them. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let from = 0; from < bytes.length; from += 1_000) {
      const datagram = bytes.subarray(from, from + 1_000);
      await new Promise<void>((resolve, reject) => {
        this.#socket.send(datagram, this.listen.udpPort, this.listen.host, (error) =>
          error ? reject(error) : resolve(),
        );
      });
      if ((from / 1_000) % 16 === 15) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  receive(): Buffer {
    return Buffer.concat(this.#got.splice(0));
  }

  async stop(): Promise<void> {
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }
}
