import { findConfig } from '../config/find.ts';
import type { Settings } from '../core/settings.ts';
import { readDataId } from '../store/data-directory.ts';
import { findGlobalOptions } from '../verbs/run-verb.ts';
import type { ProcessContext } from './process-context.ts';
import { configContext } from './read-settings.ts';
import { findControlSocket } from './runtime-paths.ts';
import { stateDirectory } from './standalone.ts';

/**
 * `--data`, else the `data` of the configuration in use, else where `npm start` and `demo` keep
 * theirs: that of a running daemon before one at rest. @throws Fault CONFIG_INVALID, unless a daemon
 * runs where the file points.
 */
export async function findDataDirectory(context: ProcessContext): Promise<string | null> {
  const given = findGlobalOptions(context.argv);
  if (given.data !== null) return given.data;
  const configured = await configuredData(context, given.config);
  if (configured !== null) return configured;
  const kept = ['ports', 'demo']
    .map((name) => stateDirectory(name, context.environment.xdgStateHome))
    .filter((path) => readDataId(path) !== null);
  const isRunning = (path: string): boolean =>
    findControlSocket({ id: readDataId(path) ?? '', path }) !== null;
  return kept.find(isRunning) ?? kept[0] ?? null;
}

async function configuredData(
  context: ProcessContext,
  config: string | null,
): Promise<string | null> {
  try {
    return (await findSettings(context, config))?.data ?? null;
  } catch (error) {
    const { dataDirectoryIn } = await import('../config/load.ts');
    const path = dataDirectoryIn(findConfig(context.cwd, config)!);
    const id = path === null ? null : readDataId(path);
    if (path === null || id === null || findControlSocket({ id, path }) === null) throw error;
    return path;
  }
}

/** @throws Fault CONFIG_INVALID. */
export async function findSettings(
  context: ProcessContext,
  config: string | null,
): Promise<Settings | null> {
  const path = findConfig(context.cwd, config);
  if (path === null) return null;
  // Only when wanted: the daemon's own process must not carry the parser.
  const { loadConfig } = await import('../config/load.ts');
  return loadConfig(path, configContext()).settings;
}
