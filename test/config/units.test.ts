import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  hostsOverlap,
  isHost,
  isLoopback,
  parseAddress,
  parseDurationMs,
  parseSizeBytes,
} from '../../src/config/units.ts';

describe('units of the configuration', () => {
  it('reads durations in milliseconds', () => {
    const good: [string, number][] = [
      ['100ms', 100],
      ['1.5MS', 2],
      ['90s', 90_000],
      ['10m', 600_000],
      ['1h', 3_600_000],
      ['1.5h', 5_400_000],
      ['2 d', 172_800_000],
    ];
    for (const [text, ms] of good) assert.equal(parseDurationMs(text), ms, text);
    for (const text of ['', '10', 'h', '-1h', '1w', '1h30', '1e3s']) {
      assert.equal(parseDurationMs(text), null, text);
    }
  });

  it('reads sizes in bytes', () => {
    const good: [string, number][] = [
      ['512', 512],
      ['64K', 65_536],
      ['32M', 33_554_432],
      ['32 MiB', 33_554_432],
      ['1g', 1_073_741_824],
    ];
    for (const [text, bytes] of good) assert.equal(parseSizeBytes(text), bytes, text);
    for (const text of ['', 'M', '1.5M', '-1', '1T', '1 KM']) {
      assert.equal(parseSizeBytes(text), null, text);
    }
  });

  it('reads addresses', () => {
    assert.deepEqual(parseAddress('127.0.0.1:8022'), { host: '127.0.0.1', tcpPort: 8022 });
    assert.deepEqual(parseAddress('[::1]:8022'), { host: '::1', tcpPort: 8022 });
    assert.deepEqual(parseAddress('rack-3.example:0'), { host: 'rack-3.example', tcpPort: 0 });
    for (const text of [
      '8022',
      ':8022',
      '::1:8022',
      '[x]:1',
      '1.2.3:1',
      'h:65536',
      'a b:1',
      'h:',
    ]) {
      assert.equal(parseAddress(text), null, text);
    }
    assert.equal(isHost('300.1.1.1'), false);
  });

  it('knows which hosts no other machine can reach', () => {
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', '0:0:0:0:0:0:0:1', 'Localhost']) {
      assert.ok(isLoopback(host), host);
    }
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'rack3', '127.example', '::ffff:10.0.0.1']) {
      assert.ok(!isLoopback(host), host);
    }
  });

  it('knows which hosts meet on the same TCP port', () => {
    const meet: [string, string][] = [
      ['127.0.0.1', '127.0.0.1'],
      ['0.0.0.0', '127.0.0.1'],
      ['::', '10.0.0.1'],
      ['::', '::1'],
      ['0:0:0:0:0:0:0:1', '::1'],
      ['localhost', '127.0.0.1'],
      ['localhost', '::1'],
      ['0.0.0.0', 'rack3'],
      ['Rack3', 'rack3'],
    ];
    const apart: [string, string][] = [
      ['127.0.0.1', '10.0.0.1'],
      ['0.0.0.0', '::1'],
      ['localhost', '10.0.0.1'],
      ['rack3', '10.0.0.1'],
    ];
    for (const [a, b] of meet) {
      assert.ok(hostsOverlap(a, b) && hostsOverlap(b, a), `${a} ${b}`);
    }
    for (const [a, b] of apart) {
      assert.ok(!hostsOverlap(a, b) && !hostsOverlap(b, a), `${a} ${b}`);
    }
  });
});
