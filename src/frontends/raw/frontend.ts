import type { Frontend, FrontendServices } from '../../core/frontend.ts';
import type { RawDoorSettings } from '../../core/settings.ts';
import type { OpenSession } from '../binary-session.ts';
import { Door, type DoorDeps } from '../door.ts';
import { serveRawClient } from './client.ts';

/** A port with a number, and so with a door of its own. */
export interface NumberedPort {
  name: string;
  n: number;
}

export interface RawFrontendDeps extends Pick<DoorDeps, 'penalties' | 'limits'> {
  services: FrontendServices;
  openSession: OpenSession;
}

/** Raw TCP at base + n: the port's bytes and nothing else. One listener for each numbered port. */
export class RawFrontend implements Frontend {
  readonly kind = 'raw';
  readonly #deps: RawFrontendDeps;
  #wanted: ReadonlyMap<number, WantedDoor>;
  readonly #open = new Map<number, { door: Door; wanted: WantedDoor }>();
  #isRunning = false;
  /** Start, stop and update take turns. */
  #turn: Promise<void> = Promise.resolve();

  constructor(
    settings: RawDoorSettings | null,
    ports: readonly NumberedPort[],
    deps: RawFrontendDeps,
  ) {
    this.#deps = deps;
    this.#wanted = wantedDoors(settings, ports);
  }

  start(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = true;
      await this.#match();
    });
  }

  stop(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = false;
      await Promise.all([...this.#open.values()].map(({ door }) => door.stop(true)));
      this.#open.clear();
    });
  }

  /** Doors that stay as they are keep their clients. */
  update(settings: RawDoorSettings | null, ports: readonly NumberedPort[]): Promise<void> {
    return this.#inTurn(async () => {
      this.#wanted = wantedDoors(settings, ports);
      if (this.#isRunning) await this.#match();
    });
  }

  /** The TCP port of a port's door; null while it is shut. */
  tcpPortOf(name: string): number | null {
    for (const { door, wanted } of this.#open.values()) {
      if (wanted.port === name) return door.tcpPort;
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
      ([n, { wanted }]) => !isSameDoor(wanted, this.#wanted.get(n)),
    );
    for (const [n] of stale) this.#open.delete(n);
    await Promise.all(stale.map(([, { door }]) => door.stop(true)));
    const starting: Promise<void>[] = [];
    for (const [n, wanted] of this.#wanted) {
      const open = this.#open.get(n);
      if (open === undefined) {
        const door = this.#createDoor(wanted);
        this.#open.set(n, { door, wanted });
        starting.push(door.start());
      } else open.door.setAllow(wanted.allow);
    }
    await Promise.all(starting);
  }

  #createDoor(wanted: WantedDoor): Door {
    const { services, openSession, penalties, limits } = this.#deps;
    const journal = services.journal.child({ port: wanted.port });
    return new Door(
      {
        host: wanted.host,
        tcpPort: wanted.tcpPort,
        allow: wanted.allow,
        allowHalfOpen: true,
        welcome: (guest) => serveRawClient(guest, wanted.port, wanted.as, services, openSession),
      },
      { journal, penalties, limits: { connectionsMax: CLIENTS_MAX, ...limits } },
    );
  }
}

/** On one port; those that left without a word are among them for a while. */
const CLIENTS_MAX = 256;

interface WantedDoor {
  port: string;
  host: string;
  tcpPort: number;
  as: string;
  allow: readonly string[];
}

function wantedDoors(
  settings: RawDoorSettings | null,
  ports: readonly NumberedPort[],
): ReadonlyMap<number, WantedDoor> {
  const doors = new Map<number, WantedDoor>();
  if (settings === null) return doors;
  const { host, base, as, allow } = settings;
  for (const { name, n } of ports) {
    doors.set(n, { port: name, host, tcpPort: base + n, as, allow });
  }
  return doors;
}

/** The allow list aside: it can change while the door is open. */
function isSameDoor(a: WantedDoor, b: WantedDoor | undefined): boolean {
  return a.port === b?.port && a.host === b.host && a.tcpPort === b.tcpPort && a.as === b.as;
}
