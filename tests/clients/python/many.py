"""The official Python SDK, unmodified: many create_and_poll at once, while the servers behind the address are killed.

Environment: OPENAI_BASE_URL, OPENAI_API_KEY, MODEL, VIDEOS, PER_SECOND.
Exit code 1 unless every call ends with its completed video.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
import warnings

import openai

# The SDK marks its Videos surface as deprecated, since OpenAI closed its own service.
warnings.filterwarnings("ignore", category=DeprecationWarning)

VIDEOS = int(os.environ["VIDEOS"])
PER_SECOND = float(os.environ["PER_SECOND"])
MODEL = os.environ["MODEL"]

# The SDK repeats what fails on its own; under one key a repeated create is one video.
client = openai.AsyncOpenAI(max_retries=8, timeout=20.0)


async def one(number: int) -> str | None:
    await asyncio.sleep(number / PER_SECOND)
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    prompt = f"python, video {number}"
    try:
        video = await client.videos.create_and_poll(
            prompt=prompt, model=MODEL, seconds="4", size="1280x720", poll_interval_ms=500, extra_headers=headers
        )
        if video.status != "completed" or video.prompt != prompt:
            return f"{number}: {video.status} {video.prompt!r} {video.error}"
    except Exception as error:
        return f"{number}: {type(error).__name__}: {error}"
    return None


async def main() -> int:
    ends = await asyncio.gather(*(one(number) for number in range(VIDEOS)))
    failures = [end for end in ends if end is not None]
    for failure in failures:
        print(f"not ok - {failure}", flush=True)
    print(f"python: {len(ends) - len(failures)} of {len(ends)} calls ended with their video", flush=True)
    return 1 if failures else 0


sys.exit(asyncio.run(main()))
