import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ReadPace } from '../../src/backends/read-pace.ts';
import { DeadPeers, findTcpState } from '../../src/backends/tcp/dead-peers.ts';
import { Sweep } from '../../src/backends/tty/sweep.ts';
import type { BackendSettings } from '../../src/core/settings.ts';
import { encodeNegotiation } from '../../src/protocols/telnet.ts';
import { backendServices, createOpener, portSettings, RecordingSink } from '../support/backend.ts';
import { runLine } from '../support/port-line.ts';
import { until } from '../support/pty.ts';
import { makeSocketDevice } from '../support/socket-device.ts';

let directory: string;
before(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'fairlead-trouble-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

const openerOf = (backend: BackendSettings, sweep = new Sweep()): ReturnType<typeof createOpener> =>
  createOpener(portSettings(backend), backendServices(null, sweep));

describe('a server that takes a connection and gives it up', () => {
  /** When each of the first `count` connections came, to a server that greets each so. */
  async function connectsOf(
    kind: 'tcp' | 'telnet',
    count: number,
    greet: (socket: net.Socket) => void,
  ): Promise<{ atMs: number[]; downs: string[] }> {
    const atMs: number[] = [];
    const server = net.createServer((socket) => {
      atMs.push(performance.now());
      socket.on('error', () => undefined).resume();
      greet(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port: tcpPort } = server.address() as AddressInfo;
    const running = runLine(openerOf({ kind, host: '127.0.0.1', tcpPort, tls: null }));
    await until(() => atMs.length >= count, `${count} connections`);
    await running.line.close();
    server.close();
    return { atMs, downs: running.downs };
  }

  /** The back-off doubles from 0.2 s, with 20 % jitter either way. */
  function assertGrowing(atMs: readonly number[]): void {
    const waits = atMs.slice(1).map((at, index) => at - atMs[index]!);
    const least = [150, 310, 630, 1_250];
    for (const [index, wait] of waits.entries()) {
      assert.ok(wait >= least[index]!, `waits of ${waits.map(Math.round).join(', ')} ms`);
    }
  }

  it('is left alone for longer and longer', async () => {
    const { atMs } = await connectsOf('tcp', 5, (socket) => socket.end());
    assertGrowing(atMs);
  });

  it('is left alone for longer and longer, also when it negotiates without end', async () => {
    const asks = Buffer.concat(
      Array.from({ length: 4_000 }, (_, i) => encodeNegotiation(i % 2 ? 'do' : 'dont', 50)),
    );
    const { atMs, downs } = await connectsOf('telnet', 4, (socket) => {
      const flood = (): void => {
        if (!socket.destroyed) socket.write(asks, flood);
      };
      flood();
    });
    assertGrowing(atMs);
    assert.match(downs[0]!, /^telnet 127\.0\.0\.1:\d+: the other side negotiates without end$/);
  });
});

describe('a peer that sends as fast as it can', () => {
  it('is not read while the store is behind, and loses nothing by it', async () => {
    const device = await makeSocketDevice({ host: '127.0.0.1', port: 0 });
    const tcpPort = (device.server.address() as AddressInfo).port;
    let isBehind = true;
    const sweep = new Sweep(undefined, () => isBehind);
    const sink = new RecordingSink();
    const opener = openerOf({ kind: 'tcp', host: '127.0.0.1', tcpPort, tls: null }, sweep);
    const backend = await opener.open(sink);
    const total = 64 * 1_048_576;
    let sent = 0;
    const piece = Buffer.alloc(1_048_576, 'x');
    const sending = (async () => {
      for (; sent < total; sent += piece.length) await device.send(piece);
    })();
    await until(() => sink.receivedBytes > 0, 'the first of it');
    // What the kernel holds for both sides is sent; the rest waits.
    let before = -1;
    while (sent !== before) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    assert.ok(sink.receivedBytes <= 65_536, `${sink.receivedBytes} bytes read meanwhile`);
    assert.ok(sent < total, 'the sender feels it');
    isBehind = false;
    await sending;
    await until(() => sink.receivedBytes === total, 'all of it');
    await backend.close();
    await device.dispose();
  });

  it('gets at most a third of the thread', async () => {
    let goneOn = 0;
    const pace = new ReadPace(new Sweep(), () => goneOn++);
    const burn = (): void => {
      for (const endMs = performance.now() + 1; performance.now() < endMs;);
    };
    let reads = 0;
    while (pace.read(16_384, burn)) assert.ok(++reads < 10, 'it is held off');
    assert.equal(goneOn, 0);
    await until(() => goneOn === 1, 'to go on');
    // A quiet line is never held off, however long its port takes for it.
    const quiet = new ReadPace(new Sweep(), () => assert.fail('was not held off'));
    for (let i = 0; i < 20; i++) assert.ok(quiet.read(100, burn));
    pace.read(16_384, burn);
    pace.stop();
  });
});

describe('a unix socket', () => {
  it('is followed when it is removed and made anew', async () => {
    const socketPath = path.join(directory, 'vm.sock');
    const running = runLine(openerOf({ kind: 'unix', path: socketPath }));
    for (let life = 1; life <= 3; life++) {
      const device = await makeSocketDevice({ path: socketPath });
      await until(() => running.ups === life, `life ${life}`);
      await device.send(Buffer.from(`life ${life}. `));
      await until(() => Buffer.concat(running.received).includes(`life ${life}. `), 'its words');
      await device.dispose(); // removes the socket as well
      await until(() => running.line.state === 'down', 'the end');
    }
    assert.equal(Buffer.concat(running.received).toString(), 'life 1. life 2. life 3. ');
    await running.line.close();
  });

  it('that another client has says so', async () => {
    const socketPath = path.join(directory, 'taken.sock');
    // It listens for one and accepts nobody.
    const script = `require('net').createServer().listen({ path: process.argv[1], backlog: 1 }, () => {
      process.stdout.write('listening', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
    })`;
    const server = spawn(process.execPath, ['-e', script, socketPath], { stdio: 'pipe' });
    await once(server.stdout, 'data');
    const waiting: net.Socket[] = [];
    try {
      for (let i = 0; i < 2; i++) {
        const client = net.connect(socketPath);
        waiting.push(client);
        await once(client, 'connect');
      }
      await assert.rejects(openerOf({ kind: 'unix', path: socketPath }).open(new RecordingSink()), {
        code: 'PORT_OPEN_FAILED',
        message: `unix ${socketPath}: it takes no more clients; QEMU's sockets take one at a time: who has it? (ss -xp | grep '${socketPath}')`,
      });
    } finally {
      for (const client of waiting) client.destroy();
      server.kill('SIGKILL');
      await once(server, 'exit');
    }
  });
});

describe('a connection whose other side is gone', () => {
  /** As the kernel prints it, with what waits, the timer, its retries and probes. */
  function table(queue: string, timer: string, retries: string, probes: number): string {
    return [
      '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
      '   0: 0100007F:1389 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 0000 100 0 0 10 0',
      `   1: 0A00020F:9C40 0900000A:1389 01 ${queue}:00000000 ${timer}:000004D2 ${retries}     0        ${probes} 15 2 0000 26 4 31 10 -1`,
      '   2: 0A00020F:9C42 0900000A:1389 01 00000000:00000000 02:000004D2 00000000     0        0 16 2 0000 20 4 30 10 -1',
    ].join('\n');
  }
  const ends = { localPort: 40_000, remotePort: 5_001 };

  it('is told by the kernel’s table of connections', () => {
    const lost = table('0000001C', '01', '00000007', 0);
    assert.deepEqual(findTcpState(lost, ends), { unconfirmedBytes: 28, unanswered: 7 });
    const noRoom = table('00012000', '04', '00000000', 0);
    assert.deepEqual(findTcpState(noRoom, ends), { unconfirmedBytes: 73_728, unanswered: 0 });
    const silent = table('00012000', '04', '00000000', 5);
    assert.deepEqual(findTcpState(silent, ends), { unconfirmedBytes: 73_728, unanswered: 5 });
    const idle = findTcpState(lost, { ...ends, localPort: 40_002 });
    assert.deepEqual(idle, { unconfirmedBytes: 0, unanswered: 0 });
    assert.equal(findTcpState(lost, { ...ends, localPort: 40_001 }), null);
    assert.equal(findTcpState(lost + lost.slice(lost.indexOf('\n')), ends), null, 'two of them');
    assert.equal(findTcpState('', ends), null);
  });

  it('is ended 20 s after what it does not confirm, and never one that only has no room', async () => {
    let nowMs = 0;
    let now = table('0000001C', '01', '00000007', 0);
    const looks: string[] = [];
    const peers = new DeadPeers(
      (file) => {
        looks.push(file);
        return Promise.resolve(now);
      },
      () => nowMs,
    );
    const socket = Object.assign(new net.Socket(), {}) as net.Socket;
    const facts = { ...ends, localAddress: '10.0.2.15', bytesRead: 0, bytesWritten: 0 };
    for (const name of Object.keys(facts) as (keyof typeof facts)[]) {
      Object.defineProperty(socket, name, { get: () => facts[name] });
    }
    const failed = once(socket, 'error') as Promise<[Error]>;
    const stop = peers.watch(socket);
    const wait = async (ms: number): Promise<void> => {
      for (const endMs = nowMs + ms; nowMs < endMs; nowMs += 5_000) await peers.look();
    };
    await wait(60_000);
    assert.equal(looks.length, 0, 'nothing was sent: keepalive’s matter');
    facts.bytesWritten = 28;
    now = table('00012000', '04', '00000000', 0);
    await wait(60_000);
    assert.ok(looks.length > 0);
    assert.equal(socket.destroyed, false, 'a device that is held by XOFF');
    now = table('00000000', '02', '00000000', 0);
    await wait(5_000);
    looks.length = 0;
    await wait(60_000);
    assert.equal(looks.length, 0, 'it was confirmed');
    now = table('0000001C', '01', '00000007', 0);
    facts.bytesWritten = 56;
    await wait(15_000);
    facts.bytesRead = 10;
    await wait(60_000);
    assert.equal(socket.destroyed, false, 'it answered meanwhile');
    facts.bytesWritten = 84;
    await wait(20_000);
    assert.equal(socket.destroyed, false);
    await wait(5_000);
    assert.equal(socket.destroyed, true);
    const [error] = await failed;
    assert.equal(error.message, 'the other side has confirmed nothing that was sent for 20 s');
    stop();
  });
});
