import { resolve } from 'node:path';
import { didYouMean } from '../core/names.ts';
import type { ListenSettings, TlsSettings } from '../core/settings.ts';
import { rawField, type Entry, type Source } from './files.ts';
import type { ListenValue } from './listen-schema.ts';
import type { Problem } from './problems.ts';
import { hostsOverlap, isLoopback } from './units.ts';

/** The doors a room is given: absolute paths, null for those that stay closed. */
export function listenSettings(listen: ListenValue, directory: string): ListenSettings {
  const { ssh, raw, telnet, caps } = listen;
  const portSsh = listen['port-ssh'];
  const tlsOf = (tls: TlsValue | undefined): TlsSettings | null =>
    tls
      ? {
          cert: resolve(directory, tls.cert),
          key: resolve(directory, tls.key),
          clientCa: tls.clientCa === undefined ? null : resolve(directory, tls.clientCa),
        }
      : null;
  return {
    ssh: ssh && { host: ssh.host, tcpPort: ssh.tcpPort, allow: ssh.allow },
    portSsh: portSsh ?? null,
    telnet: telnet
      ? {
          host: telnet.host,
          base: telnet.base,
          aliasBase: telnet.alias ?? null,
          auth: telnet.auth,
          allow: telnet.allow,
          as: telnet.as ?? null,
          busy: telnet.busy,
          tls: tlsOf(telnet.tls),
        }
      : null,
    raw: raw
      ? {
          host: raw.host,
          base: raw.base,
          auth: raw.auth,
          allow: raw.allow,
          as: raw.as ?? null,
          busy: raw.busy,
          tls: tlsOf(raw.tls),
        }
      : null,
    caps: { connectionsMax: caps.connections, perSourceMax: caps.perSource },
  };
}

/** Doors of programs, as written, also when they have problems. */
export class ProgramDoors {
  readonly #main: Source;
  readonly #doors: readonly Entry[];

  constructor(main: Source) {
    this.#main = main;
    const listen = main.top['listen'];
    this.#doors = (['telnet', 'raw'] as const).flatMap((name) => {
      const raw = isMap(listen) ? listen[name] : undefined;
      const path = ['listen', name];
      return isMap(raw) ? [{ name, file: main.file, directory: '', path, raw }] : [];
    });
  }

  /** Whom they let in without a login of their own. */
  users(): string[] {
    return this.#doors.map((door) => rawField(door, 'as')).filter((as) => typeof as === 'string');
  }

  /** Some door lets in whoever a client certificate names. */
  takeCertificates(): boolean {
    return this.#doors.some(
      (door) => rawField(door, 'auth') === 'certificate' && rawField(door, 'as') === undefined,
    );
  }

  /** What a door needs before it may let anybody write. `users` null: not all are known. */
  check(users: readonly string[] | null, problems: Problem[]): void {
    for (const door of this.#doors) {
      const auth = rawField(door, 'auth');
      if (auth === 'none') this.#checkOpen(door, problems);
      else if (auth === 'certificate') this.#checkCertificates(door, problems);
      else if (door.name === 'telnet') this.#checkLogin(door, problems);
      const as = rawField(door, 'as');
      if (typeof as === 'string' && users && !users.includes(as)) {
        const what = `no user "${as}"; expected one of users${didYouMean(as, users)}`;
        this.#report(door, ['as'], 'value', what, problems);
      }
    }
  }

  #checkOpen(door: Entry, problems: Problem[]): void {
    const needs = ', as a door with auth: none has no login: it needs allow and as';
    const allow = rawField(door, 'allow');
    if (allow === undefined)
      this.#missing(door, 'allow', `a list of address blocks${needs}`, problems);
    if (Array.isArray(allow) && allow.length === 0) {
      const what = `an empty list does not fit; expected at least one address block${needs}`;
      this.#report(door, ['allow'], 'value', what, problems);
    }
    if (rawField(door, 'as') === undefined) {
      this.#missing(door, 'as', `the name of a user${needs}`, problems);
    }
  }

  #checkCertificates(door: Entry, problems: Problem[]): void {
    const needs = ', as auth: certificate asks clients for one';
    const tls = rawField(door, 'tls');
    if (tls === undefined) {
      this.#missing(door, 'tls', `a map with cert, key and clientCa${needs}`, problems);
    } else if (isMap(tls) && tls['clientCa'] === undefined) {
      const inside = { ...door, path: [...door.path, 'tls'], name: `${door.name}.tls` };
      this.#missing(inside, 'clientCa', `a file with the authorities${needs}`, problems);
    }
  }

  #checkLogin(door: Entry, problems: Problem[]): void {
    const host = rawField(door, 'host');
    if (rawField(door, 'as') !== undefined) {
      const what = 'has no effect, as the door asks for a login; auth: none would not';
      this.#report(door, ['as'], 'key', what, problems, 'warning');
    }
    if (typeof host !== 'string' || isLoopback(host) || rawField(door, 'tls') !== undefined) return;
    const what = `passwords cross the network to ${host} in clear; tls, SSH or a loopback address would keep them`;
    this.#report(door, ['host'], 'value', what, problems, 'warning');
  }

  #missing(door: Entry, key: string, expected: string, problems: Problem[]): void {
    this.#report(door, [], 'key', `"${key}" is missing; expected ${expected}`, problems);
  }

  #report(
    door: Entry,
    inside: readonly string[],
    at: 'key' | 'value',
    what: string,
    problems: Problem[],
    severity: Problem['severity'] = 'error',
  ): void {
    const shown = ['listen', door.name, ...inside].join('.');
    const path = [...door.path, ...inside];
    problems.push(this.#main.file.problem(path, at, `${shown}: ${what}`, severity));
  }
}

