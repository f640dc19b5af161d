"""Who may send which event: strangers, users with each role, the key for sessions, names of cameras."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.later import Later, replace_in_hub
from tests.protocols.sockets import TIME, World

from imageserver.accounts import doors
from imageserver.accounts.rates import Rates
from imageserver.errors import UsersUnavailable
from imageserver.limits import Limits
from imageserver.protocols import camstream
from imageserver.protocols.events.router import Events

ROLE = "this takes a user with the role camera or admin"
STRANGER = "authenticate first"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    later = Later()
    replace_in_hub(monkeypatch, camstream, spawn_later=later)
    return later


def world(**options: Any) -> World:
    made = World(**options)
    for role in ("camera", "viewer", "admin"):
        made.users.add(role, "secret", roles=[role])
    return made


def test_an_event_without_a_row_in_the_table_of_doors_fails_at_the_start() -> None:
    made = world()
    made.camstream.events["teleport"] = lambda _client: None
    with pytest.raises(KeyError, match="teleport"):
        Events(made.sockets, made.clients, [made.camstream], Rates(Limits()))
    with pytest.raises(ValueError, match="two protocols claim the event 'authenticate'"):
        Events(made.sockets, made.clients, [world().camstream] * 2, Rates(Limits()))


def test_every_row_is_the_row_of_an_event() -> None:
    rows = {door.path for door in doors.DOORS if door.protocol == doors.EVENT}
    assert rows == set(world().sockets.handlers) - {"connect", "disconnect", "*"}


@pytest.mark.parametrize("at_connect", [True, False])
@pytest.mark.parametrize("auth", [True, False])
@pytest.mark.parametrize(("role", "refused"), [("camera", False), ("admin", False), ("viewer", True), (None, None)])
def test_a_role_holds_wherever_somebody_has_logged_in(
    later: Later, role: str | None, refused: bool | None, auth: bool, at_connect: bool
) -> None:
    made = world(auth=auth)
    if role is not None and at_connect:
        assert made.connect("c", user=role, password="secret") == ""
    else:
        assert made.connect("c") == ""
        if role is not None:
            accepted = not (auth and refused)
            assert made.login("c", role, "secret") is accepted, "without -a every name is; frames say what they may"
    expected = {None: STRANGER if auth else "", True: ROLE, False: ""}[refused]
    assert made.frame("c").startswith(expected) if expected else made.frame("c") == ""
    for sentence in (
        made.ask("c", "configure", {"hz": 5}),
        made.begin("c"),
        made.ask("c", "session_end", TIME),
    ):
        assert sentence.startswith(expected) if expected else sentence == ""


def test_refused_frames_are_counted_and_never_offered(later: Later) -> None:
    made = world(auth=True)
    made.connect("c")
    for number in range(1, 4):
        assert made.frame("c").startswith(STRANGER)
        assert json.loads(made.sockets.emitted[-1][2])["seq"] == number
    stream = made.streams.open_streams["c"]
    assert (stream.received, stream.refused, made.engine.waiting) == (3, 3, [])


def test_wrong_credentials_where_none_are_asked_are_nobodys(later: Later) -> None:
    made = world()
    made.connect("c")
    assert made.login("c", "viewer", "wrong") is True, "every name is accepted"
    assert made.frame("c") == "", "and proves nothing, so no role holds"
    assert made.streams.open_streams["c"].user == "viewer"
    assert made.sockets.account("c").owner == "address 192.0.2.1"
    assert made.login("c", "viewer", "secret") is True
    assert made.frame("c") == ROLE
    assert made.sockets.account("c").owner == "user viewer"
    assert made.login("c", "somebody", "else") is True, "what counts is the last one"
    assert made.frame("c") == ""


def test_the_right_password_after_a_wrong_one_cancels_the_disconnect(later: Later) -> None:
    made = world(auth=True)
    made.connect("app")
    assert made.login("app", "camera", "wrong") is False
    later.move(1)
    assert made.login("app", "camera", "secret") is True
    later.move(60)
    assert made.sockets.disconnected == []

    assert made.login("app", "camera", "wrong") is False
    assert made.frame("app").startswith(STRANGER), "what counts is the last one"
    later.move(1)
    assert made.login("app", "camera", "wrong again") is False
    later.move(1.5)
    assert made.sockets.disconnected == [], "each refusal can be read for two seconds"
    later.move(1)
    assert made.sockets.disconnected == ["app"]
    assert made.streams.open_streams == {}


def test_the_key_opens_sessions_alone(later: Later) -> None:
    for auth in (True, False):
        made = world(auth=auth, key="sesame")
        assert made.connect("wrong", key="open") == "the key is wrong"
        assert made.connect("odd", key=["sesame"]) == "the key is wrong"
        made.connect("stranger")
        assert made.begin("stranger").startswith(STRANGER)
        assert made.ask("stranger", "frame", TIME).startswith(STRANGER)
        made.connect("keyed", key="sesame")
        assert made.begin("keyed") == ""
        assert made.frame("keyed").startswith(STRANGER) is auth
        made.connect("user", user="camera", password="secret")
        assert made.begin("user") == ""
        made.connect("both", key="sesame", user="viewer", password="secret")
        assert made.begin("both") == ROLE, "a role holds wherever somebody has logged in"


def test_another_login_on_a_connection_replaces_the_first_and_ends_its_session(later: Later) -> None:
    made = world(auth=True)
    made.users.add("another", "secret")
    made.connect("c")
    assert made.login("c", "camera", "secret") is True
    assert made.begin("c") == ""
    assert made.frame("c") == ""
    (first,) = made.sessions.open_sessions.values()
    assert made.login("c", "another", "secret") is True
    assert not first.running, "another user's"
    assert made.engine.turn()[1] is None, "the first one's frame is not the second one's"
    assert made.sockets.account("c").owner == "user another"
    assert made.frame("c") == ""
    stream = made.streams.open_streams["c"]
    assert (stream.user, stream.received) == ("another", 2), "the client counts its frames by connection"
    assert made.begin("c") == ""
    second = next(session for session in made.sessions.open_sessions.values() if session.running)
    assert made.login("c", "another", "secret") is True
    assert second.running, "the same user once more"
    assert made.login("c", "another", "wrong") is False
    assert not second.running


def test_a_users_frames_go_on_when_the_same_user_logs_in_again(later: Later) -> None:
    made = world()
    made.connect("c")
    made.frame("c")
    made.login("c", "camera", "secret")
    made.login("c", "camera", "secret")
    assert made.engine.turn()[1] is not None
    assert [stream.user for stream in made.streams.open_streams.values()] == ["camera"]


def test_a_camera_has_the_name_that_it_says(later: Later) -> None:
    made = world()
    assert made.connect("c", "EIO=4&name=front%20door") == ""
    made.frame("c")
    assert made.streams.open_streams["c"].camera == "front door"
    made.begin("c")
    assert [session.camera for session in made.sessions.open_sessions.values()] == ["front door"]
    assert "cannot be the name of a camera" in made.connect("bad", "name=a%0ab")
    assert made.clients.get("bad") is None


@pytest.mark.parametrize("auth", [True, False])
def test_a_bound_user_streams_under_its_own_cameras_alone(later: Later, auth: bool) -> None:
    made = world(auth=auth)
    made.users.add("bound", "secret", only=["kitchen", "door"])
    for sid, query, camera in [("none", "", "kitchen"), ("door", "name=door", "door")]:
        assert made.connect(sid, query) == ""
        assert made.login(sid, "bound", "secret") is True
        assert made.frame(sid) == ""
        assert made.streams.open_streams[sid].camera == camera
        assert made.begin(sid) == ""
    assert {session.camera for session in made.sessions.open_sessions.values()} == {"kitchen", "door"}

    assert made.connect("at once", "name=garden", user="bound", password="secret") == "there is no camera 'garden'"
    assert made.connect("later", "name=garden") == ""
    before = made.frame("later")
    assert made.login("later", "bound", "secret") is False
    assert made.frame("later") == before, "it has not logged in"
    assert any("there is no camera 'garden'" in str(value) for _sid, _event, value in made.sockets.emitted)
    later.move(3)
    assert made.sockets.disconnected == ["later"]


def test_frames_of_a_bound_user_do_not_become_those_of_whoever_goes_by_the_same_name(later: Later) -> None:
    made = world()
    made.users.add("bound", "secret", only=["kitchen"])
    made.connect("c")
    made.login("c", "bound", "secret")
    made.frame("c")
    assert made.login("c", "bound", "wrong") is True
    assert made.engine.turn()[1] is None
    made.frame("c")
    stream = made.streams.open_streams["c"]
    assert (stream.user, stream.camera, stream.received) == ("bound", "", 2)


def test_a_session_of_nobody_ends_when_its_client_turns_out_to_be_bound_to_a_camera(later: Later) -> None:
    made = world()
    made.users.add("bound", "secret", only=["kitchen"])
    made.connect("c")
    made.begin("c")
    (session,) = made.sessions.open_sessions.values()
    made.login("c", "camera", "secret")
    assert session.running
    made.login("c", "bound", "secret")
    assert not session.running


ODD: list[Any] = [
    None,
    5,
    -1.5,
    True,
    b"x",
    [],
    {},
    [["alice"]],
    {"a": 1},
    "",
    "\ud800",
    "\0",
    "x" * 100_000,
    "é" * 128,
]


@pytest.mark.parametrize("auth", [True, False])
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:12])
def test_whatever_a_client_shows_is_harmless(later: Later, odd: Any, auth: bool) -> None:
    made = world(auth=auth, key="sesame")
    for shown in ({"user": odd, "password": odd}, {"username": odd, "password": "x"}, {"token": odd}, {"user": odd}):
        made.connect("c", **shown)
    assert made.clients.get("c") is None or made.clients.get("c").user is None  # type: ignore[union-attr]
    made.connect("d")
    for arguments in ((odd, odd), ("camera", odd), (odd, "secret"), (odd,), (odd,) * 5):
        assert made.call("d", "authenticate", *arguments) is None
    made.call("d", "receiveImage", odd)
    made.call("d", "configure", odd)
    made.call("d", "session_start", odd)
    assert not made.log or not any("Error" in line for line in made.log)


def test_a_token_is_as_good_as_a_password_at_the_connect_and_in_its_place(later: Later) -> None:
    made = world(auth=True)
    made.users.add("both", "secret", roles=["camera", "viewer"])
    _token, sends = made.users.add_token("both", roles=["camera"])
    _token, looks = made.users.add_token("both", roles=["viewer"])
    for number, shown in enumerate(
        ({"token": sends}, {"user": "both", "token": sends}, {"user": "both", "password": sends})
    ):
        sid = f"c{number}"
        assert made.connect(sid, **shown) == ""
        assert made.frame(sid) == ""
        assert made.streams.open_streams[sid].user == "both"
        assert made.sockets.account(sid).owner == "user both"
    assert made.connect("viewer", token=looks) == ""
    assert made.frame("viewer") == ROLE, "a token has the roles that it was made with"
    assert made.connect("later") == ""
    assert made.login("later", "both", sends) is True
    assert made.frame("later") == ""
    assert made.login("later", "camera", sends) is False, "it is another user's"
    assert made.connect("wrong", token=sends[:-1] + ("a" if sends[-1] != "a" else "b")) == "the token is wrong"
    made.users.revoke(sends)
    assert made.connect("revoked", token=sends) == "the token is wrong"


def test_guesses_at_the_connect_and_in_events_are_guarded_alike(later: Later) -> None:
    made = world(auth=True, login_attempts=3)
    for number in range(3):
        assert made.connect(f"c{number}", user="camera", password="guess") == "the user or the password is wrong"
    paused = "too many logins failed; try again in"
    assert made.connect("c", user="camera", password="guess").startswith(paused)
    assert made.connect("app") == ""
    assert made.login("app", "camera", "guess") is False
    assert json.loads(made.sockets.emitted[-2][2])["error"].startswith(paused), "told before the answer"


def test_guesses_of_the_key_are_guarded(later: Later) -> None:
    made = world(key="sesame", login_attempts=3)
    answers = [made.connect(f"c{number}", key="guess") for number in range(10)]
    assert answers[:3] == ["the key is wrong"] * 3
    assert not any(answer == "the key is wrong" for answer in answers[3:])
    assert any("session key" in line for line in made.log)


def test_an_app_that_nobody_asks_for_a_password_is_accepted_while_its_address_has_to_pause(later: Later) -> None:
    made = world(login_attempts=2)
    made.connect("app")
    for _ in range(10):
        assert made.login("app", "camera", "its own idea") is True
    assert made.frame("app") == ""
    assert made.streams.open_streams["app"].user == "camera"


@pytest.mark.parametrize("auth", [True, False])
def test_users_that_cannot_be_read_are_told_of_and_count_against_nobody(
    later: Later, auth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world(auth=auth, login_attempts=1)

    def damaged(*_arguments: object) -> None:
        raise UsersUnavailable("/secret/path is damaged")

    monkeypatch.setattr(made.users, "check", damaged)
    for _ in range(5):
        refused = made.connect("c", user="camera", password="secret")
        assert "the server's log says why" in refused
        assert "/secret/path" not in refused
    made.connect("app")
    assert made.login("app", "camera", "secret") is not auth
    assert made.frame("app") == "" if not auth else made.frame("app").startswith(STRANGER)
    monkeypatch.undo()
    assert made.connect("c", user="camera", password="secret") == ""


def test_a_name_that_nobody_need_prove_gives_a_users_defaults_and_no_rights(later: Later) -> None:
    made = world()
    made.users.add("upright", "secret", model="slow", rotate=90, only=["kitchen"])
    made.connect("c", "name=garden")
    assert made.login("c", "upright", "") is True
    made.frame("c")
    stream = made.streams.open_streams["c"]
    assert (stream.user, stream.model, stream.rotate, stream.camera) == ("upright", "slow", 90, "garden")


@pytest.mark.parametrize("auth", [True, False])
def test_a_login_that_no_longer_holds_ends_its_connections_and_no_others(later: Later, auth: bool) -> None:
    made = world(auth=auth, key="sesame")
    made.users.add("alice", "secret")
    _token, text = made.users.add_token("alice")
    made.connect("at connect", user="alice", password="secret")
    made.connect("token", token=text)
    made.connect("event")
    made.login("event", "alice", "secret")
    made.connect("former")
    made.login("former", "alice", "secret")
    made.login("former", "camera", "secret")
    made.connect("lost")
    made.login("lost", "alice", "secret")
    made.login("lost", "alice", "wrong")
    made.connect("key", key="sesame")
    made.connect("other", user="camera", password="secret")
    for sid in ("at connect", "token", "event", "former", "key", "other"):
        assert made.begin(sid) == ""
    made.logins.live.look()
    assert made.sockets.disconnected == []
    made.users.revoke(text)
    made.logins.live.look()
    assert made.sockets.disconnected == ["token"]
    made.users.passwd("alice", "another")
    made.logins.live.look()
    assert sorted(made.sockets.disconnected) == ["at connect", "event", "token"]
    assert len(made.sessions.open_sessions) == 3
    assert set(made.sockets.disconnected).isdisjoint(made.streams.open_streams)
    made.logins.live.look()
    assert len(made.sockets.disconnected) == 3


def test_a_user_who_is_removed_while_the_password_is_hashed_does_not_stay(
    later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world(auth=True)
    made.connect("other", user="camera", password="secret")
    made.logins.live.look()
    check = made.users.check

    def slow(name: str, password: str) -> Any:
        found = check(name, password)
        made.users.remove(name)
        made.logins.live.look()
        return found

    monkeypatch.setattr(made.users, "check", slow)
    made.connect("c")
    assert made.login("c", "viewer", "secret") is False
    assert made.connect("d", user="admin", password="secret") == ""
    made.logins.live.look()
    assert made.sockets.disconnected == ["c", "d"]


def test_changes_have_a_rate_and_frames_have_none(later: Later) -> None:
    made = world(change_rate=3)
    made.connect("c")
    assert [made.ask("c", "configure", {"hz": 1}) for _ in range(3)] == [""] * 3
    assert "too many configure: try again in" in made.ask("c", "configure", {"hz": 1})
    assert "try again in" in made.begin("c"), "all changes count together"
    for _ in range(10):
        assert made.frame("c") == ""


def test_who_is_right_is_logged_in_before_the_time_to_log_in_counts_again(later: Later) -> None:
    made = world(auth=True)
    made.connect("at the connect", user="camera", password="secret")
    made.connect("later")
    made.login("later", "camera", "secret")
    assert made.sockets.logged_in_ids == ["at the connect", "later"]
    assert made.sockets.logged_in_late == []


def test_nothing_stays_of_clients_that_have_gone(later: Later) -> None:
    made = world(auth=True, login_attempts=0)
    for number in range(50):
        sid = f"c{number}"
        made.connect(sid, user="camera", password="secret")
        made.frame(sid)
        made.begin(sid)
        made.login(sid, "camera", "wrong")
        made.sockets.handlers["disconnect"](sid, "transport close")
        assert made.connect(sid, user="camera", password="wrong") != ""
    assert (made.clients._here, made.logins.live._groups) == ({}, {})
    assert not any(allowed for _door, allowed in made.events._allowed.values())
    assert (made.camstream._open, made.camstream._turned_away, later.timers) == ({}, {}, [])
    assert made.streams.open_streams == {}


def test_nothing_stays_of_a_client_at_whose_connect_something_failed(
    later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world(auth=True)
    monkeypatch.setattr(made.users, "check", lambda *_arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.connect("c", user="camera", password="secret")
    assert made.clients._here == {}
    assert not any(allowed for _door, allowed in made.events._allowed.values())


def test_a_client_that_goes_while_its_password_is_hashed_leaves_nothing(
    later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world(auth=True)
    check = made.users.check

    def slow(name: str, password: str) -> Any:
        made.sockets.disconnect("c")
        return check(name, password)

    made.connect("c")
    monkeypatch.setattr(made.users, "check", slow)
    assert made.login("c", "camera", "secret") is None, "nobody is there to be told"
    assert made.clients.get("c") is None
    assert (made.streams.open_streams, made.camstream._open, made.camstream._turned_away) == ({}, {}, {})
    assert made.sockets.logged_in_ids == []
