"""What every recipe shares: the arguments, the clock, the optimiser, checkpoints, and the model card.

A recipe that trains by a Run runs on several cards, unchanged, when it is started by accelerate (requirements-cards.txt):
    accelerate launch -m engines.recipes.ddpm_emoji --data DATA --out OUT
Each process draws batches of its own, so that a step sees as many times the images; gradients are averaged. The others
(few_steps, flow_weights, transport_generators, and those that make data) refuse to be more than one process.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn


class Team:
    """The processes that train together: those of `accelerate launch`, one a card, or this one alone.

    number: of this process; the first, 0, alone saves, prints and writes the card
    count: of them all; 1 once the training has ended, and the first is alone
    """

    def __init__(self):
        self.count, self.number = int(os.environ.get("WORLD_SIZE", 1)), 0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.count > 1:
            from accelerate import PartialState

            state = PartialState(cpu=os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true")
            self.number, self.device = state.process_index, state.device

    def mean(self, tensor: Tensor) -> Tensor:
        """Its mean over the processes, as a new tensor where there are several."""
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        return reduce(tensor, "mean")

    def average_gradients(self, model: nn.Module) -> None:
        """Replace each gradient by its mean over the processes, in one message."""
        if self.count == 1:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        for p in parameters:  # an expert that no token chose here has been chosen elsewhere
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        flat = self.mean(nn.utils.parameters_to_vector([p.grad for p in parameters]))
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad.copy_(part.view_as(p))


@cache
def team() -> Team:
    """The one that this process belongs to."""
    return Team()


def alone() -> None:
    """End where there are several processes: each would do the whole, and write the same files."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SystemExit("This recipe is one process: start it with python -m, without accelerate.")


def step_rng(seed: int, step: int) -> np.random.Generator:
    """What one step draws with: another in each process, in the first the same as alone."""
    return np.random.default_rng([seed, step] + [team().number] * (team().number > 0))


