"""The flows of the flow exhibit: targets in the plane at every noise level, and digits with their labels.

    python -m engines.recipes.flow_weights --data . --out assets/models/flow --workers 12

No data: the targets are closed forms, the digits come with scikit-learn. Each flow is kept under OUT/checkpoints when it is
done, so a killed run goes on where it was.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from engines.diffusion.mixture import target_mixture
from engines.flow import digits, plane
from engines.recipes.training import alone, card_table, half, save_weights, write_card

PLANE = {
    f"{target}-{name}": (target, blocks, alternate, steps)
    for target in plane.TARGETS
    for name, blocks, alternate, steps in (
        ("8", 8, True, 12_000),
        ("4", 4, True, 8_000),
        ("2", 2, True, 8_000),
        ("1", 1, True, 4_000),
        ("8-one-order", 8, False, 8_000),
    )
}
DIGITS = {"digits-0.1": 0.1, "digits-0.3": 0.3}
PATCH, DIGIT_STEPS = 4, 1_500


def fit(name: str, out: Path, seed: int, scale: float) -> tuple[str, float]:
    """Train one flow and keep it; (its name, processor seconds)."""
    torch.set_num_threads(1)
    path, start = out / "checkpoints" / f"{name}.pt", time.process_time()
    if not path.exists():
        torch.manual_seed(seed)
        if name in PLANE:
            target, blocks, alternate, steps = PLANE[name]
            flow = plane.PlaneFlow(blocks, alternate)
            for _ in plane.train(target_mixture(target), flow, max(1, int(scale * steps)), batch=512, seed=seed):
                pass
        else:
            flow = digits.make(str(PATCH), seed=seed)
            for _ in digits.train(flow, PATCH, DIGITS[name], max(1, int(scale * DIGIT_STEPS)), seed=seed):
                pass
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(flow.state_dict(), path)
    return name, time.process_time() - start


def export(out: Path, seconds: float, seed: int) -> None:
    """Write plane.safetensors, digits-*.safetensors and the card."""
    merged, rows, figures = {}, [], {}
    for name, (target, blocks, alternate, steps) in PLANE.items():
        state = torch.load(out / "checkpoints" / f"{name}.pt", weights_only=True)
        merged |= {f"{name}/{key}": value for key, value in state.items()}
        flow = plane.PlaneFlow(blocks, alternate)
        flow.load_state_dict(state)
        half(flow)
        gaps = [plane.divergence(flow, target_mixture(target), sigma) for sigma in (0.05, 0.15, 0.3, 0.6)]
        figures[name] = gaps[1]
        rows.append([target, blocks, "two" if alternate else "one", f"{steps:,}", *(f"{gap:.4f}" for gap in gaps)])
    save_weights(merged, out / "plane.safetensors")
    data, labels = digits.split(), torch.arange(300) % 10
    lines = []
    for name, noise in DIGITS.items():
        flow = digits.make(str(PATCH))
        flow.load_state_dict(torch.load(out / "checkpoints" / f"{name}.pt", weights_only=True))
        save_weights(flow.state_dict(), out / f"{name}.safetensors", {"config": flow.config})
        half(flow)
        raw = digits.sample(flow, PATCH, labels)
        clean = digits.denoised(flow, PATCH, raw, noise, labels)
        figures[name] = digits.test_nll(flow, PATCH, noise)
        shares = [f"{100 * digits.recognised(pictures, labels):.1f}%" for pictures in (raw, clean)]
        apart = [f"{digits.frechet(pictures):.3f}" for pictures in (raw, clean)]
        lines.append([noise, f"{figures[name]:.4f}", f"{digits.gaussian_nll(noise):.4f}", *shares, *apart])
    sections = {
        "What it is": f"""
Flows of `engines.flow`. `plane.safetensors`: {len(PLANE)} flows of points in the plane (`PlaneFlow`, width 64), for noise from
{plane.SIGMA_LOW} to {plane.SIGMA_HIGH}, which each is told. `digits-*.safetensors`: TARFLOW over 4 patches of 4 x 4 pixels, 6 blocks of
one layer, width 96, with labels.""",
        "Data": """
Mixtures of Gaussians (`engines.diffusion.mixture`) and scikit-learn's digits (UCI, CC BY 4.0): 1,500 pictures to train on, 297 to test.""",
        "Training": f"""
`python -m engines.recipes.flow_weights --data DATA --out OUT --seed {seed}`; {seconds / 60:.1f} minutes of processor time, one
thread a flow. AdamW; weights stored in float16.""",
        "Measured": f"""
KL(target with noise σ to flow), nats, by quadrature:

{card_table(("target", "blocks", "orders", "steps", "σ = 0.05", "0.15", "0.3", "0.6"), rows)}

Digits; 300 samples, 30 a label; recognised by a support vector machine; Fréchet distance (squared ink) to the test pictures
(of 297 training pictures: {digits.frechet(data.train[:297]):.3f}):

{card_table(("σ", "test nats a pixel", "one Gaussian", "recognised raw", "denoised", "Fréchet raw", "denoised"), lines)}""",
        "Limits": """
Trained for minutes, to be looked into; the digits are small. In the plane other flows learn faster: on moons with noise 0.15,
after 6 processor seconds, zuko's MAF of 8 transforms is at a KL of 0.025 and this flow of 8 blocks at 0.058 (medians of three
seeds, `python -m benchmarks.flow 6`).""",
        "Licence": "Apache-2.0 for the weights.",
    }
    write_card(out, "flow", sections, figures)


def main(argv: list[str] | None = None) -> None:
    alone()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and card")
    parser.add_argument("--data", type=Path, help="not needed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="flows trained side by side")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the steps, to try it out")
    parser.add_argument("--train-only", action="store_true", help="train and keep the flows, no card")
    a = parser.parse_args(argv)
    names = (*DIGITS, *PLANE)
    clock = a.out / "checkpoints" / "seconds.txt"
    if a.workers == 1:
        done = [fit(name, a.out, a.seed, a.scale) for name in names]
    else:
        with ProcessPoolExecutor(a.workers, mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(fit, name, a.out, a.seed, a.scale) for name in names]
            done = [job.result() for job in jobs]
    seconds = sum(spent for _, spent in done) + (float(clock.read_text()) if clock.exists() else 0.0)
    clock.write_text(str(seconds))
    print(f"{len(names)} flows, {seconds:.0f} s of processor time", flush=True)
    if not a.train_only:
        export(a.out, seconds, a.seed)


if __name__ == "__main__":
    main()
