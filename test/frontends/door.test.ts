import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { createPenalties } from '../../src/auth/penalties.ts';
import type { DoorCaps, TlsSettings } from '../../src/core/settings.ts';
import { Door, type DoorLimits, type Guest } from '../../src/frontends/door.ts';
import { clientHello, TestAuthority } from './certificates.ts';
import { FakeJournal, noPenalties, withDirectory } from './fakes.ts';

describe('door', () => {
  let door: Door;
  let journal: FakeJournal;
  const guests: Guest[] = [];
  afterEach(() => door.stop(true));

  async function open(
    limits: Partial<DoorLimits>,
    {
      allow = [] as string[],
      penalties = noPenalties(),
      welcome = (_guest: Guest) => {},
      caps = { connectionsMax: 1_000, perSourceMax: 1_000 } as DoorCaps,
      tls = null as TlsSettings | null,
    } = {},
  ): Promise<void> {
    journal = new FakeJournal();
    guests.length = 0;
    door = new Door(
      {
        host: '127.0.0.1',
        tcpPort: 0,
        allow,
        tls,
        welcome: (guest) => {
          guests.push(guest);
          guest.socket.resume();
          welcome(guest);
        },
      },
      { journal, penalties, limits, caps: () => caps },
    );
    await door.start();
  }

  function knock(localAddress = '127.0.0.1'): Socket {
    const socket = connect({ port: door.tcpPort!, host: '127.0.0.1', localAddress });
    return socket.on('error', () => undefined).resume();
  }

  async function letIn(socket: Socket): Promise<Guest> {
    const before = guests.length;
    if (socket.connecting) await once(socket, 'connect');
    while (guests.length === before) await new Promise(setImmediate);
    return guests.at(-1)!;
  }

  it('bounds strangers in all, and a source that is known counts no more', async () => {
    await open({ strangersMax: 2 });
    const first = await letIn(knock('127.0.0.2'));
    first.identified();
    (await letIn(knock('127.0.0.3'))).identified();
    await once(knock('127.0.0.4'), 'close');
    first.authenticated();
    await letIn(knock('127.0.0.4'));
    assert.equal(door.clients, 3);
  });

  it('bounds connections of one source and in all, also of those that are known', async () => {
    const caps = { connectionsMax: 3, perSourceMax: 2 };
    await open({}, { caps, welcome: (guest) => guest.authenticated() });
    await letIn(knock('127.0.0.2'));
    const second = knock('127.0.0.2');
    await letIn(second);
    await once(knock('127.0.0.2'), 'close');
    const { why } = await journal.said('connection refused');
    assert.equal(why, 'too many connections from this source');
    await letIn(knock('127.0.0.3'));
    await once(knock('127.0.0.4'), 'close');
    second.destroy();
    while (door.clients > 2) await new Promise(setImmediate);
    await letIn(knock('127.0.0.4'));
    caps.connectionsMax = 4;
    await letIn(knock('127.0.0.5'));
  });

  it('closes silent strangers in time, and those that never log in', async () => {
    const offences: string[] = [];
    const penalties = {
      ...noPenalties(),
      penalise: (address: string, offence: string) => offences.push(`${address} ${offence}`),
    };
    await open({ identifyMs: 30, authenticateMs: 120 }, { penalties });
    const silent = knock('127.0.0.2');
    await letIn(silent);
    const speaking = knock('127.0.0.3');
    (await letIn(speaking)).identified();
    const known = knock('127.0.0.4');
    (await letIn(known)).authenticated();
    if (!silent.closed) await once(silent, 'close');
    if (!speaking.closed) await once(speaking, 'close');
    assert.deepEqual(offences, ['127.0.0.2 noauth', '127.0.0.3 grace-exceeded']);
    assert.equal(door.clients, 1);
    assert.equal(known.closed, false);
  });

  it('lets a newcomer in among silent strangers from everywhere, in the place of one', async () => {
    await open({});
    const crowd: Socket[] = [];
    for (let source = 1; source <= 30; source++) {
      for (let i = 0; i < 10; i++) crowd.push(knock(`127.0.1.${source}`));
    }
    while (crowd.some((socket) => socket.connecting)) await new Promise(setImmediate);
    while (guests.length < 100) await new Promise(setImmediate);
    const user = knock('127.0.2.1');
    const isHere = () => guests.find(({ address }) => address === '127.0.2.1');
    while (isHere() === undefined) await new Promise(setImmediate);
    isHere()!.identified();
    for (let source = 1; source <= 30; source++) crowd.push(knock(`127.0.3.${source}`));
    while (guests.filter(({ address }) => address.startsWith('127.0.3.')).length < 30) {
      await new Promise(setImmediate);
    }
    assert.equal(door.clients, 100);
    assert.equal(user.closed, false);
    for (const socket of crowd) socket.destroy();
  });

  it('gives one source no more than its share, however many it sends', async () => {
    await open({});
    const crowd = Array.from({ length: 300 }, () => knock('127.0.1.1'));
    let closed = 0;
    for (const socket of crowd) socket.once('close', () => closed++);
    while (closed < 290) await new Promise(setImmediate);
    await letIn(knock('127.0.2.1'));
    assert.equal(door.clients, 11);
    const user = knock('127.0.1.1');
    (await letIn(user)).identified();
    for (let i = 0; i < 20; i++) await letIn(knock('127.0.1.1'));
    assert.equal(user.closed, false, 'who spoke stays');
    assert.equal(door.clients, 11);
    for (const socket of crowd) socket.destroy();
  });

  it('sends nobody away for a newcomer while they log in, unless one source has it all', async () => {
    await open({ strangersMax: 3 });
    for (const address of ['127.0.0.2', '127.0.0.3', '127.0.0.3']) {
      (await letIn(knock(address))).identified();
    }
    const fourth = knock('127.0.0.4');
    (await letIn(fourth)).identified();
    assert.deepEqual(
      guests.filter(({ socket }) => !socket.destroyed).map(({ address }) => address),
      ['127.0.0.2', '127.0.0.3', '127.0.0.4'],
    );
    await once(knock('127.0.0.5'), 'close');
    assert.equal(fourth.closed, false);
  });

  it('forgets a stranger that left', async () => {
    await open({ strangersPerSourceMax: 1 });
    const first = knock();
    await letIn(first);
    first.destroy();
    while (door.clients > 0) await new Promise(setImmediate);
    await letIn(knock());
  });

  it('blames nobody for having made room', async () => {
    await open({}, { penalties: createPenalties() });
    const crowd = Array.from({ length: 100 }, () => knock('127.0.1.1'));
    while (guests.length < 100) await new Promise(setImmediate);
    await letIn(knock('127.0.1.1'));
    for (const socket of crowd) socket.destroy();
  });

  it('refuses one more of a source whose strangers all speak', async () => {
    await open({ strangersPerSourceMax: 2 });
    for (let i = 0; i < 2; i++) (await letIn(knock('127.0.1.1'))).identified();
    await once(knock('127.0.1.1'), 'close');
    assert.equal(door.clients, 2);
  });

  it('lets in only who is on the allow list', async () => {
    await open({}, { allow: ['127.0.1.0/24'] });
    await once(knock('127.0.0.1'), 'close');
    assert.equal((await journal.said('connection refused'))['why'], 'not in the allow list');
    assert.equal((await letIn(knock('127.0.1.7'))).address, '127.0.1.7');
    door.setAllow(['127.0.0.1']);
    await letIn(knock('127.0.0.1'));
  });

  it('makes a source that fails to log in wait, and no other', async () => {
    const welcome = (guest: Guest) => {
      guest.failed();
      guest.socket.destroy();
    };
    await open({}, { penalties: createPenalties(), welcome });
    for (let i = 0; i < 4; i++) await once(knock('127.0.0.5'), 'close');
    const count = guests.length;
    await once(knock('127.0.0.5'), 'close');
    assert.equal(guests.length, count);
    assert.equal((await journal.said('connection refused'))['why'], 'too many failures');
    await once(knock('127.0.0.6'), 'close');
    assert.equal(guests.length, count + 1);
  });

  it('writes one line for a flood of refusals', async () => {
    await open({}, { allow: ['192.0.2.1'] });
    for (let i = 0; i < 20; i++) await once(knock(), 'close');
    assert.equal(journal.lines.filter(({ message }) => message === 'connection refused').length, 1);
  });

  describe('with TLS', () => {
    const rich = (use: (authority: TestAuthority, directory: string) => Promise<void>) =>
      withDirectory((directory) => use(new TestAuthority(directory), directory));

    async function secure(authority: TestAuthority, options: ConnectionOptions = {}) {
      const socket = connectTls({
        port: door.tcpPort!,
        host: '127.0.0.1',
        ca: readFileSync(authority.certificate),
        ...options,
      });
      socket.on('error', () => undefined).resume();
      const before = guests.length;
      while (guests.length === before && !socket.closed) await new Promise(setImmediate);
      return { socket, guest: guests[before] };
    }

    const as = ({ cert, key }: { cert: string; key: string }) => ({
      cert: readFileSync(cert),
      key: readFileSync(key),
    });

    it('knows a client by the common name of its certificate', () =>
      rich(async (authority) => {
        await open({}, { tls: authority.door() });
        const { socket, guest } = await secure(authority, as(authority.issue('alice')));
        assert.equal(guest?.certificateUser, 'alice');
        assert.equal(guest.certificateProblem, null);
        assert.equal(guest.address, '127.0.0.1');
        assert.match(guest.remote, /^127\.0\.0\.1:\d+$/);
        guest.socket.write('hello');
        assert.equal(String((await once(socket, 'data'))[0]), 'hello');
        assert.match(socket.getProtocol()!, /^TLSv1\.[23]$/);
        socket.destroy();
        await once(guest.socket, 'close');
        while (door.clients > 0) await new Promise(setImmediate);
      }));

    it('says what is wrong with a certificate', () =>
      rich(async (authority, directory) => {
        await open({}, { tls: authority.door() });
        const stranger = new TestAuthority(directory, 'elsewhere');
        const cases: [ConnectionOptions, RegExp][] = [
          [{}, /showed no certificate/],
          [as(stranger.issue('mallory')), /not good: \w*(LEAF|ISSUER|SELF_SIGNED)\w*/],
          [as(authority.issue('late', '/CN=late', 0)), /not good: CERT_HAS_EXPIRED/],
          [as(authority.issue('nobody', '/O=somewhere')), /not one common name/],
          [as(authority.issue('many', '/CN=alice/CN=bob')), /not one common name/],
        ];
        for (const [options, problem] of cases) {
          const { guest, socket } = await secure(authority, options);
          assert.equal(guest?.certificateUser, null);
          assert.match(guest.certificateProblem!, problem);
          socket.destroy();
        }
      }));

    it('asks for no certificate where there is no authority of clients', () =>
      rich(async (authority) => {
        await open({}, { tls: { ...authority.door(), clientCa: null } });
        const { guest } = await secure(authority, as(authority.issue('alice')));
        assert.equal(guest?.certificateUser, null);
        assert.match(guest.certificateProblem!, /not asked/);
      }));

    it('closes who speaks no TLS, or an old one, or nothing', () =>
      rich(async (authority) => {
        await open({ identifyMs: 100 }, { tls: authority.door() });
        const plain = knock();
        plain.write('GET / HTTP/1.0\r\n\r\n');
        await once(plain, 'close');
        assert.match(String((await journal.said('connection refused'))['why']), /^TLS: /);
        const old = { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'ALL@SECLEVEL=0' };
        assert.equal((await secure(authority, old as ConnectionOptions)).guest, undefined);
        await once(knock(), 'close');
        assert.equal(guests.length, 0);
        while (door.clients > 0) await new Promise(setImmediate);
      }));

    it('does not take a handshake under way for silence', () =>
      rich(async (authority) => {
        await open({ strangersPerSourceMax: 2 }, { tls: authority.door() });
        const shaking = knock();
        shaking.write(await clientHello());
        await once(shaking, 'data');
        const silent = knock();
        const newcomer = knock();
        await Promise.race([once(shaking, 'close'), once(silent, 'close')]);
        assert.equal(shaking.closed, false);
        assert.equal(silent.closed, true);
        for (const socket of [shaking, newcomer]) socket.destroy();
      }));

    it('takes a new certificate for clients to come, and keeps its own when that is bad', () =>
      rich(async (authority) => {
        const tls = authority.door();
        await open({}, { tls });
        const nameOf = (socket: TLSSocket) => socket.getPeerCertificate().subject.CN;
        const first = await secure(authority);
        assert.equal(nameOf(first.socket), 'server');
        writeFileSync(tls.cert, 'nonsense');
        await door.setTls(tls);
        const { why } = await journal.said('new certificate cannot be used, the former one stays');
        assert.ok(String(why).includes(tls.cert));
        assert.equal(nameOf((await secure(authority)).socket), 'server');
        await door.setTls({ ...tls, ...authority.issue('renewed') });
        await journal.said('certificate read');
        assert.equal(nameOf((await secure(authority)).socket), 'renewed');
        first.guest!.socket.write('still here');
        await once(first.socket, 'data');
      }));

    it('stays shut until its files are good', () =>
      rich(async (authority) => {
        const tls = authority.door();
        const key = readFileSync(tls.key);
        rmSync(tls.key);
        await open({ retryMs: 20 }, { tls });
        assert.equal(door.tcpPort, null);
        const { why } = await journal.said(
          'certificate cannot be used, this door stays shut for now',
        );
        assert.equal(why, `${tls.key} cannot be read: ENOENT`);
        writeFileSync(tls.key, key);
        while (door.tcpPort === null) await new Promise((resolve) => setTimeout(resolve, 10));
        assert.ok((await secure(authority)).guest !== undefined);
      }));
  });
});
