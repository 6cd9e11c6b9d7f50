import { isDeepStrictEqual } from 'node:util';
import type { TlsSettings } from '../core/settings.ts';
import { Door, type DoorDeps, type Guest } from './door.ts';

/** A port with a number, and so with doors of its own. */
export interface NumberedPort {
  name: string;
  n: number;
}

/**
 * A door as the settings want it. A frontend adds what its `welcome` needs to know (`auth`, `as`): a
 * door where such a field changes is closed with its clients and opened anew.
 */
export interface WantedDoor {
  /** Tells the doors of one keeper apart and stays the same over reloads, e.g. `4001`. */
  key: string;
  /** Name of the port it leads to. */
  port: string;
  host: string;
  /** 0: any free one. */
  tcpPort: number;
  allow: readonly string[];
  tls: TlsSettings | null;
}

export interface NumberedDoorsDeps<Wanted extends WantedDoor> extends DoorDeps {
  allowHalfOpen?: boolean;
  /** A client came in. `wanted` is what the door was opened with. */
  welcome(guest: Guest, wanted: Wanted): void;
}

/**
 * Keeps a door open for each numbered port, as raw TCP, telnet and SSH at base + n have. One whose
 * address is taken costs that door only. Start, stop and update take turns.
 */
export class NumberedDoors<Wanted extends WantedDoor> {
  readonly #deps: NumberedDoorsDeps<Wanted>;
  #wanted: ReadonlyMap<string, Wanted>;
  readonly #open = new Map<string, { door: Door; wanted: Wanted }>();
  #isRunning = false;
  #turn: Promise<void> = Promise.resolve();

  constructor(wanted: readonly Wanted[], deps: NumberedDoorsDeps<Wanted>) {
    this.#deps = deps;
    this.#wanted = byKey(wanted);
  }

  start(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = true;
      await this.#match();
    });
  }

  /** Closes all doors and their clients. */
  stop(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = false;
      await Promise.all([...this.#open.values()].map(({ door }) => door.stop(true)));
      this.#open.clear();
    });
  }

  /**
   * Doors that stay as they are keep their clients, also when their allow list or certificate is
   * another now: those count for clients to come.
   */
  update(wanted: readonly Wanted[]): Promise<void> {
    return this.#inTurn(async () => {
      this.#wanted = byKey(wanted);
      if (this.#isRunning) await this.#match();
    });
  }

  /** The TCP port of a port's first door; null while it is shut. */
  tcpPortOf(port: string): number | null {
    for (const { door, wanted } of this.#open.values()) {
      if (wanted.port === port) return door.tcpPort;
    }
    return null;
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #match(): Promise<void> {
    const stale = [...this.#open].filter(
      ([key, { wanted }]) => !isSameDoor(wanted, this.#wanted.get(key)),
    );
    for (const [key] of stale) this.#open.delete(key);
    await Promise.all(stale.map(([, { door }]) => door.stop(true)));
    await Promise.all([...this.#wanted].map(([key, wanted]) => this.#keep(key, wanted)));
  }

  async #keep(key: string, wanted: Wanted): Promise<void> {
    const open = this.#open.get(key);
    if (open !== undefined) {
      open.door.setAllow(wanted.allow);
      if (wanted.tls !== null) await open.door.setTls(wanted.tls);
      return;
    }
    const { welcome, allowHalfOpen, ...deps } = this.#deps;
    const door = new Door(
      {
        host: wanted.host,
        tcpPort: wanted.tcpPort,
        allow: wanted.allow,
        tls: wanted.tls,
        allowHalfOpen: allowHalfOpen ?? false,
        welcome: (guest) => welcome(guest, wanted),
      },
      { ...deps, journal: deps.journal.child({ port: wanted.port }) },
    );
    this.#open.set(key, { door, wanted });
    await door.start();
  }
}

function byKey<Wanted extends WantedDoor>(wanted: readonly Wanted[]): ReadonlyMap<string, Wanted> {
  return new Map(wanted.map((door) => [door.key, door]));
}

/** But for what a door can change while it is open. */
function isSameDoor(a: WantedDoor, b: WantedDoor | undefined): boolean {
  if (b === undefined || (a.tls === null) !== (b.tls === null)) return false;
  return isDeepStrictEqual({ ...a, allow: [], tls: null }, { ...b, allow: [], tls: null });
}
