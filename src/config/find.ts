import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

/** Where the configuration of the machine is. */
export const SYSTEM_CONFIG = '/etc/fairlead/fairlead.yaml';

/**
 * The configuration file to use: `explicit` (--config) whether it exists or not, else
 * ./fairlead.yaml, else /etc/fairlead/fairlead.yaml. Null when there is none.
 */
export function findConfig(
  cwd: string,
  explicit: string | null | undefined,
  exists: (path: string) => boolean = existsSync,
): string | null {
  if (explicit) return resolve(cwd, explicit);
  return [resolve(cwd, 'fairlead.yaml'), SYSTEM_CONFIG].find(exists) ?? null;
}
