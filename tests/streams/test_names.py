"""Names of cameras: each once, the lowest number that is free, and a camera that comes back has its own."""

from __future__ import annotations

import pytest

from imageserver.streams import names
from imageserver.streams.names import LONGEST, CameraName, Names, NameState, numbered


class World:
    """A registry, and cameras that connect, send and go; each connection is a stream with its own id."""

    def __init__(self, *reserved: str) -> None:
        self.now = 0.0
        self.names = Names(reserved.__contains__, lambda: self.now)

    def comes(self, connection: str, said: str = "door", user: str = "alice", address: str = "10.0.0.1") -> CameraName:
        return self.names.take(connection, said, user=user, address=address, connection=connection)

    def sends(self, name: CameraName) -> None:
        """As a stream does with each frame."""
        self.now += 1
        name.heard = self.now
        if name.state is NameState.LOST:
            self.names.sends(name)

    def strangers(self, *connections: str, said: str = "door") -> list[CameraName]:
        """Cameras of one name that have nothing else in common."""
        return [self.comes(each, said, user=f"user of {each}") for each in connections]


def test_the_second_of_a_name_gets_the_lowest_number_that_is_free() -> None:
    world = World()
    first, second, third, fourth = world.strangers("1", "2", "3", "4")
    assert [name.text for name in (first, second, third, fourth)] == ["door", "door (2)", "door (3)", "door (4)"]
    assert {name.base for name in (first, second, third, fourth)} == {"door"}
    for ended in ("3", "2"):
        world.names.release(ended)
    assert [name.text for name in world.strangers("5", "6", "7")] == ["door (2)", "door (3)", "door (5)"]
    world.names.release("1")
    assert world.strangers("8")[0].text == "door"
    assert (first.text, first.state) == ("door", NameState.ENDED)


@pytest.mark.parametrize("other", [{"user": "bob"}, {"address": "10.0.0.2"}, {"user": "c2"}])
def test_another_user_or_another_address_takes_no_name_over(other: dict[str, str]) -> None:
    world = World()
    name = world.comes("c1")
    assert world.comes("c2", **other).text == "door (2)"  # type: ignore[arg-type]
    assert (name.text, name.state) == ("door", NameState.HELD)


@pytest.mark.parametrize("known", [True, False])
def test_a_camera_that_connects_again_has_its_name_at_once_and_the_former_connection_a_number_when_it_sends(
    known: bool,
) -> None:
    world = World()
    former = world.comes("c1", user="alice" if known else "c1")
    newcomer = world.comes("c2", user="alice" if known else "c2")
    assert (newcomer.text, newcomer.state, former.state) == ("door", NameState.HELD, NameState.LOST)
    assert former.text == "door", "its last answers are still those of this camera"
    assert world.names.find("door") == ["c2"]
    world.sends(newcomer)
    world.sends(former)
    assert (former.text, newcomer.text) == ("door (2)", "door")
    assert (world.names.find("door"), world.names.find("door (2)")) == (["c2"], ["c1"])


def test_a_former_connection_that_ends_in_silence_leaves_the_name_where_it_is() -> None:
    world = World()
    world.comes("c1")
    newcomer = world.comes("c2")
    world.names.release("c1")
    assert (newcomer.text, newcomer.state, world.names.find("door")) == ("door", NameState.HELD, ["c2"])
    former, third = newcomer, world.comes("c3")
    world.names.release("c3")
    world.sends(former)
    assert (former.text, third.state) == ("door", NameState.ENDED), "it is free again"


def test_of_two_cameras_of_one_name_and_address_the_silent_one_has_lost_its_connection() -> None:
    world = World()
    first, second = world.comes("c1"), world.comes("c2")
    world.sends(first)
    for _ in range(3):
        world.sends(second)
    assert (first.text, second.text) == ("door (2)", "door")
    again = world.comes("c3")
    assert (again.text, first.state, second.text) == ("door (2)", NameState.LOST, "door")
    world.names.release("c1")
    world.sends(again)
    assert (again.text, second.text, second.state) == ("door (2)", "door", NameState.HELD)


def test_the_stream_and_the_sessions_of_a_connection_share_a_name_until_the_last_of_them_ends() -> None:
    world = World()
    name = world.comes("c1", user="c1")
    session = world.names.take("session-1", "door", user="alice", address="10.0.0.1", connection="c1")
    assert session is name
    assert world.names.find("door") == ["c1", "session-1"]
    world.names.release("c1")
    assert (name.state, world.names.find("door")) == (NameState.HELD, ["session-1"])
    assert world.comes("c2").text == "door", "who is there has been known since the session"
    assert name.state is NameState.LOST
    assert world.comes("c1") is name, "the connection is alive after all"
    assert name.text == "door (2)"
    world.names.release("c1")
    world.names.release("session-1")
    world.names.release("session-1")
    assert world.names.find("door (2)") == []


def test_a_name_that_somebody_says_with_a_number_counts_as_that_number() -> None:
    world = World()
    (said,) = world.strangers("0", said="door (2)")
    assert said.base == said.text == "door (2)"
    assert [name.text for name in world.strangers("1", "2")] == ["door", "door (3)"]
    world.names.release("0")
    assert world.strangers("3")[0].text == "door (2)"
    assert world.strangers("4", said="door (2)")[0].text == "door (2) (2)"


