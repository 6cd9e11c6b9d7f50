import { accessSync, constants, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

const RUNTIME_DIRECTORY = '/run/fairlead';

/**
 * Where the control socket of a data directory goes: /run/fairlead when we may write there (root, or
 * systemd's RuntimeDirectory=), else beside the data.
 */
export function controlPathFor(directory: { id: string; path: string }): string {
  try {
    if (process.geteuid?.() === 0) mkdirSync(RUNTIME_DIRECTORY, { recursive: true, mode: 0o755 });
    accessSync(RUNTIME_DIRECTORY, constants.W_OK);
    return join(RUNTIME_DIRECTORY, `${directory.id}.sock`);
  } catch {
    return join(directory.path, 'control.sock');
  }
}

/** The control socket of a data directory, wherever its daemon put it; null: there is none. */
export function findControlSocket(directory: { id: string; path: string }): string | null {
  const places = [
    join(RUNTIME_DIRECTORY, `${directory.id}.sock`),
    join(directory.path, 'control.sock'),
  ];
  return places.find((path) => existsSync(path)) ?? null;
}
