import type { Login } from '../core/frontend.ts';
import type { User } from '../core/user.ts';
import { Fault } from '../core/fault.ts';
import { LOCAL_ADMIN } from './authorizer.ts';
import { createAddressFilter } from './cidr.ts';
import { createPasswordVerifier, type PasswordVerifier } from './password.ts';
import { parseAuthorizedKeys } from './ssh-keys.ts';

export interface LoginOptions {
  /** Number of a unix user, null when there is none of that name. */
  uidOf(unixName: string): number | null;
  /** The uid the daemon runs as: admin, as root is. */
  ownUid: number;
  /** Tests hand in a cheaper one. */
  passwords?: PasswordVerifier;
}

export interface UpdatableLogin extends Login {
  /** Takes effect with the next call; a password being verified counts by the old list. */
  update(users: readonly User[]): void;
}

/** Who a client is (contract Login), from the users of the configuration. Names are compared exactly. */
export function createLogin(users: readonly User[], options: LoginOptions): UpdatableLogin {
  const passwords = options.passwords ?? createPasswordVerifier();
  let accounts = new Map<string, Account>();
  let byKey = new Map<string, Account[]>();

  function update(newUsers: readonly User[]): void {
    accounts = new Map(newUsers.map((user) => [user.name, accountOf(user)]));
    byKey = new Map();
    for (const account of accounts.values()) {
      for (const key of account.keys) byKey.set(key, [...(byKey.get(key) ?? []), account]);
    }
  }

  function holdersOf(blob: Uint8Array, remoteAddress: string): Account[] {
    const holders = byKey.get(textOf(blob)) ?? [];
    return holders.filter((account) => account.mayComeFrom(remoteAddress));
  }

  update(users);
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
        ({ user }) => user.unix !== null && options.uidOf(user.unix) === uid,
      );
      if (uid !== 0 && uid !== options.ownUid) return mapped[0]?.user.name ?? null;
      return mapped.find((account) => account.isAdmin)?.user.name ?? LOCAL_ADMIN;
    },
    exists: (user) => accounts.has(user),
  };
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
