import * as z from 'zod';
import { NAME_PATTERN } from '../core/names.ts';
import { RIGHTS } from '../core/user.ts';
import { listenSchema } from './listen-schema.ts';
import { autoPortsSchema, defaultsSchema, portSchema, profileSchema } from './port-schema.ts';
import {
  duration,
  inWords,
  listOf,
  map,
  oneOf,
  orNone,
  orWrong,
  path,
  prose,
  textOrNumber,
} from './shapes.ts';
import { breaks, tasks } from './step-schema.ts';
import { parseSizeBytes } from './units.ts';
import { certificatesSchema, roleSchema, userSchema } from './user-schema.ts';

const markExpected = 'a duration from 1s to 7d, such as 1h, or none';
const markMax = 7 * 86_400_000;
export const markSchema = orNone(duration(1_000, markMax, markExpected), markExpected);

const spoolMin = 1_048_576;
const spoolMax = 1_073_741_824;
export const logSchema = map(
  'a map with codec and spool',
  {
    codec: oneOf('brotli', 'zstd')
      .default('brotli')
      .describe(
        'Compression of sealed segments. `zstd` needs Node 22.15 or later to write and read.',
      ),
    spool: textOrNumber('a size from 1M to 1G, such as 32M', (given) => {
      const bytes = parseSizeBytes(given);
      return orWrong(bytes !== null && bytes >= spoolMin && bytes <= spoolMax ? bytes : null);
    })
      .prefault('32M')
      .describe('Size of the spool that keeps what is not committed yet, in /run/fairlead.'),
  },
  ['retention', 'syslog'],
);

export const dataSchema = path;
export const includeSchema = listOf(path, 'a list of paths, such as [ports.d/*.yaml]');

const sharedSections = {
  include: includeSchema
    .prefault([])
    .describe(
      'More files with `ports`, `profiles` and `users`: paths or patterns, relative to this file.',
    ),
  users: z
    .record(z.string().regex(NAME_PATTERN), userSchema, { error: () => 'a map of users' })
    .prefault({})
    .describe('Who may come in.'),
  profiles: z
    .record(z.string().regex(NAME_PATTERN), profileSchema, { error: () => 'a map of profiles' })
    .prefault({})
    .describe('Port settings by name, for `profile` of a port.'),
  ports: z
    .record(z.string().regex(NAME_PATTERN), portSchema, { error: () => 'a map of ports' })
    .prefault({})
    .describe(
      'The ports by name. The keys `device` to `sim` are backends: each port has exactly one.',
    ),
};

/** What an included file may hold. */
export const includedFileSchema = map('a map of ports, profiles and users', sharedSections);

export const fileSchema = map('a map with ports, users and listen', {
  data: dataSchema
    .prefault('/var/lib/fairlead')
    .describe('Directory of the database, the log and the keys.'),
  include: sharedSections.include,
  banner: prose
    .prefault('none')
    .describe('Said before login, where the protocol has a place for it.'),
  motd: prose.prefault('none').describe('Message of the day, shown to people on attach.'),
  listen: listenSchema.prefault({}).describe('Ways in. All bind loopback until told otherwise.'),
  users: sharedSections.users,
  certificates: certificatesSchema
    .prefault({})
    .describe('OpenSSH user certificates: who signs them, and which are void.'),
  roles: z
    .record(z.string().regex(NAME_PATTERN), roleSchema, { error: () => 'a map of roles' })
    .prefault({})
    .describe(`Own roles: a list of rights each, of ${inWords(RIGHTS)}.`),
  tasks: tasks.prefault({}).describe('Tasks of all ports.'),
  breaks: breaks.prefault({}).describe('The break list of all ports.'),
  profiles: sharedSections.profiles,
  defaults: defaultsSchema
    .prefault({})
    .describe('Settings of every port whose profile and own keys say nothing else.'),
  ports: sharedSections.ports,
  autoPorts: autoPortsSchema
    .prefault([])
    .describe('Ports made by themselves for UDP sources that none of the ports claims.'),
  mark: markSchema.prefault('none').describe('Interval of MARK records, such as 1h.'),
  log: logSchema.prefault({}).describe('How the log is kept.'),
});
