import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Penalties } from '../../src/auth/penalties.ts';
import type { Journal } from '../../src/core/clock.ts';
import { Fault } from '../../src/core/fault.ts';
import type { FrontendServices, Login, VerbIo } from '../../src/core/frontend.ts';
import type { AuditRow } from '../../src/core/store.ts';
import type { Caller } from '../../src/core/user.ts';
import type { OpenSession } from '../../src/frontends/binary-session.ts';

export interface JournalLine {
  level: string;
  message: string;
  [field: string]: unknown;
}

/** Keeps what was journalled; `said` waits for a line. */
export class FakeJournal implements Journal {
  readonly lines: JournalLine[];
  readonly #fields: object;
  readonly #waiters: Set<() => void>;

  constructor(lines: JournalLine[] = [], fields: object = {}, waiters = new Set<() => void>()) {
    this.lines = lines;
    this.#fields = fields;
    this.#waiters = waiters;
  }

  fatal = (fields: object, message: string) => this.#add('fatal', fields, message);
  error = (fields: object, message: string) => this.#add('error', fields, message);
  warn = (fields: object, message: string) => this.#add('warn', fields, message);
  info = (fields: object, message: string) => this.#add('info', fields, message);
  debug = (fields: object, message: string) => this.#add('debug', fields, message);

