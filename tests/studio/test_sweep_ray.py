"""A sweep on a real Ray cluster of two nodes on this machine."""

import pytest

from studio import sweep
from studio.sweep import find, plan, work

ray = pytest.importorskip("ray")
pytest.importorskip("pyarrow")
NAME = "rope/similarity"


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    ray.shutdown()
    made.shutdown()


def test_results_are_the_serial_ones_though_a_node_is_killed_in_the_middle(cluster, tmp_path):
    second = cluster.add_node(num_cpus=1)
    runs = plan(*find(NAME), ["head_dim=256:512:17", "distance=60000"])
    workers = sweep.Cluster(cluster.address, retries=3, threads=1)
    nodes, ended = set(), 0

    class Watched:
        def outcomes(self, name, missing):
            nonlocal ended
            for found in workers.outcomes(name, missing):
                if not ended:
                    nodes.update(node["NodeID"] for node in ray.nodes() if node["Alive"])
                    cluster.remove_node(second, allow_graceful=False)
                ended += 1
                yield found

    rows = sweep.sweep(NAME, runs, tmp_path, Watched())
    assert len(nodes) == 2 and ended == len(runs) == 17
    assert not [row["error"] for row in rows if row["error"]]
    for run in runs:
        assert (tmp_path / f"{run.key}.npz").read_bytes() == work(NAME, run.settings, 1).file
