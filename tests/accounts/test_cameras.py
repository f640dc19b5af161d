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


def test_a_bound_user_has_the_first_of_its_cameras_or_the_one_it_says_and_no_other() -> None:
    assert cameras.of_user((), "garden") == "garden"
    assert cameras.of_user((), "") == ""
    assert cameras.of_user(("kitchen", "door"), "") == "kitchen"
    assert cameras.of_user(("kitchen", "door"), "door") == "door"
    with pytest.raises(NotAllowed, match="there is no camera 'garden'"):
        cameras.of_user(("kitchen", "door"), "garden")
