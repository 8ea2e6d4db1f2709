import { together } from '../../../src/util/together.ts';

const never = new AbortController().signal;

/** Ends when it is stopped, and says so. */
const untilStopped = (stop: AbortSignal, ended: string[], name: string) =>
  new Promise<void>((_resolve, reject) => {
    stop.addEventListener('abort', () => {
      ended.push(name);
      reject(new Error(`${name} was stopped`));
    });
  });

test('all that came of the parts', async () => {
  expect(await together(never, () => [Promise.resolve(1), Promise.resolve('two')])).toEqual([1, 'two']);
});

test('the first that fails ends the others, and is what is heard of', async () => {
  const ended: string[] = [];
  const failing = together(never, (stop) => [
    untilStopped(stop, ended, 'one'),
    Promise.reject(new Error('no route')),
    untilStopped(stop, ended, 'three'),
  ]);
  await expect(failing).rejects.toThrow('no route');
  expect(ended).toEqual(['one', 'three']);
});

test('a stop ends all of them', async () => {
  const ended: string[] = [];
  const stop = new AbortController();
  const work = together(stop.signal, (signal) => [untilStopped(signal, ended, 'one')]);
  stop.abort(new Error('lease'));
  await expect(work).rejects.toThrow('one was stopped');
  expect(ended).toEqual(['one']);
});
