"""Recorded networks, with a recording that plays on a CPU; and tensors that all stay on one device, with torch's "meta"."""

import gc
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engines import graphs, latents, models
from engines.ddcm import Plan, codebook, codec
from engines.ddcm.codec import PixelModel, encoder, walk
from engines.ddcm.guidance import guide
from engines.ddcm.photographs import follow
from engines.diffusion.images import sample_images, scheduler_for
from engines.gibbs import sampling
from engines.gibbs.bytepair import BytePairLM
from engines.gibbs.masked import MaskedLM
from engines.graphs import Captured, Graph, network
from engines.latents import Prompted
from engines.recipes.ddpm_emoji import build, make_scheduler
from tests.engines.test_latents import saved


class Replay(Graph):
    """A recording whose replay is a call that writes into the same places, as a graph's kernels do."""

    made = 0

    def __init__(self, function, arguments, pool=None):
        Replay.made += 1
        with torch.inference_mode(False), torch.no_grad():
            self.arguments = tuple(torch.empty_like(a).copy_(a) for a in arguments)
            self.result = function(*self.arguments)

        def replay():
            again = function(*self.arguments)
            for kept, new in zip(*(r if isinstance(r, tuple) else (r,) for r in (self.result, again)), strict=True):
                kept.copy_(new)

        self.graph = SimpleNamespace(replay=replay, pool=lambda: pool or object())


@pytest.fixture
def card(monkeypatch):
    """Recordings are made and played, here."""
    monkeypatch.setattr(Captured, "graph", Replay)
    monkeypatch.setattr(Captured, "on_card", staticmethod(lambda arguments: True))
    monkeypatch.setattr(graphs, "_networks", type(graphs._networks)())
    for kept in (sampling._drawing, codebook._kept_parts):
        kept.cache_clear()
    Replay.made = 0
    yield Replay
    for kept in (sampling._drawing, codebook._kept_parts):
        kept.cache_clear()


def small(classes=None):
    torch.manual_seed(0)
    return build((8, 16), classes).eval().requires_grad_(False)


def pixel_model(net=None, labels=()):
    kept = make_scheduler().alphas_cumprod.double().numpy()
    return PixelModel(
        "small", b"12345678", net or small(len(labels) + 1 if labels else None), kept, "v_prediction", 32, labels
    )


def test_each_shape_is_recorded_once_and_results_are_ones_own(card):
    calls = []

    def double(x):
        calls.append(x.shape)
        return 2 * x

    recorded = Captured(double)
    first = [recorded(torch.full((3,), float(i))) for i in range(5)]
    assert [x[0].item() for x in first] == [0, 2, 4, 6, 8]  # none is written over by a later call
    assert card.made == 1
    recorded(torch.zeros(4)), recorded(torch.zeros(4)), recorded(torch.zeros(4))
    assert card.made == 2
    for n in range(5, 5 + graphs.MOST):
        for _ in range(3):
            recorded(torch.zeros(n))
    assert len(recorded.graphs) == graphs.MOST


def test_what_cannot_be_recorded_is_called_as_it_is(card, monkeypatch):
    tried = []

    def fails(function, arguments, pool):
        tried.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Captured, "graph", staticmethod(fails))
    recorded = Captured(lambda x: x + 1)
    assert [recorded(torch.zeros(1)).item() for _ in range(9)] == [1] * 9
    assert len(tried) == graphs.TRIES


def test_a_recording_that_failed_once_is_tried_again(card, monkeypatch):
    def fails(function, arguments, pool):
        monkeypatch.setattr(Captured, "graph", Replay)
        raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(Captured, "graph", staticmethod(fails))
    recorded = Captured(lambda x: x + 1)
    assert [recorded(torch.zeros(1)).item() for _ in range(5)] == [1] * 5 and card.made == 1


