import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { createPenalties } from '../auth/penalties.ts';
import { createLogin } from '../auth/login.ts';
import type { FrontendServices } from '../core/frontend.ts';
import type { CertificateSettings, ExposeSettings, ListenSettings } from '../core/settings.ts';
import type { Caller, User } from '../core/user.ts';
import { Fault } from '../core/fault.ts';
import { createFrontends } from '../frontends/index.ts';
import { readIfChanged } from '../frontends/ssh/read-if-changed.ts';
import { loadLibc } from '../native/libc.ts';
import { connectPortAccess } from '../ports/link-client.ts';
import { openSession } from '../sessions/session.ts';
import type { LocalActions } from '../verbs/verb.ts';
import { VERBS } from '../verbs/index.ts';
import { runVerb } from '../verbs/run-verb.ts';
import { hangHere, type Failpoints } from './failpoints.ts';
import { packageVersion } from './package-files.ts';
import { postingJournal } from './journal.ts';
import { LogClient } from './log-client.ts';
import { connectCalls } from './rpc.ts';
import { StoreClient } from './store-client.ts';
import { BEAT_EVERY_MS } from './supervised-thread.ts';
import { SystemClock } from './system-clock.ts';
import { uidOfUnixUser } from './unix-users.ts';
import { userActions } from './user-actions.ts';

/** What the frontends serve; changes on reload. */
export interface FrontendsSetup {
  listen: ListenSettings;
  banner: string | null;
  ports: readonly { name: string; n: number; aliases: readonly string[] }[];
  exposes: readonly { port: string; settings: ExposeSettings }[];
  users: readonly User[];
  certificates: CertificateSettings;
}

export interface FrontendsThreadData {
  setup: FrontendsSetup;
  controlPath: string;
  keysDirectory: string;
  journal: { port: MessagePort; pending: Int32Array };
  /** The attach contract. */
  access: MessagePort;
  log: MessagePort;
  store: { port: MessagePort; control: SharedArrayBuffer };
  /** Calls to the daemon itself: reload. */
  daemon: MessagePort;
  beat: Int32Array;
  failpoints: Failpoints;
}

export type FrontendsThreadMessage =
  | { setup: FrontendsSetup }
  /** The reader thread was replaced: read the log there. */
  | { log: MessagePort }
  | { stop: true };

const data = workerData as FrontendsThreadData;
const journal = postingJournal(data.journal.port, data.journal.pending).child({
  room: 'frontends',
});
const clock = new SystemClock();
const libc = await loadLibc();
const log = new LogClient();
log.connect(data.log);
const access = connectPortAccess(data.access);
const store = new StoreClient(data.store.port, data.store.control);
const daemonCalls = connectCalls(data.daemon);
const daemon = { reload: (caller: Caller) => daemonCalls.call<string[]>('reload', caller) };
const login = createLogin(data.setup.users, {
  uidOf: uidOfUnixUser,
  ownUid: process.getuid?.() ?? 0,
  certificates: data.setup.certificates,
  readIfChanged,
  clock,
  journal,
});

/** What of the local shell's verbs a daemon can do for it; the rest runs in the shell's own process. */
function localActions(caller: Caller): LocalActions {
  const elsewhere = (): never => {
    throw new Fault('USAGE', 'this verb runs in the local shell, not in the daemon');
  };
  return {
    serve: elsewhere,
    demo: elsewhere,
    check: elsewhere,
    verify: elsewhere,
    signalReload: elsewhere,
    users: userActions({ change: (change) => daemonCalls.call('users', caller, change) }),
    lines: { discover: elsewhere, doctor: elsewhere, loopback: elsewhere },
  };
}

const services: FrontendServices = {
  access,
  log,
  login,
  runVerb: (caller, argv, io) =>
    runVerb(
      {
        caller,
        access,
        log,
        daemon,
        local: caller.frontend === 'control' ? localActions(caller) : null,
        io,
        preferences: login.preferences(caller.user),
        clock,
        journal,
      },
      argv,
    ),
  journal,
  clock,
  audit: (row) => store.audit(row),
};

const frontends = createFrontends({ ...data.setup, controlPath: data.controlPath }, services, {
  libc,
  version: packageVersion(),
  penalties: createPenalties(),
  openSession,
  isVerb: (word) => word === 'help' || VERBS.some((verb) => verb.name === word),
  keysDirectory: data.keysDirectory,
  timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
});

setInterval(() => {
  Atomics.add(data.beat, 0, 1);
  clock.anchor();
  hangHere(data.failpoints, 'frontends-hang');
}, BEAT_EVERY_MS);

parentPort!.on('message', (message: FrontendsThreadMessage) => {
  if ('setup' in message) {
    login.update(message.setup.users, message.setup.certificates);
    void frontends.update(message.setup);
  } else if ('log' in message) {
    log.connect(message.log);
  } else {
    void frontends.stop().finally(() => process.exit());
  }
});

await frontends.start();
parentPort!.postMessage({ ready: true });
