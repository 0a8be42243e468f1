// The official Node SDK, unmodified: many creates and polls at once, while the servers behind the address are killed.
//
// Environment: OPENAI_BASE_URL, OPENAI_API_KEY, MODEL, VIDEOS, PER_SECOND.
// Exit code 1 unless every call ends with its completed video. The SDK has no helper that polls; `createAndPoll` here
// does what Python's does.

import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import OpenAI from "openai";

const VIDEOS = Number(process.env.VIDEOS);
const PER_SECOND = Number(process.env.PER_SECOND);
const { MODEL } = process.env;
const POLL_MS = 500;
// The longest a single video may take.
const VIDEO_TIMEOUT_MS = 180_000;

// The SDK repeats what fails on its own; under one key a repeated create is one video.
const client = new OpenAI({ maxRetries: 8, timeout: 20_000 });

async function createAndPoll(prompt) {
  const shape = { prompt, model: MODEL, seconds: "4", size: "1280x720" };
  const deadline = Date.now() + VIDEO_TIMEOUT_MS;
  let video = await client.videos.create(shape, { headers: { "Idempotency-Key": randomUUID() } });
  while (video.status !== "completed" && video.status !== "failed") {
    if (Date.now() > deadline) throw new Error(`still ${video.status}`);
    await pause(POLL_MS);
    video = await client.videos.retrieve(video.id);
  }
  return video;
}

async function one(number) {
  await pause((number / PER_SECOND) * 1000);
  const prompt = `node, video ${number}`;
  try {
    const video = await createAndPoll(prompt);
    return video.status === "completed" && video.prompt === prompt ? null : `${video.status} ${video.prompt}`;
  } catch (error) {
    return `${error.constructor.name}: ${error.message}`;
  }
}

const ends = await Promise.all(Array.from({ length: VIDEOS }, (_, number) => one(number)));
const failures = ends.filter((end) => end !== null);
for (const failure of failures) console.log(`not ok - ${failure}`);
console.log(`node: ${ends.length - failures.length} of ${ends.length} calls ended with their video`);
process.exit(failures.length > 0 ? 1 : 0);
