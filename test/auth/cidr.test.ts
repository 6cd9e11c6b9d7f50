import assert from 'node:assert/strict';
import { BlockList, isIP } from 'node:net';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createAddressFilter, isInAny, parseCidr, parseIpAddress } from '../../src/auth/cidr.ts';

describe('address blocks', () => {
  it('holds exactly the addresses inside', () => {
    const filter = createAddressFilter(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32', '::1']);
    for (const inside of ['10.0.0.0', '10.255.255.255', '192.0.2.7', '2001:db8:ffff::1', '::1']) {
      assert.equal(filter(inside), true, inside);
    }
    for (const outside of [
      '11.0.0.0',
      '9.255.255.255',
      '192.0.2.8',
      '2001:db9::',
      '::2',
      'x',
      '',
    ]) {
      assert.equal(filter(outside), false, outside);
    }
  });

  it('takes an IPv4-mapped address for the IPv4 address it is, and ignores a zone', () => {
    const filter = createAddressFilter(['10.0.0.0/8', 'fe80::/10', '::ffff:192.0.2.0/120']);
    assert.equal(filter('::ffff:10.1.2.3'), true);
    assert.equal(filter('::ffff:0a01:0203'), true);
    assert.equal(filter('fe80::1%eth0'), true);
    assert.equal(filter('192.0.2.9'), true);
    assert.equal(createAddressFilter(['::/0'])('10.1.2.3'), false);
  });

  it('lets everybody in only when no block is given at all', () => {
    assert.equal(createAddressFilter([])('203.0.113.1'), true);
    assert.equal(createAddressFilter(['not a block'])('203.0.113.1'), false);
  });

  it('says what is wrong with a block', () => {
    const wrong: [string, RegExp][] = [
      ['10.0.0', /is not an address block/],
      ['10.0.0.0/33', /no prefix length of 0 to 32/],
      ['10.0.0.0/', /no prefix length/],
      ['2001:db8::/129', /no prefix length of 0 to 128/],
      ['10.0.0.7/8', /write 10\.0\.0\.0\/8 for the block/],
      ['fe80::1%eth0', /is not an address block/],
      ['', /is not an address block/],
    ];
    for (const [text, words] of wrong) {
      const result = parseCidr(text);
      assert.ok('wrong' in result, text);
      assert.match(result.wrong, words);
    }
  });

  it('agrees with node:net on any block and address', () => {
    const v4 = fc.ipV4();
    const v6 = fc.ipV6();
    fc.assert(
      fc.property(fc.oneof(v4, v6), fc.nat(128), fc.oneof(v4, v6), (network, bits, address) => {
        const family = isIP(network) === 4 ? 'ipv4' : 'ipv6';
        const prefixBits = Math.min(bits, family === 'ipv4' ? 32 : 128);
        const parsed = parseIpAddress(network)!;
        fc.pre(parsed.bytes.length === (family === 'ipv4' ? 4 : 16)); // mapped ones are ours alone
        const block = parseCidr(`${network}/${prefixBits}`);
        const list = new BlockList();
        list.addSubnet(network, prefixBits, family);
        fc.pre('network' in block);
        for (const probe of [network, address]) {
          if (isIP(probe) !== isIP(network)) continue;
          const expected = list.check(probe, family);
          assert.equal(
            isInAny([block as never], probe),
            expected,
            `${network}/${prefixBits} ${probe}`,
          );
        }
      }),
    );
  });
});
