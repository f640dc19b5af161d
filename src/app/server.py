"""The server: builds the parts, listens, shuts down."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time

from imageserver import metrics
from imageserver.accounts.database import ROLES, UserDB
from imageserver.accounts.login import Logins
from imageserver.app import logs, systemd
from imageserver.app import tls as https
from imageserver.config import addresses, transports
from imageserver.config import table as settings_table
from imageserver.config.kinds import STANDARD_OUTPUT
from imageserver.config.table import Settings
from imageserver.display.windows import Windows
from imageserver.errors import ImageServerError, SettingError, UnknownModel
from imageserver.inference.server.engine import Engine
from imageserver.inference.server.stateful.models import StatefulModels
from imageserver.inference.shared.registry import Registry
from imageserver.monitoring import prometheus
from imageserver.monitoring.health import Health
from imageserver.monitoring.reports import ResultsFile, StatusLines
from imageserver.protocols.camstream import CamStream, Defaults
from imageserver.protocols.events import Events
from imageserver.protocols.http.rest import Rest
from imageserver.protocols.http.training import trainings
from imageserver.protocols.legacy_tcp import port as legacy_tcp_port
from imageserver.protocols.sessions import Sessions as SessionProtocol
from imageserver.protocols.snap.app import Snap
from imageserver.protocols.snap.relay import PREFIX as RELAY
from imageserver.protocols.snap.relay import Relay
from imageserver.protocols.snap.store import SnapStore
from imageserver.streams.session import Sessions
from imageserver.streams.stream import Streams
from imageserver.transport import hub
from imageserver.transport.http.server import HttpServer
from imageserver.transport.socketio.server import SocketIOServer

LOG = logs.LOGGER
SESSION_MODELS = ("pulse", "blink")
SAME_SIGNAL = 1.0
"""Seconds within which a further signal is the same wish again."""
STOP_WITHIN = 3.0
"""Seconds that running frames have to be answered when the server stops."""


class ImageServer:
    """Builds the parts, listens, shuts down. One for a process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = hub.Event()
        self._signalled = 0.0
        self._serving: list[hub.Task] = []
        tls = https.context(settings, log=LOG.info)
        self._listener = _listen(settings.ip, settings.port)
        self.users = _users(settings)
        self.engine = Engine(
            Registry(settings.models, settings.data / "models"),
            workers=settings.workers,
            worker_arguments=_worker_arguments(settings),
            time_limit=settings.model_timeout,
            max_requests=settings.max_requests,
            log=LOG.info,
            warn=LOG.warning,
        )
        self.streams = Streams(self.engine, max_frame_bytes=settings.max_frame_bytes)
        self.logins = Logins(
            self.users,
            required=settings.auth,
            concurrent=settings.login_threads,
            max_waiting=settings.login_queue,
            attempts=settings.login_attempts,
            log=LOG.warning,
        )
        self.results = ResultsFile(str(settings.results)) if settings.results else None
        if self.results:
            self.streams.watch(self.results)
        proxies = [str(network) for network in settings.trusted_proxy]
        limits = transports.http(settings)
        context = tls if settings.tls else None
        self.http = HttpServer(self._listener, limits, trusted_proxies=proxies, log=LOG.warning, ssl_context=context)
        self.https: HttpServer | None = None
        if tls is not None and settings.https_port is not None:
            secure = _listen(settings.ip, settings.https_port)
            self.https = https.beside(self.http, secure, settings, tls, log=LOG.warning)
        self.socketio = SocketIOServer(
            transports.socketio(settings), cors_origins=settings.cors_origin, log=LOG.warning
        )
        camstream = CamStream(self.streams, self.logins, self.socketio, Defaults(settings.model, settings.hz))
        self.stateful = StatefulModels(
            self.engine.check,
            arguments=_worker_arguments(settings),
            slot_bytes=settings.max_frame_bytes,
            max_bytes=settings.session_bytes,
            log=LOG.info,
            warn=LOG.warning,
        )
        self.sessions = Sessions(
            self.stateful,
            settings.session_models,
            deadline=settings.merge_deadline,
            idle=settings.session_idle,
            max_frame_bytes=settings.max_frame_bytes,
        )
        sessions = SessionProtocol(self.sessions, self.logins, self.socketio, settings.session_key)
        Events(self.socketio, [camstream, sessions], self.logins)
        self.http.route("/socket.io/", self.socketio)
        self.http.route("/health/", Health(self._not_ready))
        jobs = trainings(settings, self.engine.check, log=LOG.info)
        self.relay = Relay(self.logins, transports.relay(settings), send_timeout=settings.ws_send_timeout)
        store = SnapStore(settings.data / "snippets", history=settings.snippet_history, max_bytes=settings.snippet_disk)
        self.http.route(RELAY, self.relay)
        self.http.route(
            "/snippets", Snap(self.streams, self.logins, store, self.relay, settings.model, log=LOG.warning)
        )
        self.http.route("/metrics", prometheus.Page(self.logins, self._refresh_gauges))
        self.rest = Rest(self.streams, self.logins, jobs, not_ready=self._not_ready, log=LOG.warning)
        self.http.route("", self.rest)
        self.windows: Windows | None = None
        notifier = systemd.Notifier.from_environment(os.environ)
        self.service = systemd.Service(
            notifier, problem=self._not_ready, coming=self._is_loading, alive=lambda: all(self._serving)
        )
        self._tcp_warnings: list[str] = []
        self.legacy_tcp = legacy_tcp_port.build(settings, self.streams, log=LOG.info, warn=self._tcp_warnings.append)

    def run(self) -> int:
        """Serve until a signal says stop; returns the exit code."""
        hub.raise_descriptor_limit()
        hub.on_signals((signal.SIGTERM, signal.SIGINT), self._on_signal)
        self._start_models()
        hub.spawn(self.stateful.run)
        hub.spawn(self.sessions.run)
        for server in filter(None, (self.http, self.https)):
            self._serving.append(hub.spawn(server.serve))
        if self.legacy_tcp:
            self._serving.append(hub.spawn(self.legacy_tcp.serve))
        self._announce()
        hub.spawn(self._await_default)
        hub.spawn(prometheus.measure_lag)
        hub.spawn(self.service.run)
        hub.spawn(StatusLines(self.streams, LOG.info).run)
        self._stopping.wait()
        return self._stop()

    def _start_models(self) -> None:
        """Start the workers and what is to be loaded at the start. SettingError when a model named is not there, or of the other kind."""
        settings = self._settings
        try:
            named = {name: self.engine.check(name) for name in (settings.model, *settings.preload)}
        except UnknownModel as error:
            raise SettingError(f"--model and --preload: {error}") from error
        if named[settings.model].stateful:
            raise SettingError(
                f"--model: {settings.model!r} keeps state from frame to frame, so it is for sessions: --session-models"
            )
        self._check_session_models()
        self.engine.start([name for name, manifest in named.items() if not manifest.stateful])
        for name in settings.preload:
            if named[name].stateful:
                self.stateful.preload(name)

    def _check_session_models(self) -> None:
        """Those that were named must exist and keep state; of those that are shipped, the ones that are there count."""
        known = self.engine.models
        for name in self._settings.session_models:
            if name not in known:
                raise SettingError(
                    f"--session-models: there is no model {name!r}; there are: {', '.join(sorted(known))}"
                )
            if not known[name].manifest.stateful:
                raise SettingError(
                    f"--session-models: the model {name!r} keeps no state from frame to frame; -m takes it"
                )
        if not self._settings.session_models:
            self.sessions.models = tuple(name for name in SESSION_MODELS if name in known)

    def _announce(self) -> None:
        settings, (host, port) = self._settings, self._listener.getsockname()[:2]
        scheme = "https" if settings.tls else "http"
        LOG.info("(%d) wsgi starting up on %s://%s:%d", os.getpid(), scheme, addresses.for_url(host), port)
        if self.https:
            LOG.info("https as well, on https://%s:%d", addresses.for_url(host), self.https.port)
        if self.legacy_tcp:
            tcp_host, tcp_port = self.legacy_tcp.address
            LOG.info("legacy TCP listening on %s:%d", addresses.for_url(tcp_host), tcp_port)
        for warning in self._tcp_warnings:
            LOG.warning("%s", warning)
        if not addresses.is_loopback(host):
            place = f"{addresses.for_url(addresses.lan_address() or host)}:{port}"
            LOG.info("cameras on this network reach it at %s://%s", scheme, place)
            LOG.info("capture devices reach it at %s://%s%s", "wss" if settings.tls else "ws", place, RELAY)
        for option, path in (("--mnist", settings.mnist), ("--training-data", settings.training_data)):
            if path is not None and not path.exists():
                LOG.warning("%s: there is no %s, so trainings that need it are refused until it is there", option, path)
        if settings.auth and not self.users.any():
            LOG.warning(
                "nobody can log in yet: add a user with  python3 src/userdb.py add NAME --users %s", settings.users
            )
        if not settings.auth and not addresses.is_loopback(host):
            LOG.warning("anybody who reaches this address may send frames; -a asks for a user and password")
        if settings.display:
            self.windows = Windows(self.streams, LOG.warning)

    def _await_default(self) -> None:
        """Say which models are ready, once all that load at start have loaded or failed."""
        named = dict.fromkeys([self._settings.model, *self._settings.preload])
        ready = [name for name in named if not self.engine.check(name).stateful and self.engine.wait_ready(name)]
        LOG.info("models ready: %s", ", ".join(ready) or "none; the lines above say why")

    def _not_ready(self) -> str | None:
        if self._stopping.is_set():
            return "the server is stopping"
        model = self.engine.models.get(self._settings.model)
        if model is not None and model.state == "ready":
            return None
        return (
            f"the default model {self._settings.model!r} is {model.state if model else 'gone: its folder was removed'}"
        )

    def _is_loading(self) -> bool:
        model = self.engine.models.get(self._settings.model)
        return model is not None and model.state in ("absent", "loading")

    def _refresh_gauges(self) -> None:
        metrics.STREAMS.child().value = len(self.streams.open_streams)
        metrics.SESSIONS.child().value = len(self.sessions.open_sessions)
        for name, model in self.engine.models.items():
            metrics.WAITING.child(name).value = len(model.waiting)

    def _on_signal(self, number: int) -> None:
        if self._stopping.is_set():
            # A second one means it; but what runs us may pass on a signal that we have heard already.
            if time.monotonic() - self._signalled > SAME_SIGNAL:
                os._exit(128 + number)
            return
        self._signalled = time.monotonic()
        LOG.info("%s: stopping", signal.Signals(number).name)
        self._stopping.set()

    def _stop(self) -> int:
        end = time.monotonic() + STOP_WITHIN
        self.service.stopping()
        self.streams.stop()
        self.rest.trainings.stop()
        self.sessions.stop(1.0)
        self.engine.stop(STOP_WITHIN - 1.0)
        self.relay.close_all()
        self.socketio.close_all(max(0.2, min(0.5, end - time.monotonic())))
        if self.legacy_tcp:
            self.legacy_tcp.stop(max(0.2, min(0.5, end - time.monotonic())))
        if self.https:
            self.https.stop(0.0)
        self.http.stop(max(0.2, end - time.monotonic()))
        if self.windows:
            self.windows.stop()
        if self.results:
            hub.in_thread(self.results.close, 0.5)
        LOG.info("stopped")
        return 0


