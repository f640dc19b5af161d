"""userdb: users in a file and in memory, what the command does, and what a right password may skip."""

import dataclasses
import sqlite3
import threading
from pathlib import Path

import argon2
import pytest
from tests.passwords import CHEAP

from imageserver.accounts import database
from imageserver.accounts.database import ROLES, User, UserDB, Verifier
from imageserver.accounts.store import users as users_module
from imageserver.errors import SettingError, UsersUnavailable

ROOT = Path(__file__).resolve().parents[2]


class CountingHasher(argon2.PasswordHasher):
    """Counts what it verifies, and against which parameters."""

    def __init__(self, **parameters):
        super().__init__(**parameters)
        self.verified = []

    def verify(self, hash, password):  # noqa: A002
        self.verified.append(argon2.extract_parameters(hash))
        return super().verify(hash, password)


@pytest.fixture(params=["file", "memory"])
def users(request, tmp_path):
    return UserDB(tmp_path / "state" / "users.db" if request.param == "file" else None, CHEAP)


def test_life_of_a_user(users):
    assert not users.any() and users.list() == [] and users.get("alice") is None
    alice = users.add("alice", "secret", roles=["camera", "viewer"], model="lenet", hz=5, rotate=90)
    assert alice == User("alice", frozenset({"camera", "viewer"}), "lenet", 5.0, 90)
    assert users.any() and users.list() == [alice] and users.get("alice") == alice
    assert users.check("alice", "secret") == alice
    assert users.check("alice", "Secret") is None and users.check("Alice", "secret") is None

    users.set(dataclasses.replace(alice, roles=frozenset({"admin"}), hz=None, model=None, rotate=0))
    assert users.check("alice", "secret") == User("alice", frozenset({"admin"}))
    users.passwd("alice", "other")
    assert users.check("alice", "secret") is None and users.check("alice", "other")
    users.add("bob", "x")
    assert [user.name for user in users.list()] == ["alice", "bob"]
    assert users.get("bob").roles == {"camera"}
    users.remove("alice")
    assert users.check("alice", "other") is None and [user.name for user in users.list()] == ["bob"]


def test_what_is_missing_or_there_already(users):
    users.add("alice", "secret")
    with pytest.raises(SettingError, match="^there is a user 'alice' already"):
        users.add("alice", "again")
    assert users.check("alice", "secret")
    for action in (lambda: users.remove("bob"), lambda: users.passwd("bob", "x"), lambda: users.set(User("bob"))):
        with pytest.raises(SettingError, match="^there is no user 'bob'"):
            action()


@pytest.mark.parametrize("name", ["", " a", "a ", "a:b", "a\nb", "a\0", "a\x1b[2J", "x" * 129, "\ud800"])
def test_names_that_cannot_be(users, name):
    with pytest.raises(SettingError, match="cannot be a user's name"):
        users.add(name, "secret")
    assert users.check(name, "secret") is None and users.get(name) is None


@pytest.mark.parametrize("name", ["a", "x" * 128, "josé", "名前", "anna maria", "a@b.example", "' OR 1=1 --"])
def test_names_that_can(users, name):
    users.add(name, "secret")
    assert users.check(name, "secret").name == name


@pytest.mark.parametrize(("password"), ["", "x" * 1025, "a\0b", "\ud800"])
def test_passwords_that_cannot_be(users, password):
    users.add("alice", "secret")
    with pytest.raises(SettingError, match="^a password takes 1 to 1024 bytes"):
        users.passwd("alice", password)
    assert users.check("alice", password) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"roles": ["boss", "camera"]}, "'boss' cannot be a user's roles: they are camera, viewer, admin"),
        ({"roles": []}, "'no role' cannot be a user's roles"),
        ({"model": ""}, "'' cannot be the name of a model"),
        ({"hz": -1}, "hz is -1, but it takes a number from 0"),
        ({"hz": float("nan")}, "hz is nan"),
        ({"rotate": 45}, "rotate is 45, but it takes one of 0, 90, 180, 270"),
    ],
)
def test_values_that_cannot_be(users, changes, reason):
    with pytest.raises(SettingError, match=reason):
        users.add("alice", "secret", **changes)
    assert not users.any()


