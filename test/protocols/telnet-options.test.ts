import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  askOption,
  CHATTER_MAX,
  CHATTER_WINDOW_MS,
  hearChatter,
  hearNegotiation,
  isOn,
  NO_OPTIONS,
  parseTerminalType,
  parseWindowSize,
  TELNET_OPTIONS,
  type Chatter,
  type Negotiation,
  type OptionStates,
  type OptionStep,
  type Side,
  type Supported,
} from '../../src/protocols/telnet-options.ts';

const { binary, echo, suppressGoAhead } = TELNET_OPTIONS;
const SUPPORTED: Supported = {
  us: new Set([binary, echo, suppressGoAhead]),
  them: new Set([binary, suppressGoAhead]),
};

describe('option negotiation', () => {
  it('answers what it can and refuses what it cannot, once', () => {
    let step = hear(NO_OPTIONS, 'do', echo);
    assert.deepEqual(step.send, [{ verb: 'will', option: echo }]);
    assert.deepEqual(step.changed, { side: 'us', option: echo, isOn: true });
    step = hear(step.states, 'do', echo);
    assert.deepEqual([step.send, step.changed], [[], null]);
    step = hear(step.states, 'will', echo);
    assert.deepEqual(step.send, [{ verb: 'dont', option: echo }]);
    step = hear(step.states, 'wont', echo);
    assert.deepEqual(step.send, []);
    step = hear(step.states, 'do', 39);
    assert.deepEqual(step.send, [{ verb: 'wont', option: 39 }]);
    step = hear(step.states, 'dont', echo);
    assert.deepEqual(step.send, [{ verb: 'wont', option: echo }]);
    assert.deepEqual(step.changed, { side: 'us', option: echo, isOn: false });
  });

  it('takes the answer to its own offer without another word', () => {
    const asked = askOption(NO_OPTIONS, 'them', binary, true);
    assert.deepEqual(asked.send, [{ verb: 'do', option: binary }]);
    const agreed = hear(asked.states, 'will', binary);
    assert.deepEqual([agreed.send, isOn(agreed.states, 'them', binary)], [[], true]);
    const refused = hear(asked.states, 'wont', binary);
    assert.deepEqual([refused.send, isOn(refused.states, 'them', binary)], [[], false]);
  });

  it('asks again, and takes back, only once the peer has answered (RFC 1143)', () => {
    const asked = askOption(NO_OPTIONS, 'us', binary, true);
    const regretted = askOption(asked.states, 'us', binary, false);
    assert.deepEqual(regretted.send, []);
    const answered = hear(regretted.states, 'do', binary);
    assert.deepEqual(answered.send, [{ verb: 'wont', option: binary }]);
    assert.equal(answered.changed, null);
    const wantedAgain = askOption(answered.states, 'us', binary, true);
    assert.deepEqual(wantedAgain.send, []);
    const settled = hear(wantedAgain.states, 'dont', binary);
    assert.deepEqual(settled.send, [{ verb: 'will', option: binary }]);
    assert.equal(isOn(hear(settled.states, 'do', binary).states, 'us', binary), true);
  });

  const said = fc.record({
    verb: fc.constantFrom('will', 'wont', 'do', 'dont'),
    option: fc.nat(255),
  });
  const wanted = fc.record({
    side: fc.constantFrom('us', 'them'),
    option: fc.constantFrom(binary, suppressGoAhead),
    isWanted: fc.boolean(),
  });

  it('never turns on what is not supported, and never says more than it heard or was asked', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(said, wanted)), (all) => {
        let states = NO_OPTIONS;
        for (const one of all) {
          const step: OptionStep =
            'verb' in one
              ? hearNegotiation(states, one as Negotiation, SUPPORTED)
              : askOption(states, one.side as Side, one.option, one.isWanted);
          states = step.states;
          assert.ok(step.send.length <= 1);
          if (step.changed?.isOn) {
            assert.ok(SUPPORTED[step.changed.side].has(step.changed.option));
          }
        }
      }),
    );
  });

  it('comes to rest with a peer that obeys the same rules, both of one mind', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), wanted)), (wishes) => {
        let ours = NO_OPTIONS;
        let theirs = NO_OPTIONS;
        const both: Supported = { us: SUPPORTED.us, them: SUPPORTED.us };
        const toThem: Negotiation[] = [];
        const toUs: Negotiation[] = [];
        for (const [isOurs, { side, option, isWanted }] of wishes) {
          const step = askOption(isOurs ? ours : theirs, side as Side, option, isWanted);
          if (isOurs) ours = step.states;
          else theirs = step.states;
          (isOurs ? toThem : toUs).push(...step.send);
        }
        for (let turns = 0; toThem.length + toUs.length > 0; turns++) {
          assert.ok(turns < 10 * wishes.length + 10, 'they go on for ever');
          for (const negotiation of toThem.splice(0)) {
            const step = hearNegotiation(theirs, negotiation, both);
            theirs = step.states;
            toUs.push(...step.send);
          }
          for (const negotiation of toUs.splice(0)) {
            const step = hearNegotiation(ours, negotiation, both);
            ours = step.states;
            toThem.push(...step.send);
          }
        }
        for (const option of [binary, suppressGoAhead]) {
          assert.equal(isOn(ours, 'us', option), isOn(theirs, 'them', option));
          assert.equal(isOn(ours, 'them', option), isOn(theirs, 'us', option));
        }
      }),
    );
  });

  const OPPOSITE = { will: 'wont', wont: 'will', do: 'dont', dont: 'do' } as const;
  const ANSWER = { will: 'do', wont: 'dont', do: 'will', dont: 'wont' } as const;
  const peers: Record<string, (heard: Negotiation) => Negotiation[]> = {
    'echoes everything': (heard) => [heard],
    'says everything twice': (heard) => [heard, heard],
    'answers with the opposite': ({ verb, option }) => [{ verb: OPPOSITE[ANSWER[verb]], option }],
    'agrees to everything': ({ verb, option }) => [{ verb: ANSWER[verb], option }],
    'says the opposite back': ({ verb, option }) => [{ verb: OPPOSITE[verb], option }],
  };
  for (const [what, peer] of Object.entries(peers)) {
    it(`gives a peer that ${what} no more than 100 replies`, () => {
      fc.assert(
        fc.property(fc.array(said, { maxLength: 120 }), (first) => {
          assert.ok(repliesTo(first as Negotiation[], peer) <= 100);
        }),
      );
    });
  }

  function repliesTo(first: Negotiation[], peer: (heard: Negotiation) => Negotiation[]): number {
    let states: OptionStates = NO_OPTIONS;
    let chatter: Chatter | null = [];
    let replies = 0;
    const toUs = [...first];
    for (const option of [echo, suppressGoAhead]) {
      const step = askOption(states, 'us', option, true);
      states = step.states;
      toUs.push(...step.send.flatMap(peer));
    }
    for (let heard = toUs.shift(); heard; heard = toUs.shift()) {
      chatter = hearChatter(chatter, 0);
      if (chatter === null) return replies;
      const step = hearNegotiation(states, heard, SUPPORTED);
      states = step.states;
      replies += step.send.length;
      toUs.push(...step.send.flatMap(peer));
    }
    return replies;
  }

  it('is let to chatter 100 times in any 10 s, and no more', () => {
    let chatter: Chatter | null = [];
    for (let i = 0; i < CHATTER_MAX; i++) chatter = hearChatter(chatter!, i);
    assert.equal(hearChatter(chatter!, CHATTER_WINDOW_MS - 1), null);
    chatter = hearChatter(chatter!, CHATTER_WINDOW_MS);
    assert.notEqual(chatter, null, 'the first one is forgotten by now');
    assert.equal(hearChatter(chatter!, CHATTER_WINDOW_MS), null);
    assert.equal(chatter!.length, CHATTER_MAX);
  });

  function hear(states: OptionStates, verb: Negotiation['verb'], option: number): OptionStep {
    return hearNegotiation(states, { verb, option }, SUPPORTED);
  }
});

describe("a terminal's sub-options", () => {
  it('tell its size, in two bytes each', () => {
    assert.deepEqual(parseWindowSize(Uint8Array.of(1, 4, 0, 50)), { columns: 260, rows: 50 });
    assert.equal(parseWindowSize(Uint8Array.of(0, 80, 0)), null);
  });

  it('tell its type, if that is a name', () => {
    const is = (name: string) => parseTerminalType(Buffer.from(`\0${name}`));
    assert.equal(is('XTERM-256COLOR'), 'xterm-256color');
    for (const bad of ['', 'x\x1b[c', 'é', 'x'.repeat(41)]) assert.equal(is(bad), null);
    assert.equal(parseTerminalType(Buffer.from('\x01xterm')), null);
    assert.equal(parseTerminalType(new Uint8Array(0)), null);
  });
});
