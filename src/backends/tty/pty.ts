import type { Backend, BackendOpener, BackendSink } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import { sanitizeText } from '../../protocols/sanitize.ts';
import { ask } from '../exec/ask.ts';
import { commandEnvironment, type GivenServices, type OpenerFactory } from '../services.ts';
import { makeTtyOpening } from './open-tty.ts';
import { watchPath } from './watch-return.ts';

/** The command has so long to print the path. */
const ASK_TIMEOUT_MS = 5_000;
/** While the pty is open its command is asked so often whether the path still is the same. */
const FOLLOW_MS = 5_000;

/** A pty that another program made (`xl console`, QEMU): a tty without a UART behind it. */
export const ptyOpener: OpenerFactory<'pty'> = (settings, backend, services) => {
  const open = makeTtyOpening(settings, services);
  if (backend.command !== null) return openerByCommand(backend.command, open, services);
  const { path } = backend;
  return {
    kind: 'pty',
    target: path,
    line: null,
    open: (sink) => open(path, sink),
    watchReturn: (returned) => watchPath(path, returned),
  };
};

/**
 * A pty whose path a command prints (`xenstore-read`, `virsh ttyconsole`), asked at each opening and
 * while it is open: when it prints another, the pty is opened anew. The path says nothing of whose
 * pty it is: the next guest may get the same, and between two lives there is none.
 */
export function openerByCommand(
  command: readonly string[],
  openTty: (path: string, sink: BackendSink) => Promise<Backend>,
  services: Pick<GivenServices, 'environment'>,
  followMs = FOLLOW_MS,
): BackendOpener {
  const target = command.join(' ');
  const environment = commandEnvironment(services);
  let lastPath: string | null = null;

  /** @throws Fault PORT_OPEN_FAILED. */
  async function askPath(): Promise<string> {
    const answer = await ask(command, environment, ASK_TIMEOUT_MS);
    if ('line' in answer && answer.line.startsWith('/')) return answer.line;
    const why =
      'problem' in answer
        ? `the command failed: ${answer.problem}`
        : answer.line === ''
          ? 'the command printed no path; is the machine running?'
          : `the command printed "${sanitizeText(answer.line.slice(0, 100)).trim()}", which is no absolute path`;
    throw new Fault('PORT_OPEN_FAILED', `pty ${target}: ${why}`);
  }

  async function open(sink: BackendSink): Promise<Backend> {
    const path = await askPath();
    lastPath = path;
    const told = tellingOnce(sink);
    let backend: Backend;
    try {
      backend = await openTty(path, told);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      throw new Fault(error.code, `${error.message} (the path is from: ${target})`, error);
    }
    const description = `${backend.description} (from: ${target})`;
    let timer: NodeJS.Timeout | null = setTimeout(follow, followMs);

    function follow(): void {
      void look().then(() => {
        if (timer !== null) timer = setTimeout(follow, followMs);
      });
    }

    /** That it cannot be told now proves nothing: a pty that closes says so itself. */
    async function look(): Promise<void> {
      const now = await askPath().catch(() => path);
      if (now === path || timer === null) return;
      told.gone(new Fault('PORT_GONE', `${target} names ${now} now, and no longer ${path}`));
    }

    return {
      description,
      write: (bytes) => backend.write(bytes),
      setWatched: (watched) => backend.setWatched(watched),
      setLine: (line, flow) => backend.setLine(line, flow),
      setSignals: (signals) => backend.setSignals(signals),
      sendBreak: (durationMs) => backend.sendBreak(durationMs),
      setBreak: (isOn) => backend.setBreak(isOn),
      purge: (queue) => backend.purge(queue),
      signals: () => backend.signals(),
      isAlive: () => !told.isGone() && backend.isAlive(),
      close() {
        if (timer !== null) clearTimeout(timer);
        timer = null;
        return backend.close();
      },
    };
  }

  return {
    kind: 'pty',
    target,
    line: null,
    open,
    // The path of before is a hint: whatever appears there, the command is asked whose it is.
    watchReturn: (returned) =>
      lastPath === null ? () => undefined : watchPath(lastPath, returned),
  };
}

/** `gone` may come from the pty and from its path: the port hears of one. */
function tellingOnce(sink: BackendSink): BackendSink & { isGone(): boolean } {
  let isGone = false;
  return {
    rx: (bytes) => sink.rx(bytes),
    rxInto: (read) => sink.rxInto(read),
    writable: () => sink.writable(),
    event: (event) => sink.event(event),
    gone(fault) {
      if (isGone) return;
      isGone = true;
      sink.gone(fault);
    },
    isGone: () => isGone,
  };
}
