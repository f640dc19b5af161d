"""Every exception that the project raises on purpose.

    ImageServerError
    ├── SettingError        a wrong option, variable or configuration value; exit code 2
    ├── LimitExceeded       something larger, longer or more than its setting allows
    │   └── TooLarge            so large that it can never be taken
    ├── NotAllowed          credentials missing, wrong, or without the role
    ├── BodyError           a request's body that is not what it is said to be
    ├── PictureError        bytes that are no picture, or one outside the limits
    ├── ModelError          a model that cannot do what was asked
    │   ├── UnknownModel        no folder of that name in models/
    │   ├── ManifestError       a model.toml that is wrong: file, key and reason
    │   ├── ModelUnavailable    known, but loading, failed, or disabled after repeated crashes
    │   └── WorkerLost          the process died under this request, twice
    ├── TrainingError       training data or a training run that cannot give a model
    └── Stopping            the server is going down and takes nothing new

The text of each is one sentence for the person who can mend it: what happened, which value, what to do.
It is shown to clients as it is, so it never holds a path, a secret or a traceback
(SettingError, ManifestError and TrainingError go to the operator only, and may name paths).
"""

from __future__ import annotations


class ImageServerError(Exception):
    """Base of them all."""


class SettingError(ImageServerError):
    """A wrong option, variable or configuration value."""


class LimitExceeded(ImageServerError):
    """Something larger, longer or more than its setting allows."""


class TooLarge(LimitExceeded):
    """Something that can never be taken, however long its sender waits."""


class NotAllowed(ImageServerError):
    """Credentials are missing, wrong, or lack the role."""


class BodyError(ImageServerError):
    """A request's body is not what it is said to be."""


class PictureError(ImageServerError):
    """Bytes that are no picture, or a picture outside the limits."""


class ModelError(ImageServerError):
    """A model cannot do what was asked."""


class UnknownModel(ModelError):
    """No model of that name exists."""


class ManifestError(ModelError):
    """A model.toml is wrong."""


class ModelUnavailable(ModelError):
    """The model exists but is loading, failed to load, or was disabled after repeated crashes."""


class WorkerLost(ModelError):
    """The worker process died under this request, and again on the second try."""


class TrainingError(ImageServerError):
    """Training data that cannot be used, or a training run that cannot give a model."""


class Stopping(ImageServerError):
    """The server is going down and takes nothing new."""


def describe(error: BaseException) -> str:
    """Type, text and origin of an exception, for the log alone: "ValueError: no number (worker.py:120)"."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    origin = "unknown origin"
    if trace is not None:
        origin = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    return f"{type(error).__name__}: {error} ({origin})"
