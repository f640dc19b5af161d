"""The settings table: every source, their precedence, and the sentence for every mistake."""

import dataclasses
import ipaddress
import os
import re
import socket
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest

from imageserver import folders
from imageserver.config import addresses, kinds, reading, shown, table, words
from imageserver.config.kinds import STANDARD_OUTPUT, Credential
from imageserver.config.table import Settings
from imageserver.errors import PrintAsked, SettingError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def read(tmp_path):
    """settings.read with words, in an empty current folder and project."""
    for name in ("here", "project"):
        (tmp_path / name).mkdir()

    warnings = []

    def call(*arguments, **environment):
        return reading.read(arguments, environment, tmp_path / "here", tmp_path / "project", warnings.append)

    call.here, call.project, call.warnings = tmp_path / "here", tmp_path / "project", warnings
    return call


def test_defaults(read):
    found = read()
    assert (found.ip, found.port, found.auth, found.display) == ("0.0.0.0", 8080, False, False)
    assert (found.model, found.preload, found.hz, found.user, found.results) == ("faces", (), 0.0, (), None)
    assert found.users == found.data / "users.db"
    assert found.data.is_absolute() and found.models == ROOT / "models"
    assert found.workers == min(4, os.cpu_count())
    assert found.max_frame_bytes == found.max_message_bytes == 16 * 2**20
    assert found == Settings()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-a", {"auth": True}),
        ("-auth", {"auth": True}),
        ("--auth", {"auth": True}),
        ("--auth --no-auth", {"auth": False}),
        ("--auth=off", {"auth": False}),
        ("-ad", {"auth": True, "display": True}),
        ("-i 127.0.0.1 -p 9000 -a -d", {"ip": "127.0.0.1", "port": 9000, "auth": True, "display": True}),
        ("-p9000", {"port": 9000}),
        ("--port=9000", {"port": 9000}),
        ("-p 1 -p 2 --port 3", {"port": 3}),
        ("127.0.0.1:9000", {"ip": "127.0.0.1", "port": 9000}),
        ("[::1]:9000", {"ip": "::1", "port": 9000}),
        ("::1", {"ip": "::1"}),
        ("localhost", {"ip": "localhost"}),
        (":0", {"port": 0}),
        ("9000", {"port": 9000}),
        ("127.0.0.1:9000 -p 1", {"ip": "127.0.0.1", "port": 1}),
        ("-p 1 127.0.0.1:9000", {"ip": "127.0.0.1", "port": 9000}),
        ("--preload a,b --preload c,d", {"preload": ("c", "d")}),
        ("--hz 2.5", {"hz": 2.5}),
        ("--results -", {"results": STANDARD_OUTPUT}),
        ("--log-level DEBUG", {"log_level": "debug"}),
        ("--workers 3", {"workers": 3}),
        ("--user a:b --user c:d:e", {"user": (Credential("a", "b"), Credential("c", "d:e"))}),
        ("--cors-origin https://A.example --cors-origin *", {"cors_origin": ("https://a.example", "*")}),
        ("--cors-origin null", {"cors_origin": ("null",)}),
        (
            "--server-name Cams.Example.org. --server-name *.example.net,bücher.example",
            {"server_name": ("cams.example.org", "*.example.net", "xn--bcher-kva.example")},
        ),
        (
            "--trusted-proxy 10.0.0.0/8,::1 --trusted-proxy 127.0.0.1",
            {"trusted_proxy": tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "::1", "127.0.0.1")))},
        ),
    ],
)
def test_command_line(read, words, expected):
    assert read(*words.split()) == dataclasses.replace(Settings(), **expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1000000", 1_000_000), ("512K", 2**19), ("16M", 2**24), ("1.5 MiB", 3 * 2**19), ("4mb", 2**22), ("1024b", 1024)],
)
def test_sizes(read, text, value):
    assert read("--max-frame-bytes", text).max_frame_bytes == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("2.5", 2.5), ("250ms", 0.25), ("10s", 10), ("2min", 120), ("1h", 3600), ("2m", 120), (".5", 0.5)],
)
def test_times(read, text, value):
    assert read("--header-time", text).header_time == value


