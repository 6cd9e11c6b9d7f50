import { randomUUID } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { sameName } from '../core/names.ts';
import type { PortPosition } from '../core/spool.ts';
import type { PortRegistration, RegisteredPort } from '../core/store.ts';
import type { Recorder } from '../log/recorder.ts';
import type { LogFilePort } from './log-file.ts';
import type { EpochRow, PortRow } from './ports.ts';
import type { State } from './tables.ts';

/**
 * The ports as the store knows them, in memory: answers at once, also when the disk fails. `write`
 * belongs into the next commit, `saved` after it.
 */
export class PortRegister {
  readonly #state: State;
  readonly #recorder: Recorder;
  readonly #clock: Clock;
  readonly #rows: Map<number, PortRow>;
  readonly #epochs: Map<number, number>;
  readonly #changedRows = new Set<PortRow>();
  #newEpochs: EpochRow[] = [];

  constructor(state: State, recorder: Recorder, clock: Clock) {
    this.#state = state;
    this.#recorder = recorder;
    this.#clock = clock;
    this.#rows = new Map(state.ports.all().map((row) => [row.id, row]));
    this.#epochs = state.ports.newestEpochs();
  }

  get hasChanges(): boolean {
    return this.#changedRows.size > 0 || this.#newEpochs.length > 0;
  }

  /** Tells the recorder where each port goes on. `ends`: where hot rows and segments end. */
  expectAll(ends: ReadonlyMap<number, PortPosition>): void {
    const holeReason = this.#state.meta.get('lost-hot') || undefined;
    for (const id of this.#rows.keys()) {
      const end = ends.get(id);
      const epoch = this.#epochs.get(id);
      if (end && (epoch === undefined || end.epoch >= epoch)) {
        this.#recorder.expect(id, end, holeReason);
      } else if (epoch !== undefined) {
        this.#recorder.expect(id, { epoch, seq: 1, offset: 0 }, holeReason);
      }
    }
  }

  /** The port of an entry found in a spool; one that no database knows is added under a name of its own. */
  idOfRecovered(uuid: string, epoch: number): number {
    const known = this.#find((row) => row.uuid === uuid);
    const because = 'the state database was lost';
    const row = known ?? this.#add(uuid, `recovered-${uuid.slice(0, 8)}`, 'unknown', because);
    if (this.#recorder.position(row.id) === null) {
      this.#recorder.expect(row.id, { epoch, seq: 1, offset: 0 }, known ? undefined : because);
    }
    return row.id;
  }

  /** Every port begins a new epoch when it is registered next. */
  breakAll(because: string): void {
    for (const row of this.#rows.values()) {
      if (row.brokenBecause !== null) continue;
      row.brokenBecause = because;
      this.#changedRows.add(row);
    }
  }

  /**
   * Finds each port by name, else by its former name, else adds it, and says where its next record
   * goes.
   */
  register(ports: readonly PortRegistration[]): RegisteredPort[] {
    const rows = this.#claim(ports);
    return ports.map((port) => {
      const row = rows.get(port)!;
      if (row.name !== port.name || row.backend !== port.backend) {
        row.name = port.name;
        row.backend = port.backend;
        this.#changedRows.add(row);
      }
      const newEpochBecause = this.#beginEpoch(row);
      return {
        name: row.name,
        portId: row.id,
        uuid: row.uuid,
        position: this.#recorder.position(row.id)!,
        newEpochBecause,
        lastUsedBy: this.#state.sessions.lastWriter(row.id),
      };
    });
  }

  /** What log files write of a port. */
  logPort(id: number): LogFilePort {
    const { uuid, name, backend } = this.#rows.get(id)!;
    return { uuid, name, backend };
  }

  /** To be called within a transaction. */
  write(): void {
    for (const row of this.#changedRows) this.#state.ports.save(row);
    for (const epoch of this.#newEpochs) this.#state.ports.addEpoch(epoch);
  }

  /** What `write` wrote is durable. */
  saved(): void {
    this.#changedRows.clear();
    this.#newEpochs = [];
  }

  /** A row for each port, none twice. Renames go first, so that a chain of them finds its way. */
  #claim(ports: readonly PortRegistration[]): Map<PortRegistration, PortRow> {
    const claimed = new Map<PortRegistration, PortRow>();
    const named = (name: string): PortRow | undefined =>
      this.#find((row) => sameName(row.name, name));
    for (let found = true; found;) {
      found = false;
      for (const port of ports) {
        if (claimed.has(port) || port.was === null || named(port.name)) continue;
        const row = named(port.was);
        if (!row || [...claimed.values()].includes(row)) continue;
        row.name = port.name;
        this.#changedRows.add(row);
        claimed.set(port, row);
        found = true;
      }
    }
    for (const port of ports) {
      if (claimed.has(port)) continue;
      claimed.set(
        port,
        named(port.name) ?? this.#add(randomUUID(), port.name, port.backend, 'new port'),
      );
    }
    return claimed;
  }

  /** Begins an epoch where the old one cannot go on; says why, or null. */
  #beginEpoch(row: PortRow): string | null {
    const position = this.#recorder.position(row.id);
    const because = row.brokenBecause ?? (position === null ? 'new port' : null);
    if (because === null) return null;
    const nowUs = Math.trunc(this.#clock.nowUs());
    const last = Math.max(position?.epoch ?? 0, this.#epochs.get(row.id) ?? 0);
    const epoch = Math.max(last + 1, Math.floor(nowUs / 1_000_000));
    this.#epochs.set(row.id, epoch);
    this.#newEpochs.push({ port: row.id, epoch, beganUs: nowUs, because });
    this.#recorder.expect(row.id, { epoch, seq: 1, offset: 0 });
    row.brokenBecause = null;
    this.#changedRows.add(row);
    return because;
  }

  #add(uuid: string, name: string, backend: string, brokenBecause: string): PortRow {
    const id = Math.max(0, ...this.#rows.keys()) + 1;
    const row: PortRow = { id, uuid, name, backend, brokenBecause };
    this.#rows.set(id, row);
    this.#changedRows.add(row);
    return row;
  }

  #find(matches: (row: PortRow) => boolean): PortRow | undefined {
    for (const row of this.#rows.values()) if (matches(row)) return row;
    return undefined;
  }
}
