import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { TelnetDoor, type TelnetPeer } from './telnet-door.ts';

describe('telnet login', () => {
  let door: TelnetDoor;
  beforeEach(async () => {
    door = await TelnetDoor.open({
      users: {
        alice: { password: 'open sesame' },
        bob: { password: 'swordfish', code: '123456' },
        zoé: { password: 'été' },
        carol: { password: 'far away', from: ['192.0.2.0/24'] },
      },
      settings: { auth: 'login', as: null },
      banner: 'No trespassing.\nReally.',
    });
  });
  afterEach(() => door.close());

  /** A client whose terminal leaves the echo to us. */
  async function enter(): Promise<TelnetPeer> {
    const peer = await door.enter();
    peer.say('do', 1);
    peer.option(31, '00500018');
    await peer.heard('login: ');
    return peer;
  }

  async function answer(peer: TelnetPeer, text: string, prompt: string): Promise<void> {
    const from = peer.text.length;
    peer.send(text);
    await peer.until(() => peer.text.indexOf(prompt, from) >= 0);
  }

  it('asks for name and password, shows the one and not the other, and then attaches', async () => {
    const peer = await enter();
    await answer(peer, 'alice\r\0', 'Password: ');
    peer.send('open sesame\r\0');
    await door.attached(1);
    await peer.heard('Password: \r\n');
    assert.equal(
      peer.text,
      'No trespassing.\r\nReally.\r\nlogin: alice\r\nPassword: \r\n',
      'and nothing of the password',
    );
    const { caller, delivery, notices } = door.ports.sessions[0]!.request;
    assert.deepEqual([caller.user, delivery, notices], ['alice', 'person', true]);
    peer.send('ls\r\0');
    await door.ports.until(() => door.ports.inputs['db1']?.toString() === 'ls\r');
    const { remote } = caller;
    const row = { atUs: 0, user: 'alice', remote, frontend: 'telnet', port: null };
    assert.deepEqual(door.services.audited, [{ ...row, action: 'login', detail: 'password' }]);
  });

  it('takes all of it at once, with any line end, and gives the device what follows', async () => {
    for (const [count, end] of ['\r\0', '\r\n', '\n', '\r'].entries()) {
      const peer = await door.enter();
      peer.send(`alice${end}open sesame${end}x`);
      await door.attached(count + 1);
      await door.ports.until(() => door.ports.inputs['db1']?.length === count + 1);
      assert.equal(door.ports.inputs['db1']!.toString(), 'x'.repeat(count + 1));
      assert.ok(!peer.text.includes('alice'), 'its own terminal shows what is typed');
    }
  });

  it('lets mend what was typed, a character of UTF-8 as a whole', async () => {
    const peer = await enter();
    peer.send('nobody\x15zoée\x7f\x7f\x08o');
    await peer.heard('\b \b\b \b\b \bo');
    await answer(peer, Buffer.from('é\r').toString('latin1'), 'Password: ');
    peer.send(Buffer.from('x\x15été\x1b\x07\r'));
    await door.attached(1);
    assert.equal(door.ports.sessions[0]!.request.caller.user, 'zoé');
  });

  it('begins anew at ^C, wherever, and ends at ^D', async () => {
    const peer = await enter();
    await answer(peer, 'alice\x03', 'login: ');
    await answer(peer, '\r', 'login: ');
    await answer(peer, 'alice\r', 'Password: ');
    await answer(peer, 'open\x03', 'login: ');
    await answer(peer, '\xff\xf4', 'login: ');
    peer.send('\x04');
    await peer.gone;
    assert.deepEqual(door.services.audited, []);
  });

  it('gives three tries, says the same to all, and keeps a row of each', async () => {
    const peer = await enter();
    for (const [name, password] of [
      ['alice', 'wrong'],
      ['nobody', 'open sesame'],
      ['carol', 'far away'],
    ]) {
      await answer(peer, `${name}\r`, 'Password: ');
      await answer(peer, `${password}\r`, 'Login incorrect\r\n');
    }
    await peer.gone;
    assert.equal(peer.text.match(/login: /g)?.length, 3);
    assert.equal(door.ports.sessions.length, 0);
    assert.deepEqual(
      door.services.audited.map(({ user, action }) => [user, action]),
      [
        ['alice', 'login refused'],
        ['nobody', 'login refused'],
        ['carol', 'login refused'],
      ],
    );
  });

  it('asks for the code of who has one, also after a wrong password', async () => {
    const peer = await enter();
    await answer(peer, 'bob\r', 'Password: ');
    await answer(peer, 'wrong\r', 'Code: ');
    await answer(peer, '123456\r', 'Login incorrect');
    await answer(peer, 'bob\r', 'Password: ');
    await answer(peer, 'swordfish\r', 'Code: ');
    await answer(peer, '999999\r', 'Login incorrect');
    await answer(peer, 'bob\r', 'Password: ');
    await answer(peer, 'swordfish\r', 'Code: ');
    peer.send('123456\r');
    await door.attached(1);
    assert.ok(!peer.text.includes('123456'));
  });

  it('takes a name of any length and content for a name, cut, and journals it as a field', async () => {
    const peer = await enter();
    await answer(peer, `../\x1b[2J\x07${'x'.repeat(70_000)}\r`, 'Password: ');
    await answer(peer, `${'y'.repeat(70_000)}\r`, 'Login incorrect');
    const line = await door.services.journal.said('login refused');
    assert.equal(line['user'], `../[2J${'x'.repeat(58)}`);
    assert.equal(peer.text.match(/x+/)![0].length, 58, 'and shows no more either');
  });

  it('has no RFC 2217 for who is not logged in, and has it then', async () => {
    const peer = await enter();
    peer.say('will', 44);
    await peer.until(() => peer.said.includes('dont 44'));
    peer.option(44, '0508');
    await answer(peer, 'alice\r', 'Password: ');
    peer.send('open sesame\r');
    await door.attached(1);
    assert.deepEqual(peer.options, []);
    peer.send('x');
    await door.ports.until(() => door.ports.inputs['db1'] !== undefined);
    peer.say('will', 44);
    await peer.until(() => peer.said.includes('do 44'));
    await door.ports.until(() => door.ports.sessions[0]!.isProgram);
    peer.option(44, '0507');
    await peer.until(() => peer.options.includes('44 6908'));
  });

  it('lets go of a client that leaves in between', async () => {
    const peer = await enter();
    await answer(peer, 'alice\r', 'Password: ');
    peer.send('open sesame');
    peer.socket.end();
    await peer.gone;
    const other = await enter();
    await answer(other, 'alice\r', 'Password: ');
    assert.equal(door.ports.sessions.length, 0);
  });
});
