import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import xterm from '@xterm/headless';
import fc from 'fast-check';
import {
  SEQUENCE_BYTES_MAX,
  sanitize,
  sanitizeText,
  startSanitizer,
} from '../../src/protocols/sanitize.ts';
import type { SanitizerMode } from '../../src/protocols/sanitize.ts';

const ESC = '\x1b';

/** What makes some terminal answer, or lets it type, print, rename, resize or listen. */
const STRINGS: readonly string[] = [
  // OSC: titles, colours asked for, clipboard, links, notifications, shell integration
  ...['0;title', '2;title', '4;1;?', '10;?', '11;?', '12;?', '17;?', '19;?', '52;c;?'],
  ...['52;c;cm0gLXJm', '8;;http://x', '9;text', '777;notify;a;b', '1337;ReportCellSize'],
  ...['50;?', '60;?', '7;file:///etc', '104', '133;A', 'Pff0000', 'l'],
].map((body) => `]${body}`);
const DEVICE_STRINGS: readonly string[] = [
  // DCS: DECRQSS, XTGETTCAP, sixel, user-defined keys; APC, PM, SOS
  ...['P$qm', 'P$q"p', 'P$qr', 'P$q q', 'P+q544e', 'Pq#0;2;0;0;0', 'P1;1|17/6c73', 'P>|text'],
  ...['_Gi=31,a=q;AAAA', '_text', '^text', 'Xtext', 'P=1s'],
];
const CONTROLS: readonly string[] = [
  // DA, DSR, DECRQM, XTVERSION, DECREQTPARM, DECRQCRA, DECRQPSR, DECLRP
  ...['c', '0c', '>c', '>0c', '=c', '5n', '6n', '?6n', '?15n', '?25n', '?26n', '?53n', '?55n'],
  ...['?56n', '?62n', '?63n', '?75n', '?85n', '?996n', '4$p', '?1$p', '?2004$p', '>q', '>0q'],
  ...['x', '0x', '1x', "1'|", '1;1;1;1;1;1*y', '1$w', '2$w', '1;1"v', '?1$u', '$u', '&u', '"v'],
  // window operations
  ...['11t', '13t', '14t', '15t', '16t', '18t', '19t', '20t', '21t', '8;1;1t', '22;0t', '3;0;0t'],
  // what reports later: mouse, focus, paste, size, colour scheme, keys
  ...['?9h', '?1000h', '?1001h', '?1002h', '?1003h', '?1004h', '?1005h', '?1006h', '?1015h'],
  ...['?1016h', '?2004h', '?2031h', '?2048h', '?1;1000;1006h', '1;1;1;1;1T', "1'z", "1'{"],
  ...['>4;2m', '?4m', '>1u', '=1u', '?u', '<u', '?1h', '?66h', '20h', '12h', '2h'],
  // media copy, character set, conformance level, margins, scrollback, tests
  ...['i', '5i', '?5i', '61"p', '62;1"p', '3J', '?3J', '?69h', '5;9s', '2;1y', '?3h', '?80h'],
];
const ESCAPES: readonly string[] = ['Z', '%@', '%G', ' F', ' G', '=', '>', 'n', 'o', '|', 'N', 'O'];

/** 7-bit, C1 as one byte, C1 as UTF-8; strings with each terminator, and with none. */
function corpus(): Uint8Array[] {
  const found: Uint8Array[] = [];
  const eightBit: Readonly<Record<string, number>> = {
    ']': 0x9d,
    P: 0x90,
    _: 0x9f,
    '^': 0x9e,
    X: 0x98,
    '[': 0x9b,
    Z: 0x9a,
    N: 0x8e,
    O: 0x8f,
  };
  const add = (sequence: string, end: readonly number[]): void => {
    const body = Buffer.from(sequence.slice(1));
    found.push(Buffer.from([0x1b, sequence.charCodeAt(0), ...body, ...end]));
    const c1 = eightBit[sequence[0]!];
    if (c1 === undefined) return;
    found.push(Buffer.from([c1, ...body, ...end]));
    found.push(Buffer.from([0xc2, c1, ...body, ...end]));
  };
  for (const sequence of [...STRINGS, ...DEVICE_STRINGS]) {
    for (const end of [[0x1b, 0x5c], [0x07], [0x9c], [0xc2, 0x9c], []]) add(sequence, end);
  }
  for (const control of CONTROLS) add(`[${control}`, []);
  for (const escape of ESCAPES) add(escape, []);
  found.push(Buffer.from([0x05]), Buffer.from('\x1b\x1b[6n'), Buffer.from('\x1b[6\x05n'));
  return found;
}

