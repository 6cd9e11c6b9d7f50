import { spawn } from 'node:child_process';
import { close as closeFd, closeSync, constants, openSync } from 'node:fs';
import { promisify } from 'node:util';
import { Poller } from '@serialport/bindings-cpp/dist/poller.js';
import type { Backend, BackendSink } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import type { Libc } from '../../core/libc.ts';
import { atMost } from '../deadline.ts';
import { startDescriptor } from '../tty/descriptor.ts';
import { LastWords } from './last-words.ts';
import { ProcessGroup } from './process-group.ts';
import { LAST_WORDS_MS, spawned, withoutUart, type Start } from './start.ts';

/** Most consoles think a line is this big until told otherwise. */
const COLUMNS = 80;
const ROWS = 24;
/** What a plain command may take for granted of the terminal; no more than a serial line has. */
const TERMINAL = 'vt220';
/** What a command said last is taken for its error message when it ends as soon as this. */
const SHORT_LIFE_MS = 10_000;

/**
 * A command on a pty of our own (`virsh console VM`, `ipmitool sol activate`): it is its session's
 * leader with the pty as controlling terminal.
 * @throws Fault PORT_OPEN_FAILED.
 */
export async function openOnPty(start: Start, libc: Libc): Promise<Backend> {
  const { target, sink, settings } = start;
  const { masterFd, group } = await spawnOnPty(start, libc);
  const description = `exec ${target} (process ${group.pid})`;
  const startedMs = performance.now();
  const words = new LastWords();
  let isOver = false;
  let closing: Promise<void> | null = null;

  let markHungUp!: () => void;
  const hungUp = new Promise<void>((resolve) => {
    markHungUp = resolve;
  });
  const descriptor = startDescriptor({
    fd: masterFd,
    poller: new Poller(masterFd),
    sink: hearing(sink, words),
    sweep: start.sweep,
    libc,
    isLowLatency: settings.latency === 'low',
    hungUp: markHungUp,
  });
  // The command ends, then its last words are read until the pty hangs up; or the other way round.
  void group.exited.then(() => atMost(LAST_WORDS_MS, hungUp)).then(gone);
  void hungUp.then(() => atMost(LAST_WORDS_MS, group.exited)).then(gone);

  function gone(): void {
    if (isOver) return;
    descriptor.readAll(); // what the sweep has not come to yet
    isOver = true;
    descriptor.stop();
    // Of a longer life the last words are the machine's, and the log has them.
    const isShort = performance.now() - startedMs < SHORT_LIFE_MS;
    const how = `${group.howItEnded}${isShort && group.hasFailed ? words.told : ''}`;
    start.ended(how);
    sink.gone(new Fault('PORT_GONE', `${description}: ${how}`));
  }

  async function close(): Promise<void> {
    isOver = true;
    descriptor.stop();
    // SIGHUP as from a terminal that closes: interactive shells ignore SIGTERM.
    await group.end(['SIGTERM', 'SIGHUP']);
    await promisify(closeFd)(masterFd).catch(() => undefined);
  }

  return {
    description,
    write: descriptor.write,
    setWatched: descriptor.setWatched,
    ...withoutUart(description),
    isAlive: () => !group.hasExited,
    close: () => (closing ??= close()),
  };
}

/** Both descriptors are closed on exec: the child has the pty's slave and nothing else of ours. */
async function spawnOnPty(
  { command, target, environment }: Start,
  libc: Libc,
): Promise<{ masterFd: number; group: ProcessGroup }> {
  const { masterFd, slavePath } = libc.openPty(COLUMNS, ROWS);
  let slaveFd: number | null = null;
  try {
    slaveFd = openSync(slavePath, constants.O_RDWR | constants.O_NOCTTY);
    const child = spawn('setsid', ['--ctty', '--wait', ...command], {
      stdio: [slaveFd, slaveFd, slaveFd],
      env: { ...environment, TERM: TERMINAL },
    });
    await spawned(child);
    return { masterFd, group: new ProcessGroup(child) };
  } catch (cause) {
    closeSync(masterFd);
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'setsid is missing; install util-linux' : message;
    throw new Fault('PORT_OPEN_FAILED', `exec ${target}: ${why}`, cause);
  } finally {
    if (slaveFd !== null) closeSync(slaveFd); // the child has its own; ours would hide that it is gone
  }
}

function hearing(sink: BackendSink, words: LastWords): BackendSink {
  return {
    rx: (bytes) => sink.rx(bytes),
    rxInto: (read) =>
      sink.rxInto((memory, start, lengthMax) => {
        const count = read(memory, start, lengthMax);
        if (count > 0) words.keep(memory.subarray(start, start + count));
        return count;
      }),
    gone: (fault) => sink.gone(fault),
    writable: () => sink.writable(),
    event: (event) => sink.event(event),
  };
}
