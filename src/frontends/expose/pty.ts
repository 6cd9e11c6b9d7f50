import { chmodSync, chownSync, closeSync, constants, openSync } from 'node:fs';
import { Fault } from '../../core/fault.ts';
import type { Libc } from '../../core/libc.ts';
import type { Flow, LineSettings } from '../../core/line-settings.ts';
import type { ExposeSettings } from '../../core/settings.ts';
import { groupId } from '../group-id.ts';

export type PtyLibc = Pick<
  Libc,
  'openPty' | 'duplicate' | 'poll' | 'makeRaw' | 'setLine' | 'getLine' | 'getFlow'
>;

/** What a program's settings of the slave show from the master. */
export interface PtyLine {
  baud: number;
  /** 5 data bits aside, where two are one and a half. */
  stopBits: number;
  flow: Flow;
}

/**
 * The pair behind an exposed port: a program has the slave, we have the master. It serves until a
 * program has opened and closed it; then the next one finds a new pair, with nothing left over of
 * what the former one did not read, set, or lock (TIOCEXCL).
 */
export class Pty {
  readonly masterFd: number;
  readonly slavePath: string;
  /** What it was last seen set to. */
  known!: PtyLine;
  readonly #libc: PtyLibc;

  /**
   * A pair that only its group and mode may open, raw, with the line settings given.
   * @throws Fault EXPOSE_FAILED.
   */
  static async make(
    libc: PtyLibc,
    { mode, group }: Pick<ExposeSettings, 'mode' | 'group'>,
    line: LineSettings,
    flow: Flow,
  ): Promise<Pty> {
    const gid = group === null ? process.getgid!() : await groupId(group);
    if (gid === null) throw new Fault('EXPOSE_FAILED', `there is no unix group ${group}`);
    let pty: Pty;
    try {
      pty = new Pty(libc);
    } catch (cause) {
      throw new Fault('EXPOSE_FAILED', `no pty can be had: ${(cause as Error).message}`, cause);
    }
    try {
      libc.makeRaw(pty.masterFd); // of the pair there is one termios, the slave's
      await pty.setLine(line, flow);
      pty.#admit(gid, mode, group);
      return pty;
    } catch (cause) {
      pty.close();
      throw cause instanceof Fault
        ? cause
        : new Fault('EXPOSE_FAILED', `the pty cannot be set: ${(cause as Error).message}`, cause);
    }
  }

  private constructor(libc: PtyLibc) {
    this.#libc = libc;
    const { masterFd, slavePath } = libc.openPty(COLUMNS, ROWS);
    this.masterFd = masterFd;
    this.slavePath = slavePath;
  }

  async setLine(line: LineSettings, flow: Flow): Promise<void> {
    await this.#libc.setLine(this.masterFd, line, flow);
    this.known = this.line;
  }

  /** What it is set to now. */
  get line(): PtyLine {
    const { baud, stopBits } = this.#libc.getLine(this.masterFd);
    return { baud, stopBits, flow: this.#libc.getFlow(this.masterFd) as Flow };
  }

  /** A program has the slave open, or left something that was not read yet. */
  get isInUse(): boolean {
    const [state] = this.#libc.poll([this.masterFd]);
    return !state!.isHungUp || state!.isReadable;
  }

  /** Hangs up on who has the slave open. */
  close(): void {
    closeSync(this.masterFd);
  }

  #admit(gid: number, mode: number, group: string | null): void {
    try {
      chownSync(this.slavePath, process.getuid!(), gid);
      chmodSync(this.slavePath, mode);
      // Opened and closed once, it is hung up until a program comes: poll tells the two apart.
      closeSync(openSync(this.slavePath, constants.O_RDWR | constants.O_NOCTTY));
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const whose = group === null ? '' : `, given to group ${group}`;
      const advice = code === 'EPERM' ? ': is the daemon in that group?' : '';
      throw new Fault(
        'EXPOSE_FAILED',
        `the pty cannot be opened to mode ${mode.toString(8)}${whose} (${code})${advice}`,
        cause,
      );
    }
  }
}

/** What a terminal has until somebody says otherwise. */
const COLUMNS = 80;
const ROWS = 24;
