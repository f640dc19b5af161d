"""The certificate that HTTPS shows: `own.py` makes one, `pair.py` checks one with its key, `watch.py` keeps it current.

The first of these that is there when the server starts: `--cert` and `--key`; `ssl/cert.pem` and `ssl/key.pem` beside
the project; a self-made one under `<data>/tls`, with this machine's names and addresses.
"""

from imageserver.app.certificates.own import self_signed

__all__ = ["self_signed"]
