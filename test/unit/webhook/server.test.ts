import jsonpatch from 'fast-json-patch';
import { pino } from 'pino';
import request from 'supertest';
import type { Pod } from '../../../src/api/pod.ts';
import { webhookApp } from '../../../src/webhook/server.ts';
import { ago, statusAt } from '../plan/migration/observations.ts';
import { deepFreeze, pod, podUid } from '../plan/objects.ts';
import { failed, made, policy } from '../plan/policy/policies.ts';
import { evictionOf, FakeCluster, requestOf, reviewOf, withAnnotation } from './requests.ts';

const log = pino({ level: 'silent' });

function start(cluster = new FakeCluster()) {
  const seen: [string, string][] = [];
  const app = webhookApp({
    ports: cluster,
    evictions: cluster,
    deadline: 1000,
    log,
    onReview: (operation, outcome) => seen.push([operation, outcome]),
  });
  const post = (body: string | object) => request(app).post('/mutate-pods').set('content-type', 'application/json').send(body);
  const review = (admission: object) => post({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: admission });
  const evict = (body: string | object, query = '') =>
    request(app).post(`/validate-evictions${query}`).set('content-type', 'application/json').send(body);
  return { app, cluster, seen, post, review, evict };
}

test('a pod that is no concern of podferry passes, without a patch', async () => {
  const { review, seen } = start();
  const { status, body, headers } = await review(requestOf('CREATE', pod()));
  expect(status).toBe(200);
  expect(body).toEqual({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid: 'admission-1', allowed: true } });
  expect(headers['x-powered-by']).toBeUndefined();
  expect(seen).toEqual([['CREATE', 'passed']]);
});

test('a replica that ends closes connections with its answers', async () => {
  const cluster = new FakeCluster();
  let ending = false;
  const app = webhookApp({ ports: cluster, evictions: cluster, deadline: 1000, log, ending: () => ending });
  const post = () => request(app).post('/mutate-pods').set('connection', 'keep-alive').send({});
  expect((await post()).headers.connection).not.toBe('close');
  ending = true;
  expect((await post()).headers.connection).toBe('close');
});

test('the patch makes of the object just what is wanted', async () => {
  const { review, seen } = start();
  const before = pod();
  const asked = deepFreeze(withAnnotation(before, 'podferry.io/migrate-to', 'auto'));
  const { body } = await review(requestOf('UPDATE', asked, { oldObject: before }));
  expect(body.response).toMatchObject({ uid: 'admission-1', allowed: true, patchType: 'JSONPatch' });
  const patch = JSON.parse(Buffer.from(body.response.patch, 'base64').toString('utf8'));
  const patched = jsonpatch.applyPatch(structuredClone(asked), patch, true, true).newDocument as Pod;
  expect(patched).toEqual(withAnnotation(asked, 'podferry.io/request', 'admission-1'));
  expect(seen).toEqual([['UPDATE', 'changed']]);
});

test('a refusal has code, reason and words, and the time to come back', async () => {
  const { review, seen, cluster } = start();
  cluster.access = { allowed: false, reason: 'no' };
  const asked = withAnnotation(pod(), 'podferry.io/migrate-to', 'auto');
  const { status, body } = await review(requestOf('UPDATE', asked, { oldObject: pod() }));
  expect(status).toBe(200);
  expect(body.response).toEqual({
    uid: 'admission-1',
    allowed: false,
    status: { code: 403, reason: 'Forbidden', message: expect.stringContaining('anna') },
  });
  expect(seen).toEqual([['UPDATE', 'refused']]);
});

test('a warning is passed on', async () => {
  const { review, cluster } = start();
  cluster.pods = [pod()];
  const asked = withAnnotation(
    withAnnotation(pod({ metadata: { name: 'mine' } }), 'podferry.io/migrate-from', 'web-7d9f-abcde'),
    'podferry.io/destination',
    'node-b',
  );
  const { body } = await review(requestOf('CREATE', asked, { dryRun: true }));
  expect(body.response).toEqual({
    uid: 'admission-1',
    allowed: true,
    warnings: [expect.stringContaining('would be moved to node node-b')],
  });
});

