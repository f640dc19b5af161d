"""The server's life: start-up, serving, shut-down. Its parts are built in parts.py."""

from __future__ import annotations

import os
import signal
import sys
import time

from imageserver.accounts.audit import NO_AUDIT
from imageserver.accounts.remote.users import RemoteUsers
from imageserver.app import leaving, logs, parts, people, systemd
from imageserver.app.announcements import announce, not_held
from imageserver.app.checks.models import wrong_names
from imageserver.app.terminal import Terminal
from imageserver.config import reading
from imageserver.config.kinds import STANDARD_OUTPUT
from imageserver.config.table import Settings
from imageserver.display.windows import Windows
from imageserver.errors import DataInUse, ImageServerError, SettingError, UsersUnavailable
from imageserver.monitoring import prometheus
from imageserver.monitoring.status import StatusLines
from imageserver.protocols.legacy_tcp import port as legacy_tcp
from imageserver.transport import descriptors, hub, memory
from imageserver.transport.listener import Listener

LOG = logs.LOGGER
SESSION_MODELS = ("pulse", "blink")
SAME_SIGNAL = 1.0
"""Seconds within which a further signal is the same wish again."""
WRONG_SETTING = 2
"""The exit code after which a service manager does not try again."""
STOP_WITHIN = 3.0
"""Seconds that running frames have to be answered when the server stops."""


