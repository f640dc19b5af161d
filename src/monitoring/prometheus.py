"""`/metrics`: the figures of metrics.py in Prometheus's text format, for those who may see them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from imageserver import metrics
from imageserver.accounts.login import Logins
from imageserver.errors import ImageServerError, NotAllowed
from imageserver.transport import hub
from imageserver.web import basic_auth

LAG_EVERY = 0.5
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Page(Collector):
    """A WSGI application. `refresh` brings gauges up to date that nobody keeps; it is called before each answer."""

    def __init__(self, logins: Logins, refresh: Callable[[], None]) -> None:
        self._logins, self._refresh = logins, refresh
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
        try:
            self._admit(environ)
        except NotAllowed as error:
            start_response("401 Unauthorized", [*headers, ("WWW-Authenticate", basic_auth.REALM)])
            return [f"{error}\n".encode()]
        except ImageServerError as error:
            start_response("503 Service Unavailable", headers)
            return [f"{error}\n".encode()]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [*headers, ("Allow", "GET, HEAD")])
            return [b"only GET and HEAD\n"]
        self._refresh()
        body = prometheus_client.generate_latest(self._registry)
        start_response(
            "200 OK", [("Content-Type", prometheus_client.CONTENT_TYPE_LATEST), ("Content-Length", str(len(body)))]
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def collect(self) -> Iterator[Family]:
        """Every figure (prometheus_client calls this)."""
        for metric in metrics.ALL:
            yield _histogram(metric) if isinstance(metric, metrics.Histogram) else _numbers(metric)

    def _admit(self, environ: dict[str, Any]) -> None:
        """With --auth: only those who may see every figure. NotAllowed."""
        if self._logins.required:
            name, password = basic_auth.parse(environ.get("HTTP_AUTHORIZATION", ""))
            user = self._logins.check(name, password, environ.get("REMOTE_ADDR", ""))
            if user is None or not user.roles & {"viewer", "admin"}:
                raise NotAllowed("figures are for users with the role viewer or admin")


def _numbers(metric: metrics.Metric) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(metric.name, metric.sentence, labels=metric.labels)
    for labels, number in metric.children.items():
        family.add_metric(labels, number.value)
    if not (metric.labels or metric.children):  # nothing happened yet, and there is just one number
        family.add_metric((), 0)
    return family


def _histogram(metric: metrics.Histogram) -> Family:
    family = HistogramMetricFamily(metric.name, metric.sentence, labels=metric.labels)
    for labels, found in metric.children.items():
        bounds = [*map(str, metric.bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, itertools.accumulate(found.counts), strict=True)), found.sum)
    return family


def measure_lag() -> None:
    """Observe how late the loop is for its timers, for ever; spawn it."""
    while True:
        due = time.monotonic() + LAG_EVERY
        hub.sleep(LAG_EVERY)
        metrics.LOOP_LAG.observe(max(0.0, time.monotonic() - due))


def reference() -> str:
    """docs/metrics.md."""
    lines = [
        "# Figures",
        "",
        "Written by `make docs` from `src/metrics.py`. `GET /metrics` answers them in Prometheus's text format; with `-a`",
        "for users with the role viewer or admin (HTTP Basic).",
        "",
        "| figure | kind | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for metric in metrics.ALL:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.sentence} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print docs/metrics.md."""
    print(reference(), end="")
