import { spawn } from 'node:child_process';
import { LastWords } from './last-words.ts';
import { ProcessGroup } from './process-group.ts';

/** More than this of an answer is not read. */
const ANSWER_BYTES_MAX = 4_096;

/** What a command said, or why it did not. */
export type Answer = { line: string } | { problem: string };

/**
 * Runs a command, an argument vector and never a shell's line, for the first line that it prints.
 * Ends it and all its children after `timeoutMs`, or 4 KB. Never rejects.
 */
export function ask(
  command: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  timeoutMs: number,
): Promise<Answer> {
  return new Promise((resolve) => {
    const [program, ...args] = command;
    // In a group of its own, so that it can be ended with all its children.
    const child = spawn(program!, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environment,
      detached: true,
    });
    const group = new ProcessGroup(child);
    const words = new LastWords();
    const pieces: Buffer[] = [];
    let length = 0;
    let problem: string | null = null;

    function giveUp(why: string): void {
      problem ??= why;
      child.stdout.destroy();
      child.stderr.destroy();
      void group.end([]); // it never rejects
    }

    child.stdout.on('data', (bytes: Buffer) => {
      length += bytes.length;
      if (length <= ANSWER_BYTES_MAX) pieces.push(bytes);
      else giveUp(`it printed more than ${ANSWER_BYTES_MAX} bytes`);
    });
    child.stderr.on('data', (bytes: Buffer) => words.keep(bytes));
    const timer = setTimeout(() => {
      giveUp(`it did not end within ${timeoutMs / 1_000} s`);
    }, timeoutMs);
    child.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const isMissing = error.code === 'ENOENT';
      const why = isMissing ? `${program} was not found; is it installed?` : error.message;
      resolve({ problem: why });
    });
    child.once('close', (status) => {
      clearTimeout(timer);
      if (problem === null && status !== 0) problem = `it ${group.howItEnded}${words.told}`;
      const [line = ''] = Buffer.concat(pieces).toString('utf8').split('\n');
      resolve(problem === null ? { line: line.trim() } : { problem });
    });
  });
}
