"""The experiments of the Ownership paper (NSDI 2021) that one node can show.

    python -m benchmarks.paper                            # all of them, three trials
    python -m benchmarks.paper borrowing --scale 0.01     # does it work
    python -m benchmarks.paper --page docs/experiments.md # write the tables and the picture

Map: ``borrowing``, ``latency``, ``nested``, ``drops`` and ``recovery`` measure and judge one
experiment each, in the terms of ``experiment``; ``tasks`` holds what runs in workers; ``trial`` gives
each run a session and sees that nothing of it is left; ``page`` and ``plot`` show what came out.

What must hold: a trial compares only what ran in the same trial, one after the other.
"""
