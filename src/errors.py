"""Every exception of the server, in one tree.

    Exception
    ├── ImageServerError        something that a person can mend
    │   ├── SettingError            a wrong option, variable or configuration value; exit code 2
    │   │   ├── InvalidValue            a text that a setting does not take, for a reason worth saying
    │   │   └── UsersUnavailable        the database of users is damaged, locked, gone, or of a newer version (75)
    │   ├── DataInUse               another server has the data folder (75)
    │   ├── LimitExceeded           something larger, longer or more than its setting allows
    │   │   ├── TooLarge                so large that it can never be taken
    │   │   ├── TooCostly               a picture that is to be decoded apart from the others
    │   │   └── LoginPaused             too many logins failed: this one is not even looked at for some seconds
    │   ├── NotAllowed              credentials missing, wrong, or without the role
    │   │   └── ConnectionRefused       a client is turned away as it connects
    │   ├── BodyError               a request's body that is not what it is said to be
    │   ├── PictureError            bytes that are no picture, or one outside the limits
    │   ├── ModelError              a model that cannot do what was asked
    │   │   ├── UnknownModel            no folder of that name in models/
    │   │   ├── ManifestError           a model.toml that is wrong: file, key and reason
    │   │   ├── ModelUnavailable        known, but loading, failed, or disabled after repeated crashes
    │   │   ├── WorkerLost              the process died under this request, twice
    │   │   ├── Unreachable             no endpoint of a model elsewhere answered in time
    │   │   │   └── OutOfTime               the time was that of a batch, of which others had their part
    │   │   ├── EndpointFailed          one of them did not: another may
    │   │   └── EndpointRefused         one of them answered that it does not take this input
    │   ├── SidecarLost             a process beside the server gives no answer: it has ended, or takes too long
    │   ├── TrainingError           training data or a training run that cannot give a model
    │   │   └── TrainingCancelled       asked to stop before it was finished
    │   └── Stopping                the server is going down and takes nothing new
    ├── TransportError          what ends a request, a message or a connection; none leaves transport/ and web/
    │   ├── Refusal                 a request over HTTP: status and sentence
    │   ├── Refused                 the same by an application, with further headers
    │   ├── EngineRefusal           a request to Engine.IO: one of its codes
    │   ├── DecodeError             bytes that are no packet or payload of Engine.IO
    │   ├── ProtocolError           a WebSocket's peer broke RFC 6455 or a limit: a close code
    │   ├── Interrupted             a body that did not arrive
    │   └── TimedOut                the loop's timeout ran out
    └── PrintAsked              help, version or the settings are asked for

The text of an ImageServerError is one sentence for the person who can mend it: what happened, which value, what to do.
It is shown to clients as it is, so it never holds a path, a secret or a traceback
(SettingError, DataInUse, ManifestError and TrainingError go to the operator only, and may name paths).
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence


class ImageServerError(Exception):
    """Base of them all."""


class SettingError(ImageServerError):
    """A wrong option, variable or configuration value."""


class InvalidValue(SettingError):
    """A text that a setting does not take, for a reason worth saying instead of what its kind expects."""


class UsersUnavailable(SettingError):
    """The database of users cannot be used now: damaged, empty, locked, unreadable, or of a newer version."""


class DataInUse(ImageServerError):
    """The data folder belongs to another server that runs."""


class LimitExceeded(ImageServerError):
    """Something larger, longer or more than its setting allows; `limit` names the setting where nobody counted yet."""

    def __init__(self, sentence: str, limit: str = "") -> None:
        super().__init__(sentence)
        self.limit = limit


class TooLarge(LimitExceeded):
    """Something that can never be taken, however long its sender waits."""


class TooCostly(LimitExceeded):
    """A picture that costs `cost` bytes to decode: more than is decoded beside others."""

    def __init__(self, cost: int) -> None:
        super().__init__(f"the picture takes {cost} bytes to decode: send it smaller", "costly_bytes")
        self.cost = cost


class LoginPaused(LimitExceeded):
    """Too many logins of this address, or for this name, failed: the next is looked at in `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(f"too many logins failed; try again in {self.seconds} seconds")


class NotAllowed(ImageServerError):
    """Credentials are missing, wrong, or lack the role."""


class ConnectionRefused(NotAllowed):
    """Raised by a `connect` handler to turn a client away; the message goes to the client."""


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


class Unreachable(ModelError):
    """No endpoint of a model that runs elsewhere answered in time."""


class OutOfTime(Unreachable):
    """None answered within what was left of the time of a batch, which is asked for in several parts."""


class EndpointFailed(ModelError):
    """An endpoint of such a model was not reached, was late, or gave an answer that is none."""


class EndpointRefused(ModelError):
    """An endpoint answered that it does not take this input; `broken`: that its model failed on it."""

    def __init__(self, sentence: str, *, broken: bool) -> None:
        super().__init__(sentence)
        self.broken = broken


class SidecarLost(ImageServerError):
    """A process beside the server gives no answer."""


class TrainingError(ImageServerError):
    """Training data that cannot be used, or a training run that cannot give a model."""


class TrainingCancelled(TrainingError):
    """The training was asked to stop before it was finished."""


class Stopping(ImageServerError):
    """The server is going down and takes nothing new."""


class TransportError(Exception):
    """What ends a request, a message or a connection."""


class Refusal(TransportError):
    """The request ends here, with this status and sentence; `limit` names the limit that it ran into, or is "".

    `log`: whether a line in the log is still due.
    """

    def __init__(self, status: int, sentence: str, limit: str = "", *, log: bool = True) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.limit, self.log = status, sentence, limit, log


class Refused(TransportError):
    """The request ends here: a status code, a sentence for the client, further headers (`Retry_After="5"`)."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class EngineRefusal(TransportError):
    """The request is refused, with this code of Engine.IO's, this status of HTTP's, and a sentence or ""."""

    def __init__(
        self,
        code: int,
        status: str = "400 Bad Request",
        headers: Sequence[tuple[str, str]] = (),
        sentence: str = "",
    ) -> None:
        super().__init__(status)
        self.code, self.status, self.headers, self.sentence = code, status, headers, sentence


class DecodeError(TransportError, ValueError):
    """Bytes that are no packet or payload of this protocol; `limit` names the limit that was exceeded, or is ""."""

    def __init__(self, reason: str, limit: str = "") -> None:
        super().__init__(reason)
        self.limit = limit


class ProtocolError(TransportError):
    """The peer broke RFC 6455 or a limit. `code` is the close code that says so, `limit` the limit's name or ""."""

    def __init__(self, code: int, reason: str, limit: str = "") -> None:
        super().__init__(reason)
        self.code, self.reason, self.limit = code, reason, limit


class Interrupted(TransportError):
    """The body did not arrive: the client went away or was too slow. `cause` is what the transport raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class TimedOut(TransportError):
    """A `Timeout` ran out."""


class PrintAsked(Exception):
    """`-h`, `--help-all`, `--version` or `--print-config` stands on the command line.

    Holds that word, and from `reading.read` the text to print.
    """


def describe(error: BaseException) -> str:
    """Type, text and origin of an exception, for the log alone: "ValueError: no number (worker.py:120)"."""
    return f"{type(error).__name__}: {error} ({_origin(error)})"


def kind_of(error: BaseException) -> str:
    """The same without its text, in which secrets may be: "ValueError in worker.py:120"."""
    return f"{type(error).__name__} in {_origin(error)}"


def _origin(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown origin"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"


def trace_of(error: BaseException) -> str:
    """The whole traceback of an exception that nobody expected, in lines, for the log alone."""
    return "".join(traceback.format_exception(error))
