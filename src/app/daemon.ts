import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { createAuthorizer, type UpdatableAuthorizer } from '../auth/authorizer.ts';
import { mergeUsers } from '../auth/merge-users.ts';
import { createBackends, Sweep } from '../backends/index.ts';
import { diffSettings } from '../config/diff.ts';
import type { Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Libc } from '../core/libc.ts';
import type { PortSettings, Settings } from '../core/settings.ts';
import type { PortRegistration } from '../core/store.ts';
import type { Caller, User } from '../core/user.ts';
import { encodeBody } from '../log/record-body.ts';
import { loadLibc } from '../native/libc.ts';
import { servePortAccess, type ServedLink } from '../ports/link.ts';
import { Rack } from '../ports/rack.ts';
import { openDataDirectory, type DataDirectory } from '../store/data-directory.ts';
import type { OwnedSpool } from '../store/spool.ts';
import { AutoPorts } from './auto-ports.ts';
import type { Failpoints } from './failpoints.ts';
import type { FrontendsSetup, FrontendsThreadData } from './frontends-thread.ts';
import type { JournalThread } from './journal.ts';
import { readSettings } from './read-settings.ts';
import type { ReaderSetup, ReaderThreadData } from './reader-thread.ts';
import { serveCalls } from './rpc.ts';
import { runCommand } from './run-command.ts';
import { controlPathFor } from './runtime-paths.ts';
import { serviceManager, type ServiceEnvironment, type ServiceManager } from './service-manager.ts';
import type { StoreClient } from './store-client.ts';
import { openStoreAndSpool, type StoreParts, type StoreThread } from './store-parts.ts';
import { SupervisedThread } from './supervised-thread.ts';
import { SystemClock } from './system-clock.ts';

export interface DaemonOptions {
  settings: Settings;
  journal: JournalThread;
  service: ServiceEnvironment;
  failpoints: Failpoints;
}

const SECOND_MS = 1_000;
const THREAD_STOP_MS = 1_000;
const STORE_STOP_MS = 10_000;

/**
 * The daemon: makes the rooms, each on its thread, joins them, and takes them apart in reverse.
 * Lives on the capture thread.
 */
export class Daemon {
  readonly #journal: Journal;
  readonly #journalThread: JournalThread;
  readonly #clock = new SystemClock();
  readonly #directory: DataDirectory;
  readonly #spool: OwnedSpool;
  readonly #storeThread: StoreThread;
  readonly #store: StoreClient;
  readonly #authorizer: UpdatableAuthorizer;
  readonly #rack: Rack;
  readonly #autoPorts: AutoPorts;
  readonly #reader: SupervisedThread;
  readonly #frontends: SupervisedThread;
  readonly #service: ServiceManager;
  readonly #timers: NodeJS.Timeout[] = [];
  #markTimer: NodeJS.Timeout | null = null;
  #settings: Settings;
  #databaseUsers: readonly User[];
  #changes: Promise<unknown> = Promise.resolve();
  /** Resolves when a part that cannot be replaced fails. */
  readonly failed: Promise<Error>;

