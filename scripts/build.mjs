/** `npm run build`: compiles src and test into dist. */
import { build } from './prepare.mjs';

build({ force: true });
