"""How `make site` makes pages of README.md, docs/ and their kin: Sphinx with MyST, in the theme Furo.

The sources stay as GitHub shows them: every relative link there is a link here, and what a link names that is no page
(a program, a picture) is copied beside the pages. The order of the pages stands here, in NAVIGATION.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NAVIGATION = {
    "First minutes": {
        "README": "From nothing to boxes",
        "docs/pages": "Pages in a browser",
        "docs/bring-your-model": "Bring your model",
        "docs/write-a-model": "Write a model",
    },
    "Clients": {
        "docs/clients/python": "Python",
        "docs/clients/javascript": "JavaScript",
        "docs/clients/kotlin-java": "Kotlin and Java",
        "docs/rest": "REST, streams, curl",
        "docs/protocols": "Socket.IO and WebSocket",
        "docs/legacy-tcp": "Legacy TCP commands",
    },
    "Models": {
        "docs/models": "Manifests and formats",
        "docs/remote-models": "Models on other servers",
        "docs/ray": "Models on a cluster",
        "models/README": "The shipped models",
        "clients/samples/README": "The sample pictures",
    },
    "Operations": {
        "docs/operations": "Service, container, nginx",
        "docs/several-front-ends": "Several front ends",
        "docs/arm64": "Raspberry Pi, Jetson",
        "docs/users": "Users, roles, tokens",
        "docs/shared-users": "Users in PostgreSQL",
        "docs/audit": "Audit",
        "docs/reliability": "Reliability",
        "docs/performance": "Performance",
        "docs/scale": "Scale",
        "SECURITY": "Security",
    },
    "Reference": {
        "docs/command": "The command",
        "docs/settings": "Settings",
        "docs/metrics": "Figures",
        "docs/transport": "HTTP, WebSocket, Socket.IO",
    },
    "How it is built": {
        "docs/architecture": "Architecture",
        "CONTRIBUTING": "Working on it",
        "tests/fuzz/README": "Fuzzing",
        "CHANGELOG": "Changes",
    },
}
"""Every page, without its `.md`, under the headings of the column on the left, by its name there."""

BELOW = {"models/README": "models/*/README"}
"""Pages that stand below another there: a card of each model."""

ROOT = "README"
"""The first page."""

project = "ImageServer"
author = "ImageServer"
html_title = "ImageServer"
language = "en"
root_doc = ROOT
include_patterns = [
    f"{page}.md" for page in [*(page for part in NAVIGATION.values() for page in part), *BELOW.values()]
]
highlight_language = "text"
extensions = ["myst_parser"]
myst_heading_anchors = 6
myst_enable_extensions = ["html_image"]
suppress_warnings = ["myst.header"]
html_theme = "furo"
html_favicon = "../../src/pages/static/shared/icon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False


def add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    """Tell the first page of all others, and those of BELOW of theirs; their text stays as it is."""
    trees = {}
    if page == ROOT:
        for heading, named in NAVIGATION.items():
            places = {other: "self" if other == ROOT else other for other in named}
            trees[f"caption: {heading}"] = [f"{name} <{places[other]}>" for other, name in named.items()]
    if page in BELOW:
        trees["glob:"] = [f"/{BELOW[page]}"]
    for option, pages in trees.items():
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:{option}\n\n" + "\n".join(pages) + "\n```\n"


def add_index(app: Sphinx, error: Exception | None) -> None:
    """The first page by the name that web servers look for."""
    if error is None:
        shutil.copy(Path(app.outdir) / f"{ROOT}.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_navigation)
    app.connect("build-finished", add_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
