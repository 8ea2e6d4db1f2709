import { Slots } from '../../../src/util/slots.ts';

test('so many at a time, the others in the order in which they came', async () => {
  const slots = new Slots(2);
  const said: string[] = [];
  const releases = await Promise.all([slots.take(), slots.take()]);
  const waiting = ['three', 'four'].map((name) =>
    slots.take().then((release) => {
      said.push(name);
      return release;
    }),
  );
  await Promise.resolve();
  expect(said).toEqual([]);
  releases[0]?.();
  // Given back twice is given back once.
  releases[0]?.();
  await waiting[0];
  expect(said).toEqual(['three']);
  releases[1]?.();
  await Promise.all(waiting);
  expect(said).toEqual(['three', 'four']);
});

test('who is stopped while it waits takes nothing away', async () => {
  const slots = new Slots(1);
  const release = await slots.take();
  const stop = new AbortController();
  const stopped = slots.take(stop.signal);
  const next = slots.take();
  stop.abort(new Error('enough'));
  await expect(stopped).rejects.toThrow('enough');
  release();
  await next;
  await expect(slots.take(stop.signal)).rejects.toThrow('enough');
});