test('a thrown error is answered all the same: 500, with the uid', async () => {
  const { review, seen, cluster } = start();
  cluster.mayMigrate = () => Promise.reject(new Error('the API server is gone'));
  const asked = withAnnotation(pod(), 'podferry.io/migrate-to', 'auto');
  const { status, body } = await review(requestOf('UPDATE', asked, { oldObject: pod() }));
  expect(status).toBe(200);
  expect(body).toMatchObject({
    kind: 'AdmissionReview',
    response: { uid: 'admission-1', allowed: false, status: { code: 500, message: expect.stringContaining('the API server is gone') } },
  });
  expect(seen).toEqual([['UPDATE', 'refused']]);
});

// The review fails, as it should, but then the log line reads userInfo again, outside of the try.
test('a review without a user is answered as a review', async () => {
  const { userInfo: _userInfo, ...nobody } = requestOf('UPDATE', pod(), { oldObject: pod() });
  const { body } = await start().review(nobody);
  expect(body.response).toMatchObject({ uid: 'admission-1', allowed: false });
});

describe('what is no review', () => {
  test('with a uid it is answered as one, without one it is a bad request', async () => {
    const { review, post } = start();
    const wrong = await review({ ...requestOf('CREATE', pod()), kind: { group: '', version: 'v1', kind: 'Node' } });
    expect(wrong.status).toBe(200);
    expect(wrong.body.response).toEqual({
      uid: 'admission-1',
      allowed: false,
      status: { code: 400, reason: 'BadRequest', message: 'podferry: the request is not about a Pod' },
    });
    const none = await post({ kind: 'AdmissionReview' });
    expect(none.status).toBe(400);
    expect(none.body.error).toContain('expected an AdmissionReview');
  });

  test.each(['{', '', 'null', '"text"', '[', '\u0000'])('the body %j', async (body) => {
    const { status, body: answer } = await start().post(body);
    expect(status).toBe(400);
    expect(answer.error).toEqual(expect.any(String));
  });

  test('a body that is too large: 413, and one at the limit is read', async () => {
    const { post } = start();
    const text = (bytes: number) => JSON.stringify({ padding: 'x'.repeat(bytes - JSON.stringify({ padding: '' }).length) });
    expect((await post(text((7 << 20) + 1))).status).toBe(413);
    expect((await post(text(7 << 20))).status).toBe(400);
  });

  test('another path or method', async () => {
    const { app } = start();
    expect((await request(app).get('/mutate-pods')).status).toBe(404);
    expect((await request(app).post('/validate').send({})).status).toBe(404);
  });

  test('the type of the content does not matter', async () => {
    const { app } = start();
    const body = JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: requestOf('CREATE', pod()) });
    const answer = await request(app).post('/mutate-pods').set('content-type', 'text/plain').send(body);
    expect(answer.body.response).toEqual({ uid: 'admission-1', allowed: true });
  });
});

