"""The one table of limits: every bound of what waits, arrives or takes time, with name, default, unit, help and label.

A limit is a field of `Limits`. Its option is the field's name (`max_connections` is `--max-connections`), and so are
the variable and the TOML key; `config/` reads the table for them. Whoever enforces a limit is given a `Limits`, takes
the value from the field, and calls `hit` when somebody runs into it: that counts in `imageserver_limits_hit_total`.
What a log line or an error says of it names the option, by `option`.

Sizes are in bytes, times in seconds. A figure of 0 means "no limit" only where its help says so.
"""

from imageserver.limits.clients import ANONYMOUS_TEXT_BYTES
from imageserver.limits.row import GIB, KIB, MIB
from imageserver.limits.table import TABLE, Limits, hit, note, on_hit, option

__all__ = ["ANONYMOUS_TEXT_BYTES", "GIB", "KIB", "MIB", "TABLE", "Limits", "hit", "note", "on_hit", "option"]
