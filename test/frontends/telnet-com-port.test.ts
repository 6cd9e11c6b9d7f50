import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import { encodeTelnet } from '../../src/protocols/telnet.ts';
import { TelnetDoor, type TelnetPeer } from './telnet-door.ts';

describe('RFC 2217 at a telnet door', () => {
  let door: TelnetDoor;
  beforeEach(async () => {
    door = await TelnetDoor.open({ settleMs: 600_000 });
  });
  afterEach(() => door.close());

  /** Sends a request and has its one answer. */
  async function ask(peer: TelnetPeer, body: string): Promise<string> {
    const count = peer.options.length;
    peer.option(44, body);
    await peer.until(() => peer.options.length > count);
    return peer.options[count]!;
  }

  it('agrees, wants BINARY both ways, and tells the signals', async () => {
    door.ports.lines['db1'] = {
      line: { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 },
      flow: 'none',
      signals: { dtr: true, rts: true, cts: true },
      isBreaking: false,
    };
    const peer = await door.enter();
    // What pyserial 3.5 says when it opens a port.
    for (const verb of ['do 1', 'will 3', 'do 3', 'do 44', 'will 44']) {
      const [word, option] = verb.split(' ');
      peer.say(word as 'do' | 'will', Number(option));
    }
    await peer.until(() => peer.options.length > 0);
    assert.deepEqual(peer.options, ['44 6b10']);
    for (const said of ['will 44', 'do 44', 'will 0', 'do 0']) {
      assert.ok(peer.said.includes(said), said);
    }
  });

  it('sets the line, each request answered by itself with what then holds', async () => {
    const peer = await door.program();
    assert.equal(await ask(peer, '0100002580'), '44 6500002580');
    assert.equal(await ask(peer, '0207'), '44 6607');
    assert.equal(await ask(peer, '0303'), '44 6703');
    assert.equal(await ask(peer, '0403'), '44 6803');
    assert.equal(await ask(peer, '0503'), '44 6903');
    assert.equal(await ask(peer, '0509'), '44 6909');
    assert.equal(await ask(peer, '050c'), '44 690c');
    assert.equal(await ask(peer, '0505'), '44 6905');
    assert.equal(await ask(peer, '0c02'), '44 7002');
    const line = { baud: 9_600, dataBits: 7, parity: 'even', stopBits: 1.5 };
    const session = door.ports.sessions[0]!;
    assert.deepEqual(session.calls.at(3), ['setLine', line, 'none']);
    assert.deepEqual(session.calls.slice(4), [
      ['setLine', line, 'rtscts'],
      ['setSignals', { dtr: false }],
      ['setSignals', { rts: false }],
      ['setBreak', true],
      ['purge', 'tx'],
    ]);
    assert.equal(await ask(peer, '0100000000'), '44 6500002580');
    const signature = Buffer.from('Fairlead 1.2.3 db1').toString('hex');
    assert.equal(await ask(peer, '00'), `44 64${signature}`);
  });

  it('drives DTR and RTS without asking the driver between: boards are reset by them', async () => {
    door.ports.lines['db1'] = {
      line: { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 },
      flow: 'none',
      signals: { dtr: true, rts: true },
      isBreaking: false,
    };
    const peer = await door.program();
    const session = door.ports.sessions[0]!;
    const looks = session.looks;
    for (const value of ['09', '0b', '0c', '08'])
      assert.equal(await ask(peer, `05${value}`), `44 69${value}`);
    assert.deepEqual(session.calls, [
      ['setSignals', { dtr: false }], // RTS is on already
      ['setSignals', { rts: false }],
      ['setSignals', { dtr: true }],
    ]);
    session.output.event!({ kind: 'signals', signals: { rts: true } }); // by somebody else
    assert.equal(await ask(peer, '050a'), '44 690b');
    assert.equal(session.looks, looks, 'the driver was not asked');
    session.output.event!({ kind: 'up' });
    assert.equal(await ask(peer, '050a'), '44 690c');
    assert.equal(session.looks, looks + 1, 'a line opened anew is looked at');
  });

  it('answers one who may not with what holds', async () => {
    const peer = await door.program();
    for (const code of ['NOT_WRITER', 'DENIED', 'PORT_DOWN'] as const) {
      door.ports.controlFault = new Fault(code, 'no');
      assert.equal(await ask(peer, '0100002580'), '44 650001c200');
      assert.equal(await ask(peer, '0509'), '44 6908');
      assert.equal(await ask(peer, '0505'), '44 6906');
      assert.equal(await ask(peer, '0c03'), '44 7003');
    }
  });

  it('lets the client have its wishes where there is no UART', async () => {
    door.ports.lines['db1'] = { line: null, flow: 'none', signals: {}, isBreaking: false };
    door.ports.controlFault = new Fault('PORT_UNSUPPORTED', 'no UART');
    const peer = await door.program();
    for (const [asked, answer] of [
      ['0100002580', '6500002580'],
      ['0502', '6902'],
      ['0509', '6909'],
      ['050c', '690c'],
      ['0505', '6906'],
      ['0507', '6909'],
    ] as const) {
      assert.equal(await ask(peer, asked), `44 ${answer}`);
    }
  });

  it('does so, too, on a line that is shown with settings and takes none, as a pty', async () => {
    door.ports.lineFault = () => new Fault('PORT_UNSUPPORTED', 'a pty has no line settings');
    const peer = await door.program();
    for (const [asked, answer] of [
      ['0100000000', '650001c200'],
      ['0207', '6607'],
      ['0100000000', '650001c200'],
      ['0100002580', '6500002580'],
      ['0502', '6902'],
      ['0200', '6607'],
    ] as const) {
      assert.equal(await ask(peer, asked), `44 ${answer}`);
    }
    assert.equal(door.ports.sessions[0]!.calls.length, 2, 'then it knows');
  });

  it('says what holds where a driver cannot do one setting, but others', async () => {
    const refusal = new Fault('PORT_UNSUPPORTED', 'its driver cannot do 250000 8N1');
    door.ports.lineFault = ({ baud }) => (baud === 250_000 ? refusal : null);
    const peer = await door.program();
    for (const [asked, answer] of [
      ['010003d090', '650001c200'],
      ['0100002580', '6500002580'],
      ['010003d090', '6500002580'],
    ] as const) {
      assert.equal(await ask(peer, asked), `44 ${answer}`);
    }
  });

  it('does things in the order they came, data and requests alike', async () => {
    let go = (): void => undefined;
    const stuck = new Promise<void>((resolve) => (go = resolve));
    const peer = await door.program();
    door.ports.slowness = () => stuck;
    peer.send('before');
    peer.option(44, '0100002580');
    peer.send('after');
    const other = await door.program();
    assert.equal(await ask(other, '0100000000'), '44 650001c200');
    assert.deepEqual(door.ports.sessions[0]!.calls, [], 'not before the data before it');
    door.ports.slowness = () => Promise.resolve();
    go();
    await door.ports.until(() => door.ports.inputs['db1']?.toString() === 'beforeafter');
    assert.equal(door.ports.sessions[0]!.calls.length, 1);
    await peer.until(() => peer.options.includes('44 6500002580'));
  });

  it('tells of signals, BREAK and errors under the masks', async () => {
    const peer = await door.program();
    const { output } = door.ports.sessions[0]!;
    output.event!({ kind: 'break' });
    assert.equal(await ask(peer, '0a1a'), '44 6e1a');
    output.event!({ kind: 'break' });
    output.event!({ kind: 'line-error', error: 'framing', count: 1 });
    output.event!({ kind: 'line-error', error: 'parity', count: 1 });
    output.event!({ kind: 'line-error', error: 'overrun', count: 1 });
    output.event!({ kind: 'signals', signals: { cts: true, dtr: false } });
    output.event!({ kind: 'up' });
    assert.equal(await ask(peer, '0b00'), '44 6a10');
    await peer.until(() => peer.options.includes('44 6f00'));
    output.event!({ kind: 'signals', signals: { cts: false } });
    assert.equal(await ask(peer, '0500'), '44 6901');
    assert.deepEqual(peer.options, [
      '44 6e1a',
      '44 6a10',
      '44 6a08',
      '44 6a02',
      '44 6b11',
      '44 6f00',
      '44 6901',
    ]);
  });

  it('sends a suspended client no data, keeps it, and sends it when it resumes', async () => {
    const peer = await door.program();
    const { output } = door.ports.sessions[0]!;
    let taken = 0;
    peer.option(44, '08');
    assert.equal(await ask(peer, '0500'), '44 6901');
    for (const text of ['one ', 'two ', 'three']) output.write(Buffer.from(text), () => taken++);
    assert.equal(await ask(peer, '0500'), '44 6901');
    assert.deepEqual(
      [peer.text, taken],
      ['', 0],
      'so its credit runs out, as of any who reads not',
    );
    peer.option(44, '09');
    await peer.heard('one two three');
    assert.equal(await ask(peer, '0500'), '44 6901');
    assert.equal(taken, 3);
  });

  it('answers nothing before the option is agreed on', async () => {
    const peer = await door.enter();
    peer.option(44, '0500');
    peer.say('will', 0);
    await door.attached(1);
    peer.option(44, '0500');
    peer.send('x');
    await door.ports.until(() => door.ports.inputs['db1'] !== undefined);
    peer.say('will', 44);
    await peer.until(() => peer.options.length > 0);
    assert.deepEqual(peer.options, ['44 6b00']);
  });

  it('carries 1 MB of random bytes each way, though BINARY is never agreed on', async () => {
    const peer = await door.program('echo');
    const random = randomBytes(1_000_000);
    for (let at = 0; at < random.length; at += 50_000) {
      // Keys of ours, telnet's commands and a terminal's line ends, in every chunk.
      random.write('\x05c.\r\n\r\0\r', at, 'latin1');
      random.set([255, 255, 250, 44, 255, 240, 255, 243, 255], at + 100);
    }
    peer.send(encodeTelnet(random));
    await peer.until(() => peer.data.length >= random.length);
    assert.ok(peer.data.equals(random), 'the same bytes come back');
    assert.ok(door.ports.inputs['echo']!.equals(random));
  });
});
