/**
 * A terminal server to be killed: `count` TCP ports from `base` on, each of which greets and echoes.
 * Prints a line for each connection: the number of its port.
 */
import net from 'node:net';

const [base, count, life] = process.argv.slice(2) as [string, string, string];
let listening = 0;
for (let index = 0; index < Number(count); index++) {
  const server = net.createServer((socket) => {
    process.stdout.write(`${index}\n`);
    socket.on('error', () => undefined);
    socket.write(`life ${life} of line ${index}\r\n`);
    socket.pipe(socket);
  });
  server.listen(Number(base) + index, '127.0.0.1', () => {
    if (++listening === Number(count)) process.stdout.write('listening\n');
  });
}
