import assert from 'node:assert/strict';
import type { SessionEvent, AttachRequest, PortSession } from '../../src/core/attach.ts';
import type { Backend, BackendOpener, BackendSink } from '../../src/core/backend.ts';
import type { Journal } from '../../src/core/clock.ts';
import { Fault } from '../../src/core/fault.ts';
import type { LineSettings } from '../../src/core/line-settings.ts';
import type { SignalStates } from '../../src/core/line-settings.ts';
import type { RecordBody, RecordKind } from '../../src/core/record.ts';
import { offsetsOf } from '../../src/core/record.ts';
import { NO_PACE } from '../../src/core/settings.ts';
import type { PortSettings } from '../../src/core/settings.ts';
import type { PortPosition, Spool, SpoolPort } from '../../src/core/spool.ts';
import type { AuditRow, RegisteredPort } from '../../src/core/store.ts';
import type { Authorizer, Caller, Right } from '../../src/core/user.ts';
import type { RunCommand } from '../../src/ports/power-outlet.ts';
import { Rack } from '../../src/ports/rack.ts';
import type { Timers } from '../../src/ports/timers.ts';

/** Time that moves when told to. */
export class FakeTimers implements Timers {
  #nowMs = 1_000;
  #timers: { atMs: number; run: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Runs what is due, in order, letting promises settle after each. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      await settle(1);
      const due = this.#timers
        .filter((timer) => timer.atMs <= untilMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (!due) break;
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      this.#timers = this.#timers.filter((other) => other !== due);
      due.run();
    }
    this.#nowMs = untilMs;
    await settle(1);
  }

  /** The same, but all that became due meanwhile learns of it at the end: a busy event loop. */
  async advanceLate(ms: number): Promise<void> {
    this.#nowMs += ms;
    await this.advance(0);
  }
}

/** Lets promises and messages under way arrive. */
export async function settle(turns = 4): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
}

export interface SpooledRecord {
  epoch: number;
  kind: RecordKind;
  seq: number;
  offset: number;
  atUs: number;
  payload: Uint8Array;
}

/** A spool that refuses a wrong number, and whose memory is good for nothing after the next call. */
export class FakeSpool implements Spool {
  readonly records = new Map<string, SpooledRecord[]>();
  published = 0;

  port(_portId: number, uuid: string, position: PortPosition): SpoolPort {
    const records = this.records.get(uuid) ?? [];
    this.records.set(uuid, records);
    const memory = Buffer.alloc(8_192, 0xee);
    let { seq: nextSeq, offset: nextOffset } = position;
    const { epoch } = position;
    let isReading = false;
    const check = (seq: number, offset: number): void => {
      assert.equal(isReading, false, 'no call from within a read');
      assert.equal(seq, nextSeq, 'seq follows seq');
      assert.equal(offset, nextOffset, 'offset follows offset');
    };
    return {
      append(kind, seq, offset, atUs, payload) {
        check(seq, offset);
        memory.fill(0xee);
        assert.ok(payload.length <= 16_280, 'fits a block');
        nextSeq++;
        const record = { epoch, kind, seq, offset, atUs, payload: payload.slice() };
        nextOffset += offsetsOf(bodyOf(record));
        records.push(record);
      },
      readInto(seq, offset, nowUs, read) {
        check(seq, offset);
        memory.fill(0xee);
        isReading = true;
        const count = read(memory, 100, 4_096);
        isReading = false;
        const atUs = nowUs();
        if (count > 0) {
          nextSeq++;
          nextOffset += count;
          const payload = Uint8Array.from(memory.subarray(100, 100 + count));
          records.push({ epoch, kind: 'rx', seq, offset, atUs, payload });
        }
        return { count, atUs, memory, start: 100 };
      },
      release() {
        // nothing to give back
      },
    };
  }

  publish(): void {
    this.published++;
  }

  /** All records of a port but rx, as they were encoded, with rx as text. */
  bodies(uuid = 'uuid-db1'): RecordBody[] {
    return (this.records.get(uuid) ?? []).map(bodyOf);
  }

  of<Kind extends RecordKind>(
    kind: Kind,
    uuid = 'uuid-db1',
  ): Extract<RecordBody, { kind: Kind }>[] {
    return this.bodies(uuid).filter(
      (body): body is Extract<RecordBody, { kind: Kind }> => body.kind === kind,
    );
  }
}

export function bodyOf(record: SpooledRecord): RecordBody {
  if (record.kind === 'rx') return { kind: 'rx', bytes: record.payload };
  const text = Buffer.from(record.payload).toString();
  return JSON.parse(text, (key, value: unknown) =>
    key === 'bytes' ? new Uint8Array(Buffer.from(value as string, 'base64')) : value,
  ) as RecordBody;
}

