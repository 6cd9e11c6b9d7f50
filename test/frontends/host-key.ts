import ssh2 from 'ssh2';

/** A host key, OpenSSH's form. Of those that ssh2 makes it cannot read one in some 270 itself. */
export function makeHostKey(): string {
  for (;;) {
    const key = ssh2.utils.generateKeyPairSync('ed25519').private;
    if (!(ssh2.utils.parseKey(key) instanceof Error)) return key;
  }
}
