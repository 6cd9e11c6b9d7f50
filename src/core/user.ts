/** What a user may do on a port (DESIGN 3). `tx`: read what was typed. `admin`: everything. */
export const RIGHTS = ['view', 'write', 'break', 'control', 'tx', 'export', 'admin'] as const;
export type Right = (typeof RIGHTS)[number];

export const BUILT_IN_ROLES: Readonly<Record<string, readonly Right[]>> = {
  view: ['view'],
  operator: ['view', 'write', 'break', 'control', 'export'],
  admin: RIGHTS,
};

export interface User {
  name: string;
  role: string;
  /** Globs of port names, or `@group`. None: no port at all. An admin without `ports` has all. */
  ports: readonly string[];
  /** OpenSSH public keys, `type base64 [comment]`. */
  keys: readonly string[];
  /** `$scrypt$...` or null: no password login. */
  password: string | null;
  /** Unix user who is this user on the control socket. */
  unix: string | null;
  /** CIDRs this user may come from; empty: anywhere. */
  from: readonly string[];
  /** Secret of the one-time codes (RFC 6238), base32; null: a password is enough. */
  totp: string | null;
  /** Principals whose certificates this user may use, besides the user's own name. */
  principals: readonly string[];
  /** The two bytes that begin a key of ours, `^Ec` for people; null: keys are off. */
  escape: EscapePrefix | null;
}

/** Two bytes: conserver's ^E and c unless configured. */
export type EscapePrefix = readonly [number, number];
export const DEFAULT_ESCAPE: EscapePrefix = [0x05, 0x63];

/** Who asks: an authenticated user, from where, by which frontend. */
export interface Caller {
  user: string;
  /** `192.0.2.7:51234`, `local pid 123`: for logs and `who`. */
  remote: string;
  frontend: 'ssh' | 'telnet' | 'raw' | 'expose' | 'control' | 'local' | 'demo';
}

/** A port as authorization sees it. */
export interface PortIdentity {
  name: string;
  group: string | null;
}

/** The one place that decides (DESIGN 3). Throws Fault DENIED naming the missing right. */
export interface Authorizer {
  allows(user: string, right: Right, port: PortIdentity | null): boolean;
  /** @throws Fault DENIED with user, right and port in its message. */
  authorize(user: string, right: Right, port: PortIdentity | null): void;
}
