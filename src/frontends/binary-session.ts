import type { openSession, Session } from '../sessions/session.ts';

/** A session as a door for programs uses it: bytes in, bytes out. */
export interface BinarySession extends Pick<Session, 'input' | 'detach'> {
  /** Gives write up, behind the input already taken, so that somebody else may have it. */
  view?(): Promise<void>;
  /** Resolves when the device took, or the port refused, all input; or the session is over. */
  inputDelivered?(): Promise<void>;
}

/** sessions/session.ts's function, or a test's. */
export type OpenSession = (...given: Parameters<typeof openSession>) => Promise<BinarySession>;
