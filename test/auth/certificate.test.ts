import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  certifiedAlgorithm,
  checkCertificate,
  describeCertificate,
  parseCertificate,
  type CertificateRules,
} from '../../src/auth/certificate.ts';
import { parseAuthorizedKey } from '../../src/auth/ssh-keys.ts';
import { wireString } from '../../src/auth/ssh-wire.ts';
import { Fault } from '../../src/core/fault.ts';
import { RSA_1024_KEY } from './public-keys.ts';
import { blobOf, CarelessAuthority, Keygen, sha256, type HandMade } from './support.ts';

const nothing = Buffer.alloc(0);

function rules(authority: Buffer, more: Partial<CertificateRules> = {}): CertificateRules {
  return {
    authorities: new Set([authority.toString('base64')]),
    principals: ['alice'],
    remoteAddress: '192.0.2.7',
    now: 1_800_000_000,
    ...more,
  };
}

/** null: it admits; else why not. */
function verdict(blob: Uint8Array, held: CertificateRules): string | null {
  try {
    checkCertificate(parseCertificate(blob), held);
    return null;
  } catch (error) {
    assert.ok(error instanceof Fault && error.code === 'LOGIN_FAILED', String(error));
    return error.message;
  }
}

describe("certificates of OpenSSH's ssh-keygen", () => {
  const keygen = new Keygen();
  after(() => keygen.dispose());
  const kinds: [string, number][] = [
    ['ed25519', 256],
    ['ecdsa', 256],
    ['ecdsa', 384],
    ['ecdsa', 521],
    ['rsa', 2048],
    ['rsa', 3072],
  ];

  before(() => {
    for (const [type, bits] of kinds) {
      keygen.key(`ca-${type}-${bits}`, type, bits);
      keygen.key(`user-${type}-${bits}`, type, bits);
    }
  });

  for (const [type, bits] of kinds) {
    it(`are taken for ${type} ${bits} keys, by an authority of the same kind`, () => {
      const [ca, name] = [`ca-${type}-${bits}`, `user-${type}-${bits}`];
      const blob = keygen.certify(name, ca, [
        '-n',
        'ops,alice',
        '-V',
        'always:forever',
        '-z',
        '42',
      ]);
      const certificate = parseCertificate(blob);
      const authority = blobOf(keygen.publicKey(ca));
      assert.deepEqual(certificate.key.blob, blobOf(keygen.publicKey(name)));
      assert.deepEqual(certificate.principals, ['ops', 'alice']);
      assert.ok(certificate.extensions.has('permit-pty'));
      assert.equal(verdict(blob, rules(authority)), null);
      assert.equal(
        describeCertificate(certificate),
        `"${name} id" (serial 42) by ${sha256(authority)}`,
      );
    });
  }

  it('are refused when signed with SHA-1, or by an authority nobody named', () => {
    const [ca, name] = ['ca-rsa-2048', 'user-ed25519-256'];
    const authority = blobOf(keygen.publicKey(ca));
    for (const [algorithm, why] of [
      ['rsa-sha2-256', null],
      ['rsa-sha2-512', null],
      ['ssh-rsa', /signature/],
    ] as const) {
      const blob = keygen.certify(name, ca, ['-n', 'alice', '-V', '-5m:forever', '-t', algorithm]);
      const said = verdict(blob, rules(authority, { now: Date.now() / 1_000 }));
      if (why === null) assert.equal(said, null);
      else assert.match(said ?? '', why);
    }
    const blob = keygen.certify(name, ca, ['-n', 'alice']);
    const other = blobOf(keygen.publicKey('ca-ed25519-256'));
    assert.match(verdict(blob, rules(other)) ?? '', /no authority of ours/);
  });

  it('are refused when they are for a host', () => {
    const [ca, name] = ['ca-ed25519-256', 'user-ed25519-256'];
    const blob = keygen.certify(name, ca, ['-h', '-n', 'alice', '-V', 'always:forever']);
    const authority = blobOf(keygen.publicKey(ca));
    assert.match(verdict(blob, rules(authority)) ?? '', /not one of a user/);
  });

  it('carry the options of -O', () => {
    const [ca, name] = ['ca-ed25519-256', 'user-ed25519-256'];
    const authority = blobOf(keygen.publicKey(ca));
    const held = (option: string, more: Partial<CertificateRules> = {}) => {
      const blob = keygen.certify(name, ca, [
        ...['-n', 'alice', '-V', 'always:forever'],
        ...['-O', option],
      ]);
      return verdict(blob, rules(authority, more));
    };
    const addresses = 'source-address=10.0.0.0/8,192.0.2.7/32,2001:db8::/32';
    assert.equal(held(addresses), null);
    assert.equal(held(addresses, { remoteAddress: '10.255.0.1' }), null);
    assert.equal(held(addresses, { remoteAddress: '2001:db8::9' }), null);
    assert.match(held(addresses, { remoteAddress: '192.0.2.8' }) ?? '', /from 192\.0\.2\.8/);
    assert.match(held('force-command=reboot') ?? '', /forces a command/);
    assert.match(held('critical:nobody@example.com=1') ?? '', /nobody@example\.com/);
  });
});

