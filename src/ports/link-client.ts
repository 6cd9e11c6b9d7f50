import type { Attached, PortAccess, PortSession, SessionEvent } from '../core/attach.ts';
import { Fault, faultFrom } from '../core/fault.ts';
import { FrameGatherer } from './frame-gatherer.ts';
import type { LiveFrame } from './frame-gatherer.ts';
import { BREAK_MS_MAX } from './line-control.ts';
import type { AccessCall, LinkAnswer, LinkEnd, LinkRequest, SessionCall } from './link.ts';
import { realTimers } from './timers.ts';
import type { Timers } from './timers.ts';

/** The ports answer within this, unless a device has to do something first. */
const ANSWER_TIMEOUT_MS = 10_000;
/** No limit: the port has its own, and a device or a command may take that long. */
const NO_LIMIT = 0;

/**
 * Of all sessions: with more consumed than this the ports are told at once. A turn of a thread that
 * is behind may be so long that sessions which have taken everything would be taken for too slow.
 */
const CREDIT_BYTES_MAX = 262_144;

interface Call {
  answered(value: unknown): void;
  failed(fault: Fault): void;
}

interface FarSession {
  onEvent(event: SessionEvent): void;
  /** Of its port. */
  uuid: string;
  /** The live bytes of the port, for all its sessions of the link. */
  live: FrameGatherer;
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
  let credits = new Map<number, number>();
  let creditBytes = 0;

  function post(request: LinkRequest): void {
    if (!isClosed) messagePort.postMessage(request);
  }

  /** Sends what `make` returns for a new id; resolves with the answer. */
  function ask(make: (id: number) => LinkRequest, timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (isClosed) return reject(linkIsGone());
      const id = ++lastId;
      const cancel =
        timeoutMs === NO_LIMIT
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

  /** Consumed bytes of all sessions go back together, once a turn of the event loop or sooner. */
  function credit(session: number, bytes: number): void {
    if (credits.size === 0) setImmediate(postCredits);
    credits.set(session, (credits.get(session) ?? 0) + bytes);
    creditBytes += bytes;
    if (creditBytes >= CREDIT_BYTES_MAX) postCredits();
  }

  function postCredits(): void {
    if (credits.size === 0) return;
    const pairs = [...credits].flat();
    credits = new Map();
    creditBytes = 0;
    post({ kind: 'credit', pairs });
  }

  function sessionOf(attached: Attached): PortSession {
    const { session } = attached;
    const isOpen = (): boolean => sessions.has(session);
    const askSession = (
      name: SessionCall,
      args: readonly unknown[],
      timeoutMs: number,
    ): Promise<unknown> =>
      ask((id) => ({ kind: 'session-call', id, session, call: name, args }), timeoutMs);
    const ofSession = async (
      name: SessionCall,
      args: readonly unknown[],
      timeoutMs = ANSWER_TIMEOUT_MS,
    ): Promise<void> => {
      if (isOpen()) await askSession(name, args, timeoutMs);
    };
    return {
      attached,
      credit: (bytes) => {
        if (isOpen()) credit(session, bytes);
      },
      input: (seq, bytes, asIs = false) => {
        // A view of a larger buffer would take all of that across.
        const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
        if (isOpen()) post({ kind: 'input', session, seq, bytes: own, asIs });
      },
      takeOver: () => ofSession('takeOver', []),
      view: () => ofSession('view', []),
      sendBreak: (durationMs) =>
        ofSession('sendBreak', [durationMs], ANSWER_TIMEOUT_MS + durationMs),
      setLine: (line, flow) => ofSession('setLine', [line, flow]),
      setSignals: (signals) => ofSession('setSignals', [signals]),
      setBreak: (isOn) => ofSession('setBreak', [isOn]),
      purge: (queue) => ofSession('purge', [queue]),
      lineState: () => {
        // The driver is asked behind a BREAK that it is sending.
        const timeoutMs = ANSWER_TIMEOUT_MS + BREAK_MS_MAX;
        return askSession('lineState', [], timeoutMs) as ReturnType<PortSession['lineState']>;
      },
      becomeProgram: () => {
        if (isOpen()) post({ kind: 'become-program', session });
      },
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

  function dispatchFrame({ sessions: to, epoch, offset, atUs, bytes }: LiveFrame): void {
    const event: SessionEvent = { kind: 'frame', epoch, offset, atUs, bytes };
    for (const session of to) dispatch(session, event);
  }

  /** Nothing may overtake live bytes that are held: a purge, for one, has these before its answer. */
  function flushLive(): void {
    for (const { live } of sessions.values()) live.flush();
  }

  /** All sessions of a port have one. */
  function liveOf(uuid: string): FrameGatherer {
    for (const other of sessions.values()) if (other.uuid === uuid) return other.live;
    return new FrameGatherer(timers, dispatchFrame);
  }

  messagePort.on('message', (answer: LinkAnswer) => {
    if (answer.kind === 'frame') {
      // Some may have detached while it was under way.
      const session = answer.sessions.find((each) => sessions.has(each));
      if (session !== undefined) sessions.get(session)!.live.add(answer);
      return;
    }
    if (answer.kind === 'event') {
      sessions.get(answer.session)?.live.flush();
      dispatch(answer.session, answer.event);
      return;
    }
    flushLive();
    switch (answer.kind) {
      case 'attached': {
        // Known before the next message is looked at: it may be the session's first frame.
        const onEvent = attaching.get(answer.id);
        const { session, uuid } = answer.attached;
        if (onEvent) sessions.set(session, { onEvent, uuid, live: liveOf(uuid) });
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
    flushLive();
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
      }, NO_LIMIT);
      return sessionOf(attached as Attached);
    },
    ports: (caller) => call('ports', [caller]) as ReturnType<PortAccess['ports']>,
    who: (caller) => call('who', [caller]) as ReturnType<PortAccess['who']>,
    kick: async (caller, session) => void (await call('kick', [caller, session])),
    message: (caller, to, text) => call('message', [caller, to, text]) as Promise<number>,
    send: async (caller, port, bytes, pace) => {
      await call('send', [caller, port, new Uint8Array(bytes), pace], NO_LIMIT);
    },
    sendBreak: async (caller, port, durationMs) => {
      await call('sendBreak', [caller, port, durationMs], ANSWER_TIMEOUT_MS + durationMs);
    },
    setLine: async (caller, port, line, flow) => {
      await call('setLine', [caller, port, line, flow]);
    },
    setSignals: async (caller, port, signals) => {
      await call('setSignals', [caller, port, signals]);
    },
    inspect: (caller, port) => {
      const timeoutMs = ANSWER_TIMEOUT_MS + BREAK_MS_MAX;
      return call('inspect', [caller, port], timeoutMs) as ReturnType<PortAccess['inspect']>;
    },
    run: async (caller, port, sequence) => {
      await call('run', [caller, port, sequence], NO_LIMIT);
    },
    power: (caller, port, action, isConfirmed) =>
      call('power', [caller, port, action, isConfirmed], NO_LIMIT) as Promise<string>,
    hold: async (caller, port, isDown) => {
      await call('hold', [caller, port, isDown]);
    },
    setLogging: async (caller, port, isOn) => {
      await call('setLogging', [caller, port, isOn]);
    },
    note: async (caller, port, text) => {
      await call('note', [caller, port, text]);
    },
  };
}

function linkIsGone(): Fault {
  return new Fault('DAEMON_UNREACHABLE', 'the link to the ports is closed');
}
