import type { FrontendServices } from '../../core/frontend.ts';
import type { Guest } from '../door.ts';
import type { DialogScreen, LineAnswer, LineDialog } from './line-dialog.ts';

export interface LoginPrompts {
  dialog: LineDialog;
  screen: DialogScreen;
  /** Said first; null: nothing. */
  banner: string | null;
  /** A wrong answer is answered so late. */
  failureDelayMs: number;
}

/**
 * Asks for user, password and, where the user has them, the one-time code; three tries. Decides
 * nothing about rights. Resolves with the user, or null when the client failed or left: then it was
 * told, and its connection is to be ended.
 */
export async function askForLogin(
  guest: Guest,
  { login, journal, clock, audit }: FrontendServices,
  { dialog, screen, banner, failureDelayMs }: LoginPrompts,
): Promise<string | null> {
  const tell = (text: string) => screen.write(Buffer.from(text.replace(/\r?\n/g, '\r\n')));
  const row = (user: string, action: string) =>
    audit({
      atUs: clock.nowUs(),
      user,
      remote: guest.remote,
      frontend: 'telnet',
      action,
      port: null,
      detail: 'password',
    });

  const question = (prompt: string, isSecret: boolean): Promise<LineAnswer> =>
    dialog.ask({ prompt, isSecret, bytesMax: isSecret ? SECRET_BYTES_MAX : NAME_BYTES_MAX });

  /** Whether the answers are right; null: ^C or ^D instead of one. */
  async function check(user: string): Promise<boolean | null> {
    const password = await question('Password: ', true);
    if (typeof password === 'string') return null;
    // Asked for whether the password is right or not, so that it does not tell.
    const needsCode = login.needsCode(user);
    const code = needsCode ? await question('Code: ', true) : null;
    if (typeof code === 'string') return null;
    const isPassword = await login.withPassword(user, password.line, guest.address);
    if (!isPassword || !login.exists(user)) return false;
    // The code last: a wrong password must not use it up.
    return !needsCode || login.withCode(user, code!.line);
  }

  if (banner !== null) tell(banner.endsWith('\n') ? banner : `${banner}\n`);
  for (let failures = 0; failures < TRIES_MAX;) {
    const name = await question('login: ', false);
    if (name === 'left') return null;
    if (name === 'interrupted' || name.line.trim() === '') continue;
    // A name of any content may come here: a field, cut, never part of a message.
    const user = name.line.trim();
    const isRight = await check(user);
    if (guest.socket.destroyed) return null; // it did not wait for the answer
    if (isRight === null) continue;
    if (isRight) {
      row(user, 'login');
      journal.info({ user, remote: guest.remote, how: 'password' }, 'logged in');
      return user;
    }
    failures++;
    guest.failed();
    row(user, 'login refused');
    journal.warn({ user, remote: guest.remote, how: 'password' }, 'login refused');
    await new Promise((resolve) => setTimeout(resolve, failureDelayMs).unref());
    tell('Login incorrect\n');
  }
  return null;
}

const TRIES_MAX = 3;
const NAME_BYTES_MAX = 64;
const SECRET_BYTES_MAX = 1_024;
