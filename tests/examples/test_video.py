"""The video example on a made-up film; skipped where OpenCV, which is an extra, is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
pytest.importorskip("matplotlib")
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import video_stabilization  # noqa: E402  found by the line above

pytestmark = pytest.mark.cluster
FRAMES = 40


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film of 40 frames: blocks of many sizes on a calm ground."""
    path = tmp_path / "film.avi"
    chance = np.random.default_rng(1)
    picture = np.full((240, 320, 3), 90, np.uint8)
    for _ in range(80):
        x, y = chance.integers(0, 300), chance.integers(0, 220)
        colour = tuple(int(c) for c in chance.integers(0, 255, 3))
        cv2.rectangle(picture, (int(x), int(y)), (int(x) + 15, int(y) + 12), colour, -1)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for _ in range(FRAMES):
        video.write(picture)
    video.release()
    return path


def test_a_shaken_film_becomes_calm(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("ZFUT_SESSION_DIR", str(tmp_path / "s"))
    out = tmp_path / "out"
    arguments = [str(film), "--out", str(out), "--shake", "4", "--copies", "2", "--radius", "8"]
    assert video_stabilization.main([*arguments, "--num-cpus", "2"]) == 0
    said = capsys.readouterr().out
    assert "2 videos, 80 frames" in said
    jitters = [
        line.split("jitter ")[1].split() for line in said.splitlines() if "jitter" in line
    ]
    for before, _, after, _ in jitters:
        assert float(after) < float(before) / 4
    for number in range(2):
        made = cv2.VideoCapture(str(out / f"film-{number}-stabilised.mp4"))
        assert int(made.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES
        assert (out / f"film-{number}-stabilised.png").stat().st_size > 5000


@pytest.mark.parametrize("wrong", ["missing.mp4", __file__])
def test_what_is_no_video_is_refused(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert video_stabilization.main([wrong, "--out", str(tmp_path / "out")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
