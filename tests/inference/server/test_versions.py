"""The versions of a trained model follow each other by name, whatever becomes of the clock."""

from __future__ import annotations

from imageserver.inference.server.training import versions

NOW = 1_800_000_000.0


def test_a_version_follows_those_that_are_there_when_the_clock_was_set_back(tmp_path):
    link = tmp_path / "lenet"
    made = [versions.make(link, NOW + seconds) for seconds in (0, 3600, 0, 0, 7200)]
    assert [path.parent.name for path in made] == sorted({path.parent.name for path in made})
    for path in made:
        path.mkdir()
    versions.serve(link, made[3])
    versions.prune(link)
    assert sorted(made[3].parent.parent.iterdir()) == [made[3].parent, made[4].parent], "the newest other one stays"
    assert link.resolve() == made[3]
