import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import type { Backend } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import { ReadPace } from '../read-pace.ts';
import { StreamOutput } from '../stream-output.ts';
import { LastWords } from './last-words.ts';
import { ProcessGroup } from './process-group.ts';
import { LAST_WORDS_MS, spawned, withoutUart, type Start } from './start.ts';
import { StderrJournal } from './stderr-journal.ts';

/**
 * A command on pipes, for programs that pass on a stream of bytes (`socat`, `nc`): its standard
 * output is the line's rx, its standard input the line's tx. Its standard error goes to the journal.
 * @throws Fault PORT_OPEN_FAILED.
 */
export async function openOnPipe(start: Start): Promise<Backend> {
  const { target, sink, journal } = start;
  const child = await spawnOnPipes(start);
  const group = new ProcessGroup(child);
  const description = `exec ${target} (process ${group.pid})`;
  const { stdin, stdout, stderr } = child;
  const words = new LastWords();
  const errors = new StderrJournal(journal, { backend: description });
  const output = new StreamOutput(stdin, () => sink.writable());
  const pace = new ReadPace(start.sweep, () => stdout.resume());
  const errorPace = new ReadPace(start.sweep, () => stderr.resume());
  let isOver = false;
  let hasOutputEnded = false;
  let lastWordsTimer: NodeJS.Timeout | null = null;
  let closing: Promise<void> | null = null;

  stdout.on('data', (bytes: Buffer) => {
    if (isOver) return;
    if (!pace.read(bytes.length, () => sink.rx(bytes))) stdout.pause();
    if (lastWordsTimer !== null) waitForLastWords(); // there may be more
  });
  stderr.on('data', (bytes: Buffer) => {
    words.keep(bytes);
    if (!errorPace.read(bytes.length, () => errors.hear(bytes))) stderr.pause();
  });
  for (const stream of [stdin, stdout, stderr]) {
    stream.on('error', () => undefined); // EPIPE: the command does not listen, or is gone, which its end tells
  }
  stdout.once('close', () => {
    hasOutputEnded = true;
    if (group.hasExited) gone();
    else waitForLastWords();
  });
  void group.exited.then(() => (hasOutputEnded ? gone() : waitForLastWords()));

  /** The command ended, or its output; the rest should follow at once. */
  function waitForLastWords(): void {
    if (isOver) return;
    if (lastWordsTimer !== null) clearTimeout(lastWordsTimer);
    lastWordsTimer = setTimeout(() => {
      if (stdout.isPaused()) waitForLastWords();
      else gone();
    }, LAST_WORDS_MS);
  }

  function stop(): void {
    isOver = true;
    if (lastWordsTimer !== null) clearTimeout(lastWordsTimer);
    output.stop();
    pace.stop();
  }

  function gone(): void {
    if (isOver) return;
    stop();
    const how = `${group.howItEnded}${words.told}`;
    start.ended(how);
    sink.gone(new Fault('PORT_GONE', `${description}: ${how}`));
  }

  async function close(): Promise<void> {
    stop();
    await group.end(['SIGTERM']);
    errorPace.stop();
    for (const stream of [stdin, stdout, stderr]) stream.destroy();
    errors.end();
  }

  return {
    description,
    write: (bytes) => (isOver ? 0 : output.write(bytes)),
    setWatched: () => undefined, // read at once anyhow
    ...withoutUart(description),
    isAlive: () => !isOver && !group.hasExited,
    close: () => (closing ??= close()),
  };
}

async function spawnOnPipes({
  command,
  target,
  environment,
}: Start): Promise<ChildProcessWithoutNullStreams> {
  const [program, ...args] = command;
  // In a session, and so a group, of its own: it is ended with all its children.
  const child = spawn(program!, args, { stdio: 'pipe', env: environment, detached: true });
  try {
    await spawned(child);
    return child;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? `${program} was not found; is it installed?` : message;
    throw new Fault('PORT_OPEN_FAILED', `exec ${target}: ${why}`, cause);
  }
}
