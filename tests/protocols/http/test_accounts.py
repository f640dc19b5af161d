"""Users and tokens over HTTP: admins change users, everybody has tokens, and nobody is locked out by mistake."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest
from tests.protocols.http.asking import Asking

from imageserver.accounts.database import ChangeKind
from imageserver.errors import UsersUnavailable
from imageserver.protocols.http.accounts import Accounts, TokenViews, UserViews

STRANGE = ["a/b", "100%", "Ünï côdé", "x" * 128, "a+b", "..", "'; DROP TABLE users", "<script>"]


class World(Asking):
    """A server without `-a` that has users with one role each."""

    def __init__(self, *roles: str, **limits: Any) -> None:
        super().__init__(**limits)
        accounts = Accounts(self.logins, list_rows=self.limits.list_rows, log=self.log.append)
        self.serve(UserViews(accounts), TokenViews(accounts))
        for role in roles or ("camera", "viewer", "admin"):
            self.add(role, role)

    def token(self, asker: str, **wanted: Any) -> Any:
        found = self("POST", "/tokens/", asker, json=wanted)
        assert found.status_code == 201, found.json
        return found.json

    def bearer(self, method: str, path: str, token: str, **more: Any) -> Any:
        return self(method, path, headers={"Authorization": f"Bearer {token}"}, **more)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/users/", None), ("PUT", "/users/x", {"password": "x"}), ("DELETE", "/users/viewer", None)],
)
def test_users_are_an_admins_with_auth_and_without(method: str, path: str, body: Any) -> None:
    world = World()
    for user, statuses in {"": (401,), "camera": (403,), "viewer": (403,), "admin": (200, 201)}.items():
        assert world(method, path, user, json=body).status_code in statuses, user


@pytest.mark.parametrize("path", ["/users/", "/tokens/"])
def test_where_there_is_no_user_nobody_gets_in_and_is_told_how(path: str) -> None:
    world = World("camera")
    world.users.remove("camera")
    found = world("GET", path, "camera")
    assert (found.status_code, "userdb.py" in found.json["error"]) == (403, True)


def test_a_user_is_added_changed_and_removed() -> None:
    world = World()
    added = world("PUT", "/users/door", "admin", json={"password": "door", "only": ["front door"], "hz": 5})
    settings: dict[str, Any] = {"model": None, "hz": 5.0, "rotate": 0, "only": ["front door"], "camera": None}
    expected = {"name": "door", "roles": ["camera"], **settings}
    assert (added.status_code, added.json) == (201, expected)
    assert world("GET", "/tokens/", "door").status_code == 200, "it can log in"
    changed = world("PUT", "/users/door", "admin", json={"roles": ["viewer"], "model": "lenet", "hz": None})
    expected |= {"roles": ["viewer"], "model": "lenet", "hz": None}
    assert (changed.status_code, changed.json) == (200, expected), "what is not said stays as it is"
    assert world("PUT", "/users/door", "admin", json={"password": "new"}).json == expected
    assert world("GET", "/tokens/", "door").status_code == 401, "its password is another"
    listed = world("GET", "/users/", "admin")
    assert listed.json[2] == expected
    assert "password" not in listed.text
    assert world("DELETE", "/users/door", "admin").json == {"name": "door", "removed": True}
    assert world("DELETE", "/users/door", "admin").status_code == 404
    kinds = [(change.kind, change.user, change.by) for change in world.users.changes(0)[3:]]
    assert kinds[0] == (ChangeKind.USER_ADDED, "door", "admin")
    assert kinds[-2:] == [(kind, "door", "admin") for kind in (ChangeKind.PASSWORD_CHANGED, ChangeKind.USER_REMOVED)]
    assert len(kinds) == 4, "what stays as it is is no change"


def test_a_users_camera_has_a_name_which_can_be_taken_from_it() -> None:
    world = World()
    body = {"password": "x", "camera": " front do\u0308r"}
    assert world("PUT", "/users/door", "admin", json=body).json["camera"] == "front dör"
    assert world("PUT", "/users/door", "admin", json={"hz": 1}).json["camera"] == "front dör"
    assert world("GET", "/users/", "admin").json[2]["camera"] == "front dör"
    assert world("PUT", "/users/door", "admin", json={"camera": None}).json["camera"] is None
    assert world("PUT", "/users/door", "admin", json={"camera": "yard"}).json["camera"] == "yard"
    assert world("PUT", "/users/door", "admin", json={"camera": ""}).json["camera"] is None


@pytest.mark.parametrize("name", STRANGE)
def test_users_are_named_by_whatever_they_are_called(name: str) -> None:
    world = World()
    path = f"/users/{quote(name, safe='')}"
    assert world("PUT", path, "admin", json={"password": "x"}).json["name"] == name
    assert name in [row["name"] for row in world("GET", "/users/", "admin").json]
    assert world("DELETE", path, "admin").json["name"] == name


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("new", {}, "a new one takes a password"),
        ("x" * 129, {"password": "x"}, "cannot be a user's name"),
        ("a:b", {"password": "x"}, "cannot be a user's name"),
        (" a", {"password": "x"}, "cannot be a user's name"),
        ("new", {"password": ""}, "a password takes 1 to 1024 bytes"),
        ("new", {"password": "é" * 600}, "a password takes 1 to 1024 bytes"),
        ("new", {"password": "x" * 1025}, "password is a text of at most 1024 characters"),
        ("new", {"password": "\ud800"}, "a password takes"),
        ("new", {"password": 5}, "password is a text"),
        ("camera", {"roles": []}, "no role"),
        ("camera", {"roles": ["root"]}, "root"),
        ("camera", {"roles": "admin"}, "roles is a list"),
        ("camera", {"roles": ["camera"] * 4}, "roles is a list of at most 3"),
        ("camera", {"roles": [["camera"]]}, "roles is a list"),
        ("camera", {"hz": -1}, "hz is a number"),
        ("camera", {"hz": 1001}, "hz is 1001"),
        ("camera", {"hz": 10**400}, "hz is a number"),
        ("camera", {"hz": True}, "hz is a number"),
        ("camera", {"rotate": 45}, "rotate is one of 0, 90, 180, 270"),
        ("camera", {"rotate": 90.0}, "rotate is one of"),
        ("camera", {"model": "a b"}, "cannot be the name of a model"),
        ("camera", {"only": ["x" * 65]}, "cannot be the name of a camera"),
        ("camera", {"only": ["a\nb"]}, "cannot be the name of a camera"),
        ("camera", {"only": ["x"] * 300}, "only is a list of at most 256"),
        ("camera", {"camera": "x" * 65}, "cannot be the name of a camera"),
        ("camera", {"camera": "events"}, "cannot be the name of a camera"),
        ("camera", {"camera": 5}, "camera is a text"),
        ("camera", {"camera": "door", "only": ["yard"]}, "who is bound to others: yard"),
        ("camera", {"admin": True}, "'admin' is not known here"),
        ("camera", [], "no JSON object"),
    ],
)
def test_what_no_user_can_have_changes_nothing(name: str, body: Any, sentence: str) -> None:
    world = World()
    before = world.users.list()
    found = world("PUT", f"/users/{quote(name)}", "admin", json=body)
    assert (found.status_code, sentence in found.json["error"]) == (400, True), found.json
    assert world.users.list() == before


@pytest.mark.parametrize("name", ["admin", "boss"])
def test_no_admin_is_locked_out_unknowingly(name: str) -> None:
    world = World()
    if name == "boss":
        world.add("boss", "admin", "viewer")
    for method, body in (("PUT", {"roles": ["viewer"]}), ("DELETE", None)):
        found = world(method, f"/users/{name}", name, json=body)
        assert (found.status_code, "from yourself" in found.json["error"]) == (409, True)
    assert world("PUT", f"/users/{name}", name, json={"hz": 1}).status_code == 200
    assert world("DELETE", f"/users/{name}?force=yes", name).status_code == 200
    if name == "boss":
        world.add("boss", "admin")
        assert world("DELETE", "/users/boss", "admin").status_code == 200, "another admin's may be taken"


def test_the_last_user_may_go_and_the_server_stays_closed() -> None:
    world = World("admin")
    assert world("DELETE", "/users/admin?force=yes", "admin").status_code == 200
    assert world("GET", "/users/", "admin").status_code == 403
    assert world("GET", "/list_nn").status_code == 401
    assert world("PUT", "/users/admin", json={"password": "x", "roles": ["admin"]}).status_code == 403


def test_users_come_in_pages() -> None:
    world = World(list_rows=2)
    pages, path = [], "/users/"
    while path:
        found = world("GET", path, "admin")
        pages.append([row["name"] for row in found.json])
        path = found.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert pages == [["admin", "camera"], ["viewer"]]


def test_a_token_is_made_once_shown_once_used_and_revoked() -> None:
    world = World()
    made = world.token("viewer", name="front door", days=90)
    text, identity = made.pop("token"), made["id"]
    expected = {"user": "viewer", "name": "front door", "roles": ["viewer"], "used": None}
    assert expected.items() <= made.items()
    assert (made["created"], made["expires"]) == ("2027-01-15T08:00:00Z", "2027-04-15T08:00:00Z")
    listed = world("GET", "/tokens/", "viewer")
    assert listed.json == [made]
    assert text not in listed.text
    assert world.bearer("GET", "/tokens/", text).status_code == 200
    assert world("DELETE", f"/tokens/{identity}", "viewer").json == {"id": identity, "revoked": True}
    assert world.bearer("GET", "/tokens/", text).status_code == 401
    assert world("DELETE", f"/tokens/{identity}", "viewer").status_code == 404


def test_a_token_ends_by_itself() -> None:
    world = World()
    made = world.token("camera", days=0.5)
    world.now += 43_000
    assert world.bearer("GET", "/tokens/", made["token"]).status_code == 200
    world.now += 300
    assert world.bearer("GET", "/tokens/", made["token"]).status_code == 401


def test_a_token_makes_no_tokens() -> None:
    world = World()
    text = world.token("admin")["token"]
    assert world.bearer("GET", "/users/", text).status_code == 200
    found = world.bearer("POST", "/tokens/", text, json={})
    assert (found.status_code, "log in with the password" in found.json["error"]) == (403, True)
    basic = world("POST", "/tokens/", headers={"Authorization": basic_of("admin", text)}, json={})
    assert basic.status_code == 403, "a token in place of a password is one still"


def basic_of(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_tokens_are_ones_own_and_an_admins_are_all() -> None:
    world = World()
    world.add("both", "camera", "viewer")
    camera, viewer = world.token("camera"), world.token("viewer")
    for body in ({"user": "viewer"}, {"roles": ["viewer"]}, {"roles": ["admin", "camera"]}):
        assert world("POST", "/tokens/", "camera", json=body).status_code == 403
    assert world("POST", "/tokens/", "both", json={"roles": ["viewer"]}).json["roles"] == ["viewer"]
    assert [row["id"] for row in world("GET", "/tokens/", "camera").json] == [camera["id"]]
    assert world("DELETE", f"/tokens/{viewer['id']}", "camera").status_code == 404, "others' are as good as none"
    assert world.token("admin", user="camera", roles=["camera"])["user"] == "camera"
    assert world("POST", "/tokens/", "admin", json={"user": "camera", "roles": ["admin"]}).status_code == 400
    assert world("POST", "/tokens/", "admin", json={"user": "nobody"}).status_code == 400
    assert len(world("GET", "/tokens/", "admin").json) == 4
    assert world("DELETE", f"/tokens/{viewer['id']}", "admin").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        *({"days": days} for days in (0, -1, 10**400, "90", 4000)),
        *({"name": name} for name in ("x" * 65, 5, "a\nb")),
        *({"roles": roles} for roles in ([], ["root"])),
        {"secret": "mine"},
        {"user": "\ud800"},
        [],
    ],
)
def test_what_no_token_can_have_makes_none(body: Any) -> None:
    world = World()
    assert world("POST", "/tokens/", "admin", json=body).status_code == (201 if body == {"roles": []} else 400)
    assert len(world.users.tokens()) == (body == {"roles": []})


def test_tokens_of_one_user_are_bounded() -> None:
    world = World(max_tokens=2)
    for _number in range(2):
        world.token("camera")
    found = world("POST", "/tokens/", "camera", json={})
    assert (found.status_code, "--max-tokens" in found.json["error"]) == (409, True)


def test_nothing_that_proves_somebody_is_taken_from_the_query() -> None:
    world = World()
    text = world.token("admin")["token"]
    for query in (f"token={text}", f"access_token={text}", f"auth={text}", "user=admin&password=admin"):
        assert world("GET", f"/users/?{query}").status_code == 401


def test_what_the_operator_is_told_no_client_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def damaged() -> None:
        raise UsersUnavailable("the user database /home/ann/users.db is damaged")

    monkeypatch.setattr(world.users, "list", damaged)
    found = world("GET", "/users/", "admin")
    assert (found.status_code, found.headers["Retry-After"]) == (503, "5")
    assert "/home" not in found.text
    assert "/home/ann/users.db is damaged" in world.log[-1]
