import { readFile } from 'node:fs/promises';

/** Number of a unix group, null when there is none of that name. From group(5); Node has no getgrnam. */
export async function groupId(name: string): Promise<number | null> {
  const text = await readFile('/etc/group', 'utf8').catch(() => '');
  const line = text.split('\n').find((entry) => entry.startsWith(`${name}:`));
  const gid = Number(line?.split(':')[2]);
  return Number.isInteger(gid) ? gid : null;
}
