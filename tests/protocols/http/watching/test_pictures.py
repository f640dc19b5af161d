"""The newest frame of a stream as a picture, as it came or with what was found drawn into it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from tests.protocols.http.watching import site as sites
from tests.protocols.http.watching.site import JPEG, Viewer, WatchedSite

from imageserver.transport import hub


@pytest.fixture
def site() -> Iterator[WatchedSite]:
    yield from sites.site()


def get(site: WatchedSite, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    with site.connect(path, **headers) as viewer:
        return viewer.status, dict(viewer.headers), viewer.rest()


def test_the_newest_frame_comes_as_it_came_with_its_own_type(site: WatchedSite) -> None:
    stream = site.stream("anna", "Tür/1 %")
    path = f"/streams/{quote('Tür/1 %')}.jpg"
    status, headers, body = get(site, path)
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "no frame of 'Tür/1 %' has been answered yet" in body.decode()
    pictures = {"jpeg": JPEG, "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF____WEBP"}
    for kind, begin in pictures.items():
        site.frame(stream, begin + b"picture")
        status, headers, body = get(site, path)
        assert (status, headers["Content-Type"], body) == (200, f"image/{kind}", begin + b"picture")
        assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert get(site, f"/streams/{stream.id}.jpg")[2] == body, "by its id as well"


def test_who_has_the_newest_frame_is_told_so(site: WatchedSite) -> None:
    stream = site.stream("anna")
    site.frame(stream, JPEG + b"1")
    tag = get(site, "/streams/anna.jpg")[1]["ETag"]
    status, headers, body = get(site, "/streams/anna.jpg", **{"If-None-Match": tag})
    assert (status, headers["ETag"], body) == (304, tag, b"")
    assert get(site, "/streams/anna.jpg?boxes=1", **{"If-None-Match": tag})[0] == 200
    site.frame(stream, JPEG + b"2")
    status, headers, body = get(site, "/streams/anna.jpg", **{"If-None-Match": tag})
    assert (status, body) == (200, JPEG + b"2")
    assert headers["ETag"] != tag


def test_a_rejected_frame_is_shown_if_it_is_a_picture(site: WatchedSite) -> None:
    stream = site.stream("anna")
    site.frame(stream, JPEG + b"cut short", error="it is cut short", reason="picture")
    assert get(site, "/streams/anna.jpg")[2] == JPEG + b"cut short"
    site.frame(stream, b"<script>alert(1)</script>", error="it is no picture", reason="picture")
    status, headers, body = get(site, "/streams/anna.jpg")
    assert (status, headers["Content-Type"]) == (503, "application/json")
    assert "cannot be shown: it is no picture" in body.decode()


def test_boxes_are_drawn_once_for_all_who_ask_for_the_same_frame(site: WatchedSite) -> None:
    stream = site.stream("anna")
    site.frame(stream, JPEG + b"1")
    site.process.go_on.clear()
    asking = [hub.spawn(get, site, "/streams/anna.jpg?boxes=1") for _viewer in range(5)]
    sites.until(lambda: site.drawings._running, "the first to be drawn")
    hub.sleep(0.05)
    site.process.go_on.set()
    for one in asking:
        status, headers, body = one.wait()
        assert (status, headers["Content-Type"], body) == (200, "image/jpeg", JPEG + b"1 drawn")
        assert headers["ETag"].endswith('-boxes"')
    assert get(site, "/streams/anna.jpg?boxes=1")[2] == JPEG + b"1 drawn"
    assert site.process.drawn == [JPEG + b"1"]
    site.frame(stream, JPEG + b"2")
    assert get(site, "/streams/anna.jpg?boxes=1")[2] == JPEG + b"2 drawn"


def test_what_cannot_be_drawn_is_said(site: WatchedSite) -> None:
    site.frame(site.stream("anna"), JPEG + b"broken")
    status, headers, body = get(site, "/streams/anna.jpg?boxes=1")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert body == b'{"error":"it cannot be decoded"}'
    assert get(site, "/streams/anna.jpg?boxes=perhaps")[0] == 400


def test_of_several_streams_of_one_name_the_latest_is_shown_and_of_sessions_none(site: WatchedSite) -> None:
    for number in (b"1", b"2"):
        site.frame(site.stream("door", key=f"id-{number.decode()}"), JPEG + number)
    assert get(site, "/streams/door.jpg")[2] == JPEG + b"2"
    site.session("bob")
    for kind in ("jpg", "mjpeg"):
        status, _headers, body = get(site, f"/streams/bob.{kind}")
        assert (status, b"of which no pictures are kept" in body) == (409, True)
    assert get(site, "/streams/nobody.jpg")[0] == 404


def test_head_costs_nothing(site: WatchedSite) -> None:
    site.frame(site.stream("anna"), JPEG + b"picture")
    for path in ("anna.jpg", "anna.jpg?boxes=1", "anna.mjpeg", "events"):
        with hub.in_thread(Viewer, site.server.port, f"/streams/{path}", {}, "HEAD") as viewer:
            assert (viewer.status, viewer.rest()) == (200, b"")
            length = viewer.headers["Content-Length"]
            assert length == (str(len(JPEG + b"picture")) if path == "anna.jpg" else None)
    assert len(site.followers) == 0
    assert site.process.drawn == []


def test_a_large_frame_that_is_not_kept_is_said() -> None:
    for site in sites.site(memory_share=400_000, memory_budget=10**9):
        stream = site.stream("anna")
        site.frame(stream, JPEG + bytes(190_000))
        status, _headers, body = get(site, "/streams/anna.jpg")
        assert (status, b"the server has no room to spare" in body) == (503, True)
        site.frame(stream, JPEG + bytes(100_000))
        assert get(site, "/streams/anna.jpg")[0] == 200
