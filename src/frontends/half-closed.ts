import type { Socket } from 'node:net';

/**
 * Closes a connection whose other side sends no more, once that side is found to be gone. TCP says the
 * same of a client that still listens and of one that left, until something is sent to it. Then one
 * that left answers with a reset; but after the end of input libuv looks at a socket no more, so that
 * only who writes hears of it. Writing nothing will do: Linux answers EPIPE. With keep-alive probes
 * every 30 s a client that left is found out within 100 s, or soon after data was sent.
 * @param socket The plain one also under TLS, which does not pass on to write nothing.
 */
export function watchHalfClosed(socket: Socket, everyMs = LOOK_MS): void {
  let isLooking = false;
  const timer = setInterval(() => {
    if (!socket.writable) return clearInterval(timer);
    if (isLooking) return; // behind data that it does not read
    isLooking = true;
    socket.write(NOTHING, () => (isLooking = false));
  }, everyMs);
  socket.once('close', () => clearInterval(timer));
}

const LOOK_MS = 2_000;
const NOTHING = new Uint8Array(0);
