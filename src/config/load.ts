import { dirname, resolve } from 'node:path';
import * as zlib from 'node:zlib';
import type { CertificateSettings, Settings } from '../core/settings.ts';
import {
  diskFiles,
  entriesOf,
  rawField,
  readSources,
  type Entry,
  type FileAccess,
  type Source,
} from './files.ts';
import { listenSchema } from './listen-schema.ts';
import { checkOverlaps, listenSettings, ProgramDoors } from './listeners.ts';
import { keysInFile } from './named-files.ts';
import { autoPortsSchema, defaultsSchema } from './port-schema.ts';
import {
  checkDatagrams,
  exposedUserOf,
  readAutoPorts,
  readPorts,
  readProfiles,
  type PortContext,
} from './ports.ts';
import { problemsFault, sortProblems, type Problem } from './problems.ts';
import { dataSchema, fileSchema, logSchema, markSchema } from './schema.ts';
import { prose } from './shapes.ts';
import { breaks as breaksSchema, tasks as tasksSchema } from './step-schema.ts';
import { checkTaskNames, taskLayers } from './tasks.ts';
import { certificatesSchema } from './user-schema.ts';
import { readRoles, readUsers } from './users.ts';
import { readValue } from './zod-problems.ts';
import type * as z from 'zod';

/** What the configuration is checked against besides itself. */
export interface LoadOptions extends Partial<FileAccess> {
  /** Words that no port may be named: the verbs. */
  verbs?: readonly string[];
  /** Machines the `sim` backend knows; absent: not checked. */
  machines?: readonly string[];
  /** Names of the users kept in the database. */
  databaseUsers?: readonly string[];
  /** This Node can read and write zstd. */
  hasZstd?: boolean;
}

/** A configuration and what there is to say about it. */
export interface LoadedConfig {
  settings: Settings;
  /** Warnings only: errors are thrown. */
  problems: readonly Problem[];
}

/**
 * Reads and checks fairlead.yaml and all it includes. Paths in a file are relative to that file.
 * @throws Fault CONFIG_INVALID with all problems at once, one on each line, `file:line:column: what is
 * wrong; expected ...; did you mean "..."?`.
 */
export function loadConfig(path: string, options: LoadOptions = {}): LoadedConfig {
  const { settings, problems } = checkConfig(path, options);
  if (!settings) throw problemsFault(problems);
  return { settings, problems };
}

/**
 * The data directory that fairlead.yaml names, whatever else is wrong with the file: a verb must find
 * the running daemon also while somebody edits it. Null when even that cannot be told.
 */