def test_showing():
    assert [kinds.show_size(value) for value in (0, 1000, 1024, 2**24, 2**30)] == ["0", "1000", "1K", "16M", "1G"]
    assert [kinds.show_seconds(value) for value in (0.25, 10.0, 1.5)] == ["250ms", "10s", "1.5s"]


def test_precedence_and_paths(read, tmp_path):
    (tmp_path / "etc").mkdir()
    config = tmp_path / "etc" / "server.toml"
    config.write_text(
        'port = 1\nhz = 1\nmodel = "toml"\nlog-level = "error"\nauth = true\ndata = "state"\n'
        'max_pixels = 7\npreload = ["a", "b"]\n'
        'cors-origin = ["https://a.example", "https://b.example"]\n'
    )
    (read.project / ".env").write_text(
        "IMAGESERVER_PORT=2\nIMAGESERVER_HZ=2\nIMAGESERVER_LOG_LEVEL=warning\nOTHER=`x\n"
    )
    (read.here / ".env").write_text(
        '# ours\n\nexport IMAGESERVER_LOG_LEVEL = "debug"  # loud\n'
        "IMAGESERVER_RESULTS='out file.jsonl'\nIMAGESERVER_USER=\"a:b\\nc:d e\"\n"
    )
    found = read(
        "-p", "4", "--config", str(config), IMAGESERVER_PORT="3", IMAGESERVER_HZ="3", IMAGESERVER_MODEL="", PATH="/bin"
    )
    assert (found.port, found.hz, found.log_level, found.model) == (4, 3.0, "debug", "toml")
    assert found.auth and found.max_pixels == 7 and found.preload == ("a", "b")
    assert found.cors_origin == ("https://a.example", "https://b.example")
    assert found.data == tmp_path / "etc" / "state" and found.users == found.data / "users.db"
    assert found.results == read.here / "out file.jsonl"
    assert found.user == (Credential("a", "b"), Credential("c", "d e"))
    assert read("--data", "x").data == read.here / "x"


def test_a_stronger_place_replaces_what_adds_up(read):
    found = read("--user", "a:1", "--user", "b:2", IMAGESERVER_USER="c:3\nd:4")
    assert [user.name for user in found.user] == ["a", "b"]
    assert [user.name for user in read(IMAGESERVER_USER="c:3\nd:4").user] == ["c", "d"]


