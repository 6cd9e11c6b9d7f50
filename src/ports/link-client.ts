import type { Attached, PortAccess, PortSession, SessionEvent } from '../core/attach.ts';
import { Fault, faultFrom } from '../core/fault.ts';
import type { AccessCall, LinkAnswer, LinkEnd, LinkRequest, SessionCall } from './link.ts';
import { realTimers } from './timers.ts';
import type { Timers } from './timers.ts';

/** The ports answer within this, unless a device has to do something first. */
const ANSWER_TIMEOUT_MS = 10_000;

interface Call {
  answered(value: unknown): void;
  failed(fault: Fault): void;
}

interface FarSession {
  onEvent(event: SessionEvent): void;
}

/**
 * PortAccess on the far side of a MessagePort which `servePortAccess` serves. When the port closes,
 * its sessions end and calls under way fail with DAEMON_UNREACHABLE; calls without an answer in
 * 10 s fail with TIMED_OUT, but those that wait for a device.
 */
export function connectPortAccess(messagePort: LinkEnd, timers: Timers = realTimers): PortAccess {
  const calls = new Map<number, Call>();
  const attaching = new Map<number, (event: SessionEvent) => void>();
  const sessions = new Map<number, FarSession>();
  let lastId = 0;
  let isClosed = false;
  let credits: number[] = [];

  function post(request: LinkRequest): void {
    if (!isClosed) messagePort.postMessage(request);
  }

  /** Sends what `make` returns for a new id; resolves with the answer. `timeoutMs` 0: no limit. */
  function ask(make: (id: number) => LinkRequest, timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (isClosed) return reject(linkIsGone());
      const id = ++lastId;
      const cancel =
        timeoutMs === 0
          ? null
          : timers.after(timeoutMs, () => {
              calls.delete(id);
              reject(new Fault('TIMED_OUT', `the ports did not answer for ${timeoutMs / 1_000} s`));
            });
      calls.set(id, {
        answered: (value) => {
          cancel?.();
          resolve(value);
        },
        failed: (fault) => {
          cancel?.();
          reject(fault);
        },
      });
      post(make(id));
    });
  }

  const call = (name: AccessCall, args: readonly unknown[], timeoutMs = ANSWER_TIMEOUT_MS) =>
    ask((id) => ({ kind: 'call', id, call: name, args }), timeoutMs);

  /** Consumed bytes of all sessions go back together, once a turn of the event loop. */
  function credit(session: number, bytes: number): void {
    if (credits.length === 0) {
      setImmediate(() => {
        const pairs = credits;
        credits = [];
        post({ kind: 'credit', pairs });
      });
    }
    credits.push(session, bytes);
  }

  function sessionOf(attached: Attached): PortSession {
    const { session } = attached;
    const isOpen = (): boolean => sessions.has(session);
    const ofSession = async (
      name: SessionCall,
      args: readonly unknown[],
      timeoutMs = ANSWER_TIMEOUT_MS,
    ): Promise<void> => {
      if (!isOpen()) return;
      await ask((id) => ({ kind: 'session-call', id, session, call: name, args }), timeoutMs);
    };
    return {
      attached,
      credit: (bytes) => {
        if (isOpen()) credit(session, bytes);
      },
      input: (seq, bytes) => {
        // A view of a larger buffer would take all of that across.
        const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
        if (isOpen()) post({ kind: 'input', session, seq, bytes: own });
      },
      takeOver: () => ofSession('takeOver', []),
      view: () => ofSession('view', []),
      sendBreak: (durationMs) =>
        ofSession('sendBreak', [durationMs], ANSWER_TIMEOUT_MS + durationMs),
      setLine: (line, flow) => ofSession('setLine', [line, flow]),
      setSignals: (signals) => ofSession('setSignals', [signals]),
      detach: (why) => {
        if (!sessions.delete(session)) return;
        post({ kind: 'detach', session, why });
      },
    };
  }

  function dispatch(session: number, event: SessionEvent): void {
    const far = sessions.get(session);
    if (event.kind === 'ended') sessions.delete(session);
    far?.onEvent(event);
  }

  messagePort.on('message', (answer: LinkAnswer) => {
    switch (answer.kind) {
      case 'frame': {
        const { epoch, offset, atUs, bytes } = answer;
        const event: SessionEvent = { kind: 'frame', epoch, offset, atUs, bytes };
        for (const session of answer.sessions) dispatch(session, event);
        break;
      }
      case 'event':
        dispatch(answer.session, answer.event);
        break;
      case 'attached': {
        // Known before the next message is looked at: it may be the session's first frame.
        const onEvent = attaching.get(answer.id);
        if (onEvent) sessions.set(answer.attached.session, { onEvent });
        settle(answer.id)?.answered(answer.attached);
        break;
      }
      case 'answer':
        settle(answer.id)?.answered(answer.value);
        break;
      case 'fault':
        settle(answer.id)?.failed(faultFrom(answer.fault));
    }
  });

  function settle(id: number): Call | undefined {
    const settled = calls.get(id);
    calls.delete(id);
    attaching.delete(id);
    return settled;
  }

  messagePort.on('close', () => {
    isClosed = true;
    for (const id of [...calls.keys()]) settle(id)?.failed(linkIsGone());
    for (const session of [...sessions.keys()]) {
      dispatch(session, { kind: 'ended', why: linkIsGone().message });
    }
  });

  return {
    async attach(request, onEvent) {
      const attached = await ask((id) => {
        attaching.set(id, onEvent);
        return { kind: 'attach', id, request };
      }, 0);
      return sessionOf(attached as Attached);
    },
    ports: (caller) => call('ports', [caller]) as ReturnType<PortAccess['ports']>,
    who: (caller) => call('who', [caller]) as ReturnType<PortAccess['who']>,
    kick: async (caller, session) => void (await call('kick', [caller, session])),
    message: (caller, port, text) => call('message', [caller, port, text]) as Promise<number>,
    send: async (caller, port, bytes) => {
      await call('send', [caller, port, new Uint8Array(bytes)], 0);
    },
    sendBreak: async (caller, port, durationMs) => {
      await call('sendBreak', [caller, port, durationMs], ANSWER_TIMEOUT_MS + durationMs);
    },
    setLine: async (caller, port, line, flow) => {
      await call('setLine', [caller, port, line, flow]);
    },
  };
}

function linkIsGone(): Fault {
  return new Fault('DAEMON_UNREACHABLE', 'the link to the ports is closed');
}
