import { dirname, resolve } from 'node:path';
import { didYouMean, isPortName, NAME_PATTERN } from '../core/names.ts';
import type {
  AutoPortSettings,
  ExposeSettings,
  PortSettings,
  PowerSettings,
} from '../core/settings.ts';
import { backendOf, checkBackendKeys, Claims } from './backends.ts';
import { placeOf, rawField, type Entry, type Source } from './files.ts';
import {
  portSchema,
  profileSchema,
  type AutoPortValue,
  type DefaultsValue,
  type PortValue,
  type ProfileValue,
} from './port-schema.ts';
import type { Problem } from './problems.ts';
import { inWords } from './shapes.ts';
import { resolveSplits } from './splits.ts';
import { checkTaskNames, mergeTasks, taskLayers, type TaskLayer } from './tasks.ts';
import { checkUdpSources, type UdpUser } from './udp-sources.ts';
import type { Path } from './yaml-file.ts';
import { pathInWords, readValue } from './zod-problems.ts';

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
  const claims = new Claims();
  for (const entry of entries) {
    const before = problems.length;
    const value = readValue(portSchema, entry.raw, entry.file, entry.path, problems);
    checkTaskNames(entry.file, entry.path, entry.raw, problems);
    checkExposedUser(entry, context);
    const profile = profileOf(entry, context);
    checkBackendKeys(entry, value !== null, problems);
    const withProfile = value && { ...profile?.settings, ...value };
    const backend = withProfile && backendOf(entry, withProfile, context.machines, problems);
    if (backend && problems.length === before) claims.add(entry, backend, problems);
    if (!value || !backend || !profile || !context.defaults) continue;
    ports.push({
      name: entry.name,
      was: value.was ?? null,
      n: value.n ?? null,
      aliases: value.aliases ?? [],
      backend,
      ...optionsOf(entry, value, profile, context.defaults, context),
      power: powerOf(value),
      expose: exposeOf(entry, value),
    });
  }
  const resolved = resolveSplits(ports, { entries, isComplete: context.isComplete, problems });
  checkExposed(entries, resolved, problems);
  return resolved;
}

/** Reads `autoPorts`: for each the port it makes, from the defaults, the profile and what it says itself. */
export function readAutoPorts(
  main: Source,
  values: readonly AutoPortValue[],
  context: PortContext,
): AutoPortSettings[] {
  const { problems } = context;
  const prefixes = new Map<string, Entry>();
  return values.flatMap((value, index) => {
    const entry = autoEntry(main, index);
    checkTaskNames(entry.file, entry.path, entry.raw, problems);
    const first = prefixes.get(value.prefix.toLowerCase());
    prefixes.set(value.prefix.toLowerCase(), first ?? entry);
    if (first) {
      const text = `${entry.name}.prefix: "${value.prefix}" is already that of ${first.name} (${placeOf(first)}); expected a prefix of its own`;
      problems.push(entry.file.problem([...entry.path, 'prefix'], 'value', text));
    }
    const profile = profileOf(entry, context);
    if (!profile || !context.defaults) return [];
    const { udp: listen, from, format, max: portsMax, prefix } = value;
    const options = optionsOf(entry, value, profile, context.defaults, context);
    const port = { ...options, power: null, expose: null };
    return { listen, from, format, portsMax, prefix, port };
  });
}

/** Who takes datagrams of whom: ports and those made by themselves. */
export function checkDatagrams(
  entries: readonly Entry[],
  ports: readonly PortSettings[],
  main: Source,
  autoPorts: readonly AutoPortValue[],
  problems: Problem[],
): void {
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  const ofPorts = ports.flatMap(({ name, backend }): UdpUser[] => {
    if (backend.kind !== 'udp') return [];
    const entry = byName.get(name)!;
    return [{ entry, listenPath: ['udp', 'listen'], fromPath: ['udp', 'from'], ...backend }];
  });
  const automatic = autoPorts.map(({ udp: listen, from }, index): UdpUser => {
    const entry = autoEntry(main, index);
    return { entry, listenPath: ['udp'], fromPath: ['from'], listen, from, sourcePort: null };
  });
  checkUdpSources(ofPorts, automatic, problems);
}

function autoEntry(main: Source, index: number): Entry {
  const path = ['autoPorts', index];
  const raw = (main.top['autoPorts'] as unknown[])[index];
  return { name: pathInWords(path), file: main.file, directory: dirname(main.path), path, raw };
}

/** What a port has from the defaults, its profile, and its own keys, the nearest of each. */
function optionsOf(
  entry: Entry,
  value: ProfileValue,
  profile: Profile,
  defaults: DefaultsValue,
  context: PortContext,
): Omit<PortSettings, 'name' | 'was' | 'n' | 'aliases' | 'backend' | 'power' | 'expose'> {
  const merged = { ...defaults, ...profile.settings, ...value };
  const layers = [
    ...context.taskLayers,
    ...profile.taskLayers,
    ...taskLayers(entry.file, entry.path, value),
  ];
  const motd = [context.motd, merged.motd].filter((text) => text !== null);
  return {
    group: merged.group ?? null,
    line: merged.line,
    flow: merged.flow,
    input: merged.input,
    latency: merged.latency,
    writers: merged.writers,
    pace: merged.pace,
    restoreLine: merged.restoreLine,
    onOpen: merged.onOpen,
    onDetach: merged.onDetach,
    idle: merged.idle,
    idleTimeoutMs: merged.idleTimeout,
    motd: motd.length === 0 ? null : motd.join('\n'),
    tasks: mergeTasks(layers, context.problems),
  };
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
  const text = `${pathInWords(entry.path)}.profile: no profile "${name}"; expected ${expected}${didYouMean(name, names)}`;
  return entry.file.problem([...entry.path, 'profile'], 'value', text);
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
    if ('path' in backend && backend.path !== null) opened.set(backend.path, `what ${name} opens`);
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
