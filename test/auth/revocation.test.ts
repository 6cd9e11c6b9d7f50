import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { parseCertificate, type Certificate } from '../../src/auth/certificate.ts';
import { RevocationFile } from '../../src/auth/revocation-file.ts';
import { parseRevocations } from '../../src/auth/revocation.ts';
import { wireString } from '../../src/auth/ssh-wire.ts';
import { CarelessAuthority, Keygen, Surroundings, sha256, uint32, uint64 } from './support.ts';

const authority = new CarelessAuthority();
const stranger = new CarelessAuthority();

function certificate(serial: bigint, keyId = 'by hand', by = authority): Certificate {
  return parseCertificate(by.certify({ serial, keyId }));
}

describe("ssh-keygen's revocation list", () => {
  const keygen = new Keygen();
  after(() => keygen.dispose());
  before(() => {
    for (const name of ['ca', 'other', 'user', 'friend']) keygen.key(name, 'ed25519');
  });
  const certified = (serial: number, name = 'user', ca = 'ca') =>
    parseCertificate(keygen.certify(name, ca, ['-n', 'alice', '-z', String(serial)]));

  it('voids by serial number: one, a range, and many', () => {
    const list = parseRevocations(
      keygen.revocationList(
        'ca',
        'serial: 7',
        'serial: 100-200',
        ...Array.from({ length: 400 }, (_, i) => `serial: ${1_000 + 3 * i}`),
        'serial: 18446744073709551615',
      ),
    );
    for (const serial of [7, 100, 150, 200, 1_000, 1_003, 2_197]) {
      assert.match(list.revokes(certified(serial)) ?? '', /revoked/, `serial ${serial}`);
    }
    for (const serial of [0, 6, 8, 99, 201, 999, 1_001, 2_198, 2_200]) {
      assert.equal(list.revokes(certified(serial)), null, `serial ${serial}`);
    }
    assert.equal(list.revokes(certified(7, 'user', 'other')), null, 'of another authority');
  });

  it('voids by key id, of one authority or of all', () => {
    const ofOne = parseRevocations(keygen.revocationList('ca', 'id: user id'));
    assert.match(ofOne.revokes(certified(1)) ?? '', /serial 1\) is revoked/);
    assert.equal(ofOne.revokes(certified(1, 'friend')), null);
    assert.equal(ofOne.revokes(certified(1, 'user', 'other')), null);
  });

  for (const [how, spec] of [
    ['key', (line: string) => line],
    ['SHA-1 of a key', (line: string) => `sha1: ${line}`],
    ['SHA-256 of a key', (line: string) => `sha256: ${line}`],
    [
      'fingerprint',
      (line: string) => `hash: ${sha256(Buffer.from(line.split(' ')[1]!, 'base64'))}`,
    ],
  ] as const) {
    it(`voids by ${how}`, () => {
      const list = parseRevocations(keygen.revocationList(null, spec(keygen.publicKey('user'))));
      assert.match(list.revokes(certified(1)) ?? '', /the key SHA256:.* is revoked/);
      assert.equal(list.revokes(certified(1, 'friend')), null);
    });
  }

  it('voids all that a revoked authority signed', () => {
    const list = parseRevocations(keygen.revocationList(null, keygen.publicKey('ca')));
    assert.match(list.revokes(certified(1)) ?? '', /the authority SHA256:.* is revoked/);
    assert.equal(list.revokes(certified(1, 'user', 'other')), null);
  });

  it('is refused wherever it is cut', () => {
    const bytes = keygen.revocationList('ca', 'serial: 7', 'id: x', 'serial: 100-200');
    const whole = (length: number) => {
      try {
        parseRevocations(bytes.subarray(0, length));
        return true;
      } catch {
        return false;
      }
    };
    const readable = Array.from({ length: bytes.length + 1 }, (_, i) => i).filter(whole);
    // Nothing says how many sections there are: what ends between two of them is a whole list.
    const headBytes = 8 + 4 + 24 + 4 + 4;
    assert.deepEqual(readable, [0, headBytes, bytes.length]);
  });
});

