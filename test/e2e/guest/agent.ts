import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { PassThrough, Writable } from 'node:stream';
import { runRemote } from '../../../src/frontends/control/client.ts';

/** What the test asks for, a JSON object a line; bytes are base64. */
export type AgentRequest = { id: number } & (
  | { do: 'start'; command: readonly string[]; user?: { uid: number; gid: number } }
  | { do: 'verb'; socket: string; argv: readonly string[] }
  | { do: 'input'; bytes: string }
  | { do: 'end-input' }
  | { do: 'signal'; signal: NodeJS.Signals }
);

/** What becomes of it. `exit` is the last of its `id`. */
export type AgentAnswer = { id: number } & (
  { out: string } | { err: string } | { exit: number | null; signal: NodeJS.Signals | null }
);

/**
 * Runs in the appliance guest, as its only program at first: calls the test that started the guest,
 * and starts programs for it. `agent.js HOST:PORT`.
 */
function main(address: string): void {
  const [host, port] = address.split(':');
  const children = new Map<number, ChildProcessWithoutNullStreams>();
  const test = connect({ host: host!, port: Number(port) });
  test.setNoDelay(true);
  const answer = (message: AgentAnswer): void => void test.write(`${JSON.stringify(message)}\n`);

  function start(id: number, [program, ...args]: readonly string[], user = {}): void {
    const child = spawn(program!, args, { cwd: '/data', ...user });
    children.set(id, child);
    child.stdin.on('error', () => undefined); // it may end before it has read all
    child.stdout.on('data', (bytes: Buffer) => answer({ id, out: bytes.toString('base64') }));
    child.stderr.on('data', (bytes: Buffer) => answer({ id, err: bytes.toString('base64') }));
    child.on('error', (error) => {
      answer({ id, err: Buffer.from(`${error.message}\n`).toString('base64') });
    });
    child.on('close', (exit, signal) => {
      children.delete(id);
      answer({ id, exit, signal });
    });
  }

  /** As the command line does it, without the seconds that one more Node takes to start here. */
  function runVerb(id: number, path: string, argv: readonly string[]): void {
    const stdout = writableTo((bytes) => answer({ id, out: bytes.toString('base64') }));
    const stderr = writableTo((bytes) => answer({ id, err: bytes.toString('base64') }));
    const stdin = new PassThrough().end();
    const streams = { stdin, stdout, stderr, isTerminal: false, timeZone: 'UTC' };
    runRemote({ path, argv, ...streams }).then(
      (exit) => answer({ id, exit, signal: null }),
      (error: Error) => {
        stderr.write(`${error.message}\n`);
        answer({ id, exit: 1, signal: null });
      },
    );
  }

  createInterface({ input: test }).on('line', (line) => {
    const request = JSON.parse(line) as AgentRequest;
    const child = children.get(request.id);
    switch (request.do) {
      case 'start':
        return start(request.id, request.command, request.user);
      case 'verb':
        return runVerb(request.id, request.socket, request.argv);
      case 'input':
        return void child?.stdin.write(Buffer.from(request.bytes, 'base64'));
      case 'end-input':
        return void child?.stdin.end();
      case 'signal':
        return void child?.kill(request.signal);
    }
  });
}

function writableTo(take: (bytes: Buffer) => void): Writable {
  return new Writable({
    write(bytes: Buffer, _encoding, done) {
      take(bytes);
      done();
    },
  });
}

main(process.argv[2]!);
