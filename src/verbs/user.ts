import { Fault } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import { isPortName } from '../core/names.ts';
import { formatTable } from './table.ts';
import { TerminalLines } from './terminal-lines.ts';
import { flag, globalOptions, needLocal, text } from './verb.ts';
import type { ParsedVerb, UserActions, UserListing, Verb, VerbContext } from './verb.ts';

export const userVerb: Verb = {
  name: 'user',
  summary: 'adds, lists and removes users, and sets passwords',
  usage: 'add NAME | passwd NAME | remove NAME | list | hash',
  args: ['<action>', '[name]'],
  right: 'admin',
  where: 'local',
  needsDaemon: false,
  prefersDaemon: true,
  options: [
    { flags: '--role <role>', does: 'view, operator, admin or a role of the configuration' },
    { flags: '--ports <globs>', does: 'ports, comma-separated: db*,@rack3; none if not given' },
    { flags: '--key <key>', does: 'an OpenSSH public key, as in authorized_keys' },
    { flags: '--unix <name>', does: 'the Unix user who is this user in the local shell' },
    { flags: '--password-stdin', does: 'take the password from the first line of the input' },
    { flags: '--json', does: 'list: print one JSON array' },
  ],
  details: [
    'Users are kept in the state database; those of the configuration file win and are changed there.',
    'A password is asked for twice and not shown. "add" asks for one unless it was given a key.',
    '"hash" prints what belongs after "password:" in the configuration file.',
  ],
  examples: [
    {
      command: "fairlead user add bob --role operator --ports 'db*,@rack3'",
      does: 'asks for a password',
    },
    { command: 'fairlead user passwd bob', does: 'a new one' },
    { command: 'fairlead user hash', does: 'for a user of the configuration file' },
    { command: 'fairlead user list', does: 'all users, wherever they are kept' },
  ],
  async run(context, parsed) {
    const { users } = needLocal(context);
    const [action, name] = parsed.args as [string, string | undefined];
    const where = globalOptions(parsed);
    switch (action) {
      case 'add':
        await add(context, users, named(action, name), parsed);
        return 0;
      case 'passwd': {
        const user = named(action, name);
        await users.passwd(where, user, await newPassword(context.io, parsed, user));
        return 0;
      }
      case 'hash':
        await context.io.write(
          `${await users.hash(await newPassword(context.io, parsed, 'a user'))}\n`,
        );
        return 0;
      case 'remove':
        await users.remove(where, named(action, name));
        return 0;
      case 'list': {
        const listing = await users.list(where);
        const { io } = context;
        if (flag(parsed, 'json')) await io.write(`${JSON.stringify(listing, null, 2)}\n`);
        else if (listing.length === 0) await io.writeError('there are no users\n');
        else {
          await io.write(formatTable(COLUMNS, listing, io.isTerminal ? io.size().columns : null));
        }
        return 0;
      }
      default:
        throw new Fault('USAGE', `user: "${action}" is not add, passwd, remove, list or hash`);
    }
  },
};

const COLUMNS: Parameters<typeof formatTable<UserListing>>[0] = [
  { title: 'USER', of: (user) => user.name },
  { title: 'ROLE', of: (user) => user.role },
  { title: 'KEYS', of: (user) => user.keys || null, right: true },
  { title: 'PASSWORD', of: (user) => (user.hasPassword ? 'yes' : 'no') },
  { title: 'UNIX', of: (user) => user.unix, spare: 2 },
  { title: 'KEPT IN', of: (user) => user.source, spare: 1 },
  { title: 'FROM', of: (user) => user.from.join(',') || null, spare: 3 },
  { title: 'PORTS', of: (user) => user.ports.join(',') || null },
];

async function add(
  context: VerbContext,
  users: UserActions,
  name: string,
  parsed: ParsedVerb,
): Promise<void> {
  if (!isPortName(name)) {
    throw new Fault('USAGE', `"${name}" is not a name: letters, digits, . _ -, not all digits`);
  }
  const role = text(parsed, 'role');
  if (role === undefined) throw new Fault('USAGE', 'user add: --role is missing');
  const key = text(parsed, 'key');
  const asks = key === undefined || flag(parsed, 'passwordStdin');
  await users.add(globalOptions(parsed), {
    name,
    role,
    ports: (text(parsed, 'ports') ?? '').split(',').filter((glob) => glob !== ''),
    keys: key === undefined ? [] : [key],
    unix: text(parsed, 'unix') ?? null,
    password: asks ? await newPassword(context.io, parsed, name) : null,
  });
}

function named(action: string, name: string | undefined): string {
  if (name !== undefined) return name;
  throw new Fault('USAGE', `user ${action}: the user's name is missing`);
}

async function newPassword(io: VerbIo, parsed: ParsedVerb, user: string): Promise<string> {
  const fromInput = flag(parsed, 'passwordStdin');
  if (!fromInput && !io.isTerminal) {
    throw new Fault('USAGE', 'no terminal to ask for a password on; use --password-stdin');
  }
  const lines = new TerminalLines(io, {
    raw: !fromInput,
    echo: false,
    bytesMax: PASSWORD_BYTES_MAX,
  });
  try {
    if (!fromInput) await io.writeError(`New password for ${user}: `);
    const password = given(await lines.next());
    if (password === '') throw new Fault('USAGE', 'an empty password is no password');
    if (fromInput) return password;
    await io.writeError('\r\nAgain: ');
    const again = given(await lines.next());
    await io.writeError('\r\n');
    if (again !== password)
      throw new Fault('USAGE', 'the two passwords differ; nothing was changed');
    return password;
  } finally {
    lines.close();
  }
}

/** @throws Fault USAGE when there was no line. */
function given(line: string | null): string {
  if (line !== null) return line;
  throw new Fault('USAGE', 'no password: interrupted, or the input ended');
}

const PASSWORD_BYTES_MAX = 1024;
