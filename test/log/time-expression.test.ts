import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { formatTime, parseTimeExpression } from '../../src/log/time-expression.ts';

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'America/St_Johns', // half an hour; changed at 00:01 for years
  'Asia/Kathmandu', // +05:45
  'Australia/Lord_Howe', // clocks change by half an hour
  'Pacific/Apia', // left out a day
  'Pacific/Chatham',
  'America/Sao_Paulo', // midnight was skipped
];

const NOW_US = Date.parse('2026-11-20T12:00:00Z') * 1000;

function us(text: string, timeZone = 'Europe/Berlin', nowUs = NOW_US): number {
  const place = parseTimeExpression(text, { nowUs, timeZone });
  assert.equal(place.at, 'time');
  return (place as { us: number }).us;
}

const utc = (iso: string): number => Date.parse(iso) * 1000;

/** 1995 to 2060, and often near a change of clocks of some zone. */
const instants = fc.oneof(
  fc.integer({ min: 788_918_400, max: 2_840_140_800 }),
  fc
    .tuple(
      fc.constantFrom(
        '2026-03-29T01:00:00Z',
        '2026-10-25T01:00:00Z',
        '2026-03-08T07:00:00Z',
        '2026-11-01T06:00:00Z',
        '2026-04-04T15:00:00Z',
        '2026-10-03T15:30:00Z',
        '2011-12-30T10:00:00Z',
        '2018-11-04T03:00:00Z',
        '2006-10-29T02:31:00Z',
      ),
      fc.integer({ min: -10_800, max: 10_800 }),
    )
    .map(([change, seconds]) => Date.parse(change) / 1000 + seconds),
);

describe('time expressions', () => {
  it('read back what was formatted, to the microsecond, in every zone', () => {
    fc.assert(
      fc.property(
        instants,
        fc.nat(999_999),
        fc.constantFrom(...ZONES),
        fc.constantFrom(...ZONES),
        (seconds, fraction, zone, readerZone) => {
          const at = seconds * 1_000_000 + fraction;
          assert.equal(us(formatTime(at, zone, { digits: 6 }), readerZone), at);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('read local time back as local clocks showed it, of two the first', () => {
    fc.assert(
      fc.property(instants, fc.constantFrom(...ZONES), (seconds, zone) => {
        const at = seconds * 1_000_000;
        const local = formatTime(at, zone, { digits: 0, offset: false });
        const read = us(local, zone);
        assert.equal(formatTime(read, zone, { digits: 0, offset: false }), local);
        assert.ok(read <= at);
      }),
      { numRuns: 1000 },
    );
  });

  it('read a time that clocks skipped as so much later', () => {
    assert.equal(us('2026-03-29 02:30'), utc('2026-03-29T01:30:00Z'));
    assert.equal(us('2026-10-25 02:30'), utc('2026-10-25T00:30:00Z'));
  });

  it('read how long ago', () => {
    assert.equal(us('10m'), NOW_US - 600_000_000);
    assert.equal(us('2h30m'), NOW_US - 9_000_000_000);
    assert.equal(us('1w2d3h4m5s6ms'), NOW_US - 788_645_006_000);
  });

  const walls: [text: string, iso: string][] = [
    ['2026-11-20', '2026-11-19T23:00:00Z'],
    ['2026-11-20 03:12', '2026-11-20T02:12:00Z'],
    ['2026-11-20 03:12:10', '2026-11-20T02:12:10Z'],
    ['2026-11-20 03:12:10.123', '2026-11-20T02:12:10.123Z'],
    ['2026-07-01 03:12', '2026-07-01T01:12:00Z'],
    ['2026-11-20T03:12:10Z', '2026-11-20T03:12:10Z'],
    ['2026-11-20t03:12z', '2026-11-20T03:12:00Z'],
    ['2026-11-20 03:12:10 +05:30', '2026-11-19T21:42:10Z'],
    ['2026-11-20T03:12:10-0800', '2026-11-20T11:12:10Z'],
    ['2026-11-20T03:12:10,5+01', '2026-11-20T02:12:10.5Z'],
    ['03:12', '2026-11-20T02:12:00Z'],
    ['12:59', '2026-11-20T11:59:00Z'],
    ['13:01', '2026-11-19T12:01:00Z'],
    ['13:00', '2026-11-20T12:00:00Z'],
    ['12:30Z', '2026-11-19T12:30:00Z'],
    ['yesterday', '2026-11-18T23:00:00Z'],
    ['yesterday 03:12', '2026-11-19T02:12:00Z'],
    ['today', '2026-11-19T23:00:00Z'],
    ['today 18:00', '2026-11-20T17:00:00Z'],
    ['now', '2026-11-20T12:00:00Z'],
  ];
  for (const [text, iso] of walls) {
    it(`read "${text}"`, () => assert.equal(us(text), utc(iso)));
  }

  it('read the last such time across a change of clocks', () => {
    const morning = utc('2026-03-29T00:30:00Z'); // 01:30 in Berlin, half an hour before the change
    assert.equal(us('01:45', 'Europe/Berlin', morning), utc('2026-03-28T00:45:00Z'));
    const after = utc('2026-03-29T10:00:00Z'); // 12:00, now summer time
    assert.equal(us('13:00', 'Europe/Berlin', after), utc('2026-03-28T12:00:00Z'));
  });

  it('read places that are no times', () => {
    const context = { nowUs: NOW_US, timeZone: 'UTC' };
    assert.deepEqual(parseTimeExpression('@12345', context), { at: 'offset', offset: 12345 });
    assert.deepEqual(parseTimeExpression('@1763/12', context), {
      at: 'offset',
      offset: 12,
      epoch: 1763,
    });
    assert.deepEqual(parseTimeExpression(' Boot ', context), { at: 'boot' });
  });

  it('take a zone nobody knows for UTC', () => {
    assert.equal(us('2026-11-20 03:12', 'Mars/Olympus'), utc('2026-11-20T03:12:00Z'));
    assert.equal(formatTime(0, 'Mars/Olympus'), '1970-01-01 00:00:00.000+00:00');
  });

  const refused = ['', 'soon', '10', '10x', '-10m', '25:00', '12:60', '2026-02-30', '2026-13-01'];
  for (const text of [...refused, '2026-11-20 3', '@', '@1/2/3', '@-1', 'now 10:00', '10m 5s']) {
    it(`refuse "${text}" and say what is expected`, () => {
      assert.throws(
        () => us(text),
        (error) =>
          error instanceof Fault && error.code === 'TIME_INVALID' && /@OFFSET/.test(error.message),
      );
    });
  }

  it('say that no incidents are kept yet', () => {
    assert.throws(() => us('incident:42'), { code: 'NOT_FOUND' });
  });
});

describe('times', () => {
  it('are shown with their offset, or without, or short', () => {
    const at = utc('2026-11-20T02:12:00.123Z') + 456;
    assert.equal(formatTime(at, 'Europe/Berlin'), '2026-11-20 03:12:00.123+01:00');
    assert.equal(formatTime(at, 'UTC', { digits: 6 }), '2026-11-20 02:12:00.123456Z');
    assert.equal(formatTime(at, 'America/St_Johns', { digits: 0 }), '2026-11-19 22:42:00-03:30');
    assert.equal(formatTime(at, 'UTC', { show: 'time', offset: false }), '02:12:00.123');
  });
});
