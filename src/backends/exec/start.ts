import type { ChildProcess } from 'node:child_process';
import type { Backend, BackendSink } from '../../core/backend.ts';
import type { Journal } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { PortSettings } from '../../core/settings.ts';
import type { Sweep } from '../tty/sweep.ts';

/** What a command is started with, on a pty or on pipes. */
export interface Start {
  command: readonly string[];
  /** The command in one line, for people. */
  target: string;
  environment: Readonly<Record<string, string | undefined>>;
  sink: BackendSink;
  sweep: Sweep;
  journal: Journal;
  settings: PortSettings;
  /** The command ended by itself: `ended with status 1`. */
  ended: (how: string) => void;
}

/** Output may come so long after the command ended, from what it left behind; or its end after its output's. */
export const LAST_WORDS_MS = 300;

/** Resolves when the program runs. @throws what spawn(2) says. */
export function spawned(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
}

/** What a line without a UART cannot do. */
export function withoutUart(
  description: string,
): Pick<Backend, 'setLine' | 'setSignals' | 'sendBreak' | 'setBreak' | 'purge' | 'signals'> {
  function unsupported(what: string): Promise<never> {
    const why = `${description} is a command: it has no ${what}`;
    return Promise.reject(new Fault('PORT_UNSUPPORTED', why));
  }
  return {
    setLine: () => unsupported('line settings'),
    setSignals: () => unsupported('signals'),
    sendBreak: () => unsupported('BREAK'),
    setBreak: () => unsupported('BREAK'),
    purge: () => Promise.resolve(), // there is no driver to empty
    signals: () => Promise.resolve({}),
  };
}
