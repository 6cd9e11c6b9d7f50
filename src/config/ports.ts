import { resolve } from 'node:path';
import { didYouMean, isPortName, NAME_PATTERN } from '../core/names.ts';
import type {
  BackendSettings,
  ExposeSettings,
  PortSettings,
  PowerSettings,
} from '../core/settings.ts';
import { placeOf, rawField, type Entry } from './files.ts';
import {
  BACKEND_KEYS,
  portSchema,
  profileSchema,
  type DefaultsValue,
  type PortValue,
  type ProfileValue,
} from './port-schema.ts';
import type { Problem } from './problems.ts';
import { inWords } from './shapes.ts';
import { checkTaskNames, mergeTasks, taskLayers, type TaskLayer } from './tasks.ts';
import type { Path } from './yaml-file.ts';
import { readValue } from './zod-problems.ts';

/** What ports are checked against. */
export interface PortContext {
  isComplete: boolean;
  verbs: readonly string[];
  /** Names of users, of the file and the database. */
  users: readonly string[];
  /** Machines of the `sim` backend; null: not checked. */
  machines: readonly string[] | null;
  defaults: DefaultsValue | null;
  profiles: Profiles;
  /** Tasks of the file and of the defaults, in this order. */
  taskLayers: readonly TaskLayer[];
  /** Message of the day of the whole file. */
  motd: string | null;
  problems: Problem[];
}

/** Settings of each profile by lower-case name, those it builds on filled in; null: it has problems. */
export type Profiles = ReadonlyMap<string, Profile | null>;

interface Profile {
  settings: ProfileValue;
  /** Of the profiles it builds on, then its own. */
  taskLayers: readonly TaskLayer[];
}

const N_MAX = 999;

/** Reads `profiles`, each on top of the one it names. */
export function readProfiles(
  entries: readonly Entry[],
  isComplete: boolean,
  problems: Problem[],
): Profiles {
  const own = new Map<string, { entry: Entry; value: ProfileValue | null }>();
  for (const entry of entries) {
    if (!NAME_PATTERN.test(entry.name)) {
      const text = `profiles.${entry.name}: "${entry.name}" is no name; expected letters, digits, ".", "_" and "-"`;
      problems.push(entry.file.problem(entry.path, 'key', text));
    }
    const value = readValue(profileSchema, entry.raw, entry.file, entry.path, problems);
    checkTaskNames(entry.file, entry.path, entry.raw, problems);
    own.set(entry.name.toLowerCase(), { entry, value });
  }

  const merged = new Map<string, Profile | null>();
  function merge(name: string, chain: readonly string[]): Profile | null {
    const known = merged.get(name);
    if (known !== undefined) return known;
    const { entry, value } = own.get(name)!;
    const base = value?.profile?.toLowerCase();
    const layers = value ? taskLayers(entry.file, entry.path, value) : [];
    let result: Profile | null = value && { settings: value, taskLayers: layers };
    if (base !== undefined && [...chain, name].includes(base)) {
      const loop = [...chain.slice(chain.indexOf(base)), name, base].join(' -> ');
      const text = `profiles.${entry.name}.profile: builds on itself (${loop}); expected no loop`;
      problems.push(entry.file.problem([...entry.path, 'profile'], 'value', text));
      result = null;
    } else if (base !== undefined && !own.has(base)) {
      if (isComplete) problems.push(unknownProfile(entry, value!.profile!, own.keys()));
      result = null;
    } else if (base !== undefined) {
      const below = merge(base, [...chain, name]);
      result = below && {
        settings: { ...below.settings, ...value },
        taskLayers: [...below.taskLayers, ...layers],
      };
    }
    merged.set(name, result);
    return result;
  }
  return new Map([...own.keys()].map((name) => [name, merge(name, [])]));
}

