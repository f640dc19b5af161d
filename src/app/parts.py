"""The parts of the server, built from its settings: nothing runs yet, and only the ports are taken."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from imageserver import metrics
from imageserver.accounts import cameras
from imageserver.accounts.login import Logins
from imageserver.accounts.rates import Rates
from imageserver.app import logs, people, tls
from imageserver.app.checks import cluster, ports
from imageserver.app.data_lock import DataLock
from imageserver.config import addresses
from imageserver.config.table import Settings
from imageserver.errors import SettingError, TimedOut
from imageserver.inference.server.costly.drawing import DrawingProcess
from imageserver.inference.server.engine import Engine
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.stateful.models import StatefulModels
from imageserver.inference.server.training.trainings import Trainings
from imageserver.inference.shared import conversion_cache
from imageserver.inference.shared.registry import Registry
from imageserver.monitoring import health, prometheus
from imageserver.monitoring.cameras import CameraFigures
from imageserver.pages.live import door as live_door
from imageserver.pages.live.door import Live
from imageserver.pages.live.figures import Figures
from imageserver.pages.live.rounds import Rounds
from imageserver.pages.live.state import States
from imageserver.pages.site import Pages, local
from imageserver.peers.sharing import Sharing
from imageserver.protocols.camstream import CamStream
from imageserver.protocols.events.clients import SocketClients
from imageserver.protocols.events.router import Events
from imageserver.protocols.http import app as rest
from imageserver.protocols.http.accounts import Accounts, TokenViews, UserViews
from imageserver.protocols.http.login import PageLogins
from imageserver.protocols.http.streams import StreamViews
from imageserver.protocols.http.training import trainings
from imageserver.protocols.http.watching.views import WatchingViews
from imageserver.protocols.sessions import SessionProtocol
from imageserver.protocols.snap import relay as snap_relay
from imageserver.protocols.snap.app import Snap
from imageserver.protocols.snap.keeper import Keeper
from imageserver.protocols.snap.local.store import SnapStore
from imageserver.protocols.snap.newest import NewestSnippets
from imageserver.protocols.snap.relay import Relay
from imageserver.protocols.snap.shared.store import SharedStore, try_out
from imageserver.sinks.results_file import ResultsFile
from imageserver.streams.drawings import Drawings
from imageserver.streams.far import FarStreams
from imageserver.streams.names import Names
from imageserver.streams.overview import Overview
from imageserver.streams.session import Sessions
from imageserver.streams.stream import Streams
from imageserver.transport import hub
from imageserver.transport.budget import Account, Budget
from imageserver.transport.http.origins import Origins
from imageserver.transport.http.server import HttpServer
from imageserver.transport.socketio.server import SocketIOServer
from imageserver.transport.threads import Threads
from imageserver.web import page_cookie
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.followers import Followers

if TYPE_CHECKING:
    from imageserver.app.certificates.watch import CertificateWatch

LOG = logs.LOGGER


@dataclass
class Inference:
    """The models, and what feeds them."""

    jails: Jails
    engine: Engine
    streams: Streams
    stateful: StatefulModels
    sessions: Sessions
    drawings: Drawings
    overview: Overview
    sharing: Sharing
    results: ResultsFile | None


@dataclass
class Doors:
    """Where clients come in, all on the HTTP port or on the HTTPS port beside it."""

    http: HttpServer
    https: HttpServer | None
    certificate: CertificateWatch | None
    socketio: SocketIOServer
    relay: Relay
    trainings: Trainings
    pictures: Keeper
    live: Live
    access: Access

    @property
    def listeners(self) -> list[HttpServer]:
        """The servers that accept connections."""
        return [self.http, *([self.https] if self.https else [])]


def data_lock(settings: Settings) -> DataLock:
    """The data folder, for this server alone. DataInUse."""
    found = DataLock(settings.data, LOG.warning)
    found.take(address(settings, settings.ip, settings.port))
    hub.spawn(found.run)
    return found


def address(settings: Settings, host: str, port: int) -> str:
    """Where the server listens, as a URL."""
    return f"{'https' if settings.tls else 'http'}://{addresses.for_url(host)}:{port}"


def inference(settings: Settings) -> Inference:
    """The engine with its registry of models, streams and sessions on top of it, and the results file. SettingError."""
    if fault := cluster.lacking(settings):
        raise SettingError(fault)
    registry = Registry(settings.models, settings.data / "models")
    jails = Jails(
        [settings.models, settings.data / "models"],
        conversion_cache.cache_folder(),
        memory=settings.worker_memory,
        enforced=settings.jail,
        cluster=settings.cluster,
    )
    arguments = [*worker_arguments(settings), "--models-cache", str(jails.cache)]
    engine = Engine(
        registry,
        workers=settings.workers,
        worker_arguments=arguments,
        jails=jails,
        time_limit=settings.model_timeout,
        max_requests=settings.max_requests,
        limits=settings,
        log=LOG.info,
        warn=LOG.warning,
    )
    streams = Streams(engine, settings, Names(reserved=cameras.is_route))
    stateful = StatefulModels(
        engine.check,
        arguments=arguments,
        jails=jails,
        slot_bytes=settings.max_frame_bytes,
        max_bytes=settings.session_bytes,
        put_off_time=settings.put_off_time,
        log=LOG.info,
        warn=LOG.warning,
    )
    deadline = settings.merge_deadline
    sessions = Sessions(stateful, settings.session_models, settings, deadline=deadline, names=streams.names)
    process = DrawingProcess(arguments, settings, jails.pictures(), warn=LOG.warning, clock=time.monotonic)
    drawings = Drawings(process, settings.draw_queue)
    results = ResultsFile(str(settings.results), settings.results_bytes, LOG.warning) if settings.results else None
    if results:
        streams.watch(results)
    far = FarStreams(settings.redis_streams, settings.redis_watched)
    front_end = settings.front_end or "" if settings.redis else ""
    overview = Overview(streams, sessions, far=far, front_end=front_end)
    sharing = Sharing(settings, streams, sessions, overview, log=LOG.info, warn=LOG.warning)
    return Inference(jails, engine, streams, stateful, sessions, drawings, overview, sharing, results)


def budget(settings: Settings) -> Budget:
    """The bytes that may wait in the server, whoever sent them."""
    return Budget(settings, login_required=settings.auth, log=LOG.warning)


def doors(
    settings: Settings, models: Inference, checks: Logins, memory: Budget, not_ready: Callable[[], str | None]
) -> Doors:
    """Listens, and routes each path to its application. SettingError when a port cannot be had.

    Args:
        models: where frames and pictures go.
        checks: asked who may come in.
        memory: what clients may have waiting.
        not_ready: a sentence on what keeps the server from being ready, None when it is.
    """
    models.overview.far.account = partial(Account, memory, "front ends", True)
    pages = origins(settings)
    http, https, certificate = listeners(settings, memory, pages)
    socketio = SocketIOServer(
        settings,
        origins=pages,
        clients=http.clients,
        login_required=checks.required,
        keep=lambda environ: page_cookie.of_handshake(environ, pages),
        front_end=settings.front_end or "",
        log=LOG.warning,
    )
    socket_protocols(settings, models, checks, socketio)
    relay = Relay(settings, checks.live, models.sharing.rooms)
    jobs = trainings(settings, models.engine.check, models.jails, log=LOG.info, audit=checks.audit)
    kept = pictures(settings)
    bounds = {"list_rows": settings.list_rows, "spare_descriptors": settings.spare_descriptors}
    snap = Snap(models.streams, kept, relay, settings.model, log=LOG.warning, **bounds)
    access = Access(checks, settings, origins=pages)
    http.route("/socket.io/", socketio)
    live = live_page(settings, models, checks, memory, jobs, kept)
    applications = {
        "/health/": health.application(not_ready, access, lacking=partial(lacking, models, checks), log=LOG.warning),
        snap_relay.PREFIX: snap_relay.application(relay, access, log=LOG.warning),
        live_door.PATH: live_door.application(live, access, log=LOG.warning),
        "/snippets": snap.application(access),
        "/metrics": figures(settings, models, memory, access),
    }
    for prefix, application in applications.items():
        http.route(prefix, application)
    beside = [route for application in applications.values() for route in application.routes]
    site = pages_of(settings, models, checks, https)
    http.route("", networks(settings, models, checks, access, jobs, not_ready, site, beside))
    return Doors(http, https, certificate, socketio, relay, jobs, kept, live, access)


def listeners(
    settings: Settings, memory: Budget, pages: Origins
) -> tuple[HttpServer, HttpServer | None, CertificateWatch | None]:
    """The HTTP port, the HTTPS port beside it where one is asked for, and the certificate. SettingError."""
    certificate = tls.certificate(settings, log=LOG.info, warn=LOG.warning, know=pages.know)
    proxies = [str(network) for network in settings.trusted_proxy]
    http = HttpServer(
        listen(settings, settings.port),
        settings,
        trusted_proxies=proxies,
        log=LOG.warning,
        budget=memory,
    )
    https = None
    if settings.https_port is not None:
        https = tls.beside(http, listen(settings, settings.https_port), settings, log=LOG.warning)
    if certificate is not None:
        certificate.show_on(https or http)
    return http, https, certificate


def origins(settings: Settings) -> Origins:
    """Which web pages may use the server, and by which names browsers may ask for it."""
    names = (socket.gethostname(), settings.ip, *settings.server_name)
    found = Origins(settings.cors_origin, names, log=LOG.warning)
    # A resolver that is out of order takes a minute; the threads of the hub would be waited for when the server stops.
    threading.Thread(target=lambda: found.know(addresses.full_name()), name="full name", daemon=True).start()
    return found


def networks(
    settings: Settings,
    models: Inference,
    checks: Logins,
    access: Access,
    jobs: Trainings,
    not_ready: Callable[[], str | None],
    site: Pages,
    beside: list[Route],
) -> Application:
    """REST, streams, users, tokens, pages and their logins.

    The arguments are those of `doors`; `jobs`: trainings; `beside`: routes of other applications, to be described.
    """
    accounts = Accounts(checks, list_rows=settings.list_rows, log=LOG.warning)
    followers = Followers("stream_followers", settings.stream_followers, "streams", LOG.warning)
    watching = WatchingViews(models.overview, models.drawings, followers, send_time=settings.send_time)
    watching.watch(models.streams, models.sessions)
    models.sharing.follow(lambda: watching.followed)
    further = (
        StreamViews(models.overview, most_hz=settings.hz, list_rows=settings.list_rows, audit=checks.audit),
        watching,
        UserViews(accounts),
        TokenViews(accounts),
        PageLogins(accounts, settings.page_time, site.login, local),
    )
    return rest.application(
        models.streams,
        access,
        jobs,
        *further,
        not_ready=not_ready,
        log=LOG.warning,
        most_followers=settings.training_followers,
        home=site.live,
        pages=site.routes,
        beside=beside,
    )


def pages_of(settings: Settings, models: Inference, checks: Logins, https: HttpServer | None) -> Pages:
    """The pages. The arguments are those of `doors`; `https`: the port beside the other one."""
    return Pages(
        checks,
        lambda: [model for _name, model in sorted(models.engine.models.items())],
        settings.model,
        listens=settings.ip,
        https_port=https.port if https else None,
    )


def socket_protocols(settings: Settings, models: Inference, checks: Logins, socketio: SocketIOServer) -> None:
    """What clients over Socket.IO speak."""
    clients = SocketClients(socketio, checks, settings.session_key)
    camstream = CamStream(models.streams, clients, socketio, model=settings.model, hz=settings.hz)
    Events(socketio, clients, [camstream, SessionProtocol(models.sessions, socketio)], Rates(settings))


def live_page(
    settings: Settings, models: Inference, checks: Logins, memory: Budget, jobs: Trainings, kept: Keeper
) -> Live:
    """The connections of live pages, and what they are told. The arguments are those of `doors`, and parts of it."""
    gone = partial(lacking, models, checks)
    figures = Figures(models.engine, models.stateful, jobs, memory, settings.live_rows, gone)
    snippets = NewestSnippets(kept, settings.live_rows)
    rounds = Rounds(States(models.overview, figures, snippets.rows, settings), LOG.warning)
    models.streams.watch(rounds)
    rounds.watch_far(models.overview.far)
    return Live(rounds, models.overview.viewed, checks, settings)


def pictures(settings: Settings) -> Keeper:
    """The pictures of Snap on disk; what a crash left of them is removed beside the rest. SettingError."""
    history, disk, files = settings.snippet_history, settings.snippet_disk, settings.snippet_files
    if settings.shared is None:
        store = SnapStore(settings.data / "snippets", history=history, max_bytes=disk, max_files=files)
        keeper = Keeper(store, LOG.warning, lists=settings.snippet_lists)
    else:
        threads = Threads("shared folder", settings.shared_jobs, settings.shared_time, "shared_jobs")
        try:
            threads.call(try_out, settings.shared)
        except (OSError, TimedOut):  # it may pass: everything else goes on without it
            sentence = "--shared %s does not answer within %g seconds; pictures of Snap are refused until it does"
            LOG.warning(sentence, settings.shared, settings.shared_time)
        shared = SharedStore(settings.shared, history=history, max_bytes=disk, max_files=files)
        keeper = Keeper(shared, LOG.warning, threads, lists=settings.snippet_lists)
    hub.spawn(keeper.begin)
    return keeper


def figures(settings: Settings, models: Inference, memory: Budget, access: Access) -> Application:
    """The page of figures. The arguments are those of `doors`."""
    cameras = CameraFigures(models.overview, settings.camera_figures)
    return prometheus.application(lambda: refresh_gauges(models, memory), cameras, access, log=LOG.warning)


def lacking(models: Inference, checks: Logins) -> str:
    """A sentence or two on what is gone without which cameras stream on, "" where nothing is."""
    return ". ".join(filter(None, (people.lacking(checks.users), models.sharing.problem)))


def refresh_gauges(models: Inference, memory: Budget) -> None:
    """Write the figures that are counted only when somebody reads them."""
    for kind, size in memory.used_for.items():
        metrics.MEMORY.child(kind).value = size
    metrics.STREAMS.child().value = len(models.streams.open_streams)
    metrics.SESSIONS.child().value = len(models.sessions.open_sessions)
    for name, model in models.engine.models.items():
        metrics.WAITING.child(name).value = len(model.waiting)


def listen(settings: Settings, port: int) -> hub.Socket:
    """A listening socket. SettingError that says what is in the way."""
    ip = settings.ip
    try:
        return hub.listen(ip, port, dead_peer_time=settings.dead_peer_time)
    except OSError as error:
        raise SettingError(ports.fault(ip, port, error)) from error


def worker_arguments(settings: Settings) -> list[str]:
    """What every worker's command line holds."""
    threads = max(1, (os.cpu_count() or 1) // settings.workers)
    limits = {
        "--max-bytes": settings.max_frame_bytes,
        "--max-pixels": settings.max_pixels,
        "--max-decoded-bytes": settings.max_decoded_bytes,
        "--costly-bytes": settings.costly_bytes,
    }
    return ["--threads", str(threads), *(word for name, value in limits.items() for word in (name, str(value)))]
