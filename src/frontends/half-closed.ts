import type { Socket } from 'node:net';

/**
 * Closes a connection whose other side sends no more, once that side is found to be gone. TCP says the
 * same of a client that still listens and of one that left, until something is sent to it. Then one
 * that left answers with a reset; but after the end of input libuv looks at a socket no more, so that
 * only who writes hears of it. Writing nothing will do: Linux answers EPIPE. With keep-alive probes
 * every 30 s a client that left is found out within 100 s (Linux answers them for it for 60 s,
 * tcp_fin_timeout), or soon after data was sent.
 * @param socket The plain one also under TLS, which does not pass on to write nothing.
 */
export function watchHalfClosed(socket: Socket): void {
  let waitMs = LOOK_MIN_MS;
  let isLooking = false;
  let timer = setTimeout(look, waitMs);
  socket.once('close', () => clearTimeout(timer));

  function look(): void {
    if (!socket.writable) return;
    // Not behind data that it does not read: these would pile up.
    if (!isLooking) {
      isLooking = true;
      socket.write(NOTHING, () => (isLooking = false));
    }
    waitMs = Math.min(2 * waitMs, LOOK_MAX_MS);
    timer = setTimeout(look, waitMs);
  }
}

const LOOK_MIN_MS = 50;
const LOOK_MAX_MS = 5_000;
const NOTHING = new Uint8Array(0);
