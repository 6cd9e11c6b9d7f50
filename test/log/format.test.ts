import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { LogRecord } from '../../src/core/record.ts';
import { LogFormatter, escapeBytes } from '../../src/log/format.ts';
import type { LogFormat } from '../../src/log/format.ts';
import { FakeLog } from './fake-log.ts';

/** 2026-11-20 02:12:00.123456 UTC */
const AT_US = 1_795_140_720_123_456;

function format(
  records: readonly LogRecord[],
  as: LogFormat,
  tx = false,
  timeZone = 'UTC',
): string {
  const formatter = new LogFormatter(as, { timeZone, tx });
  const parts = records.map((record) => Buffer.from(formatter.push([record])));
  return Buffer.concat([...parts, formatter.end()]).toString('latin1');
}

function events(): FakeLog {
  return new FakeLog()
    .add(AT_US, { kind: 'up', detail: '/dev/ttyUSB0' })
    .add(AT_US, {
      kind: 'attached',
      session: 7,
      user: 'bob',
      remote: '192.0.2.7:1',
      frontend: 'ssh',
      mode: 'write',
    })
    .rx(AT_US, 'login: ')
    .add(AT_US, { kind: 'tx', session: 7, count: 5, bytes: new Uint8Array() })
    .add(AT_US, { kind: 'tx-text', session: 7, bytes: Buffer.from('root\r') })
    .rx(AT_US + 1_000_000, 'root\r\n')
    .add(AT_US + 1_000_000, {
      kind: 'gap',
      from: 13,
      to: 133,
      count: 120,
      reason: 'spool full',
      seqs: 2,
    })
    .rx(AT_US + 2_000_000, '# ');
}

describe('the log as text', () => {
  it('is what the machine said, with gaps and other events as lines of their own', () => {
    assert.equal(
      format(events().records, 'text'),
      [
        '[fairlead 2026-11-20 02:12:00.123Z up: /dev/ttyUSB0]',
        'login: root',
        '[fairlead 2026-11-20 02:12:01.123Z gap: 120 bytes missing (spool full)]',
        '# ',
        '',
      ].join('\n'),
    );
  });

  it('ends lines once and drops what is no text', () => {
    const log = new FakeLog()
      .rx(AT_US, '\x1b[31mdom0\x1b[0m\r')
      .rx(AT_US, '\r\nxen\r\n\x1b[6n\x1b]0;t')
      .rx(AT_US, 'itle\x07done');
    assert.equal(format(log.records, 'text'), 'dom0\nxen\ndone\n');
  });

  it('does not read what follows a gap as the rest of a sequence', () => {
    const gap = { kind: 'gap', from: 1, to: 2, count: 1, reason: 'x', seqs: 1 } as const;
    const log = new FakeLog().rx(AT_US, '\x1b]0;').add(AT_US, gap).rx(AT_US, 'panic');
    assert.match(format(log.records, 'text'), /\npanic\n$/);
  });

  it('reads a sequence on that something typed has interrupted', () => {
    const log = new FakeLog()
      .rx(AT_US, 'a\x1b[3')
      .add(AT_US, { kind: 'tx', session: 1, count: 1, bytes: new Uint8Array() })
      .rx(AT_US, '1mb');
    assert.match(format(log.records, 'text', true), /\nb\n$/);
  });

  it('says where a new epoch begins', () => {
    const log = new FakeLog().rx(AT_US, 'a').newEpoch(1763).rx(AT_US, 'b');
    assert.match(format(log.records, 'text'), /^a\n\[fairlead .* epoch 1763 begins.*\]\nb\n$/);
  });

  it('says what was wrong on the wire', () => {
    const log = new FakeLog()
      .add(AT_US, { kind: 'line-error', error: 'parity', count: 1 })
      .add(AT_US, { kind: 'line-error', error: 'framing', count: 30, from: 0 })
      .add(AT_US, { kind: 'line-error', error: 'overrun', count: 1 })
      .add(AT_US, { kind: 'line-error', error: 'break', count: 984, from: 0 })
      .add(AT_US, { kind: 'garbled', from: 5, to: 305, looksLike: '9600 8N1', confidence: 0.874 })
      .add(AT_US, { kind: 'garbled', from: 305, to: 306, looksLike: null, confidence: 1 });
    const said = (text: string): string => `[fairlead 2026-11-20 02:12:00.123Z ${text}]`;
    const lines = [
      said('line error: parity, once'),
      said('line error: framing, 30 times'),
      said('line error: overrun, 1 byte lost at least'),
      said('BREAK received, 984 more'),
      said('garbled: 300 bytes from @5, looks like 9600 8N1 (87 %)'),
      said('garbled: 1 byte from @305, by no known settings (100 %)'),
    ];
    for (const as of ['text', 'time', 'hex'] as const) {
      assert.equal(format(log.records, as), `${lines.join('\n')}\n`);
    }
    assert.equal(format(log.records, 'raw'), '');
    const last = format(log.records, 'jsonl').trimEnd().split('\n').at(-2)!;
    const { kind, from, to, looksLike, confidence } = JSON.parse(last) as Record<string, unknown>;
    assert.deepEqual(
      [kind, from, to, looksLike, confidence],
      ['garbled', 5, 305, '9600 8N1', 0.874],
    );
  });

  it('keeps an event on one line whatever it says', () => {
    const log = new FakeLog().add(AT_US, { kind: 'down', why: 'no\nsuch\x1b[6n\x07 device' });
    assert.match(format(log.records, 'text'), /^\[fairlead .* down: no such device\]\n$/);
  });
});

