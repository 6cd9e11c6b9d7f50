import type { Frontend } from '../../core/frontend.ts';
import type { DoorSettings } from '../../core/settings.ts';
import { Door, type DoorDeps } from '../door.ts';
import type { SshServer } from './server.ts';

/** The SSH door: all ports and all verbs behind one address. */
export class SshFrontend implements Frontend {
  readonly kind = 'ssh';
  readonly #server: SshServer;
  readonly #deps: DoorDeps;
  #settings: DoorSettings | null;
  #door: Door | null = null;
  /** Shut, but perhaps with clients left inside. */
  #formerDoors: Door[] = [];
  /** Start, stop, update and the return of the host keys take turns. */
  #turn: Promise<void> = Promise.resolve();
  #stopWaiting: (() => void) | null = null;
  #isRunning = false;

  /** The server is shared with the doors of single ports (port-frontend.ts). */
  constructor(settings: DoorSettings | null, server: SshServer, deps: DoorDeps) {
    this.#settings = settings;
    this.#server = server;
    this.#deps = deps;
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
      const doors = this.#door === null ? this.#formerDoors : [this.#door, ...this.#formerDoors];
      await Promise.all(doors.map((door) => door.stop(true)));
      this.#door = null;
      this.#formerDoors = [];
    });
  }

  /** The port listened on; null while the door is shut. */
  get tcpPort(): number | null {
    return this.#door?.tcpPort ?? null;
  }

  /** A new address moves the listener and leaves its clients alone; without one they are ended. */
  update(settings: DoorSettings | null): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.#settings;
      this.#settings = settings;
      if (!this.#isRunning) return;
      const isSameAddress =
        before !== null &&
        settings !== null &&
        before.host === settings.host &&
        before.tcpPort === settings.tcpPort;
      if (isSameAddress && this.#door !== null) return this.#door.setAllow(settings.allow);
      await this.#leave(settings === null);
      await this.#open();
    });
  }

  async #leave(cut: boolean): Promise<void> {
    if (this.#door !== null) this.#formerDoors.push(this.#door);
    this.#door = null;
    await Promise.all(this.#formerDoors.map((door) => door.stop(cut)));
    this.#formerDoors = this.#formerDoors.filter((door) => door.clients > 0);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #open(): Promise<void> {
    const settings = this.#settings;
    if (settings === null || this.#door !== null) return;
    if (!(await this.#server.load())) {
      this.#waitForKeys();
      return;
    }
    this.#door = new Door(
      { ...settings, welcome: (guest) => this.#server.welcome(guest, null) },
      this.#deps,
    );
    await this.#door.start();
  }

  #waitForKeys(): void {
    this.#stopWaiting?.();
    this.#stopWaiting = this.#server.whenLoaded(() => {
      void this.#inTurn(async () => {
        if (this.#isRunning) await this.#open();
      });
    });
  }
}
