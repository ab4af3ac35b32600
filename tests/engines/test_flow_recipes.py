"""The recipes of the flows and of transport's generators, tiny, and the checkpoint that stays good."""

import json

import numpy as np
import pytest
import torch

from engines.flow.tarflow import TarFlow
from engines.recipes import flow_weights, tarflow, transport_generators
from engines.recipes.training import Run, half
from tests.engines.test_recipes import check_folder, options, typed

SIZES = ["--channels", "32", "--blocks", "2", "--layers", "1", "--batch", "8", "--samples", "4"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of twenty pictures of one colour each."""
    folder = tmp_path_factory.mktemp("data")
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 1, 3), dtype=np.uint8)
    np.savez(folder / "emoji-32.npz", images=np.broadcast_to(images, (20, 32, 32, 3)))
    return folder


def test_tarflow_measures_what_it_keeps_and_goes_on_where_it_was(pictures, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    drawn = []
    original = tarflow.draw
    monkeypatch.setattr(tarflow, "draw", lambda flow, *a: drawn.append(flow) or original(flow, *a))
    run = tarflow.main([*typed(pictures, tmp_path, 12), *SIZES])
    assert run.step == 12 and np.isfinite(run.history["loss"]).all()
    check_folder(tmp_path, ["test_nats", "train_nats", "steps"])
    kept = load_file(tmp_path / "tarflow.safetensors")
    assert kept["blocks.0.head.weight"].any()  # 0 before the first step
    assert all(torch.equal(tensor, kept[name].float()) for name, tensor in drawn[0].state_dict().items())
    assert (tmp_path / "samples.png").stat().st_size and (tmp_path / "samples-raw.png").stat().st_size
    again = tarflow.main([*typed(pictures, tmp_path, 14), *SIZES])
    assert again.step == 14 and again.history["loss"][:12] == run.history["loss"][:12]
    assert json.loads((tmp_path / "figures.json").read_text())["steps"] == 14


def test_pictures_of_three_colours_and_their_tokens_are_one_another_back():
    images = torch.arange(2 * 32 * 32 * 3).view(2, 32, 32, 3)
    tokens = tarflow.to_tokens(images)
    assert tokens.shape == (2, 64, 48) and torch.equal(tarflow.to_images(tokens), images)
    assert torch.equal(tokens[0, 9].view(4, 4, 3), images[0, 4:8, 4:8])


def test_a_run_whose_weights_are_no_numbers_keeps_the_checkpoint_before(tmp_path):
    model = torch.nn.Linear(2, 1)
    run = Run(tmp_path, {"model": model}, options(tmp_path, tmp_path, 5), 0.1)
    run.save()
    with torch.no_grad():
        model.weight[0, 0] = torch.nan
    with pytest.raises(SystemExit, match="no numbers"):
        run.save()
    assert torch.load(run.path, weights_only=True)["parts"]["model"]["weight"].isfinite().all()


def test_flow_weights_makes_weights_card_and_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_weights, "PLANE", {"moons-1": ("moons", 1, True, 400)})
    monkeypatch.setattr(flow_weights, "DIGITS", {"digits-0.3": 0.3})
    flow_weights.main(["--out", str(tmp_path), "--scale", "0.01"])
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "--seed 0" in card and "| moons | 1 |" in card
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"moons-1", "digits-0.3"} and np.isfinite(list(figures.values())).all()
    assert (tmp_path / "plane.safetensors").exists() and (tmp_path / "digits-0.3.safetensors").exists()


def test_half_is_what_is_stored():
    flow = half(TarFlow(4, 2, 16, 1))
    assert all(torch.equal(p, p.half().float()) for p in flow.parameters())


def test_transport_generators_are_trained_kept_and_measured(monkeypatch, capsys):
    saved = {}
    monkeypatch.setattr(transport_generators, "GENERATORS", {"exact_16": ("exact", 16, 3)})
    monkeypatch.setattr(transport_generators, "save", lambda name, net: saved.update({name: net}))
    transport_generators.main(["exact_16"])
    rows = capsys.readouterr().out.splitlines()
    assert list(saved) == ["exact_16"] and rows[0].startswith("real") and rows[1].startswith("exact_16")
