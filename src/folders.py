"""Where the program's own files lie: in a checkout the code is `src/` and its models and data are beside it.

Installed, the models are a folder of the package, and the data belong to the user who runs it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
INSTALLED = (_PACKAGE / "models").is_dir()
PROJECT = _PACKAGE if INSTALLED else _PACKAGE.parent
"""The folder that holds `models/`, and where `.env`, `ssl/` and `.venv-display` may lie."""
MODELS = PROJECT / "models"
CLIENTS = PROJECT / "clients"
COMMAND = "imageserver" if INSTALLED else "python3 src/ImageServer.py"
"""What people type to start the server, and before the words of its commands."""
USERS_COMMAND = "imageserver user" if INSTALLED else "python3 src/userdb.py"


def data(environment: Mapping[str, str], installed: bool = INSTALLED) -> Path:
    """The folder for the server's state where no setting names one.

    Args:
        environment: for XDG_DATA_HOME, which counts where the server is installed (XDG Base Directory Specification).
        installed: whether this code is an installed package.
    """
    if not installed:
        return PROJECT / "data"
    given = Path(environment.get("XDG_DATA_HOME", ""))
    return (given if given.is_absolute() else Path(os.path.expanduser("~/.local/share"))) / "imageserver"


def _adds_tensorflow() -> str:
    """What people type where it is not installed, by how the server was."""
    if INSTALLED:
        return "`pip install 'imageserver[tensorflow]'`"
    return "`make run`" if (PROJECT / "Makefile").is_file() else "the full image"  # an image holds no Makefile


ADD_TENSORFLOW = _adds_tensorflow()
ADD_WINDOWS = "`pip install 'imageserver[display]'`" if INSTALLED else "`make display` once"
"""What people run for the windows of `-d`."""