describe('evictions', () => {
  /** The pod runs, and a policy covers it. */
  const covered = (spec: Parameters<typeof policy>[0] = {}) => {
    const cluster = new FakeCluster();
    cluster.pods = [pod()];
    cluster.migrationPolicies = [policy(spec)];
    return start(cluster);
  };
  const asked = reviewOf(evictionOf(pod()));

  test('a pod that no policy covers is evicted as ever', async () => {
    const { evict, cluster, seen } = covered({ podSelector: { matchLabels: { app: 'db' } } });
    const { status, body } = await evict(asked);
    expect(status).toBe(200);
    expect(body).toEqual({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid: 'admission-1', allowed: true } });
    expect(cluster.created).toEqual([]);
    expect(seen).toEqual([['EVICT', 'passed']]);
  });

  test('a covered one is refused with 429, what is going on; it is moved', async () => {
    const { evict, cluster, seen } = covered();
    const { status, body } = await evict(asked);
    expect(status).toBe(200);
    expect(body.response).toEqual({
      uid: 'admission-1',
      allowed: false,
      status: { code: 429, reason: 'TooManyRequests', message: 'podferry: waiting to migrate' },
    });
    expect(cluster.created.map(({ spec }) => spec.pod)).toEqual(['web-7d9f-abcde']);
    expect(seen).toEqual([['EVICT', 'refused']]);
  });

  test('one that just arrived is not found: 404', async () => {
    const { evict, cluster } = covered();
    cluster.migrations = [made(statusAt('Succeeded', { target: { nodeName: 'node-a', uid: podUid }, steps: { finished: ago(3) } }))];
    const { body } = await evict(asked);
    expect(body.response).toEqual({
      uid: 'admission-1',
      allowed: false,
      status: { code: 404, reason: 'NotFound', message: expect.stringContaining('was moved from node node-a') },
    });
  });

  test('one that goes without its memory goes with a warning', async () => {
    const { evict, cluster, seen } = covered({ onFailure: 'Evict', retries: 0 });
    cluster.migrations = [failed('try-1', 'node-b')];
    const { body } = await evict(asked);
    expect(body.response).toEqual({
      uid: 'admission-1',
      allowed: true,
      warnings: [expect.stringMatching(/evicted without its memory: .*try-1 did not work/)],
    });
    expect(seen).toEqual([['EVICT', 'passed']]);
  });

  test('a thrown error keeps the pod: 429, not 500', async () => {
    const { evict, cluster, seen } = covered();
    cluster.createMigration = () => Promise.reject(new Error('the API server is gone'));
    const { status, body } = await evict(asked);
    expect(status).toBe(200);
    expect(body.response).toEqual({
      uid: 'admission-1',
      allowed: false,
      status: {
        code: 429,
        reason: 'TooManyRequests',
        message: 'podferry could not decide about the pod yet: the API server is gone',
      },
    });
    expect(seen).toEqual([['EVICT', 'refused']]);
  });

  test('an answer comes in the time that the API server gives, and that is less than the webhook would take', async () => {
    const { evict, cluster } = covered();
    const ended: string[] = [];
    cluster.getPod = (_namespace, name, signal) =>
      new Promise((_resolve, reject) => {
        const end = () => {
          ended.push(name);
          reject(signal.reason);
        };
        signal.addEventListener('abort', end, { once: true });
      });
    const [, hurried] = await Promise.all([
      evict(reviewOf(evictionOf(pod(), { name: 'patient' }))),
      evict(reviewOf(evictionOf(pod(), { name: 'hurried' })), '?timeout=1s'),
    ]);
    expect(ended).toEqual(['hurried', 'patient']);
    expect(hurried.body.response.status).toMatchObject({ code: 429, message: expect.stringContaining('timeout') });
  });

  const bad: [string, string | object][] = [
    ['no JSON', '{'],
    ['nothing', ''],
    ['null', 'null'],
    ['a list', '[]'],
    ['no request', { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' }],
    ['a request without a uid', reviewOf(evictionOf(pod(), { uid: undefined }))],
    ['another version', { ...reviewOf(evictionOf(pod())), apiVersion: 'admission.k8s.io/v1beta1' }],
    ['a review of a pod', reviewOf(requestOf('CREATE', pod()))],
    ['no name', reviewOf(evictionOf(pod(), { name: undefined }))],
  ];
  test.each(bad)('a bad request: %s', async (_what, body) => {
    const { evict, cluster, seen } = covered();
    const { status, body: answer } = await evict(body);
    expect(status).toBe(400);
    expect(answer.error).toEqual(expect.any(String));
    expect(cluster.created).toEqual([]);
    expect(seen).toEqual([]);
  });

  test('both routes read their own reviews only', async () => {
    const { review } = covered();
    expect((await review(evictionOf(pod()))).body.response).toMatchObject({ allowed: false, status: { code: 400 } });
  });
});
