import type { Frontend } from '../../core/frontend.ts';
import type { NumberedDoorSettings } from '../../core/settings.ts';
import type { DoorDeps } from '../door.ts';
import { NumberedDoors, type NumberedPort, type WantedDoor } from '../numbered-doors.ts';
import type { SshServer } from './server.ts';

/** A port with a door of its own, and what else it is called. */
export interface NumberedSshPort extends NumberedPort {
  aliases: readonly string[];
}

/** SSH to one port at base + n: host keys, users and commands as at the door of all ports. */
export class PortSshFrontend implements Frontend {
  readonly kind = 'port-ssh';
  readonly #server: SshServer;
  readonly #doors: NumberedDoors<WantedDoor>;
  #wanted: readonly WantedDoor[];
  /** By port. Not among what a door is wanted for: another alias is no reason to close it. */
  #aliases: ReadonlyMap<string, readonly string[]>;
  /** Start, stop, update and the return of the host keys take turns. */
  #turn: Promise<void> = Promise.resolve();
  #stopWaiting: (() => void) | null = null;
  #isRunning = false;

  constructor(
    settings: NumberedDoorSettings | null,
    ports: readonly NumberedSshPort[],
    server: SshServer,
    deps: DoorDeps,
  ) {
    this.#server = server;
    this.#wanted = wantedDoors(settings, ports);
    this.#aliases = aliasesOf(ports);
    this.#doors = new NumberedDoors(this.#wanted, {
      ...deps,
      welcome: (guest, { port }) =>
        server.welcome(guest, { name: port, aliases: this.#aliases.get(port) ?? [] }),
    });
  }

  start(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = true;
      await this.#open();
    });
  }

  stop(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = false;
      this.#stopWaiting?.();
      await this.#doors.stop();
    });
  }

  /** Doors that stay as they are keep their clients. */
  update(settings: NumberedDoorSettings | null, ports: readonly NumberedSshPort[]): Promise<void> {
    return this.#inTurn(async () => {
      this.#wanted = wantedDoors(settings, ports);
      this.#aliases = aliasesOf(ports);
      await this.#doors.update(this.#wanted);
      if (this.#isRunning) await this.#open();
    });
  }

  /** The TCP port of a port's door; null while it is shut. */
  tcpPortOf(name: string): number | null {
    return this.#doors.tcpPortOf(name);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #open(): Promise<void> {
    if (this.#wanted.length === 0) return;
    if (await this.#server.load()) return this.#doors.start();
    this.#stopWaiting?.();
    this.#stopWaiting = this.#server.whenLoaded(() => {
      void this.#inTurn(async () => {
        if (this.#isRunning) await this.#open();
      });
    });
  }
}

function wantedDoors(
  settings: NumberedDoorSettings | null,
  ports: readonly NumberedSshPort[],
): readonly WantedDoor[] {
  if (settings === null) return [];
  const { host, base, allow } = settings;
  return ports.map(({ name, n }) => ({
    key: String(n),
    port: name,
    host,
    tcpPort: base + n,
    allow,
    tls: null,
  }));
}

function aliasesOf(ports: readonly NumberedSshPort[]): ReadonlyMap<string, readonly string[]> {
  return new Map(ports.map(({ name, aliases }) => [name, aliases]));
}
