"""A Ray cluster of nodes of one core each, on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def start_nodes(count: int, environment: dict[str, str]) -> Iterator[str]:
    """The address of a cluster of so many nodes, whose workers have this environment."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment | {"RAY_USAGE_STATS_ENABLED": "0"})
    try:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        for _ in range(count - 1):
            cluster.add_node(num_cpus=1)
        yield cluster.address
        cluster.shutdown()
    finally:
        os.environ.clear()
        os.environ.update(before)
