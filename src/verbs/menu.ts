import { EXIT, Fault } from '../core/fault.ts';
import type { PortStatus } from '../core/port-status.ts';
import { attachTo } from './attach.ts';
import { overview } from './help.ts';
import { lastLineOf } from './last-line.ts';
import type { LastLine } from './last-line.ts';
import { MENU_START, chosenPort, drawMenu, pressKey, scrolled, visiblePorts } from './menu-list.ts';
import type { MenuKey, MenuState } from './menu-list.ts';
import { portsVerb } from './ports.ts';
import { needAccess } from './verb.ts';
import type { Verb, VerbContext } from './verb.ts';

/** `verbs`: the table, for its help. */
export function menuVerbOf(verbs: () => readonly Verb[]): Verb {
  return {
    name: 'menu',
    summary: 'a list of the ports to choose from: state, who writes, what was said last',
    usage: '',
    args: [],
    right: 'view',
    where: 'anywhere',
    needsDaemon: true,
    options: [],
    details: [
      'This is what "ssh user@host" shows. Arrows move, typing filters, TAB completes, Enter attaches',
      '(^Ec. comes back), ^T is for only looking, ? shows help, ^C leaves. Without a terminal it prints',
      'what "ports" does.',
    ],
    examples: [{ command: 'fairlead menu', does: 'on a terminal' }],
    async run(context) {
      const { io } = context;
      needAccess(context);
      if (io.isTerminal) {
        const others = overview(verbs(), false).split('\n');
        await new Menu(context, ['Elsewhere, e.g. "ssh user@host log db1":', '', ...others]).run();
        return EXIT.ok;
      }
      const code = await portsVerb.run(context, { args: [], options: {} });
      await io.writeError('for a menu use a terminal (ssh -t); for one port: "attach PORT"\n');
      return code;
    },
  };
}

/** Input to keys; `null` is the end of the input. A key that came in part waits for the rest. */
export class MenuKeys {
  readonly #press: (key: MenuKey) => void;
  #held = '';
  #escape: NodeJS.Timeout | undefined;

  constructor(press: (key: MenuKey) => void) {
    this.#press = press;
  }

