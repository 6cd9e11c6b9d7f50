import type { BackendOpener } from '../core/backend.ts';
import type { Clock, Journal } from '../core/clock.ts';
import type { Libc } from '../core/libc.ts';
import type { BackendSettings, PortSettings } from '../core/settings.ts';
import type { Sweep } from './tty/sweep.ts';

/** What app/ hands to the backends; one for the process. */
export interface BackendServices {
  /** null: no koffi. Lines open all the same, but their settings cannot change while open. */
  libc: Libc | null;
  sweep: Sweep;
  clock: Clock;
  journal: Journal;
  /** For `exec`; its PATH finds the command. None: a system's usual PATH and nothing else. */
  environment?: Readonly<Record<string, string | undefined>>;
}

/** Makes the opener of one kind of backend. */
export type OpenerFactory<Kind extends BackendSettings['kind']> = (
  settings: PortSettings,
  backend: Extract<BackendSettings, { kind: Kind }>,
  services: BackendServices,
) => BackendOpener;
