"""All checks together: what `imageserver check` lists, and what a start that failed adds to what stopped it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from imageserver.app.checks import certificate, cluster, files, models, ports, users
from imageserver.app.checks.finding import Check, Finding, Severity, stops
from imageserver.config import reading, together
from imageserver.config.reading import Gathered
from imageserver.config.table import TABLE
from imageserver.errors import PrintAsked

CHECKS = (
    Check(("data",), files.data),
    Check(("shared",), files.shared),
    Check(("data", "models", "model", "preload", "session_models"), models.look),
    Check(("cluster",), cluster.look),
    Check(("data", "users", "user", "auth"), users.look),
    Check(("tls", "https_port", "cert", "key"), certificate.look),
    Check(("data", "ip", "port", "https_port"), ports.look),
    Check(("data", "ip", "tcp_ip", "tcp_port", "tcp_config", "tcp_authorized_keys", "auth", "tcp_open"), ports.legacy),
    Check(("results", "audit"), files.written),
    Check(("redis_password",), files.secrets),
    Check(("mnist", "training_data"), files.learnt_from),
    Check(("display",), files.windows),
)


def find(gathered: Gathered) -> Iterator[Finding]:
    """Everything that is wrong, each once; of what depends on a value that nobody knows, nothing."""
    yield from map(stops, gathered.faults)
    if not gathered.doubtful:
        yield from map(stops, together.faults(gathered.settings))
    for check in CHECKS:
        if not gathered.doubtful.intersection(check.needs):
            yield from check.look(gathered.settings)
    unused = [*gathered.remarks, *together.unused(TABLE, gathered.settings, gathered.places)]
    yield from (Finding(Severity.UNUSED, sentence) for sentence in unused)


def further(arguments: Sequence[str], said: Sequence[str]) -> list[str]:
    """What else would stop a start with these arguments, beside the sentences of `said`."""
    try:
        gathered = reading.gather(arguments, os.environ)
    except PrintAsked:
        return []
    found = [finding.sentence for finding in find(gathered) if finding.severity is Severity.STOPS]
    return [sentence for sentence in dict.fromkeys(found) if sentence not in said]
