import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { loadConfig } from '../../src/config/load.ts';
import { Fault } from '../../src/core/fault.ts';
import { ED25519_KEY, RSA_1024_KEY } from '../auth/public-keys.ts';
import { inMemory, problemsOf } from './support.ts';

const BACKENDS = 'device, match, tcp, telnet, rfc2217, unix, exec, pty, udp, split, sim';
const OPTIONS =
  'line, flow, signals, rs485, input, latency, writers, group, pace, restoreLine, onOpen, onDetach, idle, idleTimeout, motd, reset, tasks';
const PORT_KEYS = `n, aliases, was, profile, ${BACKENDS}, tls, ${OPTIONS}, breaks, power or expose`;
const LISTEN_KEYS = 'ssh, port-ssh, telnet, raw or caps';
const LINE = 'baud, data bits 5-8, parity N/O/E/M/S and stop bits 1/1.5/2, as in "115200 8N1"';
const KEY =
  'an OpenSSH public key, "type base64 comment", of type ssh-ed25519, ecdsa-sha2-* or ssh-rsa (2048 bits or more)';
const NAME = 'letters, digits, ".", "_" and "-", at most 64, the first a letter or digit';
const RAW = 'none or certificate, as a raw door cannot ask for a login';
const OPEN = 'as a door with auth: none has no login: it needs allow and as';
const CERTIFIED = 'as auth: certificate asks clients for one';
const STEP = 'a step: break, break 500ms, a wait such as 100ms, "dtr=on rts=off" or { send: TEXT }';
const TEXT = 'a text (quote numbers), not empty, of at most 4096 bytes';
const PROSE =
  'a text of at most 4096 bytes with no control characters but newline and tab, or none';
const TOTP = 'base32 of 16 bytes or more, such as "head -c 20 /dev/urandom | base32" makes';
const ESCAPE =
  'two characters, the first a control character, as in "^Ec" (control-E and c), or none';

const USB_ID = 'four hexadecimal digits in quotes, such as "0403"';
const UDP_ADDRESS = 'an address and UDP port, such as 0.0.0.0:6666 or "[::]:6666"';
const FROM = 'an address, a block such as 10.0.0.0/8, or a list of them';
const AUTO_KEYS =
  'udp, from, format, max, prefix, profile, input, latency, writers, group, pace, restoreLine, onOpen, onDetach, idle, idleTimeout, motd, reset, tasks or breaks';

