import type { LocalTerminal } from './terminal-io.ts';

/** What main.ts reads of the process; nothing else looks at argv or the environment. */
export interface ProcessContext {
  argv: readonly string[];
  cwd: string;
  terminal: LocalTerminal;
  environment: {
    xdgStateHome: string | undefined;
    sshAuthSock: string | undefined;
    notifySocket: string | undefined;
    watchdogUsec: string | undefined;
    failAt: string | undefined;
    journalLevel: string | undefined;
  };
  /** The signals that steer a daemon, and `exit`. */
  signals: NodeJS.EventEmitter;
}
