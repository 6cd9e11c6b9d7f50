import { resolve } from 'node:path';
import { didYouMean } from '../core/names.ts';
import type {
  BackendSettings,
  ClientTlsSettings,
  DeviceMatch,
  DeviceSettings,
  ServerSettings,
} from '../core/settings.ts';
import { BACKEND_KEYS, type BackendKey } from './backend-schema.ts';
import { placeOf, rawField, type Entry } from './files.ts';
import type { PortValue } from './port-schema.ts';
import type { Problem } from './problems.ts';
import { inWords } from './shapes.ts';
import { canonicalHost } from './units.ts';

/** Exactly one; a missing one is told only where no other problem (a mistyped key) explains it. */
export function checkBackendKeys(entry: Entry, isRight: boolean, problems: Problem[]): void {
  const shown = `ports.${entry.name}`;
  const [kind, ...others] = BACKEND_KEYS.filter((key) => rawField(entry, key) !== undefined);
  for (const other of others) {
    const text = `${shown}.${other}: a second backend beside ${kind}; expected exactly one of ${BACKEND_KEYS.join(', ')}`;
    problems.push(entry.file.problem([...entry.path, other], 'key', text));
  }
  if (kind === undefined && isRight) {
    const text = `${shown}: does not say where its bytes come from; expected one of ${BACKEND_KEYS.join(', ')}`;
    problems.push(entry.file.problem(entry.path, 'key', text));
  }
  if (kind !== undefined) checkKeysBeside(entry, kind, problems);
}

/**
 * The backend of a port, the first if there are several; null when there is none.
 * `value`: the port with its profile, as `signals` and `rs485` may stand there.
 */
export function backendOf(
  entry: Entry,
  value: PortValue,
  machines: readonly string[] | null,
  problems: Problem[],
): BackendSettings | null {
  const key = BACKEND_KEYS.find((one) => value[one] !== undefined);
  if (key === undefined) return null;
  if (value.sim && machines && !machines.includes(value.sim.machine)) {
    const near = didYouMean(value.sim.machine, machines);
    const text = `ports.${entry.name}.sim: no machine "${value.sim.machine}"; expected ${inWords(machines)}${near}`;
    problems.push(entry.file.problem([...entry.path, 'sim'], 'value', text));
  }
  const make = makers[key] as (given: unknown, around: Around) => BackendSettings;
  return make(value[key], { value, absolute: (path) => resolve(entry.directory, path) });
}

/** Ports by what only one of them can have, and others that hint at a mistake. */
export class Claims {
  readonly #claimed = new Map<string, Entry>();
  readonly #matches: { entry: Entry; match: DeviceMatch }[] = [];

  /** Reports where a port wants what another one has. */
  add(entry: Entry, backend: BackendSettings, problems: Problem[]): void {
    const claim = (claims[backend.kind] as (backend: BackendSettings) => Claim | null)(backend);
    const key = BACKEND_KEYS.find((one) => rawField(entry, one) !== undefined);
    if (!claim || key === undefined) return;
    const { what, isShared = false } = claim;
    const first = this.#claimed.get(what);
    this.#claimed.set(what, first ?? entry);
    const report = (text: string, severity: Problem['severity']): void => {
      const words = `ports.${entry.name}.${key}: ${text}`;
      problems.push(entry.file.problem([...entry.path, key], 'value', words, severity));
    };
    if (first) {
      const at = `${first.name} already uses ${what} (${placeOf(first)})`;
      if (isShared) report(`${at}; most servers of a line take one client`, 'warning');
      else report(`${at}; expected a device of its own`, 'error');
    } else if (backend.kind === 'device') this.#checkDevice(entry, backend, report);
  }

  #checkDevice(
    entry: Entry,
    { path, match }: DeviceSettings,
    report: (text: string, severity: Problem['severity']) => void,
  ): void {
    if (path !== null && /^\/dev\/tty(USB|ACM)\d+$/.test(path)) {
      report(
        `${path} is numbered by the order of plugging in; a path in /dev/serial/by-id or by-path, or match, stays the same`,
        'warning',
      );
    }
    if (!match) return;
    for (const { entry: other, match: otherMatch } of this.#matches) {
      if (!isPartOf(match, otherMatch) && !isPartOf(otherMatch, match)) continue;
      report(
        `a device may fit ${other.name}, too (${placeOf(other)}); serial, interface or usbPath would tell them apart`,
        'warning',
      );
    }
    this.#matches.push({ entry, match });
  }
}

/** What a port says besides its backend's own key. */
interface Around {
  value: PortValue;
  absolute: (path: string) => string;
}

type Makers = {
  [K in BackendKey]: (given: NonNullable<PortValue[K]>, around: Around) => BackendSettings;
};

