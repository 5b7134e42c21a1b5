"""A Prometheus that tests ask: queries, alerts, and what it should forget."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import NO_CONTENT, OK, SERVICE_UNAVAILABLE, HTTPConnection
from typing import Any

from support.waiting import wait_until

HTTP_TIMEOUT_S = 30.0
SCRAPE_DEADLINE_S = 60.0
EVERYTHING = '{job=~"redis|keymiss-.+"}'  # all targets
CACHED_S = 1.0  # a functions worker may tell the engine's figures as they were so long ago


@dataclass(frozen=True)
class Series:
    """One series of an answer, as it is now."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Prometheus:
    """The one that listens on this port of this host."""

    port: int

    def query(self, expr: str) -> list[Series]:
        """What `expr` is now. AssertionError where Prometheus refuses it."""
        answer = self._post("query", {"query": expr})
        if answer["resultType"] == "scalar":
            return [Series({}, float(answer["result"][1]))]
        return [Series(one["metric"], float(one["value"][1])) for one in answer["result"]]

    def firing(self, alert: str, labels: Mapping[str, str]) -> bool:
        """Whether the alert fires with these labels, others aside."""
        return any(
            one["state"] == "firing"
            and one["labels"]["alertname"] == alert
            and labels.items() <= one["labels"].items()
            for one in self._get("alerts")["alerts"]
        )

    def active(self) -> list[str]:
        """The alerts that fire or are about to, with the label that tells them apart."""
        return [f"{one['labels']} {one['state']}" for one in self._get("alerts")["alerts"]]

    def wait_for_targets(self, targets: str, count: int) -> None:
        """Until it knows so many of these (a selector); it may learn of them one after the other."""
        wait_until(
            lambda: len(self.query(f"up{targets}")) == count, SCRAPE_DEADLINE_S, f"{count} targets are known"
        )

    def wait_for_scrape(self, targets: str) -> None:
        """Until the `up` of these targets (a selector) was read after all that has happened by now."""
        since = time.time() + CACHED_S
        wait_until(
            lambda: (
                all(one.value == 1 for one in self.query(f"up{targets}"))
                and (times := self.query(f"timestamp(up{targets})"))
                and min(one.value for one in times) > since
            ),
            SCRAPE_DEADLINE_S,
            f"Prometheus has read {targets} anew",
        )

    def forget(self, *selectors: str) -> None:
        """What it has read of these series by now, as if that were longer ago than any rule looks."""
        matches = "&".join(f"match[]={urllib.parse.quote(selector)}" for selector in selectors)
        self._request("POST", f"/api/v1/admin/tsdb/delete_series?{matches}")

    def _get(self, path: str) -> Any:
        return json.loads(self._request("GET", f"/api/v1/{path}"))["data"]

    def _post(self, path: str, fields: dict[str, str]) -> Any:
        return json.loads(self._request("POST", f"/api/v1/{path}", urllib.parse.urlencode(fields)))["data"]

    def _request(self, method: str, path: str, body: str | None = None) -> bytes:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=HTTP_TIMEOUT_S)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded"})
            response = connection.getresponse()
            text = response.read()
        if response.status == SERVICE_UNAVAILABLE:
            raise ConnectionError("Prometheus is starting")
        assert response.status in (OK, NO_CONTENT), f"{path} {body}: {text.decode()}"
        return text
