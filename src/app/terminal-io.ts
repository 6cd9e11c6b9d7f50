import type { VerbIo } from '../core/frontend.ts';

/** This process's own terminal, as the shell gave it to us. */
export interface LocalTerminal {
  stdin: NodeJS.ReadStream;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
  signals: NodeJS.EventEmitter;
  timeZone: string;
  /** The user's own shell; absent: the one of their account. */
  shell?: string | undefined;
}

/** VerbIo for a verb that runs in this process. `close` puts the terminal back. */
export function terminalIo(terminal: LocalTerminal): VerbIo & { close(): void } {
  const { stdin, stdout, stderr } = terminal;
  const gone = new AbortController();
  let stopInput: () => void = () => undefined;
  const interrupt = (): void => gone.abort();
  const leave = (): void => stopInput();
  terminal.signals.on('SIGINT', interrupt);
  terminal.signals.on('SIGHUP', interrupt);
  terminal.signals.on('exit', leave);
  for (const stream of [stdout, stderr]) stream.on('error', interrupt); // EPIPE: the reader left

  return {
    write: (output) => written(stdout, output),
    writeError: (text) => written(stderr, text),
    isTerminal: stdout.isTTY === true,
    size: () => ({ columns: stdout.columns ?? 80, rows: stdout.rows ?? 24 }),
    onResize: (listener) => void stdout.on('resize', listener),
    onInput(listener, raw) {
      stopInput();
      if (!listener) return;
      const isRaw = raw && stdin.isTTY === true;
      if (isRaw) stdin.setRawMode(true);
      const hear = (bytes: Buffer | null): void => {
        stdin.pause();
        void Promise.resolve(listener(bytes)).then(() => {
          if (bytes !== null && stopInput === stop) stdin.resume();
        });
      };
      const end = (): void => hear(null);
      const stop = (): void => {
        stdin.off('data', hear);
        stdin.off('end', end);
        stdin.pause();
        if (isRaw) stdin.setRawMode(false);
        stopInput = () => undefined;
      };
      stopInput = stop;
      stdin.on('data', hear);
      stdin.on('end', end);
      stdin.resume();
    },
    signal: gone.signal,
    timeZone: terminal.timeZone,
    close() {
      stopInput();
      terminal.signals.off('SIGINT', interrupt);
      terminal.signals.off('SIGHUP', interrupt);
      terminal.signals.off('exit', leave);
    },
  };
}

function written(stream: NodeJS.WriteStream, output: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(output, (error) => (error ? reject(error) : resolve()));
  });
}
