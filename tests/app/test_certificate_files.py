"""Files for --cert and --key that are none: the operator reads which one and what to do, no words of OpenSSL's code."""

import pytest

from imageserver.app import certificates
from imageserver.app.certificates.pair import Place, load
from imageserver.errors import SettingError


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("cert.pem", None, r"cert\.pem cannot be used: there is no certificate, or no key; name its key with --key"),
        ("text.pem", None, r"text\.pem cannot be used: there is no certificate, or no key; name its key with --key"),
        (
            "text.pem",
            "key.pem",
            r"text\.pem and \S+key\.pem cannot be used: there is no certificate, or no key; they must be",
        ),
        ("folder", "key.pem", r"folder and \S+key\.pem cannot be used: it is no regular file; they must be"),
    ],
)
def test_files_that_are_no_certificate_and_key(tmp_path, cert, key, words):
    certificates.self_signed(tmp_path, lambda _: None, ["localhost"])
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingError, match=words):
        load(Place(tmp_path / cert, tmp_path / key if key else None))
