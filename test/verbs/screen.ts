import xterm from '@xterm/headless';
import type { FakeIo } from './fakes.ts';

/** What a terminal of that size shows after all that was written to it. */
export class Screen {
  readonly #terminal: xterm.Terminal;
  readonly #io: FakeIo;
  #fed = 0;

  constructor(io: FakeIo) {
    this.#io = io;
    const { columns, rows } = io.size();
    this.#terminal = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true });
  }

  /** Rows without spaces at their ends. */
  async rows(): Promise<string[]> {
    await this.#feed();
    const { active } = this.#terminal.buffer;
    return Array.from({ length: this.#terminal.rows }, (_, index) =>
      active
        .getLine(active.baseY + index)!
        .translateToString(true)
        .trimEnd(),
    );
  }

  /** The row drawn in reverse; null: none. */
  async reversed(): Promise<string | null> {
    const rows = await this.rows();
    const { active } = this.#terminal.buffer;
    const index = rows.findIndex(
      (_, row) =>
        active
          .getLine(active.baseY + row)!
          .getCell(0)!
          .isInverse() !== 0,
    );
    return rows[index] ?? null;
  }

  /** Which of its two screens it shows. */
  async buffer(): Promise<'normal' | 'alternate'> {
    await this.#feed();
    return this.#terminal.buffer.active.type;
  }

  /** Resolves once the rows are so. */
  async until(holds: (rows: string[]) => boolean): Promise<string[]> {
    for (;;) {
      const rows = await this.rows();
      if (holds(rows)) return rows;
      await this.#io.when(() => this.#io.bytes.length > this.#fed);
    }
  }

  resize(columns: number, rows: number): void {
    this.#terminal.resize(columns, rows);
  }

  async #feed(): Promise<void> {
    const fresh = this.#io.bytes.subarray(this.#fed);
    this.#fed += fresh.length;
    await new Promise<void>((resolve) => this.#terminal.write(fresh, resolve));
  }
}
