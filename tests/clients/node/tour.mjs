// The official Node SDK, unmodified, against a server of the OpenAI Videos shape.
//
// Environment: OPENAI_BASE_URL, OPENAI_API_KEY, MODEL, TARGET (longtake or simulator).
// Prints one line per check and a closing count; exit code 1 if any check failed.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import * as zlib from "node:zlib";
import OpenAI, { toFile } from "openai";

const { TARGET, MODEL } = process.env;
assert.ok(TARGET === "longtake" || TARGET === "simulator", "TARGET is longtake or simulator");
assert.ok(MODEL, "MODEL is set");
const isLongtake = TARGET === "longtake";
const PROMPT = `a paper boat in the rain ${isLongtake ? "[sandbox duration=1s]" : "[sim duration_ms=300]"}`;
const SHAPE = isLongtake ? { seconds: "1", size: "320x180" } : { seconds: "4", size: "1280x720" };
// The longest a single video of this tour may take.
const VIDEO_TIMEOUT_MS = 120_000;
// Between polls where the server does not say.
const POLL_DEFAULT_MS = 200;
const PAGE_LIMIT = 2;
const LIST_BOUND = 200;

const client = new OpenAI({ timeout: 60_000 });
const videos = [];
let passed = 0;
let failed = 0;

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

/** A plain picture of the asked size. */
function png() {
  const [width, height] = SHAPE.size.split("x").map(Number);
  const chunk = (kind, data) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    const named = Buffer.concat([Buffer.from(kind, "latin1"), data]);
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(checksum(named));
    return Buffer.concat([length, named, sum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(width * 3, Buffer.from([40, 90, 160]))]);
  const pixels = zlib.deflateSync(Buffer.concat(Array(height).fill(row)));
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", pixels), chunk("IEND", Buffer.alloc(0))]);
}

/** CRC-32; older versions of Node do not export theirs. */
function checksum(data) {
  if (zlib.crc32) return zlib.crc32(data);
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}

function remember(video) {
  assert.ok(video.id, "a video has an id");
  assert.equal(video.object, "video");
  assert.ok(["queued", "in_progress", "completed", "failed"].includes(video.status), `public status, got ${video.status}`);
  assert.ok(Number.isInteger(video.progress), "progress is an integer");
  assert.equal(video.seconds, SHAPE.seconds);
  assert.equal(video.size, SHAPE.size);
  assert.equal(video.model, MODEL);
  videos.push(video.id);
  return video;
}

/** Polls at the pace the server asks for; the Node SDK has no helper for it. */
async function waitFor(id) {
  const deadline = Date.now() + VIDEO_TIMEOUT_MS;
  for (;;) {
    const { data: video, response } = await client.videos.retrieve(id).withResponse();
    if (video.status === "completed" || video.status === "failed") return video;
    assert.ok(Date.now() < deadline, `${id} was still ${video.status} after ${VIDEO_TIMEOUT_MS} ms`);
    const asked = Number(response.headers.get("openai-poll-after-ms"));
    if (isLongtake) assert.ok(asked > 0, "an unfinished video comes with openai-poll-after-ms");
    await pause(asked > 0 ? asked : POLL_DEFAULT_MS);
  }
}

async function completed(id) {
  const video = await waitFor(id);
  assert.equal(video.status, "completed", JSON.stringify(video.error));
  assert.equal(video.progress, 100);
  return video;
}

async function expectError(kind, body) {
  let answer;
  try {
    answer = await body();
  } catch (error) {
    assert.ok(error instanceof kind, `expected ${kind.name}, got ${error}`);
    assert.ok(error.code, `the error has a code: ${JSON.stringify(error.error)}`);
    assert.ok(error.requestID, "the error carries x-request-id");
    return error;
  }
  return assert.fail(`expected ${kind.name}, got an answer: ${JSON.stringify(answer)}`);
}

async function download(variant, isRight) {
  const response = await client.videos.downloadContent(videos[0], { variant });
  const content = Buffer.from(await response.arrayBuffer());
  assert.ok(isRight(content), `${variant}: ${content.length} bytes begin with ${content.subarray(0, 16).toString("hex")}`);
}

const isJpeg = (content) => content.subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff]));
const isWebp = (content) =>
  content.subarray(0, 4).toString("latin1") === "RIFF" && content.subarray(8, 12).toString("latin1") === "WEBP";
const isMp4 = (content) => content.subarray(4, 8).toString("latin1") === "ftyp";

