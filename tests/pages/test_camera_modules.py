"""The modules of the browser camera, each alone in a browser: no camera, no network, and time is what the test says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.pages.browser import Page
from tests.pages.covered import STATIC
from tests.pages.serving import served

HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>modules</title><link rel="icon" href="data:,">
<form id="form"><select name="size"><option>small</option><option selected>middle</option></select>
<input name="name" value="door"></form></html>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The static files of the pages, and a page that uses none of them by itself."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text(HTML)
    (folder / "pages").symlink_to(STATIC)

    with served(folder) as url:
        yield url


@pytest.fixture
def alone(page: Page, site: str) -> Page:
    page.open(site)
    return page


# ---- how fast, how fine ---------------------------------------------------------------------------------------------

ADAPT = """async (steps, bounds) => {
  const { Adapting } = await import('/pages/camera/adapting.js');
  const adapting = new Adapting(bounds);
  const seen = [];
  let now = 1000;
  for (const [age, seconds] of steps) {
    for (const end = now + seconds * 1000; now < end; now += 100) adapting.answered(age, now);
    seen.push([adapting.rate, adapting.quality, adapting.age]);
  }
  return seen;
}"""


def adapted(page: Page, *steps: tuple[float, float], **bounds: float) -> Any:
    """Rate, quality and smoothed age after each step, in which answers of an age come for so many seconds."""
    return page.run(ADAPT, steps, {"most": 10, **bounds})


def test_rate_and_quality_fall_with_growing_ages_and_rise_again(alone: Page) -> None:
    calm, slow, again = adapted(alone, (20, 5), (400, 6), (20, 20))
    assert calm == [10, 0.85, 20]
    assert slow[0] < 4 and slow[1] < 0.6, slow
    assert again[:2] == pytest.approx([10, 0.85])


def test_they_stay_within_their_bounds(alone: Page) -> None:
    (slowest,) = adapted(alone, (20, 1), (1000, 12), least=5, coarsest=0.65)[1:]
    assert slowest[:2] == [5, 0.65]
    assert adapted(alone, (20, 1), (1000, 12), most=0.5)[1][0] == 0.5, "a rate below the least one is its own"


def test_a_model_that_always_takes_long_slows_nothing(alone: Page) -> None:
    """What an answer takes by itself is no sign of waiting, and what changed for good is that after half a minute."""
    assert adapted(alone, (900, 60))[0][:2] == [10, 0.85]
    assert adapted(alone, (20, 1), (400, 60))[1][:2] == pytest.approx([10, 0.85])


# ---- what is on its way ---------------------------------------------------------------------------------------------


def test_two_frames_are_on_their_way_and_each_has_an_end(alone: Page) -> None:
    found = alone.run("""(async () => {
      const { Flight } = await import('/pages/camera/flight.js');
      const flight = new Flight();
      const seen = [];
      flight.sent(1, 0);
      seen.push(flight.hasRoom);
      flight.sent(2, 10);
      seen.push(flight.hasRoom, flight.answered(2, 42), flight.answered(1, 50), flight.answered(9, 50));
      flight.sent(3, 100);
      seen.push(flight.refused(3), flight.refused(3));
      flight.sent(4, 200);
      seen.push(flight.expire(5199), flight.expire(5200), flight.answered(4, 5300));
      flight.sent(5, 6000);
      flight.lost();
      return [seen, flight.counts, flight.hasRoom];
    })()""")
    seen, counts, has_room = found
    assert seen == [True, False, 32, None, None, True, False, [], [5000], None]
    assert counts == {"sent": 5, "answered": 1, "replaced": 1, "refused": 1, "unanswered": 2}
    assert has_room


def test_a_frame_goes_out_when_it_is_due_and_what_gets_no_answer_counts_as_old(alone: Page) -> None:
    found = alone.run("""(async () => {
      const { Sending } = await import('/pages/camera/sending.js');
      const [notes, sent] = [[], []];
      const capture = { jpeg: async (size, quality) => (sent.length === 9 ? null : `${size} ${quality}`) };
      const choices = { rate: 10, kind: 'pictures', size: [640, 480] };
      const sending = new Sending(choices, capture, { answer: () => {}, note: (sentence) => notes.push(sentence) });
      sending.protocol = { send: (jpeg) => sent.push(jpeg) };
      await sending.frame(0, 0);
      sending.running = true;
      for (const now of [1000, 1033, 1066, 1100, 1200]) await sending.frame(now, now);
      const kept = sent.length;
      await sending.frame(6101, 6101);
      const late = [{ ...sending.counts }, sending.pace];
      sending.answered(1, {});
      sending.refused(2, 'unlike anything');
      sending.refused(3, 'too large');
      sending.running = false;
      sending.refused(0, 'not told');
      return [kept, sent, late, sending.counts, notes];
    })()""")
    kept, sent, (late, pace), counts, notes = found
    assert kept == 2, "one each 100 ms, and no third while two are on their way"
    assert sent == ["640,480 0.85", "640,480 0.85", "640,480 0.75"]
    assert (late["unanswered"], late["sent"]) == (2, 3)
    assert pace == {"rate": pytest.approx(7), "quality": 0.75}
    assert (counts["answered"], counts["refused"]) == (0, 1)
    assert notes == ["unlike anything", "too large"]


def test_a_session_is_told_in_its_protocol(alone: Page) -> None:
    calls, heard, wrong = alone.run("""(async () => {
      const { Session } = await import('/pages/camera/protocols.js');
      const [calls, heard, handlers] = [[], [], {}];
      const answers = { session_start: ['{"success": false, "error": "one runs"}', '{"success": true}'] };
      const noted = async (event, value) => {
        const bytes = new DataView(await new Blob([value]).arrayBuffer());
        calls.push([event, Number(bytes.getBigUint64(0, true)), bytes.byteLength]);
      };
      const socket = {
        on: (event, handler) => { handlers[event] = handler; },
        emit: noted,
        call: async (event, value) => {
          await noted(event, value);
          return answers[event]?.pop() ?? '{"success": false, "error": "no picture"}';
        },
      };
      const session = new Session(socket, {
        answered: (key, prediction) => heard.push([key, prediction.HR]),
        refused: (key, sentence) => heard.push([key, sentence]),
      });
      Date.now = () => 1700000000000;
      await session.begin();
      const key = session.send(new Blob(['jpeg']));
      handlers.prediction(JSON.stringify({ recv_ts: key, HR: 70 }));
      session.end();
      const wrong = await session.begin().catch((error) => error.message);
      return [calls, heard, wrong];
    })()""")
    first = 1700000000000
    assert sorted(calls, key=lambda call: call[1]) == [
        ["session_start", first, 8],
        ["frame", first + 1, 12],
        ["session_end", first + 2, 8],
        ["session_start", first + 3, 8],
    ]
    assert heard == [[first + 1, 70], [first + 1, "no picture"]]
    assert wrong == "one runs"


# ---- pictures, words, choices ---------------------------------------------------------------------------------------


def test_a_picture_is_as_large_as_chosen_and_upright(alone: Page) -> None:
    fitted = """async (...cases) => {
      const { fitted } = await import('/pages/camera/capture.js');
      return cases.map(([size, most]) => fitted(size, most));
    }"""
    cases = [
        ([640, 480], [640, 480]),
        ([1280, 720], [640, 480]),
        ([480, 640], [640, 480]),  # a phone that is held upright
        ([720, 1280], [320, 240]),
        ([160, 120], [1280, 960]),
    ]
    assert alone.run(fitted, *cases) == [[640, 480], [640, 360], [480, 640], [180, 320], [160, 120]]


def test_answers_in_words(alone: Page) -> None:
    words = alone.run("""(async () => {
      document.body.innerHTML = ['counts', 'curves', 'values', 'reasons', 'answer', 'overlay', 'age']
        .map((id) => `<${id === 'overlay' ? 'canvas' : 'div'} id="${id}"></div>`).join('');
      const { Board, inWords, inMilliseconds } = await import('/pages/camera/board.js');
      const face = { x: 0, y: 0, width: 5, height: 5, label: 'face', score: 0.9 };
      const board = new Board();
      board.begin('session');
      const shown = [];
      for (const said of [
        {}, { HR: null, HR_reason: 'no face is there' }, { HR: 71.4, blinks_per_minute: 14.25, fatigue: 0.1 },
        { errors: { blink: 'it failed' } },
      ]) {
        board.answer({ ...said, frame: { size: [640, 480] } }, 12.4);
        shown.push([document.getElementById('values').innerText, document.getElementById('reasons').innerText]);
      }
      return [
        inMilliseconds(12.4), inWords({ label: '7', score: 0.981 }), inWords({ label: 'x' }), inWords({}),
        inWords({ boxes: [face, face, { x: 0 }] }), inWords({ boxes: [] }), shown,
        inWords({ embedding: [0.6, 0.8] }), inWords({ values: { age: 31.5, '<b>': 2 } }),
        inWords({ label: 'pneumonia', score: 0.72, input: 'unlike' }),
      ];
    })()""")
    assert words[:6] == ["12 ms", "7, 98 %", "x", "No label", "2 × face, 1 × something", "Nothing found"]
    assert words[7:9] == ["a vector of 2 numbers", "age 31.5, <b> 2"]
    assert words[9] == "unlike its training pictures: pneumonia, 72 %"
    first, without_face, figures, failed = words[6]
    assert "after about ten seconds" in first[1]
    assert without_face[1] == "no face is there" and "–" in without_face[0]
    assert figures[1] == "" and all(figure in figures[0] for figure in ("71", "14.3", "0.10"))
    assert failed[1] == "blink: it failed"


def test_choices_are_kept_where_they_can_still_be_made(alone: Page) -> None:
    found = alone.run("""(async () => {
      const { keep, kept, restore } = await import('/pages/camera/choices.js');
      const form = document.getElementById('form');
      const seen = [kept()];
      form.elements.size.value = 'small';
      form.elements.name.value = 'attic';
      keep(form);
      form.reset();
      restore(form);
      seen.push([form.elements.size.value, form.elements.name.value]);
      localStorage.setItem('imageserver camera', '{"size": "huge", "name": "x", "gone": 1}');
      form.reset();
      restore(form);
      seen.push([form.elements.size.value, form.elements.name.value]);
      for (const odd of ['no JSON', 'null', '"text"']) {
        localStorage.setItem('imageserver camera', odd);
        seen.push(kept());
      }
      return seen;
    })()""")
    assert found == [{}, ["small", "attic"], ["middle", "x"], {}, {}, {}]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("NotAllowedError", "does not let this page use the camera"),
        ("SecurityError", "does not let this page use the camera"),
        ("NotFoundError", "has no camera"),
        ("NotReadableError", "in use by another program"),
        ("AbortError", "in use by another program"),
        ("OverconstrainedError", "not there any more"),
        ("OddError", "The camera cannot be opened: oh."),
    ],
)
def test_what_is_in_the_way_of_a_camera_is_a_sentence(alone: Page, error: str, sentence: str) -> None:
    said = alone.run(
        """async (name) => {
          const { opened } = await import('/pages/camera/devices.js');
          navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('oh', name); };
          return opened('', [640, 480]).catch((error) => error.message);
        }""",
        error,
    )
    assert sentence in said


def test_a_camera_is_asked_for_by_its_side_or_its_number(alone: Page) -> None:
    asked = alone.run("""(async () => {
      const { opened } = await import('/pages/camera/devices.js');
      navigator.mediaDevices.getUserMedia = async ({ video, audio }) => (audio ? null : video);
      return Promise.all(['', 'user', 'device a b'].map((choice) => opened(choice, [320, 240])));
    })()""")
    size = {"width": {"ideal": 320}, "height": {"ideal": 240}, "frameRate": {"ideal": 30}}
    assert asked == [size, {**size, "facingMode": {"ideal": "user"}}, {**size, "deviceId": {"exact": "a"}}]


# ---- Socket.IO ------------------------------------------------------------------------------------------------------

STAND_IN = """
  const sockets = [];
  const timers = new Map();
  window.setTimeout = (called, ms) => { timers.set(timers.size + 1, [called, ms]); return timers.size; };
  window.clearTimeout = (number) => { if (timers.has(number)) timers.set(number, null); };
  const waiting = () => [...timers.values()].filter(Boolean);
  const elapse = () => {
    for (const [number, timer] of [...timers]) if (timer) { timers.set(number, null); timer[0](); }
  };
  window.WebSocket = class {
    constructor(url) { this.url = String(url); this.sent = []; sockets.push(this); }
    send(message) { this.sent.push(message); }
    close() { this.closed = true; }
  };
  const { SocketIO, Ending } = await import('/pages/shared/socketio.js');
  const said = [];
  const made = (options) => {
    const socket = new SocketIO({ random: () => 0.5, ...options });
    for (const event of ['connect', 'disconnect', 'connect_error', 'retry', 'news', 'odd'])
      socket.on(event, (...values) => said.push([event, ...values]));
    return socket;
  };
  const hear = (...texts) => texts.forEach((data) => sockets.at(-1).onmessage({ data }));
  const OPEN = '0{"sid":"x","pingInterval":25000,"pingTimeout":20000}';
