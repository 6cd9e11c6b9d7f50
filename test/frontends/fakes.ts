import { randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAddressFilter } from '../../src/auth/cidr.ts';
import type { Penalties } from '../../src/auth/penalties.ts';
import type { Attached } from '../../src/core/attach.ts';
import type { Journal } from '../../src/core/clock.ts';
import { Fault } from '../../src/core/fault.ts';
import type {
  CertificateAnswer,
  CertificatePermits,
  FrontendServices,
  Login,
  VerbIo,
} from '../../src/core/frontend.ts';
import type { LineSettings, LineState } from '../../src/core/line-settings.ts';
import type { AuditRow } from '../../src/core/store.ts';
import { DEFAULT_ESCAPE, type Caller, type EscapePrefix } from '../../src/core/user.ts';
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
  /** CIDRs the user may come from; absent: anywhere. */
  from?: readonly string[];
  /** The one-time code that is good now, once; absent: a password is enough. */
  code?: string;
  /** A certificate that admits the user: base64 of its wire form and of the key it is for. */
  certificate?: { blob: string; key: string; permits?: CertificatePermits };
  /** Absent: ^Ec. */
  escape?: EscapePrefix | null;
}

export function fakeLogin(users: Record<string, FakeUser>): Login {
  const base64 = (blob: Uint8Array) => Buffer.from(blob).toString('base64');
  const usedCodes = new Set<string>();
  const mayComeFrom = (user: string, address: string) =>
    user in users && createAddressFilter(users[user]!.from ?? [])(address);
  return {
    withPassword: (user, password, address) =>
      Promise.resolve(users[user]?.password === password && mayComeFrom(user, address)),
    withKey: (user, blob, address) =>
      users[user]?.key === base64(blob) && mayComeFrom(user, address),
    usersOfKey: (blob, address) =>
      Object.keys(users).filter(
        (name) => users[name]!.key === base64(blob) && mayComeFrom(name, address),
      ),
    ofUnixUser: (uid) => Object.keys(users).find((name) => users[name]!.uid === uid) ?? null,
    exists: (user) => user in users,
    mayComeFrom,
    needsCode: (user) => users[user]?.code !== undefined,
    withCode: (user, code) => {
      if (users[user]?.code !== code || usedCodes.has(`${user} ${code}`)) return false;
      usedCodes.add(`${user} ${code}`);
      return true;
    },
    withCertificate: (user, blob, address): CertificateAnswer => {
      const certificate = users[user]?.certificate;
      if (certificate?.blob !== base64(blob)) {
        return { admitted: false, why: 'signed by no authority of ours' };
      }
      if (!mayComeFrom(user, address)) return { admitted: false, why: 'not from there' };
      return {
        admitted: true,
        key: Buffer.from(certificate.key, 'base64'),
        id: 'a certificate',
        permits: certificate.permits ?? { pty: true, portForwarding: true },
      };
    },
    preferences: (user) => {
      const escape = users[user]?.escape;
      return { escape: escape === undefined ? DEFAULT_ESCAPE : escape };
    },
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
  'menu',
  'requests',
];

export interface VerbRun {
  caller: Caller;
  argv: readonly string[];
}

/**
 * A table of verbs as short as a test needs: `attach` echoes, `sink` counts its input slowly,
 * `both` writes to both streams, `flood` writes so many bytes, `pour` never stops, `wait` waits to
 * be interrupted, `requests` says what the protocol asks of it and refuses what `refuses` says.
 */
export class FakeVerbs {
  readonly runs: VerbRun[] = [];
  readonly left: VerbRun[] = [];
  /** What `pour` got rid of. */
  pouredBytes = 0;
  /** `sink` takes no more until this resolves. */
  slowness: () => Promise<void> = () => Promise.resolve();
  /** Whether `requests` takes no BREAK and no signal. */
  refuses = false;

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
      case 'menu':
        await io.write('the menu\n');
        return 0;
      case 'requests':
        return this.#requests(io);
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

  async #requests(io: VerbIo): Promise<number> {
    io.onBreak?.(async (durationMs) => {
      await this.slowness();
      if (this.refuses) throw new Fault('DENIED', 'bob lacks break on db1');
      await io.write(`BREAK of ${durationMs} ms\n`);
    });
    io.onSignal?.((name) => {
      void io.write(`signal ${name}\n`);
      return !this.refuses;
    });
    io.onResize(() => void io.write(`${io.size().columns}x${io.size().rows}\n`));
    await io.write('ready\n');
    await aborted(io.signal);
    throw io.signal.reason;
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

/** Ports db1, db2 and echo: input is kept and, on `echo`, comes back. */
export class FakePorts {
  readonly inputs: Record<string, Buffer> = {};
  readonly sessions: FakeSession[] = [];
  /** What the next session finds on its line. */
  readonly lines: Record<string, LineState> = {};
  /** Ports on which somebody else, `eve`, writes. */
  readonly busy = new Set<string>();
  /** Taking input waits for this. */
  slowness: () => Promise<void> = () => Promise.resolve();
  /** What setLine and its like reject with. */
  controlFault: Fault | null = null;
  /** What setLine rejects with at these settings; null: the driver can do them. */
  lineFault: (line: LineSettings) => Fault | null = () => null;
  /** Called when a session came, got input or left. */
  readonly #waiters = new Set<() => void>();

  readonly open: OpenSession = async (_services, request, output) => {
    const { port, mode } = request;
    if (!['db1', 'db2', 'echo'].includes(port)) {
      throw new Fault('PORT_UNKNOWN', `no port "${port}"`);
    }
    const isBusy = this.busy.has(port);
    if (isBusy && mode === 'write-or-leave') throw new Fault('PORT_BUSY', `eve writes on ${port}`);
    const views = mode === 'view' || (isBusy && mode === 'write');
    const session: FakeSession = {
      request,
      output,
      attached: attachedTo(port, this.sessions.length + 1, views, isBusy && views ? 'eve' : null),
      detached: null,
      gaveUpWrite: false,
      isProgram: request.delivery === 'program',
      calls: [],
      looks: 0,
      line: (this.lines[port] ??= lineOf115200()),
    };
    this.sessions.push(session);
    this.#changed();
    const control = async (name: string, ...given: unknown[]): Promise<void> => {
      session.calls.push([name, ...given]);
      this.#changed();
      if (this.controlFault !== null) throw this.controlFault;
    };
    return {
      attached: session.attached,
      input: async (bytes) => {
        await this.slowness();
        const before = this.inputs[port] ?? Buffer.alloc(0);
        this.inputs[port] = Buffer.concat([before, bytes]);
        if (port === 'echo') output.write(Buffer.from(bytes), () => undefined);
        this.#changed();
      },
      view: async () => {
        session.gaveUpWrite = true;
        this.#changed();
      },
      inputDelivered: () => Promise.resolve(),
      takeOver: () => control('takeOver'),
      sendBreak: (durationMs) => control('sendBreak', durationMs),
      setLine: async (line, flow) => {
        await control('setLine', line, flow);
        const fault = this.lineFault(line);
        if (fault !== null) throw fault;
        session.line = this.lines[port] = { ...session.line, line, flow };
      },
      setSignals: async (signals) => {
        await control('setSignals', signals);
        session.line.signals = { ...session.line.signals, ...signals };
      },
      setBreak: async (isOn) => {
        await control('setBreak', isOn);
        session.line.isBreaking = isOn;
      },
      purge: (queue) => control('purge', queue),
      lineState: () => {
        session.looks++;
        return Promise.resolve({ ...session.line });
      },
      becomeProgram: () => {
        session.isProgram = true;
        this.#changed();
      },
      detach: (why = '') => {
        session.detached = why;
        this.#changed();
      },
    };
  };

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiters.add(resolve));
  }

  #changed(): void {
    for (const wake of [...this.#waiters]) wake();
    this.#waiters.clear();
  }
}

export interface FakeSession {
  request: Parameters<OpenSession>[1];
  /** `write`, `ended` and `event` play the port. */
  output: Parameters<OpenSession>[2];
  attached: Attached;
  detached: string | null;
  gaveUpWrite: boolean;
  isProgram: boolean;
  /** Calls besides input, view and detach: name and arguments. */
  calls: unknown[][];
  /** Calls of `lineState`. */
  looks: number;
  line: LineState;
}

function attachedTo(
  port: string,
  session: number,
  views: boolean,
  writer: string | null,
): Attached {
  return {
    session,
    port,
    uuid: `uuid of ${port}`,
    mode: views ? 'view' : 'write',
    writer,
    epoch: 1,
    offset: 0,
    state: 'up',
    why: null,
    inputCreditBytes: 65_536,
    lastUsedBy: null,
    motd: null,
    idleTimeoutMs: null,
  };
}

function lineOf115200(): LineState {
  return {
    line: { baud: 115_200, dataBits: 8, parity: 'none', stopBits: 1 },
    flow: 'none',
    signals: { dtr: true, rts: true },
    isBreaking: false,
  };
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

/** A base with `count` free TCP numbers after it, below those that the kernel gives to clients. */
export async function freeBase(count = 3): Promise<number> {
  for (;;) {
    const base = randomInt(10_000, 32_000);
    const numbers = Array.from({ length: count + 1 }, (_, n) => base + n);
    const isFree = await Promise.all(numbers.map(isFreeTcpPort));
    if (isFree.every(Boolean)) return base;
  }
}

function isFreeTcpPort(tcpPort: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(tcpPort, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
