"""Every figure that the server keeps, defined once, with the sentence that says what it means.

Plain Python numbers on one thread: counting costs an attribute increment, and nothing is computed until
somebody reads. On a hot path hold the child (`RECEIVED.child("camstream")`) and do `child.value += 1`.
"""

from __future__ import annotations


class Child:
    """One number: a metric under one combination of label values."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Metric:
    """A counter or a gauge (`kind`), named and explained; children by the values of `labels`."""

    def __init__(self, kind: str, name: str, labels: tuple[str, ...], sentence: str) -> None:
        self.kind, self.name, self.labels, self.sentence = kind, name, labels, sentence
        self.children: dict[tuple[str, ...], Child] = {}
        ALL.append(self)

    def child(self, *values: str) -> Child:
        """The number for these label values, made at first use. ValueError on a wrong count of values."""
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} takes the labels {self.labels}, got {values}")
        found = self.children.get(values)
        if found is None:
            found = self.children[values] = Child()
        return found

    def inc(self, *values: str) -> None:
        """Add one."""
        self.child(*values).value += 1

    def total(self) -> float:
        """The sum over all label values."""
        return sum(child.value for child in self.children.values())


ALL: list[Metric] = []


def _counter(name: str, labels: tuple[str, ...], sentence: str) -> Metric:
    return Metric("counter", name, labels, sentence)


def _gauge(name: str, labels: tuple[str, ...], sentence: str) -> Metric:
    return Metric("gauge", name, labels, sentence)


FRAMES_RECEIVED = _counter("imageserver_frames_received_total", ("protocol",), "Frames that arrived, whatever became of them.")
FRAMES_REFUSED = _counter(
    "imageserver_frames_refused_total", ("protocol", "reason"), "Frames turned away at once: unauthenticated, too large, no picture, a full queue, or stopping."
)
FRAMES_REPLACED = _counter("imageserver_frames_replaced_total", ("protocol",), "Frames that a newer one of the same stream replaced before they ran.")
FRAMES_PROCESSED = _counter("imageserver_frames_processed_total", ("protocol",), "Frames whose prediction came back.")
FRAMES_LOST = _counter("imageserver_frames_lost_total", ("protocol", "reason"), "Frames that went to a worker and came back without a prediction.")
RESULTS_DROPPED = _counter("imageserver_results_dropped_total", (), "Predictions that could not be written to the results file.")
LOG_LINES_DROPPED = _counter("imageserver_log_lines_dropped_total", (), "Lines of the log that were dropped because nobody read them.")
LOGINS = _counter("imageserver_logins_total", ("result",), "Attempts to authenticate, by result: accepted or refused.")
LIMITS_HIT = _counter("imageserver_limits_hit_total", ("limit",), "Times that a client or request ran into a limit, by the limit's setting.")
WORKER_RESTARTS = _counter("imageserver_worker_restarts_total", (), "Worker processes that died and were replaced.")
MODEL_WARNINGS = _gauge("imageserver_model_warnings", ("model",), "What a model serves without, by its last load: a faster runtime, members of an ensemble.")
CONNECTIONS = _gauge("imageserver_connections", ("transport",), "Connections open now.")
TCP_CLOSED = _counter(
    "imageserver_tcp_closed_total", ("reason",),
    "Connections of the legacy TCP port that ended: bye, left (the client), silent, slow, unknown command, refused (AUTH), deaf (replies unread), no room.",
)
TCP_AUTHENTICATIONS = _counter("imageserver_tcp_authentications_total", ("result",), "Signatures checked for AUTH, by result: accepted or refused.")
TCP_BUFFERED = _gauge("imageserver_tcp_buffered_bytes", (), "Bytes of pictures that connections of the legacy TCP port hold now.")
