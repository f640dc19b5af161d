"""Schemathesis asks each path with methods that it does not have, bodies included; a GET with a body is no request."""

import schemathesis
from schemathesis.core import NOT_SET


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.method in ("GET", "HEAD"):
        case.body, case.media_type = NOT_SET, None
