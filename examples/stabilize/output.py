"""What a person sees: the progress bar, the figures and the picture of the path."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 40


class Progress:
    """A bar on a terminal's standard error; elsewhere one line for each tenth."""

    def __init__(self, total: int) -> None:
        self._total = max(1, total)
        self._done = 0
        self._began = time.monotonic()
        self._shown = -1
        self._live = sys.stderr.isatty()
        self._lock = threading.Lock()

    def step(self) -> None:
        """One more frame is written."""
        with self._lock:
            self._done += 1
            percent = 100 * self._done // self._total
            if percent == self._shown or (
                not self._live and percent // 10 == self._shown // 10
            ):
                return
            self._shown = percent
            rate = self._done / max(1e-9, time.monotonic() - self._began)
            filled = WIDTH * self._done // self._total
            bar = "#" * filled + "-" * (WIDTH - filled)
            text = f"[{bar}] {percent:3d} %  {self._done}/{self._total} frames  {rate:5.1f}/s"
            sys.stderr.write(f"\r{text}" if self._live else f"{text}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Leave the bar's line."""
        if self._live:
            sys.stderr.write("\n")


def percentile_ms(latencies_s: list[float], percent: float) -> float:
    """Return a percentile of the latencies in milliseconds."""
    return float(np.percentile(np.array(latencies_s) * 1e3, percent))


def jitter(path: Any) -> float:
    """Return how much a path trembles: the RMS of its second differences, in pixels."""
    if len(path) < 3:
        return 0.0
    return float(np.sqrt(np.mean(np.diff(path[:, :2], n=2, axis=0) ** 2)))


def draw(paths: Any, target: Path, title: str) -> None:
    """Write a PNG of the camera's path before and after; ``paths`` is frames x 2 x 3."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(9, 7), layout="constrained")
    names = ("x (pixels)", "y (pixels)", "angle (degrees)")
    for index, (axis, name) in enumerate(zip(axes, names, strict=True)):
        scale = 180 / np.pi if index == 2 else 1.0
        axis.plot(paths[:, 0, index] * scale, color="#c0392b", linewidth=1, label="filmed")
        axis.plot(paths[:, 1, index] * scale, color="#2471a3", linewidth=2, label="stabilised")
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[0].legend(loc="best")
    axes[0].set_title(title)
    axes[-1].set_xlabel("frame")
    figure.savefig(target, dpi=110)
    plt.close(figure)
