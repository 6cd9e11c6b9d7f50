import { readFileSync } from 'node:fs';

/** Number of a unix user by /etc/passwd (passwd(5)); null: no such user there. */
export function uidOfUnixUser(name: string): number | null {
  try {
    for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
      const [user, , uid] = line.split(':');
      if (user === name && uid !== undefined) return Number(uid);
    }
  } catch {
    // no such file: nobody has a name
  }
  return null;
}
