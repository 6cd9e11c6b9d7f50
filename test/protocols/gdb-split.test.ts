import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  ACK_WAIT_MS,
  GdbSplit,
  PACKET_BYTES_MAX,
  PACKET_SILENCE_MS,
  UNASKED_SILENCE_MS,
} from '../../src/protocols/gdb-split.ts';
import type { GdbPiece } from '../../src/protocols/gdb-split.ts';

/** A packet or notification with its right checksum. */
function packet(payload: string, lead = '$'): string {
  let sum = 0;
  for (const byte of Buffer.from(payload, 'latin1')) sum = (sum + byte) & 0xff;
  return `${lead}${payload}#${sum.toString(16).padStart(2, '0')}`;
}

/** Both ends of a split line, with a clock of its own. */
class Line {
  readonly split = new GdbSplit();
  nowMs = 1_000;
  gdb = '';
  console = '';
  /** Both, as they were handed out. */
  all = '';

  device(text: string): this {
    return this.#got(this.split.fromDevice(Buffer.from(text, 'latin1'), this.nowMs));
  }

  types(text: string): this {
    this.split.fromGdb(Buffer.from(text, 'latin1'), this.nowMs);
    return this;
  }

  later(ms: number): this {
    this.nowMs += ms;
    return this.#got(this.split.expire(this.nowMs));
  }

  flush(): this {
    return this.#got(this.split.flush(this.nowMs));
  }

  #got(pieces: GdbPiece[]): this {
    for (const { to, bytes } of pieces) {
      const text = Buffer.from(bytes).toString('latin1');
      this[to] += text;
      this.all += text;
    }
    return this;
  }
}

