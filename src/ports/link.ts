import type { MessagePort } from 'node:worker_threads';
import type { AttachRequest, PortAccess, SessionEvent } from '../core/attach.ts';
import type { PortSession } from '../core/attach.ts';
import type { Journal } from '../core/clock.ts';
import { Fault, faultMessage } from '../core/fault.ts';
import type { FaultMessage } from '../core/fault.ts';
import type { Outlet } from './audience.ts';
import { sessionHasEnded } from './port-sessions.ts';
import type { MulticastPortAccess } from './rack.ts';

/** The part of a MessagePort that a link needs. */
export type LinkEnd = Pick<MessagePort, 'postMessage' | 'on' | 'close'>;

/** Calls of PortAccess that are asked and answered, by name. */
export type AccessCall = Exclude<keyof PortAccess, 'attach'>;
/** Calls of PortSession that are asked and answered. */
export type SessionCall = Extract<
  keyof PortSession,
  'takeOver' | 'view' | 'sendBreak' | 'setBreak' | 'setLine' | 'setSignals' | 'purge' | 'lineState'
>;

/** To the ports. Plain data: structured clone carries it, typed arrays included. */
export type LinkRequest =
  | { kind: 'attach'; id: number; request: AttachRequest }
  | { kind: 'call'; id: number; call: AccessCall; args: readonly unknown[] }
  | {
      kind: 'session-call';
      id: number;
      session: number;
      call: SessionCall;
      args: readonly unknown[];
    }
  | { kind: 'input'; session: number; seq: number; bytes: Uint8Array; asIs: boolean }
  /** Session and bytes by turns: what was consumed since the last such message. */
  | { kind: 'credit'; pairs: readonly number[] }
  | { kind: 'become-program'; session: number }
  | { kind: 'detach'; session: number; why: string };

/** From the ports. */
export type LinkAnswer =
  | { kind: 'attached'; id: number; attached: PortSession['attached'] }
  | { kind: 'answer'; id: number; value: unknown }
  | { kind: 'fault'; id: number; fault: FaultMessage }
  | {
      kind: 'frame';
      sessions: readonly number[];
      epoch: number;
      offset: number;
      atUs: number;
      bytes: Uint8Array;
    }
  | { kind: 'event'; session: number; event: SessionEvent };

/** A call whose arguments both ends of the link know, though the compiler cannot. */
type AnyCall = (...args: unknown[]) => Promise<unknown>;

/** The ports' end of a link. */
export interface ServedLink {
  /** Sessions of the link. */
  readonly sessions: number;
  /** Detaches all of them: the far side is dead, or is to be replaced. */
  end(why: string): void;
}

/**
 * Serves PortAccess to the far side of a MessagePort, on the capture thread. Bytes that several
 * sessions of the link watch cross once. When the far side goes (thread ended, port closed), its
 * sessions are detached, so that whoever waits for write gets it.
 */
export function servePortAccess(
  messagePort: LinkEnd,
  access: MulticastPortAccess,
  journal: Journal,
): ServedLink {
  const sessions = new Map<number, PortSession>();
  let hasEnded = false;

  function post(answer: LinkAnswer): void {
    if (!hasEnded) messagePort.postMessage(answer);
  }

  const outlet: Outlet = {
    frame(to, epoch, offset, atUs, bytes) {
      post({ kind: 'frame', sessions: to, epoch, offset, atUs, bytes });
    },
    event(session, event) {
      if (event.kind === 'ended') sessions.delete(session);
      post({ kind: 'event', session, event });
    },
  };

  function attach(id: number, request: AttachRequest): void {
    try {
      const session = access.attachTo(request, outlet);
      sessions.set(session.attached.session, session);
      post({ kind: 'attached', id, attached: session.attached });
    } catch (error) {
      post({ kind: 'fault', id, fault: toFault(error) });
    }
  }

  async function answer(id: number, call: () => Promise<unknown>): Promise<void> {
    try {
      post({ kind: 'answer', id, value: await call() });
    } catch (error) {
      post({ kind: 'fault', id, fault: toFault(error) });
    }
  }

  function toFault(error: unknown): FaultMessage {
    if (!(error instanceof Fault)) journal.error({ err: error }, 'a call over a link failed oddly');
    return faultMessage(error);
  }

  function end(why: string): void {
    if (hasEnded) return;
    hasEnded = true;
    for (const session of [...sessions.values()]) session.detach(why);
    sessions.clear();
    messagePort.close();
  }

  messagePort.on('message', (message: LinkRequest) => {
    if (hasEnded) return;
    switch (message.kind) {
      case 'attach':
        attach(message.id, message.request);
        break;
      case 'call': {
        const calls = access as unknown as Record<AccessCall, AnyCall>;
        void answer(message.id, () => calls[message.call](...message.args));
        break;
      }
      case 'session-call': {
        const session = sessions.get(message.session) as Record<SessionCall, AnyCall> | undefined;
        void answer(message.id, async () => {
          if (session) return session[message.call](...message.args);
          // All other calls do nothing after the end; this one has to be told something.
          if (message.call === 'lineState') throw sessionHasEnded();
          return undefined;
        });
        break;
      }
      case 'input':
        sessions.get(message.session)?.input(message.seq, message.bytes, message.asIs);
        break;
      case 'credit':
        for (let i = 0; i < message.pairs.length; i += 2) {
          sessions.get(message.pairs[i]!)?.credit(message.pairs[i + 1]!);
        }
        break;
      case 'become-program':
        sessions.get(message.session)?.becomeProgram();
        break;
      case 'detach':
        sessions.get(message.session)?.detach(message.why);
        sessions.delete(message.session);
    }
  });
  messagePort.on('close', () => end('the thread of its frontend ended'));
  return {
    get sessions() {
      return sessions.size;
    },
    end,
  };
}
