import ssh2, {
  type AuthContext,
  type Connection,
  type KeyboardAuthContext,
  type PublicKeyAuthContext,
} from 'ssh2';
import { certifiedAlgorithm } from '../../auth/certificate.ts';
import { isSignedBy } from '../../auth/ssh-signature.ts';
import type { CertificatePermits, FrontendServices } from '../../core/frontend.ts';
import type { Guest } from '../door.ts';
import {
  destinationOf,
  parseLoginName,
  type Destination,
  type DoorPort,
  type LoginName,
} from './login-name.ts';

/** Who a client turned out to be, what it asked for, and what it may ask of SSH itself. */
export interface Admission {
  destination: Destination;
  permits: CertificatePermits;
}

/**
 * Finds out who a client is: by public key, OpenSSH certificate, password, or keyboard-interactive
 * with a prompt for the password and, where the user has them, one for the one-time code. Decides
 * nothing about rights. `found` is called once, before the client can ask for a channel; never when it
 * leaves or is cut first.
 */
export function authenticate(
  client: Connection,
  guest: Guest,
  door: DoorPort | null,
  services: FrontendServices,
  found: (admission: Admission) => void,
): void {
  const { login, journal, clock } = services;
  let admission: Admission | null = null;
  let failures = 0;
  let offers = 0;

  const isOver = () => failures >= FAILURES_MAX || offers >= KEY_OFFERS_MAX;

  function accept(
    context: AuthContext,
    destination: Destination,
    how: string,
    permits: CertificatePermits = EVERYTHING,
  ): void {
    admission = { destination, permits };
    const { user, port } = destination;
    const row = { atUs: clock.nowUs(), user, remote: guest.remote, frontend: 'ssh' };
    services.audit({ ...row, action: 'login', port, detail: how });
    journal.info({ user, remote: guest.remote, how }, 'logged in');
    context.accept();
  }

  function refuse(
    context: AuthContext,
    counts: 'failure' | 'offer' | 'nothing',
    why?: string,
  ): void {
    if (counts !== 'nothing') guest.failed();
    // A name of any length and content may come here: a field, cut, never part of a message.
    const user = context.username.slice(0, 64);
    const about = { user, remote: guest.remote, how: context.method, ...(why && { why }) };
    if (counts === 'offer') {
      offers++;
      if (why !== undefined) journal.info(about, 'certificate not taken');
    }
    if (counts === 'failure') {
      failures++;
      journal.warn(about, 'login refused');
      const row = { atUs: clock.nowUs(), user, remote: guest.remote, frontend: 'ssh' };
      services.audit({ ...row, action: 'login refused', port: null, detail: context.method });
    }
    context.reject(methodsFor(context.username));
    if (isOver()) client.end();
  }

  /** Who needs a code cannot give it beside a bare password, so is not asked for one. */
  function methodsFor(username: string): ('publickey' | 'password' | 'keyboard-interactive')[] {
    const name = parseLoginName(username, door);
    return name !== null && login.needsCode(name.first)
      ? ['publickey', 'keyboard-interactive']
      : ['publickey', 'password', 'keyboard-interactive'];
  }

  /** `code` undefined: the method has no place for one. */
  async function tryPassword(
    context: AuthContext,
    name: LoginName | null,
    password: unknown,
    code: unknown,
  ): Promise<void> {
    const isPossible = typeof password === 'string' && password.length <= PASSWORD_CHARACTERS_MAX;
    const isPassword =
      name !== null &&
      isPossible &&
      (await login.withPassword(name.first, password, guest.address).catch((err: unknown) => {
        journal.error({ err }, 'password check failed');
        return false;
      }));
    if (guest.socket.destroyed) return; // it did not wait for the answer
    // The code last: a wrong password must not use it up.
    const isRight =
      isPassword &&
      login.exists(name.first) &&
      (!login.needsCode(name.first) ||
        (typeof code === 'string' && login.withCode(name.first, code)));
    const destination = isRight ? destinationOf(name, name.first, true, door) : null;
    if (destination !== null) accept(context, destination, context.method);
    else refuse(context, 'failure');
  }

  function answerPassword(
    context: AuthContext,
    name: LoginName | null,
    password: unknown,
    code: unknown,
  ): void {
    tryPassword(context, name, password, code).catch((err: unknown) => {
      journal.error({ err }, 'login could not be answered');
      guest.socket.destroy();
    });
  }

  function ask(context: KeyboardAuthContext, name: LoginName | null): void {
    const prompts = [{ prompt: 'Password: ', echo: false }];
    if (name !== null && login.needsCode(name.first))
      prompts.push({ prompt: 'Code: ', echo: false });
    context.prompt(prompts, (answers: unknown) => {
      // An Error instead of answers: the client went over to another method.
      if (!Array.isArray(answers)) return;
      const given: unknown[] = answers.length === prompts.length ? answers : [];
      const [password, code] = given;
      answerPassword(context, name, password, code);
    });
  }

  function tryKey(context: PublicKeyAuthContext, name: LoginName | null): void {
    if (name === null) return refuse(context, 'failure', 'nobody can have that name');
    const algorithm = certifiedAlgorithm(context.key.algo);
    if (algorithm !== null) return tryCertificate(context, name, algorithm);
    const asked = ownerOfKey(context.key.data, name);
    if (asked === null || !isSound(context)) return refuse(context, 'offer');
    if (context.signature === undefined) return context.accept(); // yes, that key will do
    if (hasValidSignature(context)) accept(context, asked, 'publickey');
    else refuse(context, 'failure');
  }

  function ownerOfKey(blob: Uint8Array, name: LoginName): Destination | null {
    if (login.exists(name.first)) {
      if (!login.withKey(name.first, blob, guest.address)) return null;
      return destinationOf(name, name.first, true, door);
    }
    const users = login.usersOfKey(blob, guest.address);
    return users.length === 1 ? destinationOf(name, users[0]!, false, door) : null;
  }

  /** A certificate names principals, not a user of ours: the login name has to be the user's. */
  function tryCertificate(context: PublicKeyAuthContext, name: LoginName, algorithm: string): void {
    const { data: blob } = context.key;
    const asked = destinationOf(name, name.first, true, door);
    if (asked === null) return refuse(context, 'offer');
    const answer = login.withCertificate(name.first, blob, guest.address);
    if (!answer.admitted) return refuse(context, 'offer', answer.why);
    const { blob: signed, signature } = context;
    if (signature === undefined || signed === undefined) return context.accept();
    // ssh2 knows no certificates, and so leaves the signature in its wire form.
    if (isSignedBy(answer.key, signed, signature, [algorithm])) {
      accept(context, asked, `certificate ${answer.id}`, answer.permits);
    } else refuse(context, 'failure');
  }

  client.on('authentication', (context) => {
    if (isOver()) return context.reject(); // sent before it learnt of its end
    const name = parseLoginName(context.username, door);
    switch (context.method) {
      case 'publickey':
        return tryKey(context, name);
      case 'password':
        return answerPassword(context, name, context.password, undefined);
      case 'keyboard-interactive':
        return ask(context, name);
      default:
        // Clients begin with `none` to learn the methods.
        return refuse(context, 'nothing');
    }
  });
  client.once('ready', () => {
    if (admission !== null) found(admission);
  });
}

/** For who comes without a certificate. */
const EVERYTHING: CertificatePermits = { pty: true, portForwarding: true };

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
