import { attachVerb } from './attach.ts';
import { checkVerb, demoVerb, reloadVerb, serveVerb, verifyVerb } from './daemon.ts';
import { lineVerb } from './line.ts';
import { logVerb } from './log.ts';
import { kickVerb, messageVerb, whoVerb } from './people.ts';
import { portsVerb } from './ports.ts';
import { replayVerb } from './replay.ts';
import { sendVerb } from './send.ts';
import { userVerb } from './user.ts';
import type { Verb } from './verb.ts';

/** The one table of verbs, in the order of help. */
export const VERBS: readonly Verb[] = [
  serveVerb,
  demoVerb,
  portsVerb,
  attachVerb,
  logVerb,
  replayVerb,
  sendVerb,
  lineVerb,
  whoVerb,
  kickVerb,
  messageVerb,
  checkVerb,
  reloadVerb,
  userVerb,
  verifyVerb,
];
