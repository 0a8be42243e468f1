// The whole life of a video on pg-boss: what a team writes that needs a queue in its PostgreSQL and nothing more.
//
//   node peer.mjs setup --database URL
//   node peer.mjs run --database URL --provider URL --videos N --folder DIR
//                     [--poll-seconds 1] [--concurrency 100] [--batch 25] [--rate R]
//
// `run` creates N videos (row and job in one transaction), makes them and prints one JSON line. A job of the queue
// `submit` sends a batch to the provider, keeps the provider's ids and asks for a poll; a job of `poll` asks how far
// the videos are, downloads the finished ones and asks for the next poll of the others.

import { createWriteStream } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import pg from "pg";
import { PgBoss } from "pg-boss";
import { Pool } from "undici";

/** Creates at once, as in the measurement of Longtake itself. */
const CLIENTS = 64;
/** The shortest interval that pg-boss allows between two looks for due jobs. */
const LOOK_SECONDS = 0.5;
/** Longest run. */
const BOUND_MS = 600_000;
const TABLE = `
  CREATE TABLE IF NOT EXISTS video (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prompt text NOT NULL,
    state text NOT NULL DEFAULT 'queued',
    provider_job text,
    path text,
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
  )`;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    database: { type: "string" },
    provider: { type: "string" },
    videos: { type: "string", default: "2000" },
    folder: { type: "string" },
    "poll-seconds": { type: "string", default: "1" },
    concurrency: { type: "string", default: "100" },
    batch: { type: "string", default: "25" },
    rate: { type: "string", default: "0" },
  },
});
const videos = Number(options.videos);
const pollSeconds = Number(options["poll-seconds"]);
const concurrency = Number(options.concurrency);
/** Jobs of a batch; each queue has as many workers as reach the concurrency. */
const batchSize = Number(options.batch);
/** Creates per second; 0 is as fast as possible. */
const rate = Number(options.rate);

const database = new pg.Pool({ connectionString: options.database, max: 20 });
const boss = new PgBoss({ connectionString: options.database, max: 20, useListenNotify: true });
boss.on("error", (error) => console.error(error.message));

if (positionals[0] === "setup") {
  await setup();
} else {
  await run();
}

async function setup() {
  await database.query(TABLE);
  await boss.start();
  // Submissions wake a worker at once; a poll is due later, which no notification can say.
  await boss.createQueue("submit", { notify: true });
  await boss.createQueue("poll");
  await boss.stop();
  await database.end();
}

async function run() {
  await mkdir(options.folder, { recursive: true });
  await boss.start();
  const provider = new Pool(options.provider, { connections: concurrency });
  const finished = Promise.withResolvers();
  const late = setTimeout(() => finished.reject(new Error("the videos were not finished in time")), BOUND_MS);
  let completed = 0;
  const work = {
    batchSize,
    localConcurrency: Math.max(1, Math.round(concurrency / batchSize)),
    pollingIntervalSeconds: LOOK_SECONDS,
    notifyPollingIntervalSeconds: LOOK_SECONDS,
    burstWhenBatchFull: true,
    perJobResults: true,
  };
  const started = performance.now();
  const before = process.cpuUsage();
  await boss.work("submit", work, (jobs) => submit(provider, jobs));
  await boss.work("poll", work, async (jobs) => {
    const results = await poll(provider, jobs);
    completed += results.filter((result) => result.output === "completed").length;
    if (completed >= videos) {
      finished.resolve();
    }
    return results;
  });
  await createAll();
  await finished.promise;
  clearTimeout(late);
  const seconds = (performance.now() - started) / 1000;
  const cpu = process.cpuUsage(before);
  await boss.stop({ graceful: true });
  const report = { videos: completed, seconds, cpu_seconds: (cpu.user + cpu.system) / 1e6, ...(await latency()) };
  await provider.close();
  await database.end();
  console.log(JSON.stringify(report));
}

/** What the handler of `POST /videos` does, from as many clients at once as Longtake has. */
async function createAll() {
  let next = 0;
  const began = performance.now();
  const client = async () => {
    for (let number = next++; number < videos; number = next++) {
      if (rate > 0) {
        const wait = began + (number * 1000) / rate - performance.now();
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, wait)));
      }
      await create(`a boat on a lake at dawn, number ${number}`);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
}

function create(prompt) {
  return transaction(async (client, db) => {
    const { rows } = await client.query("INSERT INTO video (prompt) VALUES ($1) RETURNING id", [prompt]);
    await boss.send("submit", { video: rows[0].id }, { db });
  });
}