export function encodeBody(body: RecordBody): Uint8Array {
  const text = JSON.stringify(body, (key, value: unknown) =>
    key === 'bytes' ? Buffer.from(value as Uint8Array).toString('base64') : value,
  );
  return Buffer.from(text);
}

/** A device in memory. */
export class FakeBackend implements Backend {
  readonly description = 'fake device';
  readonly written: number[] = [];
  readonly watched: boolean[] = [];
  readonly lines: LineSettings[] = [];
  /** How many more bytes it takes. */
  roomBytes = Number.POSITIVE_INFINITY;
  echo: ((bytes: Uint8Array) => void) | null = null;
  alive = true;
  isClosed = false;
  breaks: number[] = [];
  /** Each `setBreak`, each `purge`. */
  readonly held: boolean[] = [];
  readonly purged: string[] = [];
  readonly driven: { dtr?: boolean; rts?: boolean }[] = [];
  lineIsSupported = true;
  signalsAreSupported = false;
  /** What the driver tells of the signals. */
  seen: SignalStates = {};
  signalsAsked = 0;
  readonly sink: BackendSink;

  constructor(sink: BackendSink) {
    this.sink = sink;
  }

  write(bytes: Uint8Array): number {
    assert.equal(this.isClosed, false);
    const takenBytes = Math.min(bytes.length, this.roomBytes);
    this.roomBytes -= takenBytes;
    for (const byte of bytes.subarray(0, takenBytes)) this.written.push(byte);
    if (takenBytes > 0) this.echo?.(bytes.slice(0, takenBytes));
    return takenBytes;
  }

  get writtenText(): string {
    return Buffer.from(this.written).toString('latin1');
  }

  giveRoom(bytes: number): void {
    this.roomBytes += bytes;
    this.sink.writable();
  }

  /** The device says something, as a descriptor's backend hands it on. */
  say(text: string | Uint8Array): void {
    const bytes = Buffer.from(text as string, 'latin1');
    for (let from = 0; from < bytes.length; from += 4_096) {
      const piece = bytes.subarray(from, from + 4_096);
      this.sink.rxInto((memory, start) => piece.copy(memory, start));
    }
  }

  setWatched(watched: boolean): void {
    this.watched.push(watched);
  }

  async setLine(line: LineSettings): Promise<void> {
    if (!this.lineIsSupported) throw new Fault('PORT_UNSUPPORTED', 'no UART');
    this.lines.push(line);
  }

  async setSignals(signals: { dtr?: boolean; rts?: boolean }): Promise<void> {
    if (!this.signalsAreSupported) throw new Fault('PORT_UNSUPPORTED', 'no signals');
    this.driven.push(signals);
  }

  async setBreak(isOn: boolean): Promise<void> {
    this.held.push(isOn);
  }

  async purge(queue: 'rx' | 'tx' | 'both'): Promise<void> {
    this.purged.push(queue);
  }

  async signals(): Promise<SignalStates> {
    this.signalsAsked++;
    return this.seen;
  }

  async sendBreak(durationMs: number): Promise<void> {
    this.breaks.push(durationMs);
  }

