import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SftpDecoder, type SftpRequest } from '../../src/frontends/ssh/sftp-packets.ts';

const INIT = packet(1, uint32(3));

describe('sftp packets', () => {
  it('are read as what they ask for', () => {
    const sent = Buffer.concat([
      INIT,
      packet(16, uint32(1), string('.')),
      packet(3, uint32(2), string('/db1/live.log'), uint32(1), uint32(0)),
      packet(5, uint32(3), string('7'), uint64(2n ** 40n), uint32(32_768)),
      packet(5, uint32(4), string('7'), uint64(2n ** 64n - 1n), uint32(1)),
      packet(4, uint32(5), string('7')),
      packet(6, uint32(6), string('7'), uint64(0n), string('bytes')),
      packet(200, uint32(7), string('statvfs@openssh.com')),
      packet(99, uint32(8)),
    ]);
    assert.deepEqual(new SftpDecoder().push(sent), [
      { kind: 'init' },
      { kind: 'realpath', id: 1, path: '.' },
      { kind: 'open', id: 2, path: '/db1/live.log', flags: 1 },
      { kind: 'read', id: 3, handle: '7', offset: 2 ** 40, length: 32_768 },
      { kind: 'read', id: 4, handle: '7', offset: Number.MAX_SAFE_INTEGER, length: 1 },
      { kind: 'close', id: 5, handle: '7' },
      { kind: 'change', id: 6, what: 'writing' },
      { kind: 'unsupported', id: 7 },
      { kind: 'unsupported', id: 8 },
    ] satisfies SftpRequest[]);
  });

  it('are the same however the network cuts them', () => {
    const wire = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc
        .array(fc.tuple(fc.integer({ min: 1, max: 21 }), fc.uint8Array({ maxLength: 30 })))
        .map((packets) =>
          Buffer.concat([INIT, ...packets.map(([type, body]) => packet(type, body))]),
        ),
    );
    fc.assert(
      fc.property(wire, fc.array(fc.nat(300)), (bytes, cuts) => {
        assert.deepEqual(decodeInPieces(bytes, cuts), new SftpDecoder().push(bytes));
      }),
    );
  });

  it('with fields that do not add up are answered, and the next one is read', () => {
    const malformed = [
      packet(3, uint32(9), string('/db1/live.log')), // no flags
      packet(5, uint32(9), string('7'), uint32(0)),
      packet(17, uint32(9), uint32(0xffff_ffff), Buffer.from('short')),
      packet(4, uint32(9), string('h'.repeat(257))),
    ];
    for (const bytes of malformed) {
      const requests = new SftpDecoder().push(
        Buffer.concat([INIT, bytes, packet(17, uint32(10), string('/'))]),
      );
      assert.deepEqual(requests.slice(1), [
        { kind: 'malformed', id: 9 },
        { kind: 'stat', id: 10, path: '/' },
      ]);
    }
  });

  it('of a length nobody sends end it all', () => {
    for (const bytes of [uint32(0), uint32(262_145), uint32(0xffff_ffff), uint32(0x8000_0000)]) {
      const decoder = new SftpDecoder();
      const requests = decoder.push(Buffer.concat([INIT, bytes, INIT]));
      assert.deepEqual(
        requests.map(({ kind }) => kind),
        ['init', 'broken'],
      );
      assert.deepEqual(decoder.push(INIT), []);
    }
  });

  it('begin with one greeting', () => {
    const kinds = (bytes: Buffer) => new SftpDecoder().push(bytes).map(({ kind }) => kind);
    assert.deepEqual(kinds(packet(17, uint32(1), string('/'))), ['broken']);
    assert.deepEqual(kinds(Buffer.concat([INIT, INIT])), ['init', 'broken']);
    assert.deepEqual(kinds(Buffer.concat([INIT, packet(17, Buffer.from([1, 2]))])), [
      'init',
      'broken',
    ]);
  });

  it('do not keep a name that is too long', () => {
    const name = (length: number) =>
      new SftpDecoder().push(
        Buffer.concat([INIT, packet(17, uint32(1), string('x'.repeat(length)))]),
      )[1];
    assert.deepEqual(name(4_096), { kind: 'stat', id: 1, path: 'x'.repeat(4_096) });
    assert.deepEqual(name(4_097), { kind: 'stat', id: 1, path: null });
  });
});

function decodeInPieces(bytes: Uint8Array, cuts: readonly number[]): SftpRequest[] {
  const decoder = new SftpDecoder();
  const places = [0, ...cuts.filter((cut) => cut <= bytes.length).sort((a, b) => a - b)];
  return [...places, bytes.length].flatMap((end, i) =>
    decoder.push(bytes.subarray(i === 0 ? 0 : places[i - 1], end)),
  );
}

function packet(type: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([uint32(body.length + 1), Buffer.from([type]), body]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

function string(text: string): Buffer {
  return Buffer.concat([uint32(text.length), Buffer.from(text)]);
}
