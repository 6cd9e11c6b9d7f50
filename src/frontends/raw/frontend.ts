import type { Frontend, FrontendServices } from '../../core/frontend.ts';
import type { RawDoorSettings } from '../../core/settings.ts';
import type { OpenSession } from '../binary-session.ts';
import type { DoorDeps } from '../door.ts';
import { NumberedDoors, type NumberedPort, type WantedDoor } from '../numbered-doors.ts';
import { serveRawClient, type RawClientSettings } from './client.ts';

export interface RawFrontendDeps extends Pick<DoorDeps, 'penalties' | 'limits' | 'caps'> {
  services: FrontendServices;
  openSession: OpenSession;
}

/** Raw TCP at base + n: the port's bytes and nothing else. One listener for each numbered port. */
export class RawFrontend implements Frontend {
  readonly kind = 'raw';
  readonly #doors: NumberedDoors<RawDoor>;

  constructor(
    settings: RawDoorSettings | null,
    ports: readonly NumberedPort[],
    deps: RawFrontendDeps,
  ) {
    const { services, openSession, ...doorDeps } = deps;
    this.#doors = new NumberedDoors(wantedDoors(settings, ports), {
      ...doorDeps,
      journal: services.journal,
      allowHalfOpen: true,
      welcome: (guest, door) => serveRawClient(guest, door, services, openSession),
    });
  }

  start(): Promise<void> {
    return this.#doors.start();
  }

  stop(): Promise<void> {
    return this.#doors.stop();
  }

  /** Doors that stay as they are keep their clients. */
  update(settings: RawDoorSettings | null, ports: readonly NumberedPort[]): Promise<void> {
    return this.#doors.update(wantedDoors(settings, ports));
  }

  /** The TCP port of a port's door; null while it is shut. */
  tcpPortOf(name: string): number | null {
    return this.#doors.tcpPortOf(name);
  }
}

type RawDoor = WantedDoor & RawClientSettings;

function wantedDoors(
  settings: RawDoorSettings | null,
  ports: readonly NumberedPort[],
): readonly RawDoor[] {
  if (settings === null) return [];
  const { base, ...rest } = settings;
  return ports.map(({ name, n }) => ({
    ...rest,
    key: String(n),
    port: name,
    tcpPort: base + n,
  }));
}
