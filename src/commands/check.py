"""`imageserver check`: everything that is wrong with the settings, and what has no effect; nothing is changed."""

from __future__ import annotations

import os
import sys

from imageserver import __version__, folders
from imageserver.app import data_lock
from imageserver.app.checks import everything, models
from imageserver.app.checks.finding import Severity
from imageserver.config import reading
from imageserver.config.command_line import POSITIONAL
from imageserver.config.table import Settings
from imageserver.errors import PrintAsked
from imageserver.inference.shared.slim import tensorflow
from imageserver.lines import printable

WRONG = 2
_HELP = f"""\
usage: {folders.COMMAND} check [options] [{POSITIONAL}]

Lists everything that is wrong with the settings, and what has no effect. It changes nothing and starts nothing.

The options are the server's ({folders.COMMAND} --help-all).
Read are the command line, the environment, .env, the TOML file of --config, the manifests of all models, the users,
the certificate, the files that are written, and the ports.

Exit code: 0 with one line when nothing is wrong, else 2.
"""


def main() -> int:
    """Take the server's options; print a sentence for whatever is wrong, and return 2, or one line and 0."""
    if {"-h", "--help"}.intersection(sys.argv[1:]):
        print(_HELP, end="")
        return 0
    try:
        gathered = reading.gather(sys.argv[1:], os.environ)
    except PrintAsked as asked:
        print(asked, end="")
        return 0
    found = list(everything.find(gathered))
    for finding in found:
        unused = "Unused: " if finding.severity is Severity.UNUSED else ""
        print(f"{unused}{printable(finding.sentence)}")
    if found:
        return WRONG
    print(printable(_good(gathered.settings)))
    return 0


def _good(settings: Settings) -> str:
    """One line on what a start would serve."""
    known = models.known(settings)
    lacking = sorted(name for name, manifest in known.items() if models.lacks_weights(manifest))
    unready = f" ({', '.join(lacking)} without weights)" if lacking else ""
    running = data_lock.holder(settings.data)
    without = "" if tensorflow.is_here() else f", no TensorFlow ({folders.ADD_TENSORFLOW} adds it)"
    serves = f"; the server that uses {settings.data} now is {running.text}" if running else ""
    models_there = "1 model" if len(known) == 1 else f"{len(known)} models"
    return f"ImageServer {__version__}: no fault, {models_there}{unready}{without}, port {settings.port}{serves}"
