import type { BackendOpener } from '../core/backend.ts';
import type { BackendSettings, PortSettings } from '../core/settings.ts';
import { execOpener } from './exec/exec.ts';
import type { BackendServices, OpenerFactory } from './services.ts';
import { rfc2217Opener } from './rfc2217/rfc2217.ts';
import { simOpener } from './sim/sim.ts';
import { tcpOpener } from './tcp/tcp.ts';
import { telnetOpener } from './telnet/telnet.ts';
import { deviceOpener, ptyOpener } from './tty/tty.ts';
import { unixOpener } from './unix/unix.ts';

export type { BackendServices } from './services.ts';
export { Sweep } from './tty/sweep.ts';

const OPENERS: { readonly [Kind in BackendSettings['kind']]: OpenerFactory<Kind> } = {
  device: deviceOpener,
  pty: ptyOpener,
  tcp: tcpOpener,
  telnet: telnetOpener,
  rfc2217: rfc2217Opener,
  unix: unixOpener,
  exec: execOpener,
  sim: simOpener,
};

/** The opener of a port, by the kind of its backend. */
export function createOpener(settings: PortSettings, services: BackendServices): BackendOpener {
  const { backend } = settings;
  // The table's key and the settings' kind are the same word, which the compiler cannot follow.
  const factory = OPENERS[backend.kind] as OpenerFactory<typeof backend.kind>;
  return factory(settings, backend as never, services);
}
