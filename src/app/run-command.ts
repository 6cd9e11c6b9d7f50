import { spawn } from 'node:child_process';

const OUTPUT_BYTES_MAX = 4_096;

export interface CommandResult {
  /** Exit status; null when it could not be started, or was ended by a signal or by the time-out. */
  status: number | null;
  /** The first 4 KB of what it printed, both streams as they came; or why there is none. */
  output: string;
}

/** Runs a configured command, an argument vector and never a shell's line. Never rejects. */
export function runCommand(argv: readonly string[], timeoutMs: number): Promise<CommandResult> {
  return new Promise((resolve) => {
    const [program, ...args] = argv;
    // In a session of its own, so that it can be ended with all its children.
    const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const pieces: Buffer[] = [];
    let length = 0;
    let problem = '';
    const take = (bytes: Buffer): void => {
      const piece = bytes.subarray(0, OUTPUT_BYTES_MAX - length);
      length += piece.length;
      if (piece.length > 0) pieces.push(piece);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const timer = setTimeout(() => {
      problem = `it did not end within ${timeoutMs / 1_000} s`;
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // It has ended, and only something that left its group holds the output open.
      }
      child.stdout.destroy();
      child.stderr.destroy();
    }, timeoutMs);
    const finish = (status: number | null): void => {
      clearTimeout(timer);
      const said = Buffer.concat(pieces).toString('utf8').trimEnd();
      resolve({ status, output: [said, problem].filter((text) => text !== '').join('\n') });
    };
    child.once('error', (error) => {
      problem = error.message;
      finish(null);
    });
    child.once('close', (status) => finish(problem === '' ? status : null));
  });
}
