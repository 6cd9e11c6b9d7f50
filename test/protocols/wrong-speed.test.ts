import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import {
  formatLineSettings,
  parseLineSettings,
  type LineSettings,
} from '../../src/core/line-settings.ts';
import { SpeedWatch, type SpeedVerdict } from '../../src/protocols/wrong-speed.ts';
import { asciiTexts, binaries, randomNumbers, texts, type Corpus } from './console-texts.ts';
import { receive, send, type Received } from './uart.ts';

const BAUDS = [
  300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600,
];
const EVENTS = 2048;
const NO_ERRORS = { framing: 0, parity: 0, breaks: 0 };

/** What our UART makes of a text of theirs: back to back, with rests after lines and now and then. */
function hear(
  { bytes }: Corpus,
  theirs: LineSettings,
  ours: LineSettings,
  resync: 'edge' | 'level' = 'edge',
  seed = 1,
): Received[] {
  const random = randomNumbers(seed);
  const from = Math.floor(random() * 500);
  const said = bytes.subarray(from);
  const rest = (index: number): number => {
    if (said[index] === 0x0a) return random() * 200;
    return random() < 0.02 ? random() * 20 : 0;
  };
  return receive(send(said, theirs, rest), ours, resync, EVENTS);
}

/** As a port hands it on: samples with the errors that belong to them. */
function* samples(
  events: readonly Received[],
  size: number,
): Generator<Parameters<SpeedWatch['take']>> {
  for (let at = 0; at < events.length; at += size) {
    const part = events.slice(at, at + size);
    const bytes = part.filter(({ byte }) => byte !== null);
    yield [
      Uint8Array.from(bytes, ({ byte }) => byte!),
      {
        framing: bytes.filter(({ framing }) => framing).length,
        parity: bytes.filter(({ framing, parity }) => parity && !framing).length,
        breaks: part.length - bytes.length,
      },
    ];
  }
}

function verdictOf(
  events: readonly Received[],
  ours: LineSettings,
  size = 512,
): SpeedVerdict | null {
  const watch = new SpeedWatch(ours);
  for (const sample of samples(events, size)) watch.take(...sample);
  return watch.verdict();
}

/** How often each came of it. */
interface Tally {
  right: number;
  unnamed: number;
  none: number;
  wrong: string[];
}

function newTally(): Tally {
  return { right: 0, unnamed: 0, none: 0, wrong: [] };
}

function count(
  tally: Tally,
  verdict: SpeedVerdict | null,
  isRight: (line: LineSettings) => boolean,
  what: string,
): void {
  if (!verdict) tally.none++;
  else if (!verdict.looksLike) tally.unnamed++;
  else if (isRight(verdict.looksLike)) tally.right++;
  else {
    const percent = Math.round(verdict.confidence * 100);
    tally.wrong.push(`${what}: ${formatLineSettings(verdict.looksLike)} (${percent} %)`);
  }
}

function totalOf({ right, unnamed, none, wrong }: Tally): number {
  return right + unnamed + none + wrong.length;
}

function inWords(tally: Tally): string {
  const percent = (part: number): string => `${((100 * part) / totalOf(tally)).toFixed(1)} %`;
  return `${totalOf(tally)} lines: named right ${percent(tally.right)}, another speed ${percent(tally.unnamed)}, no verdict ${percent(tally.none)}, named wrong ${percent(tally.wrong.length)}`;
}

/** Every pair of usual speeds, by how many of our bits one of theirs lasts. */
function tallyOfPairs(
  theirFormat: string,
  corpora: readonly Corpus[],
  isWanted: (ratio: number) => boolean,
): { total: Tally; byRatio: Map<number, Tally> } {
  const total = newTally();
  const byRatio = new Map<number, Tally>();
  for (const [index, ourBaud] of BAUDS.entries()) {
    for (const theirBaud of BAUDS) {
      const ratio = ourBaud / theirBaud;
      if (theirBaud === ourBaud || !isWanted(ratio)) continue;
      const ours = parseLineSettings(`${ourBaud} 8N1`);
      const theirs = parseLineSettings(`${theirBaud} ${theirFormat}`);
      const ofRatio = byRatio.get(ratio) ?? newTally();
      for (const corpus of corpora) {
        for (const resync of ['edge', 'level'] as const) {
          const events = hear(corpus, theirs, ours, resync, index);
          if (events.length < 128) continue; // said so fast that our UART saw next to nothing
          const verdict = verdictOf(events, ours);
          const what = `${corpus.name} of ${formatLineSettings(theirs)} at ${ourBaud} (${resync})`;
          const isRight = ({ baud }: LineSettings): boolean => baud === theirBaud;
          for (const tally of [total, ofRatio]) count(tally, verdict, isRight, what);
          byRatio.set(ratio, ofRatio);
        }
      }
    }
  }
  return { total, byRatio };
}

