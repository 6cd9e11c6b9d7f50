import { Fault } from '../../src/core/fault.ts';
import type {
  Attached,
  AttachRequest,
  MessageTarget,
  PortAccess,
  PortSession,
  Sequence,
  SessionEvent,
} from '../../src/core/attach.ts';
import type { Journal } from '../../src/core/clock.ts';
import type { DiscoveredLine, Finding, LoopbackResult } from '../../src/core/diagnosis.ts';
import type { HostTerminal, VerbIo } from '../../src/core/frontend.ts';
import type { Flow, LineSettings, LineState } from '../../src/core/line-settings.ts';
import { formatLineSettings } from '../../src/core/line-settings.ts';
import type { PortDetails, PortStatus, SessionStatus } from '../../src/core/port-status.ts';
import type { PaceTimes, PowerAction, SequenceStep } from '../../src/core/settings.ts';
import { DEFAULT_ESCAPE } from '../../src/core/user.ts';
import type { Caller } from '../../src/core/user.ts';
import { runVerb } from '../../src/verbs/run-verb.ts';
import type { LocalActions, VerbContext } from '../../src/verbs/verb.ts';
import { CALLER, FakeLog } from '../log/fake-log.ts';

/** 2026-11-20 12:00 UTC */
export const NOW_US = 1_795_176_000_000_000;

export class FakeIo implements VerbIo {
  isTerminal = false;
  timeZone = 'UTC';
  columns = 80;
  rows = 24;
  host?: HostTerminal;
  progress?: VerbIo['progress'];
  /** Writes fail: the reader left. */
  isBroken = false;
  isRaw = false;
  readonly chunks: Buffer[] = [];
  errors = '';
  /** What the verb listens to, as the protocol would call it. */
  sendBreak: ((durationMs: number) => Promise<void>) | null = null;
  sendSignal: ((name: string) => boolean) | null = null;
  readonly #resized: (() => void)[] = [];
  readonly #abort = new AbortController();
  #listener: ((bytes: Uint8Array | null) => Promise<void> | void) | null = null;
  readonly #input: (Uint8Array | null)[] = [];
  #isBusy = false;
  #watchers: { until: () => boolean; resolve: () => void }[] = [];

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get output(): string {
    return this.bytes.toString('utf8');
  }

  async write(output: string | Uint8Array): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.isBroken) throw new Error('EPIPE');
    const text = typeof output === 'string' && this.isTerminal;
    this.chunks.push(Buffer.from(text ? output.replaceAll('\n', '\r\n') : (output as string)));
    this.#look();
  }

  async writeError(text: string): Promise<void> {
    this.errors += text;
    this.#look();
  }

  size(): { columns: number; rows: number } {
    return { columns: this.columns, rows: this.rows };
  }

  onResize(listener: () => void): void {
    this.#resized.push(listener);
  }

  resize(columns: number, rows: number): void {
    this.columns = columns;
    this.rows = rows;
    for (const listener of this.#resized) listener();
  }

  onBreak(listener: ((durationMs: number) => Promise<void>) | null): void {
    this.sendBreak = listener;
  }

  onSignal(listener: ((name: string) => boolean) | null): void {
    this.sendSignal = listener;
  }

  onInput(
    listener: ((bytes: Uint8Array | null) => Promise<void> | void) | null,
    raw: boolean,
  ): void {
    this.#listener = listener;
    this.isRaw = listener !== null && raw;
    this.#look();
    void this.#deliver();
  }

  get hasListener(): boolean {
    return this.#listener !== null;
  }

  type(bytes: string | Uint8Array | null): this {
    this.#input.push(bytes === null ? null : Buffer.from(bytes as string));
    void this.#deliver();
    return this;
  }

  abort(): void {
    this.#abort.abort();
  }

  /** Resolves once this holds; looked at whenever something is written or listened to. */
  when(until: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#watchers.push({ until, resolve });
      this.#look();
    });
  }

  #look(): void {
    const ready = this.#watchers.filter(({ until }) => until());
    this.#watchers = this.#watchers.filter((watcher) => !ready.includes(watcher));
    for (const { resolve } of ready) resolve();
  }

  async #deliver(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    while (this.#listener !== null && this.#input.length > 0) {
      await this.#listener(this.#input.shift()!);
    }
    this.#isBusy = false;
  }
}