/** Reads `ports`: defaults, then profile, then what the port says. Those with problems are left out. */
export function readPorts(entries: readonly Entry[], context: PortContext): PortSettings[] {
  const { problems } = context;
  checkNames(entries, context);
  checkNumbers(entries, problems);
  checkSharedTasks(context);
  const ports: PortSettings[] = [];
  const devices = new Map<string, Entry>();
  for (const entry of entries) {
    const before = problems.length;
    const value = readValue(portSchema, entry.raw, entry.file, entry.path, problems);
    checkTaskNames(entry.file, entry.path, entry.raw, problems);
    checkExposedUser(entry, context);
    const profile = profileOf(entry, context);
    checkBackendKeys(entry, value !== null, problems);
    const backend = value && backendOf(entry, value, context);
    if (problems.length === before) checkDevice(entry, backend, devices, problems);
    if (!value || !backend || !profile || !context.defaults) continue;
    const merged = { ...context.defaults, ...profile.settings, ...value };
    const layers = [
      ...context.taskLayers,
      ...profile.taskLayers,
      ...taskLayers(entry.file, entry.path, value),
    ];
    const motd = [context.motd, merged.motd].filter((text) => text !== null);
    ports.push({
      name: entry.name,
      was: value.was ?? null,
      n: value.n ?? null,
      aliases: value.aliases ?? [],
      group: merged.group ?? null,
      backend: 'signals' in backend ? { ...backend, signals: merged.signals ?? {} } : backend,
      line: merged.line,
      flow: merged.flow,
      input: merged.input,
      latency: merged.latency,
      writers: merged.writers,
      restoreLine: merged.restoreLine,
      onOpen: merged.onOpen,
      onDetach: merged.onDetach,
      idle: merged.idle,
      idleTimeoutMs: merged.idleTimeout,
      motd: motd.length === 0 ? null : motd.join('\n'),
      tasks: mergeTasks(layers, problems),
      power: powerOf(value),
      expose: exposeOf(entry, value),
    });
  }
  checkExposed(entries, ports, problems);
  return ports;
}

/** The numbers not taken, lowest first. */
export function freeNumbers(taken: ReadonlySet<number>): number[] {
  return Array.from({ length: N_MAX }, (_, index) => index + 1).filter((n) => !taken.has(n));
}

/** Names and aliases are one name space, shared with verbs and users. */
function checkNames(entries: readonly Entry[], context: PortContext): void {
  const { verbs, users, problems } = context;
  const taken = new Map<string, string>();
  const former = new Map<string, string>();
  for (const entry of entries) taken.set(entry.name.toLowerCase(), `port at ${placeOf(entry)}`);

  function checkName(name: string, entry: Entry, path: Path, at: 'key' | 'value'): void {
    const shown = at === 'key' ? `ports.${name}` : `ports.${entry.name}.aliases`;
    const refuse = (what: string, expected = 'another name'): void => {
      problems.push(
        entry.file.problem(path, at, `${shown}: "${name}" ${what}; expected ${expected}`),
      );
    };
    const lower = name.toLowerCase();
    if (/^\d+$/.test(name) && NAME_PATTERN.test(name)) {
      if (at === 'key')
        refuse(
          'is all digits, which stands for a number',
          'a name with a letter, and n: for the number',
        );
    } else if (!isPortName(name)) {
      if (at === 'key')
        refuse(
          'is no name',
          'letters, digits, ".", "_" and "-", at most 64, the first a letter or digit',
        );
    } else if (verbs.some((verb) => verb.toLowerCase() === lower)) refuse('is a verb of fairlead');
    else if (users.some((user) => user.toLowerCase() === lower)) refuse('is a user');
  }

  for (const entry of entries) {
    checkName(entry.name, entry, entry.path, 'key');
    for (const [index, alias] of stringsIn(rawField(entry, 'aliases')).entries()) {
      const path = [...entry.path, 'aliases', index];
      checkName(alias, entry, path, 'value');
      const other = taken.get(alias.toLowerCase());
      if (other !== undefined) {
        const text = `ports.${entry.name}.aliases: "${alias}" is already the ${other}; expected a name of its own (case does not count)`;
        problems.push(entry.file.problem(path, 'value', text));
      } else taken.set(alias.toLowerCase(), `alias at ${placeOf(entry, path, 'value')}`);
    }
    const was = rawField(entry, 'was');
    if (typeof was !== 'string') continue;
    const holder = taken.get(was.toLowerCase());
    const renamed = former.get(was.toLowerCase());
    former.set(was.toLowerCase(), entry.name);
    if (!holder?.startsWith('port') && renamed === undefined) continue;
    const what = renamed === undefined ? `is still a ${holder}` : `is already what ${renamed} was`;
    const text = `ports.${entry.name}.was: "${was}" ${what}; expected the former name of this port`;
    problems.push(entry.file.problem([...entry.path, 'was'], 'value', text));
  }
}

