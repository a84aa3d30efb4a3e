"""A Ray cluster of nodes of one core each, on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil


@contextmanager
def start_nodes(count: int, environment: dict[str, str], bind: bool = False) -> Iterator[str]:
    """The address of a cluster of so many nodes, whose workers have this environment.

    ``bind``: each has a core of this machine, and computes on no other.
    """
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment | {"RAY_USAGE_STATS_ENABLED": "0"})
    try:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes = [cluster.head_node, *(cluster.add_node(num_cpus=1) for _ in range(count - 1))]
        if bind:
            for core, node in enumerate(nodes):
                bind_node(node, core)
        yield cluster.address
        cluster.shutdown()
    finally:
        os.environ.clear()
        os.environ.update(before)


def bind_node(node: Any, core: int) -> None:
    """Let a node, and all that it starts, compute on this core alone."""
    for started in node.all_processes.values():
        for process in (psutil.Process(info.process.pid) for info in started):
            for each in (process, *process.children(recursive=True)):
                each.cpu_affinity([core])