/** What is wrong, the text of fairlead.yaml, and every problem. */
const table: [string, string, string[]][] = [
  [
    'a mistyped key at the top',
    'prots: {}\n',
    [
      '1:1: prots: unknown key; expected data, include, banner, motd, listen, users, certificates, roles, tasks, breaks, profiles, defaults, ports, autoPorts, mark or log; did you mean "ports"?',
    ],
  ],
  [
    'a mistyped key in a port',
    'ports:\n  db1:\n    devcie: /dev/ttyS0\n',
    [`3:5: ports.db1.devcie: unknown key; expected ${PORT_KEYS}; did you mean "device"?`],
  ],
  [
    'a mistyped key inside one of two shapes',
    'listen:\n  ssh: { adress: "127.0.0.1:22" }\n',
    [
      '2:3: listen.ssh: "address" is missing; expected host:port, such as 127.0.0.1:8022 or "[::1]:8022"',
      '2:10: listen.ssh.adress: unknown key; expected address or allow; did you mean "address"?',
    ],
  ],
  [
    'keys of a later version',
    'listen: { web: "127.0.0.1:80" }\nlog: { syslog: x }\n',
    [
      `1:11: listen.web: not in this version; expected ${LISTEN_KEYS}`,
      '2:8: log.syslog: not in this version; expected codec or spool',
    ],
  ],
  [
    'a duplicate key',
    'ports:\n  a: { tcp: "h:1" }\n  a: { tcp: "h:2" }\n',
    ['3:3: duplicate key "a"; expected each once'],
  ],
  [
    'names that differ in case only',
    'ports:\n  db1: { tcp: "h:1" }\n  DB1: { tcp: "h:2" }\nusers:\n  al: { role: view, unix: a }\n  AL: { role: view, unix: b }\n',
    [
      '3:3: ports.DB1: already defined at fairlead.yaml:2:3 as "db1"; expected a name of its own (case does not count)',
      '6:3: users.AL: already defined at fairlead.yaml:5:3 as "al"; expected a name of its own (case does not count)',
    ],
  ],
  [
    'an alias that is taken',
    'ports:\n  a: { tcp: "h:1", aliases: [b, c] }\n  b: { tcp: "h:2", aliases: [C, b] }\n',
    [
      '2:30: ports.a.aliases: "b" is already the port at fairlead.yaml:3:3; expected a name of its own (case does not count)',
      '3:30: ports.b.aliases: "C" is already the alias at fairlead.yaml:2:33; expected a name of its own (case does not count)',
      '3:33: ports.b.aliases: "b" is already the port at fairlead.yaml:3:3; expected a name of its own (case does not count)',
    ],
  ],
  [
    'a port named as a verb, as a user, as a number, or badly',
    'users: { bob: { role: view, unix: b } }\nports:\n  Check: { tcp: "h:1" }\n  bob: { tcp: "h:2" }\n  7: { tcp: "h:3" }\n  -x: { tcp: "h:4" }\n  ok: { tcp: "h:5", aliases: [log, 8] }\n',
    [
      '3:3: ports.Check: "Check" is a verb of fairlead; expected another name',
      '4:3: ports.bob: "bob" is a user; expected another name',
      '5:3: ports.7: "7" is all digits, which stands for a number; expected a name with a letter, and n: for the number',
      `6:3: ports.-x: "-x" is no name; expected ${NAME}`,
      '7:31: ports.ok.aliases: "log" is a verb of fairlead; expected another name',
      '7:36: ports.ok.aliases[2]: 8 does not fit; expected a name: letters, digits, ".", "_" and "-", at most 64, the first a letter or digit, not all digits',
    ],
  ],
  [
    'numbers used twice or out of range',
    'ports:\n  a: { n: 1, tcp: "h:1" }\n  b: { n: 1, tcp: "h:2" }\n  c: { n: 0, tcp: "h:3" }\n  d: { n: 1000, tcp: "h:4" }\n  e: { n: "2", tcp: "h:5" }\n',
    [
      '3:11: ports.b.n: 1 is already the number of a (fairlead.yaml:2:11); expected a free one, such as 2',
      '4:11: ports.c.n: 0 does not fit; expected a whole number from 1 to 999',
      '5:11: ports.d.n: 1000 does not fit; expected a whole number from 1 to 999',
      '6:11: ports.e.n: "2" does not fit; expected a whole number from 1 to 999',
    ],
  ],
  [
    'no backend, two backends, an empty port',
    'ports:\n  a: { n: 1 }\n  b: { tcp: "h:1", unix: /x }\n  c:\n',
    [
      `2:3: ports.a: does not say where its bytes come from; expected one of ${BACKENDS}`,
      `3:20: ports.b.unix: a second backend beside tcp; expected exactly one of ${BACKENDS}`,
      `4:3: ports.c: is empty; expected a map with one of ${BACKENDS}`,
    ],
  ],
  [
    'backends that cannot be right',
    'ports:\n  a: { device: ttyS0 }\n  b: { tcp: 5001 }\n  c: { exec: virsh console vm }\n  d: { exec: [sleep, 5] }\n  e: { sim: linus }\n  f: { sim: { machine: linux, sped: 2 } }\n  g: { exec: [] }\n',
    [
      '2:16: ports.a.device: "ttyS0" does not fit; expected a path from "/", "./" or "../", such as /dev/serial/by-id/...',
      '3:13: ports.b.tcp: 5001 does not fit; expected host:port, such as 10.0.0.9:5001 or "[::1]:8022"',
      '4:14: ports.c.exec: "virsh console vm" does not fit; expected a list of the command and its arguments (no shell reads it), or a map with command and on',
      '5:22: ports.d.exec[2]: 5 does not fit; expected a word of the command (quote numbers)',
      '6:13: ports.e.sim: no machine "linus"; expected linux or router; did you mean "linux"?',
      '7:31: ports.f.sim.sped: unknown key; expected machine, seed or speed; did you mean "seed" or "speed"?',
      '8:14: ports.g.exec: an empty list does not fit; expected a command',
    ],
  ],
  [
    'one device for two ports',
    'ports:\n  a: { device: /dev/ttyS0 }\n  b: { device: /dev/../dev/ttyS0 }\n',
    [
      '3:16: ports.b.device: a already uses /dev/ttyS0 (fairlead.yaml:2:3); expected a device of its own',
    ],
  ],
  [
    'USB ids that YAML takes for numbers, and matches that match nothing or everything',
    'ports:\n  a: { match: { vendor: 0403, product: 0x6001 } }\n  b: { match: { vendor: "403", serial: 12, interface: "1", usbPath: 1.2 } }\n  c: { match: {} }\n  d: { match: { vendro: "0403" } }\n  e: { match: FT1 }\n  f: { match: { vendor: ftdi, serial: "" } }\n',
    [
      `2:25: ports.a.match.vendor: YAML reads the number 403 here; expected ${USB_ID}`,
      `2:40: ports.a.match.product: YAML reads the number 24577 here; expected ${USB_ID}`,
      `3:25: ports.b.match.vendor: "403" does not fit; expected ${USB_ID}`,
      '3:40: ports.b.match.serial: 12 does not fit; expected a USB serial number in quotes',
      '3:55: ports.b.match.interface: "1" does not fit; expected a whole number from 0 to 255',
      '3:69: ports.b.match.usbPath: 1.2 does not fit; expected a place on the USB, such as 1-1.2',
      '4:15: ports.c.match: fits every device; expected at least one of vendor, product, serial, interface and usbPath',
      '5:17: ports.d.match.vendro: unknown key; expected vendor, product, serial, interface or usbPath; did you mean "vendor"?',
      '6:15: ports.e.match: "FT1" does not fit; expected a map with vendor, product, serial, interface and usbPath',
      `7:25: ports.f.match.vendor: "ftdi" does not fit; expected ${USB_ID}`,
      '7:39: ports.f.match.serial: "" does not fit; expected a USB serial number in quotes',
    ],
  ],
  [
    'a half-duplex that cannot be, or stands at a line without a driver',
    'ports:\n  a: { device: /dev/ttyS0, rs485: { rtsOnSend: on, before: 101ms, after: 1, hearsItself: 1, delay: 2 } }\n  b: { device: /dev/ttyS1, rs485: high }\n  c: { tcp: "h:1", rs485: true }\n  d: { exec: [a], rs485: true }\n',
    [
      '2:48: ports.a.rs485.rtsOnSend: "on" does not fit; expected high or low',
      '2:60: ports.a.rs485.before: "101ms" does not fit; expected a duration from 0ms to 100ms',
      '2:74: ports.a.rs485.after: 1 does not fit; expected a duration from 0ms to 100ms',
      '2:90: ports.a.rs485.hearsItself: 1 does not fit; expected true or false',
      '2:93: ports.a.rs485.delay: unknown key; expected rtsOnSend, before, after or hearsItself',
      '3:35: ports.b.rs485: "high" does not fit; expected true, false, or a map with rtsOnSend, before, after and hearsItself',
      '4:20: ports.c.rs485: a tcp line has no driver that could; expected it on a device',
      '5:19: ports.d.rs485: an exec line has no driver that could; expected it on a device',
    ],
  ],
  [
    'TLS where there is none, or half of it',
    'ports:\n  a: { tcp: "h:1", tls: { cert: c.pem } }\n  b: { telnet: "h:2", tls: { key: k.pem, serverName: h } }\n  c: { unix: /run/c, tls: true }\n  d: { match: { serial: x }, tls: true }\n  e: { tcp: "h:3", tls: on }\n  f: { rfc2217: "h:4", tls: { cacert: x, serverName: a b } }\n',
    [
      '2:25: ports.a.tls: has a cert and no key; expected both or neither',
      '3:28: ports.b.tls: has a key and no cert; expected both or neither',
      '4:22: ports.c.tls: a unix line has no TLS; expected it beside tcp, telnet or rfc2217',
      '5:30: ports.d.tls: a device has no TLS; expected it beside tcp, telnet or rfc2217',
      '6:25: ports.e.tls: "on" does not fit; expected true, false, or a map with ca, cert, key and serverName',
      '7:54: ports.f.tls.serverName: "a b" does not fit; expected a host name or an IP address',
      '7:31: ports.f.tls.cacert: unknown key; expected ca, cert, key or serverName; did you mean "ca" or "cert"?',
    ],
  ],
  [
    'commands on nothing, and ptys of nowhere',
    'ports:\n  a: { exec: { command: [a], on: tty } }\n  b: { exec: { on: pipe } }\n  c: { exec: { command: a b } }\n  d: { pty: { comand: [a] } }\n  e: { pty: [virsh, ttyconsole] }\n  f: { pty: { command: [] } }\n',
    [
      '2:34: ports.a.exec.on: "tty" does not fit; expected pty or pipe; did you mean "pty"?',
      '3:8: ports.b.exec: "command" is missing; expected a list of the command and its arguments; no shell reads it',
      '4:25: ports.c.exec.command: "a b" does not fit; expected a list of the command and its arguments; no shell reads it',
      '5:8: ports.d.pty: "command" is missing; expected a list of the command and its arguments; no shell reads it',
      '5:15: ports.d.pty.comand: unknown key; expected command; did you mean "command"?',
      '6:13: ports.e.pty: a list does not fit; expected a path, or a map with command',
      '7:24: ports.f.pty.command: an empty list does not fit; expected a command',
    ],
  ],
  [
    'UDP sources that are none',
    'ports:\n  a: { udp: { listen: 666, from: [] } }\n  b: { udp: { listen: "console:666", from: home, sourcePort: 0 } }\n  c: { udp: { listen: "10.0.0.1:0", from: [10.0.0.7/8, 5], format: netcons } }\n  d: { udp: { listen: "10.0.0.1:1" } }\n  e: { udp: "10.0.0.1:2" }\n',
    [
      `2:23: ports.a.udp.listen: 666 does not fit; expected ${UDP_ADDRESS}`,
      `2:34: ports.a.udp.from: an empty list does not fit; expected ${FROM}`,
      `3:23: ports.b.udp.listen: "console" is no IP address; expected ${UDP_ADDRESS}`,
      '3:44: ports.b.udp.from: "home" is not an address block; expected an address or block such as 10.0.0.0/8 or 2001:db8::/32',
      '3:62: ports.b.udp.sourcePort: 0 does not fit; expected a whole number from 1 to 65535',
      `4:23: ports.c.udp.listen: "10.0.0.1:0" does not fit; expected ${UDP_ADDRESS}`,
      '4:44: ports.c.udp.from[1]: "10.0.0.7/8" has bits set beyond its prefix; write 10.0.0.0/8 for the block or leave out the prefix for the one address; expected an address or block such as 10.0.0.0/8 or 2001:db8::/32',
      '4:56: ports.c.udp.from[2]: 5 does not fit; expected an address or block such as 10.0.0.0/8 or 2001:db8::/32',
      '4:68: ports.c.udp.format: "netcons" does not fit; expected plain or netconsole; did you mean "netconsole"?',
      `5:8: ports.d.udp: "from" is missing; expected ${FROM}`,
      '6:13: ports.e.udp: "10.0.0.1:2" does not fit; expected a map with listen, from, sourcePort and format',
    ],
  ],
  [
    'one UDP source for two ports, and sockets in the way of each other',
    'ports:\n  a: { udp: { listen: "10.0.0.1:1", from: [10.1.0.0/16, "::1"], sourcePort: 7 } }\n  b: { udp: { listen: "10.0.0.1:1", from: 10.1.2.3, sourcePort: 7, format: netconsole } }\n  c: { udp: { listen: "10.0.0.1:1", from: 10.1.2.3 } }\n  d: { udp: { listen: "10.0.0.1:1", from: 10.0.0.0/8 } }\n  e: { udp: { listen: "10.0.0.1:2", from: 10.1.2.3 } }\n  f: { udp: { listen: "0.0.0.0:2", from: 10.9.9.9 } }\n  g: { udp: { listen: "[::ffff:0:1]:3", from: "0:0::1" } }\n  h: { udp: { listen: "[0::ffff:0.0.0.1]:3", from: "::/64" } }\n',
    [
      '3:43: ports.b.udp.from: 10.1.2.3, port 7, is already a source of a on 10.0.0.1:1 (fairlead.yaml:2:3); expected sources of its own',
      '5:43: ports.d.udp.from: 10.0.0.0/8 is already a source of c on 10.0.0.1:1 (fairlead.yaml:4:3); expected sources of its own',
      '7:23: ports.f.udp.listen: 0.0.0.0:2 overlaps 10.0.0.1:2 of e (fairlead.yaml:6:3); expected the same address or another UDP port',
      '9:52: ports.h.udp.from: ::/64 is already a source of g on [::ffff:0:1]:3 (fairlead.yaml:8:3); expected sources of its own',
    ],
  ],
  [
    'parts of lines that are not there or taken',
    'ports:\n  a: { device: /dev/ttyS0 }\n  b: { split: { of: A, half: high } }\n  c: { split: { of: a, half: high } }\n  d: { split: { of: a, gdb: true } }\n  e: { split: { of: e, half: low } }\n  f: { split: { of: b, half: low } }\n  g: { split: { of: aa, half: low } }\n  h: { tcp: "h:1", line: 9600 7E1 }\n  i: { split: { of: h, half: low } }\n',
    [
      '4:30: ports.c.split.half: b already has this part of a (fairlead.yaml:3:3); expected each part once',
      '5:29: ports.d.split.gdb: b splits a by half (fairlead.yaml:3:3); expected the same for all parts of a line',
      '6:21: ports.e.split.of: is the port itself; expected another one',
      '7:21: ports.f.split.of: b is a part of a line itself (fairlead.yaml:3:3); expected a port with a line of its own',
      '8:21: ports.g.split.of: no port "aa"; expected the name of a port; did you mean "a"?',
      '10:30: ports.i.split.half: h has 7 data bits, and the halves are told apart by the eighth; expected a line with 8',
    ],
  ],
  [
    'parts of lines said wrongly',
    'ports:\n  a: { device: /dev/ttyS0 }\n  b: { split: { of: a } }\n  c: { split: { of: a, half: high, gdb: true } }\n  d: { split: { of: 1, half: top } }\n  e: { split: a }\n  f: { split: { of: a, half: low }, line: 9600, flow: none, signals: { dtr: on }, rs485: true }\nprofiles: { p: { split: { of: a } } }\n',
    [
      '3:15: ports.b.split: says neither half nor gdb; expected one of half and gdb',
      '4:15: ports.c.split: says both; expected one of half and gdb',
      '5:21: ports.d.split.of: 1 does not fit; expected the name of a port',
      '5:30: ports.d.split.half: "top" does not fit; expected high or low',
      '6:15: ports.e.split: "a" does not fit; expected a map with of, and half or gdb',
      '7:37: ports.f.line: a split line has the settings of the port it is a part of; expected them there',
      '7:49: ports.f.flow: a split line has the settings of the port it is a part of; expected them there',
      '7:61: ports.f.signals: a split line has no signals to set; expected them on a device or an RFC 2217 server',
      '7:83: ports.f.rs485: a split line has no driver that could; expected it on a device',
      `8:18: profiles.p.split: unknown key; expected profile, ${OPTIONS} or breaks`,
    ],
  ],
  [
    'resets that are none, or stand beside the task of that name',
    'defaults: { reset: { send: x } }\nprofiles: { p: { reset: [], tasks: { x: [1s] } } }\nports:\n  a: { tcp: "h:1", reset: [brake] }\n  b: { tcp: "h:2", reset: [break], tasks: { Reset: [1s] } }\n  c: { tcp: "h:3", reset: none }\nreset: [break]\n',
    [
      '1:20: defaults.reset: a map does not fit; expected a list of steps, or none',
      '2:25: profiles.p.reset: an empty list does not fit; expected at least one step',
      `4:28: ports.a.reset[1]: "brake" does not fit; expected ${STEP}`,
      '7:1: reset: unknown key; expected data, include, banner, motd, listen, users, certificates, roles, tasks, breaks, profiles, defaults, ports, autoPorts, mark or log',
    ],
  ],
  [
    'a reset beside the task of that name, and one that is not there to take away',
    'ports:\n  b: { tcp: "h:2", reset: [break], tasks: { Reset: [1s] } }\n  c: { tcp: "h:3", reset: none }\n',
    [
      '2:45: ports.b.tasks.Reset: there is a task "Reset" already (fairlead.yaml:2:20); expected a name of its own (case does not count)',
      '3:20: warning: ports.c.reset: there is no task "reset" to take away',
    ],
  ],
  [
    'a pace that cannot be kept',
    'defaults: { pace: { byte: 0.4ms, line: 11s, newline: clrf } }\nports:\n  a: { tcp: "h:1", pace: 1ms }\n  b: { tcp: "h:2", pace: { bite: 1ms } }\n',
    [
      '1:27: defaults.pace.byte: "0.4ms" does not fit; expected a duration from 1ms to 10s',
      '1:40: defaults.pace.line: "11s" does not fit; expected a duration from 1ms to 10s',
      '1:54: defaults.pace.newline: "clrf" does not fit; expected as-is, cr, lf or crlf; did you mean "crlf"?',
      '3:26: ports.a.pace: "1ms" does not fit; expected a map with byte, line and newline, or none',
      '4:28: ports.b.pace.bite: unknown key; expected byte, line or newline; did you mean "byte"?',
    ],
  ],
  [
    'ports for UDP sources said wrongly',
    'autoPorts:\n  - { udp: 6666, max: 0, prefix: 1, format: syslog }\n  - { udp: "10.0.0.1:1", from: 10.0.0.0/8, line: 9600, split: { of: a } }\n  - x\nprofiles: {}\n',
    [
      `2:5: autoPorts[1]: "from" is missing; expected ${FROM}`,
      `2:12: autoPorts[1].udp: 6666 does not fit; expected ${UDP_ADDRESS}`,
      '2:23: autoPorts[1].max: 0 does not fit; expected a whole number from 1 to 1000',
      '2:34: autoPorts[1].prefix: 1 does not fit; expected the begin of a name: letters, digits, ".", "_" and "-", at most 20, the first a letter',
      '2:45: autoPorts[1].format: "syslog" does not fit; expected plain or netconsole',
      `3:44: autoPorts[2].line: unknown key; expected ${AUTO_KEYS}`,
      `3:56: autoPorts[2].split: unknown key; expected ${AUTO_KEYS}`,
      '4:5: autoPorts[3]: "x" does not fit; expected a map with udp and from',
    ],
  ],
  [
    'ports for UDP sources that meet, and have no profile',
    'profiles: { net: {} }\nports: { a: { udp: { listen: "10.0.0.1:1", from: 10.0.0.0/8 } } }\nautoPorts:\n  - { udp: "10.0.0.1:1", from: 10.0.0.0/8, profile: nte }\n  - { udp: "10.0.0.1:1", from: [192.0.2.1, 10.0.0.5], prefix: NC-, tasks: { -x: [1s] } }\n  - { udp: "[::]:1", from: "::/0", prefix: six- }\n',
    [
      '4:53: autoPorts[1].profile: no profile "nte"; expected net; did you mean "net"?',
      '5:32: autoPorts[2].from: 10.0.0.5 is already a source of autoPorts[1] on 10.0.0.1:1 (fairlead.yaml:4:5); expected sources of its own',
      '5:63: autoPorts[2].prefix: "NC-" is already that of autoPorts[1] (fairlead.yaml:4:5); expected a prefix of its own',
      `5:77: autoPorts[2].tasks.-x: "-x" is no name; expected a name: ${NAME}`,
      '6:12: autoPorts[3].udp: [::]:1 overlaps 10.0.0.1:1 of a (fairlead.yaml:2:10); expected the same address or another UDP port',
    ],
  ],
  [
    'one line for two ports, however it is named',
    'ports:\n  a: { match: { vendor: "0403", serial: FT1 } }\n  b: { match: { serial: FT1, vendor: "0x0403" } }\n  c: { match: { vendor: "0403" } }\n  d: { device: /dev/pts/3 }\n  e: { pty: /dev/pts/3 }\n  f: { pty: { command: [a, b] } }\n  g: { pty: { command: [a, b] } }\n  h: { tcp: "Host:1" }\n  i: { telnet: "host:1" }\n  j: { unix: /run/j }\n  k: { unix: /run/j }\n  l: { device: /dev/ttyUSB0 }\n',
    [
      '3:15: ports.b.match: a already uses the device with serial FT1, vendor 0403 (fairlead.yaml:2:3); expected a device of its own',
      '4:15: warning: ports.c.match: a device may fit a, too (fairlead.yaml:2:3); serial, interface or usbPath would tell them apart',
      '6:13: ports.e.pty: d already uses /dev/pts/3 (fairlead.yaml:5:3); expected a device of its own',
      '8:13: ports.g.pty: f already uses a b (fairlead.yaml:7:3); expected a device of its own',
      '10:16: warning: ports.i.telnet: h already uses host:1 (fairlead.yaml:9:3); most servers of a line take one client',
      '12:14: warning: ports.k.unix: j already uses /run/j (fairlead.yaml:11:3); most servers of a line take one client',
      '13:16: warning: ports.l.device: /dev/ttyUSB0 is numbered by the order of plugging in; a path in /dev/serial/by-id or by-path, or match, stays the same',
    ],
  ],
  [
    'bad settings of a line, each where it stands',
    'defaults: { line: 9600 9N1 }\nprofiles: { p: { flow: rts } }\nports:\n  a: { tcp: "h:1", line: fast, input: maked, latency: 0, writers: }\n  b: { tcp: "h:1", signals: { dtr: on } }\n',
    [
      `1:19: defaults.line: "9600 9N1" is not a line setting; expected ${LINE}`,
      '2:24: profiles.p.flow: "rts" does not fit; expected none, rtscts or xonxoff; did you mean "rtscts"?',
      `4:26: ports.a.line: "fast" is not a line setting; expected ${LINE}`,
      '4:39: ports.a.input: "maked" does not fit; expected masked, full or none; did you mean "masked"?',
      '4:55: ports.a.latency: 0 does not fit; expected normal or low',
      '4:58: ports.a.writers: is empty; expected one or many',
      '5:20: ports.b.signals: a tcp line has no signals to set; expected them on a device or an RFC 2217 server',
    ],
  ],
  [
    'profiles that are unknown or build on themselves',
    'profiles:\n  a: { profile: b }\n  b: { profile: a }\n  c: { profile: c }\n  d: { profile: ciscoo }\n  cisco: {}\nports:\n  p: { tcp: "h:1", profile: Cicso }\n',
    [
      '3:17: profiles.b.profile: builds on itself (a -> b -> a); expected no loop',
      '4:17: profiles.c.profile: builds on itself (c -> c); expected no loop',
      '5:17: profiles.d.profile: no profile "ciscoo"; expected a, b, c, d or cisco; did you mean "c" or "cisco"?',
      '8:29: ports.p.profile: no profile "Cicso"; expected a, b, c, d or cisco; did you mean "c" or "cisco"?',
    ],
  ],
  [
    'a former name that is not free',
    'ports:\n  a: { tcp: "h:1", was: b }\n  b: { tcp: "h:2", was: old }\n  c: { tcp: "h:3", was: OLD }\n',
    [
      '2:25: ports.a.was: "b" is still a port at fairlead.yaml:3:3; expected the former name of this port',
      '4:25: ports.c.was: "OLD" is already what b was; expected the former name of this port',
    ],
  ],
  [
    'open doors that do not say for whom',
    'listen:\n  raw: { auth: none }\n  telnet: { auth: none, as: null }\n',
    [
      `2:3: listen.raw: "allow" is missing; expected a list of address blocks, ${OPEN}`,
      `2:3: listen.raw: "as" is missing; expected the name of a user, ${OPEN}`,
      `3:3: listen.telnet: "allow" is missing; expected a list of address blocks, ${OPEN}`,
      '3:25: listen.telnet.as: is empty; expected a name: letters, digits, ".", "_" and "-", at most 64, the first a letter or digit',
    ],
  ],
  [
    'doors that ask for certificates nobody signed',
    'listen:\n  raw: { auth: certificate }\n  telnet: { auth: certificate, tls: { cert: a, kee: b } }\n',
    [
      `2:3: listen.raw: "tls" is missing; expected a map with cert, key and clientCa, ${CERTIFIED}`,
      '3:32: listen.telnet.tls: "key" is missing; expected a path (relative to this file; "~" is not filled in)',
      `3:32: listen.telnet.tls: "clientCa" is missing; expected a file with the authorities, ${CERTIFIED}`,
      '3:48: listen.telnet.tls.kee: unknown key; expected cert, key or clientCa; did you mean "key"?',
    ],
  ],
  [
    'what doors do not know',
    'listen:\n  telnet: { busy: wait, alias: 0, auth: logn, tls: 3 }\n  caps: { connections: 0, perSource: a, max: 1 }\n  port-ssh: { base: 70000, auth: none }\n  raw: {}\n',
    [
      '2:19: listen.telnet.busy: "wait" does not fit; expected refuse, view or takeover',
      '2:32: listen.telnet.alias: 0 does not fit; expected a whole number from 1 to 65534',
      '2:41: listen.telnet.auth: "logn" does not fit; expected login, none or certificate; did you mean "login"?',
      '2:52: listen.telnet.tls: 3 does not fit; expected a map with cert, key and clientCa',
      '3:24: listen.caps.connections: 0 does not fit; expected a whole number from 1 to 100000',
      '3:38: listen.caps.perSource: "a" does not fit; expected a whole number from 1 to 100000',
      '3:41: listen.caps.max: unknown key; expected connections or perSource',
      '4:21: listen.port-ssh.base: 70000 does not fit; expected a whole number from 1 to 65534',
      '4:28: listen.port-ssh.auth: unknown key; expected host, base or allow',
      `5:3: listen.raw: "auth" is missing; expected ${RAW}`,
    ],
  ],
  [
    'passwords in clear, and users who count for nothing',
    'users: { lab: { role: view, unix: l } }\nlisten:\n  telnet: { host: 10.0.0.1, as: lab }\n',
    [
      '3:19: warning: listen.telnet.host: passwords cross the network to 10.0.0.1 in clear; tls, SSH or a loopback address would keep them',
      '3:29: warning: listen.telnet.as: has no effect, as the door asks for a login; auth: none would not',
    ],
  ],
  [
    'doors for nobody, for an unknown user, with a login',
    'users: { lab: { role: view, unix: l } }\nlisten:\n  raw: { auth: password, allow: [], as: labb }\n  telnet: { auth: none, allow: [], as: labb }\n',
    [
      `3:16: listen.raw.auth: "password" does not fit; expected ${RAW}`,
      '3:41: listen.raw.as: no user "labb"; expected one of users; did you mean "lab"?',
      `4:32: listen.telnet.allow: an empty list does not fit; expected at least one address block, ${OPEN}`,
      '4:40: listen.telnet.as: no user "labb"; expected one of users; did you mean "lab"?',
    ],
  ],
  [
    'doors that overlap',
    'users: { lab: { role: view } }\nlisten:\n  ssh: 0.0.0.0:4022\n  raw: { base: 4000, auth: none, allow: [10.0.0.0/8], as: lab }\nports:\n  a: { tcp: "h:1", n: 22 }\n',
    [
      '4:16: listen.raw: the door of a at 4000 + 22 = 4022 overlaps listen.ssh on 0.0.0.0:4022; expected another base or address',
    ],
  ],
  [
    'bases so close that the doors of two ports meet',
    'users: { lab: { role: view } }\nlisten:\n  ssh: 127.0.0.1:3001\n  port-ssh: {}\n  telnet: { base: 2999, alias: 3000 }\n  raw: { host: 10.0.0.1, base: 3000, auth: none, allow: [10.0.0.0/8], as: lab }\nports:\n  a: { tcp: "h:1", n: 1 }\n  b: { tcp: "h:2", n: 2 }\n',
    [
      '4:3: listen.port-ssh: the door of a at 3000 + 1 = 3001 overlaps listen.ssh on 127.0.0.1:3001; expected another base or address',
      '5:19: listen.telnet: the door of b at 2999 + 2 = 3001 overlaps listen.ssh on 127.0.0.1:3001; expected another base or address',
      '5:19: listen.telnet: the door of b at 2999 + 2 = 3001 overlaps listen.port-ssh, the door of a at 3000 + 1; expected another base or address',
      '5:32: listen.telnet.alias: the door of a at 3000 + 1 = 3001 overlaps listen.ssh on 127.0.0.1:3001; expected another base or address',
      '5:32: listen.telnet.alias: the door of a at 3000 + 1 = 3001 overlaps listen.port-ssh, the door of a at 3000 + 1; expected another base or address',
      '5:32: listen.telnet.alias: the door of a at 3000 + 1 = 3001 overlaps listen.telnet, the door of b at 2999 + 2; expected another base or address',
    ],
  ],
  [
    'bases as far apart as only some numbers meet: the first that do',
    'users: { lab: { role: view } }\nlisten:\n  telnet: { base: 4900 }\n  raw: { base: 4000, auth: none, allow: [10.0.0.0/8], as: lab }\nports:\n  a: { tcp: "h:1", n: 1 }\n  b: { tcp: "h:2", n: 99 }\n  c: { tcp: "h:3", n: 999 }\n  d: { tcp: "h:4", n: 901 }\n',
    [
      '4:16: listen.raw: the door of c at 4000 + 999 = 4999 overlaps listen.telnet, the door of b at 4900 + 99; expected another base or address',
    ],
  ],
  [
    'a door beyond the last TCP port',
    'users: { lab: { role: view } }\nlisten:\n  raw: { base: 65500, auth: none, allow: [10.0.0.0/8], as: lab }\nports:\n  a: { tcp: "h:1", n: 36 }\n',
    ['3:16: listen.raw: 65500 + 36 (n of a) is no TCP port; expected a base of 65535 - 36 at most'],
  ],
  [
    'texts that a terminal cannot show',
    `banner: [a]\nmotd: ${'x'.repeat(4097)}\ndefaults: { motd: "a\\eb" }\nprofiles: { p: { motd: "\\u009b" } }\nports: { a: { tcp: "h:1", motd: 3 } }\n`,
    [
      '1:9: banner: a list does not fit; expected a text of at most 4096 bytes, or none',
      `2:7: motd: 4097 bytes are too many; expected ${PROSE}`,
      `3:19: defaults.motd: the control character U+001B cannot be shown; expected ${PROSE}`,
      `4:24: profiles.p.motd: the control character U+009B cannot be shown; expected ${PROSE}`,
      '5:33: ports.a.motd: 3 does not fit; expected a text of at most 4096 bytes, or none',
    ],
  ],
  [
    'steps that are none, each where it stands',
    'tasks:\n  a:\n    - brake\n    - break 11s\n    - 2m\n    - 0.4ms\n    - break fast\n    - dtr=off dtr=on\n    - 100\n    - sned: x\n    - send: ""\n    - send: 1\n    - send: \\q\n    - send: x\n      wait: 1s\n',
    [
      `3:7: tasks.a[1]: "brake" does not fit; expected ${STEP}`,
      `4:7: tasks.a[2]: a BREAK of 11s is not from 1ms to 10s; expected ${STEP}`,
      `5:7: tasks.a[3]: a wait of 2m is not from 1ms to 60s; expected ${STEP}`,
      `6:7: tasks.a[4]: a wait of 0.4ms is not from 1ms to 60s; expected ${STEP}`,
      `7:7: tasks.a[5]: "fast" is no duration; expected ${STEP}`,
      `8:7: tasks.a[6]: "dtr=off dtr=on" does not fit; expected ${STEP}`,
      `9:7: tasks.a[7]: 100 does not fit; expected ${STEP}`,
      `10:7: tasks.a[8]: "send" is missing; expected ${TEXT}`,
      '10:7: tasks.a[8].sned: unknown key; expected send; did you mean "send"?',
      `11:13: tasks.a[9].send: "" does not fit; expected ${TEXT}`,
      `12:13: tasks.a[10].send: 1 does not fit; expected ${TEXT}`,
      `13:13: tasks.a[11].send: "\\q" is not one of \\r \\n \\t \\e \\\\ \\xNN; expected ${TEXT}`,
      '15:7: tasks.a[12].wait: unknown key; expected send',
    ],
  ],
  [
    'tasks that are none',
    'tasks:\n  a: { steps: [], help: "a\\nb", key: A, confirm: yes }\n  b: { stepz: [break] }\n  c:\n  d: 3\n  e: [40s, break 10s, 11s]\n  -x: [break]\n  __proto__: [break]\n  f: { steps: [{ send: a, b: c }] }\n',
    [
      '2:15: tasks.a.steps: an empty list does not fit; expected at least one step',
      '2:25: tasks.a.help: "a\\nb" does not fit; expected one line of at most 200 characters',
      '2:38: tasks.a.key: "A" does not fit; expected one character, 0-9 or a-z',
      '2:50: tasks.a.confirm: "yes" does not fit; expected true or false',
      '3:3: tasks.b: "steps" is missing; expected a list of steps',
      '3:8: tasks.b.stepz: unknown key; expected help, confirm, key or steps; did you mean "steps"?',
      '4:3: tasks.c: is empty; expected a map with steps, a list of steps, or none',
      '5:6: tasks.d: 3 does not fit; expected a map with steps, a list of steps, or none',
      '6:6: tasks.e: the steps take 61 s; expected waits and BREAKs of 60 s in all at most',
      `7:3: tasks.-x: "-x" is no name; expected a name: ${NAME}`,
      `8:3: tasks.__proto__: "__proto__" is no name; expected a name: ${NAME}`,
      '9:27: tasks.f.steps[1].b: unknown key; expected send',
    ],
  ],
  [
    'tasks and breaks in the wrong shape or place',
    'tasks: []\nbreaks: { aa: [break], B: [break], 1: x, 2: [], 3: { send: x } }\ndefaults: { tasks: [a], power: { on: [x] } }\nprofiles: { p: { breaks: { "-": [1s] } } }\nports: { a: { tcp: "h:1", tasks: { " ": none } } }\n',
    [
      '1:8: tasks: an empty list does not fit; expected a map of tasks',
      '2:11: breaks.aa: "aa" is no key; expected one character, 0-9 or a-z',
      '2:24: breaks.B: "B" is no key; expected one character, 0-9 or a-z',
      '2:39: breaks.1: "x" does not fit; expected a list of steps, or none',
      '2:45: breaks.2: an empty list does not fit; expected at least one step',
      '2:52: breaks.3: a map does not fit; expected a list of steps, or none',
      '3:20: defaults.tasks: a list does not fit; expected a map of tasks',
      '3:25: defaults.power: unknown key; expected line, flow, input, latency, writers, pace, restoreLine, onOpen, onDetach, idle, idleTimeout, motd, reset, tasks or breaks',
      '4:28: profiles.p.breaks.-: "-" is no key; expected one character, 0-9 or a-z',
      `5:36: ports.a.tasks. : " " is no name; expected a name: ${NAME}`,
    ],
  ],
  [
    'two tasks of one name or key at one place',
    'tasks: { a: { key: x, steps: [break] }, A: [break], break-0: [break], x: [break], c: { key: x, steps: [break] } }\nbreaks: { 0: [break], x: [break] }\n',
    [
      '1:41: tasks.A: there is a task "A" already (fairlead.yaml:1:10); expected a name of its own (case does not count)',
      '1:71: tasks.x: "x" already stands for the task a (fairlead.yaml:1:10); expected another one',
      '1:93: tasks.c.key: "x" already stands for the task a (fairlead.yaml:1:10); expected another one',
      '2:11: breaks.0: there is a task "break-0" already (fairlead.yaml:1:53); expected a name of its own (case does not count)',
      '2:23: breaks.x: "x" already stands for the task a (fairlead.yaml:1:10); expected another one',
    ],
  ],
  [
    'two tasks of one key from different places, once for all ports',
    'tasks: { one: { key: x, steps: [break] } }\nprofiles: { p: { tasks: { two: { key: x, steps: [break] } } } }\nports:\n  a: { tcp: "h:1", profile: p }\n  b: { tcp: "h:2", profile: p, breaks: { x: [break] } }\n  c: { tcp: "h:3", tasks: { oen: none }, breaks: { x: [break] } }\n  d: { tcp: "h:4", tasks: { one: none }, breaks: { x: [break] } }\n',
    [
      '2:39: profiles.p.tasks.two.key: "x" already stands for the task one (fairlead.yaml:1:10); expected another one',
      '5:42: ports.b.breaks.x: "x" already stands for the task one (fairlead.yaml:1:10); expected another one',
      '6:29: warning: ports.c.tasks.oen: there is no task "oen" to take away; did you mean "one"?',
      '6:52: ports.c.breaks.x: "x" already stands for the task one (fairlead.yaml:1:10); expected another one',
    ],
  ],
  [
    'what is to be done to a line, said wrongly',
    'ports:\n  a: { tcp: "h:1", onOpen: x, onDetach: { send: a, dropDtr: 1s }, idle: { after: 1ms, send: a } }\n  b: { tcp: "h:2", onOpen: { sned: a }, onDetach: {}, idle: { after: 1m }, idleTimeout: 0 }\n  c: { tcp: "h:3", onOpen: [], onDetach: { dropDtr: 2m }, idle: 10m, idleTimeout: 8d, restoreLine: yes }\n  d: { tcp: "h:4", onOpen: [{ send: a, b: c }], idle: { after: 1m, send: a, steps: [break] }, onDetach: 3 }\n',
    [
      '2:28: ports.a.onOpen: "x" does not fit; expected { send: TEXT }, a list of steps, or none',
      '2:41: ports.a.onDetach: says both; expected one of send and dropDtr',
      '2:82: ports.a.idle.after: "1ms" does not fit; expected a duration from 1s to 7d, such as 10m',
      `3:20: ports.b.onOpen: "send" is missing; expected ${TEXT}`,
      '3:30: ports.b.onOpen.sned: unknown key; expected send; did you mean "send"?',
      '3:51: ports.b.onDetach: says neither send nor dropDtr; expected one of send and dropDtr',
      '3:61: ports.b.idle: says neither send nor steps; expected one of send and steps',
      '3:89: ports.b.idleTimeout: 0 does not fit; expected a duration from 1s to 7d, such as 30m, or none',
      '4:28: ports.c.onOpen: an empty list does not fit; expected at least one step',
      '4:53: ports.c.onDetach.dropDtr: "2m" does not fit; expected a duration from 1ms to 60s, such as 500ms',
      '4:65: ports.c.idle: "10m" does not fit; expected { after: 10m, send: TEXT }, { after: 10m, steps: [...] }, or none',
      '4:83: ports.c.idleTimeout: "8d" does not fit; expected a duration from 1s to 7d, such as 30m, or none',
      '4:100: ports.c.restoreLine: "yes" does not fit; expected true or false',
      '5:40: ports.d.onOpen[1].b: unknown key; expected send',
      '5:55: ports.d.idle: says both; expected one of send and steps',
      '5:105: ports.d.onDetach: 3 does not fit; expected { send: TEXT }, { dropDtr: 500ms }, a list of steps, or nothing',
    ],
  ],
  [
    'outlets that can do nothing, or are no commands',
    'ports:\n  a: { tcp: "h:1", power: {} }\n  b: { tcp: "h:2", power: { cycle: pdu 7, on: [pdu, 7], reboot: [x] } }\n  c: { tcp: "h:3", power: [pdu] }\n  d: { tcp: "h:4", power: { off: [] } }\n',
    [
      '2:27: ports.a.power: an outlet that can do nothing; expected one of on, off, cycle, status',
      '3:36: ports.b.power.cycle: "pdu 7" does not fit; expected a list of the command and its arguments; no shell reads it',
      '3:53: ports.b.power.on[2]: 7 does not fit; expected a word of the command (quote numbers)',
      '3:57: ports.b.power.reboot: unknown key; expected on, off, cycle or status',
      '4:27: ports.c.power: a list does not fit; expected a map with on, off, cycle, status',
      '5:34: ports.d.power.off: an empty list does not fit; expected a command',
    ],
  ],
  [
    'exposed ptys that cannot be, or are in the way',
    'ports:\n  a: { tcp: "h:1", expose: a }\n  b: { tcp: "h:2", expose: { path: /b, mode: 0660, group: "a b", as: nobody, busy: wait } }\n  c: { tcp: "h:3", expose: { path: /b, mode: "0777" } }\n  d: { unix: /run/d, expose: { path: /run/d } }\n  e: { pty: /dev/pts/1, expose: /run/e }\n  f: { tcp: "h:4", expose: /run/../run/e }\n  g: { tcp: "h:5", expose: {} }\n',
    [
      '2:28: ports.a.expose: "a" does not fit; expected a path from "/", "./" or "../", such as /run/fairlead/db1',
      '3:46: ports.b.expose.mode: 660 does not fit; expected access bits in quotes, such as "0600" or "0660"',
      '3:59: ports.b.expose.group: "a b" does not fit; expected the name of a group',
      '3:70: ports.b.expose.as: no user "nobody"; expected one of users',
      '3:84: ports.b.expose.busy: "wait" does not fit; expected refuse, view or takeover',
      '4:46: ports.c.expose.mode: "0777" does not fit; expected access bits in quotes, such as "0600" or "0660"',
      '5:38: ports.d.expose.path: /run/d is already what d opens; expected a path of its own',
      '7:28: ports.f.expose: /run/e is already exposed by e; expected a path of its own',
      '8:20: ports.g.expose: "path" is missing; expected a path from "/", "./" or "../", such as /run/fairlead/db1',
    ],
  ],
  [
    'one-time codes that are too short, no secret, or of no use; none of them repeated',
    'users:\n  a: { role: view, unix: a, totp: JBSWY3DPEHPK3PXP }\n  b: { role: view, unix: b, totp: 12345, totpFile: x }\n  c: { role: view, unix: c, totp: not base32! }\n  d: { role: view, unix: d, totp: JBSWY3DPEHPK3PXPJBSWY3DPEE }\n  e: { role: view, unix: e, totpFile: gone }\n',
    [
      `2:35: users.a.totp: this secret has 10 bytes only; expected ${TOTP}`,
      `3:35: users.b.totp: this does not fit; expected ${TOTP}`,
      '3:42: users.b.totpFile: there is a totp, too; expected one of the two',
      `4:35: users.c.totp: this is no secret in base32 (A-Z and 2-7); expected ${TOTP}`,
      '5:3: warning: users.d: one-time codes are asked for after a password, and there is none',
      '6:39: users.e.totpFile: "gone" cannot be read: no such file or directory; expected a readable file with the secret of one-time codes',
    ],
  ],
  [
    'principals of two users',
    'users:\n  a: { role: view, unix: a, principals: [ops, b, ""] }\n  b: { role: view, unix: b, principals: [ops, b, "x,y"] }\n  c: { role: view, unix: c, principals: ops }\n',
    [
      '2:47: warning: users.a.principals[2]: "b" also admits b: a certificate with it is good for both',
      '2:50: users.a.principals[3]: "" does not fit; expected a principal: 1 to 256 characters without "," and control characters',
      '3:42: warning: users.b.principals[1]: "ops" also admits a: a certificate with it is good for both',
      '3:50: users.b.principals[3]: "x,y" does not fit; expected a principal: 1 to 256 characters without "," and control characters',
      '4:41: users.c.principals: "ops" does not fit; expected a list of principals',
    ],
  ],
  [
    'keys that a session cannot begin with',
    `users:\n${['ac', '^Jc', '^E', '^Eé', '^@c', '5', '^Ecc', '"\\rc"', '^Mc', 'None']
      .map(
        (keys, index) =>
          `  ${'abcdefghij'[index]}: { role: view, unix: u${index}, escape: ${keys} }\n`,
      )
      .join('')}`,
    [
      `2:38: users.a.escape: "a" is no control character; expected ${ESCAPE}`,
      `3:38: users.b.escape: ^J is what terminals send of themselves; expected ${ESCAPE}`,
      `4:38: users.c.escape: "^E" does not fit; expected ${ESCAPE}`,
      `5:38: users.d.escape: "^Eé" does not fit; expected ${ESCAPE}`,
      `6:38: users.e.escape: ^@ is what terminals send of themselves; expected ${ESCAPE}`,
      `7:38: users.f.escape: 5 does not fit; expected ${ESCAPE}`,
      `8:38: users.g.escape: "^Ecc" does not fit; expected ${ESCAPE}`,
      `9:38: users.h.escape: ^M is what terminals send of themselves; expected ${ESCAPE}`,
      `10:38: users.i.escape: ^M is what terminals send of themselves; expected ${ESCAPE}`,
      `11:38: users.j.escape: "None" does not fit; expected ${ESCAPE}`,
    ],
  ],
  [
    'authorities that are none',
    `certificates: { authorities: [x, ${RSA_1024_KEY}], authoritiesFile: gone.pub, revoked: y }\n`,
    [
      `1:31: certificates.authorities[1]: "x" is not a kind of key; expected ${KEY}`,
      `1:34: certificates.authorities[2]: the RSA key has only 1024 bits; expected ${KEY}`,
      `1:${34 + RSA_1024_KEY.length + '], authoritiesFile: '.length}: certificates.authoritiesFile: "gone.pub" cannot be read: no such file or directory; expected a readable file with public keys`,
      `1:${34 + RSA_1024_KEY.length + '], authoritiesFile: gone.pub, '.length}: certificates.revoked: unknown key; expected authorities, authoritiesFile or revokedFile; did you mean "revokedFile"?`,
    ],
  ],
  [
    'a revocation list of nothing',
    'certificates: { revokedFile: r }\n',
    ['1:17: warning: certificates.revokedFile: has no effect without authorities'],
  ],
  [
    'addresses that cannot be read',
    'listen:\n  ssh: 8022\n  raw: { host: 1.2.3, auth: none, allow: [10.0.0.7/8], as: x }\nusers: { x: { role: view, from: [home] } }\n',
    [
      '2:8: listen.ssh: 8022 does not fit; expected host:port, such as 127.0.0.1:8022, a map with address and allow, or none',
      '3:16: listen.raw.host: "1.2.3" does not fit; expected an IP address or host name',
      '3:43: listen.raw.allow[1]: "10.0.0.7/8" has bits set beyond its prefix; write 10.0.0.0/8 for the block or leave out the prefix for the one address; expected an address or block such as 10.0.0.0/8 or 2001:db8::/32',
      '4:34: users.x.from[1]: "home" is not an address block; expected an address or block such as 10.0.0.0/8 or 2001:db8::/32',
    ],
  ],
  [
    'an IPv6 address that YAML takes for a list',
    'listen:\n  ssh: [::1]:8022\n',
    [
      '2:13: this is not YAML: unexpected scalar at node end; write an IPv6 address in quotes: "[::1]:8022"',
    ],
  ],
  [
    'users with unknown roles and groups, and bad patterns',
    'roles: { admin: [view], chief: [veiw] }\nusers:\n  a: { role: amdin, ports: ["@rak", "[z-a]", "a/b"], unix: u }\n  b: { ports: ["@Rack"], unix: u }\nports: { p: { tcp: "h:1", group: rack } }\n',
    [
      '1:10: roles.admin: "admin" is built in; expected a name of its own',
      '1:33: roles.chief[1]: "veiw" does not fit; expected view, write, break, control, tx, export or admin; did you mean "view"?',
      '3:14: users.a.role: no role "amdin"; expected view, operator, admin or chief; did you mean "admin"?',
      '3:29: users.a.ports[1]: no port has the group "rak"; expected a group of some port; did you mean "@rack"?',
      '3:37: users.a.ports[2]: "[z-a]" does not fit; expected a pattern of port names such as db1 or "db*", or "@group"',
      '3:46: users.a.ports[3]: "a/b" does not fit; expected a pattern of port names such as db1 or "db*", or "@group"',
      '4:3: users.b: "role" is missing; expected a name: letters, digits, ".", "_" and "-", at most 64, the first a letter or digit',
      '4:32: users.b.unix: "u" is already a; expected one user for each unix user',
    ],
  ],
  [
    'keys and passwords that are none, none of them repeated',
    `users:\n  a: { role: view, keys: [ssh-ed25519 AAAA], password: hunter2 }\n  b: { role: view, keys: ['from="x" ${ED25519_KEY}'], password: 12345 }\n  c: { role: view, keys: [${RSA_1024_KEY}], password: $scrypt$x }\n  d: { role: view, keys: ${ED25519_KEY} }\n`,
    [
      `2:27: users.a.keys[1]: the key is cut or damaged; expected ${KEY}`,
      '2:56: users.a.password: this is no scrypt hash; expected a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...',
      `3:27: users.b.keys[1]: options in front of a key (from) are not taken; use from: and role: of the user; expected ${KEY}`,
      `3:${27 + 'from="x" '.length + ED25519_KEY.length + '"", password: '.length + 1}: users.b.password: this does not fit; expected a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...`,
      `4:27: users.c.keys[1]: the RSA key has only 1024 bits; expected ${KEY}`,
      `4:${27 + RSA_1024_KEY.length + '], password: '.length}: users.c.password: this hash is damaged; expected a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...`,
      `5:26: users.d.keys: "${ED25519_KEY.slice(0, 59)}... does not fit; expected a list of public keys`,
    ],
  ],
  [
    'other sections',
    'data: ~/x\nmark: 1\nlog: { codec: gzip, spool: 1K, retention: 30d }\ninclude: a.yaml\n',
    [
      '1:7: data: "~/x" does not fit; expected a path (relative to this file; "~" is not filled in)',
      '2:7: mark: 1 does not fit; expected a duration from 1s to 7d, such as 1h, or none',
      '3:15: log.codec: "gzip" does not fit; expected brotli or zstd',
      '3:28: log.spool: "1K" does not fit; expected a size from 1M to 1G, such as 32M',
      '3:32: log.retention: not in this version; expected codec or spool',
      '4:10: include: "a.yaml" does not fit; expected a list of paths, such as [ports.d/*.yaml]',
    ],
  ],
  [
    'lists where maps belong',
    'ports: [a]\nusers: x\nroles: []\nprofiles: 3\nlisten: []\n',
    [
      '1:8: ports: expected a map: a name, ":" and its settings',
      '2:8: users: expected a map: a name, ":" and its settings',
      '3:8: roles: expected a map: a name, ":" and a list of rights',
      '4:11: profiles: expected a map: a name, ":" and its settings',
      '5:9: listen: an empty list does not fit; expected a map of listeners',
    ],
  ],
  [
    'a list as the whole file',
    '- a\n',
    ['1:1: this is no configuration; expected a map with ports, users and listen'],
  ],
  [
    'broken YAML',
    'ports:\n\ta: 1\n',
    ['2:1: this is not YAML: tabs are not allowed as indentation'],
  ],
  [
    'two documents',
    'data: /x\n---\ndata: /y\n',
    ['2:1: a second document starts here; expected one'],
  ],
  ['a tag', 'data: !secret x\n', ['1:7: this is not YAML: unresolved tag: !secret']],
  ['an alias of nothing', 'data: *x\n', ['1:7: alias "*x" has no anchor']],
  [
    'an alias of itself',
    'ports: &p { a: *p }\n',
    [
      '1:16: alias "*p" stands for itself',
      `1:13: ports.a: is empty; expected a map with one of ${BACKENDS}`,
    ],
  ],
  [
    'a key that is a list',
    '? [a]\n: b\n',
    ['1:3: a key is missing or is no text; expected "key: value"'],
  ],
];

