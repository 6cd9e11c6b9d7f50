import { Fault } from '../../src/core/fault.ts';
import type {
  Attached,
  AttachRequest,
  PortAccess,
  PortSession,
  SessionEvent,
} from '../../src/core/attach.ts';
import type { Journal } from '../../src/core/clock.ts';
import type { VerbIo } from '../../src/core/frontend.ts';
import type { Flow, LineSettings } from '../../src/core/line-settings.ts';
import { formatLineSettings } from '../../src/core/line-settings.ts';
import type { PortStatus, SessionStatus } from '../../src/core/port-status.ts';
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
  /** Writes fail: the reader left. */
  isBroken = false;
  isRaw = false;
  readonly chunks: Buffer[] = [];
  errors = '';
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
    return { columns: this.columns, rows: 24 };
  }

  onResize(): void {
    // The tests do not resize.
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
    ...more,
  };
}

/** Notes what it was asked, as words. */
export class FakeAccess implements PortAccess {
  readonly asked: string[] = [];
  list: PortStatus[] = [portStatus('db1')];
  sessions: SessionStatus[] = [];
  heard = 2;
  /** Sent bytes, joined. */
  sent = Buffer.alloc(0);
  session: FakePortSession | null = null;
  /** Thrown by every call. */
  fault: Fault | null = null;

  async attach(
    request: AttachRequest,
    onEvent: (event: SessionEvent) => void,
  ): Promise<PortSession> {
    this.#ask(`attach ${request.port} ${request.mode} ${request.delivery}`);
    this.session = new FakePortSession(request, onEvent);
    return this.session;
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

  async message(_caller: Caller, port: string | null, text: string): Promise<number> {
    this.#ask(`message ${port ?? '--all'} ${text}`);
    return this.heard;
  }

  async send(_caller: Caller, port: string, bytes: Uint8Array): Promise<void> {
    this.#ask(`send ${port} ${bytes.length}`);
    this.sent = Buffer.concat([this.sent, bytes]);
  }

  async sendBreak(_caller: Caller, port: string, durationMs: number): Promise<void> {
    this.#ask(`break ${port} ${durationMs}`);
  }

  async setLine(
    _caller: Caller,
    port: string,
    line: LineSettings,
    flow: Flow | null,
  ): Promise<void> {
    this.#ask(`line ${port} ${formatLineSettings(line)} ${flow}`);
  }

  #ask(words: string): void {
    this.#check();
    this.asked.push(words);
  }

  #check(): void {
    if (this.fault) throw this.fault;
  }
}

export class FakePortSession implements PortSession {
  readonly attached: Attached;
  readonly emit: (event: SessionEvent) => void;
  typed = '';
  gaveUpWrite = false;
  detachedBecause: string | null = null;

  constructor(request: AttachRequest, onEvent: (event: SessionEvent) => void) {
    this.emit = onEvent;
    this.attached = {
      session: 7,
      port: request.port,
      uuid: 'uuid',
      mode: request.mode === 'view' ? 'view' : 'write',
      writer: request.caller.user,
      epoch: 1,
      offset: 0,
      state: 'up',
      why: null,
      inputCreditBytes: 1000,
      lastUsedBy: null,
    };
  }

  say(offset: number, text: string): void {
    this.emit({ kind: 'frame', epoch: 1, offset, atUs: NOW_US, bytes: Buffer.from(text) });
  }

  credit(): void {
    // Credit never runs out here.
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

  async sendBreak(): Promise<void> {
    throw new Fault('PORT_UNSUPPORTED', 'no BREAK here');
  }

  async setLine(): Promise<void> {
    throw new Fault('PORT_UNSUPPORTED', 'no line here');
  }

  async setSignals(): Promise<void> {
    throw new Fault('PORT_UNSUPPORTED', 'no signals here');
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
