/** `npm run bench [-- ROW... --quick --peers --write]`: installs and builds if need be, then measures. */
import { join } from 'node:path';
import { prepare, root, run } from './prepare.mjs';

prepare();
const main = join(root, 'dist', 'test', 'bench', 'main.js');
process.exitCode = run(process.execPath, [main, ...process.argv.slice(2)]) ? 0 : 1;