function show(context: TestContext, title: string, tallies: ReturnType<typeof tallyOfPairs>): void {
  context.diagnostic(`${title}: ${inWords(tallies.total)}`);
  const ratios = [...tallies.byRatio].sort(([a], [b]) => a - b);
  for (const [ratio, tally] of ratios) {
    context.diagnostic(`  ours / theirs ${ratio.toFixed(3)}: ${inWords(tally)}`);
  }
  for (const line of tallies.total.wrong) context.diagnostic(`  wrong: ${line}`);
}

describe('SpeedWatch, where the other end is slower', () => {
  for (const format of ['8N1', '8N2', '8E1', '7E1', '7O1']) {
    it(`names the speed of ${format} within 2 KB, unless it is ten times slower`, (context) => {
      const corpora = format === '8N1' ? texts : asciiTexts.slice(0, 2);
      const tallies = tallyOfPairs(format, corpora, (ratio) => ratio > 1 && ratio < 9.5);
      show(context, format, tallies);
      const { right, none, wrong } = tallies.total;
      assert.ok(right >= 0.9 * totalOf(tallies.total));
      assert.equal(none, 0);
      assert.deepEqual(wrong, []);
    });
  }

  it('says that it is another speed where all that can be seen is BREAKs', (context) => {
    const tallies = tallyOfPairs('8N1', texts.slice(0, 1), (ratio) => ratio >= 9.5);
    show(context, 'far slower', tallies);
    assert.equal(tallies.total.unnamed, totalOf(tallies.total));
  });

  it('names it although the clocks differ by 2 %', () => {
    const ours = parseLineSettings('115200 8N1');
    for (const baud of [19_200, 38_400, 57_600]) {
      for (const clock of [0.98, 1.02]) {
        const theirs = { ...ours, baud: baud * clock };
        for (const corpus of texts) {
          const verdict = verdictOf(hear(corpus, theirs, ours), ours);
          assert.equal(verdict?.looksLike?.baud, baud, `${corpus.name} ${baud} ${clock}`);
        }
      }
    }
  });
});

describe('SpeedWatch, where the other end is faster', () => {
  it('says that it is another speed, and names none or the right one', (context) => {
    const tallies = tallyOfPairs('8N1', texts, (ratio) => ratio < 1);
    show(context, 'faster', tallies);
    assert.deepEqual(tallies.total.wrong, []);
    assert.ok(totalOf(tallies.total) > 300);
    assert.equal(tallies.total.none, 0);
  });
});

describe('SpeedWatch, where only the parity differs', () => {
  const confusions: [ours: string, theirs: string, ...named: string[]][] = [
    ['8N1', '7E1'],
    ['8N1', '7O1'],
    ['8N1', '8E1'],
    ['8N1', '8O1'],
    ['7E1', '7O1'],
    ['7O1', '7E1'],
    ['8E1', '8O1'],
    ['8O1', '8E1'],
    ['7E1', '8N1'],
    ['7O1', '8N1'],
  ];
  for (const [ourFormat, theirFormat] of confusions) {
    it(`names ${theirFormat} that is heard as ${ourFormat}`, (context) => {
      const ours = parseLineSettings(`9600 ${ourFormat}`);
      const theirs = parseLineSettings(`9600 ${theirFormat}`);
      const tally = newTally();
      for (const corpus of asciiTexts) {
        for (const size of [512, 200, 31, 1]) {
          for (let seed = 0; seed < 5; seed++) {
            const events = hear(corpus, theirs, ours, 'edge', seed);
            const isRight = (line: LineSettings): boolean =>
              formatLineSettings(line) === formatLineSettings(theirs);
            const what = `${corpus.name} in samples of ${size}`;
            count(tally, verdictOf(events, ours, size), isRight, what);
          }
        }
      }
      context.diagnostic(inWords(tally));
      assert.ok(tally.right >= 0.95 * totalOf(tally));
      assert.deepEqual(tally.wrong, []);
    });
  }

  it('never names a wrong parity where the bytes are damaged, too', (context) => {
    const tally = newTally();
    for (const [ourFormat, theirFormat] of [...confusions, ['8E1', '8N1'], ['8O1', '7E1']]) {
      const ours = parseLineSettings(`9600 ${ourFormat}`);
      const theirs = parseLineSettings(`9600 ${theirFormat}`);
      for (const corpus of [...texts, ...binaries]) {
        if (corpus.name === 'few values of even parity') continue; // the very bits of 7E1
        const events = hear(corpus, theirs, ours, 'level');
        const what = `${corpus.name} of ${theirFormat} at ${ourFormat}`;
        const isRight = (line: LineSettings): boolean =>
          formatLineSettings(line) === formatLineSettings(theirs);
        const verdict = verdictOf(events, ours);
        if (verdict && verdict.confidence <= 0.5) continue;
        count(tally, verdict, isRight, what);
      }
    }
    context.diagnostic(inWords(tally));
    assert.deepEqual(tally.wrong, []);
  });
});

