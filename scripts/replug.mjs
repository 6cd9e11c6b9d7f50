/** `npm run test:replug [-- COUNT]`: installs and builds if need be, then replugs adapters in a guest. */
import { join } from 'node:path';
import { prepare, root, run } from './prepare.mjs';

prepare();
const loop = join(root, 'dist', 'test', 'e2e', 'replug-loop.js');
process.exitCode = run(process.execPath, [loop, ...process.argv.slice(2)]) ? 0 : 1;