export function portStatus(name: string, more: Partial<PortStatus> = {}): PortStatus {
  return {
    name,
    n: null,
    uuid: `uuid-${name}`,
    state: 'up',
    why: null,
    backend: 'device',
    target: `/dev/${name}`,
    line: '115200 8N1',
    differs: false,
    group: null,
    aliases: [],
    epoch: 1,
    offset: 0,
    lastByteAtUs: NOW_US - 3_000_000,
    writer: null,
    viewers: 0,
    incidents: 0,
    errors: { breaks: 0, parity: 0, framing: 0, overrun: 0 },
    looksLike: null,
    ...more,
  };
}

export function portDetails(status: PortStatus, more: Partial<PortDetails> = {}): PortDetails {
  return {
    status,
    line: { line: null, flow: 'none', signals: {}, isBreaking: false },
    isLogging: true,
    isHeld: false,
    motd: null,
    tasks: [],
    power: [],
    ...more,
  };
}

/** Notes what it was asked, as words. */
export class FakeAccess implements PortAccess {
  readonly asked: string[] = [];
  list: PortStatus[] = [portStatus('db1')];
  details: Partial<PortDetails> = {};
  sessions: SessionStatus[] = [];
  heard = 2;
  powerSays = '';
  /** Sent bytes, joined. */
  sent = Buffer.alloc(0);
  /** The newest. */
  session: FakePortSession | null = null;
  readonly attached: FakePortSession[] = [];
  /** Thrown by every call. */
  fault: Fault | null = null;
  /** Thrown by every call that changes something on the port of that name. */
  readonly faults = new Map<string, Fault>();
  #watchers: { until: () => boolean; resolve: () => void }[] = [];

  async attach(
    request: AttachRequest,
    onEvent: (event: SessionEvent) => void,
  ): Promise<PortSession> {
    this.#ask(`attach ${request.port} ${request.mode} ${request.delivery}`, request.port);
    const known = this.list.find((port) => port.name === request.port);
    this.session = new FakePortSession(request, onEvent, known);
    this.attached.push(this.session);
    this.#look();
    return this.session;
  }

