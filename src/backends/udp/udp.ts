import type { Backend, BackendSink } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import type { UdpSettings } from '../../core/settings.ts';
import { parseCidr } from '../../auth/cidr.ts';
import { NetconsoleStream } from '../../protocols/netconsole.ts';
import type { BackendServices, OpenerFactory } from '../services.ts';
import { keyOf } from './sockets.ts';
import type { UdpRoute, UdpSource } from './sockets.ts';

/** Output kept here until the kernel took it: little, as UDP has no way to say "slower". */
const OUTPUT_BYTES_MAX = 16_384;
/** Of one datagram of ours: fits every network without being cut. */
const DATAGRAM_BYTES_MAX = 1_200;
/** Kernels that one port follows at a time (`from` may be a block of addresses). */
const STREAMS_MAX = 16;

/**
 * Datagrams of a machine, of a socket shared with other ports: netconsole, the domains of
 * xen_read_console (2004), anything that logs by UDP. What is typed goes to whoever spoke last.
 */
export const udpOpener: OpenerFactory<'udp'> = (_settings, backend, services) => ({
  kind: 'udp',
  target: describe(backend),
  line: null,
  open: (sink) => openUdp(backend, services, sink),
});

async function openUdp(
  settings: UdpSettings,
  services: BackendServices,
  sink: BackendSink,
): Promise<Backend> {
  const description = describe(settings);
  const reader = settings.format === 'netconsole' ? new NetconsoleReader(sink) : null;
  let isClosed = false;
  let peer: UdpSource | null = onlyPeer(settings);
  /** Handed to the kernel, not yet taken. */
  let waitingBytes = 0;
  let isRefused = false;

  const route: UdpRoute = await services.udp.claim(settings.listen, {
    from: settings.from,
    sourcePort: settings.sourcePort,
    received(bytes, source) {
      if (isClosed) return;
      peer = source;
      if (reader) reader.take(bytes, source);
      else sink.rx(bytes);
    },
    dropped(datagrams) {
      const what = datagrams === 1 ? 'a datagram' : `${datagrams} datagrams`;
      const reason = `the kernel threw away ${what} of ${description}: no room (see net.core.rmem_max)`;
      if (!isClosed) sink.event({ kind: 'gap', reason });
    },
    failed(fault) {
      if (isClosed) return;
      isClosed = true;
      sink.gone(new Fault('PORT_GONE', fault.message, fault));
    },
  });

  function sent(bytes: number): void {
    waitingBytes -= bytes;
    if (isClosed || !isRefused || waitingBytes > OUTPUT_BYTES_MAX / 2) return;
    isRefused = false;
    sink.writable();
  }

  function unsupported(what: string): Promise<never> {
    const why = `${description} is a network line: it has no ${what}`;
    return Promise.reject(new Fault('PORT_UNSUPPORTED', why));
  }

  return {
    description,
    write(bytes) {
      // A kernel's netconsole listens to nobody; and who never spoke cannot be answered.
      if (isClosed || peer === null || reader !== null) return 0;
      const count = Math.min(OUTPUT_BYTES_MAX - waitingBytes, bytes.length);
      isRefused = count < bytes.length;
      for (let from = 0; from < count; from += DATAGRAM_BYTES_MAX) {
        // A copy: the kernel takes it later.
        const end = Math.min(count, from + DATAGRAM_BYTES_MAX);
        const datagram = Buffer.from(bytes.subarray(from, end));
        waitingBytes += datagram.length;
        route.send(datagram, peer, () => sent(datagram.length));
      }
      return count;
    },
    setWatched: () => undefined, // read at once anyhow
    setLine: () => unsupported('line settings'),
    setSignals: () => unsupported('signals'),
    sendBreak: () => unsupported('BREAK'),
    setBreak: () => unsupported('BREAK'),
    purge: () => Promise.resolve(),
    signals: () => Promise.resolve({}),
    isAlive() {
      if (!isClosed) route.checkDrops();
      return !isClosed;
    },
    close() {
      isClosed = true;
      reader?.stop();
      route.leave();
      return Promise.resolve();
    },
  };
}

/** Puts each kernel's datagrams in order. */
class NetconsoleReader {
  readonly #sink: BackendSink;
  readonly #streams = new Map<string, { stream: NetconsoleStream; timer: NodeJS.Timeout | null }>();

  constructor(sink: BackendSink) {
    this.#sink = sink;
  }

  take(datagram: Uint8Array, source: UdpSource): void {
    const key = keyOf(source);
    let held = this.#streams.get(key);
    if (!held) {
      if (this.#streams.size >= STREAMS_MAX) this.#endOldest();
      const sink = this.#sink;
      const stream = new NetconsoleStream({
        text: (bytes) => sink.rx(bytes),
        gap: (reason) => sink.event({ kind: 'gap', reason }),
      });
      held = { stream, timer: null };
      this.#streams.set(key, held);
    }
    held.stream.take(datagram, performance.now());
    this.#wakeFor(held);
  }

  /** What waits for an earlier message, 250 ms at most, is not given out any more. */
  stop(): void {
    for (const { timer } of this.#streams.values()) if (timer !== null) clearTimeout(timer);
    this.#streams.clear();
  }

  #wakeFor(held: { stream: NetconsoleStream; timer: NodeJS.Timeout | null }): void {
    const { dueMs } = held.stream;
    if (dueMs === null || held.timer !== null) return;
    const waitMs = Math.max(1, Math.ceil(dueMs - performance.now()));
    held.timer = setTimeout(() => {
      held.timer = null;
      held.stream.expire(performance.now());
      this.#wakeFor(held);
    }, waitMs);
  }

  #endOldest(): void {
    const [key, held] = this.#streams.entries().next().value!;
    this.#streams.delete(key);
    if (held.timer !== null) clearTimeout(held.timer);
    held.stream.end();
  }
}

/** The one address and port that may speak: it can be written to before it spoke. */
function onlyPeer({ from, sourcePort }: UdpSettings): UdpSource | null {
  const [block] = from;
  if (sourcePort === null || from.length !== 1 || block === undefined) return null;
  const cidr = parseCidr(block);
  const isOne = 'network' in cidr && cidr.prefixBits === cidr.network.length * 8;
  return isOne ? { address: block.replace(/\/.*$/, ''), udpPort: sourcePort } : null;
}

/** `udp 0.0.0.0:6666 from 10.0.0.7` */
function describe({ listen, from, sourcePort }: UdpSettings): string {
  const port = sourcePort === null ? '' : ` port ${sourcePort}`;
  return `udp ${listen.host}:${listen.udpPort} from ${from.join(', ')}${port}`;
}
