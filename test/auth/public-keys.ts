/** Public keys made for the tests; the private halves were thrown away. */
export const ED25519_KEY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIESDBlzN9iaOq31q5mAA0b8DeTSjqyIl8btEvO7JDhC4';
/** As `ssh-keygen -l` prints it. */
export const ED25519_FINGERPRINT = 'SHA256:Mbye8Y5fn6RanW11UDRYh6oxJjASgKIp7tUcJK5VeSo';
export const RSA_KEY =
  'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDleX8ePZtJN887GUcGcwBKL/p2/rcSkwCjKSSqHTz3J9ZcOpmuLvnRjEQ/AMnY2W67tlq3Z4iYsVILUwaXN0r47RK/PxNr37SY3mmvAcfJPWbbgqKaaSUrRik2eLu2t/+AOItLDpKKUv0eAj5Dx/eXZs++HXBTO3Nh+KvQNjUAJ3855uatyPTmbCucWFdy8EhmU8yBsoIlQhMMk7W1G/skOvujyKxOYCRcAHhXZvGgIP125taPFnDEbtCioYWRJl/HkE2fMGYtb8uprcLJxfki3JPBLuZkagr10upuKjaoaFMhtxXOR+AAvDQcNTcAybTyk2FoXxJcqtgTNZjJJgRz';
export const RSA_1024_KEY =
  'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC9DPEEgPJOWYDxt0hfwh7tqtggrZHscIJv5H1MMqdwvurwwZMLoTj/OG9Nq0WhA/ecn/IQ2Kk9B/qll6U/t0D3mPZjKcdGwFWMy1IGi8Ld6MMH3ndT3nvNkaCyLuTYYmDAYdfK0bKunJVAkV3Njw0dwAU6eMJ6+R60RqywG4XCEQ==';
export const ECDSA_KEY =
  'ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBIEq8IkDkkMJ6x0TjyyA49icXaO+JUSGu1wp9rT73Fe2xCJFctLoHplRNYLWPLNQbai44zI6Sw+hjH5dkhxnFpM=';
