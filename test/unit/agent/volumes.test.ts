import { emptyDirPath } from '../../../src/agent/volumes.ts';
import { podUid } from './fakes.ts';

test('where the kubelet keeps a volume', () => {
  expect(emptyDirPath('/var/lib/kubelet', podUid, 'cache-1')).toBe(
    `/var/lib/kubelet/pods/${podUid}/volumes/kubernetes.io~empty-dir/cache-1`,
  );
});

test.each(['', '..', '.', 'a/b', '../a', 'A', 'a_b', '-a', 'a-', 'a\n'])('%j is no volume', (volume) => {
  expect(() => emptyDirPath('/var/lib/kubelet', podUid, volume)).toThrow('not the name of a volume');
});

test.each(['', '..', `${podUid}/..`, '../../etc', podUid.slice(1), `${podUid}\n`])('%j is no pod', (uid) => {
  expect(() => emptyDirPath('/var/lib/kubelet', uid, 'cache')).toThrow('not the uid of a pod');
});
