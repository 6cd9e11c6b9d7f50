import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { accessSync, close as closeFd, closeSync, constants, openSync } from 'node:fs';
import { promisify } from 'node:util';
import { Poller } from '@serialport/bindings-cpp/dist/poller.js';
import type { Backend, BackendSink } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import type { Libc } from '../../core/libc.ts';
import type { PortSettings } from '../../core/settings.ts';
import { atMost } from '../deadline.ts';
import type { BackendServices, OpenerFactory } from '../services.ts';
import { startDescriptor } from '../tty/descriptor.ts';

/** Most consoles think a line is this big until told otherwise. */
const COLUMNS = 80;
const ROWS = 24;
/** What a plain command may take for granted of the terminal; no more than a serial line has. */
const TERMINAL = 'vt220';
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** From SIGHUP to SIGKILL, so that `close` keeps its second. */
const HANGUP_PATIENCE_MS = 800;
/** The pty closed but its command lives on, or the command ended and something holds the pty. */
const LAST_WORDS_MS = 300;

/**
 * A command on a pty of our own (`virsh console VM`, `ipmitool sol activate`): it is its session's
 * leader with the pty as controlling terminal. An argument vector, never a shell. Its end is the
 * line's end; the port's back-off starts it anew.
 */
export const execOpener: OpenerFactory<'exec'> = (settings, { command }, services) => {
  const target = command.join(' ');
  return {
    kind: 'exec',
    target,
    line: null,
    async open(sink) {
      const { libc } = services;
      if (libc === null) {
        throw new Fault(
          'PORT_OPEN_FAILED',
          `exec ${target}: needs the package koffi for a pty, and it is not installed; run "npm install"`,
        );
      }
      const program = command[0] ?? '';
      if (program.includes('/') && !isExecutable(program)) {
        throw new Fault(
          'PORT_OPEN_FAILED',
          `exec ${target}: ${program} is not an executable file; is it installed?`,
        );
      }
      const running = await spawnOnPty(command, libc, services);
      return startCommand(target, running, libc, sink, settings, services);
    },
  };
};

interface Running {
  masterFd: number;
  child: ChildProcess;
}

async function spawnOnPty(
  command: readonly string[],
  libc: Libc,
  { environment }: BackendServices,
): Promise<Running> {
  const { masterFd, slavePath } = libc.openPty(COLUMNS, ROWS);
  const slaveFd = openSync(slavePath, constants.O_RDWR | constants.O_NOCTTY);
  try {
    const child = spawn('setsid', ['--ctty', '--wait', ...command], {
      stdio: [slaveFd, slaveFd, slaveFd],
      env: { ...(environment ?? { PATH: DEFAULT_PATH }), TERM: TERMINAL },
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    return { masterFd, child };
  } catch (cause) {
    closeSync(masterFd);
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'setsid is missing; install util-linux' : message;
    throw new Fault('PORT_OPEN_FAILED', `exec ${command.join(' ')}: ${why}`, cause);
  } finally {
    closeSync(slaveFd); // the child has its own; ours would hide that it is gone
  }
}

/** Joins the running command to its port. Owns the master and the process group. */
function startCommand(
  target: string,
  { masterFd, child }: Running,
  libc: Libc,
  sink: BackendSink,
  settings: PortSettings,
  { sweep }: BackendServices,
): Backend {
  const description = `exec ${target} (process ${child.pid})`;
  let isOver = false;
  let closing: Promise<void> | null = null;

  const exited = new Promise<void>((resolve) => {
    if (hasExited(child)) resolve();
    else child.once('exit', () => resolve());
  });
  let markHungUp!: () => void;
  const hungUp = new Promise<void>((resolve) => {
    markHungUp = resolve;
  });
  const descriptor = startDescriptor({
    fd: masterFd,
    poller: new Poller(masterFd),
    sink,
    sweep,
    libc,
    isLowLatency: settings.latency === 'low',
    hungUp: markHungUp,
  });
  // The command ends, then its last words are read until the pty hangs up; or the other way round.
  void exited.then(() => atMost(LAST_WORDS_MS, hungUp)).then(gone);
  void hungUp.then(() => atMost(LAST_WORDS_MS, exited)).then(gone);

  function gone(): void {
    if (isOver) return;
    isOver = true;
    descriptor.stop();
    sink.gone(new Fault('PORT_GONE', `${description}: ${howItEnded(child)}`));
  }

  function unsupported(what: string): Promise<never> {
    const why = `${description} is a command: it has no ${what}`;
    return Promise.reject(new Fault('PORT_UNSUPPORTED', why));
  }

  async function close(): Promise<void> {
    isOver = true;
    descriptor.stop();
    signalGroup(child, 'SIGHUP');
    await atMost(HANGUP_PATIENCE_MS, exited);
    signalGroup(child, 'SIGKILL'); // also those of the group that outlived their leader
    await promisify(closeFd)(masterFd).catch(() => undefined);
  }

  return {
    description,
    write: descriptor.write,
    setWatched: descriptor.setWatched,
    setLine: () => unsupported('line settings'),
    setSignals: () => unsupported('signals'),
    sendBreak: () => unsupported('BREAK'),
    setBreak: () => unsupported('BREAK'),
    purge: () => Promise.resolve(), // a command's terminal has no driver to empty
    signals: () => Promise.resolve({}),
    isAlive: () => !hasExited(child),
    close: () => (closing ??= close()),
  };
}

function howItEnded({ exitCode, signalCode }: ChildProcess): string {
  if (signalCode !== null) return `ended by signal ${signalCode}`;
  if (exitCode === null) return 'closed its terminal';
  if (exitCode === 127) return 'ended with status 127: the command was not found';
  if (exitCode === 126) return 'ended with status 126: the command may not be executed';
  return exitCode === 0 ? 'ended' : `ended with status ${exitCode}`;
}

function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // No such group: it is gone, or setsid(1) has not made it yet and dies as a single process.
    child.kill(signal);
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
