import type { Frontend } from '../../core/frontend.ts';
import type { TelnetDoorSettings } from '../../core/settings.ts';
import type { DoorDeps } from '../door.ts';
import { NumberedDoors, type NumberedPort, type WantedDoor } from '../numbered-doors.ts';
import { serveTelnetClient, type TelnetClientDeps, type TelnetClientSettings } from './client.ts';

export interface TelnetFrontendDeps
  extends
    Pick<DoorDeps, 'penalties' | 'limits' | 'caps'>,
    Pick<TelnetClientDeps, 'services' | 'openSession' | 'version'> {
  telnetLimits?: TelnetClientDeps['limits'];
}

/** What telnet needs of the configuration. */
export interface TelnetSettings {
  telnet: TelnetDoorSettings | null;
  /** Said before login; null: nothing. */
  banner: string | null;
}

/** Telnet and RFC 2217 at base + n, and at a second base if there is one. */
export class TelnetFrontend implements Frontend {
  readonly kind = 'telnet';
  readonly #doors: NumberedDoors<TelnetDoor>;
  /** Not a door's: a new one is for clients to come, and no door opens anew for it. */
  #banner: string | null;

  constructor(settings: TelnetSettings, ports: readonly NumberedPort[], deps: TelnetFrontendDeps) {
    const { services, openSession, version, telnetLimits: limits = {}, ...doorDeps } = deps;
    this.#banner = settings.banner;
    this.#doors = new NumberedDoors(wantedDoors(settings.telnet, ports), {
      ...doorDeps,
      journal: services.journal,
      allowHalfOpen: true,
      welcome: (guest, door) =>
        serveTelnetClient(guest, door, {
          services,
          openSession,
          version,
          banner: this.#banner,
          limits,
        }),
    });
  }

  start(): Promise<void> {
    return this.#doors.start();
  }

  stop(): Promise<void> {
    return this.#doors.stop();
  }

  /** Doors that stay as they are keep their clients. */
  update(settings: TelnetSettings, ports: readonly NumberedPort[]): Promise<void> {
    this.#banner = settings.banner;
    return this.#doors.update(wantedDoors(settings.telnet, ports));
  }

  /** The TCP port of a port's door, the first of two; null while it is shut. */
  tcpPortOf(name: string): number | null {
    return this.#doors.tcpPortOf(name);
  }
}

type TelnetDoor = WantedDoor & TelnetClientSettings;

function wantedDoors(
  settings: TelnetDoorSettings | null,
  ports: readonly NumberedPort[],
): readonly TelnetDoor[] {
  if (settings === null) return [];
  const { base, aliasBase, ...rest } = settings;
  const bases = aliasBase === null ? [base] : [base, aliasBase];
  return bases.flatMap((first) =>
    ports.map(({ name, n }) => ({
      ...rest,
      key: String(first + n),
      port: name,
      tcpPort: first + n,
    })),
  );
}
