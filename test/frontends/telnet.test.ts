import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import { DEFAULT_ESCAPE } from '../../src/core/user.ts';
import { encodeSubnegotiation, encodeTelnet } from '../../src/protocols/telnet.ts';
import { TestAuthority } from './certificates.ts';
import { withDirectory } from './fakes.ts';
import { PORTS, TelnetDoor, TelnetPeer, type TelnetDoorOptions } from './telnet-door.ts';

const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
/** Longer than any test: the client must say what it is. */
const NEVER_MS = 600_000;

describe('telnet door', () => {
  let door: TelnetDoor;
  const open = async (options: TelnetDoorOptions = {}) => (door = await TelnetDoor.open(options));
  afterEach(() => door.close());

  /** A person whose terminal answers as inetutils telnet does. */
  async function person(port = 'db1'): Promise<TelnetPeer> {
    const peer = await door.enter(port);
    const count = door.ports.sessions.length;
    peer.say('do', 1);
    peer.say('will', 31);
    peer.option(31, '0084002b');
    await door.attached(count + 1);
    return peer;
  }

  it('offers character mode, and shows a person the screen at its size, with keys and notices', async () => {
    await open({ settleMs: NEVER_MS });
    const peer = await person();
    assert.deepEqual(peer.said, ['will 1', 'will 3', 'do 3', 'do 24', 'do 31']);
    const { size, ...request } = door.ports.sessions[0]!.request;
    assert.deepEqual(size?.(), { columns: 132, rows: 43 });
    assert.deepEqual(
      { ...request, caller: { ...request.caller, remote: '' } },
      {
        caller: { user: 'lab', remote: '', frontend: 'telnet' },
        port: 'db1',
        mode: 'write',
        delivery: 'person',
        from: 'screen',
        notices: true,
        keys: DEFAULT_ESCAPE,
      },
    );
    peer.option(31, '00500000');
    peer.send('x');
    await door.ports.until(() => door.ports.inputs['db1']?.length === 1);
    assert.deepEqual(size?.(), { columns: 80, rows: 43 }, '0 rows are unknown');
  });

  it("gives each user the keys of that user's own", async () => {
    await open({ users: { lab: { escape: null } } });
    await person();
    assert.equal(door.ports.sessions[0]!.request.keys, null);
  });

  it('serves a client that never negotiates, transparent but for IAC', async () => {
    await open();
    const peer = await door.enter();
    await door.attached(1);
    assert.equal(door.ports.sessions[0]!.request.delivery, 'person');
    peer.send(encodeTelnet(EVERY_BYTE));
    peer.send('\r\r\n\r\0');
    await door.ports.until(() => door.ports.inputs['db1']?.length === 256 + 5);
    const sent = Buffer.concat([EVERY_BYTE, Buffer.from('\r\r\n\r\0')]);
    assert.deepEqual(door.ports.inputs['db1'], sent);
    door.ports.sessions[0]!.output.write(sent, () => undefined);
    await peer.until(() => peer.data.length >= sent.length);
    assert.deepEqual(peer.data, sent);
  });

  it('attaches a client that types at once without waiting for more', async () => {
    await open({ settleMs: NEVER_MS });
    const peer = await door.enter();
    peer.send('ls\r');
    await door.ports.until(() => door.ports.inputs['db1']?.toString() === 'ls\r');
  });

  it('makes CR of the Enter of a telnet client, and CR NUL of a lone CR to it', async () => {
    await open();
    const peer = await person();
    peer.send('a\r\0b\r\n\n');
    await door.ports.until(() => door.ports.inputs['db1']?.length === 5);
    assert.equal(door.ports.inputs['db1']!.toString(), 'a\rb\r\n');
    const { output } = door.ports.sessions[0]!;
    output.write(Buffer.from('50%\r'), () => undefined);
    output.write(Buffer.from('100%\r'), () => undefined);
    output.write(Buffer.from('\n'), () => undefined);
    await peer.heard('\n');
    assert.equal(peer.text, '50%\r\x00100%\r\n');
  });

  it('changes nothing in BINARY, each direction by itself, and takes the client for a program', async () => {
    await open();
    const peer = await person();
    peer.say('will', 0);
    peer.send('a\r\0');
    await door.ports.until(() => door.ports.inputs['db1']?.length === 3);
    const session = door.ports.sessions[0]!;
    assert.equal(session.isProgram, true);
    session.output.write(Buffer.from('\rx'), () => undefined);
    await peer.heard('\r\0x');
    peer.say('do', 0);
    await peer.until(() => peer.said.includes('will 0'));
    session.output.write(Buffer.from('\ry'), () => undefined);
    await peer.heard('\ry');
  });

  it('gives a program no notice, no keys and no screen', async () => {
    await open({ settleMs: NEVER_MS });
    for (const option of [44, 0]) {
      const count = door.ports.sessions.length;
      const peer = await door.enter();
      peer.say('will', option);
      await door.attached(count + 1);
      const { delivery, from, notices, keys } = door.ports.sessions[count]!.request;
      assert.deepEqual(
        { delivery, from, notices, keys },
        { delivery: 'program', from: null, notices: false, keys: null },
      );
      peer.socket.destroy();
    }
  });

  it('refuses what it does not speak, and asks a terminal for its type', async () => {
    await open();
    const peer = await person();
    for (const option of [39, 34, 37, 5]) {
      peer.say('do', option);
      peer.say('will', option);
      await peer.until(() => peer.said.includes(`dont ${option}`));
      assert.ok(peer.said.includes(`wont ${option}`));
    }
    peer.say('will', 1);
    await peer.until(() => peer.said.includes('dont 1'));
    peer.say('will', 24);
    await peer.until(() => peer.options.includes('24 01'));
  });

  it('passes BREAK on, and makes keys of the commands that stand for one', async () => {
    await open();
    const peer = await person();
    peer.send('\xff\xf3\xff\xf4\xff\xf7\xff\xf8\xff\xec\xff\xed\xff\xee\xff\xf5\xff\xf1\xff\xf9x');
    await door.ports.until(() => door.ports.inputs['db1']?.at(-1) === 0x78);
    assert.deepEqual(door.ports.sessions[0]!.calls, [['sendBreak', 300]]);
    assert.equal(door.ports.inputs['db1']!.toString('hex'), '037f15041a1c78');
    peer.send('\xff\xf6');
    await peer.heard('[fairlead: yes, db1]');
  });

  it('tells a person why there was no BREAK, and a program nothing', async () => {
    await open();
    door.ports.controlFault = new Fault('NOT_WRITER', 'eve writes on db1');
    const peer = await person();
    peer.send('\xff\xf3');
    await peer.heard('[fairlead: eve writes on db1]');
    const program = await door.program();
    program.send('\xff\xf3\xff\xf6');
    await program.until(() => program.commands.includes('nop'));
    assert.equal(program.text, '');
  });

  it('refuses, lets view or lets take over while somebody writes, as the door says', async () => {
    await open({ settings: { busy: 'refuse' } });
    door.ports.busy.add('db1');
    const refused = await door.enter();
    refused.send('x');
    await refused.heard('[fairlead: eve writes on db1]');
    await refused.gone;
    const program = await door.enter();
    program.say('will', 44);
    await program.gone;
    assert.equal(program.text, '');
    assert.equal(door.ports.sessions.length, 0);
    for (const [busy, mode] of [
      ['view', 'view'],
      ['takeover', 'write'],
    ] as const) {
      await door.frontend.update({ telnet: { ...door.settings, busy }, banner: null }, PORTS);
      const count: number = door.ports.sessions.length;
      await person();
      assert.equal(door.ports.sessions[count]!.attached.mode, mode);
    }
  });

  it('drops an HTTP request before the device sees it', async () => {
    await open();
    const peer = await door.enter();
    peer.send('GET / HTTP/1.1\r\nHost: db1\r\n\r\n');
    await peer.gone;
    await door.services.journal.said('HTTP request on a telnet door dropped');
    assert.deepEqual(door.ports.inputs, {});
  });

  it('sends away a client whose user is gone', async () => {
    await open({ settings: { as: 'ghost' } });
    const peer = await door.enter();
    await peer.gone;
    const { why } = await door.services.journal.said('telnet client refused');
    assert.equal(why, 'there is no user ghost');
  });

  it('lets a person who ends the connection go, and keeps a pipe for its last words', async () => {
    await open();
    const peer = await person();
    peer.socket.end();
    await door.ports.until(() => door.ports.sessions[0]!.detached === 'the client left');
    const pipe = await door.enter();
    pipe.send('status\n');
    pipe.socket.end();
    await door.ports.until(() => door.ports.sessions[1]?.gaveUpWrite === true);
    const session = door.ports.sessions[1]!;
    assert.equal(session.isProgram, true);
    session.output.write(Buffer.from('ok'), () => undefined);
    await pipe.heard('ok');
    assert.equal(session.detached, null);
  });

  it('finds out that a program closed its connection, though the line is silent', async () => {
    await open();
    const half = await door.program();
    half.send('status\n');
    half.socket.end();
    await half.until(() => half.commands.includes('nop'));
    assert.equal(door.ports.sessions[0]!.detached, null, 'it may still listen');
    const gone = await door.program();
    gone.socket.destroy();
    await door.ports.until(() => door.ports.sessions[1]!.detached === 'the client left');
  });

  it('ends the connection with its session, after what was said last', async () => {
    await open();
    const peer = await person();
    const { output } = door.ports.sessions[0]!;
    output.write(Buffer.from('[fairlead: ended: kicked]'), () => undefined);
    output.ended('kicked');
    await peer.gone;
    assert.ok(peer.text.endsWith('kicked]'));
    assert.equal((await door.services.journal.said('telnet session ended'))['why'], 'kicked');
  });

  it('detaches when the connection breaks', async () => {
    await open();
    const peer = await person();
    peer.socket.resetAndDestroy();
    await door.ports.until(() => door.ports.sessions[0]!.detached !== null);
  });

  it('listens at a second base, and on reload touches only the doors that changed', async () => {
    await open();
    const { settings, frontend, ports } = door;
    const aliasBase = settings.base + 5;
    const first = await person();
    await frontend.update({ telnet: { ...settings, aliasBase }, banner: 'hello' }, PORTS);
    const second = await door.enter('db1', aliasBase + 1);
    await door.attached(2);
    first.send('1');
    await ports.until(() => ports.inputs['db1']?.toString() === '1');
    second.send('2');
    await ports.until(() => ports.inputs['db1']?.toString() === '12');
    await frontend.update({ telnet: null, banner: null }, PORTS);
    await first.gone;
    assert.equal(frontend.tcpPortOf('db1'), null);
  });

  it('reads no further than the port takes, and loses nothing of what waits', async () => {
    await open();
    let calls = 0;
    let go = (): void => undefined;
    const stuck = new Promise<void>((resolve) => (go = resolve));
    door.ports.slowness = () => (calls++ === 0 ? stuck : Promise.resolve());
    const peer = await door.program();
    const paste = randomBytes(2_000_000);
    peer.send(encodeTelnet(paste));
    const other = await person('echo');
    for (let i = 0; i < 50; i++) {
      other.send('x');
      await other.until(() => other.data.length > i);
    }
    assert.equal(calls, 1 + 50, 'nothing more was read from the first client');
    go();
    await door.ports.until(() => door.ports.inputs['db1']?.length === paste.length);
    assert.deepEqual(door.ports.inputs['db1'], paste);
  });

  describe('with TLS', () => {
    it('takes the user from the certificate, and nobody without one', () =>
      withDirectory(async (directory) => {
        const authority = new TestAuthority(directory);
        const tls = authority.door();
        await open({
          users: { alice: {} },
          settings: { auth: 'certificate', as: null, tls },
        });
        const enter = (client: { cert: string; key: string } | null) =>
          new TelnetPeer(
            connectTls({
              port: door.frontend.tcpPortOf('db1')!,
              host: '127.0.0.1',
              ca: readFileSync(authority.certificate),
              ...(client && { cert: readFileSync(client.cert), key: readFileSync(client.key) }),
            }),
          );
        const alice = enter(authority.issue('alice'));
        alice.send(encodeTelnet(EVERY_BYTE));
        await door.ports.until(() => door.ports.inputs['db1']?.length === 256);
        assert.deepEqual(door.ports.inputs['db1'], EVERY_BYTE);
        assert.equal(door.ports.sessions[0]!.request.caller.user, 'alice');
        alice.socket.destroy();
        for (const [client, why] of [
          [null, 'it showed no certificate'],
          [authority.issue('ghost'), 'there is no user ghost'],
        ] as const) {
          await enter(client).gone;
          assert.ok(door.services.journal.lines.some((line) => line['why'] === why));
        }
        assert.equal(door.ports.sessions.length, 1);
      }));
  });

  describe('under attack', () => {
    /** Another client, to whom nothing may happen. */
    async function bystander(): Promise<() => Promise<void>> {
      const peer = await person('echo');
      return async () => {
        peer.send('still here');
        await peer.heard('still here');
      };
    }

    const hasCut = () =>
      door.services.journal.lines.some(({ message }) => message === 'telnet client cut');

    const floods: Record<string, string> = {
      'asks whether we are there without end': '\xff\xf6',
      'negotiates without end': '\xff\xfb\x03\xff\xfc\x03',
      'answers each refusal by asking again': '\xff\xfd\x27',
      'sends what is no telnet': '\xff\x01',
      'ends what it did not begin': '\xff\xf0',
      'begins sub-options in sub-options': '\xff\xfa\xff\xfb',
      'sends sub-options that are too long': `\xff\xfa\x2c${'x'.repeat(600)}\xff\xf0`,
    };
    for (const [what, flood] of Object.entries(floods)) {
      it(`cuts a client that ${what}, and nobody else`, async () => {
        await open();
        const isWell = await bystander();
        const attacker = await door.enter();
        for (let i = 0; i < 200; i++) attacker.send(flood);
        await attacker.gone;
        await door.services.journal.said('telnet client cut');
        assert.ok(attacker.said.length <= 105, `${attacker.said.length} replies`);
        await isWell();
      });
    }

    it('cuts a client whose RFC 2217 is none', async () => {
      await open();
      const isWell = await bystander();
      const attacker = await door.program();
      for (let i = 0; i < 200; i++) attacker.option(44, '0100');
      for (let i = 0; i < 200; i++) attacker.option(44, '63');
      await attacker.gone;
      await door.services.journal.said('telnet client cut');
      await isWell();
    });

    it('cuts a client that asks without end and never reads the answers', async () => {
      await open();
      const isWell = await bystander();
      const attacker = await door.program();
      attacker.socket.pause();
      const questions = Buffer.alloc(60_000, encodeSubnegotiation(44, Uint8Array.of(0)));
      const isTaken = () => new Promise((resolve) => attacker.socket.write(questions, resolve));
      while (!attacker.socket.destroyed && !hasCut()) await isTaken();
      const cut = await door.services.journal.said('telnet client cut');
      assert.equal(cut['why'], 'it does not read the replies to what it says');
      await isWell();
    });

    it('holds nothing of a sub-option without end', async () => {
      await open();
      const isWell = await bystander();
      const attacker = await person();
      attacker.send('\xff\xfa\x2c');
      for (let i = 0; i < 100; i++) attacker.send(Buffer.alloc(65_536));
      attacker.send('\xff\xf0after it');
      await door.ports.until(() => door.ports.inputs['db1']?.toString() === 'after it');
      await isWell();
    });

    it('lets others have their turns between the sub-options of a client', async () => {
      await open();
      const attacker = await person();
      const size = encodeSubnegotiation(31, Uint8Array.of(0, 80, 0, 24));
      const count = 100_000;
      attacker.send(Buffer.alloc(count * size.length, size));
      attacker.send('after it');
      let turns = 0;
      while (door.ports.inputs['db1']?.toString() !== 'after it') {
        await new Promise(setImmediate);
        turns++;
      }
      // The reads alone would be some ten turns.
      assert.ok(turns > count / 200, `${turns} turns`);
    });

    it('lets go of a client that says nothing, and of one that never logs in', async () => {
      await open({
        settings: { auth: 'login', as: null },
        limits: { identifyMs: 50, authenticateMs: 100 },
      });
      const silent = await door.enter();
      await silent.gone;
      const speaking = await door.enter();
      speaking.send('alice\r');
      await speaking.gone;
      assert.equal(door.ports.sessions.length, 0);
    });
  });
});