def test_composed_and_decomposed_letters_are_the_same(users):
    users.add("josé", "pässword")
    assert users.check("jose\u0301", "pa\u0308ssword").name == "josé"


def test_texts_too_long_to_be_either_are_measured_before_they_are_composed(users, monkeypatch):
    """100,000 accents on one letter take half a minute to compose, and the server stands still meanwhile."""
    composed = []
    compose = users_module.unicodedata.normalize
    monkeypatch.setattr(
        users_module.unicodedata, "normalize", lambda form, text: composed.append(len(text)) or compose(form, text)
    )
    users.add("alice", "e\u0301" * 512)  # 1024 bytes
    assert users.check("alice", "é" * 512) and users.check("alice", "e\u0301" * 512)
    long = "a" + "\u0301\u0323" * 5000
    assert users.check("alice", long) is None and users.check(long, "x") is None and users.get(long) is None
    assert Verifier(users).recall("alice", long) is None and Verifier(users).check(long, long) is None
    for change in (users.passwd, users.add):
        with pytest.raises(SettingError):
            change("alice", long)
    assert max(composed) <= 1.5 * users_module.MAX_PASSWORD


def test_an_unknown_user_costs_what_a_known_one_does(tmp_path):
    hasher = CountingHasher(time_cost=2, memory_cost=64, parallelism=1)
    users = UserDB(tmp_path / "users.db", hasher)
    assert users.check("nobody", "x") is None  # before there is a file
    users.add("alice", "secret")
    for name, password in (
        ("alice", "secret"),
        ("alice", "wrong"),
        ("bob", "secret"),
        ("alice", "x" * 5000),
        ("\ud800", "\ud800"),
    ):
        users.check(name, password)
    assert len(hasher.verified) == 6
    assert len({str(parameters) for parameters in hasher.verified}) == 1


def test_the_shipped_parameters_are_argon2id_of_rfc_9106():
    parameters = argon2.extract_parameters(UserDB(None)._nobody)
    assert parameters == argon2.profiles.RFC_9106_LOW_MEMORY


def test_a_hash_of_other_parameters_is_renewed_at_login(tmp_path):
    path = tmp_path / "users.db"
    UserDB(path, CHEAP).add("alice", "secret")
    better = argon2.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    users = UserDB(path, better)
    assert users.check("alice", "wrong") is None
    assert better.check_needs_rehash(stored(path))
    assert users.check("alice", "secret")
    assert not better.check_needs_rehash(stored(path))
    assert UserDB(path, better).check("alice", "secret")


def stored(path):
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT password FROM accounts").fetchone()[0]
    connection.close()
    return found


