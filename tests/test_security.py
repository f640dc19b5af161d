"""What SECURITY.md says of files and settings: that they are there, and as they are called."""

from __future__ import annotations

import re

from tests.running import ROOT

from imageserver.config.table import TABLE

TEXT = (ROOT / "SECURITY.md").read_text("utf-8")


def test_every_option_is_one() -> None:
    known = {flag for row in TABLE for flag in row.flags} | {"--version", "--no-jail", "--only"}
    assert set(re.findall(r"`(--?[a-z][a-z-]*)", TEXT)) <= known


def test_every_link_leads_to_a_heading() -> None:
    for path, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", TEXT):
        text = (ROOT / path).read_text("utf-8") if path else TEXT
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, f"{path}#{anchor}"
