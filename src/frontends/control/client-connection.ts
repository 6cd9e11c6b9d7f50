import type { Socket } from 'node:net';
import { EXIT, exitCodeOf, Fault } from '../../core/fault.ts';
import type { FrontendServices } from '../../core/frontend.ts';
import {
  CONTROL_START,
  CONTROL_VERSION,
  decodeControl,
  encodeControl,
  type ControlFrame,
  type ControlHello,
} from '../../protocols/control.ts';
import { ControlIo } from './control-io.ts';

export interface Peer {
  pid: number;
  uid: number;
}

/** One client of the control socket: one verb, from its hello to its exit code. */
export function serveControlClient(socket: Socket, peer: Peer, services: FrontendServices): void {
  const journal = services.journal.child({ pid: peer.pid, uid: peer.uid });
  let state = CONTROL_START;
  let io: ControlIo | null = null;

  const helloDeadline = setTimeout(() => socket.destroy(), HELLO_MS);
  socket.once('close', () => {
    clearTimeout(helloDeadline);
    io?.close();
  });

  function send(frame: ControlFrame): void {
    if (socket.writable) socket.write(encodeControl(frame));
  }

  function refuse(text: string, code: number): void {
    send({ kind: 'stderr', bytes: Buffer.from(`fairlead: ${text}\n`) });
    send({ kind: 'exit', code });
    socket.end();
  }

  function cut(why: string): void {
    journal.warn({ why }, 'control client cut');
    socket.destroy();
  }

  function greet(hello: ControlHello): void {
    clearTimeout(helloDeadline);
    if (hello.version !== CONTROL_VERSION) {
      const which = `it speaks version ${CONTROL_VERSION}, this command ${hello.version}`;
      return refuse(`the daemon is of another version (${which}): restart it`, EXIT.unreachable);
    }
    const user = services.login.ofUnixUser(peer.uid);
    if (user === null) {
      journal.warn({}, 'control client refused');
      const who = `unix user ${peer.uid} is no user of Fairlead`;
      return refuse(`${who}; an administrator adds "unix: NAME" to one`, EXIT.denied);
    }
    io = new ControlIo(hello, send, cut, (err) =>
      journal.error({ err }, 'input could not be handled'),
    );
    void run(io, user, hello.argv);
  }

  async function run(running: ControlIo, user: string, argv: readonly string[]): Promise<void> {
    let code: number;
    try {
      const remote = `local pid ${peer.pid}`;
      code = await services.runVerb({ user, remote, frontend: 'control' }, argv, running);
    } catch (error) {
      code = running.signal.aborted ? INTERRUPTED : exitCodeOf(error);
      if (error instanceof Fault) {
        await running.writeError(`fairlead: ${error.message}\n`).catch(() => undefined);
      } else if (!running.signal.aborted) {
        journal.error({ err: error, verb: argv[0] }, 'verb failed');
      }
    }
    running.onInput(null, false);
    await running.flushed();
    send({ kind: 'exit', code });
    socket.end();
  }

  function take(frame: ControlFrame): void {
    if (io === null) {
      if (frame.kind === 'hello') greet(frame.hello);
      else cut('it did not say hello');
    } else if (!io.take(frame)) cut(`it sent a ${frame.kind} frame`);
  }

  socket.on('data', (bytes: Buffer) => {
    const decoded = decodeControl(state, bytes);
    state = decoded.state;
    for (const event of decoded.events) {
      if (socket.destroyed) return;
      if (event.kind === 'frame') take(event.frame);
      else cut(event.why);
    }
  });
}

const HELLO_MS = 10_000;
/** As shells have it: 128 + SIGINT. */
const INTERRUPTED = 130;
