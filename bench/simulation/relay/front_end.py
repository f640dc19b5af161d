"""A simulated front end: what src/peers/ says and when, what it does with what comes, and where that is too much.

Times, sizes and bounds are those of src/peers/ itself. Two threads work: the process beside the front end, which talks
to Redis, and the front end's loop. What they are to say goes before what they have heard, since the loop takes that in
small pieces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from bench.simulation.events import Events
from bench.simulation.parts import MessageTimes, RelayTimes
from bench.simulation.relay.broker import Message, Redis
from bench.simulation.relay.threads import Steps, Task, Thread

from imageserver.limits import Limits
from imageserver.peers import front_ends, telling
from imageserver.peers.messages import MOST_ROWS
from imageserver.peers.redis import connection, inbox
from imageserver.peers.redis.allowance import Allowance


def times_of_rows(times: RelayTimes, rows: int) -> MessageTimes:
    """Of fewer rows than `MOST_ROWS`: straight between a word of life and those."""
    share = rows / MOST_ROWS
    names = MessageTimes.__annotations__
    each = {name: (getattr(times.word, name), getattr(times.rows, name)) for name in names}
    return MessageTimes(**{name: none + (full - none) * share for name, (none, full) in each.items()})


def pieces_of(cameras: int) -> list[int]:
    """How many rows the messages of a whole list have; one of no rows where there are no cameras."""
    return [min(MOST_ROWS, cameras - start) for start in range(0, cameras, MOST_ROWS)] or [0]


@dataclass(frozen=True)
class Shared:
    """What the front ends of a world have in common. `whole`: told when one knows all rows of others, or no longer."""

    events: Events
    redis: Redis
    times: RelayTimes
    limits: Limits
    random: Random
    counts: Counter[str]
    whole: Callable[[int, bool], None]


class Known:
    """What one knows of others: when each was heard last, and how many rows of each piece of its list.

    Args:
        limits: `redis_streams`.
        expected: Rows of all others.
        whole: Told whether it knows all of them, whenever it knows more or less.
    """

    def __init__(self, limits: Limits, expected: int, whole: Callable[[bool], None]) -> None:
        self._most, self._expected, self._whole = limits.redis_streams, expected, whole
        self.rows = 0
        self.heard: dict[int, float] = {}
        self._pieces: dict[int, dict[int, int]] = {}

    def is_one_too_many(self, sender: int) -> bool:
        """Whether nothing of it can be known."""
        return sender not in self.heard and len(self.heard) >= front_ends.MOST

    def hear(self, sender: int, now: float) -> bool:
        """One has said something; whether it is new."""
        new = sender not in self.heard
        self.heard[sender] = now
        return new

    def lacking(self, message: Message) -> int:
        """How many rows of a message it does not know, and has room for."""
        known = self._pieces.get(message.sender, {}).get(message.piece, 0)
        return max(0, min(message.rows - known, self._most - self.rows))

    def take(self, message: Message) -> None:
        """Know its rows."""
        if lacking := self.lacking(message):
            pieces = self._pieces.setdefault(message.sender, {})
            pieces[message.piece] = pieces.get(message.piece, 0) + lacking
            self._count(lacking)

    def forget(self, since: float) -> None:
        """Forget who was not heard since then."""
        for sender in [sender for sender, heard in self.heard.items() if heard < since]:
            del self.heard[sender]
            self._count(-sum(self._pieces.pop(sender, {}).values()))

    def _count(self, more: int) -> None:
        self.rows += more
        self._whole(self.rows == self._expected)


class FrontEnd:
    """One of `others + 1` with as many cameras each.

    Attributes:
        number: Which one.
        connection: How often it has connected.
        up: Whether Redis answers it.
        behind: Bytes of Redis that it has not read yet.
        known: What it knows of others.
        process, loop: What works.
    """

    def __init__(self, number: int, others: int, cameras: int, shared: Shared) -> None:
        self.number, self._shared, self._events = number, shared, shared.events
        self.process = Thread(shared.events, shared.times.wake_process)
        self.loop = Thread(shared.events, shared.times.wake_loop)
        self.connection, self.up, self.behind = 0, False, 0.0
        self.begun = 0.0
        self._refused = self._thrown_out = connection.PAUSES[0]
        bounds = shared.limits.redis_bytes, shared.limits.redis_text_bytes, shared.limits.redis_text_bytes
        self._lists, self._texts, self._said = (Allowance(most, lambda: shared.events.now) for most in bounds)
        self._waiting = 0.0
        self.known = Known(shared.limits, others * cameras, partial(shared.whole, number))
        self._pieces = [
            Message("rows", number, times_of_rows(shared.times, rows), rows=rows, piece=piece)
            for piece, rows in enumerate(pieces_of(cameras))
        ]
        self._is_new = self._idle = False
        self._newcomers = Task(shared.events, self._run_lists())
        Task(shared.events, self._run())
        Task(shared.events, self._ping())

    # ---- its connection (redis/connection.py) -------------------------------------------------------------------

    def connect(self) -> None:
        """Try to, and again after a while where Redis is gone."""
        if not self._shared.redis.up:
            pause, self._refused = self._refused, min(self._refused * 2, connection.PAUSES[1])
            self._events.after(self._about(pause), self.connect)
            return
        self.connection += 1
        self.up, self.behind, self.begun, self._refused = True, 0.0, self._events.now, connection.PAUSES[0]
        self._shared.redis.join(self)
        self._say(Message("alive", self.number, self._shared.times.word, new=True))

    def lose(self) -> None:
        """It is gone, with all that was on its way."""
        if not self.up:
            return
        self.up = False
        self._shared.redis.leave(self)
        self.process.clear()
        settled = self._events.now - self.begun > connection.SETTLED
        pause = connection.PAUSES[0] if settled else self._thrown_out
        self._thrown_out = min(pause * 2, connection.PAUSES[1])
        self._events.after(self._about(pause), self.connect)

    def _ping(self) -> Steps:
        yield self._shared.random.uniform(0.0, connection.PING_EVERY)
        while True:
            if self.up:
                self._shared.redis.ping(self._shared.times.word.redis)
            yield connection.PING_EVERY

    def _about(self, pause: float) -> float:
        return pause * self._shared.random.uniform(0.5, 1.5)

    # ---- what it says (front_ends.py, telling.py, rooms.py) -----------------------------------------------------

    def say_text(self) -> None:
        """A client says something in a room that has somebody everywhere; it costs what one costs that is heard."""
        times = self._shared.times.text
        if self.up and self._said.take(int(times.size)):
            self._say(Message("text", self.number, times), times.process, times.loop)

    def _say_rows(self, message: Message) -> None:
        times, share = self._shared.times, message.rows / MOST_ROWS
        self._say(message, times.tell_process * share, times.tell_loop * share)

    def _say(self, message: Message, in_process: float = 0.0, in_loop: float = 0.0) -> None:
        """Through the loop and the process to Redis, which has to answer within a while."""
        if not self.up:
            return
        process, redis, number = self.process, self._shared.redis, self.connection

        def through_process() -> None:
            if self.connection == number and self.up:
                process.do(in_process, to_redis, urgent=True)

        def to_redis() -> None:
            if self.connection != number or not self.up:
                return
            sent = self._events.now
            redis.publish(message, lambda: self._answered(number, sent))

        self.loop.do(in_loop, through_process, urgent=True)

    def _answered(self, number: int, sent: float) -> None:
        if number == self.connection and self._events.now - sent > connection.WITHIN:
            self._shared.counts["unanswered"] += 1
            self.lose()

    def _run(self) -> Steps:
        """Words of life, and who is forgotten."""
        yield self._shared.random.uniform(0.0, front_ends.EVERY)
        while True:
            if self.up:
                self._say(Message("alive", self.number, self._shared.times.word))
            self.known.forget(self._events.now - self._shared.limits.redis_silence)
            yield front_ends.EVERY

    def _run_lists(self) -> Steps:
        """Whole lists: each `CYCLE`, and soon for who is new."""
        told = -telling.APART
        yield self._shared.random.uniform(0.0, telling.CYCLE)
        while True:
            if self.known.heard and self.up:
                for message in self._pieces[:-1]:
                    self._say_rows(message)
                    yield message.rows / telling.RATE
                self._say_rows(self._pieces[-1])
            if not self._is_new:
                self._idle = True
                yield telling.CYCLE
                self._idle = False
            if self._is_new:
                yield max(telling.SOON, told + telling.APART - self._events.now)
                self._is_new, told = False, self._events.now

    def _newcomer(self) -> None:
        """Somebody has come who knows nothing of us."""
        self._is_new = True
        if self._idle:
            self._idle = False
            self._newcomers.wake()

    # ---- what comes (inbox.py, front_ends.py) -------------------------------------------------------------------

    def come(self, message: Message, number: int) -> None:
        """A message is here, perhaps its own, which costs what telling it does."""
        if number != self.connection or not self.up:
            return
        if message.sender == self.number:
            self.behind -= message.times.size
        else:
            self.process.do(message.times.process, self._read, message, number)

    def _read(self, message: Message, number: int) -> None:
        """The process has read it; the loop has it in its turn."""
        if number != self.connection or not self.up:
            return
        size, text = message.times.size, message.op == "text"
        self.behind -= size
        may_come = self._texts if text else self._lists
        if not may_come.take(max(inbox.LEAST_TEXT if text else inbox.LEAST, int(size))):
            self._shared.counts["over the bound"] += 1
        elif self._waiting + size > inbox.WAITING:
            self._shared.counts["no room"] += 1
        else:
            self._waiting += size
            self.loop.do(self._costs(message), self._hear, message)

    def _costs(self, message: Message) -> float:
        """Of the loop; rows that it does not know yet take longer."""
        times = self._shared.times
        if message.op != "rows" or not message.rows:
            return message.times.loop
        if self.known.is_one_too_many(message.sender):
            return message.times.loop * times.many / times.rows.loop
        return message.times.loop + self.known.lacking(message) / MOST_ROWS * (times.new - times.rows.loop)

    def _hear(self, message: Message) -> None:
        self._waiting -= message.times.size
        if message.op == "text":
            self._shared.counts["texts heard"] += 1
        elif self.known.is_one_too_many(message.sender):
            self._shared.counts["too many"] += 1
        else:
            if self.known.hear(message.sender, self._events.now) or message.new:
                self._newcomer()
            self.known.take(message)