describe('problems of a configuration', () => {
  for (const [what, text, expected] of table) {
    it(`names ${what}`, () => {
      const lines = expected.map((line) => `fairlead.yaml:${line}`);
      assert.deepEqual(
        problemsOf(text),
        lines.sort((a, b) => placeOf(a) - placeOf(b)),
      );
    });
  }

  it('points into the included file', () => {
    assert.deepEqual(
      problemsOf({
        'fairlead.yaml':
          'include: [ports.d/*.yaml]\nports: { a: { tcp: "h:1", n: 1 } }\nlisten: { web: {} }\n',
        'ports.d/1.yaml': 'ports:\n  A: { tcp: "h:2" }\n  b: { tpc: "h:1" }\n',
        'ports.d/2.yaml':
          'data: /x\nusers: { a: { role: view, unix: a } }\nports: { c: { n: 1, tcp: "h:3" } }\n',
      }),
      [
        'fairlead.yaml:2:10: ports.a: "a" is a user; expected another name',
        `fairlead.yaml:3:11: listen.web: not in this version; expected ${LISTEN_KEYS}`,
        'ports.d/1.yaml:2:3: ports.A: already defined at fairlead.yaml:2:10 as "a"; expected a name of its own (case does not count)',
        `ports.d/1.yaml:3:8: ports.b.tpc: unknown key; expected ${PORT_KEYS}; did you mean "tcp"?`,
        'ports.d/2.yaml:1:1: data: belongs into the main file; expected include, users, profiles, ports',
        'ports.d/2.yaml:3:18: ports.c.n: 1 is already the number of a (fairlead.yaml:2:30); expected a free one, such as 2',
      ],
    );
  });

  it('refuses an include that is missing or leads back, but not a pattern without matches', () => {
    assert.deepEqual(
      problemsOf({
        'fairlead.yaml': 'include: [none/*.yaml, gone.yaml, a.yaml]\n',
        'a.yaml': 'include: [b.yaml]\n',
        'b.yaml': 'include:\n  - fairlead.yaml\n',
      }),
      [
        'fairlead.yaml:1:24: include[2]: gone.yaml cannot be read: no such file or directory; expected a configuration file',
        'b.yaml:2:5: include[1]: fairlead.yaml includes itself by way of "fairlead.yaml", "a.yaml", "b.yaml", "fairlead.yaml"; expected no loop',
      ],
    );
  });

  it('does not call unknown what may stand in a file that cannot be read', () => {
    assert.deepEqual(
      problemsOf({
        'fairlead.yaml':
          'include: [more.yaml]\nports: { a: { tcp: "h:1", profile: p } }\nusers: { u: { role: view, ports: ["@g"], unix: u } }\n',
        'more.yaml': 'profiles: {\n',
      }),
      [
        'more.yaml:2:1: this is not YAML: flow map in block collection must be sufficiently indented and end with a }',
      ],
    );
  });

  it('says why a file of keys or a password cannot be used, and where in it', () => {
    const denied = Object.assign(new Error('EACCES'), { errno: -13, code: 'EACCES' });
    assert.deepEqual(
      problemsOf({
        'fairlead.yaml':
          'users:\n  a: { role: view, keysFile: a.pub, passwordFile: a.pw }\n  b: { role: view, keysFile: b.pub, passwordFile: b.pw }\n  c: { role: view, passwordFile: b.pw, password: x }\n',
        'a.pub': denied,
        'b.pub': `# b\n${ED25519_KEY}\nssh-dss AAAA\n`,
        'b.pw': 'hunter2\n',
      }),
      [
        'fairlead.yaml:2:30: users.a.keysFile: "a.pub" cannot be read: permission denied; expected a readable file with public keys',
        'fairlead.yaml:2:51: users.a.passwordFile: "a.pw" cannot be read: no such file or directory; expected a readable file with the hash of a password',
        'fairlead.yaml:4:20: users.c.passwordFile: there is a password, too; expected one of the two',
        'fairlead.yaml:4:50: users.c.password: this is no scrypt hash; expected a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...',
        'b.pub:3:1: DSA keys (ssh-dss) are too weak; expected ' +
          `${KEY} (keysFile of b, fairlead.yaml:3:30)`,
        'b.pw:1:1: this is no scrypt hash; expected one line made by "fairlead user hash" (passwordFile of b, fairlead.yaml:3:51)',
      ],
    );
  });

  it('warns, but accepts, where something has no effect', () => {
    const options = inMemory({
      'fairlead.yaml':
        'users: { a: { role: view, ports: [db*] } }\nports: { d1: { tcp: "h:1" } }\n',
    });
    const { settings, problems } = loadConfig('/etc/fairlead/fairlead.yaml', options);
    assert.equal(settings.users.length, 1);
    assert.deepEqual(
      problems.map(({ severity, text }) => `${severity}: ${text}`),
      [
        'warning: users.a: cannot log in: has no key, no password and no unix user',
        'warning: users.a.ports[1]: "db*" names no port',
      ],
    );
  });

  it('says what is wrong in a file of authorities or of one-time codes, and repeats no secret', () => {
    assert.deepEqual(
      problemsOf({
        'fairlead.yaml':
          'certificates: { authoritiesFile: ca.pub }\nusers:\n  a: { role: view, totpFile: a.totp }\n  b: { role: view, totpFile: a.totp, totp: x }\n',
        'ca.pub': `${ED25519_KEY}\nssh-ed25519-cert-v01@openssh.com AAAA\n`,
        'a.totp': 'hunter2\n',
      }),
      [
        'fairlead.yaml:4:20: users.b.totpFile: there is a totp, too; expected one of the two',
        `fairlead.yaml:4:44: users.b.totp: this is no secret in base32 (A-Z and 2-7); expected ${TOTP}`,
        `a.totp:1:1: this is no secret in base32 (A-Z and 2-7); expected ${TOTP} (totpFile of a, fairlead.yaml:3:30)`,
        `ca.pub:2:1: this is a certificate, not a key; give the key it was made from, or name the authority that signs certificates; expected ${KEY} (authoritiesFile of certificates, fairlead.yaml:1:34)`,
      ],
    );
  });

  it('asks for no way to log in where certificates or a door let a user in', () => {
    const users = 'users: { a: { role: view } }\n';
    const warned =
      'fairlead.yaml:1:10: warning: users.a: cannot log in: has no key, no password and no unix user';
    assert.deepEqual(problemsOf(users), [warned]);
    for (const text of [
      `certificates: { authorities: ["${ED25519_KEY}"] }\n`,
      'listen: { telnet: { auth: certificate, tls: { cert: c, key: k, clientCa: a } } }\n',
      'listen: { telnet: { auth: none, allow: [127.0.0.1], as: a } }\n',
      'ports: { p: { tcp: "h:1", expose: { path: /run/p, as: a } } }\n',
    ]) {
      assert.deepEqual(problemsOf(users + text), [], text);
    }
    const named =
      'listen: { raw: { auth: certificate, as: b, tls: { cert: c, key: k, clientCa: a } } }\n';
    assert.deepEqual(problemsOf(`${users.replace(' }\n', ', b: { role: view } }\n')}${named}`), [
      warned,
    ]);
  });

  it('knows the users of the database', () => {
    const text =
      'users: { Bob: { role: view, unix: b } }\nlisten: { raw: { auth: none, allow: [10.0.0.0/8], as: eve } }\nports: { eve: { tcp: "h:1" } }\n';
    assert.deepEqual(problemsOf(text, { databaseUsers: ['bob', 'eve'] }), [
      'fairlead.yaml:1:10: users.Bob: "bob" is also a user in the database; expected one of the two (this file counts)',
      'fairlead.yaml:3:10: ports.eve: "eve" is a user; expected another name',
    ]);
  });

  it('refuses zstd on a Node without it', () => {
    assert.deepEqual(problemsOf('log: { codec: zstd }', { hasZstd: true }), []);
    const [problem] = problemsOf('log: { codec: zstd }', { hasZstd: false });
    assert.match(problem ?? '', /^fairlead\.yaml:1:15: log\.codec: .*expected brotli$/);
  });

  it('survives nesting and aliases made to exhaust it', () => {
    const deep = ['[', '{a: ', '- ', '? '].map((open) => open.repeat(50_000));
    const indented = Array.from({ length: 2_000 }, (_, depth) => `${' '.repeat(depth)}a:`).join(
      '\n',
    );
    const doubling = Array.from(
      { length: 40 },
      (_, i) => `a${i}: &a${i} [${i === 0 ? 'x' : `*a${i - 1}, *a${i - 1}`}]`,
    ).join('\n');
    for (const text of [...deep, indented, doubling]) {
      const problems = problemsOf(text);
      assert.ok(problems.length > 0);
      assert.match(problems.join('\n'), /nested deeper than 64 levels|more than 200000 values/);
    }
  });
});

