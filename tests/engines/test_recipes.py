"""Each recipe trains for seconds on data made here: the loss falls, and what it writes is whole."""

import hashlib
import io
import json
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from engines.recipes import (
    bert_quatrain,
    bert_storybook,
    ddpm_cifar10,
    ddpm_emoji,
    ddpm_emoji_kinds,
    judge,
    moe_decoders,
    rope_decoders,
    text,
)
from engines.recipes.training import Muon, Run, arguments, descend, optimizers, orthogonalize

TINY = {"width": 32, "layers": 1, "heads": 2, "hidden": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a little of everything, learnable in a few steps."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    words = ["the", "fox", "saw", "a", "fine", "bunch", "of", "grapes", "hanging", "from", "old", "vine"]
    lines = [" ".join(words * 5)] * 300
    (folder / "storybook.txt").write_text("\n".join(lines), encoding="utf-8")
    characters = list("春夏秋冬风花雪月山水云天")
    for n in (7, 5):
        poems = []
        for _ in range(60):  # a place predicts its character
            line = [rng.choice(characters) if rng.random() < 0.2 else characters[i] for i in range(n)]
            poems.append("".join(f"{''.join(line)}{mark}" for mark in "，。，。"))
        (folder / f"quatrains-{n}.txt").write_text("\n".join(poems), encoding="utf-8")
    images = np.broadcast_to(rng.integers(0, 256, (40, 1, 1, 3), dtype=np.uint8), (40, 32, 32, 3))
    codes = np.array(["1f600", "1f466", "0023_20e3", "1f99e"] * 10)
    np.savez(folder / "emoji-32.npz", images=images, codepoints=codes)
    return folder


def typed(data, out, steps):
    return ["--data", str(data), "--out", str(out), "--steps", str(steps), "--device", "cpu"]


def options(data, out, steps):
    return arguments("", 1, typed(data, out, steps), start="")


def falls(losses, least=0.05):
    """The mean of the last five is lower than that of the first three by at least this share."""
    return np.mean(losses[-5:]) < (1 - least) * np.mean(losses[:3])


def check_folder(folder, figures):
    """Weights as SHA256SUMS and the card tell them, and figures that are numbers."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    assert sums
    for line in sums:
        digest, name = line.split(maxsplit=1)
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        assert digest in card
    for word in ("## Data", "## Training", "--seed 0", "steps in", "## Licence"):
        assert word in card
    written = json.loads((folder / "figures.json").read_text())
    assert set(figures) <= set(written)


def test_rope_decoders(data, tmp_path, monkeypatch):
    monkeypatch.setattr(rope_decoders, "BASES", (100, 10_000))
    monkeypatch.setattr(rope_decoders, "LONG", 128)
    run = rope_decoders.train(options(data, tmp_path, 20), **TINY, context=32)
    assert falls(run.history["loss 100"]) and falls(run.history["loss 10000"])
    # the same start and the same batches; only the rotation differs
    assert run.history["loss 100"][0] == pytest.approx(run.history["loss 10000"][0], rel=1e-2)
    check_folder(tmp_path, ["rope-base-100", "rope-base-10000"])


def test_moe_decoders(data, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "python_source", lambda: b"def f(x):\n    return x\n" * 1_000)
    run = moe_decoders.train(options(data, tmp_path, 20), **TINY, context=32)
    for rule in moe_decoders.RULES:
        assert falls(run.history[f"loss {rule}"])
        np.testing.assert_allclose(np.array(run.history[f"load {rule}"]).sum(-1), 1, atol=1e-6)
    check_folder(tmp_path, ["moe-none", "moe-auxiliary", "moe-loss-free"])


def test_balancing_loss_is_one_when_balanced_and_n_over_k_when_collapsed():
    from engines.decoder import Routing

    even = torch.arange(16).view(1, 8, 2) % 8
    uniform = Routing(torch.full((1, 8, 8), 1 / 8), even, torch.full((1, 8, 2), 0.5))
    assert moe_decoders.balancing_loss((uniform,)).item() == pytest.approx(1)
    scores = torch.zeros(1, 8, 8)
    scores[..., :2] = 0.5
    collapsed = Routing(scores, torch.tensor([0, 1]).expand(1, 8, 2), torch.full((1, 8, 2), 0.5))
    assert moe_decoders.balancing_loss((collapsed,)).item() == pytest.approx(4)


def test_bert_quatrain(data, tmp_path, monkeypatch):
    monkeypatch.setattr("engines.recipes.masked.SAMPLE", 6)
    monkeypatch.setattr("engines.recipes.masked.RATE", 1e-2)
    run = bert_quatrain.train(options(data, tmp_path, 25), **TINY)
    assert falls(run.history["loss"])
    check_folder(tmp_path, ["pseudo_nll", "accuracy", "unigram_nll"])
    assert "Gibbs" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_bert_storybook(data, tmp_path, monkeypatch):
    monkeypatch.setattr("engines.recipes.masked.SAMPLE", 6)
    monkeypatch.setattr("engines.recipes.masked.RATE", 1e-2)
    run = bert_storybook.train(options(data, tmp_path, 40), pieces=120, **TINY)
    assert falls(run.history["loss"])
    check_folder(tmp_path, ["pseudo_nll", "accuracy", "unigram_nll"])


def test_a_resumed_run_keeps_its_vocabulary(tmp_path):
    first = bert_storybook.make_tokenizer(
        ["a fox saw the grapes"] * 9, 60, tmp_path / "checkpoints" / "vocabulary.json"
    )
    again = bert_storybook.make_tokenizer(["other words"] * 9, 60, tmp_path / "checkpoints" / "vocabulary.json")
    assert first.get_vocab() == again.get_vocab()


def test_ddpm_emoji_repeats_and_resumes(data, tmp_path, monkeypatch):
    monkeypatch.setattr(ddpm_emoji, "draw_samples", lambda *a: np.zeros((40, 32, 32, 3), np.uint8))
    monkeypatch.setattr(ddpm_emoji, "BATCH", 8)
    monkeypatch.setattr(ddpm_emoji, "RATE", 1e-2)
    run = ddpm_emoji.train(options(data, tmp_path / "one", 16), channels=(8, 16))
    assert falls(run.history["loss"])
    check_folder(tmp_path / "one", ["loss"])
    ddpm_emoji.train(options(data, tmp_path / "two", 16), channels=(8, 16))
    sums = [(tmp_path / name / "SHA256SUMS").read_text() for name in ("one", "two")]
    assert sums[0] == sums[1]  # the same seed and steps: the same weights
    # started again with a later end, it goes on from where it was
    longer = ddpm_emoji.train(options(data, tmp_path / "two", 18), channels=(8, 16))
    assert longer.history["loss"][:16] == run.history["loss"] and len(longer.history["loss"]) == 18
    assert "resumed" in (tmp_path / "two" / "README.md").read_text(encoding="utf-8")


def test_ddpm_emoji_draws_what_a_perfect_model_knows():
    class Knows(torch.nn.Module):
        """v for data that are one picture, a slope in red."""

        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))
            self.picture = torch.linspace(-1, 1, 32).expand(32, 32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]

        def forward(self, x, t, labels=None):
            alpha = ddpm_emoji.make_scheduler().alphas_cumprod[t].sqrt()
            sigma = (1 - alpha**2).sqrt()
            noise = (x - alpha * self.picture) / sigma
            return SimpleNamespace(sample=alpha * noise - sigma * self.picture)

    drawn = ddpm_emoji.draw_samples(Knows(), 2, 10, 0)
    expected = ((Knows().picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert drawn.dtype == np.uint8 and drawn.shape == (2, 32, 32, 3)
    assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_ddpm_emoji_kinds_starts_from_a_model_and_names_its_classes(data, tmp_path, monkeypatch):
    monkeypatch.setattr(ddpm_emoji_kinds, "draw_samples", lambda model, n, *a: np.zeros((n, 32, 32, 3), np.uint8))
    monkeypatch.setattr(ddpm_emoji, "BATCH", 8)
    monkeypatch.setattr(ddpm_emoji_kinds, "RATE", 1e-2)
    torch.manual_seed(0)
    start = ddpm_emoji.build((8, 16))
    run = ddpm_emoji_kinds.train(options(data, tmp_path, 16), start)
    assert falls(run.history["loss"])
    check_folder(tmp_path, ["loss", "loss_untold"])
    names = json.loads((tmp_path / "model_index.json").read_text())["id2label"]
    assert list(names.values()) == list(ddpm_emoji_kinds.KINDS)


def test_ddpm_cifar10_trains_and_goes_on_from_its_weights(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / ddpm_cifar10.ARCHIVE, "w:xz") as archive:
        for i, name in enumerate(ddpm_cifar10.CLASSES):
            for j in range(4):
                file = io.BytesIO()
                Image.new("RGB", (32, 32), (25 * i, 60 * j, 120)).save(file, "jpeg")
                entry = tarfile.TarInfo(f"cifar10/{name}/{j}.jpg")
                entry.size = file.tell()
                file.seek(0)
                archive.addfile(entry, file)
    images, labels = ddpm_cifar10.read(tmp_path)
    assert images.shape == (40, 32, 32, 3) and labels.tolist() == sorted(4 * list(range(10)))
    monkeypatch.setattr(ddpm_cifar10, "draw_samples", lambda model, n, *a: np.zeros((n, 32, 32, 3), np.uint8))
    monkeypatch.setattr(ddpm_cifar10, "BATCH", 8)
    monkeypatch.setattr(ddpm_cifar10, "RATE", 1e-2)
    monkeypatch.setattr(ddpm_cifar10, "JUDGED", 20)
    run = ddpm_cifar10.train(options(tmp_path, tmp_path / "one", 14), channels=(8, 16, 16))
    assert falls(run.history["loss"])
    check_folder(tmp_path / "one", ["loss", "loss_untold", "loss_seen"])
    more = arguments("", 1, [*typed(tmp_path, tmp_path / "two", 1), "--start", str(tmp_path / "one")], start="")
    again = ddpm_cifar10.train(more, channels=(8, 16, 16))
    assert again.history["loss"][0] < run.history["loss"][0] / 1.2
    card = (tmp_path / "two" / "README.md").read_text(encoding="utf-8")
    assert "--start FORMER" in card and "--steps 14" in card
    model = ddpm_emoji.build((8, 16, 16), 11, ddpm_cifar10.ATTENTIVE).eval()
    found = ddpm_cifar10.judge(model, images, labels, more, epochs=1, width=4)
    assert set(found) == {"right on held-back images", "training images", "1", "1.5", "former 1", "former 1.5"}
    assert "former weights, guidance 1.5" in ddpm_cifar10.judgement(found)


def test_the_judge_tells_colours_apart_and_measures_normal_laws():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    images = (60 + 60 * labels[:, None, None, None] + rng.integers(0, 40, (30, 32, 32, 3))).astype(np.uint8)
    seer = judge.fit_judge(images, labels, "cpu", epochs=80, width=4)
    assert (judge.look(seer, images)[0] == labels).mean() > 0.9
    one, other = rng.standard_normal((4000, 2)) * [1, 2] + [0, 1], rng.standard_normal((4000, 2)) * [3, 2]
    assert judge.frechet(one, other) == pytest.approx(1 + 4, abs=0.4)  # |m − m'|² + (1 − 3)²
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert judge.frechet(one @ turn, other @ turn) == pytest.approx(judge.frechet(one, other), rel=1e-9)


def test_a_network_that_cannot_be_compiled_is_used_as_it_is(monkeypatch):
    from engines.recipes import training

    model = ddpm_emoji.build((8, 16))
    assert training.compiled(model) is model  # on a CPU

    def fails(*example):
        raise RuntimeError("no compiler")

    class OnCard(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, device="meta"))

        def parameters(self, recurse=True):
            yield SimpleNamespace(device=torch.device("cuda"), grad=None, requires_grad_=None)

    monkeypatch.setattr(torch, "compile", lambda model: fails)
    card = OnCard()
    monkeypatch.setattr(card, "zero_grad", lambda set_to_none: None)
    assert training.compiled(card) is card


def test_muon_takes_matrices_of_one_shape_together():
    """As one by one, conv kernels too: the sum is the same whatever stands beside it."""
    torch.manual_seed(0)
    shapes = [(8, 6), (4, 3, 3, 3), (8, 6), (2, 6, 4), (4, 3, 3, 3), (30, 2, 3, 3)]
    start = [torch.randn(shape) for shape in shapes]
    gradients = [[torch.randn(shape) for shape in shapes] for _ in range(3)]
    found = []
    for groups in (range(len(shapes)),), [(i,) for i in range(len(shapes))]:
        weights = [torch.nn.Parameter(x.clone()) for x in start]
        steppers = [Muon([weights[i] for i in group], lr=0.1) for group in groups]
        for gradient in gradients:
            for weight, g in zip(weights, gradient, strict=True):
                weight.grad = g.clone()
            for stepper in steppers:
                stepper.step()
        found.append([w.detach() for w in weights])
    for together, alone in zip(*found, strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_recorded_tensors_become_numbers_when_they_are_asked_for(tmp_path):
    a = options(tmp_path, tmp_path, 3)
    model = torch.nn.Linear(2, 1)
    run = Run(tmp_path, {"model": model}, a, 0.1)
    for _ in run:
        run.record(loss=descend(model, optimizers(model, 0.1), model(torch.ones(2)).square().sum(), run.rate))
    assert all(isinstance(value, float) for value in run.history["loss"]) and run.recent("loss") > 0


@pytest.mark.parametrize(
    ("codes", "name"),
    [
        ("1f600", "face"),
        ("1f468_200d_1f4bb", "person"),
        ("1f926", "person"),
        ("1f98a", "animal"),
        ("1f355", "food"),
        ("0023_20e3", "sign"),
        ("2b50", "sign"),
        ("1f680", "thing"),
    ],
)
def test_kinds_go_by_the_first_code_point(codes, name):
    assert list(ddpm_emoji_kinds.KINDS)[ddpm_emoji_kinds.kind(codes)] == name


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path):
    a = options(tmp_path, tmp_path, 10)
    model = torch.nn.Linear(1, 1, bias=False)

    class Killed(Exception):
        pass

    run = Run(tmp_path, {"model": model}, a, 0.1)
    with pytest.raises(Killed):
        for step in run:
            run.record(loss=float(step))
            torch.nn.init.constant_(model.weight, step)
            if step == 4:
                run.step += 1  # this step is done when the checkpoint is written
                run.save()
                raise Killed
    again = torch.nn.Linear(1, 1, bias=False)
    resumed = Run(tmp_path, {"model": again}, a, 0.1)
    assert resumed.step == 5 and again.weight.item() == 4
    assert list(resumed) == [5, 6, 7, 8, 9]


def test_the_schedule_ends_after_its_minutes(tmp_path):
    a = arguments("", 0.01, ["--data", str(tmp_path), "--out", str(tmp_path), "--device", "cpu"])
    run = Run(tmp_path, {}, a, 1.0)
    ticks = iter(np.arange(0, 10, 0.1))
    run.clock = lambda: float(next(ticks))
    assert len(list(run)) == 6  # 0.6 s at 0.1 s a step
    assert run.progress == 1 and run.rate <= 0.02


def test_split_holds_back_the_last_tenth_and_windows_stay_inside():
    training, held = text.split(bytes(range(200)) * 10)
    assert (held[0] == np.arange(100)).all() and (training[-1] == np.arange(100, 200)).all()
    assert len(training) == 18 and len(held) == 2 and training.shape[1] == 100
    drawn = text.windows(training, 50, 10, np.random.default_rng(0))
    assert drawn.shape == (50, 10)
    assert (np.diff(drawn, axis=1) % 256 == 1).all()


def test_images_are_held_back_by_index():
    images = np.arange(25)
    training, held = ddpm_emoji.split(images)
    assert held.tolist() == [9, 19] and len(training) == 23


def test_orthogonalize_brings_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((16, 40), (40, 16), (3, 16, 24)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
        assert values.min() > 0.5 and values.max() < 1.3


def test_python_source_is_that_of_the_running_interpreter():
    source = text.python_source(limit=200_000)
    assert 200_000 < len(source) < 1_500_000 and b"import" in source


def test_muon_descends():
    torch.manual_seed(0)
    target, weight = torch.randn(8, 6), torch.nn.Parameter(torch.zeros(8, 6))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
    losses = []
    for step in range(60):
        loss = (weight - target).square().mean()
        losses.append(loss.item())
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - step / 60)
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.1 * losses[0]
