import type { BackendOpener } from '../core/backend.ts';
import type { AutoPortSettings, BackendSettings, PortSettings } from '../core/settings.ts';
import { realTimers } from '../ports/timers.ts';
import { ClientTls } from './client-tls.ts';
import { execOpener } from './exec/exec.ts';
import { HostGate } from './host-gate.ts';
import type { BackendServices, GivenServices, OpenerFactory } from './services.ts';
import { rfc2217Opener } from './rfc2217/rfc2217.ts';
import { simOpener } from './sim/sim.ts';
import { GdbLines } from './split/gdb-line.ts';
import { splitOpener } from './split/split.ts';
import { DeadPeers } from './tcp/dead-peers.ts';
import { tcpOpener } from './tcp/tcp.ts';
import { telnetOpener } from './telnet/telnet.ts';
import { CounterClock } from './tty/counter-watch.ts';
import { deviceOpener } from './tty/device.ts';
import { ptyOpener } from './tty/pty.ts';
import { SourceWatch } from './udp/source-watch.ts';
import { UdpSockets } from './udp/sockets.ts';
import { udpOpener } from './udp/udp.ts';
import { unixOpener } from './unix/unix.ts';

export type { GivenServices } from './services.ts';
export { Sweep } from './tty/sweep.ts';

export interface Backends {
  /** The opener of a port, by the kind of its backend. */
  makeOpener(settings: PortSettings): BackendOpener;
  /** Tells of UDP sources that no port claims. What they say waits 5 s for their port. */
  watchSources(
    settings: readonly AutoPortSettings[],
    found: (settings: AutoPortSettings, address: string) => void,
  ): SourceWatch;
}

const OPENERS: { readonly [Kind in BackendSettings['kind']]: OpenerFactory<Kind> } = {
  device: deviceOpener,
  pty: ptyOpener,
  tcp: tcpOpener,
  telnet: telnetOpener,
  rfc2217: rfc2217Opener,
  unix: unixOpener,
  exec: execOpener,
  udp: udpOpener,
  sim: simOpener,
  split: splitOpener,
};

/** One for the process. */
export function createBackends(given: GivenServices): Backends {
  const udp = new UdpSockets();
  const hosts = new HostGate(given.clock, given.journal, realTimers);
  const services: BackendServices = {
    ...given,
    counters: new CounterClock(realTimers),
    udp,
    hosts,
    peers: new DeadPeers(),
    tls: new ClientTls(),
    gdbLines: new GdbLines(given.lines),
  };
  return {
    watchSources: (settings, found) => new SourceWatch(udp, given.journal, settings, found),
    makeOpener(settings) {
      const { backend } = settings;
      // The table's key and the settings' kind are the same word, which the compiler cannot follow.
      const factory = OPENERS[backend.kind] as OpenerFactory<typeof backend.kind>;
      return factory(settings, backend as never, services);
    },
  };
}
