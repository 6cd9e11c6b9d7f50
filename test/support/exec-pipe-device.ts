/**
 * A command on pipes whose line the test holds by a unix socket (argv[2]): what the socket sends is
 * printed, and what comes on standard input goes to the socket. It ends with the socket.
 */
import net from 'node:net';

const socket = net.connect(process.argv[2]!);
socket.pipe(process.stdout);
process.stdin.pipe(socket);
socket.on('close', () => process.exit(0));