def test_config_may_be_named_anywhere_but_in_itself(read):
    (read.here / "a.toml").write_text("port = 5\n")
    assert read(IMAGESERVER_CONFIG="a.toml").port == 5
    (read.here / ".env").write_text("IMAGESERVER_CONFIG=a.toml")
    assert read().port == 5
    (read.here / "a.toml").write_text('config = "b.toml"\n')
    with pytest.raises(SettingError, match="The key config of .*a.toml is no setting"):
        read()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--bogus 1", "There is no option --bogus (--help-all lists them all)."),
        ("--prot 1", "There is no option --prot; did you mean --port? (--help-all lists them all)."),
        ("--prot=1", "There is no option --prot; did you mean --port? (--help-all lists them all)."),
        ("-authh", "There is no option -authh; did you mean --auth? (--help-all lists them all)."),
        ("-x", "There is no option -x (--help-all lists them all)."),
        ("-p", "-p needs a value: a whole number from 0 to 65,535."),
        ("-p -a", "-p needs a value: a whole number from 0 to 65,535."),
        ("-p 99999", "-p is '99999', but it takes a whole number from 0 to 65,535."),
        ("-p -1", "-p is '-1', but it takes a whole number from 0 to 65,535."),
        ("--port=http", "--port is 'http', but it takes a whole number from 0 to 65,535."),
        ("host:http", "address:port 'host:http': the port is 'http', but it takes a whole number from 0 to 65,535."),
        ("host:", "'host:' is not of the form address:port: write 0.0.0.0:8080 or [::1]:8080, say."),
        ("a.b c.d", "'c.d' is one word too many: beside the options only one address:port is taken (see -h)."),
        (
            "chekc",
            "There is no command 'chekc'; did you mean check?; where an address is meant, write -i chekc.",
        ),
        ("-a check", "'check' is a command, and stands before all options: check …"),
        ("-a model add", "'model' is a command, and stands before all options: model add …"),
        ("-i 1.2.3", "-i is '1.2.3', but it takes an IP address, a host name, or localaddr."),
        ("-i 300.1.1.1", "-i is '300.1.1.1', but it takes an IP address, a host name, or localaddr."),
        ("-i http://x", "-i is 'http://x', but it takes an IP address, a host name, or localaddr."),
        ("--hz nan", "--hz is 'nan', but it takes a number from 0 to 1000."),
        ("--hz -5", "--hz is '-5', but it takes a number from 0 to 1000."),
        ("--workers 1.5", "--workers is '1.5', but it takes a whole number from 0 to 256."),
        ("--auth=perhaps", "--auth is 'perhaps', but it takes yes or no."),
        ("--log-level loud", "--log-level is 'loud', but it takes one of debug, info, warning, error."),
        (
            "--max-frame-bytes 1T",
            "--max-frame-bytes is '1T', but it takes a size from 1K to 32M, such as 1500000, 512K or 16M.",
        ),
        (
            "--max-frame-bytes 33M",
            "--max-frame-bytes is '33M', but it takes a size from 1K to 32M, such as 1500000, 512K or 16M.",
        ),
        ("--header-time 3d", "--header-time is '3d', but it takes a time from 50ms to 1h, such as 10, 10s or 250ms."),
        ("--header-time 0", "--header-time is '0', but it takes a time from 50ms to 1h, such as 10, 10s or 250ms."),
        ("--user secret", "--user is not as it should be, but it takes a name, a colon and a password."),
        ("--user :secret", "--user is not as it should be, but it takes a name, a colon and a password."),
        (
            "--trusted-proxy 10.0.0.1/8",
            "--trusted-proxy is '10.0.0.1/8', but it takes IP addresses or networks such as 10.0.0.0/8, "
            "with commas between.",
        ),
        (
            "--cors-origin example.org",
            "--cors-origin is 'example.org', but it takes an origin as browsers write it, "
            "such as https://example.org:8443 (no path), or * for all.",
        ),
        *(
            (
                f"--server-name {name}",
                f"--server-name is {name!r}, but it takes a DNS name without scheme and port, such as "
                "cameras.example.org or *.example.org.",
            )
            for name in ("https://cams.example.org", "cams.example.org:8080", "*", "a..b", "a.*.b", "x" * 64, "[::1]")
        ),
        ("--front-end A", "--front-end is 'A', but it takes a word of 1 to 16 small letters and digits."),
        ("--preload ,", "--preload is ',', but it takes names of models with commas between."),
    ],
)
def test_mistakes_on_the_command_line(read, words, sentence):
    with pytest.raises(SettingError) as caught:
        read(*words.split())
    assert str(caught.value) == sentence