  /** Resolves once this holds; looked at whenever somebody attached or asked. */
  when(until: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#watchers.push({ until, resolve });
      this.#look();
    });
  }

  /** The session on a port. */
  on(port: string): FakePortSession {
    return this.attached.findLast((session) => session.attached.port === port)!;
  }

  async ports(_caller: Caller): Promise<PortStatus[]> {
    this.#check();
    return this.list;
  }

  async who(): Promise<SessionStatus[]> {
    return this.sessions;
  }

  async kick(_caller: Caller, session: number): Promise<void> {
    this.#ask(`kick ${session}`);
  }

  async message(_caller: Caller, to: MessageTarget, text: string): Promise<number> {
    this.#ask(`message ${JSON.stringify(to)} ${text}`);
    return this.heard;
  }

  async send(_caller: Caller, port: string, bytes: Uint8Array, pace?: PaceTimes): Promise<void> {
    const at = pace ? ` at ${pace.byteMs}/${pace.lineMs} ms` : '';
    this.#ask(`send ${port} ${bytes.length}${at}`, port);
    this.sent = Buffer.concat([this.sent, bytes]);
  }

  async sendBreak(_caller: Caller, port: string, durationMs: number): Promise<void> {
    this.#ask(`break ${port} ${durationMs}`, port);
  }

  async setLine(
    _caller: Caller,
    port: string,
    line: LineSettings,
    flow: Flow | null,
  ): Promise<void> {
    this.#ask(`line ${port} ${formatLineSettings(line)} ${flow}`, port);
  }

  async setSignals(_caller: Caller, port: string, signals: object): Promise<void> {
    this.#ask(`signals ${port} ${JSON.stringify(signals)}`, port);
  }

  async inspect(_caller: Caller, port: string): Promise<PortDetails> {
    this.#check();
    const status = this.list.find(({ name }) => name === port);
    if (!status) throw new Fault('PORT_UNKNOWN', `no port "${port}"`);
    return portDetails(status, this.details);
  }

  async run(_caller: Caller, port: string, sequence: Sequence): Promise<void> {
    const what =
      'task' in sequence
        ? `task ${sequence.task} ${sequence.isConfirmed}`
        : `${sequence.label}: ${sequence.steps.map(stepWords).join(', ')}`;
    this.#ask(`run ${port} ${what}`, port);
    const task = 'task' in sequence ? sequence : null;
    const mustConfirm = this.details.tasks?.find(({ name }) => name === task?.task)?.confirm;
    if (mustConfirm && !task!.isConfirmed) throw new Fault('CONFIRM', 'to be confirmed');
  }

  async power(
    _caller: Caller,
    port: string,
    action: PowerAction,
    isConfirmed: boolean,
  ): Promise<string> {
    this.#ask(`power ${port} ${action} ${isConfirmed}`, port);
    const cuts = action === 'off' || action === 'cycle';
    if (cuts && !isConfirmed) throw new Fault('CONFIRM', 'to be confirmed');
    return this.powerSays;
  }

  async hold(_caller: Caller, port: string, isDown: boolean): Promise<void> {
    this.#ask(`hold ${port} ${isDown}`, port);
  }

  async setLogging(_caller: Caller, port: string, isOn: boolean): Promise<void> {
    this.#ask(`logging ${port} ${isOn}`, port);
  }

  async note(_caller: Caller, port: string, text: string): Promise<void> {
    this.#ask(`note ${port} ${text}`, port);
  }

  #ask(words: string, port?: string): void {
    this.#check();
    this.asked.push(words);
    this.#look();
    const fault = port === undefined ? undefined : this.faults.get(port);
    if (fault) throw fault;
  }

  #check(): void {
    if (this.fault) throw this.fault;
  }

  #look(): void {
    const ready = this.#watchers.filter(({ until }) => until());
    this.#watchers = this.#watchers.filter((watcher) => !ready.includes(watcher));
    for (const { resolve } of ready) resolve();
  }
}

function stepWords(step: SequenceStep): string {
  switch (step.do) {
    case 'send':
      return `send ${Buffer.from(step.bytes).toString()}`;
    case 'break':
      return `break ${step.durationMs}`;
    case 'wait':
      return `wait ${step.durationMs}`;
    case 'signals':
      return `signals ${JSON.stringify(step.signals)}`;
  }
}

export class FakePortSession implements PortSession {
  readonly attached: Attached;
  readonly request: AttachRequest;
  readonly emit: (event: SessionEvent) => void;
  typed = '';
  breaks: number[] = [];
  gaveUpWrite = false;
  isProgram = false;
  creditedBytes = 0;
  detachedBecause: string | null = null;
  /** BREAK fails with it. */
  breakFault: Fault | null = null;
  #offset = 0;

  constructor(
    request: AttachRequest,
    onEvent: (event: SessionEvent) => void,
    status: PortStatus = portStatus(request.port),
  ) {
    this.request = request;
    this.emit = onEvent;
    this.attached = {
      session: 7,
      port: request.port,
      uuid: status.uuid,
      mode: request.mode === 'view' ? 'view' : 'write',
      writer: request.mode === 'view' ? status.writer : request.caller.user,
      epoch: status.epoch,
      offset: status.offset,
      state: status.state,
      why: status.why,
      inputCreditBytes: 1000,
      lastUsedBy: null,
      motd: null,
      idleTimeoutMs: null,
    };
  }

  say(offset: number, text: string): void {
    this.emit({ kind: 'frame', epoch: 1, offset, atUs: NOW_US, bytes: Buffer.from(text) });
  }

