"""The whole life of a video on procrastinate (see videos.py), measured.

  python peer.py setup --database URL
  python peer.py run --database URL --provider URL --videos N --folder DIR
                     [--poll-seconds 1] [--concurrency 50] [--rate R]

`run` creates N videos, makes them and prints one JSON line.
"""

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

import aiohttp
import procrastinate
import psycopg_pool
import uvloop
from videos import TABLE, app, create, world

# Creates at once, as in the measurement of Longtake itself.
CLIENTS = 64
# Connections: those of the queue's own pool and those of the application.
CONNECTIONS = 20
# Between two looks for due jobs; a scheduled job wakes nobody when its time has come.
LOOK_SECONDS = 0.1
# Longest run.
BOUND_SECONDS = 600


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["setup", "run"])
    parser.add_argument("--database", required=True)
    parser.add_argument("--provider")
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--poll-seconds", type=float, default=1)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rate", type=float, default=0, help="creates per second; 0 is as fast as possible")
    return parser.parse_args()


async def setup(queue):
    async with queue.open_async():
        await queue.schema_manager.apply_schema_async()
        await queue.connector.execute_query_async(TABLE)


async def run(queue, options):
    options.folder.mkdir(parents=True, exist_ok=True)
    world.folder, world.videos, world.poll_seconds = options.folder, options.videos, options.poll_seconds
    world.finished = asyncio.Event()
    world.database = psycopg_pool.AsyncConnectionPool(
        options.database, min_size=CONNECTIONS, max_size=CONNECTIONS, open=False
    )
    world.provider = aiohttp.ClientSession(
        base_url=options.provider,
        headers={"authorization": "Bearer bench"},
        connector=aiohttp.TCPConnector(limit=options.concurrency),
        raise_for_status=True,
    )
    async with queue.open_async(), world.database, world.provider:
        await world.database.wait()
        started, before = time.monotonic(), cpu_seconds()
        workers = [asyncio.create_task(worker(queue, name, options.concurrency)) for name in ("submit", "poll")]
        await create_all(options)
        await asyncio.wait_for(world.finished.wait(), BOUND_SECONDS)
        report = {"videos": world.completed, "seconds": time.monotonic() - started}
        report["cpu_seconds"] = cpu_seconds() - before
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        report |= await latency()
    print(json.dumps(report))


def worker(queue, name: str, concurrency: int):
    return queue.run_worker_async(
        queues=[name],
        concurrency=concurrency,
        fetch_job_polling_interval=LOOK_SECONDS,
        install_signal_handlers=False,
        delete_jobs="successful",
    )


async def create_all(options):
    """Creates all videos, from as many clients at once as Longtake has."""
    numbers = iter(range(options.videos))
    began = time.monotonic()

    async def client():
        for number in numbers:
            if options.rate > 0:
                await asyncio.sleep(max(0, began + number / options.rate - time.monotonic()))
            await create(f"a boat on a lake at dawn, number {number}")

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


async def latency() -> dict:
    """Milliseconds from the end of the provider's work, by its own ledger, to `completed` in the table."""
    async with world.provider.get("/_sim/ledger") as answer:
        jobs = (await answer.json())["jobs"]
    ends = {job["provider_job"]: job["accepted_at"] / 1000 + job["queue_ms"] + job["duration_ms"] for job in jobs}
    select = "SELECT provider_job, extract(epoch FROM completed_at)::float8 * 1000 FROM video WHERE state = 'completed'"
    async with world.database.connection() as connection:
        rows = await (await connection.execute(select)).fetchall()
    late = sorted(at - ends[provider_job] for provider_job, at in rows)

    def at(percent):
        return late[round(percent / 100 * (len(late) - 1))]

    return {
        "completed_rows": len(rows),
        "purchases": len(jobs),
        "latency_p50_ms": at(50),
        "latency_p99_ms": at(99),
    }


def main():
    options = arguments()
    connector = procrastinate.PsycopgConnector(conninfo=options.database, min_size=CONNECTIONS, max_size=CONNECTIONS)
    with app.replace_connector(connector) as queue:
        uvloop.run(setup(queue) if options.command == "setup" else run(queue, options))


main()
