import { attachVerb } from './attach.ts';
import { completeVerbOf, completionVerb } from './complete.ts';
import { downVerb, powerVerb, resetVerb, signalsVerb, taskVerb, upVerb } from './control.ts';
import { checkVerb, demoVerb, reloadVerb, serveVerb, verifyVerb } from './daemon.ts';
import { discoverVerb } from './discover.ts';
import { doctorVerb } from './doctor.ts';
import { lineVerb } from './line.ts';
import { logVerb } from './log.ts';
import { menuVerbOf } from './menu.ts';
import { kickVerb, markVerb, messageVerb, whoVerb } from './people.ts';
import { portsVerb } from './ports.ts';
import { replayVerb } from './replay.ts';
import { sendVerb } from './send.ts';
import { userVerb } from './user.ts';
import type { Verb } from './verb.ts';
import { watchVerb } from './watch.ts';

/** The one table of verbs, in the order of help. */
export const VERBS: readonly Verb[] = [
  serveVerb,
  demoVerb,
  portsVerb,
  menuVerbOf(() => VERBS),
  attachVerb,
  watchVerb,
  logVerb,
  replayVerb,
  sendVerb,
  taskVerb,
  resetVerb,
  powerVerb,
  lineVerb,
  signalsVerb,
  downVerb,
  upVerb,
  markVerb,
  whoVerb,
  kickVerb,
  messageVerb,
  checkVerb,
  discoverVerb,
  doctorVerb,
  reloadVerb,
  userVerb,
  verifyVerb,
  completeVerbOf(() => VERBS),
  completionVerb,
];