def arguments(description: str, minutes: float, argv: list[str] | None = None, **folders: str) -> argparse.Namespace:
    """The options every recipe takes, and further folders: option -> its help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and card")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--minutes", type=float, default=minutes, help="how long to train (on a CPU: its own time at work)"
    )
    parser.add_argument("--steps", type=int, help="train exactly so many steps instead: repeatable to the last bit")
    parser.add_argument("--device", default=str(team().device))
    for name, text in folders.items():
        parser.add_argument(f"--{name}", type=Path, help=text)
    return parser.parse_args(argv)


class Run:
    """A training run: iterate over it for the steps; it keeps time, learning rate, history and checkpoints.

    parts: name -> anything with `state_dict` and `load_state_dict`, saved about once a minute under out/checkpoints and
        restored when a killed run starts again with the same folder
    clock: seconds of this thread's own work on a CPU, so that pauses and other people's load do not spoil the schedule;
        the time of day on a GPU
    progress: share of the run that is done, 0 to 1, by the clock or by steps
    history: name -> list of the recorded numbers, one a step
    """

    def __init__(self, out: Path, parts: Mapping, a: argparse.Namespace, rate: float):
        self.path = Path(out) / "checkpoints" / "state.pt"
        self.parts, self.minutes, self.steps, self.peak = parts, a.minutes, a.steps, rate
        self.on_cpu = torch.device(a.device).type == "cpu"
        self.clock = time.thread_time if self.on_cpu else time.monotonic
        self.step, self.seconds, self.wall_seconds = 0, 0.0, 0.0
        self.history: dict[str, list] = {}
        self.stretches: list[str] = []
        if self.path.exists():
            state = torch.load(self.path, weights_only=True, map_location="cpu")
            for name, part in parts.items():
                part.load_state_dict(state["parts"][name])
            self.step, self.seconds, self.wall_seconds = state["step"], state["seconds"], state["wall_seconds"]
            self.history, self.stretches = state["history"], state["stretches"]
            print(f"resumed at step {self.step}, after {self.seconds / 60:.1f} minutes", flush=True)
        aim = f"--steps {a.steps}" if a.steps else f"--minutes {a.minutes:g}"
        if self.progress < 1 and aim not in self.stretches[-1:]:
            self.stretches.append(aim)

    @property
    def progress(self) -> float:
        return min(1.0, self.step / self.steps if self.steps else self.seconds / (60 * self.minutes))

    @property
    def rate(self) -> float:
        """Learning rate now: a short rise, then a straight fall to zero."""
        return self.peak * min(1.0, (self.step + 1) / 20) * max(0.01, 1 - self.progress)

    def __iter__(self) -> Iterator[int]:
        before, saved, shown = self.clock(), time.monotonic(), time.monotonic()
        wall_before = saved
        while self.progress < 1:
            yield self.step
            self.step += 1
            now, wall = self.clock(), time.monotonic()
            self.seconds += now - before
            if team().count > 1:  # all end at the same step
                self.seconds = team().mean(torch.tensor(self.seconds, device=team().device)).item()
            self.wall_seconds += wall - wall_before
            before, wall_before = now, wall
            # a terminal sees a moving line, a log file one line a minute
            if wall - shown > (1 if sys.stdout.isatty() else 60) or self.progress == 1:
                self.show()
                shown = wall
            if wall - saved > 60 or self.progress == 1:
                self.save()
                saved = wall
        if team().number > 0:
            sys.exit(0)  # the first process goes on, and measures what was trained
        team().count = 1  # nobody is there to average with: a judge of the samples is trained alone

    def record(self, **values: float | list | Tensor) -> None:
        """Numbers, or tensors of one number, which are read at the next report: reading one waits for the card."""
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)

    def read(self) -> None:
        """Make numbers of the recorded tensors."""
        for values in self.history.values():
            values[:] = [value.item() if isinstance(value, Tensor) else value for value in values]

    def recent(self, name: str, steps: int = 100) -> float:
        """Mean of the last recorded values."""
        return float(np.mean([float(value) for value in self.history[name][-steps:]]))

    def show(self) -> None:
        if team().number > 0:
            return
        self.read()
        bar = "#" * int(30 * self.progress)
        losses = "  ".join(f"{name} {self.recent(name):.4f}" for name in self.history if name.startswith("loss"))
        line = f"[{bar:30}] step {self.step}  {self.seconds / 60:.1f} min  {losses}"
        print(line, end="\r" if sys.stdout.isatty() and self.progress < 1 else "\n", flush=True)

    def save(self) -> None:
        if team().number > 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.read()
        networks = [part for part in self.parts.values() if isinstance(part, nn.Module)]
        if not all(bool(p.isfinite().all()) for network in networks for p in network.parameters()):
            raise SystemExit(f"Weights are no numbers any more at step {self.step}; the checkpoint before is kept.")
        state = {
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "step": self.step,
            "seconds": self.seconds,
            "wall_seconds": self.wall_seconds,
            "history": self.history,
            "stretches": self.stretches,
        }
        torch.save(state, self.path.with_suffix(".new"))
        os.replace(self.path.with_suffix(".new"), self.path)

    def sentence(self) -> str:
        """How long this run took, for the card."""
        clock = f" of processor time (one thread; {self.wall_seconds / 60:.0f} by the clock, on a shared machine)"
        text = f"{self.step:,} steps in {self.seconds / 60:.1f} minutes{clock if self.on_cpu else ''}"
        if len(self.stretches) > 1:  # each stretch aims at another end, so the learning rate jumped at its start
            text += f", resumed with another end each time: {', then '.join(self.stretches)}"
        return text


def orthogonalize(matrix: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: five Newton-Schulz steps with Muon's coefficients. [..., m, n].

    On a card in bfloat16, as Muon's authors do: the steps forgive rounding.
    """
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (x.flatten(-2).norm(dim=-1)[..., None, None] + 1e-7)
    x = x.bfloat16() if x.is_cuda else x
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for weight matrices (the last two dimensions), updates scaled to AdamW's size (arXiv 2502.16982, eq. 4)."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.01
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            alike: dict[tuple, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((p.shape, p.dtype, p.device), []).append(p)
            # at once: on a card a network's matrices, one by one, are thousands of launches
            for same in alike.values():
                self._step(same, **{key: group[key] for key in ("lr", "momentum", "weight_decay")})

    def _step(self, same: list[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        """One step of parameters of one shape."""
        gradients = [p.grad for p in same if p.grad is not None]
        for p in same:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        kept = [self.state[p]["momentum"] for p in same]
        torch._foreach_mul_(kept, momentum)
        torch._foreach_add_(kept, gradients)
        update = torch.stack(gradients) + momentum * torch.stack(kept)
        # a convolution is a matrix too: outputs x (inputs x height x width)
        update = orthogonalize(update.flatten(2) if same[0].ndim == 4 else update)
        size = -0.2 * max(update.shape[-2:]) ** 0.5 * lr
        torch._foreach_mul_(same, 1 - lr * weight_decay)
        torch._foreach_add_(same, list(update.view(len(same), *same[0].shape).unbind()), alpha=size)


def optimizers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the network, Adam for embeddings, vectors and routers."""
    inner, outer = [], []
    for name, p in model.named_parameters():
        (inner if p.ndim >= 2 and "embed" not in name and "router" not in name else outer).append(p)
    return [Muon(inner, rate), torch.optim.Adam(outer, rate, betas=(0.9, 0.95))]


def compiled(model: nn.Module, *example: Tensor | None) -> Callable:
    """The model as torch compiles it, tried forwards and backwards on an example; as it is on a CPU, and where that fails.

    A network of 34 small convolutions with their norms is bound by launches and by memory: compiled, a norm and what
    follows it are one kernel.
    """
    if next(model.parameters()).device.type != "cuda":
        return model
    fast = torch.compile(model)
    try:
        fast(*example).sample.float().mean().backward()
    except Exception as fault:  # no C compiler, a card too old for Triton: it says so in a dozen ways
        print(f"not compiled: {str(fault).splitlines()[0][:200]}", flush=True)
        fast = model
    model.zero_grad(set_to_none=True)
    return fast


def descend(model: nn.Module, optimizers: Iterable[torch.optim.Optimizer], loss: Tensor, rate: float) -> Tensor:
    """One step down the clipped gradient; the loss, for `Run.record`."""
    loss.backward()
    team().average_gradients(model)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def save_weights(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, object] | None = None) -> None:
    """Write tensors as safetensors, floating ones in half precision; metadata values as JSON."""
    halved = {name: (t.half() if t.is_floating_point() else t).contiguous().cpu() for name, t in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halved, path, {"format": "pt"} | {key: json.dumps(value) for key, value in (metadata or {}).items()})
    path.chmod(0o644)


def half(model: nn.Module) -> nn.Module:
    """The model with its weights rounded as they are stored, in place; measure this one."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(tensor.data.half())
    return model.eval()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_checksums(folder: Path) -> str:
    """Write SHA256SUMS for the weight files of a folder, as `sha256sum --check` reads it; return its text."""
    text = "".join(
        f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in sorted(folder.rglob("*.safetensors"))
    )
    (folder / "SHA256SUMS").write_text(text)
    return text


def write_card(folder: Path, title: str, sections: Mapping[str, str], figures: Mapping[str, object]) -> None:
    """Write README.md and figures.json (the measured numbers, which the tests measure again) and the checksums."""
    checksums = write_checksums(folder)
    body = "\n\n".join(f"## {name}\n\n{text.strip()}" for name, text in sections.items())
    card = f"# {title}\n\n{body}\n\n## Checksums (SHA-256)\n\n```\n{checksums}```\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


def card_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
