"""Motion JPEG: the newest frame again and again, for as long as the stream, the login and the client last."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from tests.protocols.http.watching import site as sites
from tests.protocols.http.watching.site import JPEG, WatchedSite, until

from imageserver import metrics
from imageserver.protocols.http.watching import motion
from imageserver.transport import hub


@pytest.fixture
def site() -> Iterator[WatchedSite]:
    yield from sites.site()


def test_frames_come_as_parts_with_their_times_until_the_stream_ends(site: WatchedSite) -> None:
    stream = site.stream("anna")
    with site.connect("/streams/anna.mjpeg") as viewer:
        assert viewer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
        assert (viewer.headers["Cache-Control"], viewer.headers["X-Accel-Buffering"]) == ("no-store", "no")
        for begin, kind in ((JPEG, "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (JPEG + bytes(200_000), "jpeg")):
            site.frame(stream, begin)
            headers, data = viewer.part()
            assert data == begin
            about = {"Content-Type": f"image/{kind}", "X-Timestamp": "1700000000.123"}
            assert headers == {**about, "Content-Length": str(len(begin))}
        site.frame(stream, b"no picture", error="it is none", reason="picture")
        site.frame(stream, JPEG + b"a picture again")
        assert viewer.part()[1] == JPEG + b"a picture again"
        stream.close()
        assert viewer.rest() == b""
    until(lambda: not len(site.followers), "its place to be free")
    assert site.views._frames._waiting == {}


def test_who_wants_few_frames_gets_the_newest_of_them(site: WatchedSite) -> None:
    stream = site.stream("anna")
    site.frame(stream, JPEG + b"0")
    with site.connect("/streams/anna.mjpeg?fps=10") as viewer:
        begun, shown = time.monotonic(), [viewer.part()[1]]
        going_on = True

        def stream_on() -> None:
            number = 0
            while going_on:
                number += 1
                site.frame(stream, JPEG + b"%d" % number)
                hub.sleep(0.005)

        task = hub.spawn(stream_on)
        shown += [viewer.part()[1] for _frame in range(5)]
        took = time.monotonic() - begun
        going_on = False
        task.wait()
    assert took > 0.35
    numbers = [int(data[len(JPEG) :]) for data in shown]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("value", ["0", "31", "1e1", "nan", "", "-1", "%D9%A3"])
def test_a_rate_that_cannot_be_is_refused(site: WatchedSite, value: str) -> None:
    site.stream("anna")
    with site.connect(f"/streams/anna.mjpeg?fps={value}") as viewer:
        assert (viewer.status, b"fps is a number from 0.1 to 30" in viewer.rest()) == (400, True)


def test_boxes_are_drawn_once_for_all_viewers_and_what_cannot_be_drawn_comes_as_it_is(site: WatchedSite) -> None:
    stream = site.stream("anna")
    viewers = [site.connect("/streams/anna.mjpeg?boxes=1") for _viewer in range(4)]
    for data, shown in ((JPEG + b"1", JPEG + b"1 drawn"), (JPEG + b"broken", JPEG + b"broken")):
        site.frame(stream, data)
        assert [viewer.part()[1] for viewer in viewers] == [shown] * 4
    assert site.process.drawn == [JPEG + b"1"]
    for viewer in viewers:
        viewer.__exit__()


def test_one_that_reads_nothing_holds_one_frame_and_is_shown_the_newest_when_it_reads_again(
    site: WatchedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motion, "LOOK_EVERY", 0.05)
    stream = site.stream("anna")
    client = hub.in_thread(sites.deaf, site.server.port, "/streams/anna.mjpeg")
    taken = []
    monkeypatch.setattr(motion, "pieces", lambda *parts: taken.append(parts[1]) or real(*parts))
    for number in range(200):
        site.frame(stream, JPEG + b"%03d" % number + bytes(300_000))
        hub.sleep(0.001)
    assert len(taken) <= 2, "the one that it has begun to take, and before that one as large as the kernels' room"
    size = len(taken[0])
    assert site.budget.used_for["answers"] <= size
    assert stream.newest is not None
    received = hub.in_thread(read_until, client, b"199" + bytes(100))
    assert len(received) < (len(taken) + 2) * (size + 500)
    client.close()
    until(lambda: not len(site.followers), "its place to be free")
    assert site.budget.used_for["answers"] == 0


real = motion.pieces


def read_until(client: socket.socket, end: bytes) -> bytes:
    client.settimeout(20)
    received = bytearray()
    while end not in received:
        piece = client.recv(2**20)
        assert piece, "the answer ended"
        received += piece
    return bytes(received)


def test_one_that_reads_nothing_for_long_is_given_up_and_the_log_names_the_option() -> None:
    hits = metrics.LIMITS_HIT.child("send_seconds")
    before = hits.value
    for site in sites.site(send_time=0.3):
        stream = site.stream("anna")
        client = hub.in_thread(sites.deaf, site.server.port, "/streams/anna.mjpeg")
        for number in range(100):
            site.frame(stream, JPEG + b"%d" % number + bytes(300_000))
            hub.sleep(0.001)
        until(lambda site=site: site.log, "a line about it")
        assert "--send-time" in site.log[0]
        assert hits.value > before
        until(lambda site=site: not len(site.followers), "its place to be free")
        client.close()


def test_a_client_that_leaves_while_nothing_happens_is_noticed(
    site: WatchedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motion, "LOOK_EVERY", 0.05)
    site.stream("anna")
    viewer = site.connect("/streams/anna.mjpeg")
    assert len(site.followers) == 1
    viewer.__exit__()
    until(lambda: not len(site.followers), "its place to be free")


def test_a_bound_holds_for_all_who_follow_and_for_each_address() -> None:
    for site in sites.site(stream_followers=8):
        stream = site.stream("anna")
        site.frame(stream, JPEG)
        first, second = site.connect("/streams/anna.mjpeg"), site.connect("/streams/events")
        with site.connect("/streams/anna.mjpeg") as third:
            assert (third.status, third.headers["Retry-After"]) == (503, "60")
            assert b"from your address" in third.rest()
        assert site.log == [
            "2 clients follow streams, 2 of them from 127.0.0.1; one more was refused (--stream-followers)"
        ]
        with site.connect("/streams/anna.jpg") as picture:
            assert picture.status == 200, "a single picture is followed by nothing"
        first.__exit__()
        until(lambda site=site, stream=stream: site.frame(stream, JPEG) or len(site.followers) == 1, "a free place")
        second.__exit__()


def test_viewers_end_with_the_server_at_once(site: WatchedSite) -> None:
    site.frame(site.stream("anna"), JPEG)
    with site.connect("/streams/anna.mjpeg?fps=0.1") as motion, site.connect("/streams/events") as events:
        motion.part()
        begun = time.monotonic()
        site.streams.stop()
        assert motion.rest() == b""
        assert events.rest().endswith(b"retry: 1000\n\n")
        assert time.monotonic() - begun < 5


def test_a_frame_on_its_way_to_many_is_counted_once_and_the_camera_never_notices() -> None:
    large = 8 * 2**20
    for site in sites.site(memory_share=4 * large, memory_budget=100 * large, stream_followers=100):
        stream = site.stream("anna")
        clients = [hub.in_thread(sites.deaf, site.server.port, "/streams/anna.mjpeg") for _viewer in range(8)]
        until(lambda site=site: len(site.followers) == 8, "all to follow")
        for _frame in range(20):
            site.frame(stream, JPEG + bytes(large))
            hub.sleep(0.002)
        assert stream.answered_count == 20
        until(lambda site=site: site.budget.used_for["answers"] == large + 3, "one to be on its way")
        for client in clients:
            client.close()
        until(lambda site=site: not site.budget.used_for["answers"], "room to be given back")
        assert site.views._frames.pictures._sent == {}


def test_frames_that_find_no_room_are_left_out() -> None:
    large = 8 * 2**20
    for site in sites.site(memory_share=4 * large, memory_budget=100 * large, stream_followers=100):
        stream, clients = site.stream("anna"), []
        for number in range(6):
            clients.append(hub.in_thread(sites.deaf, site.server.port, "/streams/anna.mjpeg"))
            until(lambda site=site, number=number: len(site.followers) == number + 1, "it to follow")
            for _turn in range(10):
                site.frame(stream, JPEG + bytes(large))
                hub.sleep(0.002)
        assert stream.answered_count == 60
        assert site.budget.used_for["answers"] == 3 * (large + 3), "as many frames as have room"
        for client in clients:
            client.close()
        until(lambda site=site: not site.budget.used_for["answers"], "room to be given back")
