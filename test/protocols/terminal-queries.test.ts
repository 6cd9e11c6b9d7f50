import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import xterm from '@xterm/headless';
import fc from 'fast-check';
import {
  HELD_BYTES_MAX,
  QUERIES_START,
  isTerminalAnswer,
  stripQueries,
} from '../../src/protocols/terminal-queries.ts';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

function strip(chunks: readonly Uint8Array[]): { out: Buffer; held: Buffer } {
  let state = QUERIES_START;
  const out: Buffer[] = [];
  for (const chunk of chunks) {
    const step = stripQueries(state, chunk);
    state = step.state;
    out.push(Buffer.from(step.bytes));
  }
  return { out: Buffer.concat(out), held: Buffer.from(state.held) };
}

/** One byte is one character here. */
const stripText = (text: string): string => strip([latin1(text)]).out.toString('latin1');

/** What a device may say, rich in the beginnings and ends of sequences. */
const part = fc.oneof(
  { weight: 3, arbitrary: fc.string({ maxLength: 6 }).map(latin1) },
  {
    weight: 2,
    arbitrary: fc.string({ unit: 'grapheme', maxLength: 3 }).map((s) => Buffer.from(s)),
  },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 4 }).map((bytes) => Buffer.from(bytes)) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.constantFrom('\x1b[', '\x9b', '\xc2\x9b', '\xe0\x9b', '\xc4\x9b'),
        fc.constantFrom('', '?', '>', '=', '<'),
        fc.constantFrom('', '0', '5', '6', '18', '1;2', '?2048', '6\x05', '\r', '1004;25'),
        fc.constantFrom('', '$', '*', '#', '"', ' ', '!', '+'),
        fc.constantFrom(...'@ABCDEFHJKLMPRSTXZcdfghlmnpqrstuvxy|'),
      )
      .map((parts) => latin1(parts.join(''))),
  },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom(
        ...['\x1b', '\x05', '\x1bZ', '\x1b[', '\x1b]', '\x1bP', '\x90', '\x9a', '\xc2', '\xe2\x94'],
        ...['\x1b]4;1;?', '\x1b]11;?\x07', '\x1b]0;x', '\x07', '\x1b\\', '\x9c', '\x18', '\n'],
        ...['\x1bP$qm\x1b\\', '\x1b[?1$p', '\x1b[>q', '?', 'n', 'c', '\x1b_Ga=q;\x1b\\'],
      )
      .map(latin1),
  },
);
const output = fc.array(part, { maxLength: 25 }).map((parts) => Buffer.concat(parts));

function cut(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const places = [0, ...[...cuts].filter((at) => at <= bytes.length).sort((a, b) => a - b)];
  return places.map((from, i) => bytes.subarray(from, places[i + 1] ?? bytes.length));
}

