import fc from 'fast-check';
import { credentialsFor } from '../../../src/image/docker-config.ts';
import { formatReference, type ImageReference, normalize, parseReference, registryHost } from '../../../src/image/reference.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

describe('references', () => {
  test.each<[string, ImageReference]>([
    ['nginx', { repository: 'nginx' }],
    ['nginx:1.27', { repository: 'nginx', tag: '1.27' }],
    ['team/app', { repository: 'team/app' }],
    ['localhost/app', { registry: 'localhost', repository: 'app' }],
    ['localhost:5000/app:v1', { registry: 'localhost:5000', repository: 'app', tag: 'v1' }],
    ['registry.example.com/a/b/c__d:T_1.x-y', { registry: 'registry.example.com', repository: 'a/b/c__d', tag: 'T_1.x-y' }],
    [`registry.example.com:5000/a@${digest}`, { registry: 'registry.example.com:5000', repository: 'a', digest }],
    [`a:v1@${digest}`, { repository: 'a', tag: 'v1', digest }],
    ['[::1]:5000/app', { registry: '[::1]:5000', repository: 'app' }],
    ['Host/app', { registry: 'Host', repository: 'app' }],
  ])('%s', (text, parsed) => {
    expect(parseReference(text)).toEqual(parsed);
    expect(formatReference(parsed)).toBe(text);
  });

  test.each([
    ['', /empty/],
    ['Nginx', /lower-case/],
    ['a:', /not a tag/],
    [`a:${'x'.repeat(129)}`, /not a tag/],
    ['a@sha256:123', /not a digest/],
    ['a@sha256', /not a digest/],
    ['a//b', /not a repository/],
    ['../a', /not a registry/],
    ['https://registry.example.com/a', /image reference "https:/],
    ['a b', /not a repository/],
    ['a.b:70000000/c', /not a registry/],
    ['registry.example.com/', /not a repository/],
    ['-a', /not a repository/],
    [`${'a/'.repeat(140)}b`, /not a repository/],
  ])('%p is refused with a reason', (text, reason) => {
    expect(() => parseReference(text)).toThrow(reason);
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ name: 'ImageError', code: 'protocol' }));
  });

  test.each([
    ['nginx', 'docker.io/library/nginx:latest'],
    ['team/app:1', 'docker.io/team/app:1'],
    [`nginx@${digest}`, `docker.io/library/nginx@${digest}`],
    ['index.docker.io/nginx', 'docker.io/library/nginx:latest'],
    ['quay.io/app', 'quay.io/app:latest'],
  ])('%s means %s', (short, full) => {
    expect(formatReference(normalize(parseReference(short)))).toBe(full);
  });

  test('Docker Hub answers at another host', () => {
    expect(registryHost('docker.io')).toBe('registry-1.docker.io');
    expect(registryHost('localhost:5000')).toBe('localhost:5000');
  });

  test('what is formatted is parsed back; anything else is refused or stays the same', () => {
    const component = fc.stringMatching(/^[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}$/);
    const host = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?(\.[a-z0-9]{1,5}){1,2}(:[0-9]{1,5})?$/);
    const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
    const parts = fc.record({
      registry: optional(host),
      repository: fc.array(component, { minLength: 1, maxLength: 4 }),
      tag: optional(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,30}$/)),
      digest: optional(fc.stringMatching(/^sha256:[a-f0-9]{64}$/)),
    });
    fc.assert(
      fc.property(parts, ({ repository, ...rest }) => {
        const path = repository.join('/');
        // Without a registry, a first component with a dot would be one.
        if (rest.registry === undefined && (repository[0] as string).includes('.') && repository.length > 1) return;
        const reference = Object.fromEntries(
          Object.entries({ ...rest, repository: path }).filter(([, value]) => value !== undefined),
        ) as unknown as ImageReference;
        expect(parseReference(formatReference(reference))).toEqual(reference);
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          expect(formatReference(parseReference(text))).toBe(text);
        } catch (error) {
          expect(error).toMatchObject({ code: 'protocol' });
        }
      }),
    );
  });
});

describe('credentials of a pull secret', () => {
  const auth = (text: string) => Buffer.from(text).toString('base64');
  const document = JSON.stringify({
    auths: {
      'https://index.docker.io/v1/': { auth: auth('hub:secret') },
      'registry.example.com:5000': { username: 'a', password: 'b' },
      'registry.example.com:5000/team': { auth: auth('team:x:y') },
      '*.wild.example.com': { username: 'w', password: 'w' },
      'sub.wild.example.com': { username: 's', password: 's' },
      'broken.example.com': { auth: '!!' },
    },
  });

  test.each([
    ['docker.io', 'library/nginx', { username: 'hub', password: 'secret' }],
    ['registry-1.docker.io', undefined, { username: 'hub', password: 'secret' }],
    ['registry.example.com:5000', 'other/app', { username: 'a', password: 'b' }],
    ['registry.example.com:5000', 'team/app', { username: 'team', password: 'x:y' }],
    ['registry.example.com:5000', 'teams/app', { username: 'a', password: 'b' }],
    ['any.wild.example.com', 'a', { username: 'w', password: 'w' }],
    ['sub.wild.example.com', 'a', { username: 's', password: 's' }],
    ['a.b.wild.example.com', 'a', undefined],
    ['registry.example.com', 'a', undefined],
    ['broken.example.com', 'a', undefined],
  ])('%s %s', (registry, repository, expected) => {
    expect(credentialsFor(document, registry, repository)).toEqual(expected);
  });

  test('a document of another kind is refused without showing it', () => {
    expect(() => credentialsFor('{"password":"hunter2"', 'a')).toThrow(/not valid JSON/);
    expect(() => credentialsFor('{"password":"hunter2"', 'a')).not.toThrow(/hunter2/);
    expect(() => credentialsFor('{}', 'a')).toThrow(/no "auths"/);
  });
});