def test_mistakes_in_the_environment(read):
    with pytest.raises(SettingError, match="^IMAGESERVER_PORT is 'x', but it takes a whole number from 0 to 65,535.$"):
        read(IMAGESERVER_PORT="x")
    with pytest.raises(
        SettingError, match=r"^There is no setting for the variable IMAGESERVER_PRT; did you mean IMAGESERVER_PORT\?;"
    ):
        read(IMAGESERVER_PRT="1")
    (read.here / ".env").write_text("IMAGESERVER_HZ=fast\n")
    with pytest.raises(
        SettingError, match=r"^IMAGESERVER_HZ in /.*/here/\.env is 'fast', but it takes a number from 0 to 1000\.$"
    ):
        read()
    (read.here / ".env").write_text("\nIMAGESERVER_HZ\n")
    with pytest.raises(
        SettingError, match=r'^Line 2 of /.*/here/\.env is not of the form NAME=value or NAME="value"; correct it\.$'
    ):
        read()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port = 'x'", "port in FILE is 'x', but it takes a whole number from 0 to 65,535."),
        ("port = true", "port in FILE is 'yes', but it takes a whole number from 0 to 65,535."),
        (
            "port = 1979-05-27",
            "port in FILE is datetime.date(1979, 5, 27), but it takes a whole number from 0 to 65,535.",
        ),
        ("prot = 1", "The key prot of FILE is no setting; did you mean port?; correct or remove it."),
        ("[server]\nport = 1", "The table [server] of FILE is no setting; correct or remove it."),
        ("port = ", "FILE cannot be read: Invalid value (at end of document)."),
        (
            "port = " + "9" * 5000,
            "FILE cannot be read: Exceeds the limit (4300 digits) for integer string conversion: value has "
            "5000 digits; use sys.set_int_max_str_digits() to increase the limit.",
        ),
        (
            'max-frame-bytes = "' + "9" * 400 + '"',
            "max-frame-bytes in FILE is '"
            + "9" * 400
            + "', but it takes a size from 1K to 32M, such as 1500000, 512K or 16M.",
        ),
        (
            'cert = "~nobody-of-this-name/a"',
            "cert in FILE is '~nobody-of-this-name/a': it begins with the home folder of somebody whom this machine "
            "does not know.",
        ),
        (
            "port = " + "[" * 5000,
            "FILE cannot be read: it is nested too deeply.",
        ),
    ],
)
def test_mistakes_in_toml(read, text, sentence):
    (read.here / "a.toml").write_text(text)
    with pytest.raises(SettingError) as caught:
        read("--config", "a.toml")
    assert str(caught.value) == sentence.replace("FILE", str(read.here / "a.toml"))


def test_every_fault_is_told_at_once(read):
    (read.here / "a.toml").write_text('prot = 1\nhz = "fast"\nworkers = -1\nauth = true\n')
    (read.here / ".env").write_text("IMAGESERVER_PRT=1\nIMAGESERVER_CONFIG=a.toml\nIMAGESERVER_HZ\n")
    with pytest.raises(SettingError) as caught:
        read("--log-level", "loud", IMAGESERVER_PORT="x")
    said = str(caught.value).splitlines()
    names = ("line 3", "imageserver_prt", "key prot", "hz in", "workers in", "imageserver_port", "--log-level")
    assert len(said) == len(names), said
    assert all(any(name in sentence.lower() for sentence in said) for name in names), said


def test_lines_of_an_env_file_that_are_no_setting_are_told(read):
    (read.here / ".env").write_text("# PORT=1\nPORT=9000\nOTHER=`x\nIMAGESERVER_HZ=2\n")
    assert (read().port, read().hz) == (8080, 2.0)
    assert read.warnings[0] == (
        f"{read.here / '.env'}: PORT, OTHER is no setting of the server, whose variables begin with IMAGESERVER_; "
        "did you mean IMAGESERVER_PORT?"
    )


def test_version(read):
    with pytest.raises(PrintAsked) as caught:
        read("--version", "--nonsense")
    assert re.fullmatch(r"ImageServer \d+\.\d+\.\d+\n", str(caught.value))


def test_no_config_file(read):
    with pytest.raises(SettingError, match=r"^There is no file /.*/here/none\.toml, which --config names\.$"):
        read("--config", "none.toml")


def test_passwords_do_not_show(read):
    assert "secret" not in repr(read("--user", "a:secret")) + repr(read("--user", "a:secret").user)