/** What a line with a stub on it is full of, and bytes of any value. */
const device = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '$',
        '#',
        '%',
        '+',
        '-',
        '}',
        '*',
        '$ ',
        '[ end trace ]---\r\n',
        '+0x1f/0x40',
      ),
      fc.constantFrom(...['OK', 'T05thread:01;', 'O48690a', ''].map((text) => packet(text))),
      fc.constantFrom(
        packet('Stop:T05', '%'),
        packet('E.no such thing'),
        packet('l<a>\n\x00}\x03'),
      ),
      fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
      fc.stringMatching(/^[0-9a-f$#]{0,8}$/),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(''));

const asked = fc.constantFrom(
  '',
  '\x03',
  packet('g'),
  packet('vCont;c'),
  packet('qXfer:features:read:target.xml:0,ffb'),
  `+${packet('qSupported:xmlRegisters=i386')}${packet('?')}`,
  packet('QStartNoAckMode'),
);

describe('a line that gdb shares with a console', () => {
  it('loses and doubles no byte, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(asked, device), { maxLength: 6 }), (turns) => {
        const line = new Line();
        for (const [keys, text] of turns) line.types(keys).device(text).later(50);
        line.flush();
        assert.equal(line.all, turns.map(([, text]) => text).join(''));
      }),
    );
  });

  it('gives the same to each, however the line cuts the bytes', () => {
    fc.assert(
      fc.property(asked, device, fc.array(fc.nat(300)), (keys, text, cuts) => {
        const whole = new Line().types(keys).device(text).flush();
        const cut = new Line().types(keys);
        const inside = cuts.filter((at) => at < text.length).sort((a, b) => a - b);
        for (const [index, at] of [0, ...inside].entries()) {
          cut.device(text.slice(at, inside[index] ?? text.length));
        }
        cut.flush();
        assert.equal(cut.gdb, whole.gdb);
        assert.equal(cut.console, whole.console);
      }),
    );
  });

  it('takes gdb packets and notifications out of console text', () => {
    const escaped = packet('l}\x03a}\x04b0* ');
    const line = new Line().types(packet('qXfer:features:read:target.xml:0,ffb'));
    line.device('+').device(`[ 1.0] up\r\n${escaped}[ 1.1] more\r\n`);
    line.device(packet('Stop:T05thread:01;', '%')).device('100% of $5.00\r\n');
    assert.equal(line.gdb, `+${escaped}${packet('Stop:T05thread:01;', '%')}`);
    assert.equal(line.console, '[ 1.0] up\r\n[ 1.1] more\r\n100% of $5.00\r\n');
  });

  it('hands a stop on that nobody asked for: a kernel that has just stopped in kgdb', () => {
    const line = new Line().device(`Entering kdb\r\n${packet('T05thread:01;')}`);
    assert.equal(line.gdb, packet('T05thread:01;'));
    assert.equal(line.console, 'Entering kdb\r\n');
  });

  it('leaves what only looks like gdb with the console', () => {
    for (const text of [
      'root@db1:~$ ls -l $HOME/+x\r\n',
      'do_fault+0x12/0x340 [x]\r\n---[ end trace 0 ]---\r\n',
      '$T05#00\r\n', // a wrong checksum
      `50%${packet('Stop:T05', '%')}\r\n`, // no gdb ever spoke
      'cost: $$$5 #12 $#zz\r\n',
      `$${'x'.repeat(PACKET_BYTES_MAX)}y\r\n`,
    ]) {
      const line = new Line().device(text);
      assert.equal(line.console, text);
      assert.equal(line.gdb, '');
    }
  });

  it('finds the packet behind a stray $', () => {
    const line = new Line().device(`it is $5${packet('T05')}\r\n`);
    assert.equal(line.gdb, packet('T05'));
    assert.equal(line.console, 'it is $5\r\n');
  });

  it('gives gdb the acknowledgments it is owed, and no other + or -', () => {
    const line = new Line().types(packet('g'));
    line.device('+').device(packet('00ff')).device('a+b-c');
    assert.equal(line.gdb, `+${packet('00ff')}`);
    assert.equal(line.console, 'a+b-c');
    line.types('+').device('+1').types(packet('c')).device('-').types(packet('c')).device('++');
    assert.equal(line.gdb, `+${packet('00ff')}-+`);
    assert.equal(line.console, 'a+b-c+1+');
  });

  it('expects an acknowledgment for no longer than a stub takes', () => {
    const line = new Line().types(packet('g')).later(ACK_WAIT_MS).device('1+1');
    assert.equal(line.console, '1+1');
  });

  it('expects none after both agreed on that, until a gdb begins anew', () => {
    const line = new Line().types(packet('QStartNoAckMode')).device(`+${packet('OK')}`);
    line.types(`+${packet('g')}`).device(`a+b${packet('00')}`);
    assert.equal(line.gdb, `+${packet('OK')}${packet('00')}`);
    assert.equal(line.console, 'a+b');
    line.types(`+${packet('qSupported:swbreak+')}`).device(`+${packet('swbreak+')}`);
    assert.equal(line.console, 'a+b');
  });

  it('waits for the rest of a packet, but not for ever', () => {
    const line = new Line().types(packet('vCont;c')).device('+$T05thr').later(999);
    assert.equal(line.split.dueMs, 1_000 + PACKET_SILENCE_MS);
    line.device('ead:01;').later(999);
    assert.equal(line.console, '', 'it has not been silent for a second');
    line.later(1).device('#17');
    assert.equal(line.console, '$T05thread:01;#17');
    assert.equal(line.split.dueMs, null);
  });

  it('shows a $ that somebody typed soon when gdb waits for nothing', () => {
    const line = new Line().device('$').later(UNASKED_SILENCE_MS - 1);
    assert.equal(line.console, '');
    assert.equal(line.later(1).console, '$');
    assert.equal(new Line().device('user@host:~$ ').console, 'user@host:~$ ', 'a prompt at once');
  });

  it('lets nobody type into the middle of a packet of gdb', () => {
    const line = new Line();
    const wire = packet('X1000,4:}\x03ab');
    for (const key of wire) {
      line.types(key);
      assert.equal(line.split.mayTypeNow, key === wire.at(-1) && line.split.dueMs === null, key);
    }
    assert.ok(line.types('\x03+').split.mayTypeNow);
    assert.ok(!line.types('$vCont').split.mayTypeNow);
    line.later(500).types('').later(999);
    assert.ok(!line.split.mayTypeNow, 'gdb was still at it half a second ago');
    assert.ok(line.later(1).split.mayTypeNow);
    assert.ok(line.types(`$${'x'.repeat(PACKET_BYTES_MAX)}`).split.mayTypeNow);
  });
});
