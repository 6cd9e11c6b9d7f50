import type { MessagePort } from 'node:worker_threads';
import { Fault, faultFrom, faultMessage, type FaultMessage } from '../core/fault.ts';

/** Calls across a MessagePort: plain data there, a promise back. Faults arrive as Faults. */
type Call = { id: number; method: string; args: unknown[] };
type Answer = { id: number; result?: unknown; fault?: FaultMessage };

export type Handlers = Record<string, (...args: never[]) => unknown>;

/**
 * Answers calls that come in on `port`. A handler's rejection travels back as a Fault; it never
 * ends the thread. A call without an id (`tell`) is not answered.
 */
export function serveCalls(port: MessagePort, handlers: Handlers): void {
  port.on('message', (call: Call) => {
    void answerCall(call, handlers, (answer) => port.postMessage(answer));
  });
}

/** One call, answered through `reply`; for threads that fetch their messages themselves. */
export async function answerCall(
  call: Call,
  handlers: Handlers,
  reply: (answer: Answer) => void,
): Promise<void> {
  try {
    const handler = handlers[call.method] as ((...args: unknown[]) => unknown) | undefined;
    if (!handler) throw new Fault('USAGE', `no such call: ${call.method}`);
    const result = await handler(...call.args);
    if (call.id !== 0) reply({ id: call.id, result });
  } catch (error) {
    if (call.id !== 0) reply({ id: call.id, fault: faultMessage(error) });
  }
}

export interface Caller {
  /** Resolves with the far side's answer. @throws Fault its own, or TIMED_OUT when the port closed. */
  call<Result>(method: string, ...args: unknown[]): Promise<Result>;
  /** No answer wanted. */
  tell(method: string, ...args: unknown[]): void;
}

/** The calling side. `wake` runs after each message, for a far side that sleeps in Atomics.wait. */
export function connectCalls(port: MessagePort, wake: () => void = () => undefined): Caller {
  let lastId = 0;
  const pending = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  port.on('message', (answer: Answer) => {
    const waiting = pending.get(answer.id);
    if (!waiting) return;
    pending.delete(answer.id);
    if (answer.fault) waiting.reject(faultFrom(answer.fault));
    else waiting.resolve(answer.result);
  });
  port.on('close', () => {
    for (const waiting of pending.values()) {
      waiting.reject(new Fault('TIMED_OUT', 'that part of the daemon has just ended'));
    }
    pending.clear();
  });
  return {
    call<Result>(method: string, ...args: unknown[]): Promise<Result> {
      const id = ++lastId;
      return new Promise<Result>((resolve, reject) => {
        pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
        port.postMessage({ id, method, args });
        wake();
      });
    },
    tell(method, ...args) {
      port.postMessage({ id: 0, method, args });
      wake();
    },
  };
}