describe('the log with times', () => {
  it('puts the time of its first byte in front of each line', () => {
    const log = new FakeLog()
      .rx(AT_US, 'fir')
      .rx(AT_US + 1_000_000, 'st\r\r\nsecond\r\n\r\n')
      .rx(AT_US + 2_000_000, 'third');
    assert.equal(
      format(log.records, 'time', false, 'Europe/Berlin'),
      [
        '2026-11-20 03:12:00.123+01:00 first',
        '2026-11-20 03:12:01.123+01:00 second',
        '2026-11-20 03:12:01.123+01:00 ',
        '2026-11-20 03:12:02.123+01:00 third',
        '',
      ].join('\n'),
    );
  });

  it('keeps a line that is redrawn one line', () => {
    const log = new FakeLog().rx(AT_US, '10%\r').rx(AT_US, '20%\r').rx(AT_US, '30%\r\n');
    assert.equal(format(log.records, 'time'), '2026-11-20 02:12:00.123Z 10%^M20%^M30%\n');
  });

  it('shows who typed only when asked', () => {
    const plain = format(events().records, 'time');
    assert.doesNotMatch(plain, /tx/);
    assert.match(plain, /attached: session 7 bob from 192\.0\.2\.7:1 by ssh, write\]/);
    const typed = format(events().records, 'time', true);
    assert.match(typed, /tx session 7 bob: 5 bytes\]/);
    assert.match(typed, /tx session 7 bob echoed: root\\r\]/);
  });
});

describe('the log for programs', () => {
  it('is raw exactly what was received', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), (reads) => {
        const log = new FakeLog();
        for (const bytes of reads) {
          log.rx(AT_US, bytes).add(AT_US, { kind: 'mark', text: 'not raw' });
        }
        assert.equal(format(log.records, 'raw', true), Buffer.concat(reads).toString('latin1'));
      }),
    );
  });

  it('is one object a record as jsonl', () => {
    const objects = format(events().records, 'jsonl', true)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(objects.length, events().records.length);
    assert.deepEqual(objects[2], {
      kind: 'rx',
      seq: 2,
      epoch: 1,
      offset: 0,
      atUs: AT_US,
      bytes: Buffer.from('login: ').toString('base64'),
    });
    assert.deepEqual(objects[3], {
      kind: 'tx',
      seq: 3,
      epoch: 1,
      offset: 7,
      atUs: AT_US,
      session: 7,
      count: 5,
      bytes: '',
    });
    const quiet = format(events().records, 'jsonl').trimEnd().split('\n');
    assert.equal(quiet.length, events().records.length - 2);
  });

  it('is rows of offset, time and 16 bytes as hex', () => {
    const log = new FakeLog().rx(AT_US, 'Hello, world! \x00\xff').rx(AT_US, 'abc');
    assert.equal(
      format(log.records, 'hex'),
      [
        '         0 2026-11-20 02:12:00.123456Z  4865 6c6c 6f2c 2077 6f72 6c64 2120 00c3  Hello, world! ..',
        '        16 2026-11-20 02:12:00.123456Z  bf                                       .',
        '        17 2026-11-20 02:12:00.123456Z  6162 63                                  abc',
        '',
      ].join('\n'),
    );
  });

  it('writes bytes so that they can be read and typed', () => {
    assert.equal(
      escapeBytes(Buffer.from('a\r\n\t\x1b\\\x01é')),
      'a\\r\\n\\t\\e\\\\\\x01\\xc3\\xa9',
    );
  });
});
