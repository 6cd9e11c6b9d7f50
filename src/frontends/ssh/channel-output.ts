import type { ServerChannel } from 'ssh2';
import type { ConnectionGuard, PrivateChannel } from './guards.ts';

/**
 * Writes to a channel, one piece at a time, in order over both of its streams, and only while the
 * client's window, the socket and the key exchange allow: at most one piece of 32 KiB is under way.
 */
export class ChannelOutput {
  readonly #channel: ServerChannel;
  readonly #guard: ConnectionGuard;
  #last: Promise<void> = Promise.resolve();
  #fail: ((reason: Error) => void) | null = null;
  #isClosed = false;

  constructor(channel: ServerChannel, guard: ConnectionGuard) {
    this.#channel = channel;
    this.#guard = guard;
    forgetWrittenChunks(channel);
    channel.on('error', () => this.close());
    channel.stderr.on('error', () => this.close());
  }

  /** Resolves when the channel took all of it. @rejects when the client left. */
  write(bytes: Uint8Array, to: 'stdout' | 'stderr' = 'stdout'): Promise<void> {
    const written = this.#last.then(() => this.#writeNow(bytes, to));
    this.#last = written.catch(() => undefined);
    return written;
  }

  /** Resolves when everything written so far was taken, or the client left. */
  flushed(): Promise<void> {
    return this.#last;
  }

  /** The client left: what is under way and what comes is refused. */
  close(): void {
    this.#isClosed = true;
    this.#fail?.(clientLeft());
  }

  async #writeNow(bytes: Uint8Array, to: 'stdout' | 'stderr'): Promise<void> {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      await this.#guard.room();
      if (this.#isClosed) throw clientLeft();
      const stream = to === 'stdout' ? this.#channel : this.#channel.stderr;
      await new Promise<void>((resolve, reject) => {
        this.#fail = reject;
        stream.write(bytes.subarray(at, at + PIECE_BYTES), (error) =>
          error ? reject(error) : resolve(),
        );
      });
      this.#fail = null;
    }
  }
}

const PIECE_BYTES = 32_768;

function clientLeft(): Error {
  return new Error('the client left');
}

interface PrivateOutput extends PrivateChannel {
  _chunk: unknown;
  _chunkcb: unknown;
  _chunkErr: unknown;
  _chunkcbErr: unknown;
  _write(bytes: Uint8Array, encoding: string, done: (error?: Error) => void): void;
  stderr: { _write(bytes: Uint8Array, encoding: string, done: (error?: Error) => void): void };
}

/**
 * ssh2 keeps what waited for the window after it was sent, and sends it once more when the other of
 * the channel's two streams has waited: forget it as soon as it is sent.
 */
function forgetWrittenChunks(serverChannel: ServerChannel): void {
  const channel = serverChannel as unknown as PrivateOutput;
  for (const stream of [channel, channel.stderr]) {
    const write = stream._write.bind(stream);
    stream._write = (bytes, encoding, done) => {
      write(bytes, encoding, (error) => {
        channel._chunk = channel._chunkcb = channel._chunkErr = channel._chunkcbErr = undefined;
        done(error);
      });
    };
  }
}