/** No two doors on one address. A numbered door is there for each port with a number. */
export function checkOverlaps(
  main: Source,
  listen: ListenValue,
  ports: readonly Entry[],
  problems: Problem[],
): void {
  const numbered = ports.flatMap((entry) => {
    const n = rawField(entry, 'n');
    const isRight = typeof n === 'number' && Number.isInteger(n) && n >= 1 && n <= 999;
    return isRight ? [{ name: entry.name, n }] : [];
  });
  const byNumber = new Map(numbered.map((port) => [port.n, port]));
  const doors = numberedDoors(listen);
  for (const [index, door] of doors.entries()) {
    const refuse = (text: string): void => {
      const path = ['listen', ...door.key.split('.')];
      problems.push(main.file.problem(path, 'value', `listen.${door.shown}: ${text}`));
    };
    const beyond = numbered.find(({ n }) => door.base + n > 65_535);
    if (beyond) {
      const { name, n } = beyond;
      refuse(
        `${door.base} + ${n} (n of ${name}) is no TCP port; expected a base of 65535 - ${n} at most`,
      );
      continue;
    }
    const ssh = listen.ssh && hostsOverlap(listen.ssh.host, door.host) ? listen.ssh : null;
    const met = ssh && byNumber.get(ssh.tcpPort - door.base);
    if (met) {
      refuse(
        `the door of ${met.name} at ${door.base} + ${met.n} = ${ssh.tcpPort} overlaps listen.ssh on ${ssh.host}:${ssh.tcpPort}; expected another base or address`,
      );
    }
    for (const other of doors.slice(0, index)) {
      if (!hostsOverlap(other.host, door.host)) continue;
      const mine = numbered.find(({ n }) => byNumber.has(door.base + n - other.base));
      if (!mine) continue;
      const theirs = byNumber.get(door.base + mine.n - other.base)!;
      refuse(
        `the door of ${mine.name} at ${door.base} + ${mine.n} = ${door.base + mine.n} overlaps listen.${other.shown}, the door of ${theirs.name} at ${other.base} + ${theirs.n}; expected another base or address`,
      );
    }
  }
}

interface NumberedDoor {
  /** Where its base is written. */
  key: string;
  /** The door in words. */
  shown: string;
  host: string;
  base: number;
}

function numberedDoors(listen: ListenValue): NumberedDoor[] {
  const { telnet, raw } = listen;
  const portSsh = listen['port-ssh'];
  const doors: NumberedDoor[] = [];
  if (portSsh) doors.push({ key: 'port-ssh.base', shown: 'port-ssh', ...portSsh });
  if (telnet) {
    doors.push({ key: 'telnet.base', shown: 'telnet', host: telnet.host, base: telnet.base });
    if (telnet.alias !== undefined) {
      const { host, alias } = telnet;
      doors.push({ key: 'telnet.alias', shown: 'telnet.alias', host, base: alias });
    }
  }
  if (raw) doors.push({ key: 'raw.base', shown: 'raw', host: raw.host, base: raw.base });
  return doors;
}

type TlsValue = NonNullable<NonNullable<ListenValue['raw']>['tls']>;

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