  /**
   * @throws Fault STORE_IN_USE, STORE_NEWER, STORE_FAILED, SPOOL_FAILED.
   */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const startedMs = performance.now();
    const journal = options.journal.open();
    const libc = await loadLibc();
    if (!libc) journal.warn({}, 'koffi is missing: see docs/decisions/0001 for what that costs');
    const directory = openDataDirectory(options.settings.data, libc);
    try {
      const parts = await openStoreAndSpool(options, directory, libc, journal);
      const daemon = new Daemon(options, directory, libc, journal, parts);
      await daemon.#open(startedMs);
      return daemon;
    } catch (error) {
      directory.release();
      throw error;
    }
  }

  private constructor(
    options: DaemonOptions,
    directory: DataDirectory,
    libc: Libc | null,
    journal: Journal,
    parts: StoreParts,
  ) {
    this.#journal = journal;
    this.#journalThread = options.journal;
    this.#directory = directory;
    this.#settings = options.settings;
    this.#storeThread = parts.thread;
    this.#store = parts.client;
    this.#spool = parts.spool;
    this.#databaseUsers = parts.databaseUsers;
    this.failed = parts.thread.failed;
    this.#service = serviceManager(options.service, libc);
    this.#authorizer = createAuthorizer(this.#users(), this.#settings.roles);
    const sweep = new Sweep(
      () => this.#spool.publish(),
      () => this.#spool.isBehind(performance.now()),
    );
    const backends = createBackends({
      libc,
      sweep,
      clock: this.#clock,
      journal,
      lines: { join: (port, by, part) => this.#rack.join(port, by, part) },
    });
    this.#rack = new Rack({
      spool: this.#spool,
      makeOpener: backends.makeOpener,
      authorizer: this.#authorizer,
      clock: this.#clock,
      journal,
      audit: (row) => this.#store.audit(row),
      encodeBody,
      runCommand,
      nextSession: parts.nextSession,
    });
    this.#autoPorts = new AutoPorts({
      journal,
      backends,
      configured: () => this.#settings.ports,
      added: () => this.#addAutoPorts(),
    });
    this.#reader = new SupervisedThread({
      name: 'reader',
      file: new URL('./reader-thread.js', import.meta.url),
      journal,
      prepare: (beat) => {
        const store = this.#storeThread.connect();
        const workerData: ReaderThreadData = {
          dataDirectory: directory.path,
          setup: this.#readerSetup(),
          commits: this.#storeThread.commits,
          store: { port: store, control: this.#spool.control },
          beat,
          failpoints: options.failpoints,
        };
        return { workerData, transfer: [store], ended: () => undefined };
      },
      replaced: () => {
        const { port1, port2 } = new MessageChannel();
        this.#reader.post({ connect: port1 }, [port1]);
        this.#frontends.post({ log: port2 }, [port2]);
      },
    });
    const controlPath = controlPathFor(directory);
    this.#frontends = new SupervisedThread({
      name: 'frontends',
      file: new URL('./frontends-thread.js', import.meta.url),
      journal,
      prepare: (beat) => {
        const scribe = this.#journalThread.connection();
        const store = this.#storeThread.connect();
        const access = new MessageChannel();
        const log = new MessageChannel();
        const daemon = new MessageChannel();
        const link: ServedLink = servePortAccess(access.port1, this.#rack, journal);
        this.#serveDaemonCalls(daemon.port1);
        this.#reader.post({ connect: log.port1 }, [log.port1]);
        const workerData: FrontendsThreadData = {
          setup: this.#frontendsSetup(),
          controlPath,
          keysDirectory: directory.keys,
          journal: scribe,
          access: access.port2,
          log: log.port2,
          store: { port: store, control: this.#spool.control },
          daemon: daemon.port2,
          beat,
          failpoints: options.failpoints,
        };
        const transfer = [scribe.port, store, access.port2, log.port2, daemon.port2];
        return { workerData, transfer, ended: () => link.end('its frontend was restarted') };
      },
    });
  }

  /** Registers and opens the ports, then the ways in. */
  async #open(startedMs: number): Promise<void> {
    const registered = await this.#store.register(this.#settings.ports.map(registrationOf));
    for (const { name, newEpochBecause, position } of registered) {
      if (newEpochBecause && position.seq > 0) {
        this.#journal.info(
          { port: name, epoch: position.epoch, why: newEpochBecause },
          'new epoch',
        );
      }
    }
    await Promise.all([
      this.#rack.start(this.#settings.ports, registered),
      this.#reader.start().then(() => this.#frontends.start()),
    ]);
    this.#autoPorts.configure(this.#settings.autoPorts);
    this.#every(SECOND_MS, () => this.#followClock());
    this.#startMarks();
    if (this.#service.watchdogMs !== null) {
      this.#every(this.#service.watchdogMs, () => this.#service.pet());
    }
    this.#service.ready();
    const durationMs = Math.round(performance.now() - startedMs);
    const { ports, data } = this.#settings;
    this.#journal.info({ ports: ports.length, data, durationMs }, 'ready');
  }

  /** HUP, `fairlead reload`. @throws Fault CONFIG_INVALID, DENIED; nothing has changed then. */
  reload(caller: Caller | null): Promise<string[]> {
    return this.#oneAtATime(async () => {
      if (caller) this.#authorizer.authorize(caller.user, 'admin', null);
      const [file] = this.#settings.files;
      if (!file) throw new Fault('USAGE', 'this daemon runs without a configuration file');
      this.#service.reloading();
      try {
        return await this.#applyFile(file, caller);
      } finally {
        this.#service.ready();
      }
    });
  }

  /** USR1: ports that are down try again at once. */
  retryPorts(): void {
    this.#rack.retryNow();
  }

  /** Sessions first, ports, then the log; resolves when everything captured is durable. */
  async stop(): Promise<void> {
    this.#service.stopping();
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#markTimer) clearInterval(this.#markTimer);
    this.#autoPorts.stop();
    await this.#changes.catch(() => undefined);
    await this.#rack.stop();
    await Promise.all([this.#frontends.stop(THREAD_STOP_MS), this.#reader.stop(THREAD_STOP_MS)]);
    const isClean = await this.#storeThread.stop(this.#store, STORE_STOP_MS);
    if (isClean) this.#spool.close();
    this.#directory.release();
    this.#journal.info({ isClean }, 'stopped');
    await this.#journalThread.flush(SECOND_MS);
  }

  async #applyFile(file: string, caller: Caller | null): Promise<string[]> {
    const { settings, warnings } = await readSettings(
      file,
      this.#databaseUsers.map((user) => user.name),
    );
    for (const warning of warnings) this.#journal.warn({ warning }, 'configuration');
    const difference = diffSettings(this.#settings, settings);
    const changes = await this.#applyPorts(settings.ports);
    this.#settings = { ...settings, data: this.#settings.data };
    if (difference.autoPortsChanged) {
      this.#autoPorts.configure(settings.autoPorts);
      changes.push('autoPorts changed', ...(await this.#applyPorts(settings.ports)));
    }
    this.#spreadSetup();
    if (difference.listenChanged) changes.push('listeners changed');
    if (difference.usersChanged) changes.push('users changed');
    if (difference.markChanged) changes.push('mark changed');
    changes.push(...difference.needsRestart);
    if (difference.markChanged) this.#startMarks();
    const user = caller?.user ?? 'SIGHUP';
    this.#store.audit({
      atUs: this.#clock.nowUs(),
      user,
      remote: caller?.remote ?? 'signal',
      frontend: caller?.frontend ?? 'local',
      action: 'config',
      port: null,
      detail: changes.join('; ').slice(0, 4096),
    });
    this.#journal.info({ user, changes: changes.slice(0, 50) }, 'configuration reloaded');
    return changes;
  }

  /** These ports, and beside them those made by themselves. Resolves with what changed, in words. */
  async #applyPorts(configured: readonly PortSettings[]): Promise<string[]> {
    const ports = [...configured, ...this.#autoPorts.beside(configured)];
    const registered = await this.#store.register(ports.map(registrationOf));
    return this.#rack.apply(ports, registered);
  }

  #addAutoPorts(): void {
    this.#oneAtATime(async () => {
      await this.#applyPorts(this.#settings.ports);
      this.#spreadSetup();
    }).catch((error: unknown) => {
      this.#journal.error({ err: error }, 'a port for a new UDP source cannot be made');
    });
  }

  /** `fairlead user`: users of the database, and what is there after a change. */
  #changeUsers(caller: Caller, change: { put?: User; remove?: string }): Promise<object> {
    return this.#oneAtATime(async () => {
      this.#authorizer.authorize(caller.user, 'admin', null);
      const { users, removed } = await this.#store.users(change);
      if (change.put || change.remove !== undefined) {
        this.#databaseUsers = users;
        this.#spreadSetup();
        this.#store.audit({
          atUs: this.#clock.nowUs(),
          user: caller.user,
          remote: caller.remote,
          frontend: caller.frontend,
          action: change.put ? 'user set' : 'user removed',
          port: null,
          detail: change.put?.name ?? change.remove ?? '',
        });
      }
      const { users: fileUsers, roles } = this.#settings;
      return { databaseUsers: users, fileUsers, roles: Object.keys(roles), removed };
    });
  }

  #serveDaemonCalls(port: MessagePort): void {
    serveCalls(port, {
      reload: (caller: Caller) => this.reload(caller),
      users: (caller: Caller, change: { put?: User; remove?: string }) =>
        this.#changeUsers(caller, change),
    });
  }

  /** Everybody who decides or listens learns of users, roles, ports and listeners. */
  #spreadSetup(): void {
    this.#authorizer.update(this.#users(), this.#settings.roles);
    this.#rack.recheckRights();
    this.#reader.post({ setup: this.#readerSetup() });
    this.#frontends.post({ setup: this.#frontendsSetup() });
  }

  #users(): readonly User[] {
    return mergeUsers(this.#settings.users, this.#databaseUsers).users;
  }

  #readerSetup(): ReaderSetup {
    const configured = this.#settings.ports;
    const all = [...configured, ...this.#autoPorts.beside(configured)];
    const ports = all.map(({ name, group, aliases }) => ({ name, group, aliases }));
    return { users: this.#users(), roles: this.#settings.roles, ports };
  }

  #frontendsSetup(): FrontendsSetup {
    const numbered = this.#settings.ports.flatMap(({ name, n, aliases }) =>
      n === null ? [] : [{ name, n, aliases }],
    );
    const exposes = this.#settings.ports.flatMap(({ name, expose }) =>
      expose === null ? [] : [{ port: name, settings: expose }],
    );
    const { listen, banner, certificates } = this.#settings;
    return { listen, banner, certificates, ports: numbered, exposes, users: this.#users() };
  }

  #followClock(): void {
    const stepUs = this.#clock.anchor();
    if (stepUs === 0) return;
    this.#journal.warn({ stepUs }, 'the clock was set');
    this.#rack.clockStepped(stepUs);
  }

  #startMarks(): void {
    if (this.#markTimer) clearInterval(this.#markTimer);
    const { markMs } = this.#settings;
    this.#markTimer = markMs === null ? null : setInterval(() => this.#rack.mark(), markMs);
  }

  #every(intervalMs: number, run: () => void): void {
    this.#timers.push(setInterval(run, intervalMs));
  }

  /** Reloads and user changes wait for each other: each sees the whole of the one before. */
  #oneAtATime<Result>(change: () => Promise<Result>): Promise<Result> {
    const done = this.#changes.then(change, change);
    this.#changes = done.catch(() => undefined);
    return done;
  }
}

function registrationOf(port: PortSettings): PortRegistration {
  return { name: port.name, was: port.was, backend: port.backend.kind };
}
