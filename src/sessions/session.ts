import { ClientSession } from './client-session.ts';
import type {
  Session,
  SessionOptions,
  SessionOutput,
  SessionServices,
} from './session-contract.ts';

export type {
  LineEvent,
  Session,
  SessionOptions,
  SessionOutput,
  SessionServices,
} from './session-contract.ts';

/**
 * Joins one client to one port at a time: history from the log and live bytes without a seam, input
 * under credit, notices and keys for people. The same for every frontend.
 * @throws Fault PORT_UNKNOWN, DENIED, PORT_BUSY.
 */
export async function openSession(
  services: SessionServices,
  options: SessionOptions,
  output: SessionOutput,
): Promise<Session> {
  const session = new ClientSession(services, options, output);
  await session.open();
  return session;
}
