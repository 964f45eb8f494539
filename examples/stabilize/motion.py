"""Camera motion between frames, and frames put back in place: plain functions on arrays.

A motion is ``(dx, dy, angle)``: pixels, pixels and radians that the picture moved.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

Frame = np.ndarray[Any, np.dtype[np.uint8]]
Motion = np.ndarray[Any, np.dtype[np.float64]]

CORNERS = 200
CORNERS_MIN = 10
AGREE_MIN = 0.4
CUT_PART = 0.1
STILL = np.zeros(3)

cv2.setNumThreads(1)


def gray(frame: Frame) -> Frame:
    """Return the brightness of a colour frame."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def motion_between(before: Frame, after: Frame) -> Motion:
    """Return how the picture moved from ``before`` to ``after``; no motion if none can be seen.

    Corners of the first frame are followed by optical flow (Lucas and Kanade, with pyramids), and
    the shift and turn that fits most of them is taken (RANSAC).  Where few agree, or all is far
    away at once, the film was cut: the camera did not move.
    """
    first, second = gray(before), gray(after)
    corners = cv2.goodFeaturesToTrack(first, CORNERS, 0.01, 30, blockSize=3)
    if corners is None or len(corners) < CORNERS_MIN:
        return STILL.copy()
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first, second, corners, None)
    good = found.ravel() == 1
    if good.sum() < CORNERS_MIN:
        return STILL.copy()
    transform, agree = cv2.estimateAffinePartial2D(corners[good], moved[good])
    if transform is None or agree.mean() < AGREE_MIN:
        return STILL.copy()
    angle = np.arctan2(transform[1, 0], transform[0, 0])
    motion = np.array([transform[0, 2], transform[1, 2], angle])
    if np.abs(motion[:2]).max() > CUT_PART * max(first.shape):
        return STILL.copy()
    return motion


def put_back(frame: Frame, correction: Motion, zoom: float) -> Frame:
    """Move a frame by ``correction``; ``zoom`` hides the borders that this uncovers."""
    height, width = frame.shape[:2]
    cosine, sine = np.cos(correction[2]), np.sin(correction[2])
    shift = np.array([[cosine, -sine, correction[0]], [sine, cosine, correction[1]]])
    moved = cv2.warpAffine(frame, shift, (width, height))
    larger = cv2.getRotationMatrix2D((width / 2, height / 2), 0, zoom)
    return np.asarray(cv2.warpAffine(moved, larger, (width, height)), dtype=np.uint8)


def shaken(frame: Frame, number: int, pixels: float) -> Frame:
    """Return the frame as a hand that trembles would have filmed it; the same for each run."""
    if not pixels:
        return frame
    chance = np.random.default_rng(number)
    dx, dy = chance.normal(0, pixels, 2)
    height, width = frame.shape[:2]
    shift = np.array([[1, 0, dx], [0, 1, dy]])
    mode = cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(frame, shift, (width, height), borderMode=mode), np.uint8)
