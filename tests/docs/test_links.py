"""Every page is in the site's left column, and every relative link leads somewhere, its anchor included."""

from __future__ import annotations

import pytest
from tests.docs.pages import BELOW, NAVIGATION, anchors, links, resolved
from tests.running import ROOT

PAGES = [*NAVIGATION, *BELOW]


def test_every_page_is_in_the_navigation() -> None:
    here = {str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}
    assert here - set(NAVIGATION) == set(), "give it a place in NAVIGATION of docs/site/conf.py"
    assert [page for page in NAVIGATION if not (ROOT / page).is_file()] == []
    assert len(set(NAVIGATION)) == len(NAVIGATION)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, place = resolved(page, link)
        name = str(path.relative_to(ROOT))
        if not path.is_file() or (place and (path.suffix != ".md" or place not in anchors(name))):
            broken.append(link)
        elif path.suffix == ".md" and name not in PAGES:
            broken.append(f"{link}: no page of the site")
    assert broken == []
