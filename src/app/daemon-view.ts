import { existsSync, statSync } from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import { Fault } from '../core/fault.ts';
import type { PortStatus } from '../core/port-status.ts';
import { runRemote } from '../frontends/control/client.ts';
import { dataPaths, readDataId } from '../store/data-directory.ts';
import { findControlSocket } from './runtime-paths.ts';

/** A running daemon, as a verb of the local shell sees it: by the verbs it answers. */
export interface DaemonView {
  /** Whom it runs as. */
  uid: number;
  ports: readonly PortStatus[];
  /** The last line that a port said, made safe; empty: none. */
  lastLine(port: string): Promise<string>;
  /** @throws Fault with what it said, when the verb failed. */
  run(...argv: string[]): Promise<string>;
}

/**
 * null: there is no daemon of this data directory.
 * @throws Fault DENIED, DAEMON_UNREACHABLE.
 */
export async function viewDaemon(
  data: string | null,
  timeZone: string,
): Promise<DaemonView | null> {
  const id = data === null || !existsSync(data) ? null : readDataId(data);
  const path = id === null ? null : findControlSocket({ id, path: dataPaths(data!).path });
  if (path === null) return null;
  const run = (...argv: string[]): Promise<string> => runVerbThere(path, argv, timeZone);
  return {
    uid: statSync(path).uid,
    ports: JSON.parse(await run('ports', '--json')) as PortStatus[],
    run,
    async lastLine(port) {
      const said = await run('log', port, '--last', '2K', '--format', 'text').catch(() => '');
      return (said.split('\n').findLast((line) => line.trim() !== '') ?? '').trim();
    },
  };
}

async function runVerbThere(path: string, argv: string[], timeZone: string): Promise<string> {
  const [output, errors] = [collect(), collect()];
  const code = await runRemote({
    path,
    argv,
    stdin: Readable.from([]),
    stdout: output.stream,
    stderr: errors.stream,
    isTerminal: false,
    timeZone,
  });
  if (code === 0) return output.text();
  const why = errors
    .text()
    .replace(/^fairlead: /, '')
    .trim();
  throw new Fault('DAEMON_UNREACHABLE', `the daemon refused "${argv.join(' ')}": ${why}`);
}

function collect(): { stream: PassThrough; text(): string } {
  const chunks: Buffer[] = [];
  const stream = new PassThrough();
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') };
}
