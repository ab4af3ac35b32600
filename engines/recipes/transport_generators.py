"""Train the shipped generators of digits: python -m engines.recipes.transport_generators [NAME ...].

The five took about four minutes together on one core. Prints W1 to 512 fresh pictures, Fréchet distance and spread.
"""

import sys
import time

from engines.digits import frechet
from engines.recipes.training import alone, write_checksums
from engines.transport.data import halves, spread
from engines.transport.generators import GENERATORS, WEIGHTS, pictures, save, train_generator
from engines.transport.matching import wasserstein


def main(names: list[str]) -> None:
    """Every named generator with seed 0 and its own number of steps."""
    alone()
    known, fresh = halves()
    row = "{:12} W1 {:.4f}  Frechet {:.3f}  spread {:.3f}  {:.0f} s"
    print(row.format("real", wasserstein(known[:512], fresh[:512]).value, frechet(known, fresh), spread(fresh), 0))
    for name in names:
        begun = time.process_time()
        *_, state = train_generator(*GENERATORS[name])
        seconds = time.process_time() - begun
        save(name, state.net)
        write_checksums(WEIGHTS.parent)
        made = pictures(name, 898)
        distance = wasserstein(made[:512], fresh[:512]).value
        print(row.format(name, distance, frechet(made, fresh), spread(made), seconds), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(GENERATORS))
