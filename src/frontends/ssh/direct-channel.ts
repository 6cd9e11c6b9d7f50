import type { ServerChannel } from 'ssh2';
import { Fault } from '../../core/fault.ts';
import type { FrontendServices } from '../../core/frontend.ts';
import { NAME_PATTERN } from '../../core/names.ts';
import type { Caller } from '../../core/user.ts';
import type { OpenSession } from '../binary-session.ts';
import { LastWords } from '../last-words.ts';
import { ChannelOutput } from './channel-output.ts';
import type { ConnectionGuard, DirectChannel, PrivateChannel } from './guards.ts';

/**
 * Attaches `ssh -W PORT:1` and `-L` to a port: byte-transparent, no notices, no keys. The session
 * is there before the channel, so that a refusal can say why; what the port says in between waits.
 * At the end of its input the client gives write up, and has the port's last words (last-words.ts).
 * @throws Fault PORT_UNKNOWN, DENIED.
 */
export async function openDirectChannel(
  guard: ConnectionGuard,
  services: FrontendServices,
  openSession: OpenSession,
  caller: Caller,
  port: string,
): Promise<DirectChannel> {
  if (!NAME_PATTERN.test(port))
    throw new Fault('PORT_UNKNOWN', `not the name of a port; ${ONLY_PORTS}`);
  const early: { bytes: Uint8Array; done: () => void }[] = [];
  let output: ChannelOutput | null = null;
  let channel: ServerChannel | null = null;
  let hasEnded = false;
  const lastWords = new LastWords(() => {
    session.detach('the client sent all it had, and the line fell silent');
    end();
  });

  function write(bytes: Uint8Array, done: () => void): void {
    const written = lastWords.said(done);
    if (output === null) early.push({ bytes, done: written });
    else output.write(bytes).then(written, () => undefined); // refused: the client is gone
  }

  function end(): void {
    hasEnded = true;
    lastWords.stop();
    const ending = channel;
    if (ending === null) return;
    void output!.flushed().then(() => {
      ending.end();
      ending.resume(); // unread input would hold back ssh2's close
    });
  }

  const session = await openSession(
    services,
    { caller, port, mode: 'write', delivery: 'program', from: null, notices: false, keys: null },
    {
      write,
      ended: (why) => {
        services.journal.info(
          { port, user: caller.user, remote: caller.remote, why },
          'session ended',
        );
        end();
      },
    },
  ).catch((error: unknown) => {
    if (!(error instanceof Fault && error.code === 'PORT_UNKNOWN')) throw error;
    throw new Fault(error.code, `${error.message}; ${ONLY_PORTS}`, error);
  });

  async function sendBreak(durationMs: number): Promise<boolean> {
    try {
      await session.sendBreak(durationMs);
      return true;
    } catch (error) {
      if (error instanceof Fault) return false;
      throw error;
    }
  }

  function pass(bytes: Buffer): void {
    channel!.pause();
    lastWords.gaveInput();
    session
      .input(bytes)
      .catch((err: unknown) =>
        services.journal.error({ port, err }, 'input could not be passed on'),
      )
      .finally(() => channel!.resume());
  }

  return {
    attach(accept) {
      channel = accept() as ServerChannel;
      output = new ChannelOutput(channel, guard);
      guard.onChannelClosed(channel as unknown as PrivateChannel, () => {
        output!.close();
        lastWords.stop();
        session.detach('the client left');
      });
      for (const { bytes, done } of early.splice(0)) {
        output.write(bytes).then(done, () => undefined);
      }
      guard.serveRequests(channel as unknown as PrivateChannel, (request) =>
        request.type === 'break' ? sendBreak(request.durationMs) : false,
      );
      channel.on('data', pass);
      channel.once('end', () => {
        lastWords
          .inputEnded(session)
          .catch((err: unknown) =>
            services.journal.warn({ port, err }, 'write could not be given up'),
          );
      });
      if (hasEnded) end();
    },
    abandon: () => session.detach('the client left'),
  };
}

/** For who takes this for a way into the network behind the server. */
const ONLY_PORTS = 'no address or host can be reached from here, only ports by name: -W PORT:1';
