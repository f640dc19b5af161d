"""`/metrics`: the figures of metrics.py in Prometheus's text format, for those who may see them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from imageserver import metrics
from imageserver.monitoring.cameras import CameraFigures, Numbers
from imageserver.transport import hub
from imageserver.web import openapi
from imageserver.web.access import Access
from imageserver.web.application import Application
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, text_error

LAG_EVERY = 0.5
MANY = 200
"""Figures above which the page is written in a thread."""

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Page:
    """The page of all figures.

    Args:
        refresh: Called before each answer, brings gauges up to date that nobody keeps.
        cameras: Figures of single cameras.
    """

    def __init__(self, refresh: Callable[[], None], cameras: CameraFigures) -> None:
        self._refresh, self._cameras = refresh, cameras

    @operation("GET", "/metrics", tag="Figures", answers=dict.fromkeys((200, 401, 403, 429, 500, 503), "Line"))
    def view(self, request: Request) -> Response:
        """Every figure in Prometheus's text format. Users who are bound to cameras see the figures of theirs only."""
        self._refresh()
        seen = self._cameras.read(request.user)
        registry = CollectorRegistry()
        registry.register(_Figures(seen))
        # Of a few models they take a fraction of a millisecond, and a thread costs more than that; of a thousand, 150.
        many = sum(len(metric.children) for metric in metrics.ALL) + sum(map(len, seen.values())) > MANY
        text = hub.in_thread(generate_latest, registry) if many else generate_latest(registry)
        return Response(text, content_type=CONTENT_TYPE_LATEST)


class _Figures(Collector):
    """Every figure, with those of cameras that the one who asks may see."""

    def __init__(self, cameras: Mapping[metrics.Metric, Numbers]) -> None:
        self._cameras = cameras

    def collect(self) -> Iterator[Family]:
        """Every figure (prometheus_client calls this, maybe in a thread)."""
        for metric in metrics.ALL:
            if isinstance(metric, metrics.Histogram):
                yield _histogram(metric)
            else:
                yield _numbers(metric, self._cameras.get(metric, {}))


def application(
    refresh: Callable[[], None], cameras: CameraFigures, access: Access, *, log: Callable[[str], None]
) -> Application:
    """The application for `/metrics`, whose errors are lines of text, as its figures are; the rest as in `Page`."""
    return Application(openapi.routes(Page(refresh, cameras)), access, log=log, error_response=text_error)


def _numbers(metric: metrics.Metric, more: Numbers) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(metric.name, metric.sentence, labels=metric.labels)
    for labels, number in list(metric.children.items()):  # threads count as well
        family.add_metric(labels, number.value)
    for labels, value in more.items():
        family.add_metric(labels, value)
    if not (metric.labels or metric.children):  # nothing happened yet, and there is just one number
        family.add_metric((), 0)
    return family


def _histogram(metric: metrics.Histogram) -> Family:
    family = HistogramMetricFamily(metric.name, metric.sentence, labels=metric.labels)
    for labels, found in list(metric.children.items()):  # threads count as well
        bounds = [*map(str, metric.bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, itertools.accumulate(found.counts), strict=True)), found.sum)
    return family


def measure_lag() -> None:
    """Observe how late the loop is for its timers, for ever; spawn it."""
    while True:
        due = time.monotonic() + LAG_EVERY
        hub.sleep(LAG_EVERY)
        lag = max(0.0, time.monotonic() - due)
        metrics.LOOP_LAG.observe(lag)
        metrics.LATEST_LAGS.append(lag)


def reference() -> str:
    """docs/metrics.md."""
    lines = [
        "# Figures",
        "",
        "Written by `make docs` from `src/metrics.py`. "
        "`GET /metrics` answers them in Prometheus's text format; with `-a`",
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