  child(fields: object): Journal {
    return new FakeJournal(this.lines, { ...this.#fields, ...fields }, this.#waiters);
  }

  async said(message: string): Promise<JournalLine> {
    for (;;) {
      const line = this.lines.find((entry) => entry.message === message);
      if (line !== undefined) return line;
      await new Promise<void>((resolve) => this.#waiters.add(resolve));
    }
  }

  #add(level: string, fields: object, message: string): void {
    this.lines.push({ ...this.#fields, ...fields, level, message });
    for (const wake of [...this.#waiters]) wake();
    this.#waiters.clear();
  }
}

export interface FakeUser {
  /** base64 of the public key's wire form. */
  key?: string;
  password?: string;
  uid?: number;
}

export function fakeLogin(users: Record<string, FakeUser>): Login {
  const base64 = (blob: Uint8Array) => Buffer.from(blob).toString('base64');
  return {
    withPassword: (user, password) => Promise.resolve(users[user]?.password === password),
    withKey: (user, blob) => users[user]?.key === base64(blob),
    usersOfKey: (blob) => Object.keys(users).filter((name) => users[name]!.key === base64(blob)),
    ofUnixUser: (uid) => Object.keys(users).find((name) => users[name]!.uid === uid) ?? null,
    exists: (user) => user in users,
  };
}

export const VERBS = [
  'ports',
  'attach',
  'log',
  'size',
  'zone',
  'sink',
  'both',
  'flood',
  'pour',
  'fail',
  'wait',
];

export interface VerbRun {
  caller: Caller;
  argv: readonly string[];
}

/**
 * A table of verbs as short as a test needs: `attach` echoes, `sink` counts its input slowly,
 * `both` writes to both streams, `flood` writes so many bytes, `pour` never stops, `wait` waits to
 * be interrupted.
 */
export class FakeVerbs {
  readonly runs: VerbRun[] = [];
  readonly left: VerbRun[] = [];
  /** What `pour` got rid of. */
  pouredBytes = 0;
  /** `sink` takes no more until this resolves. */
  slowness: () => Promise<void> = () => Promise.resolve();

  readonly run = async (caller: Caller, argv: readonly string[], io: VerbIo): Promise<number> => {
    const run = { caller, argv };
    this.runs.push(run);
    try {
      return await this.#run(argv, io);
    } finally {
      this.left.push(run);
    }
  };

  async #run([verb, ...rest]: readonly string[], io: VerbIo): Promise<number> {
    switch (verb) {
      case 'ports':
        await io.write('db1 up\ndb2 down\n');
        return 0;
      case 'attach':
        return this.#attach(rest, io);
      case 'size':
        await io.write(`${io.size().columns}x${io.size().rows} ${io.isTerminal}\n`);
        return 0;
      case 'zone':
        await io.write(`${io.timeZone}\n`);
        return 0;
      case 'sink':
        return this.#sink(io);
      case 'both':
        await io.write('out\n');
        await io.writeError('err\n');
        return 3;
      case 'flood':
        await io.write(Buffer.alloc(Number(rest[0]), 'x'));
        return 0;
      case 'pour':
        for (const bytes = Buffer.alloc(65_536); ; this.pouredBytes += bytes.length) {
          await io.write(bytes);
        }
      case 'wait':
        await io.write('waiting\n');
        await aborted(io.signal);
        throw io.signal.reason;
      default:
        throw new Fault('DENIED', `bob lacks view on ${rest.join(' ')}`);
    }
  }

  async #attach(rest: readonly string[], io: VerbIo): Promise<number> {
    await io.write(`attached ${rest.join(' ')}\n`);
    return new Promise((resolve) => {
      io.signal.addEventListener('abort', () => resolve(1), { once: true });
      io.onInput(async (bytes) => {
        if (bytes === null || Buffer.from(bytes).includes('.')) {
          await io.write('detached\n').catch(() => undefined);
          return resolve(0);
        }
        await io.write(bytes);
      }, true);
    });
  }

  #sink(io: VerbIo): Promise<number> {
    let count = 0;
    return new Promise((resolve) => {
      io.signal.addEventListener('abort', () => resolve(1), { once: true });
      io.onInput(async (bytes) => {
        await this.slowness();
        count += bytes?.length ?? 0;
        if (bytes !== null) return;
        await io.write(`${count} bytes\n`);
        resolve(0);
      }, false);
    });
  }
}

/** Ports for programs: input is kept and, on `echo`, comes back. */
export class FakePorts {
  readonly inputs: Record<string, Buffer> = {};
  readonly sessions: FakeBinarySession[] = [];
  /** Called when a session came, got input or left. */
  readonly #waiters = new Set<() => void>();

  readonly open: OpenSession = (_services, request, output) => {
    if (!['db1', 'db2', 'echo'].includes(request.port)) {
      return Promise.reject(new Fault('PORT_UNKNOWN', `no port "${request.port}"`));
    }
    const session: FakeBinarySession = { request, output, detached: null, gaveUpWrite: false };
    this.sessions.push(session);
    this.#changed();
    return Promise.resolve({
      input: (bytes) => {
        const before = this.inputs[request.port] ?? Buffer.alloc(0);
        this.inputs[request.port] = Buffer.concat([before, bytes]);
        if (request.port === 'echo') output.write(Buffer.from(bytes), () => undefined);
        this.#changed();
        return Promise.resolve();
      },
      view: () => {
        session.gaveUpWrite = true;
        this.#changed();
        return Promise.resolve();
      },
      detach: (why = '') => {
        session.detached = why;
        this.#changed();
      },
    });
  };

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiters.add(resolve));
  }

  #changed(): void {
    for (const wake of [...this.#waiters]) wake();
    this.#waiters.clear();
  }
}

export interface FakeBinarySession {
  request: Parameters<OpenSession>[1];
  output: Parameters<OpenSession>[2];
  detached: string | null;
  gaveUpWrite: boolean;
}

export function fakeServices(
  users: Record<string, FakeUser>,
): FrontendServices & { journal: FakeJournal; verbs: FakeVerbs; audited: AuditRow[] } {
  const verbs = new FakeVerbs();
  const audited: AuditRow[] = [];
  return {
    access: {} as FrontendServices['access'],
    log: {} as FrontendServices['log'],
    login: fakeLogin(users),
    runVerb: verbs.run,
    journal: new FakeJournal(),
    clock: { nowUs: () => 0 },
    audit: (row) => audited.push(row),
    verbs,
    audited,
  };
}

/** Remembers no offence: all clients of a test come from one address. */
export function noPenalties(): Penalties {
  return { penalise: () => undefined, refusedForMs: () => 0, sources: 0 };
}

export async function withDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'fairlead-'));
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
