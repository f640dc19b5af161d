"""Two real servers with a folder of pictures in common: what comes in at one door goes out at the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from tests.passwords import CHEAP
from tests.running import PATIENCE, CheapServer, Server, picture

from imageserver.accounts.database import UserDB

ROLES = {"cam1": ("camera",), "cam2": ("camera",), "eye": ("viewer",), "boss": ("admin",)}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    place = tmp_path_factory.mktemp("place")
    (place / "shared").mkdir()
    users = UserDB(place / "users.db", CHEAP)
    for name, roles in ROLES.items():
        users.add(name, "secret", roles)
    for name in ("a", "b"):
        (place / name).mkdir()
    options = ("-a", "--shared", str(place / "shared"), "--users", str(place / "users.db"), "--snippet-history", "3")
    with CheapServer(*options, data=place / "a") as a, CheapServer(*options, data=place / "b") as b:
        yield a.ready(), b.ready()


def ask(server: Server, user: str, method: str, path: str, grey: int | None = None) -> requests.Response:
    data = None if grey is None else picture(grey)
    return requests.request(method, server.url + path, data=data, auth=(user, "secret"), timeout=PATIENCE)


def test_what_is_put_at_one_is_got_listed_and_removed_at_the_other(servers: tuple[Server, Server]) -> None:
    a, b = servers
    put = ask(a, "cam1", "PUT", "/snippets/1/?name=hall", 40)
    assert put.status_code == 200
    found = ask(b, "eye", "GET", "/snippets/1/").json()
    assert {name: found[name] for name in put.json()} == put.json()
    assert (found["user"], found["camera"], found["size"]) == ("cam1", "hall", len(picture(40)))
    image = ask(b, "cam1", "GET", "/snippets/1/image")
    assert (image.content, image.headers["Content-Type"]) == (picture(40), "image/jpeg")
    for how in (("GET", "/snippets/1/"), ("PUT", "/snippets/1/", 50)):
        assert ask(b, "cam2", *how).status_code == 403
    assert ask(b, "cam1", "PUT", "/snippets/1/", 60).status_code == 200
    history = ask(a, "eye", "GET", "/snippets/1/?history=1").json()["history"]
    assert [entry["prediction"]["label"] for entry in history] == ["60", "40"]
    ask(b, "cam2", "PUT", "/snippets/2/", 70)
    assert [one["id"] for one in ask(a, "eye", "GET", "/snippets/").json()["snippets"]] == [1, 2]
    assert ask(a, "boss", "DELETE", "/snippets/1/").status_code == 200
    assert ask(b, "eye", "GET", "/snippets/1/image").status_code == 404
    assert [one["id"] for one in ask(b, "eye", "GET", "/snippets/").json()["snippets"]] == [2]


def test_a_large_picture_comes_whole(servers: tuple[Server, Server]) -> None:
    a, b = servers
    large = picture(9) + bytes(2**21)
    auth = ("cam1", "secret")
    assert requests.put(a.url + "/snippets/5/", data=large, auth=auth, timeout=PATIENCE).status_code == 200
    assert requests.get(b.url + "/snippets/5/image", auth=auth, timeout=PATIENCE).content == large


def test_a_number_whose_files_are_damaged_is_none_until_it_is_removed_or_put_anew(
    servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory
) -> None:
    a, b = servers
    place = next(tmp_path_factory.getbasetemp().glob("place*/shared"))
    for number in (7, 8):
        assert ask(a, "cam1", "PUT", f"/snippets/{number}/", 40).status_code == 200
        (file,) = place.glob(f"snippets/*/{number}/*")
        file.write_bytes(file.read_bytes()[:-1])
        assert ask(b, "boss", "GET", f"/snippets/{number}/").status_code == 404
    assert ask(b, "boss", "DELETE", "/snippets/7/").status_code == 200
    assert ask(b, "boss", "DELETE", "/snippets/7/").status_code == 404
    assert not list(place.glob("snippets/*/7/*"))
    assert ask(b, "cam2", "PUT", "/snippets/8/", 60).status_code == 200
    assert ask(a, "cam2", "GET", "/snippets/8/image").content == picture(60)
