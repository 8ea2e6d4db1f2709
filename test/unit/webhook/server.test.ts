import jsonpatch from 'fast-json-patch';
import { pino } from 'pino';
import request from 'supertest';
import type { Pod } from '../../../src/api/pod.ts';
import { webhookApp } from '../../../src/webhook/server.ts';
import { deepFreeze, pod } from '../plan/objects.ts';
import { FakeCluster, requestOf, withAnnotation } from './requests.ts';

const log = pino({ level: 'silent' });

function start(cluster = new FakeCluster()) {
  const seen: [string, string][] = [];
  const app = webhookApp({ ports: cluster, deadline: 1000, log, onReview: (operation, outcome) => seen.push([operation, outcome]) });
  const post = (body: string | object) => request(app).post('/mutate-pods').set('content-type', 'application/json').send(body);
  const review = (admission: object) => post({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: admission });
  return { app, cluster, seen, post, review };
}

test('a pod that is no concern of podferry passes, without a patch', async () => {
  const { review, seen } = start();
  const { status, body, headers } = await review(requestOf('CREATE', pod()));
  expect(status).toBe(200);
  expect(body).toEqual({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid: 'admission-1', allowed: true } });
  expect(headers['x-powered-by']).toBeUndefined();
  expect(seen).toEqual([['CREATE', 'passed']]);
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
