"""A Ray cluster, for folders of pictures (engines.ddcm) and sweeps (studio.sweep)."""

from pathlib import Path

from engines.arguments import Refusal

ROOT = Path(__file__).parents[1]


def connect(address: str) -> None:
    """Join the cluster at this address, unless this process has: its workers get the project, wherever they are.

    A Refusal where no cluster answers.
    """
    import ray

    if not ray.is_initialized():
        environment = {"working_dir": str(ROOT), "excludes": [".git", "tests", "benchmarks", "node_modules"]}
        try:
            ray.init(address, runtime_env=environment, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as fault:
            raise Refusal("No Ray cluster answers at {address}: start one, or correct it.", address=address) from fault