const create = (more = {}, options = undefined) =>
  client.videos.create({ prompt: PROMPT, model: MODEL, ...SHAPE, ...more }, options);

await check("create (multipart)", async () => {
  remember(await create());
});

await check("create (input_reference as an object)", async () => {
  const image_url = `data:image/png;base64,${png().toString("base64")}`;
  remember(await create({ input_reference: { image_url } }));
});

await check("create (JSON)", async () => {
  remember(await client.post("/videos", { body: { prompt: PROMPT, model: MODEL, ...SHAPE } }));
});

await check("create with an uploaded image", async () => {
  const input_reference = await toFile(png(), "first.png", { type: "image/png" });
  const video = remember(await create({ input_reference }));
  await completed(video.id);
});

await check("create and poll", async () => {
  const video = remember(await create());
  await completed(video.id);
});

await check("retrieve", async () => {
  const video = await completed(videos[0]);
  assert.equal(video.id, videos[0]);
  assert.equal(video.prompt, PROMPT);
  assert.equal(video.error, null);
});

await check("list with auto-pagination", async () => {
  assert.ok(videos.length >= 5, `the tour made at least five videos before it lists them, made ${videos.length}`);
  const seen = [];
  for await (const video of client.videos.list({ limit: PAGE_LIMIT })) {
    seen.push(video.id);
    assert.ok(seen.length <= LIST_BOUND, "the list ends");
  }
  assert.equal(new Set(seen).size, seen.length, "no video is listed twice");
  assert.deepEqual(videos.filter((id) => !seen.includes(id)), [], "videos missing from the list");
});

await check("downloadContent video", () => download("video", isMp4));
await check("downloadContent thumbnail", () => download("thumbnail", (content) => isWebp(content) || isJpeg(content)));
await check("downloadContent spritesheet", () => download("spritesheet", isJpeg));

await check("404 NotFoundError", async () => {
  const unknown = `video_${randomUUID().replaceAll("-", "")}`;
  await expectError(OpenAI.NotFoundError, () => client.videos.retrieve(unknown));
});

await check("400 BadRequestError without a prompt", async () => {
  const error = await expectError(OpenAI.BadRequestError, () =>
    client.post("/videos", { body: { model: MODEL, ...SHAPE } }),
  );
  assert.equal(error.param, "prompt");
});

await check("400 BadRequestError for a wrong size", async () => {
  const error = await expectError(OpenAI.BadRequestError, () => create({ size: "wide" }));
  assert.equal(error.param, "size");
});

await check("x-request-id", async () => {
  const { request_id } = await client.videos.retrieve(videos[0]).withResponse();
  assert.ok(request_id, "an answer carries x-request-id");
});

await check("401 AuthenticationError", async () => {
  const stranger = new OpenAI({ apiKey: "sk-not-a-key-of-this-server", maxRetries: 0 });
  await expectError(OpenAI.AuthenticationError, () => stranger.videos.list());
});

if (isLongtake) {
  await check("Idempotency-Key", async () => {
    const headers = { "Idempotency-Key": randomUUID() };
    const first = remember(await create({}, { headers }));
    const again = await create({}, { headers });
    assert.equal(again.id, first.id, "the same key answers the same video");
    const error = await expectError(OpenAI.ConflictError, () =>
      create({ prompt: `${PROMPT} at night` }, { headers, maxRetries: 0 }),
    );
    assert.equal(error.code, "idempotency_key_reused");
  });

  await check("a file sent ahead", async () => {
    const image = await toFile(png(), "first.png", { type: "image/png" });
    const file = await client.files.create({ file: image, purpose: "vision" });
    assert.equal(file.object, "file");
    assert.equal((await client.files.retrieve(file.id)).bytes, file.bytes);
    remember(await create({ input_reference: { file_id: file.id } }));
  });
}

await check("remix", async () => {
  const source = videos[0];
  await completed(source);
  const prompt = `${PROMPT} at night`;
  const video = remember(await client.videos.remix(source, { prompt }));
  assert.notEqual(video.id, source);
  assert.equal(video.remixed_from_video_id, source);
  assert.equal(video.prompt, prompt);
  await completed(video.id);
});

await check("delete", async () => {
  const gone = videos.pop();
  await completed(gone);
  const receipt = await client.videos.delete(gone);
  assert.deepEqual([receipt.id, receipt.object, receipt.deleted], [gone, "video.deleted", true]);
  await expectError(OpenAI.NotFoundError, () => client.videos.retrieve(gone));
});

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
