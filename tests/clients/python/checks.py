"""What the tours of the Python clients share: checks that print a line each, and their count."""

from __future__ import annotations

import traceback
from typing import Callable

passed = 0
failed = 0


def check(name: str, body: Callable[[], None]) -> None:
    global passed, failed
    try:
        body()
    except Exception:
        failed += 1
        print(f"not ok - {name}", flush=True)
        traceback.print_exc()
    else:
        passed += 1
        print(f"ok - {name}", flush=True)


def equal(actual: object, expected: object, what: str) -> None:
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def truth(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def counted() -> int:
    """Prints how many checks there were; the exit code, 1 if any failed."""
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0
