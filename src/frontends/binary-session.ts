import type { openSession, Session } from '../sessions/session.ts';

/** A session as a door that passes only bytes uses it. */
export type BinarySession = Pick<Session, 'input' | 'view' | 'inputDelivered' | 'detach'>;

/** sessions/session.ts's function, or a test's. */
export type OpenSession = (...given: Parameters<typeof openSession>) => Promise<Session>;
