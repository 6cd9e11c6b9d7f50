import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  CONTROL_PAYLOAD_BYTES_MAX,
  CONTROL_START,
  decodeControl,
  encodeControl,
  type ControlEvent,
  type ControlFrame,
  type ControlState,
} from '../../src/protocols/control.ts';

const u16 = fc.integer({ min: 0, max: 65_535 });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Uint8Array.from(array));
const credit = fc.integer({ min: 0, max: 0xffff_ffff });

const frame: fc.Arbitrary<ControlFrame> = fc.oneof(
  fc
    .record(
      {
        version: u16,
        argv: fc.array(fc.string({ unit: 'binary', maxLength: 20 }), { maxLength: 5 }),
        columns: u16,
        rows: u16,
        isTerminal: fc.boolean(),
        timeZone: fc.string(),
        progress: fc.record({ inputBytes: fc.option(fc.maxSafeNat()) }, { noNullPrototype: true }),
      },
      {
        requiredKeys: ['version', 'argv', 'columns', 'rows', 'isTerminal', 'timeZone'],
        noNullPrototype: true,
      },
    )
    .map((hello): ControlFrame => ({ kind: 'hello', hello })),
  fc
    .record({
      kind: fc.constantFrom('stdin', 'stdout', 'stderr', 'pipe-input', 'pipe-output'),
      bytes,
    })
    .map((value) => ({ ...value }) as ControlFrame),
  fc
    .constantFrom(
      'stdin-end' as const,
      'interrupt' as const,
      'suspend' as const,
      'resumed' as const,
      'pipe-end' as const,
      'pipe-stop' as const,
    )
    .map((kind): ControlFrame => ({ kind })),
  fc.record({ columns: u16, rows: u16 }).map((size): ControlFrame => ({ kind: 'resize', ...size })),
  fc
    .record({
      kind: fc.constantFrom('input-credit', 'output-credit', 'pipe-credit'),
      bytes: credit,
    })
    .map((value) => ({ ...value }) as ControlFrame),
  fc.boolean().map((on): ControlFrame => ({ kind: 'raw-mode', on })),
  fc
    .record({
      kind: fc.constantFrom('exit', 'pipe-exit'),
      code: fc.integer({ min: 0, max: 255 }),
    })
    .map((value) => ({ ...value }) as ControlFrame),
  fc
    .string({ unit: 'grapheme', maxLength: 50 })
    .map((command): ControlFrame => ({ kind: 'pipe-open', command })),
);

/** Bytes that are often a frame's head, so that decoding gets past the first byte. */
const wire = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 8 }),
      frame.map((value) => encodeControl(value)),
    ),
    { maxLength: 6 },
  )
  .map((parts) => Uint8Array.from(Buffer.concat(parts)));

function decodeInPieces(input: Uint8Array, cuts: readonly number[]): ControlEvent[] {
  const ends = [...cuts.filter((cut) => cut <= input.length), input.length].sort((a, b) => a - b);
  let state: ControlState = CONTROL_START;
  const events: ControlEvent[] = [];
  let at = 0;
  for (const end of ends) {
    const decoded = decodeControl(state, input.subarray(at, end));
    state = decoded.state;
    events.push(...structuredClone(decoded.events));
    assert.ok((state.pending?.length ?? 0) <= CONTROL_PAYLOAD_BYTES_MAX + 5, 'bounded');
    at = end;
  }
  return events;
}

describe('control framing', () => {
  it('gives back every frame, however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 8 }), fc.array(fc.nat(2_000)), (frames, cuts) => {
        const input = Uint8Array.from(Buffer.concat(frames.map((each) => encodeControl(each))));
        assert.deepEqual(
          decodeInPieces(input, cuts),
          frames.map((each) => ({ kind: 'frame', frame: each })),
        );
      }),
    );
  });

  it('decodes any bytes to the same events, however they are cut', () => {
    fc.assert(
      fc.property(wire, fc.array(fc.nat(600)), (input, cuts) => {
        assert.deepEqual(decodeInPieces(input, cuts), decodeInPieces(input, []));
      }),
    );
  });

  it('says malformed once, at the head of a frame that is too long, and decodes nothing after', () => {
    const tooLong = Uint8Array.of(2, 0, 1, 0, 1);
    const decoded = decodeControl(CONTROL_START, tooLong);
    assert.deepEqual(
      decoded.events.map(({ kind }) => kind),
      ['malformed'],
    );
    assert.deepEqual(decodeControl(decoded.state, encodeControl({ kind: 'interrupt' })).events, []);
  });

  it('takes a payload of 64 KiB and refuses to make a longer one', () => {
    const most = new Uint8Array(CONTROL_PAYLOAD_BYTES_MAX).fill(7);
    const { events } = decodeControl(CONTROL_START, encodeControl({ kind: 'stdout', bytes: most }));
    assert.deepEqual(events, [{ kind: 'frame', frame: { kind: 'stdout', bytes: most } }]);
    const bytes = new Uint8Array(CONTROL_PAYLOAD_BYTES_MAX + 1);
    assert.throws(() => encodeControl({ kind: 'stdout', bytes }), RangeError);
  });

  const hello = '"version":1,"argv":[],"columns":1,"rows":1,"isTerminal":false,"timeZone":"UTC"';
  for (const text of [
    '',
    '{',
    'null',
    '[]',
    '{"version":1}',
    '{"version":-1,"argv":[]}',
    `{${hello},"progress":5}`,
    `{${hello},"progress":{"inputBytes":-1}}`,
  ]) {
    it(`refuses the hello ${text || '(empty)'}`, () => {
      const payload = Buffer.from(text);
      const input = Uint8Array.from([1, 0, 0, 0, payload.length, ...payload]);
      assert.deepEqual(
        decodeControl(CONTROL_START, input).events.map(({ kind }) => kind),
        ['malformed'],
      );
    });
  }
});
