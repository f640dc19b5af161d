"""camera.py in front of a network camera that speaks RTSP: the newest picture of it, again and again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.clients.rtsp_camera import RtspCamera

from client_programs.sources import Live, open_source


def test_pictures_of_a_network_camera() -> None:
    with RtspCamera() as camera, open_source([camera.url], repeat=False, note=pytest.fail) as source:
        assert isinstance(source, Live)
        seen = []
        for moment in range(5):
            frame = source.next(moment / 25)
            assert frame is not None and frame.name == f"{camera.url}, {moment + 1}"
            picture = cv2.imdecode(np.frombuffer(frame.data, np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape == (48, 64, 3) and np.ptp(picture) < 4
            seen.append(int(picture.mean() + 0.5))
    assert sorted(set(seen)) == seen, "each is newer than the one before"
