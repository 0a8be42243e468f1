"""The official Python SDK, unmodified, against a server of the OpenAI Videos shape.

Environment: OPENAI_BASE_URL, OPENAI_API_KEY, MODEL, TARGET (longtake or simulator).
Prints one line per check and a closing count; exit code 1 if any check failed.
"""

from __future__ import annotations

import base64
import os
import struct
import sys
import time
import uuid
import warnings
import zlib
from typing import Any, Callable

import openai
from openai.types import Video

from checks import check, counted, equal, truth

# The SDK marks its Videos surface as deprecated, since OpenAI closed its own service.
warnings.filterwarnings("ignore", category=DeprecationWarning)

TARGET = os.environ["TARGET"]
MODEL = os.environ["MODEL"]
LONGTAKE = TARGET == "longtake"
PROMPT = "a paper boat in the rain " + ("[sandbox duration=1s]" if LONGTAKE else "[sim duration_ms=300]")
SHAPE: dict[str, Any] = {"seconds": "1", "size": "320x180"} if LONGTAKE else {"seconds": "4", "size": "1280x720"}
# The longest a single video of this tour may take.
VIDEO_TIMEOUT_SECONDS = 120.0
# A page of two and at least five videos: three requests.
PAGE_LIMIT = 2
LIST_BOUND = 200

client = openai.OpenAI(timeout=60.0)
videos: list[str] = []


