"""Sweeps, and folders of pictures, on a real Ray cluster on this machine.

Ray is not among the tests' requirements, so these run where it is installed (pip install -r requirements-ray.txt). Its wheel is
79 MB, 240 MB unpacked, and a cluster of two nodes on two cores, which the other tests keep busy, took 86 to 169 s in three
runs, all of which passed: more than 60 s altogether.
"""

import numpy as np
import pytest
from PIL import Image

from engines.ddcm import __main__, decode
from engines.ddcm.pictures import held_back
from studio import sweep
from studio.sweep import find, plan, work

ray = pytest.importorskip("ray", reason="too dear for every change: see above")
pytest.importorskip("pyarrow")
NAME = "rope/similarity"


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    # a node that is gone is missed after seconds, not after half a minute
    quick = {"health_check_period_ms": 1000, "health_check_timeout_ms": 3000, "health_check_failure_threshold": 2}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": quick})
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


def test_a_folder_is_coded_as_here(cluster, tmp_path, capsys):
    options = ["--steps", "3", "--codebook-size", "8"]
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        folder.mkdir()
        for i in range(3):
            Image.fromarray(held_back()[i]).save(folder / f"{i}.png")
        (folder / "broken.png").write_bytes(b"no picture")
    assert __main__.main(["encode", str(folders[0]), *options]) == 1
    serial = capsys.readouterr().out
    assert __main__.main(["encode", str(folders[1]), *options, "--ray", cluster.address]) == 1
    assert capsys.readouterr().out == serial and "broken.png" in serial
    assert __main__.main(["decode", str(folders[1]), "--ray", cluster.address]) == 0
    codes = [[path.read_bytes() for path in sorted(folder.glob("*.ddcm"))] for folder in folders]
    assert len(codes[0]) == 3 and codes[0] == codes[1]
    for code, path in zip(codes[1], sorted(folders[1].glob("*.decoded.png")), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), decode(code))