def test_localaddr(read, monkeypatch):
    monkeypatch.setattr(addresses, "lan_address", lambda: "192.168.7.7")
    assert read("-i", "localaddr").ip == "192.168.7.7"
    assert read("localaddr:0") == dataclasses.replace(Settings(), ip="192.168.7.7", port=0)
    monkeypatch.setattr(addresses, "lan_address", lambda: None)
    with pytest.raises(
        SettingError, match=r"^-i is 'localaddr': this machine has no LAN address at present; connect it"
    ):
        read("-i", "localaddr")


def test_addresses():
    found = addresses.lan_address()
    assert found is None or not ipaddress.ip_address(found).is_loopback
    hosts = ("127.0.0.1", "127.8.8.8", "::1", "localhost", "0.0.0.0", "10.0.0.1", "myhost")
    assert [addresses.is_loopback(host) for host in hosts] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip
    assert addresses.for_url("::1") == "[::1]" and addresses.for_url("10.0.0.1") == "10.0.0.1"


def test_the_full_name_of_a_machine_whose_name_no_resolver_takes(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "x" * 64)
    assert addresses.full_name() == ""
    monkeypatch.undo()
    assert addresses.full_name()


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_what_people_use(read, word):
    with pytest.raises(PrintAsked) as caught:
        read("-a", word, "--nonsense")
    lines = str(caught.value).splitlines()
    assert len(lines) <= 30 and max(map(len, lines)) <= 100, "\n".join(lines)
    examples = lines[lines.index("examples:") + 1 :][:3]
    assert all(folders.COMMAND in example for example in examples)
    for command in words.COMMANDS:
        assert any(command.words[-1] in line for line in lines), command


def test_help_all_has_everything(read):
    with pytest.raises(PrintAsked) as caught:
        read("-a", "--help-all", "--nonsense")
    text = str(caught.value)
    assert max(map(len, text.splitlines())) <= 140
    for row in table.TABLE:
        for flag in row.flags:
            assert re.search(rf"(?m)^ +(-\S+, )*{re.escape(flag)}\b", text), flag
    groups = [line for line in text.splitlines() if line and line[0].isupper() and not line.endswith(".")]
    assert groups[:2] == ["Commands", "Where it listens"]


def test_help_on_a_terminal_exits_with_0():
    program = [
        sys.executable,
        "-c",
        "import bootstrap; bootstrap.provide_package()\n"
        "from imageserver.config import reading; reading.load(['-h'], print)",
    ]
    done = subprocess.run(program, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python3 src/ImageServer.py [options] [address:port]\n")


def test_the_table_is_sound():
    """Types, defaults, options and kinds agree; every default survives being shown and read again."""
    hints = typing.get_type_hints(Settings)
    flags = [flag for row in table.TABLE for flag in row.flags]
    assert len(flags) == len(set(flags))
    for row in table.TABLE:
        assert row.flags[-1] == "--" + row.name.replace("_", "-")
        assert row.variable == "IMAGESERVER_" + row.name.upper()
        assert row.help and row.help[-1] not in ".;" and len(row.help) < 140, row.name
        hint = hints[row.name]
        either = isinstance(hint, types.UnionType)
        allowed = typing.get_args(hint) if either else (typing.get_origin(hint) or hint,)
        assert isinstance(row.default, allowed), row.name
        assert (typing.get_origin(hint) is tuple) or not row.kind.many, row.name
        if not row.shown and row.default not in (None, ()):
            assert row.kind.parse(row.default_shown, Path("/")) == row.default, row.name


def test_every_setting_does_something():
    """Its value is read somewhere in the server; those two are read where they are defined."""
    text = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    unused = [row.name for row in table.TABLE if not re.search(rf"(settings|limits)\.{row.name}\b", text)]
    assert set(unused) <= {"config", "data"}


def test_the_reference_is_up_to_date():
    """`make docs` writes it."""
    assert (ROOT / "docs/settings.md").read_text() == shown.markdown(table.TABLE, "Settings", table.REFERENCE)
