import type { BackendOpener, SharedLines } from '../core/backend.ts';
import type { Clock, Journal } from '../core/clock.ts';
import type { Libc } from '../core/libc.ts';
import type { BackendSettings, PortSettings } from '../core/settings.ts';
import type { ClientTls } from './client-tls.ts';
import type { HostGate } from './host-gate.ts';
import type { GdbLines } from './split/gdb-line.ts';
import type { CounterClock } from './tty/counter-watch.ts';
import type { Sweep } from './tty/sweep.ts';
import type { DeadPeers } from './tcp/dead-peers.ts';
import type { UdpSockets } from './udp/sockets.ts';

/** What app/ hands to the backends; one for the process. */
export interface GivenServices {
  /** null: no koffi. Lines open all the same, but their settings cannot change while open. */
  libc: Libc | null;
  sweep: Sweep;
  clock: Clock;
  journal: Journal;
  /** Of the rack, for `split`. */
  lines: SharedLines;
  /** For commands; its PATH finds them. None: a system's usual PATH and nothing else. */
  environment?: Readonly<Record<string, string | undefined>>;
}

/** What openers are made with: what was given, and what several lines of one kind share. */
export type BackendServices = GivenServices & {
  counters: CounterClock;
  udp: UdpSockets;
  hosts: HostGate;
  peers: DeadPeers;
  tls: ClientTls;
  gdbLines: GdbLines;
};

/** Makes the opener of one kind of backend. */
export type OpenerFactory<Kind extends BackendSettings['kind']> = (
  settings: PortSettings,
  backend: Extract<BackendSettings, { kind: Kind }>,
  services: BackendServices,
) => BackendOpener;

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What commands are started with. */
export function commandEnvironment({
  environment = { PATH: DEFAULT_PATH },
}: Pick<GivenServices, 'environment'>): Readonly<Record<string, string | undefined>> {
  return environment;
}
