import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { basename, join } from 'node:path';
import { PROJECT } from './project.ts';

/**
 * Compiles one C file of the project (`test/bench/feeder.c`) with gcc and returns the path of the
 * result, which is made anew only when the source or the flags change.
 */
export function compileC(source: string, flags: readonly string[] = []): string {
  const path = join(PROJECT, source);
  const arguments_ = ['-O2', '-Wall', '-Wextra', '-Werror', ...flags];
  const hash = createHash('sha256').update(readFileSync(path)).update(arguments_.join(' '));
  const directory = join(PROJECT, '.build', 'c');
  const target = join(directory, `${basename(source, '.c')}-${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(target)) return target;
  mkdirSync(directory, { recursive: true });
  // Two test files may want it at once: each makes its own, and the names are swapped in whole.
  const own = `${target}.${process.pid}`;
  execFileSync('gcc', [...arguments_, '-o', own, path, '-ldl'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  renameSync(own, target);
  return target;
}
