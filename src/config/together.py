"""What no setting can be wrong about alone: those that contradict each other, and those that have no effect. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from imageserver.config.kinds import OFF
from imageserver.config.sources import Setting
from imageserver.config.table import Settings


@dataclass(frozen=True)
class _Rule:
    """`names` of settings that do nothing `unless` something holds: `without` completes "it has no effect …"."""

    names: tuple[str, ...]
    unless: Callable[[Settings], object]
    without: str


_RULES = (
    _Rule(("users",), lambda of: not of.user, "beside --user, which takes the place of the database"),
    _Rule(("cluster_wait", "cluster_idle", "cluster_cache"), lambda of: of.cluster, "without --cluster"),
    _Rule(("results_bytes",), lambda of: of.results, "without --results"),
    _Rule(("audit_bytes", "audit_files"), lambda of: of.audit, "without --audit"),
    _Rule(("memory_strangers",), lambda of: of.auth, "without --auth"),
    _Rule(("login_time",), lambda of: of.auth or of.tcp_authorized_keys, "without --auth or --tcp-authorized-keys"),
    _Rule(("login_pause",), lambda of: of.login_attempts, "with --login-attempts 0, which allows all that fail"),
    _Rule(("shared_time", "shared_jobs"), lambda of: of.shared, "without --shared"),
    _Rule(
        ("redis_password",),
        lambda of: of.redis and not of.redis.has_password,
        "without --redis, or beside a password in its address",
    ),
    _Rule(
        (
            "redis_fps",
            "redis_frame_bytes",
            "redis_bytes",
            "redis_text_bytes",
            "redis_watched",
            "redis_streams",
            "redis_silence",
        ),
        lambda of: of.redis,
        "without --redis",
    ),
    _Rule(("tcp_open",), lambda of: of.auth and not of.tcp_authorized_keys, "without --auth, or beside keys"),
    _Rule(
        (
            "tcp_ip",
            "tcp_config",
            "tcp_authorized_keys",
            "tcp_open",
            "tcp_max_per_host",
            "tcp_max_connections",
            "tcp_max_bytes",
            "tcp_max_total_bytes",
        ),
        lambda of: of.tcp_port != OFF,
        "with --tcp-port off",
    ),
)


def faults(settings: Settings) -> list[str]:
    """A sentence for each contradiction."""
    found = []
    secure = settings.tls or settings.https_port is not None
    if settings.tls and settings.https_port is not None:
        found.append("-s makes the HTTP port speak HTTPS, and --https-port adds a second one: give one of them.")
    if settings.https_port and settings.https_port == settings.port:
        found.append(f"--https-port and -p are both {settings.port}: HTTP and HTTPS need a port each.")
    if settings.shared == settings.data:
        found.append("--shared and --data are one folder: --data belongs to one front end alone, so give two.")
    if settings.redis and not settings.front_end:
        found.append("--redis needs --front-end NAME: the name by which the others know this front end.")
    if settings.tcp_port and settings.tcp_port in (settings.port, settings.https_port):
        found.append(f"--tcp-port is {settings.tcp_port}, which HTTP has: give legacy TCP commands another, or off.")
    if (settings.cert or settings.key) and not secure:
        found.append("--cert and --key are for HTTPS: add -s, or --https-port N for HTTPS beside HTTP.")
    elif settings.key and not settings.cert:
        found.append("--key is given without --cert: give both, or neither for a self-signed certificate.")
    return found


def unused(table: Sequence[Setting], settings: Settings, given: Collection[str]) -> list[str]:
    """A sentence for each setting of `given` that has no effect beside the others."""
    rows = {row.name: row for row in table}
    return [
        f"--{rows[name].key} has no effect {rule.without}."
        for rule in _RULES
        for name in rule.names
        if name in given and not rule.unless(settings)
    ]
