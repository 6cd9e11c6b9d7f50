import type { AttachRequest } from '../core/attach.ts';
import type { Busy } from '../core/settings.ts';

/** How a door of programs asks for write, so that who writes already is left alone or not. */
export function attachMode(busy: Busy): AttachRequest['mode'] {
  return MODES[busy];
}

const MODES: Readonly<Record<Busy, AttachRequest['mode']>> = {
  refuse: 'write-or-leave',
  view: 'write',
  takeover: 'force',
};
