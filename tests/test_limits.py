"""The table of limits: each is a setting, and counts under its own label."""

import pytest

from imageserver import limits, metrics
from imageserver.config import table


def test_each_limit_is_a_setting_with_the_same_default():
    rows = {row.name: row for row in table.TABLE}
    for name, limit in limits.TABLE.items():
        assert rows[name].flags == (limits.option(name),)
        assert rows[name].default == getattr(limits.Limits(), name)
        assert limit.low <= rows[name].default <= limit.high


def test_labels_are_different():
    labels = [limit.label or limits.option(name) for name, limit in limits.TABLE.items()]
    assert len(labels) == len(set(labels))


def test_a_hit_is_counted_under_its_label():
    counter = metrics.LIMITS_HIT.child("connections")
    before = counter.value
    limits.hit("max_connections")
    assert counter.value == before + 1
    with pytest.raises(KeyError):
        limits.hit("no_such_limit")
