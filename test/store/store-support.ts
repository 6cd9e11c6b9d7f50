import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Journal } from '../../src/core/clock.ts';
import type { LogRecord, RecordBody } from '../../src/core/record.ts';
import { offsetsOf, seqsOf } from '../../src/core/record.ts';
import type { PortPosition } from '../../src/core/spool.ts';
import type {
  EntryVisitor,
  RecoveredSpool,
  RegisteredPort,
  SpoolReader,
} from '../../src/core/store.ts';
import { encodeBody } from '../../src/log/frame.ts';
import { openDataDirectory, type DataDirectory } from '../../src/store/data-directory.ts';
import {
  Store,
  type StoreAnswer,
  type StoreMailbox,
  type StoreOptions,
  type StoreRequest,
} from '../../src/store/store-loop.ts';
import { PROJECT } from '../support/project.ts';

export const MIGRATIONS = join(PROJECT, 'migrations');
/** 2026-11-20 12:00 UTC. */
export const NOON_US = Date.UTC(2026, 10, 20, 12) * 1000;

type Entry = Parameters<EntryVisitor>;

/** A spool in memory: what was taken and not committed comes again from `recovered`. */
export class FakeSpool implements SpoolReader {
  #waiting: Entry[] = [];
  #taken: Entry[] = [];
  waits = 0;
  readonly #clock: FakeClock;
  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  push(portId: number, records: readonly LogRecord[]): void {
    for (const record of records) {
      const payload = Buffer.from(encodeBody(record));
      const { epoch, kind, seq, offset, atUs } = record;
      this.#waiting.push([portId, epoch, kind, seq, offset, atUs, payload, 0, payload.length]);
    }
  }
  waitingBytes(): number {
    return this.#waiting.reduce((sum, entry) => sum + entry[8] + 32, 0);
  }
  take(bytesMax: number, visit: EntryVisitor): number {
    let bytes = 0;
    while (bytes < bytesMax && this.#waiting.length > 0) {
      const entry = this.#waiting.shift()!;
      this.#taken.push(entry);
      bytes += entry[8] + 32;
      visit(...entry);
    }
    return bytes;
  }
  committed(): void {
    this.#taken = [];
  }
  /** Nobody publishes meanwhile: the time passes. */
  wait(timeoutMs: number): void {
    this.waits++;
    this.#clock.pass(timeoutMs);
  }
  /** What a daemon that starts now finds; `uuids` by port id. */
  recovered(uuids: readonly string[], isContinuous = true): RecoveredSpool {
    const entries = [...this.#taken, ...this.#waiting];
    return {
      isContinuous,
      why: isContinuous ? null : 'another boot of the kernel',
      cutShort: [],
      visit: (visitor) => {
        for (const [portId, ...rest] of entries) visitor(uuids[portId]!, ...rest);
      },
    };
  }
}

export class FakeClock {
  #us = NOON_US;
  #ms = 0;
  nowUs(): number {
    return this.#us;
  }
  monotonicMs(): number {
    return this.#ms;
  }
  pass(ms: number): void {
    this.#ms += ms;
    this.#us += ms * 1000;
  }
}

/** Remembers lines; one list for all children. */
export class FakeJournal implements Journal {
  readonly lines: { level: string; message: string; fields: Record<string, unknown> }[] = [];
  #add(level: string, fields: object, message: string): void {
    this.lines.push({ level, message, fields: fields as Record<string, unknown> });
  }
  fatal(fields: object, message: string): void {
    this.#add('fatal', fields, message);
  }
  error(fields: object, message: string): void {
    this.#add('error', fields, message);
  }
  warn(fields: object, message: string): void {
    this.#add('warn', fields, message);
  }
  info(fields: object, message: string): void {
    this.#add('info', fields, message);
  }
  debug(fields: object, message: string): void {
    this.#add('debug', fields, message);
  }
  child(): Journal {
    return this;
  }
  messages(): string[] {
    return this.lines.map((line) => line.message);
  }
}

