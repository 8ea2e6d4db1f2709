import { setTimeout as sleep } from 'node:timers/promises';
import { onNode } from './support/counter.ts';
import { imageOf, type Program } from './support/images.ts';
import { kubectl } from './support/lab.ts';
import { RedisClient } from './support/redis.ts';
import { useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-programs');

/** io_uring (Node.js, Redis with some libraries) cannot be dumped; RuntimeDefault keeps programs from using it. */
const hardened = { securityContext: { seccompProfile: { type: 'RuntimeDefault' } } };

async function start(name: string, program: Program, args: string[], container: object = {}) {
  const containers = [{ name: program, image: await imageOf(program), args, ...container }];
  await space.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { affinity: onNode('node-a'), terminationGracePeriodSeconds: 1, ...hardened, containers },
  });
  return space.ready(name);
}

async function move(name: string): Promise<void> {
  await space.succeeded(await space.annotate(name, 'node-b'));
  expect((await space.ready(name)).spec.nodeName).toBe('node-b');
}

it('Redis: every acknowledged write is there, and clients that were connected connect again', async () => {
  await start('redis', 'redis', ['--save', '', '--protected-mode', 'no'], {
    readinessProbe: { tcpSocket: { port: 6379 }, periodSeconds: 1 },
  });
  const address = async () => (await space.pod('redis')).status?.podIP ?? '';
  const client = new RedisClient(address);
  for (let key = 0; key < 1000; key++) await client.call('SET', `key-${key}`, `value-${key}`.repeat(50));
  // A writer that goes on during the move, and remembers what was acknowledged.
  let acknowledged = 0;
  let stop = false;
  const writer = (async () => {
    while (!stop) {
      try {
        await client.call('SET', `write-${acknowledged + 1}`, 'x');
        acknowledged++;
      } catch {
        await sleep(20);
      }
    }
  })();
  await sleep(300);
  expect(acknowledged).toBeGreaterThan(0);
  await move('redis');
  // Counted from here: what was acknowledged while the pod still ran at the source tells nothing of the target.
  const moved = acknowledged;
  await until('the writer goes on', () => (acknowledged > moved + 10 ? true : undefined));
  stop = true;
  await writer;
  const reader = new RedisClient(address);
  expect(client.connections).toBeGreaterThanOrEqual(2);
  for (let key = 0; key < 1000; key++) expect(await reader.call('GET', `key-${key}`)).toBe(`value-${key}`.repeat(50));
  expect(Number(await reader.call('EXISTS', ...Array.from({ length: acknowledged }, (_, index) => `write-${index + 1}`)))).toBe(
    acknowledged,
  );
  client.close();
  reader.close();
});

/** HTTP servers in two languages that count their requests. */
const node = `
let count = 0; const birth = Math.random();
require('node:http').createServer((request, response) => response.end(JSON.stringify({ birth, count: ++count }))).listen(8080);`;
const python = `
import os, socket, threading
birth, count, lock = int.from_bytes(os.urandom(6), "big"), 0, threading.Lock()
def serve(connection):
    global count
    with connection:
        connection.recv(4096)
        with lock:
            count += 1
            body = '{"birth": %d, "count": %d}' % (birth, count)
        connection.sendall(("HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body)).encode())
server = socket.create_server(("", 8080), backlog=16)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],)).start()`;

it.each([
  ['node', 'node', ['-e', node]],
  ['python', 'python', ['-c', python]],
] as const)('%s: an HTTP server counts on', async (name, program, args) => {
  await start(name, program, [...args], { readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 } });
  const ask = async () => {
    const response = await fetch(`http://${(await space.pod(name)).status?.podIP}:8080/`, { signal: AbortSignal.timeout(2000) });
    return (await response.json()) as { birth: number; count: number };
  };
  await ask();
  const before = await ask();
  await move(name);
  const after = await until('it answers', ask);
  expect(after.birth).toBe(before.birth);
  expect(after.count).toBeGreaterThan(before.count);
});

it('a shell loop: its variables and its log go on', async () => {
  await start('shell', 'shell', ['-c', 'n=0; while :; do n=$((n + 1)); echo $n; sleep 0.1; done']);
  const log = async () => (await kubectl('-n', space.name, 'logs', 'shell')).trim().split('\n').map(Number);
  await until('it counted a little', async () => ((await log()).length > 10 ? true : undefined));
  await move('shell');
  const moved = (await log()).length;
  const lines = await until('it counts on', async () => {
    const all = await log();
    return all.length > moved + 5 ? all : undefined;
  });
  expect(lines).toEqual(lines.map((_, index) => index + 1));
});

/**
 * The child of a vfork waits in open() for four seconds, its parent in the kernel for the child: CRIU cannot seize it
 * then ("Unseizable non-zombie"), but it can a moment later.
 */
const vforking = `
import os, time
os.mkfifo("/tmp/gate")
asked, ask = os.pipe()
if os.fork() == 0:
    while True:
        os.read(asked, 1)
        time.sleep(4)
        os.close(os.open("/tmp/gate", os.O_WRONLY))
for n in range(1000):
    print("between vfork and exec", n, flush=True)
    os.write(ask, b"x")
    try:
        os.waitpid(os.posix_spawn("/nowhere", ["x"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/tmp/gate", os.O_RDONLY, 0)]), 0)
    except FileNotFoundError:
        pass
    print("on", n, flush=True)
    time.sleep(20)`;

it('a process that is frozen between vfork and exec is let go for a moment, and frozen again', async () => {
  await start('vfork', 'python', ['-c', vforking]);
  const log = () => kubectl('-n', space.name, 'logs', 'vfork');
  await until('it has called vfork', async () => ((await log()).includes('between vfork and exec 0') ? true : undefined));
  const migration = await space.succeeded(await space.annotate('vfork', 'node-b'), 80_000);
  // Else it was not caught in the middle, and the test has shown nothing.
  expect(migration.status?.downtimeMilliseconds).toBeGreaterThan(9000);
  await until('it goes on', async () => (/on 0\nbetween vfork and exec 1/.test(await log()) ? true : undefined), 30_000);
}, 150_000);
