"""The legacy TCP command protocol for chest X-rays. Thin: it lies in protocols/legacy_tcp/."""

if not __package__:  # imported as a file
    import bootstrap

    bootstrap.start()

from imageserver.limits import Limits
from imageserver.protocols.legacy_tcp.protocol import NAMESPACE, LegacyTcp

__all__ = ["NAMESPACE", "LegacyTcp", "Limits"]