describe('a revocation list by hand', () => {
  const head = Buffer.concat([
    Buffer.from('SSHKRL\n\0'),
    uint32(1),
    Buffer.alloc(24),
    wireString(''),
    wireString('a comment'),
  ]);
  const section = (type: number, ...content: Buffer[]) =>
    Buffer.concat([Buffer.from([type]), wireString(Buffer.concat(content))]);
  const list = (...sections: Buffer[]) => parseRevocations(Buffer.concat([head, ...sections]));
  const certificates = (by: Buffer, ...content: Buffer[]) =>
    section(1, wireString(by), wireString(''), ...content);
  const everybody = Buffer.alloc(0);

  it('reads a map of serial numbers, to its last bit and no further', () => {
    fc.assert(
      fc.property(
        fc.bigInt(1n, 2n ** 63n),
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        fc.nat(400),
        (offset, map, index) => {
          const bits = Buffer.concat([Buffer.alloc(1), map]); // never negative
          const revocations = list(
            certificates(everybody, section(0x22, uint64(offset), wireString(bits))),
          );
          const number = BigInt(`0x${bits.toString('hex')}`);
          const isSet = ((number >> BigInt(index)) & 1n) === 1n;
          const said = revocations.revokes(certificate(offset + BigInt(index)));
          assert.equal(said !== null, isSet);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('holds for the authority it names, or for all', () => {
    const serials = section(0x20, uint64(7n));
    assert.notEqual(list(certificates(everybody, serials)).revokes(certificate(7n)), null);
    const ofStranger = list(certificates(stranger.blob, serials));
    assert.equal(ofStranger.revokes(certificate(7n)), null);
    assert.notEqual(ofStranger.revokes(certificate(7n, 'x', stranger)), null);
  });

  it('says nothing of certificates without a number', () => {
    const all = section(0x21, uint64(0n), uint64(2n ** 64n - 1n));
    const revocations = list(certificates(everybody, all));
    assert.notEqual(revocations.revokes(certificate(1n)), null);
    assert.equal(revocations.revokes(certificate(0n)), null);
  });

  it('reads SHA-1 and SHA-256 of a key', () => {
    for (const [type, algorithm] of [
      [3, 'sha1'],
      [5, 'sha256'],
    ] as const) {
      const hash = createHash(algorithm).update(authority.certified).digest();
      const revocations = list(section(type, wireString(hash)));
      assert.notEqual(revocations.revokes(certificate(1n)), null);
      assert.equal(revocations.revokes(certificate(1n, 'x', stranger)), null);
    }
  });

  it('passes over extensions that are not critical', () => {
    const extension = [wireString('x@example.com'), Buffer.from([0]), wireString('y')];
    const revocations = list(
      section(255, ...extension),
      certificates(everybody, section(0x39, ...extension), section(0x20, uint64(7n))),
    );
    assert.notEqual(revocations.revokes(certificate(7n)), null);
  });

  const critical = [wireString('x@example.com'), Buffer.from([1]), wireString('y')];
  const bad: [string, () => unknown, RegExp][] = [
    ['a signed list', () => list(section(4, wireString(''), wireString(''))), /signed/],
    ['a critical extension', () => list(section(255, ...critical)), /x@example\.com/],
    [
      'a critical extension of certificates',
      () => list(certificates(everybody, section(0x39, ...critical))),
      /x@example\.com/,
    ],
    ['a section nobody knows', () => list(section(9)), /type 9/],
    [
      'a list of certificates nobody knows',
      () => list(certificates(everybody, section(0x40))),
      /type 64/,
    ],
    ['a fingerprint of another length', () => list(section(5, wireString('short'))), /cut/],
    [
      'another format',
      () => parseRevocations(Buffer.concat([head.subarray(0, 8), uint32(2)])),
      /version/,
    ],
    ['half a serial number', () => list(certificates(everybody, section(0x20, uint32(1)))), /cut/],
  ];
  for (const [what, read, why] of bad) {
    it(`is refused for ${what}`, () => assert.throws(read, why));
  }
});

describe('a list of revoked keys', () => {
  const line = `ssh-ed25519 ${authority.certified.toString('base64')} laptop`;
  const text = (...lines: string[]) => parseRevocations(Buffer.from(lines.join('\n')));

  it('voids the certificates of a key, and by a key', () => {
    const keys = text('# stolen', '', `${line}\r`);
    assert.notEqual(keys.revokes(certificate(1n)), null);
    assert.equal(keys.revokes(certificate(1n, 'x', stranger)), null);
    assert.notEqual(text(authority.line).revokes(certificate(1n)), null);
    const whole = authority.certify().toString('base64');
    const certificates = text(`ssh-ed25519-cert-v01@openssh.com ${whole}`);
    assert.notEqual(certificates.revokes(certificate(1n)), null);
    assert.equal(text('').revokes(certificate(1n)), null);
  });

  it('may name keys of types that nobody can log in with', () => {
    const dsa = Buffer.concat([wireString('ssh-dss'), wireString('anything')]).toString('base64');
    assert.notEqual(text(`ssh-dss ${dsa}`, line).revokes(certificate(1n)), null);
  });

  for (const wrong of [
    'rubbish',
    'ssh-ed25519 AAAA',
    `ssh-rsa ${authority.certified.toString('base64')}`,
    `no-pty ${line}`,
    'SSHKRL',
    'ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t',
  ]) {
    it(`is refused for a line "${wrong.slice(0, 40)}"`, () => {
      assert.throws(() => text(line, wrong));
    });
  }

  it('is read or refused, whatever it holds', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isKrl) => {
        try {
          parseRevocations(isKrl ? Buffer.concat([Buffer.from('SSHKRL\n\0'), bytes]) : bytes);
        } catch (error) {
          assert.ok(error instanceof Error && /Malformed|Fault/.test(error.constructor.name));
        }
      }),
    );
  });
});

describe('RevocationFile', () => {
  const voiding = Buffer.from(authority.line);

  function watched() {
    const around = new Surroundings();
    const { clock, journal, readIfChanged } = around.loginOptions;
    const file = new RevocationFile('/etc/krl', { clock, journal, readIfChanged });
    const hold = () => file.revokes(certificate(1n));
    return { around, hold, put: around.files.set.bind(around.files, '/etc/krl') };
  }

  it('is read anew when it changed, and looked at once a second', () => {
    const { around, hold, put } = watched();
    put({ version: '1', bytes: Buffer.alloc(0) });
    assert.equal(hold(), null);
    put({ version: '2', bytes: voiding });
    assert.equal(hold(), null, 'within the second');
    assert.equal(around.reads, 1);
    around.nowS += 1;
    assert.notEqual(hold(), null);
    around.nowS -= 3_600; // a step of the clock
    put({ version: '3', bytes: Buffer.alloc(0) });
    assert.equal(hold(), null);
  });

  it('voids every certificate while it cannot be read, and says so once', () => {
    const { around, hold, put } = watched();
    for (let i = 0; i < 3; i++, around.nowS++) {
      assert.match(hold() ?? '', /\/etc\/krl cannot be used: no such file/);
    }
    put({ version: '1', bytes: Buffer.from('rubbish') });
    for (let i = 0; i < 3; i++, around.nowS++) assert.match(hold() ?? '', /line 1/);
    const bad = 'revocation list cannot be used, so no certificate is taken';
    assert.deepEqual(around.said, [bad, bad], 'once for each reason');
    put({ version: '2', bytes: Buffer.alloc(0) });
    assert.equal(hold(), null);
    around.files.clear();
    around.nowS++;
    assert.notEqual(hold(), null);
    put({ version: '2', bytes: Buffer.alloc(0) }); // back as it was
    around.nowS++;
    assert.equal(hold(), null);
  });
});
