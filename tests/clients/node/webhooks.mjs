// Webhooks as a client of the official libraries sees them: `standardwebhooks` and the OpenAI SDK, both unmodified.
//
// Environment: OPENAI_BASE_URL, OPENAI_API_KEY, MODEL, of a server that may send to this machine
// (`[webhooks] allow_networks` and `allow_http`).
// Prints one line per check and a closing count; exit code 1 if any check failed.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import OpenAI from "openai";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const { MODEL } = process.env;
const SHAPE = { prompt: "a kite over the sea [sandbox duration=1s]", model: MODEL, seconds: "1", size: "320x180" };
// The longest a video of this tour and its webhooks may take.
const TIMEOUT_MS = 120_000;

const client = new OpenAI({ timeout: 60_000 });
const requests = [];
let passed = 0;
let failed = 0;

const receiver = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  requests.push({ path: request.url, headers: request.headers, body: Buffer.concat(chunks).toString() });
  response.writeHead(204).end();
  receiver.emit("received");
});
receiver.listen(0, "127.0.0.1");
await once(receiver, "listening");
const URL = `http://127.0.0.1:${receiver.address().port}`;

/** Waits for this many requests of a type of event on a path. */
async function received(path, count, kind) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  for (;;) {
    const found = requests.filter((request) => request.path === path && JSON.parse(request.body).type === kind);
    if (found.length >= count) return found;
    await once(receiver, "received", { signal });
  }
}

async function check(name, body) {
  try {
    await body();
    passed += 1;
    console.log(`ok - ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok - ${name}`);
    console.error(error);
  }
}

/** Both libraries take it, and neither takes it after one byte changed. */
async function verify({ headers, body }, secret) {
  const byLibrary = new Webhook(secret).verify(body, headers);
  const bySdk = await client.webhooks.unwrap(body, headers, secret);
  assert.equal(bySdk.id, byLibrary.id);
  assert.equal(bySdk.id, headers["webhook-id"]);
  await refuses({ headers, body: body.replace('"event"', '"evont"') }, secret);
  return bySdk;
}

async function refuses({ headers, body }, secret) {
  assert.throws(() => new Webhook(secret).verify(body, headers), WebhookVerificationError);
  await assert.rejects(client.webhooks.unwrap(body, headers, secret), OpenAI.InvalidWebhookSignatureError);
}

let endpoint;
let secret;

await check("webhooks.create, retrieve, update, list", async () => {
  const wanted = { url: `${URL}/endpoint`, event_types: ["video.completed"], name: "tour" };
  endpoint = await client.webhooks.create(wanted);
  secret = endpoint.signing_secret;
  assert.ok(secret.startsWith("whsec_"));
  for (const [name, value] of Object.entries(wanted)) assert.deepEqual(endpoint[name], value);
  assert.equal((await client.webhooks.retrieve(endpoint.id)).signing_secret, undefined, "shown once");
  assert.equal((await client.webhooks.update(endpoint.id, { name: "the tour" })).name, "the tour");
  const listed = [];
  for await (const one of client.webhooks.list({ limit: 1 })) listed.push(one.id);
  assert.ok(listed.includes(endpoint.id));
});

await check("unwrap and verify: an endpoint", async () => {
  const video = await client.videos.create(SHAPE);
  const [request] = await received("/endpoint", 1, "video.completed");
  const event = await verify(request, secret);
  assert.deepEqual([event.type, event.data.id], ["video.completed", video.id]);
  await refuses(request, `whsec_${"A".repeat(43)}=`);
});

await check("unwrap and verify: webhook_url", async () => {
  const video = await client.videos.create({ ...SHAPE, webhook_url: `${URL}/own` });
  const own = await client.get("/webhook_endpoints/videos");
  const [request] = await received("/own", 1, "video.completed");
  const event = await verify(request, own.secret);
  assert.deepEqual([event.type, event.data.id], ["video.completed", video.id]);
  const [first] = await received("/own", 1, "video.queued");
  assert.equal((await verify(first, own.secret)).sequence, 1);
});

await check("webhooks.test and rotateSecret", async () => {
  const test = () => client.webhooks.test(endpoint.id, { event_type: "webhook.test" });
  const result = await test();
  assert.deepEqual([result.object, result.status_code], ["webhook_endpoint.test", 204]);
  await verify((await received("/endpoint", 1, "webhook.test"))[0], secret);
  const next = await client.webhooks.rotateSecret(endpoint.id, { keep_old_secret_active_for_24_hours: true });
  await test();
  const both = (await received("/endpoint", 2, "webhook.test"))[1];
  await verify(both, secret);
  await verify(both, next.signing_secret);
  const last = await client.webhooks.rotateSecret(endpoint.id, { keep_old_secret_active_for_24_hours: false });
  await test();
  const one = (await received("/endpoint", 3, "webhook.test"))[2];
  await verify(one, last.signing_secret);
  await refuses(one, secret);
});

await check("webhooks.delete", async () => {
  const receipt = await client.webhooks.delete(endpoint.id);
  assert.deepEqual([receipt.id, receipt.object, receipt.deleted], [endpoint.id, "webhook_endpoint.deleted", true]);
  await assert.rejects(client.webhooks.retrieve(endpoint.id), OpenAI.NotFoundError);
});

receiver.close();
receiver.closeAllConnections();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
