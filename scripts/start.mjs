/** `npm start [-- ARGUMENTS]`: installs and builds if need be, then runs `fairlead serve`. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { prepare, root } from './prepare.mjs';

prepare();
const child = spawn(
  process.execPath,
  [
    '--max-semi-space-size=2',
    join(root, 'dist', 'src', 'main.js'),
    'serve',
    ...process.argv.slice(2),
  ],
  {
    stdio: 'inherit',
    // The pool is made when the first module is read, before any line of ours could set its size.
    env: { UV_THREADPOOL_SIZE: '16', MALLOC_ARENA_MAX: '2', ...process.env },
  },
);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']) {
  process.on(signal, () => {
    // A terminal sends ^C to the whole group: the child has it already.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
  });
}
child.on('error', (error) => {
  console.error(`Could not start ${process.execPath}: ${error.message}`);
  process.exit(1);
});
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code ?? 1);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
});
