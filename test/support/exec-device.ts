/**
 * A command whose terminal the test holds by a unix socket (argv[2]): what the socket sends is
 * printed, and what is typed goes to the socket. It ends with the socket. Start it on a raw terminal.
 */
import net from 'node:net';
import tty from 'node:tty';

const terminal = new tty.ReadStream(0);
const socket = net.connect(process.argv[2]!);
socket.pipe(process.stdout);
terminal.pipe(socket);
socket.on('close', () => process.exit(Number(process.argv[3] ?? 0)));
