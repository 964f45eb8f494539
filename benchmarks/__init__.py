"""Measures zfut beside bare sockets, bare memory copies, and the systems people use today.

    python -m benchmarks.micro --quick --no-peers
    make bench-peers && python -m benchmarks.micro

Map: ``workloads`` names what is measured and what it must reach, in the terms of ``model``;
``runners`` measures one workload on one system in one process; ``micro`` runs them in turn,
each by ``launch`` in a ``sandbox``; ``results`` holds the samples, ``verdicts`` judges them,
``report`` and ``picture`` show them; ``machine`` and ``processes`` look at the machine.

What must hold: a figure is never shown without what ran beside it in the same run.
"""
