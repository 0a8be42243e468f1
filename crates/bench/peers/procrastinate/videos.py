"""The tasks of a video on procrastinate: what a team writes that needs a queue in its PostgreSQL and no more.

A job of the queue `submit` sends a video to the provider, keeps the provider's id and asks for a poll. A job of `poll`
asks how far the video is and downloads it when it is finished; else it is repeated after the poll interval, by
procrastinate's own retries, which cost one statement where a new job costs two.
"""

import asyncio
from pathlib import Path

import aiohttp
import procrastinate
import psycopg_pool

CHUNK_BYTES = 64 * 1024
TABLE = """
  CREATE TABLE IF NOT EXISTS video (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prompt text NOT NULL,
    state text NOT NULL DEFAULT 'queued',
    provider_job text,
    path text,
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
  )"""

# The database is named when the program starts.
app = procrastinate.App(connector=procrastinate.PsycopgConnector())


class World:
    """What all tasks share; filled in by the program."""

    database: psycopg_pool.AsyncConnectionPool
    provider: aiohttp.ClientSession
    folder: Path
    videos: int
    poll_seconds: float
    finished: asyncio.Event
    completed = 0


world = World()


class AfterPollInterval(procrastinate.BaseRetryStrategy):
    """Repeats what is not finished, and calls that failed, as often as it takes."""

    def get_retry_decision(self, *, exception, job):
        return procrastinate.RetryDecision(retry_in={"seconds": world.poll_seconds})


async def create(prompt: str):
    """What the handler of `POST /videos` does: row and job in one transaction."""
    async with world.database.connection() as connection:
        insert = "INSERT INTO video (prompt) VALUES (%s) RETURNING id"
        (video,) = await (await connection.execute(insert, (prompt,))).fetchone()
        await submit.configure(connection=connection).defer_async(video=video)


@app.task(queue="submit", retry=AfterPollInterval())
async def submit(video: int):
    async with world.database.connection() as connection:
        # A repeated job must not buy again what is known to be bought.
        select = "SELECT prompt FROM video WHERE id = %s AND provider_job IS NULL"
        row = await (await connection.execute(select, (video,))).fetchone()
    if row is None:
        return
    body = {"prompt": row[0], "model": "wan", "seconds": "4", "size": "1280x720"}
    async with world.provider.post("/v1/videos", json=body) as answer:
        provider_job = (await answer.json())["id"]
    async with world.database.connection() as connection:
        update = "UPDATE video SET provider_job = %s, state = 'running' WHERE id = %s"
        await connection.execute(update, (provider_job, video))
        first = poll.configure(schedule_in={"seconds": world.poll_seconds}, connection=connection)
        await first.defer_async(video=video, provider_job=provider_job)


@app.task(queue="poll", retry=AfterPollInterval())
async def poll(video: int, provider_job: str):
    async with world.provider.get(f"/v1/videos/{provider_job}") as answer:
        status = (await answer.json())["status"]
    if status != "completed":
        raise RuntimeError(f"{provider_job} is {status}")
    path = await download(provider_job)
    async with world.database.connection() as connection:
        update = "UPDATE video SET state = 'completed', path = %s, completed_at = clock_timestamp() WHERE id = %s"
        await connection.execute(update, (str(path), video))
    world.completed += 1
    if world.completed >= world.videos:
        world.finished.set()


async def download(provider_job: str) -> Path:
    path = world.folder / f"{provider_job}.mp4"
    part = path.with_suffix(".part")
    async with world.provider.get(f"/v1/videos/{provider_job}/content") as answer:
        with part.open("wb") as file:
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                file.write(chunk)
    part.rename(path)
    return path
