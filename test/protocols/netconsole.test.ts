import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { NetconsoleStream, REORDER_MS } from '../../src/protocols/netconsole.ts';

describe('netconsole', () => {
  it('basic: the text as it is, with the line ends of a serial console', () => {
    const line = new Line();
    line.say('[    0.000000] Linux version 6.1.0\n', '[    1.5] a\r\nb', 'c\n');
    assert.equal(line.text, '[    0.000000] Linux version 6.1.0\r\n[    1.5] a\r\nbc\r\n');
  });

  it('extended: as the consoles of the kernel show it', () => {
    const line = new Line();
    line.say(
      '5,0,0,-;Linux version 6.1.0\n',
      '6,1,5826507,-;caf\\xc3\\xa9 \\x5c \\xzz \\x1\n',
      '6,2,5826508,-,caller=T1;two\\x0alines\n',
      '6,3,5826509,-;acpi: bound\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n',
      '6.4.0-rc1,4,4,123456789012,c;no line end',
    );
    assert.deepEqual(line.text.split('\r\n'), [
      '[    0.000000] Linux version 6.1.0',
      '[    5.826507] café \\ \\xzz \\x1',
      '[    5.826508][    T1] two',
      'lines',
      '[    5.826509] acpi: bound',
      ' SUBSYSTEM=acpi',
      ' DEVICE=+acpi:PNP0A03:00',
      '[123456.789012] no line end',
      '',
    ]);
    assert.deepEqual(line.gaps, []);
  });

  it('joins fragments in any order, an escape cut in two included', () => {
    const body = 'lab: \\xc3\\xa9 and so on\n';
    for (const cuts of [[8], [3, 9, 12], [1, 2, 3, 4]]) {
      const parts = fragments('12,388,5826507,-', body, cuts);
      for (const order of [parts, [...parts].reverse()]) {
        const line = new Line();
        line.say(...order, parts[0]!, '6,389,5826508,-;next\n');
        assert.equal(line.text, '[    5.826507] lab: é and so on\r\n[    5.826508] next\r\n');
        assert.deepEqual(line.gaps, []);
        assert.equal(line.stream.dueMs, null);
      }
    }
  });

  it('gives out what came of a message whose rest never does, and says so', () => {
    const line = new Line();
    const [first, , third] = fragments('6,7,1000000,-', 'aaaabbbbcccc\n', [4, 8]);
    line.say('6,6,0,-;before\n', first!, third!, '6,8,2000000,-;after\n');
    assert.equal(line.text, '[    0.000000] before\r\n');
    line.wait(REORDER_MS);
    assert.equal(line.text.slice(23), '[    1.000000] aaaacccc\r\n[    2.000000] after\r\n');
    assert.deepEqual(line.gaps, ['netconsole: 4 of 13 bytes of message 7 did not arrive']);
  });

  it('puts messages in order within the window and drops one that comes twice', () => {
    const line = new Line();
    line.say(...[0, 2, 1, 1, 4, 2, 3, 0].map((n) => `6,${n},${n},-;m${n}\n`));
    assert.deepEqual(line.words, ['m0', 'm1', 'm2', 'm3', 'm4']);
    assert.deepEqual(line.gaps, []);
    assert.equal(line.stream.dueMs, null);
  });

  it('records what is missing where it is missing, once the wait is over', () => {
    const line = new Line();
    line.say('6,10,0,-;m10\n', '6,12,0,-;m12\n', '6,15,0,-;m15\n');
    assert.deepEqual(line.words, ['m10']);
    line.wait(REORDER_MS - 1);
    assert.deepEqual(line.words, ['m10']);
    line.wait(1);
    const why = "did not arrive (lost, or below the kernel's console log level)";
    assert.deepEqual(line.all, [
      'm10',
      `netconsole: message 11 ${why}`,
      'm12',
      `netconsole: messages 13 to 14 ${why}`,
      'm15',
    ]);
    line.say('6,13,0,-;m13\n'); // late
    assert.equal(line.words.at(-1), 'm13');
  });

  it('follows the kernel through its next boot, and through its whole buffer told again', () => {
    const line = new Line();
    line.say(...counted(0, 200), ...counted(0, 3), '6,100000,0,-;far\n');
    assert.deepEqual(line.words, [...words(0, 200), ...words(0, 3), 'far']);
    assert.equal(line.gaps.length, 1);
  });

  it('is total: any datagrams, any time, nothing thrown, memory and waits bounded', () => {
    const head = fc
      .tuple(fc.nat(300), fc.nat(1_000_000), fc.constantFrom('-', 'c', '+'), fc.nat(40))
      .map(([sequence, us, flag, offset]) =>
        Buffer.from(`6,${sequence},${us},${flag},ncfrag=${offset}/40;${'x'.repeat(10)}`),
      );
    const datagram = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      head,
      fc.nat(300).map((sequence) => Buffer.from(`6,${sequence},0,-;m${sequence}\n`)),
      fc.string().map((text) => Buffer.from(`6,1,1,-,${text}`)),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(datagram, fc.nat(100)), { maxLength: 200 }), (said) => {
        const line = new Line();
        for (const [bytes, waitMs] of said) {
          line.stream.take(bytes, (line.nowMs += waitMs));
          const { dueMs } = line.stream;
          assert.ok(dueMs === null || dueMs <= line.nowMs + REORDER_MS);
        }
        line.wait(REORDER_MS); // for the rest of a message
        line.wait(REORDER_MS); // and for those before it
        assert.equal(line.stream.dueMs, null);
      }),
    );
  });

  it('gives the same text for the same messages in any order within the window', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray(
          words(0, 30).map((_, n) => n),
          { minLength: 30 },
        ),
        (order) => {
          const line = new Line();
          line.say('6,0,0,-;m0\n', ...order.map((n) => `6,${n},0,-;m${n}\n`));
          assert.deepEqual(line.words, words(0, 30));
          assert.deepEqual(line.gaps, []);
        },
      ),
    );
  });
});

class Line {
  nowMs = 1_000;
  readonly gaps: string[] = [];
  /** Words and gaps as they came. */
  readonly all: string[] = [];
  readonly #bytes: Uint8Array[] = [];
  readonly stream = new NetconsoleStream({
    text: (bytes) => {
      this.#bytes.push(bytes.slice());
      this.all.push(
        Buffer.from(bytes)
          .toString()
          .replace(/^.*\] /, '')
          .trim(),
      );
    },
    gap: (reason) => {
      this.gaps.push(reason);
      this.all.push(reason);
    },
  });

  say(...datagrams: string[]): void {
    for (const datagram of datagrams) this.stream.take(Buffer.from(datagram), this.nowMs);
  }

  wait(ms: number): void {
    this.nowMs += ms;
    this.stream.expire(this.nowMs);
  }

  get text(): string {
    return Buffer.concat(this.#bytes).toString();
  }

  get words(): string[] {
    return this.text
      .split('\r\n')
      .slice(0, -1)
      .map((line) => line.replace(/^.*\] /, ''));
  }
}

function fragments(head: string, body: string, cuts: number[]): string[] {
  const at = [0, ...cuts, body.length];
  return at
    .slice(0, -1)
    .map((from, i) => `${head},ncfrag=${from}/${body.length};${body.slice(from, at[i + 1])}`);
}

function words(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `m${from + i}`);
}

function counted(from: number, to: number): string[] {
  return words(from, to).map((word) => `6,${word.slice(1)},0,-;${word}\n`);
}
