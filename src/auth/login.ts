import { createHmac } from 'node:crypto';
import type { Clock, Journal } from '../core/clock.ts';
import type { CertificateAnswer, Login } from '../core/frontend.ts';
import type { CertificateSettings } from '../core/settings.ts';
import { DEFAULT_ESCAPE, type User } from '../core/user.ts';
import { Fault } from '../core/fault.ts';
import { LOCAL_ADMIN } from './authorizer.ts';
import { checkCertificate, describeCertificate, parseCertificate } from './certificate.ts';
import { createAddressFilter } from './cidr.ts';
import { createPasswordVerifier, type PasswordVerifier } from './password.ts';
import { RevocationFile, type ReadIfChanged } from './revocation-file.ts';
import { parseAuthorizedKeys } from './ssh-keys.ts';
import { matchTotp, parseTotpSecret } from './totp.ts';

export interface LoginOptions {
  /** Number of a unix user, null when there is none of that name. */
  uidOf(unixName: string): number | null;
  /** The uid the daemon runs as: admin, as root is. */
  ownUid: number;
  certificates: CertificateSettings;
  /** For the revocation list. */
  readIfChanged: ReadIfChanged;
  clock: Clock;
  journal: Journal;
  /** Tests hand in a cheaper one. */
  passwords?: PasswordVerifier;
}

export interface UpdatableLogin extends Login {
  /** Takes effect with the next call; a password being verified counts by the old list. */
  update(users: readonly User[], certificates: CertificateSettings): void;
}

/** Who a client is (contract Login), from the users of the configuration. Names are compared exactly. */
export function createLogin(users: readonly User[], options: LoginOptions): UpdatableLogin {
  const { clock, uidOf, ownUid } = options;
  const passwords = options.passwords ?? createPasswordVerifier();
  let accounts = new Map<string, Account>();
  let byKey = new Map<string, Account[]>();
  let authorities: ReadonlySet<string> = new Set();
  let revocations: RevocationFile | null = null;
  let coinKey = '';
  /** Outlives a reload: a code that was used stays used. By secret. */
  const lastSteps = new Map<string, number>();

  function update(newUsers: readonly User[], certificates: CertificateSettings): void {
    accounts = new Map(newUsers.map((user) => [user.name, accountOf(user)]));
    byKey = new Map();
    for (const account of accounts.values()) {
      for (const key of account.keys) byKey.set(key, [...(byKey.get(key) ?? []), account]);
    }
    authorities = blobsOf(certificates.authorities);
    const { revokedFile } = certificates;
    if (revokedFile === null) revocations = null;
    else if (revocations?.path !== revokedFile) {
      revocations = new RevocationFile(revokedFile, options);
    }
    const secrets = newUsers.flatMap(({ totp }) => (totp === null ? [] : [totp]));
    coinKey = secrets.join('\n');
    for (const secret of lastSteps.keys()) if (!secrets.includes(secret)) lastSteps.delete(secret);
  }

  function holdersOf(blob: Uint8Array, remoteAddress: string): Account[] {
    const holders = byKey.get(textOf(blob)) ?? [];
    return holders.filter((account) => account.mayComeFrom(remoteAddress));
  }

  function judge(user: string, blob: Uint8Array, remoteAddress: string): CertificateAnswer {
    const account = accounts.get(user);
    if (authorities.size === 0) return refused('no authority of certificates is configured');
    if (account === undefined) return refused('there is no such user');
    if (!account.mayComeFrom(remoteAddress)) return refused('the user may not come from there');
    const certificate = parseCertificate(blob);
    const principals = [user, ...account.user.principals];
    const now = clock.nowUs() / 1_000_000;
    checkCertificate(certificate, { authorities, principals, remoteAddress, now });
    const why = revocations?.revokes(certificate) ?? null;
    if (why !== null) return refused(why);
    const { extensions } = certificate;
    return {
      admitted: true,
      key: certificate.key.blob,
      id: describeCertificate(certificate),
      permits: {
        pty: extensions.has('permit-pty'),
        portForwarding: extensions.has('permit-port-forwarding'),
      },
    };
  }

  update(users, options.certificates);
  return {
    update,
    async withPassword(user, password, remoteAddress) {
      const account = accounts.get(user);
      const stored = account?.mayComeFrom(remoteAddress) ? account.user.password : null;
      try {
        return await passwords.verify(password, stored);
      } catch (error) {
        if (error instanceof Fault) return false; // too many at once: refused like a wrong password
        throw error;
      }
    },
    withKey(user, blob, remoteAddress) {
      return holdersOf(blob, remoteAddress).some((account) => account.user.name === user);
    },
    usersOfKey(blob, remoteAddress) {
      return holdersOf(blob, remoteAddress).map((account) => account.user.name);
    },
    ofUnixUser(uid) {
      const mapped = [...accounts.values()].filter(
        ({ user }) => user.unix !== null && uidOf(user.unix) === uid,
      );
      if (uid !== 0 && uid !== ownUid) return mapped[0]?.user.name ?? null;
      return mapped.find((account) => account.isAdmin)?.user.name ?? LOCAL_ADMIN;
    },
    exists: (user) => accounts.has(user),
    mayComeFrom: (user, remoteAddress) => accounts.get(user)?.mayComeFrom(remoteAddress) ?? false,
    needsCode(user) {
      const account = accounts.get(user);
      if (account !== undefined) return account.user.totp !== null;
      // Were it always false, asking for a code would say that the user exists. So a coin, which falls
      // the same way each time; its key is as secret as the codes.
      if (coinKey === '') return false;
      return (createHmac('sha256', coinKey).update(user).digest()[0]! & 1) === 1;
    },
    withCode(user, code) {
      const totp = accounts.get(user)?.user.totp ?? null;
      const secret = totp === null ? null : parseTotpSecret(totp);
      const nowS = clock.nowUs() / 1_000_000;
      const step = matchTotp(secret ?? NO_SECRET, code, nowS);
      if (totp === null || secret === null || step === null) return false;
      // RFC 6238 section 5.2: once accepted, neither this code nor an older one is taken again.
      if (step <= (lastSteps.get(totp) ?? -1)) return false;
      lastSteps.set(totp, step);
      return true;
    },
    withCertificate(user, blob, remoteAddress) {
      try {
        return judge(user, blob, remoteAddress);
      } catch (error) {
        if (error instanceof Fault) return refused(error.message);
        throw error;
      }
    },
    preferences(user) {
      const account = accounts.get(user);
      return { escape: account === undefined ? DEFAULT_ESCAPE : account.user.escape };
    },
  };
}

/** Codes are computed from it for whoever has none of their own, so that time tells nothing. */
const NO_SECRET = Buffer.alloc(20);

function refused(why: string): CertificateAnswer {
  return { admitted: false, why };
}

interface Account {
  user: User;
  isAdmin: boolean;
  /** base64 of the keys' blobs. */
  keys: ReadonlySet<string>;
  mayComeFrom(address: string): boolean;
}

function accountOf(user: User): Account {
  return {
    user,
    isAdmin: user.role === 'admin' && (user.ports.length === 0 || user.ports.includes('*')),
    keys: blobsOf(user.keys),
    mayComeFrom: createAddressFilter(user.from),
  };
}

/** config/ refuses malformed keys; one that comes from elsewhere admits nobody. */
function blobsOf(keys: readonly string[]): ReadonlySet<string> {
  const lines = parseAuthorizedKeys(keys.join('\n'));
  return new Set(lines.flatMap((line) => ('key' in line ? [textOf(line.key.blob)] : [])));
}

function textOf(blob: Uint8Array): string {
  return Buffer.from(blob).toString('base64');
}
