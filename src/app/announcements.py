"""What the server says when it starts: where it listens, how cameras reach it, what is missing or open."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from imageserver import folders
from imageserver.accounts.remote.asking import Users, ask
from imageserver.app import logs, parts
from imageserver.app.parts import Doors
from imageserver.config import addresses
from imageserver.config.kinds import STANDARD_OUTPUT
from imageserver.config.table import Settings
from imageserver.errors import SettingError
from imageserver.inference.shared.slim import tensorflow
from imageserver.jail import system
from imageserver.jail.rules import Jail
from imageserver.pages import qr
from imageserver.protocols.legacy_tcp.protocol import LegacyTcp
from imageserver.protocols.snap.relay import PREFIX as RELAY

LOG = logs.LOGGER


def announce(
    settings: Settings, doors: Doors, legacy_tcp: LegacyTcp | None, users: Users, warnings: Iterable[str]
) -> None:
    """Log the start line, the addresses, and `warnings` with those that settings and users give."""
    host, port = doors.http.address
    scheme = "https" if settings.tls else "http"
    LOG.info("(%d) wsgi starting up on %s", os.getpid(), parts.address(settings, host, port))
    if doors.https:
        LOG.info("https as well, on https://%s:%d", addresses.for_url(host), doors.https.port)
    if legacy_tcp:
        tcp_host, tcp_port = legacy_tcp.address
        LOG.info("legacy TCP listening on %s:%d", addresses.for_url(tcp_host), tcp_port)
    if settings.trusted_proxy and not settings.server_name:
        LOG.info("browsers that come through a proxy are refused by any name that is not this machine's: --server-name")
    if "*" in settings.cors_origin:
        LOG.warning("pages of every site may use this server, by the browser of anybody who reaches it: --cors-origin")
    for warning in warnings:
        LOG.warning("%s", warning)
    if not tensorflow.is_here():
        LOG.info("%s; all else runs", tensorflow.lacking("training a model, or converting one of Keras',"))
    if not addresses.is_loopback(host):
        reachable = f"{addresses.for_url(addresses.reachable(host))}:{port}"
        LOG.info("cameras on this network reach it at %s://%s", scheme, reachable)
        LOG.info("capture devices reach it at %s://%s%s", "wss" if settings.tls else "ws", reachable, RELAY)
        _announce_camera_page(settings, doors)
    for option, path in (("--mnist", settings.mnist), ("--training-data", settings.training_data)):
        if path is not None and not path.exists():
            LOG.warning("%s: there is no %s, so trainings that need it are refused until it is there", option, path)
    _announce_who_may_come_in(settings, users, open_to_network=not addresses.is_loopback(host))


def _announce_camera_page(settings: Settings, doors: Doors) -> None:
    """How a phone becomes a camera: with the QR code of the page where somebody sees the lines on a terminal."""
    listens, port = (doors.https or doors.http).address
    host = addresses.for_url(addresses.reachable(listens))
    page = qr.camera(f"{'https' if doors.https or settings.tls else 'http'}://{host}:{port}/")
    LOG.info("a phone is a camera at %s", page)
    if settings.log_json or not _on_terminal(sys.stderr if settings.results == STANDARD_OUTPUT else sys.stdout):
        return
    for line in qr.lines(page):
        LOG.info("%s", line)


def _on_terminal(stream: TextIO | None) -> bool:
    """Whether lines are written to a terminal that can show the characters of the code."""
    return stream is not None and stream.isatty() and "utf" in (stream.encoding or "").lower()


def not_held(settings: Settings, jail: Jail) -> list[str]:
    """A sentence on what the jail of models does not hold back here; none where it holds everything."""
    if not settings.jail:
        return ["the code of models can do what the server can: --no-jail"]
    found = system.lacking()
    secrets = (settings.users, settings.data / "snippets", settings.shared, settings.key, settings.config)
    if exposed := system.exposed(jail, [secret for secret in secrets if isinstance(secret, Path)]):
        readable = ", ".join(map(str, exposed))
        found.append(f"it can read {readable}, which a folder of code or models holds: keep it elsewhere")
    return [f"the code of models is not held in everything: {'; '.join(found)}"] if found else []


def _announce_who_may_come_in(settings: Settings, users: Users, *, open_to_network: bool) -> None:
    if open_to_network and not settings.auth:
        LOG.warning("anybody who reaches this address may send frames; -a asks for a user and password")
    command = f"{folders.USERS_COMMAND} add NAME --users {settings.users}"
    try:
        if ask(users, users.any):
            if not settings.auth:
                LOG.info(
                    "there are users, so REST, and whatever deletes or is an admin's, asks for one; "
                    "cameras, sessions, snippets, /ws and /metrics do so with -a alone"
                )
        elif settings.auth:
            LOG.warning("nobody can log in yet: add a user with  %s", command)
        elif ask(users, users.closed):
            LOG.warning(
                "there were users and now is none, so REST lets nobody in: add one with  %s, or remove %s",
                command,
                settings.users,
            )
        if users.copy:
            LOG.warning("users were taken over from an older server; %s is what they were", users.copy)
    except SettingError as error:
        LOG.warning("%s", error)  # who asks for users is told 503; all other doors are open