  hear(bytes: Uint8Array | null): void {
    clearTimeout(this.#escape);
    if (bytes === null) return this.#press({ press: 'leave' });
    const typed = this.#held + Buffer.from(bytes).toString('latin1');
    this.#held = PARTIAL_KEY.exec(typed)?.[0] ?? '';
    if (this.#held.length > KEY_BYTES_MAX) this.#held = '';
    for (const [text] of typed.slice(0, typed.length - this.#held.length).matchAll(KEY)) {
      const key = keyOf(text);
      if (key) this.#press(key);
    }
    if (this.#held === '') return;
    this.#escape = setTimeout(() => {
      const isEscape = this.#held === '\x1b';
      this.#held = '';
      if (isEscape) this.#press({ press: 'escape' });
    }, LONE_ESCAPE_MS);
  }

  stop(): void {
    clearTimeout(this.#escape);
    this.#held = '';
  }
}

/** A lone ESC is the key of that name when nothing follows in this time. */
const LONE_ESCAPE_MS = 100;
const KEY_BYTES_MAX = 32;
/** A control sequence (ECMA-48), SS3, ESC and a character (ALT), printable text, or one byte. */
const KEY = /\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[A-Z]|\x1b[^[O]|[!-~]+|[\s\S]/g;
const PARTIAL_KEY = /\x1b(?:O|\[[0-?]*[ -/]*)?$/;

const KEYS: Readonly<Record<string, Exclude<MenuKey['press'], 'text'>>> = {
  '\x1b[A': 'up',
  '\x1b[B': 'down',
  '\x10': 'up', // ^P, ^N
  '\x0e': 'down',
  '\x1b[5~': 'page-up',
  '\x1b[6~': 'page-down',
  '\x1b[H': 'home',
  '\x1b[1~': 'home',
  '\x1b[7~': 'home',
  '\x1b[F': 'end',
  '\x1b[4~': 'end',
  '\x1b[8~': 'end',
  '\r': 'enter',
  '\n': 'enter',
  '\t': 'tab',
  '\x7f': 'erase',
  '\b': 'erase',
  '\x15': 'erase-all',
  '\x03': 'leave',
  '\x04': 'leave',
  '\x14': 'toggle-view',
  '\x12': 'refresh',
  '\x0c': 'redraw',
};

function keyOf(text: string): MenuKey | null {
  const press = KEYS[text.replace(/^\x1bO/, '\x1b[')];
  if (press) return { press };
  return /^[ -~]/.test(text) ? { press: 'text', text } : null;
}

const REFRESH_MS = 1_000;
const REFRESH_MS_MAX = 15_000;
/** The rack is asked no more than this part of the time, however large it is. */
const REFRESH_SHARE = 20;

const ENTER_SCREEN = '\x1b[?1049h\x1b[?25l\x1b[0m\x1b[2J';
const LEAVE_SCREEN = '\x1b[0m\x1b[?25h\x1b[?1049l';

/** The menu on a terminal, until its user leaves. */
class Menu {
  readonly #context: VerbContext;
  readonly #help: readonly string[];
  readonly #keys: MenuKeys;
  #state: MenuState = MENU_START;
  readonly #lastLines = new Map<string, LastLine>();
  /** What the terminal shows; null: nothing known. */
  #drawn: { columns: number; rows: string[] } | null = null;
  #isDrawing = false;
  #mustDraw = false;
  /** Ends the choosing; null while a session has the terminal. */
  #choose: ((chosen: PortStatus | null) => void) | null = null;
  #fail: (error: unknown) => void = () => {};
  #wakeRefresh: () => void = () => {};

  constructor(context: VerbContext, help: readonly string[]) {
    this.#context = context;
    this.#help = help;
    this.#keys = new MenuKeys((key) => this.#press(key));
    context.io.onResize(() => {
      this.#drawn = null;
      this.#draw();
    });
  }

  /** @throws when the terminal cannot be written to. */
  async run(): Promise<void> {
    for (;;) {
      const port = await this.#chosen();
      if (port === null) return;
      const mode = this.#state.isViewOnly ? 'view' : 'write';
      let status: string | null = null;
      try {
        const why = await attachTo(this.#context, { port: port.name, mode, from: 'screen' });
        if (why !== null) status = `${port.name}: ${why}`;
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        status = error.message;
      }
      this.#state = { ...this.#state, status };
    }
  }

  /** Shows the list; resolves with the port to attach to, null to leave. */
  async #chosen(): Promise<PortStatus | null> {
    const { io } = this.#context;
    if (io.signal.aborted) return null;
    const over = new AbortController();
    const leave = (): void => this.#choose?.(null);
    try {
      await io.write(Buffer.from(ENTER_SCREEN));
      this.#drawn = null;
      const chosen = new Promise<PortStatus | null>((resolve, reject) => {
        this.#choose = resolve;
        this.#fail = reject;
      });
      io.signal.addEventListener('abort', leave);
      if (io.signal.aborted) leave();
      io.onInput((bytes) => this.#keys.hear(bytes), true);
      if (this.#state.ports.length > 0) this.#draw(); // else once it is known what there is
      void this.#refreshing(over.signal);
      return await chosen;
    } finally {
      over.abort();
      this.#choose = null;
      this.#wakeRefresh();
      this.#keys.stop();
      io.signal.removeEventListener('abort', leave);
      io.onInput(null, false);
      await io.write(Buffer.from(LEAVE_SCREEN)).catch(() => {}); // a reader that left needs none
    }
  }

  #press(key: MenuKey): void {
    if (!this.#choose) return;
    const { state, effect } = pressKey(this.#state, key, this.#context.io.size());
    this.#state = state;
    switch (effect) {
      case 'leave':
        return this.#choose(null);
      case 'attach':
        return this.#choose(chosenPort(state));
      case 'redraw':
        this.#drawn = null;
        break;
      case 'refresh':
        this.#wakeRefresh();
        break;
      case null:
    }
    this.#draw();
  }

  /** Keeps the list true; never rejects. */
  async #refreshing(over: AbortSignal): Promise<void> {
    while (!over.aborted) {
      const startedMs = performance.now();
      await this.#refreshPorts();
      const tookMs = performance.now() - startedMs;
      await this.#refreshLastLines(over);
      if (over.aborted) return;
      const forMs = Math.min(REFRESH_MS_MAX, Math.max(REFRESH_MS, REFRESH_SHARE * tookMs));
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wakeRefresh = resolve;
        timer = setTimeout(resolve, forMs);
      });
      clearTimeout(timer);
    }
  }

  async #refreshPorts(): Promise<void> {
    try {
      const ports = await needAccess(this.#context).ports(this.#context.caller);
      this.#state = { ...this.#state, ports };
      const uuids = new Set(ports.map(({ uuid }) => uuid));
      for (const uuid of this.#lastLines.keys()) {
        if (!uuids.has(uuid)) this.#lastLines.delete(uuid);
      }
    } catch (error) {
      const status = error instanceof Error ? error.message : String(error);
      this.#state = { ...this.#state, status };
    }
    this.#draw();
  }

  /** Of the rows in sight only, one after the other, and only where something was said since. */
  async #refreshLastLines(over: AbortSignal): Promise<void> {
    const { log, caller, io } = this.#context;
    if (log === null) return;
    for (const { uuid, epoch, offset } of visiblePorts(this.#state, io.size())) {
      const known = this.#lastLines.get(uuid);
      if (known?.epoch === epoch && known.offset === offset) continue;
      try {
        this.#lastLines.set(uuid, await lastLineOf(log, caller, uuid));
      } catch {
        continue; // nothing logged yet, or the log is being opened anew: the row does without
      }
      if (over.aborted) return;
    }
    const lines = [...this.#lastLines].map(([uuid, { text }]) => [uuid, text] as const);
    this.#state = { ...this.#state, lastLines: new Map(lines) };
    this.#draw();
  }

  /** Brings the terminal up to date; one picture is under way at a time. */
  #draw(): void {
    if (!this.#choose) return;
    this.#state = scrolled(this.#state, this.#context.io.size(), this.#help);
    this.#mustDraw = true;
    if (!this.#isDrawing) void this.#drawAll();
  }

  async #drawAll(): Promise<void> {
    const { io, clock } = this.#context;
    this.#isDrawing = true;
    try {
      while (this.#mustDraw && this.#choose) {
        this.#mustDraw = false;
        const size = io.size();
        const rows = drawMenu(this.#state, size, clock.nowUs(), this.#help);
        const before = this.#drawn;
        this.#drawn = { columns: size.columns, rows };
        const output = difference(before, this.#drawn);
        if (output !== '') await io.write(Buffer.from(output));
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isDrawing = false;
    }
  }
}

/** What changes one picture into the other. */
function difference(
  before: { columns: number; rows: string[] } | null,
  now: { columns: number; rows: string[] },
): string {
  const isAnew = before?.columns !== now.columns || before.rows.length !== now.rows.length;
  const changed = now.rows.flatMap((text, index) =>
    !isAnew && before.rows[index] === text ? [] : [`\x1b[${index + 1};1H${text}\x1b[K`],
  );
  return (isAnew ? '\x1b[2J' : '') + changed.join('');
}
