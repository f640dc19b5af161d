"""Keeps the certificate that HTTPS shows current, while connections go on.

What changed on the disk is looked at every few seconds, and when somebody asks (SIGHUP). A new pair is read and checked
whole before the listener gets it, for handshakes from then on; connections keep the one that they began with. A pair
that cannot be used changes nothing: the former one serves on.
"""

from __future__ import annotations

import datetime
import math
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from imageserver import metrics
from imageserver.app.certificates import own
from imageserver.app.certificates.pair import Pair, Place, check, day, load, read
from imageserver.errors import SettingError
from imageserver.transport import hub

LOOK_EVERY = 2.0
"""Seconds between two looks at the files."""

MAKE_EVERY = datetime.timedelta(minutes=1)
"""Between two attempts to make a new pair, each of which takes two keys, where it cannot be written."""

WARN_DAYS = (1, 7, 14, 30)
"""So long before the end a warning each; but never before three quarters of a certificate's time are over."""

Log = Callable[[str], None]


class Listening(Protocol):
    """A listener that speaks TLS."""

    ssl_context: ssl.SSLContext | None


class CertificateWatch:
    """The certificate in use. Reads the files at once: SettingError when they cannot be used.

    Args:
        place: where the files are.
        self_made: whether the server has made them, and is to make others when they expire.
        log: takes a line.
        warn: takes a line that deserves attention.
        know: told each DNS name of a certificate, `*.example.org` among them.
        clock: the time of day, with a time zone.
    """

    def __init__(
        self,
        place: Place,
        *,
        self_made: bool,
        log: Log,
        warn: Log,
        know: Callable[[str], None] = lambda _name: None,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._place, self._self_made, self._clock = place, self_made, clock
        self._log, self._warn, self._know = log, warn, know
        self._listeners: list[Listening] = []
        self._turn = hub.Semaphore()
        self._trouble = ""
        self._settled: tuple[object, ...] = ()
        self._warned: int | None = None
        self._not_made = datetime.datetime.min.replace(tzinfo=datetime.UTC), ""
        """When a new pair could not be made, and what was said of it."""
        self._take(load(place))
        self._warn_of_end()

    def show_on(self, listener: Listening) -> None:
        """Have a listener show it, and each that takes its place."""
        self._listeners.append(listener)
        listener.ssl_context = self._pair.context

    def run(self) -> None:
        """Look again and again; spawn it."""
        while True:
            hub.sleep(LOOK_EVERY)
            self.look()

    def look(self, *, asked: bool = False) -> None:
        """Take what is on the disk, if it is another pair and can be used; the log says so.

        `asked`: by a person, who is told in any case; and a self-made pair that was removed is made anew.
        """
        with self._turn:
            try:
                found = hub.in_thread(self._find, asked)
            except SettingError as error:
                self._refuse(str(error), asked=asked)
            else:
                if found is None:  # being written
                    if asked:
                        self._log(f"{self._place} are being written: they are looked at again in {LOOK_EVERY:g} s")
                elif found is not self._pair:
                    self._take(found)
                elif asked or self._trouble:
                    self._log(f"TLS certificate {self._place.cert} is the one in use: there is nothing to load")
                if found is not None:
                    self._trouble = ""
            self._warn_of_end()

    def _find(self, asked: bool) -> Pair | None:
        """The pair that is to be in use; None while it is being written. Blocks: in a native thread. SettingError."""
        now, folder = self._clock(), self._place.cert.parent
        if self._self_made and asked:
            own.self_signed(folder, self._warn, now=now)
        stamp = self._place.stamp()
        if self._self_made and not all(stamp):
            raise SettingError(f"{self._place} are not both there: put them back, or reload the server for new ones")
        if stamp != self._settled or asked:
            content = read(self._place)
            if stamp != self._place.stamp():
                return None
            if content.digest != self._pair.digest:
                return self._usable(check(self._place, content), now)
            self._settled = stamp
        if self._self_made and own.expires(self._pair.maker, self._pair.ends, now):
            self._make(folder, now)
            self._warn(
                f"TLS certificate {self._place.cert} expires: a new one was made, which clients have to trust anew"
            )
            return load(self._place)
        return self._pair

    def _make(self, folder: Path, now: datetime.datetime) -> None:
        """Make a new pair in `folder`. SettingError: it cannot be written, or could not be a moment ago."""
        when, sentence = self._not_made
        if datetime.timedelta(0) <= now - when < MAKE_EVERY:
            raise SettingError(sentence)
        try:
            own.make(folder, own.own_names(), now)
        except SettingError as error:
            self._not_made = now, str(error)
            raise

    def _usable(self, found: Pair, now: datetime.datetime) -> Pair:
        """`found`, unless clients believe the pair in use and would not believe this one. SettingError."""
        fault = found.fault(now)
        if fault and not self._pair.fault(now):
            raise SettingError(f"{self._place.cert} {fault}: put a certificate there that is valid now")
        return found

    def _take(self, found: Pair) -> None:
        self._pair, self._settled, self._warned = found, (), None
        for listener in self._listeners:
            listener.ssl_context = found.context
        metrics.CERTIFICATE_EXPIRY.child().value = found.ends.timestamp()
        metrics.CERTIFICATE_LOADS.inc("loaded")
        self._log(f"TLS certificate {self._place.cert}, SHA-256 {found.fingerprint}, valid until {day(found.ends)}")
        for remark in found.remarks:
            self._warn(remark)
        if found.begins > self._clock():
            self._warn(f"TLS certificate {self._place.cert} is not valid before {day(found.begins)}: clients refuse it")
        for name in found.names:
            self._know(name)

    def _refuse(self, sentence: str, *, asked: bool) -> None:
        if sentence != self._trouble:
            metrics.CERTIFICATE_LOADS.inc("refused")
        if sentence != self._trouble or asked:
            self._warn(f"{sentence}; the certificate loaded before, valid until {day(self._pair.ends)}, serves on")
        self._trouble = sentence

    def _warn_of_end(self) -> None:
        """Say that the certificate expires soon, as `WARN_DAYS` has it; when it has expired, once a day."""
        now = self._clock()
        left = (self._pair.ends - now) / datetime.timedelta(days=1)
        whole = (self._pair.ends - self._pair.begins) / datetime.timedelta(days=1)
        stage = math.floor(left) if left <= 0 else next((days for days in WARN_DAYS if left <= days), None)
        if stage is None or stage == self._warned or left > whole / 4:
            return
        self._warned = stage
        when = "has expired" if left <= 0 else "expires"
        self._warn(f"TLS certificate {self._place.cert} {when} on {day(self._pair.ends)}: put a new one there")