/** A data directory with its store, and everything around it faked. */
export class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'fairlead-store-'));
  readonly path = join(this.folder, 'data');
  readonly clock = new FakeClock();
  readonly journal = new FakeJournal();
  readonly answers: StoreAnswer[] = [];
  readonly requests: StoreRequest[] = [];
  spool = new FakeSpool(this.clock);
  directory: DataDirectory;
  store: Store;
  commits = 0;
  sleeps: number[] = [];
  onSleep: () => void = () => undefined;
  readonly #options: Partial<StoreOptions>;
  readonly mailbox: StoreMailbox = {
    receive: () => this.requests.shift(),
    answer: (answer) => void this.answers.push(answer),
  };

  constructor(options: Partial<StoreOptions> = {}) {
    this.#options = options;
    this.directory = openDataDirectory(this.path, null);
    this.store = this.#open();
  }

  #open(): Store {
    return new Store({
      directory: this.directory,
      migrations: MIGRATIONS,
      clock: this.clock,
      monotonicMs: () => this.clock.monotonicMs(),
      journal: this.journal,
      codec: 'brotli',
      onCommitted: () => this.commits++,
      sleep: (ms) => {
        this.sleeps.push(ms);
        this.clock.pass(ms);
        this.onSleep();
      },
      ...this.#options,
    });
  }

  /** What a first start does. */
  start(names: readonly string[], recovered: RecoveredSpool | null = null): RegisteredPort[] {
    this.store.recover(recovered);
    return this.register(names);
  }

  register(names: readonly string[]): RegisteredPort[] {
    return this.store.registerPorts(
      names.map((name) => ({ name, was: null, backend: 'sim test' })),
    );
  }

  /** Turns until nothing waits in the spool. */
  drain(): void {
    do this.turn();
    while (this.spool.waitingBytes() > 0);
    this.clock.pass(100);
    this.turn();
  }

  turn(): boolean {
    return this.store.turn(this.spool, this.mailbox);
  }

  /** Turns while the time passes. */
  pass(ms: number): void {
    const end = this.clock.monotonicMs() + ms;
    while (this.clock.monotonicMs() < end) this.turn();
  }

  stop(): void {
    this.requests.push({ kind: 'stop', id: 99 });
    while (this.turn());
  }

  /** kill -9 between two transactions, then a start. The spool's content stays where it was. */
  reopen(): void {
    this.store.close();
    this.directory.release();
    this.directory = openDataDirectory(this.path, null);
    this.store = this.#open();
  }

  close(): void {
    try {
      this.store.close();
    } catch {
      // closed by the test already
    }
    this.directory.release();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Makes records of one port as a port core numbers them. */
export class Writer {
  position: PortPosition;
  atUs: number;
  /** Everything written, in order. */
  readonly records: LogRecord[] = [];
  constructor(port: RegisteredPort, atUs = NOON_US) {
    this.position = { ...port.position };
    this.atUs = atUs;
  }
  write(body: RecordBody, afterUs = 1000): LogRecord {
    this.atUs += afterUs;
    const record: LogRecord = { ...this.position, atUs: this.atUs, ...body };
    this.position.seq += seqsOf(body);
    this.position.offset += offsetsOf(body);
    this.records.push(record);
    return record;
  }
  rx(text: string | Uint8Array, afterUs = 1000): LogRecord {
    return this.write({ kind: 'rx', bytes: Buffer.from(text as string, 'latin1') }, afterUs);
  }
  /** rx records of 1 KB of console-like text, `kilobytes` of them. */
  chatter(kilobytes: number): LogRecord[] {
    return Array.from({ length: kilobytes }, (_, index) => {
      let line = '';
      for (let i = 0; line.length < 1024; i++) {
        line += `[${index}.${i * 7919}] eth0: link ${(index * 31 + i * 17) % 977} is up\r\n`;
      }
      return this.rx(line.slice(0, 1024));
    });
  }
}

/** All text of rx records. */
export function textOf(records: readonly LogRecord[]): string {
  return records
    .map((record) => (record.kind === 'rx' ? Buffer.from(record.bytes).toString('latin1') : ''))
    .join('');
}