describe('any text', () => {
  const word = fc.constantFrom(
    ...['ports', 'users', 'listen', 'raw', 'ssh', 'a', 'b', 'tcp', 'n', 'role', 'keys', 'profile'],
    ...[
      'include',
      '__proto__',
      'constructor',
      '1',
      'h:1',
      '&x',
      '*x',
      'null',
      '~',
      '""',
      '!t',
      '<<',
    ],
  );
  const glue = fc.constantFrom(
    ': ',
    ': ',
    '\n',
    '\n  ',
    '\n    ',
    '{',
    '}',
    '[',
    ']',
    ', ',
    '- ',
    '? ',
    '#',
    '|',
    '\t',
    '---\n',
    "'",
    '"',
  );
  /** What the keys of this file take, and what is near to it. */
  const near = fc.constantFrom(
    ...['none', 'nothing', 'break', 'break 1s', '100ms', '61s', 'dtr=on rts=off', '^Ec', '0660'],
    ...['certificate', 'login', '127.0.0.1', 'refuse', '\\x0', '\x1b', '/run/a', 'x'.repeat(5000)],
  );
  const key = fc.constantFrom(
    ...['banner', 'motd', 'certificates', 'authorities', 'authoritiesFile', 'revokedFile', 'tls'],
    ...['port-ssh', 'telnet', 'raw', 'caps', 'base', 'alias', 'auth', 'allow', 'as', 'busy'],
    ...['totp', 'totpFile', 'principals', 'escape', 'tasks', 'breaks', 'steps', 'send', 'key'],
    ...[
      'match',
      'vendor',
      'serial',
      'udp',
      'listen',
      'from',
      'sourcePort',
      'format',
      'split',
      'of',
    ],
    ...[
      'half',
      'gdb',
      'rs485',
      'before',
      'pace',
      'byte',
      'newline',
      'reset',
      'pty',
      'command',
      'max',
    ],
    ...['restoreLine', 'onOpen', 'onDetach', 'dropDtr', 'idle', 'after', 'idleTimeout', 'power'],
    ...[
      'on',
      'cycle',
      'expose',
      'path',
      'mode',
      'group',
      'cert',
      'clientCa',
      '0',
      'b',
      '__proto__',
    ],
  );
  const anything: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      near,
      fc.integer(),
      fc.string(),
      fc.constantFrom(null, true, false, 1.5),
      fc.array(tie('node'), { maxLength: 3 }),
      fc.dictionary(key, tie('node'), { maxKeys: 4 }),
    ),
  })).node;
  const settings = fc.dictionary(key, anything, { maxKeys: 6 });
  /** The new keys at the places where they belong, with any value. */
  const placed = fc.record(
    {
      banner: anything,
      motd: anything,
      certificates: fc.oneof(settings, anything),
      tasks: fc.oneof(fc.dictionary(key, anything), anything),
      breaks: fc.oneof(fc.dictionary(key, anything), anything),
      listen: fc.dictionary(key, fc.oneof(settings, anything)),
      users: fc.record({ a: settings.map((user) => ({ role: 'view', ...user })) }),
      defaults: settings,
      autoPorts: fc.oneof(fc.array(settings, { maxLength: 2 }), anything),
      profiles: fc.record({ p: settings }),
      ports: fc.record({
        q: settings.map((port) => ({ tcp: 'h:1', profile: 'p', n: 1, ...port })),
      }),
    },
    { requiredKeys: [] },
  );
  /** One key of a file that is right otherwise, so that what comes after the checks is met as well. */
  const sequence = fc.array(fc.oneof(near, fc.record({ send: fc.oneof(near, fc.string()) })), {
    minLength: 1,
    maxLength: 3,
  });
  const single = fc
    .tuple(
      fc.constantFrom(
        ...['banner: ?', 'motd: ?', 'certificates: { authorities: ? }', 'tasks: { t: ? }'],
        ...['breaks: { 0: ? }', 'listen: { telnet: ? }', 'listen: { port-ssh: { base: ? } }'],
        ...['totp', 'principals', 'escape'].map(
          (user) => `users: { a: { role: view, unix: a, ${user}: ? } }`,
        ),
        ...['onOpen', 'onDetach', 'idle', 'idleTimeout', 'motd', 'restoreLine'].map(
          (port) => `defaults: { ${port}: ? }\nports: { q: { tcp: "h:1" } }`,
        ),
        ...[
          'onOpen: ?',
          'tasks: { t: ? }',
          'breaks: { 0: ? }',
          'power: { on: ? }',
          'expose: ?',
          'tls: ?',
          'pace: ?',
          'reset: ?',
        ].map((port) => `ports: { q: { tcp: "h:1", ${port} } }`),
        ...[
          'match: ?',
          'udp: ?',
          'udp: { listen: "10.0.0.1:1", from: ? }',
          'split: ?',
          'split: { of: ?, half: low }',
          'pty: ?',
          'exec: ?',
          'device: /dev/x, rs485: ?',
        ].map((port) => `ports: { q: { ${port} } }`),
        'autoPorts: ?',
        'autoPorts: [{ udp: "10.0.0.1:1", from: ? }]',
        'autoPorts: [{ udp: "10.0.0.1:1", from: 10.0.0.1, prefix: ?, tasks: ? }]',
      ),
      fc.oneof(anything, near, sequence, fc.record({ send: near }), fc.array(fc.string())),
    )
    .map(([text, given]) => text.replaceAll('?', () => JSON.stringify(given)));
  const yamlish = fc.array(fc.oneof(word, glue), { maxLength: 40 }).map((parts) => parts.join(''));
  const value: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      word,
      fc.integer(),
      fc.constantFrom(null, true, 1.5),
      fc.array(tie('node'), { maxLength: 3 }),
      fc.dictionary(word, tie('node'), { maxKeys: 4 }),
    ),
  })).node;
  const file = fc.oneof(
    yamlish,
    fc.string(),
    value.map((data) => JSON.stringify(data)),
    placed.map((data) => JSON.stringify(data)),
    single,
  );

  it('makes one line of a problem, whatever it quotes', () => {
    const [problem, ...more] = problemsOf('? prots\n\n    |');
    assert.match(problem!, /^fairlead\.yaml:1:3: prots \|: unknown key; [^\n]*$/);
    assert.deepEqual(more, []);
  });

  it('is read, or refused with CONFIG_INVALID: never anything else', () => {
    fc.assert(
      fc.property(file, file, (text, included) => {
        const options = inMemory({
          'fairlead.yaml': text,
          'a.yaml': included,
        });
        try {
          loadConfig('/etc/fairlead/fairlead.yaml', options);
        } catch (error) {
          assert.ok(error instanceof Fault, String(error));
          assert.equal(error.code, 'CONFIG_INVALID');
          for (const line of error.message.split('\n')) assert.match(line, /^\/\S+:\d+:\d+: ./);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

function placeOf(line: string): number {
  const [, row, column] = line.split(':');
  return Number(row) * 10_000 + Number(column);
}