class ImageServer:
    """Starts, serves, stops. One for a process.

    Args:
        settings: as they hold for the whole life.
        warnings: sentences to log behind the start line.

    Raises:
        DataInUse: another server has the data folder.
        SettingError: a port, a certificate or a file that cannot be used.
    """

    def __init__(self, settings: Settings, warnings: list[str]) -> None:
        self._terminal = Terminal()
        self._settings = settings
        self._warnings = warnings
        self._stopping = hub.Event()
        self._signalled = 0.0
        self._serving: list[hub.Task] = []
        data_lock = parts.data_lock(settings)  # before anything looks into the folder
        self.users = people.users(settings)
        self.audit = people.audit(settings, self.users)
        self.inference = parts.inference(settings)
        budget = parts.budget(settings)
        self.logins = people.logins(settings, self.users, self.audit or NO_AUDIT)
        self.doors = parts.doors(settings, self.inference, self.logins, budget, self._not_ready)
        data_lock.listens(parts.address(settings, *self.doors.http.address))
        self.legacy_tcp = legacy_tcp.build(
            settings, self.inference.streams, budget, self.logins, log=LOG.warning, warn=warnings.append
        )
        warnings += not_held(settings, self.inference.jails.shared())
        self.windows: Windows | None = None
        self.service = systemd.Service(
            systemd.Notifier.from_environment(os.environ),
            problem=self._not_ready,
            coming=self._is_loading,
            alive=lambda: all(self._serving),
        )

    def run(self) -> int:
        """Serve until a signal says stop; returns the exit code."""
        self._prepare_process()
        hub.on_signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), self._on_signal)
        self._start_models()
        hub.spawn(self.inference.stateful.run)
        hub.spawn(self.inference.sessions.run)
        hub.spawn(self.logins.live.run)
        hub.spawn(self.doors.live.run)
        self.inference.sharing.run()
        self._serving = [hub.spawn(listener.serve) for listener in self._listeners]
        announce(self._settings, self.doors, self.legacy_tcp, self.users, self._warnings)
        if sentence := descriptors.shortage(self._settings.max_connections, self._settings.spare_descriptors):
            LOG.info("%s", sentence)
        if self._settings.display:
            self.windows = Windows(self.inference.streams, LOG.warning)
        hub.spawn(self._await_default)
        hub.spawn(prometheus.measure_lag)
        hub.spawn(self.service.run)
        hub.spawn(StatusLines(self.inference.overview, self._settings.status_lines, LOG.info).run)
        if self.doors.certificate:
            hub.spawn(self.doors.certificate.run)
        garbage = memory.Garbage(lambda: sum(len(listener.connections) for listener in self._listeners))
        garbage.start()
        hub.spawn(garbage.run)
        self._stopping.wait()
        self._leave(self._settings.leave_time)
        return self._stop()

    def _prepare_process(self) -> None:
        """Take what the system gives this process. SettingError: it lets no thread be started."""
        descriptors.raise_limit()
        try:
            hub.start_threads()
        except (OSError, RuntimeError) as error:
            raise SettingError(
                f"the system lets this process start no threads ({error}): raise its limit of processes and threads "
                "(TasksMax= of the service, ulimit -u)"
            ) from error
        hub.spawn(memory.Heap().run)

    # ---- models -----------------------------------------------------------------------------------------------

    def _start_models(self) -> None:
        """Start the workers and load what is named. SettingError: a model is not there, or of the other kind."""
        settings, engine = self._settings, self.inference.engine
        engine.catalogue.read()
        manifests = {name: model.manifest for name, model in engine.models.items()}
        if faults := wrong_names(settings, manifests):
            raise SettingError("\n".join(faults))
        if not settings.session_models:
            self.inference.sessions.models = tuple(name for name in SESSION_MODELS if name in manifests)
        named = {name: manifests[name] for name in (settings.model, *settings.preload)}
        engine.start([name for name, manifest in named.items() if not manifest.stateful])
        for name in settings.preload:
            if named[name].stateful:
                self.inference.stateful.preload(name)

    def _await_default(self) -> None:
        """Say which models are ready, once all of the start have loaded or failed; then load what old windows ask."""
        engine = self.inference.engine
        named = dict.fromkeys([self._settings.model, *self._settings.preload])
        ready = [name for name in named if not engine.check(name).stateful and engine.wait_ready(name)]
        LOG.info("models ready: %s", ", ".join(ready) or "none; the lines above say why")
        if self.legacy_tcp:
            self.legacy_tcp.load_ensembles()

    def _not_ready(self) -> str | None:
        if self._stopping.is_set():
            return "the server is stopping"
        model = self.inference.engine.models.get(self._settings.model)
        if model is not None and model.state == "ready":
            return None
        state = model.state if model else "gone: its folder was removed"
        why = f": {model.error}" if model and model.error else ""
        return f"the default model {self._settings.model!r} is {state}{why}"

    def _is_loading(self) -> bool:
        model = self.inference.engine.models.get(self._settings.model)
        return model is not None and model.state in ("absent", "loading")

    def _reload(self) -> None:
        if self.doors.certificate is None:
            LOG.info("SIGHUP: there is nothing to load: no HTTPS is spoken, and settings are read at the start alone")
            return
        LOG.info("SIGHUP: looking at the certificate")
        with self.service.reloading():
            self.doors.certificate.look(asked=True)

    # ---- the end ----------------------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP and not self._terminal.closed:
            if not self._stopping.is_set():
                self._reload()
            return
        if self._stopping.is_set():
            # A second one means it; but what runs us may pass on a signal that we have heard already.
            if time.monotonic() - self._signalled > SAME_SIGNAL:
                os._exit(128 + number)
            return
        self._signalled = time.monotonic()
        LOG.info("%s: stopping", signal.Signals(number).name)
        self._stopping.set()

    def _leave(self, seconds: float) -> None:
        """Have the clients come back elsewhere, one after the other within so many seconds, where there are any."""
        self.service.stopping(seconds)
        if not seconds:
            return
        if self.legacy_tcp:
            self.legacy_tcp.close()
        found = leaving.departures(self.inference, self.doors)
        LOG.info("leaving: %d clients are told to come back within %g seconds", len(found), seconds)
        leaving.spread(found, seconds)

    def _stop(self) -> int:
        """Take nobody in, answer what runs, let go of the clients and end every process; all within five seconds."""
        end = time.monotonic() + STOP_WITHIN
        for listener in self._listeners:
            listener.close()
        self.inference.streams.stop()
        endings = [
            hub.spawn(self.doors.trainings.stop),
            hub.spawn(self.inference.sessions.stop, 1.0),
            hub.spawn(self.inference.drawings.stop),
            hub.spawn(self.inference.sharing.stop),
            *([hub.spawn(self.users.stop)] if isinstance(self.users, RemoteUsers) else []),
            hub.spawn(self.inference.engine.stop, STOP_WITHIN - 1.0),
            *([hub.spawn(self.windows.stop)] if self.windows else []),
        ]
        for ending in endings:
            ending.wait()
        for leave in (*self.doors.relay.departures(), *self.doors.live.departures()):
            leave()
        self.doors.socketio.close_all(max(0.2, min(0.5, end - time.monotonic())))
        endings = [hub.spawn(listener.stop, max(0.2, end - time.monotonic())) for listener in self._listeners]
        for ending in endings:
            ending.wait()
        self.doors.pictures.close(0.5)
        if self.inference.results:
            hub.in_thread(self.inference.results.close, 0.5)
        if self.audit:
            hub.in_thread(self.audit.close, 0.5)
        LOG.info("stopped")
        return 0

    @property
    def _listeners(self) -> list[Listener]:
        """All that accept connections."""
        return [*self.doors.listeners, *([self.legacy_tcp] if self.legacy_tcp else [])]


def main(arguments: list[str]) -> int:
    """Run the server; returns the exit code. Wrong settings cost a sentence each and code 2.

    What may be well at the next try costs a sentence and code 75 (EX_TEMPFAIL): a service manager tries again.
    """
    warnings: list[str] = []
    try:
        return serve(reading.load(arguments, warnings.append), warnings)
    except ImageServerError as error:
        said = str(error).splitlines()
        again = isinstance(error, UsersUnavailable | DataInUse)
        if not again:
            from imageserver.app.checks import everything  # whoever mends one thing is told of the others as well

            said += everything.further(arguments, said)
        for sentence in said:
            print(f"{os.path.basename(sys.argv[0])}: {sentence}", file=sys.stderr)
        return os.EX_TEMPFAIL if again else WRONG_SETTING


def serve(settings: Settings, warnings: list[str]) -> int:
    """Run the server with its log; returns the exit code. Arguments and errors as of ImageServer."""
    lines = logs.start(settings.log_level, to_stderr=settings.results == STANDARD_OUTPUT, as_json=settings.log_json)
    if settings.log_json:
        hub.on_crash(LOG.error)
    try:
        return ImageServer(settings, warnings).run()
    finally:
        lines.stop()
