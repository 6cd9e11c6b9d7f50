import { createAddressFilter } from '../auth/cidr.ts';
import type { Backends } from '../backends/index.ts';
import type { Journal } from '../core/clock.ts';
import { isPortName, sameName } from '../core/names.ts';
import type { AutoPortSettings, PortSettings } from '../core/settings.ts';

export interface AutoPortsOwner {
  readonly journal: Journal;
  readonly backends: Backends;
  /** Names and aliases of the configuration are taken. */
  configured(): readonly PortSettings[];
  /** There is one more port; to be opened with the others. */
  added(): void;
}

/** Sources that find no room are told of this often. */
const REFUSALS_TOLD_MS = 60_000;

/**
 * The ports made by themselves for UDP sources that no port claims (`autoPorts` of the
 * configuration): each has the log of its name from the last time. They last until the daemon stops,
 * or until the configuration does not want them any more.
 */
export class AutoPorts {
  readonly #owner: AutoPortsOwner;
  #settings: readonly AutoPortSettings[] = [];
  #made: { settings: AutoPortSettings; address: string }[] = [];
  #watch: { stop(): void } | null = null;
  #refusedTold = new Map<string, number>();

  constructor(owner: AutoPortsOwner) {
    this.#owner = owner;
  }

  /** As the rack takes them, behind those of the configuration, whose names go first. */
  beside(configured: readonly PortSettings[]): PortSettings[] {
    return this.#made
      .map(({ settings, address }) => portOf(settings, address))
      .filter(({ name }) => !isNameIn(configured, name));
  }

  /** Follows the configuration: a port whose source is wanted no more goes. */
  configure(settings: readonly AutoPortSettings[]): void {
    this.#watch?.stop();
    this.#settings = settings;
    const made = this.#made;
    this.#made = [];
    for (const { address } of made) {
      const wanted = settings.find((one) => createAddressFilter(one.from)(address));
      if (wanted && this.#countOf(wanted) < wanted.portsMax) {
        this.#made.push({ settings: wanted, address });
      }
    }
    this.#watch = this.#owner.backends.watchSources(settings, (one, address) => {
      this.#found(one, address);
    });
  }

  stop(): void {
    this.#watch?.stop();
  }

  #found(settings: AutoPortSettings, address: string): void {
    if (!this.#settings.includes(settings)) return;
    if (this.#made.some((made) => made.settings === settings && made.address === address)) return;
    const { name } = portOf(settings, address);
    const why = this.#refusal(settings, name);
    if (why !== null) return this.#tellRefused(settings, address, why);
    this.#made.push({ settings, address });
    this.#owner.journal.info({ port: name, address }, 'a port for a new UDP source');
    this.#owner.added();
  }

  #refusal(settings: AutoPortSettings, name: string): string | null {
    if (!isPortName(name)) return `"${name}" is no name of a port`;
    if (isNameIn(this.#owner.configured(), name)) {
      return `there is a port ${name} already, which takes another source`;
    }
    if (this.#countOf(settings) < settings.portsMax) return null;
    return `${settings.portsMax} ports are made already (max)`;
  }

  #countOf(settings: AutoPortSettings): number {
    return this.#made.filter((made) => made.settings === settings).length;
  }

  #tellRefused(settings: AutoPortSettings, address: string, why: string): void {
    const now = performance.now();
    const key = `${settings.prefix} ${settings.listen.host} ${settings.listen.udpPort}`;
    const told = this.#refusedTold.get(key);
    if (told !== undefined && now - told < REFUSALS_TOLD_MS) return;
    this.#refusedTold.set(key, now);
    this.#owner.journal.warn({ address, why }, 'no port for a new UDP source');
  }
}

function isNameIn(ports: readonly PortSettings[], name: string): boolean {
  return ports.some((port) => [port.name, ...port.aliases].some((other) => sameName(other, name)));
}

/** `nc-10.0.0.7`; the colons of IPv6 become dashes. */
function portOf(settings: AutoPortSettings, address: string): PortSettings {
  const { listen, format, prefix, port } = settings;
  return {
    ...port,
    name: `${prefix}${address.replace(/%.*$/, '').replaceAll(':', '-')}`,
    was: null,
    n: null,
    aliases: [],
    backend: { kind: 'udp', listen, from: [address.replace(/%.*$/, '')], sourcePort: null, format },
  };
}
