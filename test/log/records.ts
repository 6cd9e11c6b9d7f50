import fc from 'fast-check';
import type { LogRecord, RecordBody } from '../../src/core/record.ts';

const count = fc.nat(1_000_000);
const session = fc.oneof(fc.nat(300), fc.constant(2 ** 40));
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  fc.nat(5000).map((length) => new Uint8Array(length).fill(length % 256)),
);
const text = fc.string({ unit: 'binary', maxLength: 30 });

/** Any record body that Fairlead writes. */
export const bodies: fc.Arbitrary<RecordBody> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('rx' as const), bytes }) },
  fc.record({ kind: fc.constant('tx' as const), session, count, bytes }),
  fc.record({ kind: fc.constant('tx-text' as const), session, bytes }),
  fc.record({
    kind: fc.constant('break' as const),
    session: fc.option(session),
    durationMs: fc.option(count),
  }),
  fc.record({
    kind: fc.constant('line-error' as const),
    error: fc.constantFrom(
      'parity' as const,
      'framing' as const,
      'overrun' as const,
      'break' as const,
    ),
    count,
  }),
  fc.record({
    kind: fc.constant('signals' as const),
    signals: fc.record(
      { dtr: fc.boolean(), cts: fc.boolean() },
      { requiredKeys: [], noNullPrototype: true },
    ),
    session: fc.option(session),
  }),
  fc.record({
    kind: fc.constant('gap' as const),
    from: fc.constant(0),
    to: count,
    count: fc.option(count),
    reason: text,
    seqs: fc.integer({ min: 1, max: 1000 }),
  }),
  fc.record({ kind: fc.constant('mark' as const), text }),
  fc.record({
    kind: fc.constant('clock-step' as const),
    stepUs: fc.integer({ min: -1e15, max: 1e15 }).map((step) => step + 0),
  }),
  fc.record({ kind: fc.constant('up' as const), detail: text }),
  fc.record({ kind: fc.constant('down' as const), why: text }),
  fc.record({
    kind: fc.constant('attached' as const),
    session,
    user: text,
    remote: text,
    frontend: text,
    mode: fc.constantFrom('write' as const, 'view' as const),
  }),
  fc.record({ kind: fc.constant('detached' as const), session, why: text }),
  fc.record({ kind: fc.constant('took-over' as const), session, from: fc.option(session) }),
  fc.record({ kind: fc.constant('line' as const), line: text, session: fc.option(session) }),
  fc
    .tuple(count, count, fc.option(text), fc.integer({ min: 0, max: 100 }))
    .map(([from, length, looksLike, percent]) => ({
      kind: 'garbled' as const,
      from,
      to: from + length,
      looksLike,
      confidence: percent / 100,
    })),
);

/** A record with its bytes as hex: comparable whatever kind of array holds them. */
export function plain(record: LogRecord): object {
  const { kind, ...fields } = record as LogRecord & { bytes?: Uint8Array };
  if (!fields.bytes) return { kind, ...fields };
  return { kind, ...fields, bytes: Buffer.from(fields.bytes).toString('hex') };
}