  isAlive(): boolean {
    return this.alive;
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

export class FakeOpener implements BackendOpener {
  readonly kind = 'device';
  readonly target = '/dev/fake';
  readonly line: LineSettings | null;
  readonly backends: FakeBackend[] = [];
  attempts = 0;
  /** Fails with this until null. */
  failure: Fault | null = null;
  openGate: Promise<void> | null = null;
  returned: (() => void) | null = null;
  onOpen: ((backend: FakeBackend) => void) | null = null;

  constructor(line: LineSettings | null = LINE) {
    this.line = line;
  }

  async open(sink: BackendSink): Promise<Backend> {
    this.attempts++;
    assert.ok(
      this.backends.every((backend) => backend.isClosed),
      'the former device is closed first',
    );
    if (this.openGate) await this.openGate;
    if (this.failure) throw this.failure;
    const backend = new FakeBackend(sink);
    this.backends.push(backend);
    this.onOpen?.(backend);
    return backend;
  }

  watchReturn(returned: () => void): () => void {
    this.returned = returned;
    return () => {
      this.returned = null;
    };
  }

  get backend(): FakeBackend {
    return this.backends[this.backends.length - 1]!;
  }
}

export const LINE: LineSettings = { baud: 115_200, dataBits: 8, parity: 'none', stopBits: 1 };

export function portSettings(name: string, more: Partial<PortSettings> = {}): PortSettings {
  return {
    name,
    was: null,
    n: null,
    aliases: [],
    group: null,
    backend: { kind: 'pty', path: `/dev/pts/${more.was ?? name}`, command: null },
    line: LINE,
    flow: 'none',
    input: 'masked',
    latency: 'normal',
    writers: 'one',
    pace: NO_PACE,
    restoreLine: false,
    onOpen: [],
    onDetach: [],
    idle: null,
    idleTimeoutMs: null,
    motd: null,
    tasks: [],
    power: null,
    expose: null,
    ...more,
  };
}

export function registered(name: string, more: Partial<RegisteredPort> = {}): RegisteredPort {
  return {
    name,
    portId: 1,
    uuid: `uuid-${name}`,
    position: { epoch: 7, seq: 0, offset: 0 },
    newEpochBecause: null,
    lastUsedBy: null,
    ...more,
  };
}

/** Everybody may everything, but for what is denied. */
export class FakeAuthorizer implements Authorizer {
  readonly denied = new Set<string>();

  deny(user: string, ...rights: Right[]): void {
    for (const right of rights) this.denied.add(`${user} ${right}`);
  }

  allows(user: string, right: Right): boolean {
    return !this.denied.has(`${user} ${right}`);
  }

  authorize(user: string, right: Right): void {
    if (!this.allows(user, right)) throw new Fault('DENIED', `${user} lacks "${right}"`);
  }
}

export function callerOf(user: string): Caller {
  return { user, remote: `${user} remote`, frontend: 'ssh' };
}

export class FakeJournal implements Journal {
  readonly lines: { level: string; fields: object; message: string }[] = [];

  fatal(fields: object, message: string): void {
    this.lines.push({ level: 'fatal', fields, message });
  }
  error(fields: object, message: string): void {
    this.lines.push({ level: 'error', fields, message });
  }
  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', fields, message });
  }
  info(fields: object, message: string): void {
    this.lines.push({ level: 'info', fields, message });
  }
  debug(fields: object, message: string): void {
    this.lines.push({ level: 'debug', fields, message });
  }
  child(): Journal {
    return this;
  }
}

/** A rack of fakes with one port `db1`, or those named. */
export class World {
  readonly timers = new FakeTimers();
  readonly spool = new FakeSpool();
  readonly authorizer = new FakeAuthorizer();
  readonly journal = new FakeJournal();
  readonly audit: AuditRow[] = [];
  /** Wall time is set by so much. */
  clockStepUs = 0;
  /** Commands of power outlets that ran. */
  readonly commands: (readonly string[])[] = [];
  runCommand: RunCommand = async () => ({ status: 0, output: '' });
  readonly openers = new Map<string, FakeOpener>();
  /** Every opener made, the latest of a name in `openers`. */
  makeOpener = (settings: PortSettings): FakeOpener => {
    const opener = this.openers.get(settings.name) ?? new FakeOpener(settings.line);
    this.openers.set(settings.name, opener);
    return opener;
  };
  readonly rack = new Rack({
    spool: this.spool,
    makeOpener: (settings) => this.makeOpener(settings),
    authorizer: this.authorizer,
    clock: { nowUs: () => this.timers.nowMs() * 1_000 + this.clockStepUs },
    journal: this.journal,
    audit: (row) => this.audit.push(row),
    encodeBody,
    nextSession: 1,
    runCommand: (argv, timeoutMs) => {
      this.commands.push(argv);
      return this.runCommand(argv, timeoutMs);
    },
    timers: this.timers,
  });

  async start(settings: readonly PortSettings[] = [portSettings('db1')]): Promise<this> {
    await this.rack.start(
      settings,
      settings.map(({ name }) => registered(name)),
    );
    return this;
  }

  get opener(): FakeOpener {
    return this.openers.get('db1')!;
  }

  get backend(): FakeBackend {
    return this.opener.backend;
  }

  async attach(user: string, more: Partial<AttachRequest> = {}): Promise<Watcher> {
    const watcher = new Watcher();
    watcher.session = await this.rack.attach(
      {
        caller: callerOf(user),
        port: 'db1',
        mode: 'write',
        delivery: 'person',
        creditBytes: 1_048_576,
        ...more,
      },
      (event) => watcher.onEvent(event),
    );
    return watcher;
  }
}

/** A session's client that keeps all it was told. */
export class Watcher {
  session!: PortSession;
  readonly events: SessionEvent[] = [];
  #seq = 0;

  onEvent(event: SessionEvent): void {
    this.events.push(event);
  }

  type(text: string): void {
    this.session.input(++this.#seq, Uint8Array.from(Buffer.from(text, 'latin1')));
  }

  of<Kind extends SessionEvent['kind']>(kind: Kind): Extract<SessionEvent, { kind: Kind }>[] {
    return this.events.filter(
      (event): event is Extract<SessionEvent, { kind: Kind }> => event.kind === kind,
    );
  }

  get text(): string {
    return Buffer.concat(this.of('frame').map((frame) => frame.bytes)).toString('latin1');
  }
}
