#!/usr/bin/env -S UV_THREADPOOL_SIZE=16 MALLOC_ARENA_MAX=2 node --max-semi-space-size=2
// The pool serves scrypt, control ioctls and file reads of all threads; it is made before our first
// line runs. Few arenas: fifteen threads that allocate little would each keep one to themselves. A
// small young generation: each thread's would grow to 48 MB of short-lived garbage under a flood.
import { runCommandLine } from './app/command-line.ts';

/** The one place that reads the process's arguments and environment. */
const { env } = process;

process.exitCode = await runCommandLine({
  argv: process.argv.slice(2),
  cwd: process.cwd(),
  terminal: {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    signals: process,
    timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    shell: env['SHELL'],
  },
  environment: {
    xdgStateHome: env['XDG_STATE_HOME'],
    sshAuthSock: env['SSH_AUTH_SOCK'],
    notifySocket: env['NOTIFY_SOCKET'],
    watchdogUsec: env['WATCHDOG_USEC'],
    failAt: env['FAIRLEAD_FAIL_AT'],
    journalLevel: env['FAIRLEAD_JOURNAL_LEVEL'],
  },
  signals: process,
});