function checkNumbers(entries: readonly Entry[], problems: Problem[]): void {
  const numbers = entries.map((entry) => rawField(entry, 'n'));
  const taken = new Map<number, Entry>();
  const free = freeNumbers(new Set(numbers.filter((n) => typeof n === 'number')));
  for (const [index, entry] of entries.entries()) {
    const n = numbers[index];
    if (typeof n !== 'number') continue;
    const first = taken.get(n);
    taken.set(n, first ?? entry);
    if (!first) continue;
    const path = [...entry.path, 'n'];
    const next = free.shift();
    const text = `ports.${entry.name}.n: ${n} is already the number of ${first.name} (${placeOf(first, [...first.path, 'n'], 'value')}); expected a free one${next === undefined ? '' : `, such as ${next}`}`;
    problems.push(entry.file.problem(path, 'value', text));
  }
}

/** Empty without `profile`; null when it has problems or cannot be found. */
function profileOf(entry: Entry, context: PortContext): Profile | null {
  const name = rawField(entry, 'profile');
  if (typeof name !== 'string') return { settings: {}, taskLayers: [] };
  const profile = context.profiles.get(name.toLowerCase());
  if (profile === undefined && context.isComplete) {
    context.problems.push(unknownProfile(entry, name, context.profiles.keys()));
  }
  return profile ?? null;
}

function unknownProfile(entry: Entry, name: string, known: Iterable<string>): Problem {
  const names = [...known];
  const expected = names.length === 0 ? 'one defined in profiles' : inWords(names);
  const text = `${entry.path.join('.')}.profile: no profile "${name}"; expected ${expected}${didYouMean(name, names)}`;
  return entry.file.problem([...entry.path, 'profile'], 'value', text);
}

/** Exactly one; a missing one is told only where no other problem (a mistyped key) explains it. */
function checkBackendKeys(entry: Entry, isRight: boolean, problems: Problem[]): void {
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
}

/** The backend of a port, the first if there are several; null when there is none. */
function backendOf(entry: Entry, value: PortValue, context: PortContext): BackendSettings | null {
  const { problems, machines } = context;
  const shown = `ports.${entry.name}`;
  const kind = BACKEND_KEYS.find((key) => value[key] !== undefined);
  const hasSignals = kind === 'device' || kind === 'rfc2217';
  if (!hasSignals && kind !== undefined && value.signals !== undefined) {
    const text = `${shown}.signals: a ${kind} line has no signals to set; expected them on a device or an RFC 2217 server`;
    problems.push(entry.file.problem([...entry.path, 'signals'], 'key', text));
  }
  if (value.sim && machines && !machines.includes(value.sim.machine)) {
    const near = didYouMean(value.sim.machine, machines);
    const text = `${shown}.sim: no machine "${value.sim.machine}"; expected ${inWords(machines)}${near}`;
    problems.push(entry.file.problem([...entry.path, 'sim'], 'value', text));
  }
  const absolute = (path: string): string => resolve(entry.directory, path);
  if (value.device !== undefined)
    return { kind: 'device', path: absolute(value.device), signals: {} };
  if (value.tcp !== undefined) return { kind: 'tcp', ...value.tcp };
  if (value.telnet !== undefined) return { kind: 'telnet', ...value.telnet };
  if (value.rfc2217 !== undefined) return { kind: 'rfc2217', ...value.rfc2217, signals: {} };
  if (value.unix !== undefined) return { kind: 'unix', path: absolute(value.unix) };
  if (value.exec !== undefined) return { kind: 'exec', command: value.exec };
  if (value.pty !== undefined) return { kind: 'pty', path: absolute(value.pty) };
  return value.sim ? { kind: 'sim', ...value.sim } : null;
}

