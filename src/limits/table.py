"""Every limit of the server, and what is done when somebody runs into one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from imageserver import metrics, news
from imageserver.limits.clients import ClientLimits
from imageserver.limits.row import DAY, GIB, HOUR, KIB, MANY, MIB, limit
from imageserver.news import NewsKind

_PICTURES = "Limits of pictures"
_LISTS = "Limits of lists"
_LIVE = "The live page"
_TRAINING = "Training over REST"
_VIEWERS = "Viewers of streams"
_FILES = "Files and output"
_MODELS = "Models and streams"
_ELSEWHERE = "Models elsewhere"
_SEVERAL = "Several front ends"
_SNAP = "Snap: pictures on demand"
_SESSIONS = "Sessions of several models"
_TCP = "Legacy TCP commands for chest X-rays"


@dataclass(frozen=True, kw_only=True)
class Limits(ClientLimits):
    """Every limit with its value: sizes in bytes, times in seconds."""

    max_frame_bytes: int = limit(
        _PICTURES, 16 * MIB, "bytes", 1024, 32 * MIB,
        help="largest file of a picture",
    )
    max_pixels: int = limit(
        _PICTURES, 50_000_000, "count", 1, MANY,
        help="most pixels of a picture, width times height",
    )
    max_decoded_bytes: int = limit(
        _PICTURES, 192 * MIB, "bytes", MIB, 2**40,
        help="most bytes of a picture once it is decoded: width x height x channels x bytes of a sample",
    )
    costly_bytes: int = limit(
        _PICTURES, 48 * MIB, "bytes", MIB, 2**40,
        help="bytes of decoded pictures that a worker makes at once; larger ones are decoded in a process of their own",
    )
    decode_time: float = limit(
        _PICTURES, 10.0, "seconds", 1, HOUR,
        help="processor time that such a picture may take to decode",
    )
    costly_queue: int = limit(
        _PICTURES, 64, "count", 1, MANY,
        help="such pictures of one user or address that may wait; of all together 16 times as many",
    )
    put_off_time: float = limit(
        _PICTURES, 30.0, "seconds", 0, DAY,
        help="time for which a picture that ended a process is refused, and costly ones of who sends several such",
    )
    max_requests: int = limit(
        _PICTURES, 256, "count", 1, MANY,
        help="single pictures, each of which gets an answer, that may wait for a model",
    )
    session_bytes: int = limit(
        _PICTURES, 512 * MIB, "bytes", MIB, 2**40,
        help="frames of all sessions together that may wait for models",
    )

    list_rows: int = limit(
        _LISTS, 1000, "count", 1, 10_000,
        help="rows in one answer of a list; a link leads to the next ones",
    )

    live_pages: int = limit(
        _LIVE, 100, "count", 1, 10_000,
        help="live pages that may be open at the same time; one address may have a quarter of them",
    )
    live_rows: int = limit(
        _LIVE, 100, "count", 1, 1000,
        help="streams, models and snippets that a live page is told of; its filter finds the others",
    )
    live_fps: int = limit(
        _LIVE, 15, "count", 1, 60,
        help="times a second that a live page is sent what is new",
    )
    live_round_bytes: int = limit(
        _LIVE, 4 * MIB, "bytes", 64 * KIB, 64 * MIB,
        help="bytes of pictures that a live page is sent at once; further ones come the next time",
    )

    model_timeout: float = limit(
        _MODELS, 15.0, "seconds", 0.1, HOUR,
        help="time a batch may run before its worker counts as stuck and is replaced",
    )
    worker_memory: int = limit(
        _MODELS, 0, "bytes", 0, 2**50,
        help="memory of its own that each process which runs models may take; "
        "0 is half of the machine's, at least 2 and at most 4 GiB",
    )

    remote_seconds: float = limit(
        _ELSEWHERE, 5.0, "seconds", 0.05, HOUR,
        help="time that a batch may take where its model runs, a second try included; four fifths of --model-timeout "
        "where that is shorter",
    )
    remote_batches: int = limit(
        _ELSEWHERE, 8, "count", 1, 32,
        help="batches of one such model that may be under way at the same time",
    )
    remote_answer_bytes: int = limit(
        _ELSEWHERE, 64 * MIB, "bytes", 64 * KIB, 1024 * MIB,
        help="largest answer to a batch",
    )
    remote_retries: int = limit(
        _ELSEWHERE, 20, "count", 0, 100,
        help="of a hundred batches, those that may be sent to a second endpoint where the first one fails",
    )
    remote_look_every: float = limit(
        _ELSEWHERE, 2.0, "seconds", 0.1, 60,
        help="time between two looks whether an endpoint is well; one may take as long, at least a second",
    )

    redis_fps: int = limit(
        _SEVERAL, 15, "count", 1, 60,
        help="frames a second of one camera that another front end gets, while somebody looks at it there",
    )
    redis_frame_bytes: int = limit(
        _SEVERAL, 2 * MIB, "bytes", 64 * KIB, 32 * MIB,
        help="largest picture that another front end gets; of a larger one it gets the prediction alone",
    )
    redis_bytes: int = limit(
        _SEVERAL, 32 * MIB, "bytes", MIB, 1024 * MIB,
        help="bytes a second of frames that are sent to other front ends, and are taken of theirs; as many again for "
        "their lists",
    )
    redis_text_bytes: int = limit(
        _SEVERAL, 2 * MIB, "bytes", 64 * KIB, 1024 * MIB,
        help="bytes a second of texts of /ws that are sent to other front ends, and as many that are taken of theirs; "
        "what exceeds them is dropped",
    )
    redis_watched: int = limit(
        _SEVERAL, 128, "count", 1, 512,
        help="cameras of other front ends that are looked at here at the same time",
    )
    redis_streams: int = limit(
        _SEVERAL, 20_000, "count", 1, 1_000_000,
        help="streams and sessions of other front ends that are known here",
    )
    redis_silence: float = limit(
        _SEVERAL, 5.0, "seconds", 2, HOUR,
        help="time without a word after which another front end, and all that it told, is forgotten",
    )
    cluster_wait: float = limit(
        _ELSEWHERE, 0.2, "seconds", 0.01, 60,
        help="with --cluster: time that the oldest picture may wait before its model gets a replica more",
    )
    cluster_idle: float = limit(
        _ELSEWHERE, 60.0, "seconds", 1, DAY,
        help="with --cluster: time of little to do after which a model has a replica less",
    )
    cluster_cache: int = limit(
        _ELSEWHERE, 20 * GIB, "bytes", 16 * MIB, 2**50,
        help="with --cluster: files of models that a node keeps; those that nobody uses give way, the oldest first",
    )

    ws_send_timeout: float = limit(
        _SNAP, 10.0, "seconds", 0.1, HOUR,
        help="time for which a client of /ws may leave texts unread before it is dropped",
    )
    relay_rate: int = limit(
        _SNAP, 1000, "count", 10, 1_000_000,
        help="texts a second of one client of /ws; one that sends more is read more slowly",
    )
    snippet_disk: int = limit(
        _SNAP, 10 * GIB, "bytes", MIB, 2**50,
        help="space on the disk for all pictures together, in whole blocks and with their database; "
        "the oldest give way",
    )
    snippet_files: int = limit(
        _SNAP, 500_000, "count", 1, MANY,
        help="pictures that are kept of all numbers together; the oldest give way",
    )
    snippet_lists: int = limit(
        _SNAP, 64, "count", 1, MANY,
        help="lists of pictures and histories that may wait for their turn; one user or address may have a quarter",
    )
    shared_time: float = limit(
        _SNAP, 5.0, "seconds", 0.1, 600,
        help="time that a step in the folder of --shared may take until the request is refused",
    )
    shared_jobs: int = limit(
        _SNAP, 4, "count", 2, 64,
        help="steps in the folder of --shared at the same time; where half of them hang further ones are refused",
    )

    session_idle: float = limit(
        _SESSIONS, 60.0, "seconds", 0.1, DAY,
        help="time without a frame after which a session ends",
    )

    training_pictures: int = limit(
        _TRAINING, 300_000, "count", 1, 10_000_000,
        help="pictures that a training may learn from, and files in the folder of --training-data",
    )
    training_followers: int = limit(
        _TRAINING, 100, "count", 1, MANY,
        help="clients that may follow trainings at the same time; one address may have a quarter of them",
    )

    stream_followers: int = limit(
        _VIEWERS, 200, "count", 1, MANY,
        help="clients that may follow streams over HTTP (.mjpeg, events) at the same time; one address may have a "
        "quarter of them",
    )
    draw_queue: int = limit(
        _VIEWERS, 64, "count", 1, MANY,
        help="streams whose pictures may wait for boxes to be drawn into them; one user or address may have a quarter",
    )

    status_lines: int = limit(
        _FILES, 100, "count", 1, MANY,
        help="streams of which the log has a line every five seconds; of further ones it has the sums",
    )
    camera_figures: int = limit(
        _FILES, 100, "count", 0, 10_000,
        help="cameras with a name of which /metrics has figures of their own, those that began first",
    )
    results_bytes: int = limit(
        _FILES, 0, "bytes", 0, 2**62,
        help="size at which the file of --results is renamed, with .1 behind its name, and begun anew; 0 is no limit",
    )
    audit_bytes: int = limit(
        _FILES, 16 * MIB, "bytes", 4 * KIB, 2**50,
        help="size at which the file of --audit is renamed, with .1 behind its name, and begun anew",
    )
    audit_files: int = limit(
        _FILES, 10, "count", 1, 1000,
        help="renamed files of --audit that are kept: .1 is the latest",
    )
    audit_queue: int = limit(
        _FILES, 10_000, "count", 100, MANY,
        help="with --users postgresql://…: lines of --audit that wait to be put there, too; the oldest give way",
    )
    audit_rows: int = limit(
        _FILES, 1_000_000, "count", 1000, MANY,
        help="with --users postgresql://…: lines of --audit that are kept there; the oldest give way",
    )

    tcp_max_per_host: int = limit(
        _TCP, 16, "count", 0, MANY,
        help="open connections of one client address; 0 is no limit",
    )
    tcp_max_connections: int = limit(
        _TCP, 4096, "count", 1, MANY,
        help="open connections in total",
    )
    tcp_max_bytes: int = limit(
        _TCP, 16 * MIB, "bytes", 1024, 32 * MIB,
        help="largest file; --max-frame-bytes holds as well",
    )
    tcp_max_total_bytes: int = limit(
        _TCP, 512 * MIB, "bytes", MIB, 2**40,
        help="files of all connections together",
    )


def option(name: str) -> str:
    """What people type for the limit `name`, a field of `Limits`: `--max-connections`."""
    return "--" + name.replace("_", "-")


TABLE = {field.name: field.metadata["limit"] for field in dataclasses.fields(Limits)}
"""The rows by the names of their fields."""


def hit(name: str, who: str = "") -> None:
    """Count that somebody ran into the limit `name`.

    Args:
        name: a field of `Limits`; KeyError when there is none of that name.
        who: whose doing it was, as accounts of memory name their owners: "user anna" or "address 10.0.0.7"; "" where
            that is not known.
    """
    metrics.LIMITS_HIT.inc(TABLE[name].label or option(name)[2:])
    _heard(name, who)
    if who and not who.endswith(" "):  # of an account that is nobody's
        news.tell(NewsKind.LIMIT_HIT, f"{who} ran into {option(name)}")


def note(sentence: str, name: str, who: str = "") -> str:
    """`hit`, and return `sentence` for the log with the option behind it; a `name` of "" is no limit."""
    if not name:
        return sentence
    hit(name, who)
    return f"{sentence} ({option(name)})"


def _unheard(_name: str, _who: str) -> None:
    """Nobody wants to know."""


_heard: Callable[[str, str], None] = _unheard


def on_hit(function: Callable[[str, str], None]) -> None:
    """Have `function(name, who)` told of each hit; `who` is "" where that is not known. At once, in any thread."""
    global _heard
    _heard = function