  /** The same, from where it left off. */
  go(text: string): void {
    this.say(this.#offset, text);
    this.#offset += Buffer.byteLength(text);
  }

  credit(bytes: number): void {
    this.creditedBytes += bytes;
  }

  input(seq: number, bytes: Uint8Array): void {
    this.typed += Buffer.from(bytes).toString();
    this.emit({ kind: 'acknowledged', seq, bytes: bytes.length });
  }

  async takeOver(): Promise<void> {
    // Nobody else is here.
  }

  async view(): Promise<void> {
    this.gaveUpWrite = true;
  }

  becomeProgram(): void {
    this.isProgram = true;
  }

  async sendBreak(durationMs: number): Promise<void> {
    if (this.breakFault) throw this.breakFault;
    this.breaks.push(durationMs);
  }

  async setBreak(): Promise<void> {
    throw new Fault('PORT_UNSUPPORTED', 'no BREAK here');
  }

  async setLine(): Promise<void> {
    throw new Fault('PORT_UNSUPPORTED', 'no line here');
  }

  async setSignals(): Promise<void> {
    throw new Fault('PORT_UNSUPPORTED', 'no signals here');
  }

  async purge(): Promise<void> {
    // Nothing waits.
  }

  async lineState(): Promise<LineState> {
    return { line: null, flow: 'none', signals: {}, isBreaking: false };
  }

  detach(why: string): void {
    this.detachedBecause ??= why;
  }
}

export class FakeLocal implements LocalActions {
  readonly asked: unknown[] = [];
  isClean = true;
  fault: Fault | null = null;

  async serve(options: unknown): Promise<number> {
    return this.#ask('serve', options);
  }

  async demo(options: unknown): Promise<number> {
    return this.#ask('demo', options);
  }

  async check(options: unknown): Promise<string[]> {
    this.#ask('check', options);
    return ['5 ports', '2 users'];
  }

  async verify(options: unknown, report: (line: string) => Promise<void>): Promise<boolean> {
    this.#ask('verify', options);
    await report('db1: 1 gap');
    return this.isClean;
  }

  async signalReload(options: unknown): Promise<void> {
    this.#ask('signalReload', options);
  }

  readonly users: LocalActions['users'] = {
    add: async (_where, user) => void this.#ask('add', user),
    passwd: async (_where, name, password) => void this.#ask('passwd', { name, password }),
    hash: async (password) => `hash of ${password}`,
    list: async () => [
      {
        name: 'bob',
        role: 'operator',
        ports: ['db*', '@rack3'],
        keys: 1,
        hasPassword: true,
        unix: null,
        from: [],
        source: 'database',
      },
    ],
    remove: async (_where, name) => void this.#ask('remove', name),
  };

  found: DiscoveredLine[] = [];
  findings: Finding[] = [];
  looped: LoopbackResult | null = null;

  readonly lines: LocalActions['lines'] = {
    discover: async (options, _signal, report) => {
      this.#ask('discover', options);
      if (options.listenMs !== null) await report('opening raises DTR and RTS');
      return this.found;
    },
    doctor: async (about) => {
      this.#ask('doctor', about);
      return this.findings;
    },
    loopback: async (options) => {
      this.#ask('loopback', options);
      if (!options.isConfirmed) throw new Fault('CONFIRM', 'to be confirmed');
      return this.looped!;
    },
  };

  #ask(what: string, options: unknown): number {
    if (this.fault) throw this.fault;
    this.asked.push([what, options]);
    return 0;
  }
}

/** All a verb is given, faked; `run` runs one. */
export class Bench {
  readonly io = new FakeIo();
  readonly access = new FakeAccess();
  readonly log = new FakeLog();
  readonly local = new FakeLocal();
  readonly journalled: string[] = [];
  context: VerbContext;

  constructor(change: Partial<VerbContext> = {}) {
    const note = (_fields: object, message: string): void => void this.journalled.push(message);
    const journal: Journal = {
      fatal: note,
      error: note,
      warn: note,
      info: note,
      debug: note,
      child: () => journal,
    };
    this.context = {
      caller: CALLER,
      access: this.access,
      log: this.log,
      daemon: null,
      local: this.local,
      io: this.io,
      preferences: { escape: DEFAULT_ESCAPE },
      clock: { nowUs: () => NOW_US },
      journal,
      ...change,
    };
  }

  run(...argv: string[]): Promise<number> {
    return runVerb(this.context, argv);
  }
}

export const SSH_CALLER: Caller = { user: 'bob', remote: '192.0.2.7:5000', frontend: 'ssh' };