def test_looking_makes_no_file_and_adding_a_private_one(tmp_path):
    path = tmp_path / "deep" / "users.db"
    users = UserDB(path, CHEAP)
    assert not users.any() and users.check("alice", "x") is None
    assert not path.parent.exists()
    users.add("alice", "secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"secret" not in path.read_bytes()


def test_two_see_each_others_changes(tmp_path):
    server, command = (UserDB(tmp_path / "users.db", CHEAP) for _ in range(2))
    assert not server.any()
    command.add("alice", "secret")
    assert server.check("alice", "secret")
    command.passwd("alice", "other")
    assert server.check("alice", "secret") is None and server.check("alice", "other")
    command.remove("alice")
    assert server.check("alice", "other") is None


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "users.db"
    path.write_bytes(b"not SQLite, but long enough to be taken for something" * 100)
    with pytest.raises(
        SettingError, match=r"^the user database /.*users\.db cannot be used \(file is not a database\): check"
    ):
        UserDB(path, CHEAP).check("alice", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingError, match="cannot be used"):
        UserDB(tmp_path / "folder", CHEAP).any()
    with pytest.raises(SettingError, match="cannot be used"):
        UserDB(path / "below" / "users.db", CHEAP).add("alice", "x")


@pytest.mark.parametrize("damaged", ["x", "", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$x", "\0", "x" * 100_000])
def test_a_damaged_hash_is_said_to_the_operator(tmp_path, damaged):
    path = tmp_path / "users.db"
    users = UserDB(path, CHEAP)
    users.add("alice", "secret")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE accounts SET password = ?", (damaged,))
    connection.close()
    with pytest.raises(UsersUnavailable, match=r"the password of 'alice' cannot be checked \(.*set it anew"):
        users.check("alice", "secret")


def test_without_memory_to_hash_nobody_is_refused(tmp_path):
    """What libargon2 says then is no wrong password."""

    class Poor(argon2.PasswordHasher):
        def verify(self, hash, password):  # noqa: A002
            raise argon2.exceptions.VerificationError("Memory allocation error")

    UserDB(tmp_path / "users.db", CHEAP).add("alice", "secret")
    for name in ("alice", "nobody"):
        with pytest.raises(UsersUnavailable, match=r"\(Memory allocation error\): where .* see --login-threads"):
            UserDB(tmp_path / "users.db", Poor()).check(name, "secret")


def test_many_threads(users):
    users.add("alice", "secret")
    wrong = []

    def work(number):
        for turn in range(8):
            users.add(f"user{number}-{turn}", "x")
            if users.check("alice", "secret") is None or users.check("alice", "x") is not None:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(users.list()) == 33


class TestVerifier:
    @pytest.fixture
    def parts(self, tmp_path):
        hasher = CountingHasher(time_cost=1, memory_cost=8, parallelism=1)
        users = UserDB(tmp_path / "users.db", hasher)
        users.add("alice", "secret")
        now = [0.0]
        return users, Verifier(users, seconds=60, most=3, clock=lambda: now[0]), hasher.verified, now

    def test_hashes_once_while_it_remembers(self, parts):
        _users, verifier, hashed, now = parts
        assert verifier.recall("alice", "secret") is None and not hashed
        assert verifier.check("alice", "secret").name == "alice" and len(hashed) == 1
        now[0] = 59.9
        assert (
            verifier.check("alice", "secret").name == "alice"
            and verifier.recall("alice", "secret")
            and len(hashed) == 1
        )
        now[0] = 60.0
        assert verifier.recall("alice", "secret") is None
        assert verifier.check("alice", "secret") and len(hashed) == 2
        assert verifier.recall("alice", "secret")

    def test_wrong_pairs_are_never_remembered(self, parts):
        _users, verifier, hashed, _now = parts
        verifier.check("alice", "secret")
        for _ in range(3):
            assert verifier.check("alice", "wrong") is None and verifier.check("bob", "secret") is None
        assert len(hashed) == 7

    def test_a_new_password_a_removal_and_new_roles_count_at_once(self, parts):
        users, verifier, _hashed, _now = parts
        verifier.check("alice", "secret")
        users.set(User("alice", frozenset(ROLES)))
        assert verifier.recall("alice", "secret").roles == set(ROLES)
        users.passwd("alice", "other")
        assert verifier.check("alice", "secret") is None and verifier.check("alice", "other")
        users.passwd("alice", "secret")  # the same password, another hash
        assert verifier.recall("alice", "secret") is None
        users.remove("alice")
        assert verifier.check("alice", "secret") is None

    def test_it_is_bounded_and_holds_no_password(self, parts):
        users, verifier, _hashed, _now = parts
        for number in range(6):
            users.add(f"user{number}", "hunter22")
            verifier.check(f"user{number}", "hunter22")
        assert [bool(verifier.recall(f"user{number}", "hunter22")) for number in range(6)] == [False] * 3 + [True] * 3
        assert "hunter22" not in repr(vars(verifier))


def test_the_command_and_the_server_agree_on_the_file():
    from imageserver.config import reading

    assert reading.read([], {}).users == ROOT / "data" / "users.db"
    assert database.__file__ == str(ROOT / "src/accounts/database.py")


def test_what_is_changed_is_on_the_disk_when_the_call_returns(tmp_path):
    users = UserDB(tmp_path / "users.db")
    users.add("alice", "secret")
    with users._connection() as connection:
        extra = 3  # SQLite's own number: the folder is synchronised too
        assert connection.execute("PRAGMA synchronous").fetchone() == (extra,)
