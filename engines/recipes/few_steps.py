"""Train the shipped models of few steps: python -m engines.recipes.few_steps [TARGET ...].

A target took about six minutes on half of a processor core.
"""

import sys

from engines.diffusion.fewstep import METHODS, SHIPPED, save, train
from engines.diffusion.mixture import TARGETS
from engines.recipes.training import alone


def main(targets: list[str]) -> None:
    """Every method on every named target with seed 0, its full number of steps; α of SHIPPED."""
    alone()
    for target in targets:
        for method, spec in METHODS.items():
            *_, state = train(method, TARGETS[target](), spec.steps, alpha=SHIPPED.get(target, 1.0))
            save({(target, method): state})
            print(f"{target:12} {method:26} {spec.steps} steps, last loss {state.losses[-1][1]:.4f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(SHIPPED))
