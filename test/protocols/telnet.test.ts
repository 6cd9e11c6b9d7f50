import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeTelnet,
  encodeCommand,
  encodeNegotiation,
  encodeSubnegotiation,
  encodeTelnet,
  fromNvt,
  SUBNEGOTIATION_BYTES_MAX,
  TELNET_START,
  toNvt,
  type TelnetEvent,
  type TelnetState,
} from '../../src/protocols/telnet.ts';

/** Bytes that meet IAC often; uniform bytes would meet it once in 256. */
const wire = fc
  .array(fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(255, 250, 240, 251, 13, 10, 0)))
  .map((numbers) => Uint8Array.from(numbers));
/** The same with a subnegotiation of any length inside. */
const longWire = fc
  .tuple(wire, fc.integer({ min: 500, max: 530 }), wire)
  .map(([before, length, after]) =>
    Buffer.concat([before, Buffer.from([255, 250, 44]), Buffer.alloc(length, 7), after]),
  );
const cuts = fc.array(fc.nat(600));

describe('the telnet decoder', () => {
  it('gives the same events however the network cuts the bytes', () => {
    fc.assert(
      fc.property(fc.oneof(wire, longWire), cuts, (bytes, at) => {
        assert.deepEqual(decoded(pieces(bytes, at)), decoded([bytes]));
      }),
    );
  });

  it('is the inverse of the encoder, for every byte in any chunking', () => {
    fc.assert(
      fc.property(wire, cuts, cuts, (bytes, before, after) => {
        const encoded = Buffer.concat(pieces(bytes, before).map(encodeTelnet));
        const events = decoded(pieces(encoded, after));
        const expected = bytes.length > 0 ? [{ kind: 'data', bytes: hex(bytes) }] : [];
        assert.deepEqual(events, expected);
      }),
    );
  });

  it('reads every command, negotiation and sub-option back as it was made', () => {
    const all = ['eof', 'suspend', 'abort', 'eor', 'nop', 'dm', 'break'] as const;
    const more = ['ip', 'ao', 'ayt', 'ec', 'el', 'ga'] as const;
    for (const command of [...all, ...more]) {
      assert.deepEqual(decoded([encodeCommand(command)]), [{ kind: 'command', command }]);
    }
    for (const verb of ['will', 'wont', 'do', 'dont'] as const) {
      const events = decoded([encodeNegotiation(verb, 255)]);
      assert.deepEqual(events, [{ kind: 'negotiate', verb, option: 255 }]);
    }
    fc.assert(
      fc.property(fc.nat(255), wire, (option, bytes) => {
        const events = decoded([encodeSubnegotiation(option, bytes)]);
        assert.deepEqual(events, [{ kind: 'subnegotiation', option, bytes: hex(bytes) }]);
      }),
    );
  });

  it('has the numbers of RFC 854', () => {
    assert.equal(hex(encodeCommand('break')), 'fff3');
    assert.equal(hex(encodeNegotiation('will', 1)), 'fffb01');
    assert.equal(hex(encodeNegotiation('wont', 1)), 'fffc01');
    assert.equal(hex(encodeNegotiation('do', 1)), 'fffd01');
    assert.equal(hex(encodeNegotiation('dont', 1)), 'fffe01');
    assert.equal(hex(encodeSubnegotiation(44, Uint8Array.of(5, 255))), 'fffa2c05fffffff0');
  });

  it('keeps 512 bytes of a sub-option, and drops a longer one as a single event', () => {
    const longest = encodeSubnegotiation(44, Buffer.alloc(SUBNEGOTIATION_BYTES_MAX, 255));
    assert.equal(decoded([longest])[0]!.kind, 'subnegotiation');
    const tooLong = encodeSubnegotiation(44, Buffer.alloc(100_000, 255));
    const events = decoded([tooLong, Buffer.from('on')]);
    assert.deepEqual(events, [
      { kind: 'oversized', option: 44 },
      { kind: 'data', bytes: hex(Buffer.from('on')) },
    ]);
  });

  it('keeps nothing of an endless sub-option', () => {
    let state: TelnetState = decodeTelnet(TELNET_START, Uint8Array.of(255, 250, 44)).state;
    for (let i = 0; i < 100; i++) state = decodeTelnet(state, Buffer.alloc(65_536)).state;
    assert.deepEqual(state, { at: 'sub-data', option: 44, bytes: null });
  });

  it('counts a command inside a sub-option that has no end, and drops the sub-option', () => {
    assert.deepEqual(decoded([Uint8Array.of(255, 250, 44, 1, 255, 251, 3, 65)]), [
      { kind: 'malformed' },
      { kind: 'negotiate', verb: 'will', option: 3 },
      { kind: 'data', bytes: '41' },
    ]);
  });

  it('keeps the byte after an IAC whose command was lost as urgent data', () => {
    assert.deepEqual(decoded([Uint8Array.of(65, 255, 244, 255, 66, 255, 240)]), [
      { kind: 'data', bytes: '41' },
      { kind: 'command', command: 'ip' },
      { kind: 'malformed' },
      { kind: 'data', bytes: '42' },
      { kind: 'malformed' },
    ]);
  });

  it('hands on text without a copy', () => {
    const text = Buffer.from('show version');
    assert.equal(encodeTelnet(text), text);
    const [event] = decodeTelnet(TELNET_START, text).events;
    assert.ok(event?.kind === 'data' && event.bytes.buffer === text.buffer);
  });
});

