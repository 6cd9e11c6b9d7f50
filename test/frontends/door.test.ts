import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { createPenalties } from '../../src/auth/penalties.ts';
import { Door, type DoorLimits, type Guest } from '../../src/frontends/door.ts';
import { FakeJournal, noPenalties } from './fakes.ts';

describe('door', () => {
  let door: Door;
  let journal: FakeJournal;
  const guests: Guest[] = [];
  afterEach(() => door.stop(true));

  async function open(
    limits: Partial<DoorLimits>,
    { allow = [] as string[], penalties = noPenalties(), welcome = (_guest: Guest) => {} } = {},
  ): Promise<void> {
    journal = new FakeJournal();
    guests.length = 0;
    door = new Door(
      {
        host: '127.0.0.1',
        tcpPort: 0,
        allow,
        welcome: (guest) => {
          guests.push(guest);
          guest.socket.resume();
          welcome(guest);
        },
      },
      { journal, penalties, limits },
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
    await letIn(knock('127.0.0.3'));
    await once(knock('127.0.0.4'), 'close');
    first.authenticated();
    await letIn(knock('127.0.0.4'));
    assert.equal(door.clients, 3);
  });

  it('forgets a stranger that left', async () => {
    await open({ strangersPerSourceMax: 1 });
    const first = knock();
    await letIn(first);
    first.destroy();
    while (door.clients > 0) await new Promise(setImmediate);
    await letIn(knock());
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
});
