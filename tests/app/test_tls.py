"""Which certificate HTTPS shows: settings, and what is on the disk."""

from imageserver.app import certificates, tls
from imageserver.app.certificates.pair import Place, load
from imageserver.config.table import Settings

NAMES = ["localhost", "camera-server", "127.0.0.1", "::1", "192.0.2.7"]


def test_the_names_of_the_certificate_become_known(tmp_path):
    known = []
    cert, key = certificates.self_signed(tmp_path, lambda _: None, ["cams.example.org", "*.example.net", "10.0.0.1"])
    settings = Settings(data=tmp_path, tls=True, cert=cert, key=key)
    tls.certificate(settings, log=lambda _: None, warn=lambda _: None, know=known.append)
    assert known == ["cams.example.org", "*.example.net"]


def test_the_operators_certificate_comes_first_then_that_beside_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr(tls.folders, "PROJECT", tmp_path)
    beside = tmp_path / "ssl"
    certificates.self_signed(beside, lambda _: None, NAMES)
    cert, key = certificates.self_signed(tmp_path / "own", lambda _: None, NAMES)
    said = []
    options = {"log": said.append, "warn": said.append}
    tls.certificate(Settings(data=tmp_path / "data", https_port=0), **options)
    assert str(beside / "cert.pem") in said[0]
    tls.certificate(Settings(data=tmp_path / "data", https_port=0, cert=cert, key=key), **options)
    assert str(cert) in said[1]
    assert load(Place(cert, key)).fingerprint in said[1]
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    tls.certificate(Settings(data=tmp_path / "data", https_port=0, cert=both), **options)
    assert not (tmp_path / "data").exists()
    assert len(said[2].partition("SHA-256 ")[2].split(", ")[0].split(":")) == 32


def test_https_is_spoken_where_it_is_asked_for(tmp_path):
    said = []
    options = {"log": said.append, "warn": said.append}
    assert tls.certificate(Settings(data=tmp_path), **options) is None
    assert tls.certificate(Settings(data=tmp_path, https_port=0), **options) is not None
    assert not any("Android" in line for line in said)
    tls.certificate(Settings(data=tmp_path, tls=True), **options)
    assert "Android apps in the field need plain http; --https-port" in "".join(said)
