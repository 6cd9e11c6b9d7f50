import { createInterface } from 'node:readline/promises';
import { findConfig } from '../config/find.ts';
import { formatProblem, problemsFault } from '../config/problems.ts';
import type { Journal } from '../core/clock.ts';
import { EXIT, Fault } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import type { PortSettings, Settings } from '../core/settings.ts';
import { readDataId } from '../store/data-directory.ts';
import { findGlobalOptions } from '../verbs/run-verb.ts';
import type { GlobalOptions, LocalActions } from '../verbs/verb.ts';
import { admitInvokingUser } from './admission.ts';
import { findDataDirectory, findSettings } from './find-data.ts';
import { Daemon } from './daemon.ts';
import { parseFailpoints } from './failpoints.ts';
import { JournalThread, type JournalLevel } from './journal.ts';
import type { ProcessContext } from './process-context.ts';
import { viewDaemon } from './daemon-view.ts';
import { localLines } from './local-lines.ts';
import { configContext, readSettings } from './read-settings.ts';
import { runCommand } from './run-command.ts';
import {
  demoRack,
  foundPorts,
  invokingUser,
  standaloneSettings,
  stateDirectory,
} from './standalone.ts';
import { userActions } from './user-actions.ts';
import { changeStoredUsers } from './stored-users.ts';
import { verifyDataDirectory } from './verify.ts';

/** sysexits.h EX_SOFTWARE: we failed, not the world; systemd starts us again. */
const EXIT_SOFTWARE = 70;

/** What only the local shell of the server may do. */
export function localActions(context: ProcessContext, journal: Journal): LocalActions {
  const given = findGlobalOptions(context.argv);
  return {
    async serve(options, io) {
      const config = findConfig(context.cwd, options.config);
      if (config !== null) {
        const { settings, warnings } = await readSettings(config, []);
        for (const warning of warnings) await io.writeError(`fairlead: ${warning}\n`);
        const data = options.data ?? settings.data;
        return runDaemon(context, { ...settings, data }, () => undefined);
      }
      const found = foundPorts();
      const isWanted = found.length > 0 && (options.ports || (await agrees(context, io, found)));
      if (options.ports && found.length === 0) {
        throw new Fault('NOT_FOUND', 'no serial port was found, and there is no fairlead.yaml');
      }
      if (isWanted) return serveStandalone(context, 'ports', found, options.data, io);
      await io.writeError('No fairlead.yaml: this is the demo rack, five simulated machines.\n');
      return serveStandalone(context, 'demo', demoRack(1), options.data, io);
    },
    demo: (options, io) =>
      serveStandalone(context, 'demo', demoRack(options.speed), options.data, io),
    async check(options) {
      const path = findConfig(context.cwd, options.config);
      if (path === null) {
        throw new Fault(
          'CONFIG_INVALID',
          'there is no fairlead.yaml here or in /etc/fairlead; name one with --config',
        );
      }
      const { assignNumbers } = await import('../config/assign.ts');
      const { checkConfig } = await import('../config/load.ts');
      const assigned = options.assign ? assignNumbers(path, configContext()) : [];
      const { settings, problems } = checkConfig(path, configContext());
      if (!settings) throw problemsFault(problems);
      return [
        ...assigned.map(({ port, n, file }) => `${file}: ${port} got n: ${n}`),
        ...problems.map(formatProblem),
        `${path}: ok, ${settings.ports.length} ports, ${settings.users.length} users`,
      ];
    },
    verify: async (options, report, signal) =>
      verifyDataDirectory(await dataDirectoryOf(context, options), report, signal),
    async signalReload(options) {
      const data = await dataDirectoryOf(context, options);
      throw new Fault('DAEMON_UNREACHABLE', `no daemon answers for ${data}`);
    },
    users: userActions({
      change: async (change) =>
        changeStoredUsers({
          dataDirectory: await dataDirectoryOf(context, given),
          settings: await findSettings(context, given.config),
          change,
          journal,
        }),
    }),
    lines: localLines({
      settings: () => findSettings(context, given.config),
      data: () => findDataDirectory(context),
      daemon: async () => viewDaemon(await findDataDirectory(context), context.terminal.timeZone),
      run: (argv) => runCommand(argv, COMMAND_TIMEOUT_MS),
      journal,
    }),
  };
}

const COMMAND_TIMEOUT_MS = 5_000;

