"""Where the port listens, by settings and by old configuration files."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from imageserver.config import reading
from imageserver.config.table import Settings
from imageserver.errors import SettingError
from imageserver.protocols.legacy_tcp import port as legacy_tcp_port
from imageserver.protocols.legacy_tcp.port import Endpoint, choose, listen, read_config

KEYS = Path("keys")


def chosen(**changes: object) -> tuple[Endpoint | None, list[str]]:
    warnings: list[str] = []
    endpoint = choose(
        reading.read([f"--{name.replace('_', '-')}={value}" for name, value in changes.items()], {}), warnings.append
    )
    return endpoint, warnings


@pytest.mark.parametrize(
    ("changes", "endpoint"),
    [
        ({}, Endpoint("0.0.0.0", 50022, False)),
        ({"ip": "127.0.0.1"}, Endpoint("127.0.0.1", 50022, False)),
        ({"ip": "::1", "tcp_port": 0}, Endpoint("::1", 0, True)),
        ({"ip": "127.0.0.1", "tcp_ip": "127.0.0.2", "tcp_port": 50022}, Endpoint("127.0.0.2", 50022, True)),
        ({"tcp_port": "off"}, None),
        ({"tcp_port": "OFF", "auth": "yes"}, None),
        ({"auth": "yes", "ip": "127.0.0.1"}, Endpoint("127.0.0.1", 50022, False)),
        ({"auth": "yes", "tcp_open": "yes"}, Endpoint("0.0.0.0", 50022, False)),
        ({"auth": "yes", "tcp_authorized_keys": "keys"}, Endpoint("0.0.0.0", 50022, False)),
    ],
)
def test_endpoints(changes: dict[str, object], endpoint: Endpoint | None) -> None:
    assert chosen(**changes) == (endpoint, [])


@pytest.mark.parametrize(
    ("changes", "host"),
    [({}, "127.0.0.1"), ({"ip": "::"}, "::1"), ({"ip": "127.0.0.1", "tcp_ip": "192.0.2.1"}, "127.0.0.1")],
)
def test_with_auth_and_without_keys_it_stays_on_this_machine_and_says_so(changes: dict[str, object], host: str) -> None:
    endpoint, warnings = chosen(auth="yes", **changes)
    assert endpoint == Endpoint(host, 50022, False)
    assert len(warnings) == 1
    assert "--tcp-authorized-keys" in warnings[0]
    assert "--tcp-open" in warnings[0]


@pytest.mark.parametrize("value", ["", "none", "-1", "65536", "50022x"])
def test_a_wrong_port(value: str) -> None:
    with pytest.raises(SettingError, match="or off"):
        reading.read([f"--tcp-port={value}"], {})


def test_listening(capsys: pytest.CaptureFixture[str]) -> None:
    listener = listen(Settings(ip="127.0.0.1", tcp_port=0), print)
    assert listener is not None
    with listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(SettingError, match=f"port {port} on 127.0.0.1 is in use already"):
            listen(Settings(ip="127.0.0.1", tcp_port=port), print)
    assert capsys.readouterr().out == ""


def test_a_taken_port_that_nobody_asked_for_is_worth_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(legacy_tcp_port, "DEFAULT_PORT", port)
        assert listen(Settings(ip="127.0.0.1"), warnings.append) is None
        with pytest.raises(SettingError):
            listen(Settings(ip="127.0.0.1", tcp_port=port), print)
    assert warnings == [
        f"port {port} on 127.0.0.1 is in use, so legacy TCP commands are off; choose another with --tcp-port, or off"
    ]


def test_an_address_of_another_machine() -> None:
    with pytest.raises(SettingError, match=r"192\.0\.2\.1:0 .*--tcp-ip"):
        listen(Settings(tcp_ip="192.0.2.1", tcp_port=0), print)


# ---- old configuration files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[Server]\nserverName = 127.0.0.1\n[Port]\nport = 50022\n", ("127.0.0.1", 50022)),
        ('[Server]\r\nserverName="host.example"\r\n\r\n[Port]\r\nport: 7\r\n', ("host.example", 7)),
        ('HOST = "94.7.190.69"\nPORT = "50022"\n', ("94.7.190.69", 50022)),
        ("HOST='::1'\nPORT=0", ("::1", 0)),
        ("\ufeffhost = 10.0.0.1 # ward 3\n; a comment\n", ("10.0.0.1", None)),
        ("[Port]\nport = 81\n[Other]\nserverName = x%y", (None, 81)),
        ("[server]\nSERVERNAME = one\n[PORT]\nPort = 5\n", ("one", 5)),
        ('PORT = "9"\nPORT = "10"\n', (None, 10)),
    ],
)
def test_both_forms(tmp_path: Path, text: str, found: tuple[str | None, int | None]) -> None:
    (tmp_path / "old.ini").write_bytes(text.encode("utf-8"))
    assert read_config(tmp_path / "old.ini") == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has neither"),
        ("[Server]\nname = x\n", "has neither"),
        ("PORT = eighty", "'eighty'"),
        ("PORT = 70000", "'70000'"),
        ("PORT = \u0665", "is '\u0665'"),
        ("HOST 1.2.3.4\n", "has neither"),
        ("[Server\n]\n", "no configuration file|has neither"),
        ("HOST = 1.2.3\n", "'1.2.3'"),
        ("HOST = a..b/c\n", "a..b/c"),
        ("\xff\xfe", "has neither|no configuration file"),
        ("x = " + "y" * 70000, "larger"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "old.ini").write_text(text, "utf-8")
    with pytest.raises(SettingError, match=words) as error:
        read_config(tmp_path / "old.ini")
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="No such file"):
        read_config(tmp_path / "none")


def test_the_file_gives_what_the_options_do_not(tmp_path: Path) -> None:
    old = tmp_path / "old.ini"
    old.write_text('HOST = "127.0.0.3"\nPORT = "7"\n')
    assert chosen(tcp_config=old)[0] == Endpoint("127.0.0.3", 7, True)
    assert chosen(tcp_config=old, tcp_port=8, tcp_ip="127.0.0.4")[0] == Endpoint("127.0.0.4", 8, True)
    assert chosen(tcp_config=old, tcp_port="off")[0] is None
    old.write_text("HOST = 127.0.0.3")
    assert chosen(tcp_config=old)[0] == Endpoint("127.0.0.3", 50022, False)
    old.write_text("PORT = 9")
    assert chosen(tcp_config=old, ip="127.0.0.1")[0] == Endpoint("127.0.0.1", 9, True)