/** Rows of ours and jobs of the queue, both or neither. */
async function transaction(task) {
  const client = await database.connect();
  try {
    await client.query("BEGIN");
    await task(client, { executeSql: (text, values) => client.query(text, values) });
    await client.query("COMMIT");
    client.release();
  } catch (error) {
    // Closing the connection ends the transaction too.
    client.release(error);
    throw error;
  }
}

/** Sends the videos of a batch to the provider and asks for their first polls. */
async function submit(provider, jobs) {
  const ids = jobs.map((job) => job.data.video);
  // A repeated job must not buy again what is known to be bought.
  const wanted = await database.query("SELECT id, prompt FROM video WHERE id = ANY($1) AND provider_job IS NULL", [ids]);
  const prompts = new Map(wanted.rows.map((row) => [row.id, row.prompt]));
  const accepted = [];
  const send = async (job) => {
    const prompt = prompts.get(job.data.video);
    if (prompt !== undefined) {
      const body = JSON.stringify({ prompt, model: "wan", seconds: "4", size: "1280x720" });
      const answer = await call(provider, "POST", "/v1/videos", body);
      accepted.push({ video: job.data.video, provider_job: (await answer.json()).id });
    }
  };
  const results = await eachJob(jobs, send);
  if (accepted.length > 0) {
    await transaction(async (client, db) => {
      await client.query(
        `UPDATE video SET provider_job = new.provider_job, state = 'running'
           FROM unnest($1::bigint[], $2::text[]) AS new (id, provider_job) WHERE video.id = new.id`,
        [accepted.map((one) => one.video), accepted.map((one) => one.provider_job)],
      );
      await pollLater(accepted, { db });
    });
  }
  return results;
}

/** Asks how far the videos of a batch are; keeps the finished ones. */
async function poll(provider, jobs) {
  const pending = [];
  const done = [];
  const results = await eachJob(jobs, async (job) => {
    const { provider_job } = job.data;
    const answer = await call(provider, "GET", `/v1/videos/${provider_job}`);
    const { status } = await answer.json();
    if (status === "completed") {
      const path = join(options.folder, `${provider_job}.mp4`);
      const content = await call(provider, "GET", `/v1/videos/${provider_job}/content`);
      await pipeline(content, createWriteStream(`${path}.part`));
      await rename(`${path}.part`, path);
      done.push({ video: job.data.video, path });
      return "completed";
    }
    if (status !== "queued" && status !== "in_progress") {
      throw new Error(`${provider_job} is ${status}`);
    }
    pending.push(job.data);
    return "pending";
  });
  if (done.length > 0) {
    await database.query(
      `UPDATE video SET state = 'completed', path = new.path, completed_at = clock_timestamp()
         FROM unnest($1::bigint[], $2::text[]) AS new (id, path) WHERE video.id = new.id`,
      [done.map((one) => one.video), done.map((one) => one.path)],
    );
  }
  if (pending.length > 0) {
    await pollLater(pending);
  }
  return results;
}

function pollLater(rows, connection = {}) {
  return boss.insert("poll", rows.map((data) => ({ data, startAfter: pollSeconds })), connection);
}

/** Does something for each job of a batch; one that fails is repeated by the queue, alone. */
function eachJob(jobs, task) {
  return Promise.all(
    jobs.map(async (job) => {
      try {
        return { id: job.id, status: "completed", output: await task(job) };
      } catch (error) {
        console.error(error.message);
        return { id: job.id, status: "failed", output: { message: error.message } };
      }
    }),
  );
}

async function call(provider, method, path, body) {
  const headers = { authorization: "Bearer bench", "content-type": "application/json" };
  const answer = await provider.request({ method, path, body, headers });
  if (answer.statusCode !== 200) {
    throw new Error(`${method} ${path}: ${answer.statusCode} ${await answer.body.text()}`);
  }
  return answer.body;
}

/** Milliseconds from the end of the provider's work, by its own ledger, to `completed` in the table. */
async function latency() {
  const ledger = await (await fetch(`${options.provider}/_sim/ledger`)).json();
  const end = (job) => job.accepted_at / 1000 + job.queue_ms + job.duration_ms;
  const ends = new Map(ledger.jobs.map((job) => [job.provider_job, end(job)]));
  const { rows } = await database.query(
    "SELECT provider_job, extract(epoch FROM completed_at) * 1000 AS at FROM video WHERE state = 'completed'",
  );
  const late = rows.map((row) => row.at - ends.get(row.provider_job)).sort((left, right) => left - right);
  const at = (percent) => late[Math.round((percent / 100) * (late.length - 1))];
  return { completed_rows: rows.length, purchases: ledger.jobs.length, latency_p50_ms: at(50), latency_p99_ms: at(99) };
}
