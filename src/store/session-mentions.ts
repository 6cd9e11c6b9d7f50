import { Fault } from '../core/fault.ts';
import type { RecordKind } from '../core/record.ts';
import { decodeBody } from '../log/frame.ts';

/** Adds the numbers of the sessions a record speaks of. What cannot be read speaks of none. */
export function sessionsIn(kind: RecordKind, payload: Uint8Array, found: Set<number>): void {
  if (kind === 'mark' || kind === 'gap' || kind === 'up' || kind === 'down') return;
  try {
    const body = decodeBody(kind, payload);
    if ('session' in body && body.session !== null) found.add(body.session);
    if (body.kind === 'took-over' && body.from !== null) found.add(body.from);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
  }
}
