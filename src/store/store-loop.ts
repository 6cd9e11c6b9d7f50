import type { Clock, Journal } from '../core/clock.ts';
import { Fault, faultMessage, type FaultMessage } from '../core/fault.ts';
import type {
  AuditRow,
  PortRegistration,
  RecoveredSpool,
  RegisteredPort,
  SpoolReader,
} from '../core/store.ts';
import type { User } from '../core/user.ts';
import { Recorder, type Frame, type SessionRecord } from '../log/recorder.ts';
import type { DataDirectory } from './data-directory.ts';
import { isCorruption, isSqliteError, schemas } from './database.ts';
import { LOG_FILE_BYTES_MAX, LogShelf, rollBackLogFiles } from './log-shelf.ts';
import { PortRegister } from './port-register.ts';
import type { LogFileRow, SealedHead } from './sealed-heads.ts';
import { Sealer } from './sealer.ts';
import { openSigningKey } from './signing.ts';
import { sealedSinceLastCommit } from './adopt.ts';
import { markDamaged, openState } from './state.ts';
import type { State } from './tables.ts';

export interface StoreOptions {
  directory: DataDirectory;
  /** The package's folder `migrations/`. */
  migrations: string;
  clock: Clock;
  /** A clock that never steps. */
  monotonicMs(): number;
  journal: Journal;
  /** Wanted codec of segments. */
  codec: 'brotli' | 'zstd';
  /** Told after each commit, with what it added (maybe nothing); the frames are not to be changed. */
  onCommitted(frames: readonly Frame[]): void;
  /** Blocks the thread; for the pause before a retry. */
  sleep?(ms: number): void;
  /** A new log file is begun beyond this. */
  logFileBytesMax?: number;
}

/** What the rest of the process asks of the store. Those with an `id` are answered. */
export type StoreRequest =
  | { kind: 'register'; id: number; ports: readonly PortRegistration[] }
  | { kind: 'audit'; row: AuditRow }
  | { kind: 'flush'; id: number }
  | { kind: 'next-session'; id: number }
  | { kind: 'users'; id: number; put?: User; remove?: string }
  /** Commits all, marks the stop as clean, closes; the loop ends. */
  | { kind: 'stop'; id: number };

export type StoreAnswer =
  | { id: number; ports: RegisteredPort[] }
  | { id: number; nextSession: number }
  /** All users after the change; `removed` false: there was no such user. */
  | { id: number; users: User[]; removed: boolean }
  | { id: number; done: true }
  | { id: number; fault: FaultMessage };

/** Where requests come from and answers go. */
export interface StoreMailbox {
  /** The next request, without waiting. */
  receive(): StoreRequest | undefined;
  answer(answer: StoreAnswer): void;
}

/** The 100 ms rule (DESIGN 5): a commit at once, then at this pace or when this much waits. */
const COMMIT_INTERVAL_MS = 100;
const COMMIT_BYTES = 1024 * 1024;
/** What one commit takes at most. */
const TAKE_BYTES_MAX = 4 * 1024 * 1024;
const RECOVER_COMMIT_BYTES = 8 * 1024 * 1024;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 1_000;
const STOP_TRIES = 5;
const HOUSEKEEPING_MS = 1_000;
const CHECKPOINT_MS = 60_000;
/** In a flood one seal after so many commits; after each when sealing falls behind. */
const COMMITS_PER_SEAL = 4;

/** What a commit writes; kept whole until it is durable. */
interface Batch {
  frames: Frame[];
  sessions: SessionRecord[];
  audit: AuditRow[];
  files: LogFileRow[];
}

/** Writes the batch in one transaction and returns the ids of the frames' rows. */
type WriteBatch = (
  heads: readonly SealedHead[],
  deleteTo: number | null,
  also: () => void,
) => number[];

/**
 * The only writer of `fairlead.db` and `log/`, for a thread of its own: `run` blocks. A failing disk
 * loses nothing that is in memory or in the spool: the batch is kept and tried again.
 */
export class Store {
  readonly #options: StoreOptions;
  readonly #state: State;
  readonly #recorder = new Recorder();
  readonly #register: PortRegister;
  readonly #shelf: LogShelf;
  readonly #sealer: Sealer;
  readonly #sleep: (ms: number) => void;
  readonly #writeBatch: WriteBatch;
  #batch: Batch = { frames: [], sessions: [], audit: [], files: [] };
  #spool: SpoolReader | null = null;
  #lastCommitMs = Number.NEGATIVE_INFINITY;
  #lastHousekeepingMs = 0;
  #lastCheckpointMs: number;
  #commitsSinceSeal = 0;
  /** Failures in a row; 0: the disk works. */
  #failures = 0;
  #retryAtMs = 0;
  #sealRetryAtMs = 0;
  #sealFailures = 0;
  #flushes: number[] = [];
  /** The spool rang: look into it, whatever its count of bytes says. */
  #mayHaveNews = true;