export function dataDirectoryIn(path: string): string | null {
  const problems: Problem[] = [];
  const main = readSources(resolve(path), path, diskFiles, problems).all[0];
  if (!main) return null;
  const data = main.file.isWhole
    ? readSection(main, 'data', dataSchema, problems)
    : // The syntax is broken somewhere: this line may still be what it looks like.
      /^data:[ \t]+(?<quote>["']?)(?<path>[^"'#{}[\]]+?)\k<quote>[ \t]*(?:#.*)?$/m.exec(
        diskFiles.readFile(main.path),
      )?.groups!['path'];
  return data ? resolve(dirname(main.path), data) : null;
}

/** As loadConfig, for `check`: never throws, gives errors and warnings in order; settings null if any error. */
export function checkConfig(
  path: string,
  options: LoadOptions = {},
): { settings: Settings | null; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const access: FileAccess = {
    readFile: options.readFile ?? diskFiles.readFile,
    listDirectory: options.listDirectory ?? diskFiles.listDirectory,
  };
  const sources = readSources(resolve(path), path, access, problems);
  const { isComplete, all } = sources;
  const main = all[0];
  const databaseUsers = options.databaseUsers ?? [];

  const profileEntries = entriesOf(all, 'profiles', problems);
  const portEntries = entriesOf(all, 'ports', problems);
  const userEntries = entriesOf(all, 'users', problems);
  const userNames = [...userEntries.map((entry) => entry.name), ...databaseUsers];

  const data = readSection(main, 'data', dataSchema, problems);
  const listen = readSection(main, 'listen', listenSchema, problems);
  const defaults = readSection(main, 'defaults', defaultsSchema, problems);
  const mark = readSection(main, 'mark', markSchema, problems);
  const log = readSection(main, 'log', logSchema, problems);
  const banner = readSection(main, 'banner', prose, problems);
  const motd = readSection(main, 'motd', prose, problems);
  const tasks = readSection(main, 'tasks', tasksSchema, problems);
  const breaks = readSection(main, 'breaks', breaksSchema, problems);
  const certificates = readCertificates(main, access, problems);
  const roles = readRoles(main, problems);
  const autoValues = readSection(main, 'autoPorts', autoPortsSchema, problems) ?? [];
  const context: PortContext = {
    isComplete,
    verbs: options.verbs ?? [],
    users: userNames,
    machines: options.machines ?? null,
    defaults,
    profiles: readProfiles(profileEntries, isComplete, problems),
    taskLayers: main
      ? [
          ...taskLayers(main.file, [], { tasks: tasks ?? {}, breaks: breaks ?? {} }),
          ...(defaults ? taskLayers(main.file, ['defaults'], defaults) : []),
        ]
      : [],
    motd,
    problems,
  };
  const ports = readPorts(portEntries, context);
  const autoPorts = main ? readAutoPorts(main, autoValues, context) : [];
  if (main) {
    checkDatagrams(portEntries, ports, main, autoValues, problems);
    checkTaskNames(main.file, [], main.top, problems);
    checkTaskNames(main.file, ['defaults'], main.top['defaults'], problems);
  }
  const programDoors = main && new ProgramDoors(main);
  const exposedUsers = portEntries.flatMap((entry) => exposedUserOf(entry) ?? []);
  const users = readUsers(userEntries, {
    access,
    isComplete,
    roles: Object.keys((main?.top['roles'] as object | undefined) ?? {}),
    groups: groupsOf([...portEntries, ...profileEntries]),
    portNames: portEntries.map((entry) => entry.name),
    databaseUsers,
    doorUsers: [...(programDoors?.users() ?? []), ...exposedUsers],
    hasCertificates:
      (certificates?.authorities.length ?? 0) > 0 || (programDoors?.takeCertificates() ?? false),
    problems,
  });
  programDoors?.check(isComplete ? userNames : null, problems);
  if (main && listen) checkOverlaps(main, listen, portEntries, problems);
  if (main && log?.codec === 'zstd' && !(options.hasZstd ?? 'zstdCompressSync' in zlib)) {
    const text = `log.codec: this is Node ${process.versions.node}, and zstd needs 22.15 or later; expected brotli`;
    problems.push(main.file.problem(['log', 'codec'], 'value', text));
  }

  const sorted = sortProblems(
    problems,
    all.map((source) => source.file.name),
  );
  const hasError = sorted.some((problem) => problem.severity === 'error');
  if (hasError || !main || data === null || !listen || !log || !certificates) {
    return { settings: null, problems: sorted };
  }
  const settings: Settings = {
    files: all.map((source) => source.path),
    data: resolve(dirname(main.path), data),
    listen: listenSettings(listen, dirname(main.path)),
    users,
    roles,
    ports,
    autoPorts,
    banner,
    certificates,
    markMs: mark,
    log: { codec: log.codec, spoolBytes: log.spool },
  };
  return { settings: deepFreeze(settings), problems: sorted };
}

/** A section of the main file; its defaults when it is missing or empty. */
function readSection<T extends z.ZodType>(
  main: Source | undefined,
  key: keyof typeof fileSchema.shape,
  schema: T,
  problems: Problem[],
): z.output<T> | null {
  const given = main?.top[key];
  if (!main || given === undefined || given === null) {
    return fileSchema.shape[key].parse(undefined) as z.output<T>;
  }
  return readValue(schema, given, main.file, [key], problems);
}

function groupsOf(entries: readonly Entry[]): ReadonlySet<string> {
  const groups = entries.map((entry) => rawField(entry, 'group'));
  return new Set(groups.filter((group) => typeof group === 'string'));
}

/** Null when the section has problems of shape. */
function readCertificates(
  main: Source | undefined,
  access: FileAccess,
  problems: Problem[],
): CertificateSettings | null {
  const value = readSection(main, 'certificates', certificatesSchema, problems);
  if (!main) return null;
  const path = ['certificates'];
  const directory = dirname(main.path);
  const { file } = main;
  const entry = { name: 'certificates', file, directory, path, raw: main.top['certificates'] };
  const fileKeys = keysInFile(entry, 'authoritiesFile', { access, problems });
  if (!value) return null;
  const { authorities, authoritiesFile, revokedFile } = value;
  if (revokedFile !== undefined && authorities.length === 0 && authoritiesFile === undefined) {
    const text = 'certificates.revokedFile: has no effect without authorities';
    problems.push(file.problem([...path, 'revokedFile'], 'key', text, 'warning'));
  }
  return {
    authorities: [...authorities, ...fileKeys],
    revokedFile: revokedFile === undefined ? null : resolve(directory, revokedFile),
  };
}

/** The parts a room is given cannot be changed by another one. */
function deepFreeze<T>(value: T): T {
  // Bytes to send cannot be frozen (ECMA-262, SetIntegrityLevel of a typed array throws).
  if (ArrayBuffer.isView(value)) return value;
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) deepFreeze(part);
  }
  return value;
}
