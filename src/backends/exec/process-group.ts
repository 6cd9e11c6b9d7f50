import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

/** From the first signal to SIGKILL, in all, so that a backend's `close` keeps its second. */
const PATIENCE_MS = 800;
const LOOK_MS = 10;

/** A child that leads a process group of its own. */
export class ProcessGroup {
  readonly #child: ChildProcess;
  readonly exited: Promise<void>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.exited = new Promise((resolve) => {
      if (this.hasExited) resolve();
      else child.once('exit', () => resolve());
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** `ended with status 1`. */
  get howItEnded(): string {
    const { exitCode, signalCode } = this.#child;
    if (signalCode !== null) return `ended by signal ${signalCode}`;
    if (exitCode === null) return 'closed its output, and runs on';
    if (exitCode === 127) return 'ended with status 127: the command was not found';
    if (exitCode === 126) return 'ended with status 126: the command may not be executed';
    return exitCode === 0 ? 'ended' : `ended with status ${exitCode}`;
  }

  /** The command itself failed, as its words may tell; not the attempt to start it. */
  get hasFailed(): boolean {
    const { exitCode, signalCode } = this.#child;
    return signalCode !== null || ![null, 0, 126, 127].includes(exitCode);
  }

  /**
   * Ends all of the group, also what outlived its leader: by one signal after the other, and by
   * SIGKILL what remains after 0.8 s. Never rejects.
   */
  async end(signals: readonly NodeJS.Signals[]): Promise<void> {
    for (const signal of signals) {
      this.#signal(signal);
      const endMs = performance.now() + PATIENCE_MS / signals.length;
      while (this.#exists() && performance.now() < endMs) await sleep(LOOK_MS);
    }
    if (this.#exists()) this.#signal('SIGKILL');
  }

  #exists(): boolean {
    return !this.hasExited || this.#signal(0);
  }

  /** False: there is no such group. */
  #signal(signal: NodeJS.Signals | 0): boolean {
    const { pid } = this.#child;
    if (pid === undefined) return false;
    try {
      process.kill(-pid, signal);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EPERM') return true;
      // setsid(1) may not have made the group yet: then it dies as a single process.
      if (signal !== 0 && !this.hasExited) this.#child.kill(signal);
      return false;
    }
  }
}
