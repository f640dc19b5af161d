"""Addresses of databases: what they show, and that no password is among it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageserver.config import database, reading
from imageserver.errors import SettingError


@pytest.mark.parametrize(
    ("given", "shown", "secret"),
    [
        ("postgresql://db/users", "postgresql://db/users", False),
        (
            "postgres://anna@db:5433/u?sslmode=verify-full",
            "postgres://anna@db:5433/u?sslmode=verify-full",
            False,
        ),
        ("postgresql:///?service=users", "postgresql:///?service=users", False),
        ("postgresql://anna:hunter22@db/users", "postgresql://anna:…@db/users", True),
        ("postgresql://anna:p%40ss:hunter22@[::1]:5432/users", "postgresql://anna:…@[::1]:5432/users", True),
        ("postgresql://db/u?password=hunter22&user=anna", "postgresql://db/u?password=…&user=anna", True),
        ("postgresql://db/u?sslPassword=hunter22", "postgresql://db/u?sslPassword=…", True),
        (" postgresql://a,b/users?host=/run/x ", "postgresql://a,b/users?host=/run/x", False),
        ("postgresql://a%20b@%2Frun%2Fx,[::1]:1,c:2/u", "postgresql://a%20b@%2Frun%2Fx,[::1]:1,c:2/u", False),
    ],
)
def test_what_an_address_shows(given: str, shown: str, secret: bool) -> None:
    address = database.parsed(given)
    assert (str(address), address.has_password, address.full) == (shown, secret, given.strip())
    assert "hunter22" not in f"{address} {address!r}"


def test_a_file_is_a_file_and_an_address_an_address() -> None:
    assert reading.read(["--users", "people.db"], {}, Path("/srv")).users == Path("/srv/people.db")
    assert str(reading.read(["--users", "PostgreSQL://db/users"], {}).users) == "PostgreSQL://db/users"


def test_a_wrong_address_is_not_repeated() -> None:
    with pytest.raises(SettingError) as raised:
        reading.read(["--users", "postgresql://anna:hunter22@db/use rs"], {})
    assert "hunter22" not in str(raised.value) and "postgresql://imageserver@db.example.org/users" in str(raised.value)


@pytest.mark.parametrize(
    "password",
    ["hun%ter22", "hunter22%", "hun%00ter22", "hun@ter22", "hun/ter22", "hun?ter22", "hun#ter22", "22/?hunter#"],
)  # fmt: skip
def test_a_password_that_libpq_would_cut_is_refused_and_none_of_it_told(password: str) -> None:
    with pytest.raises(SettingError, match="write %25 for each %.*~/.pgpass") as raised:
        reading.read(["--users", f"postgresql://anna:{password}@db/users"], {})
    assert not any(piece in str(raised.value) for piece in ("hun", "ter", "22", "anna"))


@pytest.mark.parametrize("given", ["anna:hunter22", "anna:hunter22/users", "anna@db:hunter22/users", "[::1]hunter22"])
def test_a_port_is_a_number_as_libpq_would_say_what_it_is_instead(given: str) -> None:
    with pytest.raises(SettingError) as raised:
        reading.read(["--users", f"postgresql://{given}"], {})
    assert "hunter22" not in str(raised.value)


def test_what_a_library_says_of_an_address_has_no_password_in_it() -> None:
    address = database.parsed("postgresql://anna:p%40ss%20word@db/users?sslpassword=hunter22&password=abc")
    said = 'no "p%40ss%20word", "p@ss word" or "hunter22" for abc, user "anna"'
    assert address.without_secrets(said) == 'no "…", "…" or "…" for abc, user "anna"'
    assert "hunter22" not in repr(address)
    assert database.parsed("postgresql://anna@db/users").without_secrets(said) == said


def test_a_password_that_was_typed_is_warned_of_and_one_in_the_environment_is_not() -> None:
    said: list[str] = []
    address = "postgresql://anna:hunter22@db/users"
    reading.read([], {"IMAGESERVER_USERS": address}, warn=said.append)
    assert not said
    reading.read(["--users", address], {}, warn=said.append)
    assert said == [database.SEEN["users"]]


@pytest.mark.parametrize(
    ("given", "shown", "secret", "port", "files"),
    [
        ("redis://cache", "redis://cache", False, 6379, ()),
        ("redis://anna@[::1]:7000/3", "redis://anna@[::1]:7000/3", False, 7000, ()),
        ("rediss://:hunter22@cache", "rediss://:…@cache", True, 6379, ()),
        ("rediss://c?ssl_ca_certs=/etc/ca.pem", "rediss://c?ssl_ca_certs=/etc/ca.pem", False, 6379, ("/etc/ca.pem",)),
    ],
)
def test_what_the_address_of_a_redis_shows(
    given: str, shown: str, secret: bool, port: int, files: tuple[str, ...]
) -> None:
    address = database.redis(given)
    assert (str(address), address.has_password, address.port, address.files) == (shown, secret, port, files)
    assert "hunter22" not in f"{address} {address!r}" and address.full == given


@pytest.mark.parametrize(
    "given",
    [
        "cache:6379", "redis://", "redis://:hunter22@", "redis://c/x", "redis://c:port", "redis://c#1", "unix:///run/redis",
        "redis://c?decode_responses=1", "redis://c:1?hunter22@c", "redis://:hun#hunter22@c", "redis://:1/hunter22@c",
        "redis://c?ssl_ca_certs=/x", "rediss://c?ssl_cert_reqs=none", "redis://c d",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_redis(given: str) -> None:
    with pytest.raises(SettingError) as error:
        reading.read(["--redis", given], {})
    assert "hunter22" not in str(error.value)


def test_a_typed_password_of_a_redis_is_warned_of() -> None:
    typed, kept = "redis://:hunter22@c", {"IMAGESERVER_REDIS": "redis://:hunter22@c"}
    (remark,) = reading.gather(["--front-end", "a", "--redis", typed], {}).remarks
    assert "--redis-password" in remark and "hunter22" not in remark
    assert not reading.gather(["--front-end", "a"], kept).remarks
