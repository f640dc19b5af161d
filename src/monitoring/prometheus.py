"""`/metrics`: the figures of metrics.py in Prometheus's text format, for those who may see them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from imageserver import metrics
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


class Page(Collector):
    """The page of all figures. `refresh`, called before each answer, brings gauges up to date that nobody keeps."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh
        self._registry = CollectorRegistry()
        self._registry.register(self)

    @operation("GET", "/metrics", tag="Figures", answers=dict.fromkeys((200, 401, 403, 429, 500, 503), "Line"))
    def view(self, _request: Request) -> Response:
        """Every figure in Prometheus's text format."""
        self._refresh()
        # Of a few models they take a fraction of a millisecond, and a thread costs more than that; of a thousand, 150.
        many = sum(len(metric.children) for metric in metrics.ALL) > MANY
        text = hub.in_thread(generate_latest, self._registry) if many else generate_latest(self._registry)
        return Response(text, content_type=CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Family]:
        """Every figure (prometheus_client calls this, maybe in a thread)."""
        for metric in metrics.ALL:
            yield _histogram(metric) if isinstance(metric, metrics.Histogram) else _numbers(metric)


def application(refresh: Callable[[], None], access: Access, *, log: Callable[[str], None]) -> Application:
    """The application for `/metrics`, whose errors are lines of text, as its figures are; `refresh` as in `Page`."""
    return Application(openapi.routes(Page(refresh)), access, log=log, error_response=text_error)


def _numbers(metric: metrics.Metric) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(metric.name, metric.sentence, labels=metric.labels)
    for labels, number in list(metric.children.items()):  # threads count as well
        family.add_metric(labels, number.value)
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