def test_two_threads_do_not_record_at_once(card, monkeypatch):
    busy, met, both = threading.Lock(), [], threading.Barrier(2, timeout=5)

    class Slow(Replay):
        def __init__(self, *given):
            met.append(busy.acquire(blocking=False))
            time.sleep(0.05)
            super().__init__(*given)
            if met[-1]:
                busy.release()

    def ask(recorded):
        for i in range(4):
            if i == 2:
                both.wait()
            assert recorded(torch.zeros(1)).item() == 1

    monkeypatch.setattr(Captured, "graph", Slow)
    threads = [threading.Thread(target=ask, args=(Captured(lambda x: x + 1),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == [True, True]


def test_recordings_of_a_function_share_their_memory_and_come_back_as_rarely(card, monkeypatch):
    pools = []

    class Kept(Replay):
        def __init__(self, function, arguments, pool=None):
            pools.append(pool)
            super().__init__(function, arguments, pool)

    monkeypatch.setattr(Captured, "graph", Kept)
    recorded = Captured(lambda x: x + 1, most=2)
    for n in (1, 2, 3):
        for _ in range(3):
            recorded(torch.zeros(n))
    assert pools[0] is None and pools[1] is pools[2] is not None
    for _ in range(graphs.AFTER):  # 1 was put out by 3
        recorded(torch.zeros(1))
    assert card.made == 3 and len(recorded.graphs) == 2
    recorded(torch.zeros(1))
    assert card.made == 4


def test_a_masked_model_goes_with_its_recordings(card):
    loaded = models.load("bert-quatrain", "masked", "cpu")
    model = MaskedLM(loaded.model, loaded.companion)
    ids = model.frame(torch.tensor([model.encode("春_")]))
    for _ in range(3):
        model.logits(ids, torch.tensor([[2]]))
    gone = weakref.ref(model)
    assert card.made == 1
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_the_benchmark_of_a_card_runs_everywhere(tmp_path, monkeypatch):
    """Small, here; a part that fails is a line in the table."""
    import json

    from benchmarks import gpu

    def broken(setting):
        yield gpu.Row("broken", "first", 1.0, "s")
        raise ValueError("no such kernel")

    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setattr(gpu, "PARTS", (broken, gpu.products, gpu.particles, gpu.neighbours, gpu.latents))
    rows = gpu.main(["--small", "--device", "cpu"])
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["card"] == "CPU" and len(written["rows"]) == len(rows)
    failed = [row for row in rows if row.what.startswith("FAILED")]
    assert [row.part for row in failed] == ["broken"] and "no such kernel" in failed[0].what
    assert {row.part for row in rows} == {"broken", "products", "particles", "neighbours", "latents"}
    assert next(row.value for row in rows if "differ" in row.what) == 0


def test_on_a_cpu_nothing_is_recorded():
    recorded = Captured(lambda x: x + 1)
    assert [recorded(torch.zeros(1)).item() for _ in range(4)] == [1] * 4 and not recorded.graphs


def test_a_network_is_recorded_for_as_long_as_it_lives(card):
    net = small()
    x, t = torch.zeros(1, 3, 32, 32), torch.full((), 3)
    found = [network(net)(x, t) for _ in range(4)]
    assert all(torch.equal(found[0], other) for other in found) and card.made == 1
    assert len(graphs._networks) == 1
    del net
    assert not graphs._networks


def test_codes_are_the_same_with_and_without_recordings(card, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (32, 50, 3)).astype(np.uint8)
    plans = [Plan(4, 16), Plan(4, 16, 2, 3), Plan(4, 16, 3, variant="turbo"), Plan(4, 16, variant="reference")]
    recorded = [codec.encode_batch([picture], pixel_model(), plan)[0] for plan in plans]
    assert card.made == 4 + 3 * 2  # one a model, and two a codebook that is shuffled
    assert all((codec.decode(one.code, pixel_model()) == one.picture).all() for one in recorded)
    monkeypatch.setattr(Captured, "on_card", staticmethod(lambda arguments: False))
    for plan, one in zip(plans, recorded, strict=True):
        plain = codec.encode_batch([picture], pixel_model(), plan)[0]
        assert plain.code == one.code and (plain.picture == one.picture).all()


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm_2_ancestral"])
def test_samplers_make_the_same_pictures_with_and_without_recordings(name, card, monkeypatch):
    scheduler = scheduler_for(name, make_scheduler().config)
    noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net = small()
    *_, one = sample_images(net, scheduler, 4, noise, 1)
    assert card.made == 1
    monkeypatch.setattr(Captured, "on_card", staticmethod(lambda arguments: False))
    *_, other = sample_images(net, scheduler, 4, noise, 1)
    assert torch.equal(one[2], other[2])


@pytest.mark.parametrize("scan", ["sweep", "blocks", "parallel"])
def test_texts_are_the_same_with_and_without_recordings(scan, card, monkeypatch):
    loaded = models.load("bert-quatrain", "masked", "cpu")
    model = MaskedLM(loaded.model, loaded.companion)
    start = model.frame(torch.tensor([model.encode("春__，____。")] * 2))
    free = (start[0] == model.mask).nonzero()[:, 0]
    asked = {"scan": scan, "block": 2, "top_k": 30, "burn_in": 1, "metropolis": scan == "sweep"}
    found = []
    for on in (True, False):
        monkeypatch.setattr(Captured, "on_card", staticmethod(lambda arguments, on=on: on))
        found.append([(s.ids.tolist(), s.log_probs.tolist()) for s in walk_texts(model, start, free, asked)])
    assert found[0] == found[1] and card.made >= (1 if scan == "parallel" else 2)


def walk_texts(model, start, free, asked):
    return sampling.walk(model, start, free, [1.0, 0.8, 0.5], **asked)


class OneDevice(TorchDispatchMode):
    """A fault where an operation is given tensors of two devices, as on a card; numbers and copies are free to mix."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.ndim]
        copies = (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        if len({x.device for x in given}) > 1 and func.overloadpacket not in copies:
            raise AssertionError(f"{func} of {[x.device.type for x in given]}")
        return func(*args, **(kwargs or {}))


def test_one_device_sees_a_mixture():
    with OneDevice(), pytest.raises(AssertionError, match="meta"):
        torch.zeros(2, device="meta").add(torch.zeros(2))


@pytest.mark.parametrize("variant", ["shuffled", "reference", "turbo"])
def test_a_walk_stays_on_its_models_device(variant):
    model = pixel_model(small().to("meta"))
    if variant == "reference":  # decides on the CPU which atoms to make
        choose = lambda number, denoised, codebook: torch.zeros(2, 1, dtype=torch.int64)  # noqa: E731
        plan = Plan(4, 16, variant=variant)
    else:
        choose, plan = encoder(torch.zeros(2, 3, 32, 32, device="meta")), Plan(4, 16, 2, variant=variant)
    with OneDevice():
        steps = list(walk(model, plan, 2, choose))
    assert {step.denoised.device.type for step in steps} == {"meta"}


def test_guided_codes_and_samplers_stay_on_their_models_device():
    with OneDevice():
        *_, last = guide(pixel_model(small(3).to("meta"), ("a", "b")), Plan(3, 16), 2, 1, 4)
        noise = torch.zeros(2, 3, 32, 32, device="meta")
        *_, (_, _, state, _) = sample_images(
            small().to("meta"), scheduler_for("dpm_2_ancestral", make_scheduler().config), 3, noise
        )
    assert last.denoised.device.type == state.device.type == "meta"


def tiny(kind, device):
    """A latent model and a prompt of it, on a device."""
    model = latents.from_folder(saved(kind)[0], torch.device("cpu")).eval().requires_grad_(False).to(device)
    told, size = 1 + (kind != "lcm"), model.net.config
    width = size.joint_attention_dim if kind == "sd3" else size.cross_attention_dim
    pooled = {"sdxl": 16, "sd3": 32}.get(kind)
    generator = torch.Generator().manual_seed(0)
    texts = [
        None if n is None else torch.randn(*n, generator=generator).to(device)
        for n in ((told, 77, width), pooled and (told, pooled))
    ]
    return Prompted(model, (size.in_channels, 16, 16), *texts, 3.0, told == 2, "", b"12345678")


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "lcm", "sd3"])
def test_a_prompted_model_and_its_codes_stay_on_its_device(kind, monkeypatch):
    seen, back = tiny(kind, "meta"), torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: torch.zeros(x.shape, dtype=x.dtype) if x.is_meta else back(x))
    with OneDevice():
        target = torch.zeros(1, *seen.shape, device="meta")
        *steps, last = follow(seen, Plan(3, 16, 2), encoder(target))
    assert len(steps) == 3 and last.latents.device.type == "meta"


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "lcm", "sd3"])
def test_a_prompted_model_answers_the_same_with_and_without_recordings(kind, card, monkeypatch):
    seen = tiny(kind, "cpu")
    x = torch.randn(1, *seen.shape, generator=torch.Generator().manual_seed(1))
    found = [seen.denoise(x * (1 + i), 300 + i) for i in range(5)]
    assert card.made == 1
    monkeypatch.setattr(Captured, "on_card", staticmethod(lambda arguments: False))
    assert all(torch.equal(made, seen.denoise(x * (1 + i), 300 + i)) for i, made in enumerate(found))


class NoDouble(TorchDispatchMode):
    """A fault where anything but the CPU is asked for double precision, which some cards lack."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for x in tree_leaves(made):
            assert not (isinstance(x, torch.Tensor) and x.is_meta and x.dtype == torch.float64), func
        return made


def test_a_walk_needs_no_double_precision():
    codebook._mixtures.cache_clear()
    with NoDouble():
        assert (
            len(
                list(
                    walk(
                        pixel_model(small().to("meta")),
                        Plan(3, 16, 2),
                        1,
                        encoder(torch.zeros(1, 3, 32, 32, device="meta")),
                    )
                )
            )
            == 3
        )


def byte_pairs(kind, device):
    import transformers

    size = {
        "vocab_size": 64,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    torch.manual_seed(0)
    if kind == "roberta":
        made = transformers.RobertaForMaskedLM(transformers.RobertaConfig(**size, max_position_embeddings=40))
    else:
        more = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
        made = transformers.ModernBertForMaskedLM(
            transformers.ModernBertConfig(**size, max_position_embeddings=40, **more)
        )
    return BytePairLM(
        made.eval().requires_grad_(False), models.load("bert-quatrain", "masked", "cpu").companion, device
    )


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_masked_models_stay_on_their_device(kind):
    loaded = models.load("bert-quatrain", "masked", "cpu")
    model = MaskedLM(loaded.model, loaded.companion, "meta") if kind == "bert" else byte_pairs(kind, "meta")
    ids, at = torch.tensor([[3, 9, 8, 7]] * 2), torch.tensor([[1, 2]] * 2)
    with OneDevice():
        found = [model.logits(ids, at)]
        found += [model.logits(ids, at, torch.tensor([4, 3]))] if kind == "bert" else []
    assert {x.device.type for x in found} == {"meta"} and found[0].shape == (2, 2, model.words)


@pytest.mark.parametrize("kind", ["roberta", "modernbert"])
def test_byte_pairs_answer_the_same_with_and_without_recordings(kind, card):
    model = byte_pairs(kind, "cpu")
    ids, at = torch.tensor([[3, 9, 8, 7]] * 2), torch.tensor([[1, 2]] * 2)
    found = [model.logits(ids, at) for _ in range(4)]
    whole = model.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 1:3]
    expected = whole.masked_fill(model.forbidden, -torch.inf)
    assert card.made == 1
    for made in found:
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


def test_drawing_words_stays_on_the_models_device():
    with OneDevice():
        law = torch.zeros(2, 3, 9, device="meta"), torch.zeros(2, 3, 1, device="meta", dtype=torch.float64)
        for cut in ((0, 1.0), (4, 0.9)):
            new, plain, _ = sampling._drawing(*cut)(*law, torch.ones((), device="meta", dtype=torch.float64))
            assert new.device.type == plain.device.type == "meta"
