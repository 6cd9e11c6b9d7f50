import { createReadStream, existsSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { createAuthorizer, LOCAL_ADMIN } from '../auth/authorizer.ts';
import type { Journal } from '../core/clock.ts';
import { EXIT, exitCodeOf, Fault } from '../core/fault.ts';
import type { LogReader } from '../core/log-reader.ts';
import { DEFAULT_ESCAPE } from '../core/user.ts';
import { runRemote } from '../frontends/control/client.ts';
import { createLogReader } from '../log/service.ts';
import { dataPaths, readDataId } from '../store/data-directory.ts';
import { planVerb, runVerb } from '../verbs/run-verb.ts';
import { findDataDirectory } from './find-data.ts';
import { localActions } from './local-actions.ts';
import { openOfflineLog } from './offline-log.ts';
import { packageVersion } from './package-files.ts';
import type { ProcessContext } from './process-context.ts';
import { findControlSocket } from './runtime-paths.ts';
import { SystemClock } from './system-clock.ts';
import { terminalIo } from './terminal-io.ts';

/**
 * The `fairlead` command: a verb runs in the daemon where one answers for the data directory, else
 * here, without one. Resolves with the exit code.
 */
export async function runCommandLine(context: ProcessContext): Promise<number> {
  const { argv, terminal } = context;
  if (argv[0] === '--version' || argv[0] === '-V') {
    terminal.stdout.write(`fairlead ${packageVersion()}\n`);
    return EXIT.ok;
  }
  const plan = planVerb(argv);
  try {
    if (plan.place === 'daemon') {
      const path = await findDaemon(context);
      if (path) return await runInDaemon(path, plan.inputFile, context);
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (error.code !== 'DAEMON_UNREACHABLE' || argv.length === 0) {
      terminal.stderr.write(`fairlead: ${error.message.replaceAll('\n', '\nfairlead: ')}\n`);
      return exitCodeOf(error);
    }
  }
  return runHere(context);
}

async function runInDaemon(
  path: string,
  inputFile: string | null,
  { argv, terminal }: ProcessContext,
): Promise<number> {
  if (inputFile !== null && !existsSync(inputFile)) {
    throw new Fault('NOT_FOUND', `there is no file ${inputFile}`);
  }
  return runRemote({
    path,
    argv,
    stdin: inputFile === null ? terminal.stdin : createReadStream(inputFile),
    stdout: terminal.stdout,
    stderr: terminal.stderr,
    isTerminal: terminal.stdout.isTTY === true && inputFile === null,
    progress: inputFile !== null && terminal.stderr.isTTY ? progressOf(inputFile) : undefined,
    timeZone: terminal.timeZone,
    signals: terminal.signals,
    shell: terminal.shell ?? shellOfAccount(),
  });
}

/** A pipe or a device has no length. */
function progressOf(inputFile: string): { inputBytes: number | null } {
  const stat = statSync(inputFile, { throwIfNoEntry: false });
  return { inputBytes: stat?.isFile() ? stat.size : null };
}

function shellOfAccount(): string {
  try {
    return userInfo().shell ?? DEFAULT_SHELL;
  } catch {
    return DEFAULT_SHELL; // an account that is in no directory, as in a container
  }
}

/** A verb without a daemon: what the disk tells. */
async function runHere(context: ProcessContext): Promise<number> {
  const io = terminalIo(context.terminal);
  const log = await openLogOf(context);
  try {
    return await runVerb(
      {
        caller: { user: LOCAL_ADMIN, remote: `local pid ${process.pid}`, frontend: 'local' },
        access: null,
        log: log?.reader ?? null,
        daemon: null,
        local: localActions(context, SILENT),
        io,
        preferences: { escape: DEFAULT_ESCAPE },
        clock: new SystemClock(),
        journal: SILENT,
      },
      context.argv,
    );
  } finally {
    log?.close();
    io.close();
  }
}

/** The log of the data directory named on the command line or in the configuration, if there is one. */
async function openLogOf(
  context: ProcessContext,
): Promise<{ reader: LogReader; close(): void } | null> {
  if (planVerb(context.argv).place === 'here') return null;
  const data = await findDataDirectory(context);
  if (!data || !existsSync(dataPaths(data).path)) return null;
  const source = openOfflineLog(data);
  const reader = createLogReader(
    source,
    createAuthorizer([], {}),
    { group: () => null, aliases: () => [] },
    { clock: new SystemClock(), audit: () => undefined },
  );
  return { reader, close: () => source.close() };
}

async function findDaemon(context: ProcessContext): Promise<string | null> {
  const data = await findDataDirectory(context);
  const id = data === null ? null : readDataId(data);
  return data !== null && id !== null
    ? findControlSocket({ id, path: dataPaths(data).path })
    : null;
}

const DEFAULT_SHELL = '/bin/sh';

const silent = (): void => undefined;
/** A command's messages go to stderr; it keeps no journal. */
const SILENT: Journal = {
  fatal: silent,
  error: silent,
  warn: silent,
  info: silent,
  debug: silent,
  child: () => SILENT,
};
