import { baseImage, baseImages, emptyDirs, originalImage } from '../../../../src/plan/pods/images.ts';
import { deepFreeze, digest, pod, running } from '../objects.ts';

const idOf = (letter: string) => `registry.example/other@${digest(letter)}`;

/** A pod with one container of this image, which runs under this id. */
function podOf(image: string, imageID: string, annotations: Record<string, string> = {}) {
  return deepFreeze(
    pod({
      metadata: { annotations },
      spec: { containers: [{ name: 'app', image }] },
      status: { containerStatuses: [{ ...running('app', 'a'), imageID }] },
    }),
  );
}
const baseOf = (...given: Parameters<typeof podOf>) => baseImages(podOf(...given))[0]?.baseImage;

test('a base image by digest: the tag goes, a port of the registry stays', () => {
  expect(baseOf('nginx', idOf('b'))).toBe(`nginx@${digest('b')}`);
  expect(baseOf('nginx:1.29', idOf('b'))).toBe(`nginx@${digest('b')}`);
  expect(baseOf('registry:5000/nginx', idOf('b'))).toBe(`registry:5000/nginx@${digest('b')}`);
  expect(baseOf('registry:5000/shop/nginx:v1', idOf('b'))).toBe(`registry:5000/shop/nginx@${digest('b')}`);
  expect(baseOf('[fd00::1]:5000/nginx:v1', idOf('b'))).toBe(`[fd00::1]:5000/nginx@${digest('b')}`);
});

test('an image that is asked for by digest stays as it is', () => {
  const image = `registry:5000/nginx:v1@${digest('c')}`;
  expect(baseOf(image, idOf('b'))).toBe(image);
});

test('where the runtime tells no repository digest the reference has to do', () => {
  expect(baseOf('nginx:v1', digest('b'))).toBe('nginx:v1');
  expect(baseOf('nginx:v1', '')).toBe('nginx:v1');
  expect(baseOf('nginx:v1', `nginx@${digest('b')}-x`)).toBe('nginx:v1');
});

test('a pod that was migrated before remembers what it was made from', () => {
  const annotations = {
    'podferry.io/original-images': JSON.stringify({ app: 'nginx:v1' }),
    'podferry.io/base-images': JSON.stringify({ app: `nginx@${digest('d')}` }),
  };
  const migrated = podOf('localhost:5001/TOKEN/app:restore', idOf('b'), annotations);
  expect(baseImages(migrated)).toEqual([{ name: 'app', image: 'nginx:v1', baseImage: `nginx@${digest('d')}` }]);
  const { 'podferry.io/original-images': original } = annotations;
  const half = podOf('localhost:5001/TOKEN/app:restore', idOf('b'), { 'podferry.io/original-images': original });
  expect(baseImages(half)).toEqual([{ name: 'app', image: 'nginx:v1', baseImage: `nginx@${digest('b')}` }]);
});

test.each(['', '{', 'null', '7', '"app"', '[]', '{"other":"x"}'])('an annotation that says %j is as good as none', (text) => {
  const damaged = podOf('nginx:v1', idOf('b'), { 'podferry.io/original-images': text, 'podferry.io/base-images': text });
  expect(baseImages(damaged)).toEqual([{ name: 'app', image: 'nginx:v1', baseImage: `nginx@${digest('b')}` }]);
});

test('sidecars have base images, other init containers need none', () => {
  const images = baseImages(
    pod({
      spec: {
        initContainers: [
          { name: 'setup', image: 'setup:v1' },
          { name: 'proxy', image: 'proxy:v1', restartPolicy: 'Always' },
        ],
      },
      status: { initContainerStatuses: [running('setup', 'c'), running('proxy', 'b')] },
    }),
  );
  expect(images).toEqual([
    { name: 'proxy', image: 'proxy:v1', baseImage: `proxy@${digest('b')}` },
    { name: 'app', image: 'registry.example/shop/web:v1', baseImage: `registry.example/shop/web@${digest('a')}` },
  ]);
});

test('a container without an image, or without a status, has none rather than a wrong one', () => {
  const bare = pod({ spec: { containers: [{ name: 'app' }] }, status: { containerStatuses: [] } });
  expect(originalImage(bare, { name: 'app' })).toBe('');
  expect(baseImage(bare, { name: 'app' })).toBe('');
});

// `recorded()[name]` finds what every object inherits: a container may be named `constructor` (a valid DNS label).
test('a container named as a property of every object', () => {
  const odd = pod({
    spec: { containers: [{ name: 'constructor', image: 'nginx:v1' }] },
    status: { containerStatuses: [running('constructor', 'b')] },
  });
  expect(baseImages(odd)).toEqual([{ name: 'constructor', image: 'nginx:v1', baseImage: `nginx@${digest('b')}` }]);
});

test('volumes of type emptyDir, disk or memory', () => {
  const volumes = [
    { name: 'a', emptyDir: {} },
    { name: 'b', configMap: {} },
    { name: 'c', emptyDir: { medium: 'Memory' } },
  ];
  expect(emptyDirs(pod({ spec: { volumes } }))).toEqual(['a', 'c']);
  expect(emptyDirs(pod())).toEqual([]);
});
