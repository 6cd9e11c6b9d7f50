import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LOCAL_ADMIN } from '../../src/auth/authorizer.ts';
import { createLogin } from '../../src/auth/login.ts';
import { mergeUsers } from '../../src/auth/merge-users.ts';
import { parseAuthorizedKey } from '../../src/auth/ssh-keys.ts';
import { Fault } from '../../src/core/fault.ts';
import { totpCode } from '../../src/auth/totp.ts';
import { DEFAULT_ESCAPE } from '../../src/core/user.ts';
import { ED25519_KEY, RSA_KEY } from './public-keys.ts';
import { blobOf, CarelessAuthority, sha256, Surroundings, user } from './support.ts';

/** Compares in the clear and remembers what it was asked. */
function plainPasswords() {
  const asked: (string | null)[] = [];
  return {
    asked,
    verify(password: string, stored: string | null): Promise<boolean> {
      asked.push(stored);
      return Promise.resolve(password === stored);
    },
  };
}

const uids: Record<string, number> = { root: 0, daemon: 7, alice: 1000, bob: 1001 };
const unix = {
  ...new Surroundings().loginOptions,
  uidOf: (name: string) => uids[name] ?? null,
  ownUid: 7,
};
const noCertificates = unix.certificates;
const blob = parseAuthorizedKey(ED25519_KEY).blob;
const otherBlob = parseAuthorizedKey(RSA_KEY).blob;

describe('createLogin', () => {
  it('works as hard for whoever may not come in', async () => {
    const passwords = plainPasswords();
    const users = [
      user('alice', { password: 'a', from: ['10.0.0.0/8'] }),
      user('bob', { password: null }),
    ];
    const login = createLogin(users, { ...unix, passwords });
    assert.equal(await login.withPassword('alice', 'a', '10.1.1.1'), true);
    assert.equal(await login.withPassword('alice', 'a', '::ffff:10.1.1.1'), true);
    assert.equal(await login.withPassword('alice', 'a', '192.0.2.1'), false);
    assert.equal(await login.withPassword('bob', 'a', '10.1.1.1'), false);
    assert.equal(await login.withPassword('mallory', 'a', '10.1.1.1'), false);
    assert.deepEqual(passwords.asked, ['a', 'a', null, null, null]);
  });

  it('refuses when too many log in at once', async () => {
    const verify = (): Promise<boolean> => Promise.reject(new Fault('LOGIN_FAILED', 'too many'));
    const login = createLogin([user('alice')], { ...unix, passwords: { verify } });
    assert.equal(await login.withPassword('alice', 'a', '10.1.1.1'), false);
  });

  it('knows users by key, from where they may come', () => {
    const users = [
      user('alice', { keys: [`${ED25519_KEY} laptop`, 'rubbish'] }),
      user('bob', { keys: [RSA_KEY, ED25519_KEY], from: ['10.0.0.0/8'] }),
    ];
    const login = createLogin(users, unix);
    assert.deepEqual(login.usersOfKey(blob, '10.0.0.1'), ['alice', 'bob']);
    assert.deepEqual(login.usersOfKey(blob, '192.0.2.1'), ['alice']);
    assert.equal(login.withKey('alice', new Uint8Array(blob), '192.0.2.1'), true);
    assert.equal(login.withKey('bob', otherBlob, '10.0.0.1'), true);
    assert.equal(login.withKey('bob', otherBlob, '192.0.2.1'), false);
    assert.equal(login.withKey('alice', otherBlob, '10.0.0.1'), false);
    assert.equal(login.withKey('mallory', blob, '10.0.0.1'), false);
    assert.deepEqual(login.usersOfKey(new Uint8Array(), '10.0.0.1'), []);
  });

  it('knows users of the control socket; root and its own uid are always admin', () => {
    const login = createLogin([user('al', { unix: 'alice' }), user('x', { unix: 'gone' })], unix);
    assert.equal(login.ofUnixUser(1000), 'al');
    assert.equal(login.ofUnixUser(1001), null);
    assert.equal(login.ofUnixUser(0), LOCAL_ADMIN);
    assert.equal(login.ofUnixUser(7), LOCAL_ADMIN);
    assert.equal(login.exists(LOCAL_ADMIN), false, 'nobody can log in as it');
    login.update(
      [user('viewer', { unix: 'root' }), user('boss', { unix: 'daemon', role: 'admin' })],
      noCertificates,
    );
    assert.equal(login.ofUnixUser(0), LOCAL_ADMIN);
    assert.equal(login.ofUnixUser(7), 'boss');
  });

  it('takes new users with the next call', async () => {
    const login = createLogin([user('alice', { keys: [ED25519_KEY] })], {
      ...unix,
      passwords: plainPasswords(),
    });
    login.update([user('bob', { keys: [ED25519_KEY], password: 'b' })], noCertificates);
    assert.equal(login.exists('alice'), false);
    assert.deepEqual(login.usersOfKey(blob, '::1'), ['bob']);
    assert.equal(await login.withPassword('bob', 'b', '::1'), true);
  });
});

