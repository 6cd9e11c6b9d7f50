import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { utimesSync, writeFileSync } from 'node:fs';
import { after, before, beforeEach, describe, it } from 'node:test';
import ssh2 from 'ssh2';
import { createLogin, type UpdatableLogin } from '../../src/auth/login.ts';
import { wireString } from '../../src/auth/ssh-wire.ts';
import { readIfChanged } from '../../src/frontends/ssh/read-if-changed.ts';
import { blobOf, CarelessAuthority, Keygen, sha256, Surroundings, user } from '../auth/support.ts';
import { sendPacket, type Attacker } from './ssh-attacker.ts';
import { SshDoor, type SshResult } from './ssh-door.ts';

const TYPES = ['ed25519', 'ecdsa', 'rsa'] as const;

describe("certificates and OpenSSH's client", () => {
  const around = new Surroundings();
  let door: SshDoor;
  let keygen: Keygen;
  let login: UpdatableLogin;
  let authorities: string[];
  const revokedFile = () => keygen.path('revoked');
  const users = [
    user('ann', { principals: ['ops'] }),
    user('ben', { from: ['192.0.2.0/24'] }),
    user('dora', { totp: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ' }),
  ];

  before(async () => {
    door = await new SshDoor().start();
    keygen = new Keygen(door.directory);
    authorities = TYPES.map((type) => keygen.key(`ca-${type}`, type));
    for (const type of TYPES) keygen.key(`user-${type}`, type);
    around.nowS = Date.now() / 1_000;
    login = createLogin(users, {
      ...around.loginOptions,
      certificates: { authorities, revokedFile: null },
      readIfChanged,
    });
    door.services.login = login;
  });
  after(() => door.stop());
  beforeEach(() => login.update(users, { authorities, revokedFile: null }));

  /** Logs in with a certificate of that type; `options` are those of ssh-keygen. */
  function tryLogin(
    options: readonly string[],
    { name = 'ann', type = 'ed25519', args = ['-T', `${name}@127.0.0.1`, 'size'] as string[] } = {},
  ): Promise<SshResult> {
    keygen.certify(`user-${type}`, 'ca-ed25519', ['-V', '-5m:+5m', ...options]);
    return door.run(args, { key: `user-${type}`, logLevel: 'INFO' });
  }

  const lastRefusal = () =>
    door.services.journal.lines.findLast((line) => line.message === 'certificate not taken')?.[
      'why'
    ];

  for (const userType of TYPES) {
    for (const authorityType of TYPES) {
      it(`admit the holder of an ${userType} key whom an ${authorityType} key certified`, async () => {
        const [name, ca] = [`user-${userType}`, `ca-${authorityType}`];
        keygen.certify(name, ca, ['-n', 'ops', '-z', '7', '-V', '-5m:+5m']);
        const result = await door.run(['ann@127.0.0.1', 'size'], { key: name });
        assert.equal(result.stdout, '80x24 false\n', result.stderr);
        const row = door.services.audited.at(-1);
        const by = sha256(blobOf(keygen.publicKey(ca)));
        assert.equal(row?.detail, `certificate "${name} id" (serial 7) by ${by}`);
        assert.equal(row.user, 'ann');
      });
    }
  }

  it('sign with SHA-2 only where the key is RSA', async () => {
    keygen.certify('user-rsa', 'ca-rsa', ['-n', 'ann', '-V', '-5m:+5m']);
    for (const [algorithm, code] of [
      ['rsa-sha2-256-cert-v01@openssh.com', 0],
      ['rsa-sha2-512-cert-v01@openssh.com', 0],
      ['ssh-rsa-cert-v01@openssh.com', 255],
    ] as const) {
      const accepted = ['-o', `PubkeyAcceptedAlgorithms=${algorithm}`];
      const result = await door.run([...accepted, 'ann@127.0.0.1', 'size'], { key: 'user-rsa' });
      assert.equal(result.code, code, algorithm);
    }
  });

  const refusals: [string, string[], RegExp][] = [
    ['is over', ['-n', 'ann', '-V', '-10m:-1m'], /expired/],
    ['begins later', ['-n', 'ann', '-V', '+10m:+20m'], /valid only from/],
    ['is for somebody else', ['-n', 'ben'], /is for ben/],
    ['names nobody', [], /names no principal/],
    ['forces a command', ['-n', 'ann', '-O', 'force-command=true'], /forces a command/],
    ['is for another address', ['-n', 'ann', '-O', 'source-address=192.0.2.0/24'], /127\.0\.0\.1/],
  ];
  for (const [what, options, why] of refusals) {
    it(`admit nobody when one ${what}`, async () => {
      const result = await tryLogin(options);
      assert.equal(result.code, 255);
      assert.match(result.stderr, /Permission denied/);
      assert.match(String(lastRefusal()), why);
    });
  }

  it('admit nobody by an authority that is none, or from where the user may not come', async () => {
    login.update(users, { authorities: [authorities[1]!], revokedFile: null });
    assert.equal((await tryLogin(['-n', 'ann'])).code, 255);
    assert.match(String(lastRefusal()), /no authority of ours/);
    login.update(users, { authorities, revokedFile: null });
    assert.equal((await tryLogin(['-n', 'ben'], { name: 'ben' })).code, 255);
    assert.match(String(lastRefusal()), /may not come from there/);
  });

  it('admit who would need a code beside a password', async () => {
    assert.equal((await tryLogin(['-n', 'dora'], { name: 'dora' })).code, 0);
  });

  it('permit a terminal and port forwarding, or do not', async () => {
    const size = { args: ['-tt', 'ann@127.0.0.1', 'size'] };
    const whole = await tryLogin(['-n', 'ann'], size);
    assert.match(whole.stdout, / true\r\n$/);
    const without = await tryLogin(['-n', 'ann', '-O', 'no-pty'], size);
    assert.doesNotMatch(without.stdout, / true/);
    assert.match(without.stderr, /PTY allocation request failed/);
    const forward = { args: ['-W', 'echo:1', 'ann@127.0.0.1'] };
    const refused = await tryLogin(['-n', 'ann', '-O', 'no-port-forwarding'], forward);
    assert.match(refused.stderr, /certificate does not permit port forwarding/);
  });

  it('are void once revoked: by number, by id, by key; or with a list that is none', async () => {
    login.update(users, { authorities, revokedFile: revokedFile() });
    const admits = async (serial: number) => {
      around.nowS++; // the list is looked at once a second
      return (await tryLogin(['-n', 'ann', '-z', String(serial)])).code === 0;
    };
    const revoke = (list: Uint8Array | string) => writeFileSync(revokedFile(), list);
    assert.equal(await admits(7), false, 'there is no list yet');
    assert.match(String(lastRefusal()), /revocation list .* cannot be used: ENOENT/);
    revoke('');
    assert.equal(await admits(7), true);
    revoke(keygen.revocationList('ca-ed25519', 'serial: 7'));
    assert.equal(await admits(7), false);
    assert.match(String(lastRefusal()), /serial 7\) is revoked/);
    assert.equal(await admits(8), true);
    revoke(keygen.revocationList('ca-ed25519', 'id: user-ed25519 id'));
    assert.equal(await admits(8), false);
    revoke(`${keygen.publicKey('ca-rsa')}\n`);
    assert.equal(await admits(8), true);
    revoke(`${keygen.publicKey('user-ed25519')}\n`);
    assert.equal(await admits(8), false);
    revoke('half a line');
    assert.equal(await admits(8), false);
    assert.match(String(lastRefusal()), /cannot be used: line 1/);
    revoke(Buffer.alloc(4 * 1_048_576 + 1, '\n'));
    assert.equal(await admits(8), false);
    assert.match(String(lastRefusal()), /more than 4194304 bytes/);
    revoke('');
    assert.equal(await admits(8), true);
  });
});

describe('a key or a certificate, without the private key', () => {
  const authority = new CarelessAuthority();
  const { holder, certified } = authority;
  const thief = generateKeyPairSync('ed25519').privateKey;
  const certificate = authority.certify({ principals: ['ann'] });
  const CERTIFICATE = 'ssh-ed25519-cert-v01@openssh.com';
  let door: SshDoor;
  before(async () => {
    door = await new SshDoor().start();
    const key = `ssh-ed25519 ${certified.toString('base64')}`;
    door.services.login = createLogin([user('ann', { keys: [key] })], {
      ...new Surroundings().loginOptions,
      certificates: { authorities: [authority.line], revokedFile: null },
    });
  });
  after(() => door.stop());

  /** Logs in by hand (RFC 4252 section 7), with a signature over the session or other bytes. */
  async function isAdmitted(
    algorithm: string,
    blob: Buffer,
    key: KeyObject,
    { signatureName = 'ssh-ed25519', session = null as Buffer | null } = {},
  ): Promise<boolean> {
    const client = new ssh2.Client() as unknown as Attacker;
    const answer = new Promise<boolean>((resolve, reject) => {
      client.on('error', reject);
      client.connect({
        host: '127.0.0.1',
        port: door.frontend.tcpPort!,
        username: 'ann',
        authHandler: () => {
          const { _handlers: handlers, _kex: kex } = client._protocol;
          handlers['USERAUTH_SUCCESS'] = () => resolve(true);
          handlers['USERAUTH_FAILURE'] = () => resolve(false);
          const request = Buffer.concat([
            Buffer.from([50]),
            ...['ann', 'ssh-connection', 'publickey'].map((word) => wireString(word)),
            Buffer.from([1]),
            wireString(algorithm),
            wireString(blob),
          ]);
          const signed = Buffer.concat([wireString(session ?? kex.sessionID), request]);
          const signature = wireString(sign(null, signed, key));
          const wire = Buffer.concat([wireString(signatureName), signature]);
          sendPacket(client, Buffer.concat([request, wireString(wire)]));
        },
      });
    });
    return answer.finally(() => client.destroy());
  }

  for (const [what, algorithm, blob] of [
    ['a certificate', CERTIFICATE, certificate],
    ['a key', 'ssh-ed25519', certified],
  ] as const) {
    it(`is worth nothing: ${what}`, async () => {
      assert.equal(await isAdmitted(algorithm, blob, holder), true, 'with it');
      assert.equal(await isAdmitted(algorithm, blob, thief), false, "with another's");
      const replayed = { session: Buffer.alloc(32) };
      assert.equal(
        await isAdmitted(algorithm, blob, holder, replayed),
        false,
        'of another session',
      );
    });
  }

  it('is worth nothing under the name of another algorithm', async () => {
    const rsa = 'rsa-sha2-256-cert-v01@openssh.com';
    assert.equal(await isAdmitted(rsa, certificate, holder), false);
    const renamed = { signatureName: 'rsa-sha2-256' };
    assert.equal(await isAdmitted(CERTIFICATE, certificate, holder, renamed), false);
    assert.equal(await isAdmitted(CERTIFICATE, certified, holder), false, 'a key as a certificate');
  });
});

describe('readIfChanged', () => {
  it('reads a file once, and again when it is another', () => {
    const keygen = new Keygen();
    const path = keygen.path('list');
    writeFileSync(path, 'one');
    const first = readIfChanged(path, null, 10)!;
    assert.equal(Buffer.from(first.bytes).toString(), 'one');
    assert.equal(readIfChanged(path, first.version, 10), null);
    writeFileSync(path, 'two');
    utimesSync(path, 1, 1); // as old as it likes
    const second = readIfChanged(path, first.version, 10)!;
    assert.equal(Buffer.from(second.bytes).toString(), 'two');
    assert.throws(() => readIfChanged(path, null, 2), /more than 2 bytes/);
    assert.throws(() => readIfChanged(keygen.directory, null, 10), /not a file/);
    assert.throws(() => readIfChanged(keygen.path('gone'), null, 10), /ENOENT/);
    keygen.dispose();
  });
});