def png(width: int, height: int) -> bytes:
    """A plain picture of the asked size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    row = b"\x00" + bytes((40, 90, 160)) * width
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b"")


def asked_size() -> tuple[int, int]:
    width, height = str(SHAPE["size"]).split("x")
    return int(width), int(height)


def remember(video: Video) -> None:
    truth(video.id, "a video has an id")
    equal(video.object, "video", "object")
    truth(video.status in ("queued", "in_progress", "completed", "failed"), f"status {video.status!r} is a public one")
    truth(isinstance(video.progress, int), "progress is an integer")
    equal(video.seconds, SHAPE["seconds"], "seconds")
    equal(video.size, SHAPE["size"], "size")
    equal(video.model, MODEL, "model")
    videos.append(video.id)


def wait_for(video_id: str) -> Video:
    deadline = time.monotonic() + VIDEO_TIMEOUT_SECONDS
    while True:
        video = client.videos.retrieve(video_id)
        if video.status in ("completed", "failed"):
            return video
        truth(time.monotonic() < deadline, f"{video_id} was still {video.status} after {VIDEO_TIMEOUT_SECONDS} s")
        time.sleep(0.2)


def completed(video_id: str) -> Video:
    video = wait_for(video_id)
    equal(video.status, "completed", f"status of {video_id} (error: {video.error})")
    truth(video.completed_at, "completed_at is set")
    equal(video.progress, 100, "progress of a completed video")
    return video


def create_multipart() -> None:
    remember(client.videos.create(prompt=PROMPT, model=MODEL, **SHAPE))


def create_json() -> None:
    body = {"prompt": PROMPT, "model": MODEL, **SHAPE}
    remember(client.post("/videos", body=body, cast_to=Video))


def create_json_with_image_url() -> None:
    url = "data:image/png;base64," + base64.b64encode(png(*asked_size())).decode()
    body = {"prompt": PROMPT, "model": MODEL, "input_reference": {"image_url": url}, **SHAPE}
    remember(client.post("/videos", body=body, cast_to=Video))


def create_with_upload() -> None:
    image = ("first.png", png(*asked_size()), "image/png")
    video = client.videos.create(prompt=PROMPT, model=MODEL, input_reference=image, **SHAPE)
    remember(video)
    completed(video.id)


def create_and_poll() -> None:
    video = client.videos.create_and_poll(prompt=PROMPT, model=MODEL, **SHAPE)
    remember(video)
    equal(video.status, "completed", f"status (error: {video.error})")


def retrieve() -> None:
    video = completed(videos[0])
    equal(video.id, videos[0], "id")
    equal(video.prompt, PROMPT, "prompt")
    truth(video.error is None, "a completed video has no error")


def poll_header() -> None:
    video = client.videos.create(prompt=PROMPT, model=MODEL, **SHAPE)
    remember(video)
    raw = client.videos.with_raw_response.retrieve(video.id)
    header = raw.headers.get("openai-poll-after-ms")
    truth(header is not None and int(header) > 0, f"openai-poll-after-ms is a number of milliseconds, got {header!r}")


def request_id() -> None:
    raw = client.videos.with_raw_response.retrieve(videos[0])
    truth(raw.headers.get("x-request-id"), "an answer carries x-request-id")
    truth(raw.parse()._request_id, "the SDK sees the request id")


def list_all_pages() -> None:
    truth(len(videos) >= 5, f"the tour made at least five videos before it lists them, made {len(videos)}")
    page = client.videos.list(limit=PAGE_LIMIT)
    equal(len(page.data), PAGE_LIMIT, "length of the first page")
    truth(page.has_more, "the first page says there is more")
    seen: list[str] = []
    for video in page:
        seen.append(video.id)
        truth(len(seen) <= LIST_BOUND, "the list ends")
    equal(len(seen), len(set(seen)), "no video is listed twice")
    missing = [video for video in videos if video not in seen]
    equal(missing, [], "videos missing from the list")


def list_ascending() -> None:
    newest_first = [video.id for video in client.videos.list(limit=100).data]
    oldest_first = [video.id for video in client.videos.list(limit=100, order="asc").data]
    equal(oldest_first, list(reversed(newest_first)), "order=asc is the reverse of the default")


def download(variant: str, is_right: Callable[[bytes], bool]) -> None:
    content = client.videos.download_content(videos[0], variant=variant).read()  # type: ignore[arg-type]
    truth(is_right(content), f"{variant}: {len(content)} bytes begin with {content[:16]!r}")


def is_jpeg(content: bytes) -> bool:
    return content.startswith(b"\xff\xd8\xff")


def is_webp(content: bytes) -> bool:
    return content.startswith(b"RIFF") and content[8:12] == b"WEBP"


def download_video() -> None:
    download("video", lambda content: content[4:8] == b"ftyp")


def download_thumbnail() -> None:
    download("thumbnail", lambda content: is_webp(content) or is_jpeg(content))


def download_spritesheet() -> None:
    download("spritesheet", is_jpeg)


def delete() -> None:
    gone = videos.pop()
    completed(gone)
    receipt = client.videos.delete(gone)
    equal((receipt.id, receipt.object, receipt.deleted), (gone, "video.deleted", True), "receipt")
    expect_error(openai.NotFoundError, lambda: client.videos.retrieve(gone))


def expect_error(kind: type[openai.APIStatusError], body: Callable[[], object]) -> openai.APIStatusError:
    try:
        answer = body()
    except kind as error:
        truth(error.code, f"the error has a code: {error.body!r}")
        truth(error.request_id, "the error carries x-request-id")
        return error
    raise AssertionError(f"expected {kind.__name__}, got an answer: {answer!r}")


def remix() -> None:
    source = videos[0]
    completed(source)
    prompt = PROMPT + " at night"
    video = client.videos.remix(source, prompt=prompt)
    remember(video)
    truth(video.id != source, "a remix is a video of its own")
    equal(video.remixed_from_video_id, source, "remixed_from_video_id")
    equal(video.prompt, prompt, "prompt")
    completed(video.id)


def file_sent_ahead() -> None:
    image = ("first.png", png(*asked_size()), "image/png")
    file = client.files.create(file=image, purpose="vision")
    equal(file.object, "file", "object")
    equal(client.files.retrieve(file.id).bytes, file.bytes, "bytes")
    body = {"prompt": PROMPT, "model": MODEL, "input_reference": {"file_id": file.id}, **SHAPE}
    remember(client.post("/videos", body=body, cast_to=Video))


def unknown_video() -> None:
    unknown = "video_" + uuid.uuid4().hex
    expect_error(openai.NotFoundError, lambda: client.videos.retrieve(unknown))


def missing_prompt() -> None:
    error = expect_error(
        openai.BadRequestError,
        lambda: client.post("/videos", body={"model": MODEL, **SHAPE}, cast_to=Video),
    )
    equal(error.param, "prompt", "param")


def wrong_size() -> None:
    shape = {**SHAPE, "size": "wide"}
    error = expect_error(openai.BadRequestError, lambda: client.videos.create(prompt=PROMPT, model=MODEL, **shape))
    equal(error.param, "size", "param")


def wrong_key() -> None:
    stranger = openai.OpenAI(api_key="sk-not-a-key-of-this-server", max_retries=0)
    expect_error(openai.AuthenticationError, lambda: stranger.videos.list())


def idempotency_key() -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = client.videos.create(prompt=PROMPT, model=MODEL, extra_headers=headers, **SHAPE)
    remember(first)
    again = client.videos.create(prompt=PROMPT, model=MODEL, extra_headers=headers, **SHAPE)
    equal(again.id, first.id, "the same key answers the same video")
    impatient = client.with_options(max_retries=0)
    error = expect_error(
        openai.ConflictError,
        lambda: impatient.videos.create(prompt=PROMPT + " at night", model=MODEL, extra_headers=headers, **SHAPE),
    )
    equal(error.code, "idempotency_key_reused", "code")


def unfinished_is_not_deleted() -> None:
    prompt = "a paper boat in the rain [sandbox hang]"
    video = client.videos.create(prompt=prompt, model=MODEL, **SHAPE)
    impatient = client.with_options(max_retries=0)
    error = expect_error(openai.ConflictError, lambda: impatient.videos.delete(video.id))
    equal(error.code, "video_not_finished", "code")
    canceled = client.post(f"/videos/{video.id}/cancel", body={}, cast_to=Video)
    equal(canceled.id, video.id, "id")
    ended = wait_for(video.id)
    equal(ended.status, "failed", "status of a canceled video")
    truth(ended.error is not None and ended.error.code == "canceled", f"error of a canceled video: {ended.error!r}")


def main() -> int:
    truth(TARGET in ("longtake", "simulator"), "TARGET is longtake or simulator")
    check("create (multipart)", create_multipart)
    check("create (JSON)", create_json)
    check("create (JSON, image_url)", create_json_with_image_url)
    check("create with an uploaded image", create_with_upload)
    check("create_and_poll", create_and_poll)
    check("retrieve", retrieve)
    check("list with auto-pagination", list_all_pages)
    check("list in both orders", list_ascending)
    check("download_content video", download_video)
    check("download_content thumbnail", download_thumbnail)
    check("download_content spritesheet", download_spritesheet)
    check("remix", remix)
    check("404 NotFoundError", unknown_video)
    check("400 BadRequestError without a prompt", missing_prompt)
    check("400 BadRequestError for a wrong size", wrong_size)
    check("x-request-id", request_id)
    check("401 AuthenticationError", wrong_key)
    if LONGTAKE:
        check("openai-poll-after-ms", poll_header)
        check("Idempotency-Key", idempotency_key)
        check("a file sent ahead", file_sent_ahead)
        check("409 for an unfinished video, then cancel", unfinished_is_not_deleted)
    check("delete", delete)
    return counted()


sys.exit(main())
