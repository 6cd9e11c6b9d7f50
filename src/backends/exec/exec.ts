import { accessSync, constants } from 'node:fs';
import { Fault } from '../../core/fault.ts';
import { commandEnvironment, type OpenerFactory } from '../services.ts';
import { openOnPipe } from './on-pipe.ts';
import { openOnPty } from './on-pty.ts';
import { StartGuard } from './start-guard.ts';

/**
 * A command as a line: an argument vector, never a shell. Its end is the line's end; the port's
 * back-off starts it anew, but not more than 10 times a minute.
 */
export const execOpener: OpenerFactory<'exec'> = (settings, { command, on }, services) => {
  const target = command.join(' ');
  const guard = new StartGuard();
  const journal = services.journal.child({ room: 'backends', port: settings.name });
  const environment = commandEnvironment(services);
  return {
    kind: 'exec',
    target,
    line: null,
    hurry: () => guard.hurry(),
    async open(sink) {
      const failed = (why: string): Fault =>
        new Fault('PORT_OPEN_FAILED', `exec ${target}: ${why}`);
      const { libc, sweep } = services;
      const program = command[0] ?? '';
      if (program.includes('/') && !isExecutable(program)) {
        throw failed(`${program} is not an executable file; is it installed?`);
      }
      if (on === 'pty' && libc === null) {
        throw failed(
          'needs the package koffi for a pty, and it is not installed; run "npm install"',
        );
      }
      const tooOften = guard.begin();
      if (tooOften !== null) throw failed(tooOften);
      const ended = (how: string): void => guard.ended(how);
      const start = { command, target, environment, sink, sweep, journal, settings, ended };
      return libc !== null && on === 'pty' ? openOnPty(start, libc) : openOnPipe(start);
    },
  };
};

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