function inPieces(mode: SanitizerMode, bytes: Uint8Array, cuts: readonly number[]): Buffer {
  let state = startSanitizer(mode);
  const parts: Uint8Array[] = [];
  const ends = [...new Set(cuts)].sort((a, b) => a - b);
  for (const [index, end] of [...ends, bytes.length].entries()) {
    const result = sanitize(state, bytes.subarray(ends[index - 1] ?? 0, end));
    state = result.state;
    parts.push(result.bytes);
  }
  return Buffer.concat(parts);
}

const whole = (mode: SanitizerMode, bytes: Uint8Array | string): string =>
  inPieces(mode, typeof bytes === 'string' ? Buffer.from(bytes) : bytes, []).toString('utf8');

function newTerminal(answers: string[]): InstanceType<typeof xterm.Terminal> {
  const terminal = new xterm.Terminal({
    cols: 80,
    rows: 24,
    allowProposedApi: true,
    windowOptions: {
      getCellSizePixels: true,
      getIconTitle: true,
      getScreenSizeChars: true,
      getScreenSizePixels: true,
      getWinPosition: true,
      getWinSizeChars: true,
      getWinSizePixels: true,
      getWinState: true,
      getWinTitle: true,
    },
  });
  terminal.onData((text) => answers.push(text));
  terminal.onBinary((text) => answers.push(text));
  return terminal;
}

async function answersTo(bytes: Uint8Array): Promise<string[]> {
  const answers: string[] = [];
  const terminal = newTerminal(answers);
  await new Promise<void>((done) => terminal.write(bytes, done));
  terminal.dispose();
  return answers;
}

async function screenOf(bytes: Uint8Array): Promise<string[]> {
  const terminal = newTerminal([]);
  await new Promise<void>((done) => terminal.write(bytes, done));
  const { active } = terminal.buffer;
  const lines = [`${active.type} ${active.cursorX},${active.cursorY}`];
  for (let row = 0; row < terminal.rows; row++) {
    const line = active.getLine(active.baseY + row)!;
    let colours = '';
    for (let column = 0; column < terminal.cols; column++) {
      const cell = line.getCell(column)!;
      colours += `${cell.getFgColor()}/${cell.getBgColor()}/${cell.isInverse()} `;
    }
    lines.push(line.translateToString(true), colours);
  }
  terminal.dispose();
  return lines;
}

/** Escape sequences of all kinds, text, and what is near them. */
const wire = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...corpus()) },
      { weight: 2, arbitrary: fc.uint8Array({ maxLength: 8 }) },
      {
        weight: 2,
        arbitrary: fc.constantFrom(
          '\x1b[31m',
          '\x1b[2J\x1b[H',
          'text',
          '\r\n',
          'ä€😀',
          '\r',
          '\x1b[',
        ),
      },
    ),
    { maxLength: 12 },
  )
  .map((parts) => Buffer.concat(parts.map((part) => Buffer.from(part as Uint8Array))));