describe('the network virtual terminal', () => {
  it('makes CR NUL and CR LF of its Enter into CR, and leaves everything else', () => {
    assert.deepEqual(nvtInput(['ls\r\0', 'ls\r\n', '\n\0', '\r', '\0\0', '\rx\r\r\n']), [
      'ls\r',
      'ls\r',
      '\n\0',
      '\r',
      '\0',
      '\rx\r\r',
    ]);
  });

  it('is given CR NUL for each CR without LF, in any chunking, and gives the device its bytes back', () => {
    fc.assert(
      fc.property(wire, cuts, cuts, (bytes, before, after) => {
        let out = { afterCr: false, bytes: new Uint8Array(0) as Uint8Array };
        const encoded = pieces(bytes, before).map(
          (piece) => (out = toNvt(out.afterCr, piece)).bytes,
        );
        const whole = toNvt(false, bytes);
        assert.equal(hex(Buffer.concat(encoded)), hex(whole.bytes));
        // CR LF and CR NUL both stand for what a terminal does with them: compare as one reads it.
        const read = hex(fromNvtLikeTerminal(pieces(whole.bytes, after)));
        assert.equal(read, hex(bytes));
      }),
    );
    assert.deepEqual(toNvt(false, Buffer.from('a\r\nb\rc\r')), {
      afterCr: true,
      bytes: Buffer.from('a\r\nb\r\0c\r'),
    });
  });

  it('takes input in any chunking to the same bytes', () => {
    fc.assert(
      fc.property(wire, cuts, (bytes, at) => {
        let state = { afterCr: false, bytes: new Uint8Array(0) as Uint8Array };
        const read = pieces(bytes, at).map(
          (piece) => (state = fromNvt(state.afterCr, piece)).bytes,
        );
        assert.equal(hex(Buffer.concat(read)), hex(fromNvt(false, bytes).bytes));
      }),
    );
  });
});

function nvtInput(chunks: readonly string[]): string[] {
  let state = { afterCr: false, bytes: new Uint8Array(0) as Uint8Array };
  return chunks.map((chunk) => {
    state = fromNvt(state.afterCr, Buffer.from(chunk));
    return Buffer.from(state.bytes).toString();
  });
}

/** RFC 854's reading: CR NUL is CR, CR LF is both, and that is all. */
function fromNvtLikeTerminal(chunks: readonly Uint8Array[]): Uint8Array {
  const kept: number[] = [];
  let wasCr = false;
  for (const byte of Buffer.concat(chunks)) {
    if (!wasCr || byte !== 0) kept.push(byte);
    wasCr = byte === 13;
  }
  return Uint8Array.from(kept);
}

function pieces(bytes: Uint8Array, cutsAt: readonly number[]): Uint8Array[] {
  const inside = [...new Set(cutsAt.filter((cut) => cut < bytes.length))].sort((a, b) => a - b);
  return [0, ...inside].map((from, i) => bytes.subarray(from, inside[i] ?? bytes.length));
}

/** Events with neighbouring data joined and bytes as hex. */
function decoded(chunks: readonly Uint8Array[]): { kind: string; bytes?: string }[] {
  let state: TelnetState = TELNET_START;
  const all: { kind: string; bytes?: string }[] = [];
  for (const chunk of chunks) {
    const step = decodeTelnet(state, chunk);
    state = step.state;
    for (const event of step.events) {
      const last = all.at(-1);
      if (event.kind === 'data' && last?.kind === 'data') last.bytes += hex(event.bytes);
      else all.push(shown(event));
    }
  }
  return all;
}

function shown(event: TelnetEvent): { kind: string; bytes?: string } {
  return 'bytes' in event ? { ...event, bytes: hex(event.bytes) } : event;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