def test_who_has_no_name_is_found_under_its_user_and_no_camera_is_called_as_an_id_or_a_route() -> None:
    world = World("events")
    unnamed, other = world.comes("c1", ""), world.comes("c2", "")
    assert (unnamed.text, unnamed.base, other.text) == ("", "", "")
    assert world.names.find("alice") == ["c1", "c2"]
    assert [name.text for name in world.strangers("3", said="alice")] == ["alice"], "it is not told of users"
    assert world.names.find("alice") == ["3", "c1", "c2"]
    assert [name.text for name in world.strangers("4", said="c1")] == ["c1 (2)"]
    assert [name.text for name in world.strangers("5", said="events")] == ["events (2)"]
    world.names.release("c1")
    assert world.names.find("alice") == ["3", "c2"]


def test_a_camera_is_called_otherwise_unless_another_one_is_called_so() -> None:
    world = World("events")
    name, other, unnamed = world.comes("c1"), world.comes("c2", "yard"), world.comes("c3", "")
    assert not world.names.rename(name, "yard")
    assert not world.names.rename(name, "events")
    assert (name.text, name.base) == ("door", "door")
    assert world.names.rename(name, "garden")
    assert (name.text, name.base, name.said) == ("garden", "garden", "door")
    assert (world.names.find("garden"), world.names.find("door")) == (["c1"], [])
    assert world.comes("c4").text == "door", "the name that it said is free"
    assert world.names.rename(unnamed, "gate")
    assert world.names.find("alice") == []
    assert world.names.rename(other, "yard")
    for holder in ("c1", "c2", "c3", "c4"):
        world.names.release(holder)
    assert not any(vars(world.names)[table] for table in ("_held", "_by_holder", "_by_connection", "_same", "_users"))


def test_a_camera_that_lost_its_name_can_be_called_otherwise() -> None:
    world = World()
    former, newcomer = world.comes("c1"), world.comes("c2")
    assert world.names.rename(former, "yard")
    world.sends(former)
    assert (former.text, newcomer.text) == ("yard", "door")


@pytest.mark.parametrize(
    ("base", "number", "text"),
    [
        ("door", 2, "door (2)"),
        ("x" * 60, 2, "x" * 60 + " (2)"),
        ("x" * 61, 2, "x" * 60 + " (2)"),
        ("x" * 64, 123, "x" * 58 + " (123)"),
        ("x" * 59 + " yard", 2, "x" * 59 + " (2)"),
        ("x" * 59 + "e\u0323\u0302" + "y", 2, "x" * 59 + " (2)"),
        ("x" * 58 + "👩\u200d🔬xx", 2, "x" * 58 + " (2)"),
        ("x" * 59 + "👋🏽xx", 2, "x" * 59 + " (2)"),
        ("x" * 59 + "🇨🇭xx", 2, "x" * 59 + " (2)"),
        ("🇨🇭" * 32, 2, "🇨🇭" * 30 + " (2)"),
        ("x" + "🇨🇭" * 31, 2, "x" + "🇨🇭" * 29 + " (2)"),
        ("x" * 58 + "क्षxx", 2, "x" * 58 + " (2)"),
        ("x" * 59 + "\u1100\u1161\u11a8x", 2, "x" * 59 + " (2)"),
        ("e" + "\u0323" * 63, 2, "e" + "\u0323" * 59 + " (2)"),
    ],
)
def test_a_long_name_is_cut_between_what_people_see_as_characters(base: str, number: int, text: str) -> None:
    assert numbered(base, number) == text
    assert len(text) <= LONGEST


def test_long_names_that_are_cut_alike_stay_apart() -> None:
    world = World()
    bases = ["x" * 62 + end for end in "ab"]
    texts = [name.text for base in bases for name in world.strangers(base + "1", base + "2", said=base)]
    assert texts == [bases[0], "x" * 60 + " (2)", bases[1], "x" * 60 + " (3)"]


@pytest.mark.parametrize("said", ["door", "x" * 62])
def test_a_name_takes_few_steps_however_many_cameras_there_are_and_whatever_they_say(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them say the very names that the other half would get."""
    tried: list[int] = []

    def counting(base: str, number: int) -> str:
        tried.append(number)
        return numbered(base, number)

    monkeypatch.setattr(names, "numbered", counting)
    world, cut, most = World(), numbered(said, 2)[:-4], 0
    holders = [f"say {number}" for number in range(2, 3000)]
    for holder in holders:
        world.comes(holder, f"{cut[: LONGEST - 7]} ({holder[4:]})", user=holder)
    assert not tried
    for number in range(40):
        for holder in (f"first {number}", f"second {number}"):
            tried.clear()
            world.strangers(holder, said=said)
            most = max(most, len(tried))
        world.names.release(f"first {number}")
        world.names.release(f"second {number}")
    assert 1 <= most < 600
    for holder in holders:
        world.names.release(holder)
    assert not world.names._series