describe('the sanitizer', () => {
  it('leaves nothing that a terminal answers, however the bytes are cut', async () => {
    const all = corpus();
    assert.ok(all.length > 300);
    const clean: Buffer[] = [];
    for (const sequence of all) {
      const bytes = Buffer.concat([Buffer.from('a'), sequence, Buffer.from('\nb')]);
      for (let cut = 0; cut <= bytes.length; cut++) {
        clean.push(inPieces('terminal', bytes, [cut]), inPieces('text', bytes, [cut]));
      }
    }
    assert.deepEqual(await answersTo(Buffer.concat(clean)), []);
    const raw = await answersTo(Buffer.concat(all.map((bytes) => Buffer.concat([bytes, CANCEL]))));
    assert.ok(raw.length > 30, `the corpus is no test: only ${raw.length} answers without us`);
  });

  it('drops each sequence of the corpus whole', () => {
    for (const sequence of corpus()) {
      for (const mode of ['terminal', 'text'] as const) {
        const bytes = Buffer.concat([sequence, CANCEL, Buffer.from('\n')]);
        assert.equal(whole(mode, bytes), '\n', JSON.stringify(bytes.toString('latin1')));
      }
    }
  });

  it('gives the same output however the bytes are cut, as valid UTF-8', () => {
    fc.assert(
      fc.property(
        wire,
        fc.array(fc.nat(300)),
        fc.constantFrom<SanitizerMode>('terminal', 'text'),
        (bytes, cuts, mode) => {
          const once = inPieces(mode, bytes, []);
          const inside = cuts.filter((cut) => cut <= bytes.length);
          assert.deepEqual(inPieces(mode, bytes, inside), once);
          new TextDecoder('utf-8', { fatal: true }).decode(once);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('changes nothing more when it is run again', () => {
    fc.assert(
      fc.property(wire, fc.constantFrom<SanitizerMode>('terminal', 'text'), (bytes, mode) => {
        const once = inPieces(mode, bytes, []);
        assert.deepEqual(inPieces(mode, once, []), once);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps the picture: colour, cursor, erasing, scrolling, line drawing, alternate screen', async () => {
    const drawn = [
      '\x1bc\x1b[?7l\x1b[2J\x1b[1;1H\x1b[0;37;44mBIOS\x1b[K\x1b[5;10Hmenu\x1b[?7h',
      '\x1b[38;5;208mamber\x1b[38;2;1;2;3mrgb\x1b[38:2::4:5:6mcolon\x1b[0m\x1b(0lqk\x1b(B',
      '\x1b[3;20r\x1b[20;1Hscroll\x1bD\x1bM\x1bE\x1b[2Linsert\x1b[1M\x1b[3Pcut\x1b[2@\x1b[1X',
      '\x1b7\x1b[24;70Hcorner\x1b8back\x1b[s\x1b[10;40fhere\x1b[u\x1b[4hins\x1b[4l\b\b\t!',
      '\x1b[r\x1b[?25l\x1b[?1049h\x1b[2J\x1b[Halternate ä € 😀\x1b[5b\x1b[2S\x1b[1T\x1b#8',
    ];
    for (let count = 1; count <= drawn.length; count++) {
      const bytes = Buffer.from(drawn.slice(0, count).join(''));
      const clean = inPieces('terminal', bytes, [7, 30]);
      assert.deepEqual(await screenOf(clean), await screenOf(bytes));
    }
  });

  it('passes of several private modes those that only change the picture', () => {
    assert.equal(whole('terminal', '\x1b[?25;1000;7h'), '\x1b[?25;7h');
    assert.equal(whole('terminal', '\x1b[?1000;1006l'), '');
  });

  it('lets an unfinished string hide nothing for long', () => {
    for (const begin of ['\x1b]0;', '\x1bP', '\x1b_', '\x1b[', '\x9d']) {
      const bytes = Buffer.from(`${begin}${'1'.repeat(SEQUENCE_BYTES_MAX)}panic`, 'latin1');
      assert.match(whole('text', bytes), /panic$/);
      assert.equal(whole('text', `${begin}title\npanic`).split('\n')[1], 'panic');
    }
  });

  it('keeps UTF-8 and replaces what is none', () => {
    const text = 'Ünïcödé ś → 漢字 😀 \u00a0';
    assert.equal(whole('text', text), text);
    assert.equal(whole('terminal', text), text);
    const broken = Buffer.from([0x61, 0xff, 0xe2, 0x82, 0x62, 0xc0, 0xed, 0xa0, 0x63, 0xf5]);
    assert.equal(whole('text', broken), 'a\ufffd\ufffdb\ufffd\ufffd\ufffdc\ufffd');
  });

  it('does not let a C1 control in by what was dropped between its bytes', () => {
    assert.equal(whole('terminal', Buffer.from([0xc2, 0x1b, 0x5a, 0x9b, 0x36, 0x6e])), '\ufffd');
  });

  it('ends a line once, however it was ended', () => {
    const ends = ['\n', '\r\n', '\r\r\n', '\r\r\r\n', '\n\r'];
    for (const end of ends) assert.equal(whole('text', `one${end}two${end}`), 'one\ntwo\n');
    assert.equal(whole('text', 'dom0\r\r\nxen\r\n\r\nend'), 'dom0\nxen\n\nend');
  });

  it('keeps a redraw on its line', () => {
    assert.equal(whole('text', '\r10%\r\r20%\r\x1b[K30%\r\n'), '10%\r20%\r30%\n');
  });

  it('makes a text of ours harmless', () => {
    assert.equal(sanitizeText(`${ESC}]0;x\x07by ${ESC}[6nbob\x00\x7f`), 'by bob');
  });
});

/** Ends whatever a sequence without an end has begun (ECMA-48: CAN). */
const CANCEL = Buffer.from([0x18]);