"""


def with_stand_in(page: Page, script: str) -> Any:
    """Run a script with a WebSocket and timers that do what it says."""
    return page.run(f"(async () => {{ {STAND_IN} {script} }})()")


def test_it_joins_says_what_it_is_given_and_answers_heartbeats(alone: Page) -> None:
    url, sent, silences, said = with_stand_in(
        alone,
        """
      const socket = made({ query: { name: 'front door' }, auth: { page: true } });
      socket.open();
      socket.open();
      const silences = [waiting().map(([, ms]) => ms)];
      hear(OPEN, '40{"sid":"y"}', '2', '2probe', '42["news",1,{"a":[2]}]', '43', '6');
      silences.push(waiting().map(([, ms]) => ms));
      return [sockets[0].url, sockets[0].sent, silences, said];
    """,
    )
    assert url.partition("?")[2] == "name=front+door&EIO=4&transport=websocket"
    assert url.startswith("ws://127.0.0.1") and "/socket.io/?" in url
    assert sent == ['40{"page":true}', "3", "3probe"]
    assert silences == [[20000], [45000]], "one timer, and it begins anew with each ping"
    assert said == [["connect"], ["news", 1, {"a": [2]}]]


def test_it_is_found_below_the_path_of_the_page(alone: Page) -> None:
    url = with_stand_in(
        alone,
        """
      const base = document.createElement('base');
      base.href = 'https://a.example/imageserver/camera';
      document.head.append(base);
      made({}).open();
      return sockets[0].url;
    """,
    )
    assert url == "wss://a.example/imageserver/socket.io/?EIO=4&transport=websocket"


def test_bytes_go_and_come_as_attachments(alone: Page) -> None:
    sent, said = with_stand_in(
        alone,
        """
      const socket = made({});
      const early = socket.emit('picture', 1);
      socket.open();
      hear(OPEN, '40{"sid":"y"}');
      socket.emit('picture', new Uint8Array([1, 2]), { deep: new Blob(['abc']) });
      const call = socket.call('frame', new ArrayBuffer(3));
      hear('461-1[{"_placeholder":true,"num":0}]', new Uint8Array([9]).buffer);
      said.push(new Uint8Array(await call)[0]);
      hear('452-["news",{"_placeholder":true,"num":1},{"deep":{"_placeholder":true,"num":0}}]');
      hear(new Uint8Array([7]).buffer, new Uint8Array([8]).buffer);
      const [, one, two] = said.pop();
      said.push(new Uint8Array(one)[0], new Uint8Array(two.deep)[0], early);
      return [sockets[0].sent.map((each) => (typeof each === 'string' ? each : each.constructor.name)), said];
    """,
    )
    header = '["picture",{"_placeholder":true,"num":0},{"deep":{"_placeholder":true,"num":1}}]'
    frame = '451-1["frame",{"_placeholder":true,"num":0}]'
    assert sent == ["40{}", f"452-{header}", "Uint8Array", "Blob", frame, "ArrayBuffer"]
    assert said == [["connect"], 9, 8, 7, False]


def test_what_is_waited_for_breaks_with_the_connection(alone: Page) -> None:
    found = with_stand_in(
        alone,
        """
      const socket = made({});
      const reasons = [await socket.call('configure').catch((error) => error.message)];
      socket.open();
      hear(OPEN, '40{"sid":"y"}');
      const [lost, answered] = [socket.call('configure'), socket.call('configure')];
      hear('433["yes"]');
      sockets[0].onclose();
      reasons.push(await lost.catch((error) => error.message), await answered);
      return [reasons, said, sockets[0].closed];
    """,
    )
    assert found[0] == ["there is no connection", "the connection ended", "yes"]
    assert found[1] == [["connect"], ["disconnect", "lost"], ["retry", 0.5]]
    assert found[2]


def test_pauses_grow_are_scattered_and_begin_anew_after_a_good_connection(alone: Page) -> None:
    pauses, scattered, after = with_stand_in(
        alone,
        """
      const socket = made({});
      socket.open();
      const pauses = [];
      for (let i = 0; i < 7; i += 1) {
        sockets.at(-1).onclose();
        pauses.push(said.at(-1)[1]);
        elapse();
      }
      const scattered = [0, 1].map((number) => {
        const other = made({ random: () => number });
        other.open();
        sockets.at(-1).onclose();
        other.close();
        return said.at(-1)[1];
      });
      const dialled = sockets.length;
      socket.retry();
      hear(OPEN, '40{"sid":"y"}');
      const then = performance.now();
      performance.now = () => then + 60_000;
      sockets.at(-1).onclose();
      return [pauses, scattered, [sockets.length - dialled, said.slice(-3)]];
    """,
    )
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10]
    assert scattered == [0.25, 0.75]
    assert after == [1, [["connect"], ["disconnect", "lost"], ["retry", 0.5]]]


@pytest.mark.parametrize("how", ["silence", "the engine's close", "the WebSocket's", "another network"])
def test_it_comes_back_by_itself_when_lost(alone: Page, how: str) -> None:
    end = {
        "silence": "elapse();",
        "the engine's close": "hear('1');",
        "the WebSocket's": "sockets.at(-1).onclose();",
        "another network": "socket.retry();",
    }[how]
    said, count = with_stand_in(
        alone,
        f"""
      const socket = made({{}});
      socket.retry();
      socket.open();
      hear(OPEN, '40{{"sid":"y"}}');
      {end}
      if ({str(how != "another network").lower()}) elapse();
      hear(OPEN, '40{{"sid":"z"}}');
      return [said, sockets.length];
    """,
    )
    retry = [] if how == "another network" else [["retry", 0.5]]
    assert said == [["connect"], ["disconnect", "lost"], *retry, ["connect"]]
    assert count == 2


def test_who_is_refused_or_turned_out_does_not_come_back(alone: Page) -> None:
    said, timers = with_stand_in(
        alone,
        """
      for (const last of ['44{"message":"log in again"}', '44{}', '41', 'close']) {
        const socket = made({});
        socket.open();
        hear(OPEN, ...(last === '41' || last === 'close' ? ['40{"sid":"y"}'] : []));
        if (last === 'close') socket.close(); else hear(last);
      }
      return [said, waiting().length];
    """,
    )
    assert said == [
        ["connect_error", "log in again"],
        ["connect_error", "the server does not let this page in"],
        ["connect"],
        ["disconnect", "turned out"],
        ["connect"],
    ]
    assert timers == 0


def test_a_handler_may_close_it(alone: Page) -> None:
    said, timers = with_stand_in(
        alone,
        """
      const socket = made({});
      socket.on('disconnect', () => socket.close());
      socket.open();
      hear(OPEN, '40{"sid":"y"}');
      sockets[0].onclose();
      return [said, waiting().length];
    """,
    )
    assert (said, timers) == ([["connect"]], 0)
