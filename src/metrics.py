"""Every figure that the server keeps, defined once, with the sentence that says what it means.

Plain Python numbers on one thread: counting costs an attribute increment, and nothing is computed until
somebody reads. On a hot path hold the child (`RECEIVED.child("camstream")`) and do `child.value += 1`.
"""

from __future__ import annotations

import bisect
from collections import deque


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


class Distribution:
    """How often a value fell below each of some bounds, and the sum of them all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of values up to each bound and over the one before; the last is over all bounds."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value


class Histogram:
    """Distributions by the values of `labels`, named and explained."""

    kind = "histogram"

    def __init__(self, name: str, labels: tuple[str, ...], bounds: tuple[float, ...], sentence: str) -> None:
        self.name, self.labels, self.bounds, self.sentence = name, labels, bounds, sentence
        self.children: dict[tuple[str, ...], Distribution] = {}
        ALL.append(self)

    def observe(self, value: float, *values: str) -> None:
        """Count `value` under these label values."""
        found = self.children.get(values)
        if found is None:
            found = self.children[values] = Distribution(self.bounds)
        found.observe(value)


ALL: list[Metric | Histogram] = []


def _counter(name: str, labels: tuple[str, ...], sentence: str) -> Metric:
    return Metric("counter", name, labels, sentence)


def _gauge(name: str, labels: tuple[str, ...], sentence: str) -> Metric:
    return Metric("gauge", name, labels, sentence)


FRAMES_RECEIVED = _counter(
    "imageserver_frames_received_total", ("protocol",), "Frames that arrived, whatever became of them."
)
FRAMES_REFUSED = _counter(
    "imageserver_frames_refused_total",
    ("protocol", "reason"),
    "Frames turned away at once: unauthenticated, too large, no picture, a full queue, or stopping.",
)
FRAMES_REPLACED = _counter(
    "imageserver_frames_replaced_total",
    ("protocol",),
    "Frames that a newer one of the same stream replaced before they ran.",
)
FRAMES_PROCESSED = _counter("imageserver_frames_processed_total", ("protocol",), "Frames whose prediction came back.")
FRAMES_LOST = _counter(
    "imageserver_frames_lost_total",
    ("protocol", "reason"),
    "Frames that went to a worker and came back without a prediction.",
)
PREDICTION_AGE = Histogram(
    "imageserver_prediction_age_seconds",
    ("protocol",),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    "Time from a frame's receipt to its prediction.",
)
BATCH_SIZE = Histogram("imageserver_batch_size", ("model",), (1, 2, 4, 8, 16, 32, 64), "Pictures that ran together.")
WAITING = _gauge("imageserver_waiting", ("model",), "Streams and requests that wait for their turn at a model now.")
STREAMS = _gauge("imageserver_streams", (), "Streams of frames open now.")
SESSIONS = _gauge("imageserver_sessions", (), "Sessions open now.")
CAMERA_RECEIVED = _counter(
    "imageserver_camera_frames_received_total",
    ("camera", "protocol"),
    "Frames that arrived from each camera with a name since it connected; --camera-figures says of how many.",
)
CAMERA_ANSWERED = _counter(
    "imageserver_camera_frames_answered_total",
    ("camera", "protocol"),
    "Of these, the ones that were answered.",
)
CAMERA_DROPPED = _counter(
    "imageserver_camera_frames_dropped_total",
    ("camera", "protocol"),
    "Of these, the ones that newer ones replaced or a worker took with it.",
)
SESSION_BYTES = _gauge("imageserver_session_bytes", (), "Bytes of frames that wait for the models of sessions now.")
RECEIVED_BYTES = _counter("imageserver_received_bytes_total", ("protocol",), "Bytes of the frames that arrived.")
MEMORY = _gauge(
    "imageserver_memory_bytes",
    ("kind",),
    "Bytes that wait in the server now for clients to send more, for models, or for clients to fetch them.",
)
LOOP_LAG = Histogram(
    "imageserver_loop_lag_seconds",
    (),
    (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5),
    "Time by which the server's loop was late for a timer, twice a second.",
)
LATEST_LAGS: deque[float] = deque(maxlen=240)
"""Of the loop, in seconds: the last two minutes."""
LIVE_FRAMES = _counter("imageserver_live_frames_total", (), "Frames that were sent to live pages.")
RESULTS_DROPPED = _counter(
    "imageserver_results_dropped_total", (), "Predictions that could not be written to the results file."
)
AUDIT_DROPPED = _counter(
    "imageserver_audit_dropped_total", (), "Events that could not be written to the audit, as on a full disk."
)
AUDIT_REFUSED = _counter(
    "imageserver_audit_refused_total",
    (),
    "Events that the users' database did not take, and that are in the file of the audit alone.",
)
DISK_FAILING = _gauge(
    "imageserver_disk_failing",
    ("what",),
    "1 while the disk does not let this be read or written: full, read-only, gone; the log says which, 0 afterwards.",
)
SNIPPETS_REFUSED = _counter(
    "imageserver_snippets_refused_total", (), "Pictures of Snap that could not be kept, as on a full disk."
)
SNAPS_REFUSED = _counter(
    "imageserver_snaps_refused_total", (), "Times that a camera said snap to others in /ws, which was not relayed."
)
LOG_LINES_DROPPED = _counter(
    "imageserver_log_lines_dropped_total",
    (),
    "Lines of the log that were dropped: nobody read them, or the disk was full.",
)
DATABASE_UP = _gauge(
    "imageserver_database_up",
    ("what",),
    "Of what several front ends share (users: the database; redis): 1 while it answers, else 0.",
)
FRONT_ENDS = _gauge("imageserver_front_ends", (), "Other front ends that are heard over Redis now.")
FRONT_END_STREAMS = _gauge(
    "imageserver_front_end_streams", (), "Streams and sessions of other front ends that are known here now."
)
REDIS_MESSAGES = _counter(
    "imageserver_redis_messages_total", ("direction",), "Messages to and from other front ends over Redis: sent, heard."
)
REDIS_BYTES = _counter("imageserver_redis_bytes_total", ("direction",), "Bytes of these, pictures included.")
REDIS_FRAMES = _counter(
    "imageserver_redis_frames_total",
    ("direction",),
    "Frames among them, for who looks at a camera of another front end.",
)
REDIS_DROPPED = _counter(
    "imageserver_redis_dropped_total",
    ("reason",),
    "Messages over Redis that were dropped: unreadable, version, too large, foreign (speaks of what is not its "
    "sender's), too many (over --redis-bytes or --redis-text-bytes), late (a text of /ws that waited for 2 s), unsent "
    "(Redis is gone, or too slow). Of lists single rows count.",
)
LOGINS_REMEMBERED = _counter(
    "imageserver_logins_remembered_total", (), "Logins that held by memory, since the users' database did not answer."
)
LOGINS = _counter(
    "imageserver_logins_total",
    ("result",),
    "Attempts to authenticate, by result: accepted, refused, or paused (not looked at: too many failed before).",
)
LIMITS_HIT = _counter(
    "imageserver_limits_hit_total",
    ("limit",),
    "Times that a client or request ran into a limit, by the limit's setting.",
)
FOLLOWERS = _gauge("imageserver_followers", ("what",), "Clients that follow streams or trainings over HTTP now.")
COSTLY_PICTURES = _counter(
    "imageserver_costly_pictures_total",
    ("result",),
    "Pictures for the process that decodes costly ones: decoded, refused (no picture, or over a limit), "
    "put off (at once), ended (the process, by time or memory).",
)
WORKER_RESTARTS = _counter("imageserver_worker_restarts_total", (), "Worker processes that died and were replaced.")
MODEL_WARNINGS = _gauge(
    "imageserver_model_warnings",
    ("model",),
    "What a model serves without, by its last load: a faster runtime, members of an ensemble, the check of its input.",
)
REMOTE_UP = _gauge(
    "imageserver_remote_up",
    ("model", "endpoint"),
    "1 while this endpoint of a model elsewhere is asked, 0 while it is left alone.",
)
REMOTE_BATCHES = _counter(
    "imageserver_remote_batches_total",
    ("model", "endpoint", "result"),
    "Batches sent to an endpoint of a model elsewhere: answered, or failed (not reached, late, no proper answer).",
)
REMOTE_RETRIES = _counter(
    "imageserver_remote_retries_total", ("model",), "Batches that a second endpoint got, as the first one failed."
)
CLUSTER_REPLICAS = _gauge(
    "imageserver_cluster_replicas",
    ("model", "state"),
    "Replicas of a model on the cluster that wait for room (placing), load, are ready, or end soon (draining).",
)
CLUSTER_BATCHES = _counter(
    "imageserver_cluster_batches_total",
    ("model", "result"),
    "Batches sent to replicas on the cluster: answered, or lost (none free in time, or one that ended with it).",
)
CLUSTER_ENDED = _counter(
    "imageserver_cluster_ended_total", ("model",), "Replicas on the cluster that ended without being told to."
)
CERTIFICATE_EXPIRY = _gauge(
    "imageserver_certificate_expiration_timestamp_seconds",
    (),
    "When the certificate that HTTPS shows expires, in seconds since 1970; 0 without HTTPS.",
)
CERTIFICATE_LOADS = _counter(
    "imageserver_certificate_loads_total",
    ("result",),
    "Certificates found on the disk for HTTPS: loaded, or refused (unreadable, without their key, expired).",
)
CONNECTIONS = _gauge("imageserver_connections", ("transport",), "Connections open now.")
TCP_CLOSED = _counter(
    "imageserver_tcp_closed_total",
    ("reason",),
    "Connections of the legacy TCP port that ended: bye, left (the client), silent, slow, unknown command, "
    "refused (AUTH), no login (in time), deaf (replies unread), no room.",
)
TCP_AUTHENTICATIONS = _counter(
    "imageserver_tcp_authentications_total", ("result",), "Signatures checked for AUTH, by result: accepted or refused."
)
TCP_BUFFERED = _gauge(
    "imageserver_tcp_buffered_bytes", (), "Bytes of pictures that connections of the legacy TCP port hold now."
)
