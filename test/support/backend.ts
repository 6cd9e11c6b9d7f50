import { createBackends } from '../../src/backends/index.ts';
import type { GivenServices } from '../../src/backends/services.ts';
import type { Backend, BackendOpener, BackendSink } from '../../src/core/backend.ts';
import type { Journal } from '../../src/core/clock.ts';
import type { Fault } from '../../src/core/fault.ts';
import type { Libc } from '../../src/core/libc.ts';
import { NO_PACE } from '../../src/core/settings.ts';
import type { BackendSettings, DeviceSettings, PortSettings } from '../../src/core/settings.ts';
import { Sweep } from '../../src/backends/tty/sweep.ts';
import { until } from './pty.ts';

export function portSettings(
  backend: BackendSettings,
  changes: Partial<PortSettings> = {},
): PortSettings {
  return {
    name: 'lab1',
    was: null,
    n: null,
    aliases: [],
    group: null,
    backend,
    line: { baud: 115_200, dataBits: 8, parity: 'none', stopBits: 1 },
    flow: 'none',
    input: 'masked',
    latency: 'normal',
    writers: 'one',
    pace: NO_PACE,
    restoreLine: false,
    onOpen: [],
    onDetach: [],
    idle: null,
    idleTimeoutMs: null,
    motd: null,
    tasks: [],
    power: null,
    expose: null,
    ...changes,
  };
}

export const silentJournal: Journal = {
  fatal: () => undefined,
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
  child: () => silentJournal,
};

export function backendServices(libc: Libc | null, sweep = new Sweep()): GivenServices {
  return {
    libc,
    sweep,
    clock: { nowUs: () => Date.now() * 1_000 },
    journal: silentJournal,
    lines: {
      join() {
        throw new Error('no port shares its line here');
      },
    },
  };
}

/** As a daemon with this one port would make it. */
export function createOpener(settings: PortSettings, services: GivenServices): BackendOpener {
  return createBackends(services).makeOpener(settings);
}

export function device(path: string, changes: Partial<DeviceSettings> = {}): DeviceSettings {
  return { kind: 'device', path, match: null, signals: {}, rs485: null, ...changes };
}

/** A port that remembers what its backend told it. */
export class RecordingSink implements BackendSink {
  readonly #parts: Buffer[] = [];
  readonly #memory = Buffer.alloc(65_536);
  receivedBytes = 0;
  readonly faults: Fault[] = [];
  readonly events: Parameters<BackendSink['event']>[0][] = [];
  writableCalls = 0;
  calls = 0;

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  rx(bytes: Uint8Array): void {
    this.calls++;
    this.#keep(Buffer.from(bytes));
  }

  /** Somewhere inside the memory, as a spool does it, and not much more than it must. */
  rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): number {
    this.calls++;
    const start = 1_000;
    const count = read(this.#memory, start, 8_192);
    if (count > 0) this.#keep(Buffer.from(this.#memory.subarray(start, start + count)));
    return count;
  }

  gone(fault: Fault): void {
    this.calls++;
    this.faults.push(fault);
  }

  writable(): void {
    this.calls++;
    this.writableCalls++;
  }

  readonly event: BackendSink['event'] = (event) => {
    this.calls++;
    this.events.push(event);
  };

  #keep(bytes: Buffer): void {
    this.#parts.push(bytes);
    this.receivedBytes += bytes.length;
  }
}

/** Writes all of it, waiting for `writable` whenever the backend takes less. Returns the refusals. */
export async function writeAll(
  backend: Backend,
  sink: RecordingSink,
  bytes: Uint8Array,
): Promise<number> {
  let refusals = 0;
  for (let sent = 0; sent < bytes.length;) {
    const before = sink.writableCalls;
    const count = backend.write(bytes.subarray(sent));
    sent += count;
    if (sent === bytes.length) break;
    refusals++;
    await until(() => sink.writableCalls > before, 'writable after a refused write');
  }
  return refusals;
}

/** Bytes of all values that differ everywhere, the same at each run. */
export function noise(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
