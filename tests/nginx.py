"""nginx for tests, in a folder and with ports of its own."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")

_MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr {level};
{user}
worker_processes 1;
events {{ worker_connections {connections}; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/imageserver.conf;
}}
"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def command(folder: Path, *, level: str, connections: int) -> list[str]:
    """Write nginx.conf beside `folder`/imageserver.conf, which it includes; the command that serves them.

    Args:
        folder: absolute.
        level: of what nginx says on standard error.
        connections: that it may have open.
    """
    assert NGINX is not None
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user, level=level, connections=connections))
    return [NGINX, "-p", str(folder), "-e", "stderr", "-c", "nginx.conf"]