  /**
   * Opens databases and log files.
   * @throws Fault STORE_NEWER, STORE_FAILED; SQLite's own error when the disk fails.
   */
  constructor(options: StoreOptions) {
    this.#options = options;
    this.#sleep = options.sleep ?? sleepThread;
    const { directory, clock, journal, monotonicMs } = options;
    const schema = schemas(options.migrations);
    this.#lastCheckpointMs = monotonicMs();
    rollBackLogFiles(directory.log, journal);
    this.#state = openState(directory, schema.state, clock, journal);
    const state = this.#state;
    const sealedSince = sealedSinceLastCommit(state, directory.log, journal);
    this.#shelf = new LogShelf(
      {
        folder: directory.log,
        dataId: directory.id,
        schema: schema.log,
        key: openSigningKey(directory.keys),
        clock,
        journal,
        fileBytesMax: options.logFileBytesMax ?? LOG_FILE_BYTES_MAX,
        onFile: (row) => this.#batch.files.push(row),
        onCheckpoint: (line) => journal.info({ checkpoint: line }, 'log checkpoint signed'),
      },
      state.sealed.files(),
    );
    this.#register = new PortRegister(state, this.#recorder, clock);
    this.#sealer = new Sealer(
      {
        state,
        shelf: this.#shelf,
        journal,
        codec: options.codec,
        monotonicMs,
        portOf: (portId) => this.#register.logPort(portId),
      },
      sealedSince,
    );
    this.#register.expectAll(this.#sealer.ends());
    const write: WriteBatch = (heads, deleteTo, also) => {
      also();
      return this.#write(heads, deleteTo);
    };
    this.#writeBatch = state.db.transaction(write).immediate;
  }

  /** First session number not used yet in this data directory. */
  get nextSession(): number {
    const adopted = Number(this.#state.meta.get('next-session') ?? 1);
    return Math.max(adopted, this.#state.sessions.next());
  }

  /**
   * Commits what an earlier daemon left in its spool, exactly once, and decides whether the epochs
   * go on: when the spool proves that nothing was read after it, or the last stop was a clean one.
   * To be called once, before any port is registered. null: there was no spool.
   * @throws SQLite's own error when the disk fails: the spool must be kept then.
   */
  recover(recovered: RecoveredSpool | null): void {
    const { journal } = this.#options;
    const { meta } = this.#state;
    let entries = 0;
    let bytes = 0;
    let uncommittedBytes = 0;
    recovered?.visit((uuid, epoch, kind, seq, offset, atUs, memory, start, length) => {
      const portId = this.#register.idOfRecovered(uuid, epoch);
      this.#recorder.add(portId, epoch, kind, seq, offset, atUs, memory, start, length);
      entries++;
      bytes += length;
      uncommittedBytes += length;
      if (uncommittedBytes < RECOVER_COMMIT_BYTES) return;
      uncommittedBytes = 0;
      this.#commitOrThrow();
    });
    const wasClean = meta.get('clean-stop') === 'yes';
    const isContinuous = wasClean || recovered?.isContinuous === true;
    if (!isContinuous) this.#register.breakAll(recovered?.why ?? 'the spool is missing');
    this.#commitOrThrow(() => {
      meta.set('clean-stop', 'no');
      meta.set('lost-hot', '');
    });
    if (entries > 0) {
      const cutShort = recovered?.cutShort ?? [];
      journal.info({ entries, bytes, isContinuous, cutShort }, 'spool recovered');
    }
  }

  /** Says where each port's next record goes; adds new ports, follows renames. */
  registerPorts(ports: readonly PortRegistration[]): RegisteredPort[] {
    this.#takeAll();
    const registered = this.#register.register(ports);
    try {
      this.#shelf.savePorts(
        ports.map((_, index) => this.#register.logPort(registered[index]!.portId)),
      );
    } catch (error) {
      if (!isSqliteError(error)) throw error;
      this.#options.journal.warn({ err: error }, 'ports not written to the log file yet');
    }
    this.#commit();
    return registered;
  }

  /** Serves spool and mailbox until a `stop` was answered. Blocks the thread. */
  run(spool: SpoolReader, mailbox: StoreMailbox): void {
    this.#spool = spool;
    while (this.turn(spool, mailbox));
  }

  /** One round of `run`: requests, a commit or housekeeping, or a wait. False: stopped. */
  turn(spool: SpoolReader, mailbox: StoreMailbox): boolean {
    this.#spool = spool;
    for (let request = mailbox.receive(); request; request = mailbox.receive()) {
      if (request.kind === 'stop') {
        this.#stop(request.id, mailbox);
        return false;
      }
      this.#serve(request, mailbox);
    }
    const { monotonicMs } = this.#options;
    if (this.#failures > 0 && monotonicMs() < this.#retryAtMs) {
      this.#sleep(Math.max(1, this.#retryAtMs - monotonicMs()));
      return true;
    }
    const waiting = spool.waitingBytes();
    const sinceMs = monotonicMs() - this.#lastCommitMs;
    const mustFlush = this.#flushes.length > 0;
    const isDirty = waiting > 0 || this.#mayHaveNews || mustFlush || this.#hasBatch();
    const isTime = sinceMs >= COMMIT_INTERVAL_MS || waiting >= COMMIT_BYTES;
    if (isDirty && (isTime || mustFlush || this.#failures > 0)) {
      this.#mayHaveNews = false;
      if (mustFlush) this.#takeAll();
      else if (this.#batch.frames.length === 0) this.#take(TAKE_BYTES_MAX);
      if ((mustFlush || this.#hasBatch()) && this.#commit()) {
        for (const id of this.#flushes.splice(0)) mailbox.answer({ id, done: true });
        this.#housekeep(spool.waitingBytes() >= COMMIT_BYTES);
      }
      return true;
    }
    if (this.#housekeep(false)) return true;
    if (isDirty) {
      spool.wait(Math.max(1, COMMIT_INTERVAL_MS - sinceMs), 'urgent');
    } else {
      spool.wait(HOUSEKEEPING_MS, 'published');
      this.#mayHaveNews = true;
    }
    return true;
  }

  /** Seals everything that is not sealed yet, whatever its size. @throws SQLite's own error. */
  sealAll(): void {
    this.#sealer.markAll();
    while (this.#sealer.seal() > 0) this.#commit();
  }

  /** Gives up the databases without the marks of a clean stop. */
  close(): void {
    this.#shelf.close();
    this.#state.db.close();
  }

  #serve(request: Exclude<StoreRequest, { kind: 'stop' }>, mailbox: StoreMailbox): void {
    switch (request.kind) {
      case 'audit':
        this.#batch.audit.push(request.row);
        return;
      case 'flush':
        this.#flushes.push(request.id);
        return;
      case 'next-session':
        mailbox.answer({ id: request.id, nextSession: this.nextSession });
        return;
      case 'register':
      case 'users':
        try {
          mailbox.answer(
            request.kind === 'register'
              ? { id: request.id, ports: this.registerPorts(request.ports) }
              : this.#changeUsers(request),
          );
        } catch (error) {
          if (!isSqliteError(error) && !(error instanceof Fault)) throw error;
          mailbox.answer({ id: request.id, fault: faultMessage(error) });
        }
        return;
    }
  }

  #changeUsers(request: Extract<StoreRequest, { kind: 'users' }>): StoreAnswer {
    const { users } = this.#state;
    if (request.put) users.put(request.put);
    const removed = request.remove !== undefined && users.remove(request.remove);
    return { id: request.id, users: users.list(), removed };
  }

  #hasBatch(): boolean {
    const { frames, audit, files, sessions } = this.#batch;
    return (
      frames.length + audit.length + files.length + sessions.length > 0 ||
      this.#register.hasChanges ||
      this.#sealer.unsavedHeads().length > 0
    );
  }

  #take(bytesMax: number): number {
    const taken = this.#spool?.take(bytesMax, this.#recorder.add) ?? 0;
    this.#collect();
    return taken;
  }

  #takeAll(): void {
    while (this.#take(TAKE_BYTES_MAX) >= TAKE_BYTES_MAX);
  }

  #collect(): void {
    const { frames, sessions, refused } = this.#recorder.finish();
    this.#batch.frames.push(...frames);
    this.#batch.sessions.push(...sessions);
    if (refused > 0) this.#options.journal.error({ entries: refused }, 'spool entries refused');
  }

  /** False: it failed, is kept, and is to be tried again. */
  #commit(): boolean {
    try {
      this.#commitOrThrow();
    } catch (error) {
      if (!isSqliteError(error)) throw error;
      this.#failed(error);
      return false;
    }
    if (this.#failures > 0) {
      this.#options.journal.info({ tries: this.#failures }, 'store writes again');
      this.#failures = 0;
    }
    return true;
  }

  /** `also`: more to be written in the same transaction. */
  #commitOrThrow(also: () => void = () => undefined): void {
    this.#collect();
    const heads = this.#sealer.unsavedHeads();
    const deleteTo = this.#sealer.deletable();
    const startedMs = this.#options.monotonicMs();
    const ids = this.#writeBatch(heads, deleteTo, also);
    const { frames } = this.#batch;
    this.#batch = { frames: [], sessions: [], audit: [], files: [] };
    this.#register.saved();
    this.#sealer.headsSaved(heads);
    if (deleteTo !== null) this.#sealer.deleted(deleteTo);
    this.#sealer.added(frames, ids);
    this.#spool?.committed();
    this.#lastCommitMs = startedMs;
    this.#commitsSinceSeal++;
    this.#options.onCommitted(frames);
  }

  /** Within a transaction. Ids of the frames' rows. */
  #write(heads: readonly SealedHead[], deleteTo: number | null): number[] {
    const { hot, sessions, audit, sealed } = this.#state;
    const batch = this.#batch;
    this.#register.write();
    const ids = batch.frames.map((frame) => hot.append(frame));
    for (const session of batch.sessions) sessions.note(session);
    for (const row of batch.audit) audit.append(row);
    for (const file of batch.files) sealed.saveFile(file);
    for (const head of heads) sealed.save(head);
    if (deleteTo !== null) hot.deleteThrough(deleteTo);
    return ids;
  }

  #failed(error: unknown): void {
    const { journal, directory, monotonicMs } = this.#options;
    if (isCorruption(error)) this.#giveUp(error);
    this.#failures++;
    const retryMs = this.#failures === 1 ? RETRY_MS_MIN : RETRY_MS_MAX;
    this.#retryAtMs = monotonicMs() + retryMs;
    const waitingBytes =
      (this.#spool?.waitingBytes() ?? 0) +
      this.#batch.frames.reduce((sum, frame) => sum + frame.bytes, 0);
    journal.error(
      { fault: 'STORE_FAILED', file: directory.database, err: error, waitingBytes, retryMs },
      'commit failed, kept to be tried again',
    );
  }

  /** The next start moves the database aside and goes on from the spool. */
  #giveUp(error: unknown): never {
    const { database } = this.#options.directory;
    markDamaged(database);
    throw new Fault('STORE_CORRUPT', `${database} is damaged; a restart begins a new one`, error);
  }

  /** True when it did something that took time. */
  #housekeep(isFlood: boolean): boolean {
    const nowMs = this.#options.monotonicMs();
    if (nowMs - this.#lastHousekeepingMs >= HOUSEKEEPING_MS) {
      this.#lastHousekeepingMs = nowMs;
      this.#sealer.markOld();
      if (nowMs - this.#lastCheckpointMs >= CHECKPOINT_MS) {
        this.#lastCheckpointMs = nowMs;
        this.#guarded('log checkpoint failed', () => {
          this.#shelf.checkpoint();
          this.#shelf.tidy();
        });
      }
    }
    if (nowMs >= this.#sealRetryAtMs && this.#mustSeal(isFlood)) {
      this.#commitsSinceSeal = 0;
      this.#guarded('sealing failed, to be tried again', () => this.#sealer.seal());
      return true;
    }
    const isIdle = !isFlood && this.#failures === 0 && this.#spool?.waitingBytes() === 0;
    return isIdle && this.#sealer.deletable() !== null && this.#commit();
  }

  #mustSeal(isFlood: boolean): boolean {
    if (!isFlood) return this.#sealer.isWorthwhile();
    if (this.#sealer.dueBytes === 0) return false;
    return this.#commitsSinceSeal >= (this.#sealer.isBehind ? 1 : COMMITS_PER_SEAL);
  }

  /** Hot rows stay until they are sealed: what fails here is tried again later. */
  #guarded(message: string, work: () => void): void {
    try {
      work();
      this.#sealFailures = 0;
    } catch (error) {
      if (!isSqliteError(error)) throw error;
      if (isCorruption(error) && ++this.#sealFailures >= 3) this.#giveUp(error);
      this.#sealRetryAtMs = this.#options.monotonicMs() + RETRY_MS_MAX;
      this.#options.journal.error({ fault: 'STORE_FAILED', err: error }, message);
    }
  }

  #stop(id: number, mailbox: StoreMailbox): void {
    this.#takeAll();
    let isCommitted = this.#commit();
    for (let tries = 1; !isCommitted && tries < STOP_TRIES; tries++) {
      this.#sleep(RETRY_MS_MIN);
      isCommitted = this.#commit();
    }
    try {
      if (!isCommitted) throw new Fault('STORE_FAILED', 'the last records are in the spool only');
      this.#shelf.close();
      this.#commitOrThrow(() => this.#state.meta.set('clean-stop', 'yes'));
      this.#state.db.pragma('wal_checkpoint(TRUNCATE)');
      this.#state.db.close();
      mailbox.answer({ id, done: true });
    } catch (error) {
      if (!isSqliteError(error) && !(error instanceof Fault)) throw error;
      this.#options.journal.error({ err: error }, 'store stopped without a last commit');
      mailbox.answer({ id, fault: faultMessage(error) });
    }
  }
}

/** Blocks the calling thread. */
function sleepThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