describe('a certificate by hand', () => {
  const authority = new CarelessAuthority();
  const held = (given: HandMade, more: Partial<CertificateRules> = {}) =>
    verdict(authority.certify(given), rules(authority.blob, more));

  it('is taken as it comes', () => assert.equal(held({}), null));

  it('is valid from its first second, and no more at its last', () => {
    const window = { validAfter: 1_800_000_000n, validBefore: 1_800_000_010n };
    assert.equal(held(window), null);
    assert.equal(held(window, { now: 1_800_000_009.9 }), null);
    assert.match(held(window, { now: 1_799_999_999.9 }) ?? '', /only from 2027-01-15T08:00:00/);
    assert.match(held(window, { now: 1_800_000_010 }) ?? '', /expired at 2027-01-15T08:00:10/);
    assert.match(held({ validAfter: 2n ** 63n }) ?? '', /only from second 9223372036854775808/);
  });

  it('needs a principal of the user, spelt so', () => {
    const users = { principals: ['bob', 'ops'] };
    assert.equal(held({ principals: ['x', 'ops'] }, users), null);
    assert.match(held({ principals: ['Ops', 'alice\n'] }, users) ?? '', /is for Ops, alice\?$/);
    assert.match(held({ principals: [] }, users) ?? '', /no principal/);
  });

  const options: [string, NonNullable<HandMade['criticalOptions']>, RegExp][] = [
    ['verify-required', [['verify-required', nothing]], /security token/],
    ['no address block', [['source-address', wireString('10.0.0.7/8')]], /cannot be read/],
    ['an empty list', [['source-address', wireString('')]], /cannot be read/],
    ['bytes after it', [['source-address', wireString('0.0.0.0/0\0')]], /cannot be read/],
    ['no string', [['source-address', Buffer.from('0.0.0.0/0')]], /cannot be read/],
    [
      'an option that stands twice',
      [
        ['source-address', wireString('192.0.2.7')],
        ['source-address', wireString('192.0.2.7')],
      ],
      /not in order/,
    ],
    [
      'options out of order',
      [
        ['verify-required', nothing],
        ['source-address', wireString('192.0.2.7')],
      ],
      /not in order/,
    ],
  ];
  for (const [what, criticalOptions, why] of options) {
    it(`is refused for ${what}`, () => assert.match(held({ criticalOptions }) ?? '', why));
  }

  it('may have extensions nobody knows', () => {
    assert.equal(held({ extensions: [['a@example.com', Buffer.from('anything')]] }), null);
  });

  const weak = parseRsa1024();
  const shapes: [string, HandMade, RegExp][] = [
    ['a type nobody knows', { type: 'ssh-dss-cert-v01@openssh.com' }, /type is not known/],
    ['a plain key', { type: 'ssh-ed25519' }, /type is not known/],
    [
      'a certificate in place of the authority',
      { authorityBlob: authority.certify() },
      /authority/,
    ],
    ['a short authority', { authorityBlob: weak }, /only 1024 bits/],
    ['bytes behind it', { rest: Buffer.from([0]) }, /follows/],
    ['too many principals', { principals: Array.from({ length: 257 }, String) }, /more than 256/],
  ];
  for (const [what, given, why] of shapes) {
    it(`is refused for ${what}`, () => assert.match(held(given) ?? '', why));
  }

  it('is refused when any bit of it is another', () => {
    const blob = authority.certify();
    fc.assert(
      fc.property(fc.nat(blob.length * 8 - 1), (bit) => {
        const changed = Buffer.from(blob);
        changed[bit >> 3]! ^= 1 << (bit & 7);
        assert.notEqual(verdict(changed, rules(authority.blob)), null);
      }),
      { numRuns: 500 },
    );
  });

  it('is refused wherever it is cut, and so is anything else', () => {
    const blob = authority.certify();
    for (let length = 0; length < blob.length; length++) {
      assert.notEqual(verdict(blob.subarray(0, length), rules(authority.blob)), null);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
        assert.notEqual(verdict(bytes, rules(authority.blob)), null);
      }),
    );
  });

  it('says what an authority wrote without its control characters', () => {
    const certificate = parseCertificate(authority.certify({ keyId: 'a\u001b]0;x\u0007\nb' }));
    assert.match(describeCertificate(certificate), /^"a\?\]0;x\?\?b" \(serial 7\) by SHA256:/);
  });
});

describe('certifiedAlgorithm', () => {
  it('is that of the signature, and never SHA-1', () => {
    assert.equal(certifiedAlgorithm('ssh-ed25519-cert-v01@openssh.com'), 'ssh-ed25519');
    assert.equal(certifiedAlgorithm('rsa-sha2-512-cert-v01@openssh.com'), 'rsa-sha2-512');
    for (const name of ['ssh-ed25519', 'ssh-rsa-cert-v01@openssh.com', '-cert-v01@openssh.com']) {
      assert.equal(certifiedAlgorithm(name), null);
    }
  });
});

/** Its wire form; a key of that length is not read in any other way. */
function parseRsa1024(): Buffer {
  assert.throws(() => parseAuthorizedKey(RSA_1024_KEY));
  return blobOf(RSA_1024_KEY);
}
