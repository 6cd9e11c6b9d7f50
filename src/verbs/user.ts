import { Fault } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import { isPortName } from '../core/names.ts';
import { formatTable } from './table.ts';
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
  const lines = new HiddenLines(io, !fromInput);
  try {
    if (!fromInput) await io.writeError(`New password for ${user}: `);
    const password = await lines.next();
    if (password === '') throw new Fault('USAGE', 'an empty password is no password');
    if (fromInput) return password;
    await io.writeError('\r\nAgain: ');
    const again = await lines.next();
    await io.writeError('\r\n');
    if (again !== password)
      throw new Fault('USAGE', 'the two passwords differ; nothing was changed');
    return password;
  } finally {
    lines.close();
  }
}

/** Lines of input that are not shown: raw mode has no echo, so what edits a line is done here. */
class HiddenLines {
  readonly #io: VerbIo;
  readonly #waiting: string[] = [];
  #bytes: number[] = [];
  #take: { resolve(line: string): void; reject(why: Error): void } | null = null;
  #failure: Error | null = null;
  #lastWasCr = false;

  constructor(io: VerbIo, raw: boolean) {
    this.#io = io;
    io.onInput((bytes) => this.#input(bytes, raw), raw);
    io.signal.addEventListener('abort', () => this.#fail('interrupted'), { once: true });
  }

  next(): Promise<string> {
    return new Promise((resolve, reject) => {
      const line = this.#waiting.shift();
      if (line !== undefined) resolve(line);
      else if (this.#failure) reject(this.#failure);
      else this.#take = { resolve, reject };
    });
  }

  close(): void {
    this.#io.onInput(null, false);
  }

  #input(bytes: Uint8Array | null, raw: boolean): void {
    if (bytes === null) {
      if (this.#bytes.length > 0) this.#end();
      return this.#fail('the input ended');
    }
    for (const byte of bytes) {
      const isSecondOfPair = byte === LF && this.#lastWasCr;
      this.#lastWasCr = byte === CR;
      if (isSecondOfPair) continue;
      if (byte === CR || byte === LF) this.#end();
      else if (raw && (byte === CTRL_C || byte === CTRL_D)) this.#fail('interrupted');
      else if (raw && (byte === BACKSPACE || byte === DELETE)) this.#erase();
      else if (raw && byte === CTRL_U) this.#bytes = [];
      else if (this.#bytes.length < PASSWORD_BYTES_MAX) this.#bytes.push(byte);
    }
  }

  /** The last character, which may be several bytes of UTF-8. */
  #erase(): void {
    let byte = this.#bytes.pop();
    while (byte !== undefined && (byte & 0xc0) === 0x80) byte = this.#bytes.pop();
  }

  #end(): void {
    const line = Buffer.from(this.#bytes).toString('utf8');
    this.#bytes = [];
    if (this.#take) this.#take.resolve(line);
    else this.#waiting.push(line);
    this.#take = null;
  }

  #fail(why: string): void {
    this.#failure ??= new Fault('USAGE', `no password: ${why}`);
    this.#take?.reject(this.#failure);
    this.#take = null;
  }
}

const PASSWORD_BYTES_MAX = 1024;
const CR = 0x0d;
const LF = 0x0a;
const CTRL_C = 0x03;
const CTRL_D = 0x04;
const CTRL_U = 0x15;
const BACKSPACE = 0x08;
const DELETE = 0x7f;
