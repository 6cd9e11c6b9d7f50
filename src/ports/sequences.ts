import type { Sequence } from '../core/attach.ts';
import type { Clock, Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import { didYouMean, sameName } from '../core/names.ts';
import type { TaskStatus } from '../core/port-status.ts';
import type { PortSettings, SequenceStep, TaskSettings } from '../core/settings.ts';
import type { Caller, Right } from '../core/user.ts';
import { IdleTimer } from './idle-timer.ts';
import { requireBreakDuration } from './line-control.ts';
import type { LineControl } from './line-control.ts';
import type { PortGuard } from './port-guard.ts';
import type { PortInput } from './port-input.ts';
import type { PortLine } from './port-line.ts';
import type { PortRecorder } from './port-recorder.ts';
import type { PortSessions } from './port-sessions.ts';
import type { Timers } from './timers.ts';

/** What the waits and BREAKs of one sequence may take together, each wait included. */
export const SEQUENCE_MS_MAX = 60_000;
/** What the device may take beyond that for all texts together. */
const TEXT_MS_MAX = 60_000;
const STEPS_MAX = 1_000;
/** Most bytes of all texts of a sequence. */
const TEXT_BYTES_MAX = 1_048_576;
const LABEL_CHARS_MAX = 100;
/** A sequence keeps its times to this. */
const LATE_MS = 5;

/** Who does what the configuration says by itself. */
const FAIRLEAD: Caller = { user: 'fairlead', remote: 'daemon', frontend: 'local' };

/** The break list begins with a plain BREAK, unless the configuration puts something else there. */
const PLAIN_BREAK: TaskSettings = {
  name: 'break',
  help: null,
  breakKey: '0',
  confirm: false,
  steps: [{ do: 'break', durationMs: 300 }],
};

export interface SequencesOwner {
  readonly timers: Timers;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly line: PortLine;
  readonly control: LineControl;
  readonly recorder: PortRecorder;
  readonly input: PortInput;
  readonly sessions: PortSessions;
  readonly guard: PortGuard;
  /** As configured now. */
  settings(): PortSettings;
}

/** What is done now, and how to end it early. */
interface Running {
  readonly label: string;
  /** Rejects when it was stopped. */
  readonly stopped: Promise<never>;
  stop(fault: Fault): void;
  fault: Fault | null;
  /** Resolves when it is over, however it ended. */
  done: Promise<void>;
}

/**
 * Steps done to the line in the server, one sequence at a time: tasks and the like that somebody
 * runs, and what the configuration wants when the line opens, when the last writer leaves, and when
 * nothing happens. Each is a session of its own in the log.
 */
export class Sequences {
  readonly #owner: SequencesOwner;
  readonly #idle: IdleTimer;
  #running: Running | null = null;
  /** Those of the configuration that wait for their turn; one of each label. */
  #waiting: { label: string; steps: readonly SequenceStep[] }[] = [];
  #isClosed = false;

  constructor(owner: SequencesOwner) {
    this.#owner = owner;
    const { recorder, input } = owner;
    this.#idle = new IdleTimer({
      timers: owner.timers,
      clock: owner.clock,
      activity: () => recorder.offset + input.takenBytes,
      lastActiveUs: () => later(recorder.lastByteAtUs, input.lastTakenAtUs),
      idle: () => {
        if (!this.#running) this.#runLater('idle', this.#settings.idle?.steps ?? []);
      },
    });
  }

  /** What `run` takes by name or key. */
  tasks(): TaskStatus[] {
    return this.#tasks().map(({ name, breakKey, confirm, help, steps }) => {
      return { name, breakKey, confirm, help: help ?? describeSteps(steps) };
    });
  }

  /**
   * Resolves when it is done.
   * @throws Fault NOT_FOUND, DENIED, USAGE, NOT_WRITER, PORT_DOWN, TOO_SOON, CONFIRM before the first
   * step; PORT_DOWN, PORT_GONE, PORT_STUCK, PORT_UNSUPPORTED, TIMED_OUT in one.
   */
  async run(caller: Caller, sequence: Sequence): Promise<void> {
    const { guard, sessions, line } = this.#owner;
    const { name } = this.#settings;
    const { label, steps, mustBeConfirmed } = this.#find(caller, sequence);
    for (const right of rightsFor(steps)) guard.authorize(caller, right, 'run');
    requireBounds(steps);
    sessions.requireNoOtherWriter(caller.user);
    line.requireUp();
    if (this.#running) {
      const why = `${this.#running.label} is running on ${name}; try again when it is done`;
      throw new Fault('TOO_SOON', why);
    }
    // Last: nobody is to be asked for what cannot be done.
    if (mustBeConfirmed) {
      throw new Fault('CONFIRM', `${label} on ${name} must be confirmed: confirm it, or add --yes`);
    }
    await this.#execute(caller, label, steps);
  }

  /** The line is up. */
  opened(): void {
    this.#startIdle();
    this.#runLater('onOpen', this.#settings.onOpen);
  }

  /** Nobody writes any more. */
  writersLeft(): void {
    this.#runLater('onDetach', this.#settings.onDetach);
  }

  lineDown(why: string): void {
    this.#idle.stop();
    const fault = new Fault('PORT_DOWN', `${this.#settings.name} is down: ${why}`);
    this.#running?.stop(fault);
    for (const { label } of this.#waiting.splice(0)) this.#failed(label, fault);
  }

  /** `idle` may be another one now. */
  reconfigured(): void {
    if (this.#owner.line.backend) this.#startIdle();
  }

  /** Stops what is under way; nothing is begun any more. Resolves when its last record is made. */
  async close(why: string): Promise<void> {
    this.#isClosed = true;
    this.#waiting = [];
    this.#idle.stop();
    this.#running?.stop(new Fault('PORT_DOWN', why));
    await this.#running?.done;
  }

  get #settings(): PortSettings {
    return this.#owner.settings();
  }

  #startIdle(): void {
    const { idle } = this.#settings;
    if (idle) this.#idle.start(idle.afterMs);
    else this.#idle.stop();
  }

  #tasks(): readonly TaskSettings[] {
    const { tasks } = this.#settings;
    const hasPlainBreak = tasks.some(({ breakKey }) => breakKey === PLAIN_BREAK.breakKey);
    return hasPlainBreak ? tasks : [...tasks, PLAIN_BREAK];
  }

  /** @throws Fault NOT_FOUND. */
  #find(
    caller: Caller,
    sequence: Sequence,
  ): { label: string; steps: readonly SequenceStep[]; mustBeConfirmed: boolean } {
    if ('steps' in sequence) {
      const label = sequence.label.slice(0, LABEL_CHARS_MAX);
      return { label, steps: sequence.steps, mustBeConfirmed: false };
    }
    const tasks = this.#tasks();
    const wanted = sequence.task;
    const task =
      tasks.find(({ name }) => sameName(name, wanted)) ??
      tasks.find(({ breakKey }) => breakKey === wanted);
    if (task) {
      const mustBeConfirmed = task.confirm && !sequence.isConfirmed;
      return { label: `task ${task.name}`, steps: task.steps, mustBeConfirmed };
    }
    this.#owner.guard.authorize(caller, 'view', 'run');
    const names = tasks.map(({ name }) => name);
    const near = didYouMean(wanted, names);
    const quoted = JSON.stringify(wanted.slice(0, LABEL_CHARS_MAX));
    throw new Fault('NOT_FOUND', `${this.#settings.name} has no task ${quoted}${near}`);
  }

  #runLater(label: string, steps: readonly SequenceStep[]): void {
    if (steps.length === 0 || this.#waiting.some((other) => other.label === label)) return;
    this.#waiting.push({ label, steps });
    this.#runNext();
  }

  #runNext(): void {
    if (this.#running || this.#isClosed) return;
    const next = this.#waiting.shift();
    if (next) void this.#runOwn(next.label, next.steps);
  }

  /** For the configuration: its failure is nobody's but the journal's. */
  async #runOwn(label: string, steps: readonly SequenceStep[]): Promise<void> {
    try {
      requireBounds(steps);
      this.#owner.line.requireUp();
      await this.#execute(FAIRLEAD, label, steps);
    } catch (error) {
      this.#failed(label, error);
      this.#runNext();
    }
  }

  #failed(label: string, error: unknown): void {
    this.#owner.journal.warn({ sequence: label, err: error }, 'sequence failed');
  }

  async #execute(caller: Caller, label: string, steps: readonly SequenceStep[]): Promise<void> {
    const { sessions, timers } = this.#owner;
    const running = makeRunning(label);
    this.#running = running;
    const limitMs = SEQUENCE_MS_MAX + TEXT_MS_MAX;
    const cancel = timers.after(limitMs, () =>
      running.stop(new Fault('TIMED_OUT', `it was not done in ${limitMs / 1_000} s`)),
    );
    const work = sessions.visit(caller, (session) => this.#doAll(steps, session, caller, running));
    running.done = work.catch(() => undefined);
    try {
      await work;
    } finally {
      cancel();
      this.#running = null;
      this.#runNext();
    }
  }

  async #doAll(
    steps: readonly SequenceStep[],
    session: number,
    caller: Caller,
    running: Running,
  ): Promise<void> {
    const { sessions, recorder, guard, control, input } = this.#owner;
    const { label, stopped } = running;
    recorder.mark(`${label} by ${caller.user}`);
    if (caller !== FAIRLEAD) {
      guard.audit(caller, 'run', `session ${session}, ${label}`);
      if (steps.some((step) => step.do === 'send')) sessions.used(caller.user);
    }
    stopped.catch(({ code, message }: Fault) => input.drop(session, code, message));
    await Promise.race([control.settled(), stopped]); // what a session left behind is put back first
    const schedule = new Schedule(this.#owner.timers.nowMs());
    for (const [index, step] of steps.entries()) {
      try {
        if (running.fault) throw running.fault;
        await Promise.race([this.#do(step, session, caller, running, schedule), stopped]);
        schedule.did(step, this.#owner.timers.nowMs());
      } catch (error) {
        throw inStep(label, index + 1, steps.length, error);
      }
    }
  }

  async #do(
    step: SequenceStep,
    session: number,
    by: Caller,
    running: Running,
    schedule: Schedule,
  ): Promise<void> {
    const { input, control, timers } = this.#owner;
    switch (step.do) {
      case 'send':
        return input.send(session, step.bytes);
      case 'break':
        return control.sendBreak(step.durationMs, session);
      case 'signals':
        return control.setSignals(step.signals, { session, user: by.user, isAttached: false });
      case 'wait':
        return new Promise((resolve) => {
          const waitMs = schedule.dueMs + step.durationMs - timers.nowMs();
          const cancel = timers.after(Math.max(0, waitMs), resolve);
          running.stopped.catch(cancel);
        });
    }
  }
}

/**
 * When the steps of one sequence are due: waits are counted from when the step before was due and not
 * from when it was done, so that what signals and timers take does not add up. A board's reset needs
 * its pulses as long as the recipe says: what came too late moves everything behind it.
 */
class Schedule {
  /** The next step's moment. */
  dueMs: number;

  constructor(nowMs: number) {
    this.dueMs = nowMs;
  }

  did(step: SequenceStep, nowMs: number): void {
    if (step.do === 'wait') this.dueMs += step.durationMs;
    // The device, or the driver, takes as long as it takes: what follows is counted from its end.
    const hasOwnTime = step.do === 'send' || step.do === 'break';
    if (hasOwnTime || nowMs - this.dueMs > LATE_MS) this.dueMs = nowMs;
  }
}

function makeRunning(label: string): Running {
  let reject!: (fault: Fault) => void;
  const stopped = new Promise<never>((_resolve, rejectIt) => (reject = rejectIt));
  stopped.catch(() => undefined);
  const running: Running = {
    label,
    stopped,
    fault: null,
    done: Promise.resolve(),
    stop(fault) {
      running.fault ??= fault;
      reject(fault);
    },
  };
  return running;
}

/** The rights that all steps together need; a sequence that only waits needs `write`. */
function rightsFor(steps: readonly SequenceStep[]): Set<Right> {
  const rights = new Set<Right>();
  for (const step of steps) {
    if (step.do === 'send') rights.add('write');
    if (step.do === 'break') rights.add('break');
    if (step.do === 'signals') rights.add('control');
  }
  return rights.size === 0 ? new Set(['write']) : rights;
}

/** @throws Fault USAGE. */
function requireBounds(steps: readonly SequenceStep[]): void {
  let durationMs = 0;
  let bytes = 0;
  for (const step of steps) {
    if (step.do === 'break') requireBreakDuration(step.durationMs);
    if (step.do === 'wait' && !(step.durationMs >= 0)) {
      throw new Fault('USAGE', 'a wait lasts 0 ms or more');
    }
    if (step.do === 'break' || step.do === 'wait') durationMs += step.durationMs;
    if (step.do === 'send') bytes += step.bytes.length;
  }
  if (steps.length > STEPS_MAX) throw tooMuch(`${STEPS_MAX} steps`);
  if (durationMs > SEQUENCE_MS_MAX) throw tooMuch(`${SEQUENCE_MS_MAX / 1_000} s of waits`);
  if (bytes > TEXT_BYTES_MAX) throw tooMuch(`${TEXT_BYTES_MAX} bytes`);
}

function tooMuch(most: string): Fault {
  return new Fault('USAGE', `a sequence has at most ${most}`);
}

function inStep(label: string, step: number, steps: number, error: unknown): unknown {
  if (!(error instanceof Fault)) return error;
  return new Fault(error.code, `${label}, step ${step} of ${steps}: ${error.message}`, error);
}

/** Texts by their length: they may hold a password. */
function describeSteps(steps: readonly SequenceStep[]): string {
  return steps.map(describeStep).join(', ');
}

function describeStep(step: SequenceStep): string {
  switch (step.do) {
    case 'send':
      return `send ${step.bytes.length} bytes`;
    case 'break':
      return `BREAK of ${step.durationMs} ms`;
    case 'wait':
      return `wait ${step.durationMs} ms`;
    case 'signals':
      return Object.entries(step.signals)
        .map(([name, isOn]) => `${name}=${isOn ? 'on' : 'off'}`)
        .join(' ');
  }
}

function later(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.max(a, b);
}