async function dataDirectoryOf(context: ProcessContext, options: GlobalOptions): Promise<string> {
  const data = options.data ?? (await findDataDirectory(context));
  if (data === null || readDataId(data) === null) {
    const where = data === null ? 'no configuration was found' : `${data} holds none`;
    throw new Fault('NOT_FOUND', `there is no data directory: ${where}; name one with --data`);
  }
  return data;
}

/** Runs until a signal ends it or a part fails that cannot be replaced. Resolves with the exit code. */
async function runDaemon(
  context: ProcessContext,
  settings: Settings,
  onReady: (daemon: Daemon) => void,
): Promise<number> {
  const { signals, environment, terminal } = context;
  const journal = new JournalThread({
    level: (environment.journalLevel ?? 'info') as JournalLevel,
    pretty: terminal.stdout.isTTY === true,
  });
  const lines = journal.open();
  // All from the very first: a signal nobody listens for ends a process, and with it what it holds.
  const stopped = new Promise<number>((resolve) => {
    signals.once('SIGTERM', () => resolve(EXIT.ok));
    signals.once('SIGINT', () => resolve(EXIT.ok));
  });
  const starting = Daemon.start({
    settings,
    journal,
    service: environment,
    failpoints: parseFailpoints(environment.failAt),
  });
  signals.on('SIGHUP', () => {
    starting
      .then((daemon) => daemon.reload(null))
      .catch((error: unknown) => {
        lines.error({ err: error }, 'reload refused, the old configuration stays');
      });
  });
  signals.on('SIGUSR1', () => {
    void starting.then(
      (daemon) => daemon.retryPorts(),
      () => undefined, // whoever waits for the start says why it failed
    );
  });
  // Mirrors (text files of a port) are reopened here once there are any; until then it must not end us.
  signals.on('SIGUSR2', () => lines.info({}, 'no mirrors to reopen'));
  const daemon = await starting;
  onReady(daemon);
  const failed = daemon.failed.then((error) => {
    terminal.stderr.write(`fairlead: the store failed: ${error.message}\n`);
    return EXIT_SOFTWARE;
  });
  const code = await Promise.race([stopped, failed]);
  await daemon.stop();
  return code;
}

/** The rack without a configuration file: lets in whoever started it, and says how. */
async function serveStandalone(
  context: ProcessContext,
  name: 'ports' | 'demo',
  ports: PortSettings[],
  dataOption: string | null,
  io: VerbIo,
): Promise<number> {
  const { user, password } = await admitInvokingUser({
    ...invokingUser(),
    agentSocket: context.environment.sshAuthSock,
  });
  const data = dataOption ?? stateDirectory(name, context.environment.xdgStateHome);
  const settings = await standaloneSettings({ ports, users: [user], data });
  const { ssh } = settings.listen;
  const first = ports[0]?.name ?? '';
  const line = (target: string): string => `  ssh -p ${ssh?.tcpPort} ${target}`;
  return runDaemon(context, settings, () => {
    const words = [
      '',
      `${ports.length} ports: ${ports.map((port) => port.name).join(' ')}`,
      '',
      'Try:',
      line(`${user.name}:${first}@127.0.0.1`) + '          a terminal; ^Ec. leaves, ^Ec? is help',
      line(`-t ${user.name}@127.0.0.1`) + '          the menu of all; ^C leaves',
      line(`${user.name}@127.0.0.1 ports`),
      line(`${user.name}@127.0.0.1 log ${first} --follow`),
      line(`-t ${user.name}@127.0.0.1 replay ${first}`),
      '',
      user.keys.length > 0
        ? `Your ${user.keys.length} SSH keys are let in, and this password: ${password}`
        : `Password (shown only now): ${password}`,
      `The log is in ${data}. Ctrl-C ends it.`,
      '',
    ];
    void io.writeError(words.join('\n'));
  });
}

/** Opening a serial port can reset what hangs on it (DTR): only after a yes. */
async function agrees(
  context: ProcessContext,
  io: VerbIo,
  found: readonly PortSettings[],
): Promise<boolean> {
  const { stdin, stdout } = context.terminal;
  if (stdin.isTTY !== true || stdout.isTTY !== true) return false;
  await io.write(`No fairlead.yaml, but these serial ports:\n`);
  for (const port of found) {
    const { backend } = port;
    await io.write(`  ${port.name}  ${backend.kind === 'device' ? backend.path : ''}\n`);
  }
  const reader = createInterface({ input: stdin, output: stdout });
  const answer = await reader.question(
    'Open them at 115200 8N1? Opening raises DTR, which resets some boards. [y/N] ',
  );
  reader.close();
  return /^y(es)?$/i.test(answer.trim());
}
