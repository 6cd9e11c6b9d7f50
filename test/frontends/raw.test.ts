import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { readFileSync } from 'node:fs';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { RawDoorSettings } from '../../src/core/settings.ts';
import type { NumberedPort } from '../../src/frontends/numbered-doors.ts';
import { RawFrontend } from '../../src/frontends/raw/frontend.ts';
import { TestAuthority } from './certificates.ts';
import { FakePorts, fakeServices, freeBase, noPenalties, withDirectory } from './fakes.ts';

describe('raw door', () => {
  let ports: FakePorts;
  let services: ReturnType<typeof fakeServices>;
  let frontend: RawFrontend;
  let base: number;
  let settings: RawDoorSettings;
  const both: NumberedPort[] = [
    { name: 'db1', n: 1 },
    { name: 'db2', n: 2 },
  ];

  beforeEach(async () => {
    ports = new FakePorts();
    services = fakeServices({ lab: {}, alice: {}, carol: { from: ['127.0.0.9'] } });
    base = await freeBase();
    settings = {
      host: '127.0.0.1',
      base,
      allow: ['127.0.0.0/8'],
      auth: 'none',
      as: 'lab',
      tls: null,
      busy: 'view',
    };
    frontend = new RawFrontend(settings, both, {
      services,
      openSession: ports.open,
      penalties: noPenalties(),
      limits: { retryMs: 50 },
    });
    await frontend.start();
  });
  afterEach(() => frontend.stop());

  async function enter(tcpPort = base + 1, localAddress = '127.0.0.1') {
    const socket = connect({ port: tcpPort, host: '127.0.0.1', localAddress });
    socket.on('error', () => undefined);
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    await new Promise((resolve) => socket.once('connect', resolve).once('error', resolve));
    return { socket, gone };
  }

  const attached = (count: number) => ports.until(() => ports.sessions.length === count);

  it('is transparent for every byte, both ways, as the user of the setting', async () => {
    const { socket } = await enter();
    await attached(1);
    const { request, output } = ports.sessions[0]!;
    assert.deepEqual(
      { ...request, caller: { ...request.caller, remote: '' } },
      {
        caller: { user: 'lab', remote: '', frontend: 'raw' },
        port: 'db1',
        mode: 'write',
        delivery: 'program',
        from: null,
        notices: false,
        keys: null,
      },
    );
    const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    socket.write(every);
    await ports.until(() => ports.inputs['db1']?.length === 256);
    assert.deepEqual(ports.inputs['db1'], every);
    output.write(every, () => undefined);
    assert.deepEqual(await bytesOf(socket, 256), every);
  });

  for (const line of ['GET / HTTP/1.1', 'POST /x HTTP/1.0', 'OPTIONS * HTTP/1.1']) {
    it(`drops ${line} before the port sees it, and the client`, async () => {
      const { socket, gone } = await enter();
      socket.resume().write(`${line}\r\nHost: db1\r\n\r\n`);
      await gone;
      await ports.until(() => typeof ports.sessions[0]?.detached === 'string');
      assert.deepEqual(ports.inputs, {});
      await services.journal.said('HTTP request on a raw door dropped');
    });
  }

  it('lets HTTP pass in a later chunk, and GET that is no request', async () => {
    const { socket } = await enter();
    socket.write('GET version\r');
    await ports.until(() => ports.inputs['db1']?.toString() === 'GET version\r');
    socket.write('GET / HTTP/1.1\r\n');
    await ports.until(() => ports.inputs['db1']?.toString().endsWith('HTTP/1.1\r\n') ?? false);
  });

  it('takes write from a client that ended its input, and goes on giving it output', async () => {
    const { socket, gone } = await enter();
    socket.end('status\r');
    await ports.until(() => ports.inputs['db1'] !== undefined);
    const session = ports.sessions[0]!;
    await ports.until(() => session.gaveUpWrite);
    session.output.write(Buffer.from('ok'), () => undefined);
    assert.equal((await bytesOf(socket, 2)).toString(), 'ok');
    assert.equal(session.detached, null);
    session.output.ended('kicked');
    socket.resume();
    await gone;
  });

  it('detaches when the client is gone: at once by a reset, else at the next output', async () => {
    const killed = await enter();
    await attached(1);
    killed.socket.resetAndDestroy();
    await ports.until(() => ports.sessions[0]!.detached !== null);
    const left = await enter();
    await attached(2);
    left.socket.destroy();
    const session = ports.sessions[1]!;
    await ports.until(() => session.gaveUpWrite);
    while (session.detached === null) {
      session.output.write(Buffer.from('anybody there?'), () => undefined);
      await new Promise(setImmediate);
    }
  });

  it('ends a client that reads nothing once the port gave it up', async () => {
    const { socket } = await enter();
    await attached(1);
    socket.pause();
    const { output } = ports.sessions[0]!;
    for (let i = 0; i < 200; i++) output.write(Buffer.alloc(100_000), () => undefined);
    output.ended('too slow');
    assert.equal((await services.journal.said('raw session ended'))['why'], 'too slow');
    await ports.until(() => ports.sessions[0]!.detached !== null);
  });

  it('refuses whom the allow list does not name, and takes changes of it', async () => {
    await frontend.update({ ...settings, allow: ['127.0.0.2'] }, both);
    const { socket, gone } = await enter();
    socket.resume();
    await gone;
    await enter(base + 1, '127.0.0.2');
    await attached(1);
  });

  it('on reload touches only the doors that changed', async () => {
    const one = await enter(base + 1);
    const two = await enter(base + 2);
    await attached(2);
    await frontend.update(settings, [both[0]!, { name: 'echo', n: 3 }]);
    two.socket.resume();
    await two.gone;
    one.socket.write('still');
    await ports.until(() => ports.inputs['db1']?.toString() === 'still');
    assert.equal(frontend.tcpPortOf('db2'), null);
    const three = await enter(base + 3);
    three.socket.write('x');
    assert.equal((await bytesOf(three.socket, 1)).toString(), 'x');
  });

  it('closes a client the port refuses, and says why', async () => {
    await frontend.update(settings, [{ name: 'unknown', n: 1 }]);
    const { socket, gone } = await enter();
    socket.resume();
    await gone;
    assert.equal((await services.journal.said('raw client refused'))['fault'], 'PORT_UNKNOWN');
  });

  it('sends away a client whose user is gone, or may not come from there', async () => {
    for (const [as, why] of [
      ['ghost', 'there is no user ghost'],
      ['carol', 'carol may not come from 127.0.0.1'],
    ] as const) {
      await frontend.update({ ...settings, as }, both);
      const { socket, gone } = await enter();
      socket.resume();
      await gone;
      assert.ok(services.journal.lines.some((line) => line['why'] === why));
    }
    await enter(base + 1, '127.0.0.9');
    await attached(1);
    assert.equal(ports.sessions[0]!.request.caller.user, 'carol');
  });

  it('refuses a second client, lets it view, or lets it take over, as the door says', async () => {
    ports.busy.add('db1');
    await frontend.update({ ...settings, busy: 'refuse' }, both);
    const { socket, gone } = await enter();
    socket.resume();
    await gone;
    const { fault, why } = await services.journal.said('raw client refused');
    assert.deepEqual({ fault, why }, { fault: 'PORT_BUSY', why: 'eve writes on db1' });
    for (const [busy, mode] of [
      ['view', 'view'],
      ['takeover', 'write'],
    ] as const) {
      await frontend.update({ ...settings, busy }, both);
      const count = ports.sessions.length;
      await enter();
      await attached(count + 1);
      assert.equal(ports.sessions[count]!.attached.mode, mode);
    }
  });

  describe('with TLS', () => {
    async function enterTls(
      authority: TestAuthority,
      client: { cert: string; key: string } | null,
    ) {
      const socket = connectTls({
        port: base + 1,
        host: '127.0.0.1',
        ca: readFileSync(authority.certificate),
        ...(client && { cert: readFileSync(client.cert), key: readFileSync(client.key) }),
      });
      socket.on('error', () => undefined);
      const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      return { socket, gone };
    }

    it('serves the user its certificate names, byte for byte', () =>
      withDirectory(async (directory) => {
        const authority = new TestAuthority(directory);
        const tls = authority.door();
        await frontend.update({ ...settings, auth: 'certificate', as: null, tls }, both);
        const { socket, gone } = await enterTls(authority, authority.issue('alice'));
        const every = Buffer.from(Array.from({ length: 65_536 }, (_, i) => i));
        socket.write(every);
        await ports.until(() => ports.inputs['db1']?.length === every.length);
        assert.deepEqual(ports.inputs['db1'], every);
        const session = ports.sessions[0]!;
        assert.equal(session.request.caller.user, 'alice');
        session.output.write(every, () => undefined);
        assert.deepEqual(await bytesOf(socket, every.length), every);
        socket.end();
        await ports.until(() => session.gaveUpWrite);
        session.output.ended('kicked');
        await gone;
      }));

    it('sends away who has no good certificate, or one of nobody, and says why', () =>
      withDirectory(async (directory) => {
        const authority = new TestAuthority(directory);
        const tls = authority.door();
        await frontend.update({ ...settings, auth: 'certificate', as: null, tls }, both);
        for (const [client, why] of [
          [null, 'it showed no certificate'],
          [authority.issue('ghost'), 'there is no user ghost'],
          [authority.issue('carol'), 'carol may not come from 127.0.0.1'],
        ] as const) {
          const { socket, gone } = await enterTls(authority, client);
          socket.resume();
          await gone;
          assert.ok(services.journal.lines.some((line) => line['why'] === why));
        }
        assert.equal(ports.sessions.length, 0);
      }));

    it('gives everybody with a certificate the rights of one, and drops HTTP as ever', () =>
      withDirectory(async (directory) => {
        const authority = new TestAuthority(directory);
        const tls = authority.door();
        await frontend.update({ ...settings, auth: 'certificate', tls }, both);
        const { socket, gone } = await enterTls(authority, authority.issue('ghost'));
        socket.resume().write('GET / HTTP/1.1\r\n\r\n');
        await gone;
        assert.equal(ports.sessions[0]?.request.caller.user, 'lab');
        assert.deepEqual(ports.inputs, {});
      }));
  });

  it('opens a door whose number was taken once it is free, the others at once', async () => {
    const taker = createServer();
    await new Promise<void>((resolve) => taker.listen(base + 3, '127.0.0.1', resolve));
    await frontend.update(settings, [...both, { name: 'echo', n: 3 }]);
    await services.journal.said('address cannot be listened on, this door stays shut for now');
    assert.equal(frontend.tcpPortOf('echo'), null);
    assert.equal(frontend.tcpPortOf('db2'), base + 2);
    const opened = services.journal.lines.filter(({ message }) => message === 'door open').length;
    await new Promise((resolve) => taker.close(resolve));
    const isOpen = () =>
      services.journal.lines.filter(({ message }) => message === 'door open').length > opened;
    while (!isOpen()) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(frontend.tcpPortOf('echo'), base + 3);
  });
});

function bytesOf(socket: Socket, count: number): Promise<Buffer> {
  return new Promise((resolve) => {
    let all = Buffer.alloc(0);
    socket.on('data', (bytes: Buffer) => {
      all = Buffer.concat([all, bytes]);
      if (all.length >= count) resolve(all);
    });
  });
}
