import { randomInt } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { DEFAULT_ESCAPE, type User } from '../core/user.ts';
import { hashPassword } from '../auth/password.ts';
import { parseAuthorizedKey } from '../auth/ssh-keys.ts';

/** Characters that are not mistaken for one another when read aloud. */
const PASSWORD_ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';
const AGENT_TIMEOUT_MS = 2_000;
const AGENT_ANSWER_BYTES_MAX = 262_144;

/**
 * Whoever runs `npm start` is let in: with the keys in ~/.ssh, those of the agent, and a random
 * password that is shown once and kept nowhere.
 */
export async function admitInvokingUser(invoker: {
  name: string;
  homeDirectory: string;
  agentSocket: string | undefined;
}): Promise<{ user: User; password: string }> {
  const password = randomPassword();
  const keys = new Set([
    ...publicKeysIn(join(invoker.homeDirectory, '.ssh')),
    ...(invoker.agentSocket ? await agentKeys(invoker.agentSocket) : []),
  ]);
  const user: User = {
    name: invoker.name,
    role: 'admin',
    ports: [],
    keys: [...keys].filter(isUsable),
    password: await hashPassword(password),
    unix: invoker.name,
    from: [],
    totp: null,
    principals: [],
    escape: DEFAULT_ESCAPE,
  };
  return { user, password };
}

/** Four groups of four: 79 bits. */
function randomPassword(): string {
  const group = (): string =>
    Array.from({ length: 4 }, () => PASSWORD_ALPHABET[randomInt(PASSWORD_ALPHABET.length)]).join(
      '',
    );
  return [group(), group(), group(), group()].join('-');
}

function publicKeysIn(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith('.pub') && !name.endsWith('-cert.pub'))
      .map((name) => readFileSync(join(directory, name), 'utf8').trim());
  } catch {
    return []; // no ~/.ssh: the password is enough
  }
}

/** Key kinds the SSH door does not take (FIDO keys, DSA) must not keep the others out. */
function isUsable(key: string): boolean {
  try {
    parseAuthorizedKey(key);
    return true;
  } catch {
    return false;
  }
}

/** The agent's keys, by SSH_AGENTC_REQUEST_IDENTITIES (11) and its answer (12): draft-ietf-sshm-ssh-agent. */
function agentKeys(socketPath: string): Promise<string[]> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    let answer = Buffer.alloc(0);
    const finish = (): void => {
      socket.destroy();
      resolve(parseIdentities(answer));
    };
    socket.setTimeout(AGENT_TIMEOUT_MS, finish);
    socket.once('error', finish);
    socket.once('close', finish);
    socket.once('connect', () => socket.write(Buffer.from([0, 0, 0, 1, 11])));
    socket.on('data', (chunk) => {
      answer = Buffer.concat([answer, chunk]);
      const isWhole = answer.length >= 4 && answer.length >= 4 + answer.readUInt32BE(0);
      if (isWhole || answer.length > AGENT_ANSWER_BYTES_MAX) finish();
    });
  });
}

function parseIdentities(answer: Buffer): string[] {
  const keys: string[] = [];
  try {
    if (answer[4] !== 12) return keys;
    let at = 9;
    const string = (): Buffer => {
      const bytes = answer.subarray(at + 4, at + 4 + answer.readUInt32BE(at));
      at += 4 + bytes.length;
      return bytes;
    };
    for (let left = answer.readUInt32BE(5); left > 0; left--) {
      const blob = string();
      const comment = string().toString('utf8');
      const type = blob.subarray(4, 4 + blob.readUInt32BE(0)).toString('latin1');
      keys.push(`${type} ${blob.toString('base64')} ${comment}`.trim());
    }
  } catch {
    // a cut answer: what was whole counts
  }
  return keys;
}
