import { hashPassword } from '../auth/password.ts';
import { parseAuthorizedKey } from '../auth/ssh-keys.ts';
import { Fault } from '../core/fault.ts';
import { didYouMean, sameName } from '../core/names.ts';
import { BUILT_IN_ROLES, DEFAULT_ESCAPE, type User } from '../core/user.ts';
import type { UserActions } from '../verbs/verb.ts';

/** Users of the state database, and those of the configuration file beside them. */
export interface UserStorage {
  /** One change and what is there after it. @throws Fault DENIED. */
  change(change: { put?: User; remove?: string }): Promise<{
    databaseUsers: readonly User[];
    fileUsers: readonly User[];
    roles: readonly string[];
    removed: boolean;
  }>;
}

/** `fairlead user`, with a daemon and without one. */
export function userActions(storage: UserStorage): UserActions {
  return {
    async add(_options, user) {
      const { databaseUsers, fileUsers, roles } = await storage.change({});
      const known = [...databaseUsers, ...fileUsers].find(({ name }) => sameName(name, user.name));
      if (known) throw new Fault('USAGE', `there is a user "${known.name}" already`);
      const allRoles = [...Object.keys(BUILT_IN_ROLES), ...roles];
      if (!allRoles.includes(user.role)) {
        const near = didYouMean(user.role, allRoles);
        throw new Fault(
          'USAGE',
          `there is no role "${user.role}"${near}; roles: ${allRoles.join(', ')}`,
        );
      }
      for (const key of user.keys) parseAuthorizedKey(key);
      const password = user.password === null ? null : await hashPassword(user.password);
      const put = {
        ...user,
        password,
        from: [],
        totp: null,
        principals: [],
        escape: DEFAULT_ESCAPE,
      };
      await storage.change({ put });
    },
    async passwd(_options, name, password) {
      const user = await find(storage, name);
      await storage.change({ put: { ...user, password: await hashPassword(password) } });
    },
    hash: hashPassword,
    async list() {
      const { databaseUsers, fileUsers } = await storage.change({});
      const listed = (user: User, source: 'file' | 'database') => ({
        name: user.name,
        role: user.role,
        ports: user.ports,
        keys: user.keys.length,
        hasPassword: user.password !== null,
        unix: user.unix,
        from: user.from,
        source,
      });
      return [
        ...fileUsers.map((user) => listed(user, 'file')),
        ...databaseUsers.map((user) => listed(user, 'database')),
      ];
    },
    async remove(_options, name) {
      const user = await find(storage, name);
      await storage.change({ remove: user.name });
    },
  };
}

async function find(storage: UserStorage, name: string): Promise<User> {
  const { databaseUsers, fileUsers } = await storage.change({});
  const user = databaseUsers.find((candidate) => sameName(candidate.name, name));
  if (user) return user;
  if (fileUsers.some((candidate) => sameName(candidate.name, name))) {
    throw new Fault(
      'USAGE',
      `"${name}" is a user of the configuration file: change it there; "fairlead user hash" makes a password's line`,
    );
  }
  const names = databaseUsers.map((candidate) => candidate.name);
  throw new Fault('NOT_FOUND', `there is no user "${name}"${didYouMean(name, names)}`);
}
