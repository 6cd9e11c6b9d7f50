import type { Login } from '../core/frontend.ts';
import type { Guest } from './door.ts';

/** The user a client is by its door's settings and its certificate, or why it is nobody. */
export function doorUser(
  { address, certificateUser, certificateProblem }: Guest,
  { auth, as }: { auth: 'none' | 'certificate'; as: string | null },
  login: Login,
): { user: string } | { why: string } {
  if (auth === 'certificate' && certificateUser === null) {
    return { why: certificateProblem ?? 'it showed no certificate' };
  }
  const user = as ?? (auth === 'certificate' ? certificateUser : null);
  if (user === null) return { why: 'the door says not whose rights count: it has no "as"' };
  if (!login.exists(user)) return { why: `there is no user ${user}` };
  if (!login.mayComeFrom(user, address)) return { why: `${user} may not come from ${address}` };
  return { user };
}