/** A tty has one owner: the second port could never open it. */
function checkDevice(
  entry: Entry,
  backend: BackendSettings | null,
  devices: Map<string, Entry>,
  problems: Problem[],
): void {
  if (backend?.kind !== 'device' && backend?.kind !== 'pty') return;
  const first = devices.get(backend.path);
  devices.set(backend.path, first ?? entry);
  if (!first) return;
  const text = `ports.${entry.name}.${backend.kind}: ${first.name} already uses ${backend.path} (${placeOf(first)}); expected a device of its own`;
  problems.push(entry.file.problem([...entry.path, backend.kind], 'value', text));
}

/** What the layers below the ports disagree about is wrong without any port, too. */
function checkSharedTasks({ taskLayers: shared, profiles, problems }: PortContext): void {
  mergeTasks(shared, problems);
  for (const profile of profiles.values()) {
    if (profile) mergeTasks([...shared, ...profile.taskLayers], problems);
  }
}

function powerOf({ power }: PortValue): PowerSettings | null {
  if (!power) return null;
  const { on = null, off = null, cycle = null, status = null } = power;
  return { on, off, cycle, status };
}

function exposeOf(entry: Entry, { expose }: PortValue): ExposeSettings | null {
  if (!expose) return null;
  const { path, mode, group, as, busy } = expose;
  return {
    path: resolve(entry.directory, path),
    mode,
    group: group ?? null,
    as: as ?? null,
    busy,
  };
}

/** User of an exposed pty as written; null when it names none. */
export function exposedUserOf(entry: Entry): string | null {
  const expose = rawField(entry, 'expose');
  const as = (expose as { as?: unknown } | null | undefined)?.as;
  return typeof as === 'string' ? as : null;
}

function checkExposedUser(entry: Entry, { isComplete, users, problems }: PortContext): void {
  const as = exposedUserOf(entry);
  if (as === null || !isComplete || users.includes(as)) return;
  const text = `ports.${entry.name}.expose.as: no user "${as}"; expected one of users${didYouMean(as, users)}`;
  problems.push(entry.file.problem([...entry.path, 'expose', 'as'], 'value', text));
}

/** A link of ours would stand in the way of another one, or of what a port opens. */
function checkExposed(
  entries: readonly Entry[],
  ports: readonly PortSettings[],
  problems: Problem[],
): void {
  const opened = new Map<string, string>();
  for (const { name, backend } of ports) {
    if ('path' in backend) opened.set(backend.path, `what ${name} opens`);
  }
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  for (const { name, expose } of ports) {
    if (!expose) continue;
    const what = opened.get(expose.path);
    if (what === undefined) {
      opened.set(expose.path, `exposed by ${name}`);
      continue;
    }
    const entry = byName.get(name)!;
    const isShort = typeof rawField(entry, 'expose') === 'string';
    const path = [...entry.path, 'expose', ...(isShort ? [] : ['path'])];
    const text = `${path.join('.')}: ${expose.path} is already ${what}; expected a path of its own`;
    problems.push(entry.file.problem(path, 'value', text));
  }
}

function stringsIn(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}