describe('output without queries', () => {
  it('lets text, colour, cursor moves and line noise through as they are', () => {
    for (const text of [
      'plain\r\n\ttext\b \x07\x7f',
      '\x1b[31;1mred\x1b[0m\x1b[38:2:1:2:3m',
      '\x1b[2J\x1b[H\x1b[5;10f\x1b[3A\x1b[K\x1b[1;20r\x1b7\x1b8\x1bM\x1bc\x1b(0qqq\x1b(B\x0e\x0f',
      '\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[?1002;1006h\x1b[4h\x1b[!p\x1b[2 q\x1b[22;0t\x1b[8;24;80t',
      '\x1b[>4;2m\x1b[>1u\x1b[<u\x1b[=5u',
      '\x1b]0;title?\x07\x1b]2;other\x1b\\\x1b]8;;http://x?y\x1b\\link\x1b]8;;\x07\x1b]10;#fff\x07\x1b]104\x07',
      'caf\xe9 \xff\xfe \xc3\xa9 \xe4\xb8\x96 \xf0\x9f\x98\x80 \xc4\x9b6n \xc2\xa0',
      '\x1b[6\x18n \x1b[\x1a6n',
    ]) {
      assert.equal(
        stripText(text),
        text.replace('\x1b[6\x18', '\x18').replace('\x1b[\x1a', '\x1a'),
      );
    }
  });

  it('takes out every question', () => {
    for (const query of [
      ...[
        '\x05',
        '\x1bZ',
        '\x9a',
        '\xc2\x9a',
        '\x1b[c',
        '\x1b[0c',
        '\x1b[>c',
        '\x1b[=0c',
        '\x1b[?c',
      ],
      ...['\x1b[5n', '\x1b[6n', '\x1b[?6n', '\x1b[0006n', '\x9b6n', '\xc2\x9b6n', '\x1b[6:1n'],
      ...['\x1b[x', '\x1b[?25$p', '\x1b[4$p', '\x1b[>q', '\x1b[>0q', '\x1b[?u', '\x1b[?1;1;0S'],
      ...[
        '\x1b[11t',
        '\x1b[18t',
        '\x1b[021t',
        '\x1b[t',
        '\x1b[?4m',
        '\x1b[1$w',
        '\x1b[&u',
        '\x1b["v',
      ],
      ...['\x1b[1;1;1;1;9;9*y', "\x1b['|", '\x1b[#R', '\x1b[?2048h', '\x1b[?1004h', '\x1b[5i'],
      ...[
        '\x1b]10;?\x07',
        '\x1b]4;1;?\x1b\\',
        '\x9d11;?\x9c',
        '\x1b]52;c;?\x07',
        '\x1b]1337;x\x07',
      ],
      ...[
        '\x1bP$qm\x1b\\',
        '\x1bP+q544e\x1b\\',
        '\x1b_Gi=1,a=q;AAAA\x1b\\',
        '\x1b^x\x1b\\',
        '\x1b%@',
      ],
    ]) {
      const left = stripText(`<${query}>`);
      // The terminator of a control string is none by itself.
      assert.equal(left.replace('\x1b\\', ''), '<>', JSON.stringify(query));
    }
    assert.equal(stripText('\x1b[?1004;25h'), '\x1b[?25h');
    assert.equal(stripText('a\x1b[6\r\n\x05n'), 'a\r\n', 'controls inside act at once');
  });

  it('cannot be made to build a question from what it leaves', () => {
    for (const trick of [
      '\x1b]10;\x1b[6n?\x07',
      '\x1b[\x1bZ6n',
      '\x1b\x056n',
      '\x1b[\x1b[6n6n',
      '\x1b]0;\x1bP$q\x1b\\m\x1b\\',
      '\x1b[\x056n',
      '\x1b[?1004h\x1b[\x056n',
    ]) {
      const once = stripText(trick);
      assert.equal(stripText(once), once, JSON.stringify(trick));
    }
    fc.assert(
      fc.property(output, (bytes) => {
        const once = strip([bytes]).out;
        const { out, held } = strip([once]);
        assert.ok(held.length <= 3, 'no more is begun than a character that was cut short');
        assert.ok(Buffer.concat([out, held]).equals(once));
      }),
    );
  });

  it('is the same however the network cuts it', () => {
    fc.assert(
      fc.property(output, fc.array(fc.nat(120)), (bytes, cuts) => {
        assert.deepEqual(strip(cut(bytes, cuts)), strip([bytes]));
        assert.deepEqual(strip([...bytes].map((byte) => Uint8Array.of(byte))), strip([bytes]));
      }),
    );
  });

  it('holds little, and hides a line at most behind noise', () => {
    for (const start of ['\x1b[', '\x1b]0;', '\x1bP', '\x1b]0;\x1b', '\x1b(']) {
      const { out, held } = strip([latin1(start), latin1('9'.repeat(100_000)), latin1('x')]);
      assert.ok(held.length <= HELD_BYTES_MAX + 3);
      assert.ok(start === '\x1b[' || out.toString().endsWith('x'), start);
    }
    assert.equal(stripText('\x1bPnoise\nnext'), '\nnext');
    assert.equal(stripText('\x1b]noise\r\nnext'), '\nnext');
  });

  it('makes no terminal answer', async () => {
    const terminal = new xterm.Terminal({
      cols: 40,
      rows: 10,
      allowProposedApi: true,
      logLevel: 'off',
      windowOptions: {
        getWinSizeChars: true,
        getWinSizePixels: true,
        getWinState: true,
        getWinPosition: true,
        getCellSizePixels: true,
        getWinTitle: true,
        getIconTitle: true,
        getScreenSizeChars: true,
        getScreenSizePixels: true,
      },
    });
    const answers: string[] = [];
    terminal.onData((data) => answers.push(data));
    terminal.onBinary((data) => answers.push(data));
    const feed = (bytes: Uint8Array): Promise<void> =>
      new Promise((resolve) => terminal.write(bytes, resolve));
    await feed(latin1('\x1b[6n'));
    assert.equal(answers.length, 1, 'it would answer');
    await fc.assert(
      fc.asyncProperty(output, async (bytes) => {
        answers.length = 0;
        terminal.reset();
        await feed(strip([bytes]).out);
        assert.deepEqual(answers, []);
      }),
      { numRuns: 300 },
    );
    terminal.dispose();
  });
});

describe('what a terminal types by itself', () => {
  it('is told from what a person types', () => {
    for (const answer of [
      ...['\x1b[24;80R', '\x1b[?1;1R', '\x1b[0n', '\x1b[?1;2c', '\x1b[>0;276;0c', '\x1b[?25;1$y'],
      ...[
        '\x1b[8;24;80t',
        '\x1b[I',
        '\x1b[O',
        '\x1b[<0;3;4M',
        '\x1b[M abc'.slice(0, 6),
        '\x1b[?0u',
      ],
      ...['\x1b]11;rgb:0/0/0\x07', '\x1bP1$r0m\x1b\\', '\x1b[1;1R\x1b[1;1R'],
    ]) {
      assert.equal(isTerminalAnswer(latin1(answer)), true, JSON.stringify(answer));
    }
    for (const typed of [
      ...['', 'x', '\x1b', '\x1b[A', '\x1bOA', '\x1b[3~', '\x1b[1;5C', '\x1b[15;2~', '24;80R'],
      ...['\x1b[24;80Rx', 'x\x1b[24;80R', '\x1b[24', '\x1b[200~paste\x1b[201~', '\x1b[Z'],
    ]) {
      assert.equal(isTerminalAnswer(latin1(typed)), false, JSON.stringify(typed));
    }
  });
});
