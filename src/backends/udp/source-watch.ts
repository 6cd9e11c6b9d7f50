import type { Journal } from '../../core/clock.ts';
import type { AutoPortSettings } from '../../core/settings.ts';
import type { UdpSockets } from './sockets.ts';

/** A socket that another process has is tried again after this. */
const RETRY_MS = 5_000;

/** Listens for UDP sources that no port claims, until `stop`. */
export class SourceWatch {
  #isStopped = false;
  readonly #stops: (() => void)[] = [];
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(
    sockets: UdpSockets,
    journal: Journal,
    settings: readonly AutoPortSettings[],
    found: (settings: AutoPortSettings, address: string) => void,
  ) {
    for (const one of settings) void this.#watch(sockets, journal, one, found);
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const stop of this.#stops.splice(0)) stop();
  }

  async #watch(
    sockets: UdpSockets,
    journal: Journal,
    settings: AutoPortSettings,
    found: (settings: AutoPortSettings, address: string) => void,
    isFirst = true,
  ): Promise<void> {
    try {
      const stop = await sockets.watchUnclaimed(settings.listen, {
        from: settings.from,
        found: (source) => found(settings, source.address),
      });
      if (this.#isStopped) stop();
      else this.#stops.push(stop);
    } catch (error) {
      if (this.#isStopped) return;
      if (isFirst) journal.warn({ err: error }, 'no ports are made by themselves; trying again');
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        void this.#watch(sockets, journal, settings, found, false);
      }, RETRY_MS);
      this.#timers.add(timer);
    }
  }
}