const makers: Makers = {
  device: (path, around) => deviceOf(around.absolute(path), null, around),
  match: (match, around) => deviceOf(null, match, around),
  tcp: (server, around) => ({ kind: 'tcp', ...serverOf(server, around) }),
  telnet: (server, around) => ({ kind: 'telnet', ...serverOf(server, around) }),
  rfc2217: (server, around) => ({
    kind: 'rfc2217',
    ...serverOf(server, around),
    signals: around.value.signals ?? {},
  }),
  unix: (path, { absolute }) => ({ kind: 'unix', path: absolute(path) }),
  exec: ({ command, on }) => ({ kind: 'exec', command, on }),
  pty: (pty, { absolute }) =>
    'path' in pty
      ? { kind: 'pty', path: absolute(pty.path), command: null }
      : { kind: 'pty', path: null, command: pty.command },
  udp: ({ listen, from, sourcePort, format }) => ({
    kind: 'udp',
    listen,
    from,
    sourcePort: sourcePort ?? null,
    format,
  }),
  split: ({ of, part }) => ({ kind: 'split', of, part }),
  sim: (machine) => ({ kind: 'sim', ...machine }),
};

function deviceOf(
  path: string | null,
  match: PortValue['match'] | null,
  { value }: Around,
): DeviceSettings {
  return {
    kind: 'device',
    path,
    match: match ? definedOf(match) : null,
    signals: value.signals ?? {},
    rs485: value.rs485 ?? null,
  };
}

/** Without the keys that say nothing. */
function definedOf(match: NonNullable<PortValue['match']>): DeviceMatch {
  return Object.fromEntries(Object.entries(match).filter(([, part]) => part !== undefined));
}

function serverOf(
  { host, tcpPort }: { host: string; tcpPort: number },
  { value: { tls }, absolute }: Around,
): ServerSettings {
  return { host, tcpPort, tls: tls ? clientTlsOf(tls, absolute) : null };
}

function clientTlsOf(
  { ca, cert, key, serverName }: NonNullable<PortValue['tls']>,
  absolute: (path: string) => string,
): ClientTlsSettings {
  const file = (path: string | undefined): string | null =>
    path === undefined ? null : absolute(path);
  return { ca: file(ca), cert: file(cert), key: file(key), serverName: serverName ?? null };
}

/** What a backend takes for itself, in words that also compare. */
interface Claim {
  what: string;
  /** Two may have it, though that is seldom meant. */
  isShared?: boolean;
}

type ClaimTable = {
  [K in BackendSettings['kind']]: (backend: Extract<BackendSettings, { kind: K }>) => Claim | null;
};

const claims: ClaimTable = {
  device: ({ path, match }) => ({ what: path ?? matchInWords(match!) }),
  tcp: claimOfServer,
  telnet: claimOfServer,
  rfc2217: claimOfServer,
  unix: ({ path }) => ({ what: path, isShared: true }),
  exec: () => null, // the same words may well give another console each time
  pty: ({ path, command }) => ({ what: path ?? command.join(' ') }),
  udp: () => null, // udp-sources.ts
  split: () => null, // splits.ts
  sim: () => null,
};

function claimOfServer({ host, tcpPort }: ServerSettings): Claim {
  const canonical = canonicalHost(host);
  const shown = canonical.includes(':') ? `[${canonical}]` : canonical;
  return { what: `${shown}:${tcpPort}`, isShared: true };
}

function matchInWords(match: DeviceMatch): string {
  const parts = Object.entries(match).map(([key, part]) => `${key} ${part}`);
  return `the device with ${parts.sort().join(', ')}`;
}

/** Whatever fits the longer one fits the shorter one, too. */
function isPartOf(shorter: DeviceMatch, longer: DeviceMatch): boolean {
  return Object.entries(shorter).every(([key, part]) => longer[key as keyof DeviceMatch] === part);
}

/** Keys that only some backends know: which, and why the others do not. */
const keysBeside: readonly {
  key: string;
  backends: readonly BackendKey[];
  why: string;
  expected: string;
}[] = [
  ...['line', 'flow'].map((key) => ({
    key,
    backends: BACKEND_KEYS.filter((backend) => backend !== 'split'),
    why: 'has the settings of the port it is a part of',
    expected: 'them there',
  })),
  {
    key: 'signals',
    backends: ['device', 'match', 'rfc2217'],
    why: 'has no signals to set',
    expected: 'them on a device or an RFC 2217 server',
  },
  {
    key: 'rs485',
    backends: ['device', 'match'],
    why: 'has no driver that could',
    expected: 'it on a device',
  },
  {
    key: 'tls',
    backends: ['tcp', 'telnet', 'rfc2217'],
    why: 'has no TLS',
    expected: 'it beside tcp, telnet or rfc2217',
  },
];

function checkKeysBeside(entry: Entry, kind: BackendKey, problems: Problem[]): void {
  const line = kind === 'match' ? 'a device' : `${kind === 'exec' ? 'an' : 'a'} ${kind} line`;
  for (const { key, backends, why, expected } of keysBeside) {
    if (rawField(entry, key) === undefined || backends.includes(kind)) continue;
    const text = `ports.${entry.name}.${key}: ${line} ${why}; expected ${expected}`;
    problems.push(entry.file.problem([...entry.path, key], 'key', text));
  }
}
