import fc from 'fast-check';
import { shortHash, withSuffix } from '../../../src/plan/hash.ts';

const dnsLabel = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const dnsSubdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
const subdomain = fc.array(label, { minLength: 1, maxLength: 5 }).map((parts) =>
  parts
    .join('.')
    .slice(0, 253)
    .replace(/[-.]+$/, ''),
);

test('a hash always is the same, as long as asked for, and made of letters that Kubernetes generates', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.integer({ min: 1, max: 12 }), (text, length) => {
      const hash = shortHash(text, length);
      expect(hash).toBe(shortHash(text, length));
      expect(hash).toHaveLength(length);
      expect(hash).toMatch(/^[bcdfghjklmnpqrstvwxz2456789]+$/);
    }),
  );
  expect(shortHash('x')).toHaveLength(5);
});

test('neighbouring texts have other hashes', () => {
  const hashes = new Set(Array.from({ length: 5000 }, (_, index) => shortHash(`44444444-4444-4444-4444-444444444444/${index}`, 8)));
  expect(hashes.size).toBe(5000);
});

test('a name with a suffix is a DNS label of at most 63 characters that ends in the suffix', () => {
  fc.assert(
    fc.property(label, fc.string(), (name, text) => {
      const suffix = shortHash(text);
      const result = withSuffix(name, suffix);
      expect(result).toMatch(dnsLabel);
      expect(result.length).toBeLessThanOrEqual(63);
      expect(result.endsWith(`-${suffix}`)).toBe(true);
      if (name.length <= 57) expect(result).toBe(`${name}-${suffix}`);
    }),
  );
});

test('names of pods may have dots; the result is still the name of a pod', () => {
  fc.assert(
    fc.property(subdomain, fc.integer({ min: 10, max: 253 }), (name, limit) => {
      const result = withSuffix(name, shortHash(name), limit);
      expect(result).toMatch(dnsSubdomain);
      expect(result.length).toBeLessThanOrEqual(limit);
    }),
  );
});

test('a cut never leaves a dash or dot before the suffix', () => {
  expect(withSuffix(`${'a'.repeat(56)}-b`, 'xxxxx')).toBe(`${'a'.repeat(56)}-xxxxx`);
  expect(withSuffix(`${'a'.repeat(55)}.-b`, 'xxxxx')).toBe(`${'a'.repeat(55)}-xxxxx`);
});
