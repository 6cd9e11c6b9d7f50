import { Fault } from '../core/fault.ts';
import { globMatches } from '../core/names.ts';
import {
  BUILT_IN_ROLES,
  DEFAULT_ESCAPE,
  RIGHTS,
  type Authorizer,
  type PortIdentity,
  type Right,
  type User,
} from '../core/user.ts';

/**
 * Who root and the daemon's own uid are on the control socket when no user of the configuration
 * stands for them (Login.ofUnixUser). No configured user can have this name: `@` starts a group.
 */
export const LOCAL_ADMIN = '@root';

/** Own roles by name, beside the built-in ones, which they cannot replace. */
export type Roles = Readonly<Record<string, readonly string[]>>;

export interface UpdatableAuthorizer extends Authorizer {
  /** Takes effect with the next call. */
  update(users: readonly User[], roles: Roles): void;
}

/** Answers kept for one user; the rack is small, so this is only a bound. */
const ANSWERS_MAX = 4096;

/**
 * The one place that decides (DESIGN 3). A right on a port needs a role that has it and a pattern of
 * `ports` that names the port. A role with `admin` has every right; without `ports` on every port.
 * Port null is what belongs to no port (reload, kick from all ports): a role that has the right is
 * enough, but for `admin`, which must not be confined to some ports.
 */
export function createAuthorizer(users: readonly User[], roles: Roles): UpdatableAuthorizer {
  let people = new Map<string, Person>();
  const authorizer: UpdatableAuthorizer = {
    allows(user, right, port) {
      const person = people.get(user);
      if (!person?.rights.has(right)) return false;
      if (port === null) return right !== 'admin' || person.hasAllPorts;
      return person.hasAllPorts || covers(person, port);
    },
    authorize(user, right, port) {
      if (authorizer.allows(user, right, port)) return;
      throw new Fault('DENIED', explain(people.get(user), user, right, port));
    },
    update(newUsers, newRoles) {
      people = new Map(newUsers.map((user) => [user.name, personOf(user, newRoles)]));
      people.set(LOCAL_ADMIN, personOf(localAdmin, newRoles));
    },
  };
  authorizer.update(users, roles);
  return authorizer;
}

/** Rights of a role: built-in, own, or none when nobody defined it. `admin` brings all others. */
export function rightsOfRole(role: string, roles: Roles): ReadonlySet<Right> {
  const names = Object.hasOwn(BUILT_IN_ROLES, role)
    ? BUILT_IN_ROLES[role]!
    : Object.hasOwn(roles, role)
      ? roles[role]!
      : [];
  if (names.includes('admin')) return new Set(RIGHTS);
  return new Set(RIGHTS.filter((right) => names.includes(right)));
}

interface Person {
  role: string;
  rights: ReadonlySet<Right>;
  ports: readonly string[];
  hasAllPorts: boolean;
  /** By name and group: the port core asks for every chunk of input. */
  answers: Map<string, boolean>;
}

const localAdmin: User = {
  name: LOCAL_ADMIN,
  role: 'admin',
  ports: [],
  keys: [],
  password: null,
  unix: null,
  from: [],
  totp: null,
  principals: [],
  escape: DEFAULT_ESCAPE,
};

function personOf(user: User, roles: Roles): Person {
  const rights = rightsOfRole(user.role, roles);
  const isAdmin = rights.has('admin');
  const hasAllPorts = (isAdmin && user.ports.length === 0) || user.ports.includes('*');
  return { role: user.role, rights, ports: user.ports, hasAllPorts, answers: new Map() };
}

function covers(person: Person, port: PortIdentity): boolean {
  const key = `${port.name}\n${port.group ?? ''}`;
  let answer = person.answers.get(key);
  if (answer === undefined) {
    answer = person.ports.some((pattern) => matches(pattern, port));
    if (person.answers.size >= ANSWERS_MAX) person.answers.clear();
    person.answers.set(key, answer);
  }
  return answer;
}

function matches(pattern: string, port: PortIdentity): boolean {
  if (!pattern.startsWith('@')) return globMatches(pattern, port.name);
  return port.group !== null && port.group.toLowerCase() === pattern.slice(1).toLowerCase();
}

/** `bob may not write on db1: needs the right "write" (role view has: view)` */
function explain(
  person: Person | undefined,
  user: string,
  right: Right,
  port: PortIdentity | null,
): string {
  const what = `${user} may not ${VERB_OF_RIGHT[right]}${port ? ` on ${port.name}` : ''}`;
  if (!person) return `${what}: there is no such user`;
  if (!person.rights.has(right)) {
    const has = person.rights.size === 0 ? 'no rights' : [...person.rights].join(', ');
    return `${what}: needs the right "${right}" (role ${person.role} has: ${has})`;
  }
  if (port === null)
    return `${what}: the right "${right}" is confined to ${person.ports.join(', ')}`;
  const ports = person.ports.length === 0 ? 'no ports' : person.ports.join(', ');
  return `${what}: has the right "${right}", but only on ${ports}`;
}

const VERB_OF_RIGHT: Readonly<Record<Right, string>> = {
  view: 'view',
  write: 'write',
  break: 'send BREAK',
  control: 'control the line',
  tx: 'read what was typed',
  export: 'export the log',
  admin: 'administer',
};
