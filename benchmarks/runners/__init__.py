"""One module for each system measured; each runs one workload in a process of its own.

    python -m benchmarks.runners.ray_ task_latency --json

``system`` says what a runner must offer, ``calls``, ``values`` and ``lifecycle`` hold the
workloads written once for all of them, ``functions`` what the systems are given to run, and
``main`` the command line that all runners share.
"""
