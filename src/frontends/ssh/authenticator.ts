import ssh2, {
  type AuthContext,
  type Connection,
  type KeyboardAuthContext,
  type PublicKeyAuthContext,
} from 'ssh2';
import type { FrontendServices } from '../../core/frontend.ts';
import type { Guest } from '../door.ts';
import { destinationOf, parseLoginName, type Destination, type LoginName } from './login-name.ts';

/**
 * Finds out who a client is: by public key, password, or keyboard-interactive with one password
 * prompt. Decides nothing about rights. `found` is called once, before the client can ask for a
 * channel; never when it leaves or is cut first.
 */
export function authenticate(
  client: Connection,
  guest: Guest,
  services: FrontendServices,
  found: (destination: Destination) => void,
): void {
  const { login, journal, clock } = services;
  let destination: Destination | null = null;
  let failures = 0;
  let offers = 0;

  const isOver = () => failures >= FAILURES_MAX || offers >= KEY_OFFERS_MAX;

  function accept(context: AuthContext, asked: Destination, how: string): void {
    destination = asked;
    const { user, port } = asked;
    const row = { atUs: clock.nowUs(), user, remote: guest.remote, frontend: 'ssh' };
    services.audit({ ...row, action: 'login', port, detail: how });
    journal.info({ user, remote: guest.remote, how }, 'logged in');
    context.accept();
  }

  function refuse(context: AuthContext, counts: 'failure' | 'offer' | 'nothing'): void {
    if (counts !== 'nothing') guest.failed();
    if (counts === 'offer') offers++;
    if (counts === 'failure') {
      failures++;
      // A name of any length and content may come here: a field, cut, never part of a message.
      const user = context.username.slice(0, 64);
      journal.warn({ user, remote: guest.remote, how: context.method }, 'login refused');
      const row = { atUs: clock.nowUs(), user, remote: guest.remote, frontend: 'ssh' };
      services.audit({ ...row, action: 'login refused', port: null, detail: context.method });
    }
    context.reject(['publickey', 'password', 'keyboard-interactive']);
    if (isOver()) client.end();
  }

  async function tryPassword(context: AuthContext, name: LoginName | null, password: unknown) {
    const isPossible = typeof password === 'string' && password.length <= PASSWORD_CHARACTERS_MAX;
    const isRight =
      name !== null &&
      isPossible &&
      (await login.withPassword(name.first, password, guest.address).catch((err: unknown) => {
        journal.error({ err }, 'password check failed');
        return false;
      }));
    if (guest.socket.destroyed) return; // it did not wait for the answer
    if (isRight && login.exists(name.first)) {
      accept(context, destinationOf(name, name.first, true), context.method);
    } else refuse(context, 'failure');
  }

  function answerPassword(context: AuthContext, name: LoginName | null, password: unknown): void {
    tryPassword(context, name, password).catch((err: unknown) => {
      journal.error({ err }, 'login could not be answered');
      guest.socket.destroy();
    });
  }

  function tryKey(context: PublicKeyAuthContext, name: LoginName | null): void {
    const asked = name === null ? null : ownerOfKey(context.key.data, name);
    if (asked === null || !isSound(context)) return refuse(context, 'offer');
    if (context.signature === undefined) return context.accept(); // yes, that key will do
    if (hasValidSignature(context)) accept(context, asked, 'publickey');
    else refuse(context, 'failure');
  }

  function ownerOfKey(blob: Uint8Array, name: LoginName): Destination | null {
    if (login.exists(name.first)) {
      if (!login.withKey(name.first, blob, guest.address)) return null;
      return destinationOf(name, name.first, true);
    }
    const users = login.usersOfKey(blob, guest.address);
    return users.length === 1 ? destinationOf(name, users[0]!, false) : null;
  }

  client.on('authentication', (context) => {
    if (isOver()) return context.reject(); // sent before it learnt of its end
    const name = parseLoginName(context.username);
    switch (context.method) {
      case 'publickey':
        return tryKey(context, name);
      case 'password':
        return answerPassword(context, name, context.password);
      case 'keyboard-interactive':
        return askPassword(context, (answer) => answerPassword(context, name, answer));
      default:
        // Clients begin with `none` to learn the methods.
        return refuse(context, 'nothing');
    }
  });
  client.once('ready', () => {
    if (destination !== null) found(destination);
  });
}

/** As OpenSSH's MaxAuthTries. */
const FAILURES_MAX = 6;
/** Keys offered without a signature: an agent may hold many. */
const KEY_OFFERS_MAX = 20;
const PASSWORD_CHARACTERS_MAX = 1_024;

const KEY_TYPES: readonly string[] = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'ssh-rsa',
];

/** A key type we know, and no SHA-1: `ssh-rsa` only under the names of RFC 8332. */
function isSound(context: PublicKeyAuthContext): boolean {
  const { algo } = context.key;
  return KEY_TYPES.includes(algo) && (algo !== 'ssh-rsa' || context.hashAlgo !== undefined);
}

function hasValidSignature(context: PublicKeyAuthContext): boolean {
  const key = ssh2.utils.parseKey(context.key.data);
  if (key instanceof Error || key.type !== context.key.algo) return false;
  if (context.blob === undefined || context.signature === undefined) return false;
  // ssh2 answers an Error for what OpenSSL cannot read, where its types say boolean.
  const isValid: unknown = key.verify(context.blob, context.signature, context.hashAlgo);
  return isValid === true;
}

function askPassword(context: KeyboardAuthContext, answered: (answer: unknown) => void): void {
  context.prompt([{ prompt: 'Password: ', echo: false }], (answers: unknown) => {
    // An Error instead of answers: the client went over to another method.
    if (Array.isArray(answers)) answered(answers.length === 1 ? answers[0] : undefined);
  });
}