describe('SpeedWatch on a healthy line', () => {
  for (const corpus of [...texts, ...binaries]) {
    it(`says nothing of ${corpus.name}`, () => {
      for (const format of ['8N1', '7E1', '8O1', '8N2']) {
        const ours = parseLineSettings(`115200 ${format}`);
        for (const size of [512, 37]) {
          const watch = new SpeedWatch(ours);
          for (const sample of samples(hear(corpus, ours, ours), size)) {
            assert.deepEqual([sample[1].framing, sample[1].parity], [0, 0]);
            watch.take(...sample);
            assert.equal(watch.verdict(), null, format);
          }
        }
      }
    });
  }

  it('says nothing of text that noise and BREAKs disturb', () => {
    const random = randomNumbers(5);
    const ours = parseLineSettings('9600 8N1');
    for (const corpus of texts) {
      const watch = new SpeedWatch(ours);
      const events = hear(corpus, ours, ours).map((event): Received => {
        const chance = random();
        if (chance < 0.005) return { byte: null, framing: true, parity: false };
        if (chance > 0.02) return event;
        return { byte: Math.floor(random() * 256), framing: true, parity: false };
      });
      for (const sample of samples(events, 256)) {
        watch.take(...sample);
        assert.equal(watch.verdict(), null, corpus.name);
      }
    }
  });

  it('says nothing of a few BREAKs, of any number', () => {
    const watch = new SpeedWatch(parseLineSettings('9600 8N1'));
    for (let index = 0; index < 20; index++) {
      watch.take(new Uint8Array(), { framing: 0, parity: 0, breaks: 1 });
      assert.equal(watch.verdict(), null);
    }
  });

  it('names no other speed without errors, whatever the bytes', () => {
    const line = parseLineSettings('9600 8N1');
    const few = fc
      .uniqueArray(fc.integer({ min: 0, max: 255 }), { minLength: 1, maxLength: 8 })
      .chain((values) => fc.array(fc.constantFrom(...values), { minLength: 200, maxLength: 900 }));
    fc.assert(
      fc.property(fc.oneof(few, fc.array(fc.nat(255), { maxLength: 900 })), (bytes) => {
        const watch = new SpeedWatch(line);
        watch.take(Uint8Array.from(bytes), NO_ERRORS);
        assert.equal(watch.verdict()?.looksLike?.baud ?? line.baud, line.baud);
      }),
    );
  });
});

describe('SpeedWatch', () => {
  const ours = parseLineSettings('115200 8N1');
  const garbled = hear(texts[0]!, parseLineSettings('38400 8N1'), ours);

  it('says nothing before it has seen enough', () => {
    const watch = new SpeedWatch(ours);
    for (const sample of samples(garbled.slice(0, 127), 1)) watch.take(...sample);
    assert.equal(watch.verdict(), null);
    for (const sample of samples(garbled.slice(127, 200), 1)) watch.take(...sample);
    assert.equal(watch.verdict()?.looksLike?.baud, 38_400);
  });

  it('forgets what was wrong after a few KB that are right', () => {
    const watch = new SpeedWatch(ours);
    for (const sample of samples(garbled, 512)) watch.take(...sample);
    assert.equal(watch.verdict()?.looksLike?.baud, 38_400);
    for (let at = 0; at < 3072; at += 512) {
      watch.take(texts[0]!.bytes.subarray(at, at + 512), NO_ERRORS);
    }
    assert.equal(watch.verdict(), null);
  });

  it('takes anything and gives a confidence from 0 to 1', () => {
    const counts = fc.record({
      framing: fc.nat(5000),
      parity: fc.nat(5000),
      breaks: fc.oneof(fc.nat(600), fc.constant(4_000_000_000)),
    });
    const line = fc
      .tuple(fc.integer({ min: 1, max: 5_000_000 }), fc.constantFrom('8N1', '7E2', '5O1.5', '6M1'))
      .map(([baud, format]) => parseLineSettings(`${baud} ${format}`));
    const taken = fc.array(fc.tuple(fc.uint8Array({ maxLength: 700 }), counts), { maxLength: 6 });
    fc.assert(
      fc.property(line, taken, (settings, all) => {
        const watch = new SpeedWatch(settings);
        for (const [bytes, errors] of all) watch.take(bytes, errors);
        const verdict = watch.verdict();
        if (!verdict) return;
        assert.ok(verdict.confidence >= 0 && verdict.confidence <= 1, String(verdict.confidence));
        if (verdict.looksLike) assert.notDeepEqual(verdict.looksLike, settings);
      }),
    );
  });
});
