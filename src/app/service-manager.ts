import type { Libc } from '../core/libc.ts';

/**
 * Tells systemd how the daemon fares (sd_notify(3)). Only the capture loop pets the watchdog:
 * a hung network library must not get a working capture restarted, and a hung capture must.
 */
export interface ServiceManager {
  ready(): void;
  reloading(): void;
  stopping(): void;
  status(text: string): void;
  /** Half the watchdog's interval, milliseconds; null when systemd asked for none. */
  readonly watchdogMs: number | null;
  pet(): void;
}

export interface ServiceEnvironment {
  /** NOTIFY_SOCKET */
  notifySocket: string | undefined;
  /** WATCHDOG_USEC */
  watchdogUsec: string | undefined;
}

export function serviceManager(environment: ServiceEnvironment, libc: Libc | null): ServiceManager {
  const send = (text: string): void => {
    if (!environment.notifySocket || !libc) return;
    try {
      libc.sendDatagram(environment.notifySocket, text);
    } catch {
      // systemd restarting itself: it asks again with the next watchdog interval
    }
  };
  const watchdogUs = Number(environment.watchdogUsec ?? 0);
  return {
    ready: () => send('READY=1'),
    reloading: () => send('RELOADING=1'),
    stopping: () => send('STOPPING=1'),
    status: (text) => send(`STATUS=${text}`),
    watchdogMs: environment.notifySocket && libc && watchdogUs > 0 ? watchdogUs / 2000 : null,
    pet: () => send('WATCHDOG=1'),
  };
}
