import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import {
  formatPublicKey,
  parseAuthorizedKey,
  parseAuthorizedKeys,
} from '../../src/auth/ssh-keys.ts';
import {
  ECDSA_KEY,
  ED25519_KEY,
  ED25519_FINGERPRINT,
  RSA_1024_KEY,
  RSA_KEY,
} from './public-keys.ts';

function wordsOf(line: string): string {
  try {
    parseAuthorizedKey(line);
  } catch (error) {
    assert.ok(error instanceof Fault);
    assert.equal(error.code, 'USAGE');
    return error.message;
  }
  throw new Error(`taken: ${line}`);
}

describe('parseAuthorizedKey', () => {
  it('reads each kind of key with its comment and fingerprint', () => {
    const key = parseAuthorizedKey(`  ${ED25519_KEY} alice on her laptop\n`);
    assert.equal(key.type, 'ssh-ed25519');
    assert.equal(key.comment, 'alice on her laptop');
    assert.equal(key.fingerprint, ED25519_FINGERPRINT);
    assert.equal(formatPublicKey(key), `${ED25519_KEY} alice on her laptop`);
    assert.equal(parseAuthorizedKey(RSA_KEY).rsaBits, 2048);
    assert.equal(parseAuthorizedKey(ECDSA_KEY).type, 'ecdsa-sha2-nistp256');
  });

  it('refuses what it does not take, with a word', () => {
    const [type, base64] = ED25519_KEY.split(' ') as [string, string];
    const refused: [string, RegExp][] = [
      ['', /the key is empty/],
      [type, /the key after "ssh-ed25519" is missing/],
      [`${type} ${base64.slice(0, 40)}`, /cut or damaged/],
      [`${type} not*base64`, /not base64/],
      [`ssh-rsa ${base64}`, /cut or damaged/],
      [RSA_1024_KEY, /has only 1024 bits/],
      [`from="10.0.0.1" ${ED25519_KEY}`, /options in front of a key \(from\)/],
      [`command="rm -rf /" ${ED25519_KEY}`, /options in front of a key \(command\)/],
      [`no-pty,restrict ${ED25519_KEY}`, /options in front of a key \(no-pty\)/],
      ['ssh-dss AAAA', /too weak/],
      ['sk-ssh-ed25519@openssh.com AAAA', /security token/],
      ['ssh-ed25519-cert-v01@openssh.com AAAA', /certificates/],
      ['-----BEGIN OPENSSH PRIVATE KEY-----', /this is a private key/],
      ['hello world', /"hello" is not a kind of key/],
    ];
    for (const [line, words] of refused) assert.match(wordsOf(line), words);
  });

  it('reads a file line by line and numbers what is wrong', () => {
    const lines = parseAuthorizedKeys(`# keys\n\n${ED25519_KEY} a\r\nrubbish\n${RSA_KEY}\n`);
    assert.deepEqual(
      lines.map((line) => ('key' in line ? [line.line, line.key.type] : [line.line, line.wrong])),
      [
        [3, 'ssh-ed25519'],
        [4, '"rubbish" is not a kind of key'],
        [5, 'ssh-rsa'],
      ],
    );
  });

  it('refuses any cut or altered text with a Fault, never anything else', () => {
    const keys = fc.constantFrom(ED25519_KEY, RSA_KEY, ECDSA_KEY);
    const spoiled = fc.tuple(keys, fc.nat(400), fc.string()).map(([key, at, extra]) => {
      return key.slice(0, at) + extra + key.slice(at + 1);
    });
    fc.assert(
      fc.property(fc.oneof(fc.string(), spoiled), (line) => {
        for (const result of parseAuthorizedKeys(line)) assert.ok('key' in result || result.wrong);
      }),
    );
  });
});
