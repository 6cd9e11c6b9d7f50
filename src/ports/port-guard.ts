import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { AuditRow } from '../core/store.ts';
import type { Authorizer, Caller, PortIdentity, Right } from '../core/user.ts';
import type { Timers } from './timers.ts';

export interface GuardServices {
  readonly authorizer: Authorizer;
  readonly audit: (row: AuditRow) => void;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** A refusal is audited once in this time for a user and action: a flood must not fill the audit. */
const DENIED_INTERVAL_MS = 10_000;
const DENIED_ENTRIES_MAX = 1_000;

/** Rights on one port, and its part of the audit trail: what was done, and what was refused. */
export class PortGuard {
  readonly #services: GuardServices;
  readonly #identity: () => PortIdentity;
  /** By user and action, oldest first. */
  readonly #deniedAtMs = new Map<string, number>();

  /** `identity` is that of the port, now. */
  constructor(services: GuardServices, identity: () => PortIdentity) {
    this.#services = services;
    this.#identity = identity;
  }

  allows(user: string, right: Right): boolean {
    return this.#services.authorizer.allows(user, right, this.#identity());
  }

  /** For something that was asked for by name. @throws Fault DENIED; the refusal is audited. */
  authorize(caller: Caller, right: Right, action: string): void {
    try {
      this.#services.authorizer.authorize(caller.user, right, this.#identity());
    } catch (error) {
      if (error instanceof Fault && error.code === 'DENIED') this.#denied(caller, right, action);
      throw error;
    }
  }

  audit(caller: Caller, action: string, detail: string): void {
    const { user, remote, frontend } = caller;
    const atUs = this.#services.clock.nowUs();
    const port = this.#identity().name;
    this.#services.audit({ atUs, user, remote, frontend, action, port, detail });
  }

  #denied(caller: Caller, right: Right, action: string): void {
    const nowMs = this.#services.timers.nowMs();
    const key = `${caller.user}\n${action}`;
    const beforeMs = this.#deniedAtMs.get(key);
    if (beforeMs !== undefined && nowMs - beforeMs < DENIED_INTERVAL_MS) return;
    this.#deniedAtMs.delete(key);
    for (const oldest of this.#deniedAtMs.keys()) {
      if (this.#deniedAtMs.size < DENIED_ENTRIES_MAX) break;
      this.#deniedAtMs.delete(oldest);
    }
    this.#deniedAtMs.set(key, nowMs);
    this.audit(caller, 'denied', `${action}: right "${right}" is missing`);
  }
}
