import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { NumberedDoors, type WantedDoor } from '../../src/frontends/numbered-doors.ts';
import { TestAuthority } from './certificates.ts';
import { FakeJournal, noPenalties, withDirectory } from './fakes.ts';

interface Wanted extends WantedDoor {
  greeting: string;
}

describe('doors of numbered ports', () => {
  let doors: NumberedDoors<Wanted>;
  const sockets: Socket[] = [];
  afterEach(async () => {
    await doors.stop();
    for (const socket of sockets.splice(0)) socket.destroy();
  });

  async function open(...wanted: Wanted[]): Promise<void> {
    doors = new NumberedDoors(wanted, {
      journal: new FakeJournal(),
      penalties: noPenalties(),
      welcome: ({ socket }, { port, greeting }) => socket.write(`${greeting} ${port}`),
    });
    await doors.start();
  }

  function door(port: string, more: Partial<Wanted> = {}): Wanted {
    const plain = { host: '127.0.0.1', tcpPort: 0, allow: [], tls: null, greeting: 'hello' };
    return { ...plain, key: port, port, ...more };
  }

  async function enter(port: string): Promise<{ socket: Socket; text: string }> {
    const socket = connect(doors.tcpPortOf(port)!, '127.0.0.1').on('error', () => undefined);
    sockets.push(socket);
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    return { socket, text: bytes.toString() };
  }

  it('lead each to its port', async () => {
    await open(door('db1'), door('db2'));
    assert.equal((await enter('db1')).text, 'hello db1');
    assert.equal((await enter('db2')).text, 'hello db2');
    assert.equal(doors.tcpPortOf('db3'), null);
  });

  it('stay, with their clients, while nothing but the allow list changes', async () => {
    await open(door('db1'));
    const { socket } = await enter('db1');
    const before = doors.tcpPortOf('db1');
    await doors.update([door('db1', { allow: ['192.0.2.1'] }), door('db2')]);
    assert.equal(doors.tcpPortOf('db1'), before);
    const refused = connect(before!, '127.0.0.1').on('error', () => undefined);
    await once(refused.resume(), 'close');
    assert.equal(socket.closed, false);
    assert.equal((await enter('db2')).text, 'hello db2');
  });

  it('are closed with their clients when what they are changes, or when they are wanted no more', async () => {
    await open(door('db1'), door('db2'));
    const one = await enter('db1');
    const two = await enter('db2');
    await doors.update([door('db1', { greeting: 'welcome' })]);
    for (const { socket } of [one, two]) if (!socket.closed) await once(socket, 'close');
    assert.equal((await enter('db1')).text, 'welcome db1');
    assert.equal(doors.tcpPortOf('db2'), null);
  });

  it('take new certificates with an update, without a word to the clients inside', () =>
    withDirectory(async (directory) => {
      const authority = new TestAuthority(directory);
      await open(door('db1', { tls: authority.door() }));
      const certificate = async () => {
        const ca = readFileSync(authority.certificate);
        const socket = connectTls({ host: '127.0.0.1', port: doors.tcpPortOf('db1')!, ca });
        sockets.push(socket.on('error', () => undefined));
        await once(socket, 'data');
        return socket;
      };
      const first = await certificate();
      await doors.update([door('db1', { tls: authority.door('renewed') })]);
      assert.equal((await certificate()).getPeerCertificate().subject.CN, 'renewed');
      assert.equal(first.closed, false);
    }));

  it('do not open once they were stopped', async () => {
    await open();
    await Promise.all([doors.update([door('db1')]), doors.stop(), doors.update([door('db2')])]);
    assert.deepEqual([doors.tcpPortOf('db1'), doors.tcpPortOf('db2')], [null, null]);
  });
});
