"""The pictures of docs/: small enough for a first page, and each shown on one."""

from __future__ import annotations

from tests.running import ROOT

MOST = 200_000


def test_pictures_are_small_and_shown() -> None:
    pictures = [path for path in (ROOT / "docs/pictures").iterdir() if path.is_file()]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(pictures) >= 2
    for path in pictures:
        assert path.stat().st_size < MOST, f"{path.name} has {path.stat().st_size:,} bytes"
        assert f"docs/pictures/{path.name}" in readme