describe('one-time codes', () => {
  const secret = Buffer.from('12345678901234567890');
  const totp = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
  const users = [user('alice', { totp }), user('bob')];

  it('are good once, one step around now, and stay used over a reload', () => {
    const around = new Surroundings();
    const login = createLogin(users, around.loginOptions);
    const code = (stepsOff: number) => totpCode(secret, Math.floor(around.nowS / 30) + stepsOff);
    assert.equal(login.withCode('bob', code(0)), false);
    assert.equal(login.withCode('mallory', code(0)), false);
    assert.equal(login.withCode('alice', code(2)), false);
    assert.equal(login.withCode('alice', code(0)), true);
    assert.equal(login.withCode('alice', code(0)), false, 'a second time');
    assert.equal(login.withCode('alice', code(-1)), false, 'an older one');
    login.update([...users, user('carol')], noCertificates);
    assert.equal(login.withCode('alice', code(0)), false, 'after a reload');
    assert.equal(login.withCode('alice', code(1)), true);
    around.nowS += 60;
    assert.equal(login.withCode('alice', code(0)), true);
  });

  it('are asked of those who have them, and of some whom nobody knows', () => {
    const login = createLogin(users, unix);
    assert.equal(login.needsCode('alice'), true);
    assert.equal(login.needsCode('bob'), false);
    const strangers = Array.from({ length: 200 }, (_, i) => `stranger${i}`);
    const asked = strangers.filter((name) => login.needsCode(name));
    assert.ok(asked.length > 50 && asked.length < 150, `${asked.length} of 200`);
    const restarted = createLogin(users, unix);
    assert.deepEqual(
      strangers.filter((name) => restarted.needsCode(name)),
      asked,
      'the same ones after a restart',
    );
    assert.equal(createLogin([user('bob')], unix).needsCode('stranger1'), false);
  });
});

describe('certificates', () => {
  const authority = new CarelessAuthority();
  const certificates = { authorities: [authority.line], revokedFile: null };
  const users = [
    user('alice', { from: ['10.0.0.0/8'] }),
    user('bob', { principals: ['ops'] }),
    user('carol'),
  ];

  it('admit the user they name, or one with a principal they name', () => {
    const login = createLogin(users, { ...unix, certificates });
    const forAlice = authority.certify({ principals: ['alice'] });
    assert.deepEqual(login.withCertificate('alice', forAlice, '10.1.1.1'), {
      admitted: true,
      key: authority.certified,
      id: `"by hand" (serial 7) by ${sha256(authority.blob)}`,
      permits: { pty: true, portForwarding: false },
    });
    const forOps = authority.certify({
      principals: ['ops'],
      extensions: [['permit-port-forwarding', Buffer.alloc(0)]],
    });
    const answer = login.withCertificate('bob', forOps, '192.0.2.1');
    assert.ok(answer.admitted);
    assert.deepEqual(answer.permits, { pty: false, portForwarding: true });
    const why = (name: string, blob: Uint8Array, from = '10.1.1.1') => {
      const refusal = login.withCertificate(name, blob, from);
      return refusal.admitted ? 'admitted' : refusal.why;
    };
    assert.match(why('carol', forAlice), /is for alice/);
    assert.match(why('ops', forOps), /no such user/);
    assert.match(why('alice', forAlice, '192.0.2.1'), /may not come from there/);
    assert.match(why('alice', blob), /type is not known/);
  });

  it('are refused without an authority, and follow a reload', () => {
    const login = createLogin(users, unix);
    const forBob = authority.certify({ principals: ['bob'] });
    const isAdmitted = () => login.withCertificate('bob', forBob, '192.0.2.1').admitted;
    assert.equal(isAdmitted(), false);
    login.update(users, certificates);
    assert.equal(isAdmitted(), true);
    login.update(users, { ...certificates, revokedFile: '/nowhere' });
    assert.equal(isAdmitted(), false);
    login.update(users, certificates);
    assert.equal(isAdmitted(), true);
    login.update([], certificates);
    assert.equal(isAdmitted(), false);
  });

  it('are refused once they are revoked', () => {
    const around = new Surroundings();
    around.files.set('/krl', { version: '1', bytes: Buffer.alloc(0) });
    const login = createLogin(users, {
      ...around.loginOptions,
      certificates: { ...certificates, revokedFile: '/krl' },
    });
    const forBob = authority.certify({ principals: ['bob'] });
    assert.equal(login.withCertificate('bob', forBob, '::1').admitted, true);
    around.files.set('/krl', { version: '2', bytes: Buffer.from(authority.line) });
    around.nowS++;
    assert.equal(login.withCertificate('bob', forBob, '::1').admitted, false);
  });

  it('by an authority that is no key, as config/ would refuse, admit nobody', () => {
    const authorities = ['rubbish', RSA_KEY];
    const login = createLogin(users, { ...unix, certificates: { authorities, revokedFile: null } });
    const byRsa = authority.certify({ principals: ['bob'], authorityBlob: blobOf(RSA_KEY) });
    assert.equal(login.withCertificate('bob', byRsa, '::1').admitted, false);
  });
});

describe('preferences', () => {
  it("are the user's escape prefix; ^Ec for who is none of the users", () => {
    const login = createLogin([user('a', { escape: [1, 2] }), user('b', { escape: null })], unix);
    assert.deepEqual(login.preferences('a'), { escape: [1, 2] });
    assert.deepEqual(login.preferences('b'), { escape: null });
    assert.deepEqual(login.preferences(LOCAL_ADMIN), { escape: DEFAULT_ESCAPE });
  });
});

describe('mergeUsers', () => {
  it('lets the file win and names each clash', () => {
    const { users, clashes } = mergeUsers(
      [user('alice', { role: 'admin' }), user('bob')],
      [user('Alice'), user('carol'), user('bob', { role: 'admin' })],
    );
    assert.deepEqual(
      users.map(({ name, role }) => `${name} ${role}`),
      ['alice admin', 'bob view', 'carol view'],
    );
    assert.deepEqual(clashes, [
      'user "Alice" is in the database and as "alice" in the configuration file; the file counts; remove one of the two',
      'user "bob" is in the database and in the configuration file; the file counts; remove one of the two',
    ]);
  });
});
