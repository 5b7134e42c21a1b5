"""The metrics page of a worker, read as Prometheus reads it."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterable

START_DEADLINE_S = 30.0  # of a worker, which then serves its metrics
POLL_S = 0.05


def scrape(port: int) -> str:
    """What is served on that port of this host. OSError where nothing is."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=START_DEADLINE_S) as answer:
        return str(answer.read().decode())


def wait_until_served(ports: Iterable[int]) -> None:
    """RuntimeError where one of them does not serve metrics in time."""
    end_s = time.monotonic() + START_DEADLINE_S
    for port in ports:
        while True:
            try:
                scrape(port)
                break
            except OSError as error:
                if time.monotonic() > end_s:
                    raise RuntimeError(f"no metrics are served on port {port}: {error}") from error
                time.sleep(POLL_S)


def figures(page: str) -> dict[str, float]:
    """The sum of each metric's samples, by its name."""
    found: dict[str, float] = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            sample, _, value = line.rpartition(" ")
            name = sample.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found
