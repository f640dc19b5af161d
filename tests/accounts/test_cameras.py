"""Names of cameras: any text of a length, in whatever form it comes, and nothing that breaks a line."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from imageserver.accounts import cameras
from imageserver.errors import NotAllowed


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", ""),
        ("EIO=4&transport=websocket", ""),
        ("EIO=4&name=", ""),
        ("name=%20%20", ""),
        ("rename=x&surname=y", ""),
        ("EIO=3&name=front%20door&t=1", "front door"),
        ("name=front+door", "front door"),
        ("name=first&name=second", "first"),
        ("name=K%C3%BCche", "Küche"),
        ("name=Ku%CC%88che", "Küche"),
        ("name=" + "Küche".encode().decode("latin-1"), "Küche"),
        ("name=%E3%82%AD%E3%83%83%E3%83%81%E3%83%B3%E3%80%80", "キッチン"),
        ("name=%ff", "\ufffd"),
        ("name=" + "%F0%9F%8E%A5" * 64, "🎥" * 64),
        ("&" * 4000 + "a=b&name=x&" + "c=d&" * 1000, "x"),
        ("name=" + "x" * 64, "x" * 64),
    ],
)
def test_a_query_says_the_name_of_a_camera(query: str, name: str) -> None:
    assert cameras.said(query) == name


@pytest.mark.parametrize(
    "name", ["x" * 65, "x" * 8000, "a\nb", "\x1b[2J", "a\0", "x\x85", "a\n", "\u202emoc", "\ufb2c" * 60]
)
def test_what_cannot_be_a_name_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(NotAllowed, match="cannot be the name of a camera") as refused:
        cameras.said("name=" + quote(name))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500
    with pytest.raises(NotAllowed):
        cameras.checked("\ud800")


@pytest.mark.parametrize(
    "name",
    ["events", " events ", "x.jpg", ".json", "a.b.mjpeg", "x\u2003y.jpg", ".", "..", "session-7"],
)
def test_what_stands_for_something_else_below_streams_is_no_name(name: str) -> None:
    with pytest.raises(NotAllowed, match="cannot be the name of a camera: it stands for something else at /streams/"):
        cameras.checked(name)


@pytest.mark.parametrize(
    "name", ["event", "Events", "events (2)", "jpg", "x.jpg (2)", "x.jpeg", "...", "session-x", "a/b"]
)
def test_what_only_reads_like_a_route_is_one(name: str) -> None:
    assert cameras.checked(name) == name


@pytest.mark.parametrize(
    ("only", "own", "said", "name"),
    [
        ((), "", "", ""),
        ((), "", "garden", "garden"),
        ((), "yard", "", "yard"),
        ((), "yard", "garden", "garden"),
        (("kitchen", "door"), "", "", "kitchen"),
        (("kitchen", "door"), "", "door", "door"),
        (("kitchen", "door"), "door", "", "door"),
        (("kitchen", "door"), "door", "kitchen", "kitchen"),
        (("kitchen", "door"), "", "garden", None),
    ],
)
def test_a_user_has_its_own_camera_or_the_one_it_says_and_none_that_it_is_not_bound_to(
    only: tuple[str, ...], own: str, said: str, name: str | None
) -> None:
    if name is None:
        with pytest.raises(NotAllowed, match="there is no camera 'garden'"):
            cameras.of_user(only, own, said)
    else:
        assert cameras.of_user(only, own, said) == name
