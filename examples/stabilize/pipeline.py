"""The online pipeline of the paper: a decoder, tasks of a few milliseconds for each frame, a sink.

    decoder --- frame ---> flow(frame before, frame) --- motion ---> cumsum --- path -.
       |                                                                              |
       '--------------------- frame ---------------------> sink <--- smooth(window) --'

Frames are large values: written once into shared memory, read in place by the flow task and the
sink.  Only references pass through the program that drives the pipeline, and only so many frames
are under way that memory stays bounded.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

import zfut
from stabilize.motion import STILL, Frame, Motion, motion_between, put_back, shaken

ZOOM = 1.06
AHEAD = 24
"""Frames that may be under way beyond the smoothing window."""


class BadVideoError(Exception):
    """A video cannot be read or written."""


@zfut.remote
class Decoder:
    """Hands out the frames of one file, in order."""

    def __init__(self, path: str, shake: float) -> None:
        self.video = cv2.VideoCapture(path)
        self.shake = shake
        self.number = 0

    def next(self) -> Frame:
        """Return the next frame."""
        good, frame = self.video.read()
        if not good:
            raise BadVideoError(f"frame {self.number} cannot be decoded")
        self.number += 1
        return shaken(frame, self.number, self.shake)


@zfut.remote
def flow(before: Frame, after: Frame) -> Motion:
    """Return the motion between two frames."""
    return motion_between(before, after)


@zfut.remote
def cumsum(path: Motion, motion: Motion) -> Motion:
    """Return where the camera is after one more motion."""
    return path + motion


@zfut.remote
def smooth(*window: Motion) -> Motion:
    """Return where a calm camera would have been: the mean over the window."""
    return np.mean(np.stack(window), axis=0)


@zfut.remote
class Sink:
    """Writes the corrected frames and keeps both paths."""

    def __init__(self, path: str, fps: float, width: int, height: int) -> None:
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self.video = cv2.VideoWriter(path, codec, fps, (width, height))
        if not self.video.isOpened():
            raise BadVideoError(f"cannot write {path}")
        self.paths: list[tuple[Motion, Motion]] = []

    def write(self, frame: Frame, path: Motion, calm: Motion) -> float:
        """Write one frame, moved to where the calm camera sees it. Returns the time."""
        self.video.write(put_back(frame, calm - path, ZOOM))
        self.paths.append((path, calm))
        return time.monotonic()

    def close(self) -> Any:
        """Finish the file; returns the paths: frames x (before, after) x (dx, dy, angle)."""
        self.video.release()
        return np.array(self.paths)


@dataclass
class Job:
    """One video to stabilise."""

    source: str
    target: str
    frames: int
    fps: float
    width: int
    height: int
    radius: int
    shake: float = 0.0
    pace: float = 0.0  # frames a second; 0: as fast as it goes


@dataclass
class Result:
    """What came of it."""

    paths: Any
    latencies_s: list[float]


def run(job: Job, progress: Callable[[], None]) -> Result:
    """Stabilise one video; ``progress`` is called once for each frame that is written."""
    decoder = Decoder.remote(job.source, job.shake)
    sink = Sink.remote(job.target, job.fps, job.width, job.height)
    frames: deque[Any] = deque()
    paths: deque[Any] = deque()
    written: deque[tuple[Any, float]] = deque()
    latencies_s: list[float] = []
    dues: deque[float] = deque()
    began = time.monotonic()
    before = None

    def finish(limit: int) -> None:
        while len(written) > limit:
            ref, due = written.popleft()
            latencies_s.append(zfut.get(ref) - due)
            progress()

    def emit(window: list[Any], place: int) -> None:
        calm = smooth.remote(*window)
        written.append(
            (sink.write.remote(frames.popleft(), paths[place], calm), dues.popleft())
        )

    for number in range(job.frames):
        due = time.monotonic()
        if job.pace:
            due = began + number / job.pace
            time.sleep(max(0.0, due - time.monotonic()))
        frame = decoder.next.remote()
        if before is None:
            paths.append(zfut.put(STILL))
        else:
            paths.append(cumsum.remote(paths[-1], flow.remote(before, frame)))
        before = frame
        frames.append(frame)
        dues.append(due)
        if number >= job.radius:
            place = min(number - job.radius, job.radius)
            emit(list(paths), place)
            if len(paths) > 2 * job.radius:
                paths.popleft()
        finish(AHEAD)
    while frames:
        place = len(paths) - len(frames)
        emit(list(paths)[max(0, place - job.radius) :], place)
    finish(0)
    return Result(zfut.get(sink.close.remote()), latencies_s)
