import { POWER_INTERVAL_MS } from '../core/attach.ts';
import type { SessionEvent } from '../core/attach.ts';
import type { Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import { POWER_ACTIONS } from '../core/settings.ts';
import type { PowerAction, PowerSettings } from '../core/settings.ts';
import type { Caller } from '../core/user.ts';
import type { PortGuard } from './port-guard.ts';
import type { PortRecorder } from './port-recorder.ts';
import type { Timers } from './timers.ts';

/**
 * Runs a program (an argument vector, never a shell) and resolves with its exit status, null when a
 * signal or the time-out ended it, and what it printed on both outputs. Rejects when it cannot be
 * started.
 */
export type RunCommand = (
  argv: readonly string[],
  timeoutMs: number,
) => Promise<{ status: number | null; output: string }>;

/** A power distribution unit over a slow network answers within this, or never. */
const COMMAND_TIMEOUT_MS = 60_000;
const OUTPUT_CHARS_MAX = 4_096;

export interface PowerOutletOwner {
  /** Of the port, now. */
  name(): string;
  settings(): PowerSettings | null;
  readonly guard: PortGuard;
  readonly recorder: PortRecorder;
  readonly timers: Timers;
  readonly journal: Journal;
  readonly runCommand: RunCommand;
  /** To all sessions. */
  tellAll(event: SessionEvent): void;
}

/** The power outlet of one port's machine, behind the operator's own commands. */
export class PowerOutlet {
  readonly #owner: PowerOutletOwner;
  #isRunning = false;
  /** When power was last cut with success; null: not since the daemon started. */
  #cutAtMs: number | null = null;

  constructor(owner: PowerOutletOwner) {
    this.#owner = owner;
  }

  /** What it can do; empty: there is none. */
  get actions(): PowerAction[] {
    const settings = this.#owner.settings();
    return settings === null ? [] : POWER_ACTIONS.filter((action) => settings[action] !== null);
  }

  /**
   * Resolves with what the command printed.
   * @throws Fault DENIED, PORT_UNSUPPORTED, TOO_SOON, CONFIRM, POWER_FAILED.
   */
  async run(caller: Caller, action: PowerAction, isConfirmed: boolean): Promise<string> {
    const { guard, timers } = this.#owner;
    guard.authorize(caller, action === 'status' ? 'view' : 'control', 'power');
    const argv = this.#commandOf(action);
    const cuts = action === 'off' || action === 'cycle';
    if (this.#isRunning) {
      const why = `another power command of ${this.#owner.name()} is running; try again when it is done`;
      throw new Fault('TOO_SOON', why);
    }
    const startedMs = timers.nowMs();
    if (cuts) this.#requirePause(startedMs);
    // Last: nobody is to be asked for what cannot be done.
    if (cuts && !isConfirmed) {
      throw new Fault(
        'CONFIRM',
        `power ${action} takes the machine of ${this.#owner.name()} down: confirm it, or add --yes`,
      );
    }
    guard.audit(caller, 'power', action);
    this.#isRunning = true;
    try {
      const output = await this.#execute(argv, action);
      if (cuts) this.#cutAtMs = startedMs;
      this.#tell(caller, action, 'done');
      return output;
    } catch (error) {
      this.#tell(caller, action, (error as Error).message);
      throw error;
    } finally {
      this.#isRunning = false;
    }
  }

  #commandOf(action: PowerAction): readonly string[] {
    const settings = this.#owner.settings();
    const argv = POWER_ACTIONS.includes(action) ? settings?.[action] : undefined;
    if (argv) return argv;
    const can = this.actions.join(', ');
    const why = can === '' ? 'no power outlet is configured' : `its power outlet can only ${can}`;
    throw new Fault('PORT_UNSUPPORTED', `${this.#owner.name()}: ${why}`);
  }

  #requirePause(nowMs: number): void {
    if (this.#cutAtMs === null) return;
    const restMs = this.#cutAtMs + POWER_INTERVAL_MS - nowMs;
    if (restMs <= 0) return;
    const [agoS, restS] = [nowMs - this.#cutAtMs, restMs].map((ms) => Math.ceil(ms / 1_000));
    throw new Fault(
      'TOO_SOON',
      `power of ${this.#owner.name()} was cut ${agoS} s ago; it may be again in ${restS} s`,
    );
  }

  /** @throws Fault POWER_FAILED. */
  async #execute(argv: readonly string[], action: PowerAction): Promise<string> {
    const what = `power ${action} of ${this.#owner.name()}`;
    let result: Awaited<ReturnType<RunCommand>>;
    try {
      result = await this.#owner.runCommand(argv, COMMAND_TIMEOUT_MS);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new Fault('POWER_FAILED', `${what} failed: ${message}`, error);
    }
    const output = result.output.slice(0, OUTPUT_CHARS_MAX);
    if (result.status === 0) return output;
    const how = result.status === null ? 'was ended' : `ended with status ${result.status}`;
    const said = output.trim() === '' ? '' : `: ${output.trim()}`;
    throw new Fault('POWER_FAILED', `${what} failed: ${argv[0]} ${how}${said}`);
  }

  /** Asking for the status changes nothing: it is audited, and that is all. */
  #tell(caller: Caller, action: PowerAction, result: string): void {
    const { journal, recorder, tellAll } = this.#owner;
    journal.info({ user: caller.user, action, result }, 'power');
    if (action === 'status') return;
    const text = `power ${action} by ${caller.user}: ${result}`;
    recorder.mark(text);
    tellAll({ kind: 'message', from: 'fairlead', text });
  }
}
