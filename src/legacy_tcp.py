"""The legacy TCP command protocol for chest X-rays. Thin: it lies in protocols/legacy_tcp/."""

if not __package__:  # another program imports it from here
    import bootstrap

    bootstrap.provide_package(keep_path=True)

from imageserver.limits import Limits
from imageserver.protocols.legacy_tcp.intake import ProtocolTimes
from imageserver.protocols.legacy_tcp.protocol import NAMESPACE, LegacyTcp

__all__ = ["NAMESPACE", "LegacyTcp", "Limits", "ProtocolTimes"]