def _listen(ip: str, port: int) -> hub.Socket:
    try:
        return hub.listen(ip, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingError(
                f"port {port} on {ip} is in use: stop what uses it, or choose another with -p (0 = any free one)"
            ) from error
        if error.errno == errno.EACCES:
            raise SettingError(f"port {port} may not be used by this user: choose one from 1024 on with -p") from error
        raise SettingError(
            f"{ip}:{port} cannot be listened on ({error.strerror}): give an address of this machine with -i"
        ) from error


def _users(settings: Settings) -> UserDB:
    """The user database, or one in memory when users are given for a trial."""
    if not settings.user:
        users = UserDB(settings.users)
        if settings.auth:
            users.any()  # a file that cannot be used is told before anybody can connect
        return users
    users = UserDB(None)
    for credential in settings.user:
        users.add(credential.name, credential.password, ROLES)
    return users


def _worker_arguments(settings: Settings) -> list[str]:
    threads = max(1, (os.cpu_count() or 1) // settings.workers)
    return [
        "--threads",
        str(threads),
        "--max-bytes",
        str(settings.max_frame_bytes),
        "--max-pixels",
        str(settings.max_pixels),
    ]


def main(arguments: list[str]) -> int:
    """Run the server; returns the exit code. A wrong setting costs one sentence and code 2."""
    try:
        settings = settings_table.load(arguments)
        lines = logs.start(settings.log_level, to_stderr=settings.results == STANDARD_OUTPUT, as_json=settings.log_json)
        if settings.log_json:
            hub.on_crash(LOG.error)
        try:
            return ImageServer(settings).run()
        finally:
            lines.stop()
    except ImageServerError as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return 2
