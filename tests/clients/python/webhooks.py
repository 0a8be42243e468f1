"""Webhooks as a client of the official libraries sees them: `standardwebhooks` and the OpenAI SDK, both unmodified.

Environment: OPENAI_BASE_URL, OPENAI_API_KEY, MODEL, of a server that may send to this machine
(`[webhooks] allow_networks` and `allow_http`).
Prints one line per check and a closing count; exit code 1 if any check failed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
from standardwebhooks import Webhook, WebhookVerificationError

from checks import check, counted, equal, truth

# The SDK marks its Videos surface as deprecated, since OpenAI closed its own service.
warnings.filterwarnings("ignore", category=DeprecationWarning)

MODEL = os.environ["MODEL"]
SHAPE: dict[str, Any] = {"seconds": "1", "size": "320x180"}
PROMPT = "a paper boat in the rain [sandbox duration=1s]"
# The longest a video of this tour and its webhooks may take.
TIMEOUT_SECONDS = 120.0

client = openai.OpenAI(timeout=60.0)


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent: path, headers, body."""

    requests: list[tuple[str, dict[str, str], bytes]] = []
    arrived = threading.Condition()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.arrived:
            self.requests.append((self.path, dict(self.headers.items()), body))
            self.arrived.notify_all()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}"


def received(path: str, count: int, kind: str) -> list[tuple[dict[str, str], bytes]]:
    """Waits for this many requests of a type of event on a path."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with Receiver.arrived:
        while True:
            wanted = f'"type":"{kind}"'.encode()
            found = [(headers, body) for at, headers, body in Receiver.requests if at == path and wanted in body]
            if len(found) >= count:
                return found
            left = deadline - time.monotonic()
            truth(left > 0, f"{len(found)} of {count} requests with {kind} came to {path}")
            Receiver.arrived.wait(left)


def verify(headers: dict[str, str], body: bytes, secret: str) -> Any:
    """Both libraries take it, and neither takes it after one byte changed."""
    by_library = Webhook(secret).verify(body, headers)
    by_sdk = client.webhooks.unwrap(body, headers, secret=secret)
    equal(by_sdk.id, by_library["id"], "id in both libraries")
    equal(by_library["id"], {name.lower(): value for name, value in headers.items()}["webhook-id"], "webhook-id")
    refuses(headers, body.replace(b'"event"', b'"evont"', 1), secret)
    return by_sdk


def refuses(headers: dict[str, str], body: bytes, secret: str) -> None:
    for library, error in (
        (lambda: Webhook(secret).verify(body, headers), WebhookVerificationError),
        (lambda: client.webhooks.unwrap(body, headers, secret=secret), openai.InvalidWebhookSignatureError),
    ):
        try:
            library()
        except error:
            continue
        raise AssertionError(f"{error.__name__} was expected")


def create(**more: Any) -> str:
    return client.videos.create(prompt=PROMPT, model=MODEL, **SHAPE, **more).id


endpoint: dict[str, str] = {}


def make_an_endpoint() -> None:
    made = client.webhooks.create(url=f"{URL}/endpoint", event_types=["video.completed"], name="tour")
    truth(made.signing_secret.startswith("whsec_"), "the secret is one of Standard Webhooks")
    equal((made.object, made.url, made.event_types, made.name), ("webhook_endpoint", f"{URL}/endpoint", ["video.completed"], "tour"), "endpoint")
    endpoint.update(id=made.id, secret=made.signing_secret)
    equal(client.webhooks.retrieve(made.id).url, made.url, "url")
    equal(client.webhooks.update(made.id, name="the tour").name, "the tour", "name")
    truth(made.id in [one.id for one in client.webhooks.list(limit=1)], "the list with pagination shows it")


def events_of_all_videos() -> None:
    video = create()
    ((headers, body),) = received("/endpoint", 1, "video.completed")
    event = verify(headers, body, endpoint["secret"])
    equal((event.type, event.data.id), ("video.completed", video), "event")
    refuses(headers, body, "whsec_" + "A" * 43 + "=")


def events_of_one_video() -> None:
    video = create(extra_body={"webhook_url": f"{URL}/own"})
    secret = client.get("/webhook_endpoints/videos", cast_to=object)["secret"]  # type: ignore[index]
    ((headers, body),) = received("/own", 1, "video.completed")
    event = verify(headers, body, secret)
    equal((event.type, event.data.id), ("video.completed", video), "event")
    sequence = [Webhook(secret).verify(body, headers)["sequence"] for headers, body in received("/own", 1, "video.queued")]
    equal(sequence, [1], "sequence of video.queued")
    received("/endpoint", 2, "video.completed")


def a_test() -> None:
    # The SDK's types know OpenAI's own events only.
    result = client.webhooks.test(endpoint["id"], event_type="webhook.test")  # type: ignore[arg-type]
    equal((result.object, result.status_code, result.webhook_endpoint_id), ("webhook_endpoint.test", 204, endpoint["id"]), "test")
    ((headers, body),) = received("/endpoint", 1, "webhook.test")
    verify(headers, body, endpoint["secret"])


def a_rotation() -> None:
    old = endpoint["secret"]
    new = client.webhooks.rotate_secret(endpoint["id"], keep_old_secret_active_for_24_hours=True).signing_secret
    truth(new != old, "the secret is another")
    client.webhooks.test(endpoint["id"], event_type="webhook.test")  # type: ignore[arg-type]
    headers, body = received("/endpoint", 2, "webhook.test")[-1]
    verify(headers, body, old)
    verify(headers, body, new)
    newest = client.webhooks.rotate_secret(endpoint["id"], keep_old_secret_active_for_24_hours=False).signing_secret
    client.webhooks.test(endpoint["id"], event_type="webhook.test")  # type: ignore[arg-type]
    headers, body = received("/endpoint", 3, "webhook.test")[-1]
    verify(headers, body, newest)
    refuses(headers, body, old)
    endpoint["secret"] = newest


def once_more() -> None:
    path = f"/webhook_endpoints/{endpoint['id']}"
    first: Any = Webhook(endpoint["secret"])
    log: Any = client.get(f"{path}/deliveries", cast_to=object)
    equal([row["state"] for row in log["data"]], ["delivered", "delivered"], "states of the log")
    client.post(f"{path}/deliveries/{log['data'][0]['id']}/redeliver", cast_to=object)
    headers, body = received("/endpoint", 3, "video.completed")[-1]
    equal(first.verify(body, headers)["id"], log["data"][0]["event"], "id of what is sent again")
    replayed: Any = client.post(f"{path}/replay", body={"after": log["data"][1]["event"]}, cast_to=object)
    equal((replayed["deliveries"], replayed["more_after"]), (1, None), "replay")
    headers, body = received("/endpoint", 4, "video.completed")[-1]
    equal(first.verify(body, headers)["id"], log["data"][0]["event"], "id of what is replayed")


def an_end() -> None:
    receipt = client.webhooks.delete(endpoint["id"])
    equal((receipt.id, receipt.object, receipt.deleted), (endpoint["id"], "webhook_endpoint.deleted", True), "receipt")
    try:
        client.webhooks.retrieve(endpoint["id"])
    except openai.NotFoundError as error:
        equal(error.code, "webhook_endpoint_not_found", "code")
    else:
        raise AssertionError("a deleted endpoint is still there")


def main() -> int:
    check("webhooks.create, retrieve, update, list", make_an_endpoint)
    check("unwrap and verify: an endpoint", events_of_all_videos)
    check("unwrap and verify: webhook_url", events_of_one_video)
    check("webhooks.test", a_test)
    check("webhooks.rotate_secret", a_rotation)
    check("redeliver and replay", once_more)
    check("webhooks.delete", an_end)
    return counted()


sys.exit(main())
