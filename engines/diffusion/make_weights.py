"""Train the shipped models of few steps: python -m engines.diffusion.make_weights (about five minutes on two cores)."""

from engines.diffusion.fewstep import METHODS, SHIPPED, save, train
from engines.diffusion.mixture import TARGETS


def main() -> None:
    """Every method on every shipped target with the defaults of the page: seed 0, its full number of steps."""
    trained = {}
    for target in SHIPPED:
        for method, spec in METHODS.items():
            *_, state = train(method, TARGETS[target](), spec.steps)
            trained[target, method] = state
            save(trained)
            print(f"{target:8} {method:26} {spec.steps} steps, last loss {state.losses[-1][1]:.4f}", flush=True)


if __name__ == "__main__":
    main()
