"""Numbers of every range and precision, text as people type it, and every argument of every public function wrong."""

import inspect
import math
import unicodedata

import numpy as np
import pytest
import torch

from engines.arguments import Refusal
from engines.gibbs import (
    annealing,
    cgmh,
    diagnostics,
    experiments,
    field,
    inputs,
    kernels,
    masked,
    models,
    sampling,
    text,
    unmask,
)
from engines.gibbs.masked import TableLM
from engines.gibbs.sampling import draw, leave_one_out, pseudo_log_likelihood, tempered, walk

LAW = kernels.potts()


# numbers


def exact_tempered(logits, temperature):
    from fractions import Fraction

    exact = [(Fraction(x) - max(map(Fraction, logits))) / Fraction(temperature) for x in logits]
    weights = [math.exp(max(float(x), -800)) for x in exact]
    return [float(x) - math.log(sum(weights)) for x in exact]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1e-3, 0.3, 1.0, 1e4])
def test_tempered_in_every_precision(kind, temperature):
    logits = torch.tensor([5.0, -3.25, 4.0, 0.5, 5.0], dtype=kind)
    expected = exact_tempered(logits.tolist(), temperature)
    assert tempered(logits, temperature).tolist() == pytest.approx(expected, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("power", [-500, 500])
def test_tempered_of_tiny_and_huge_logits(power):
    logits = torch.tensor([0.5, -1.0, 0.25, 0.0], dtype=torch.float64)
    scaled = logits * 2.0**power
    assert torch.allclose(tempered(scaled, 2.0**power), tempered(logits, 1.0), rtol=1e-14, atol=0)
    assert tempered(scaled, 1.0).exp().sum().item() == pytest.approx(1)
    shifted = torch.tensor([2.0**500, 2.0**500, 0.0], dtype=torch.float64)
    assert tempered(shifted, 1.0).exp().tolist() == [0.5, 0.5, 0]


def test_tempered_beyond_float32():
    logits = torch.tensor([3e38, 3e38, -3e38])
    assert tempered(logits, 0.05).exp().tolist() == [0.5, 0.5, 0]
    assert tempered(torch.tensor([6e4, 5e4], dtype=torch.float16), 1e-3).exp().tolist() == [1, 0]


def test_truncation_keeps_the_order_that_rounding_would_lose():
    logits = torch.tensor([1.0, 1.0 + 2**-50, 0.0], dtype=torch.float64)
    assert tempered(logits, 1e6, top_k=1).exp().tolist() == [0, 1, 0]
    assert tempered(torch.zeros(1000, dtype=torch.float16), 1.0, top_p=0.3).exp().gt(0).sum() == 300
    assert tempered(torch.tensor([2.0, 1.0, 0.0]), 1.0, top_p=1e-9).exp().tolist() == [1, 0, 0]


def test_rows_that_allow_nothing_get_a_sentence():
    for values in ([-math.inf, -math.inf], [math.nan, 0.0], [math.inf, 0.0]):
        for function in (lambda x: tempered(x, 1.0), lambda x: draw(x, torch.Generator())):
            with pytest.raises(Refusal, match="must allow a word in each row"):
                function(torch.tensor(values))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_draw_keeps_rare_words_in_every_precision(kind):
    law = torch.full((1000,), 1 / 1000).log().to(kind)
    found = draw(law.expand(10_000, -1), torch.Generator().manual_seed(0))
    share = found.bincount(minlength=1000)  # 10 of each expected
    assert (share == 0).sum() < 3 and share.max() < 30 and found.double().mean().item() == pytest.approx(499.5, abs=15)


def test_draw_of_unnormalised_and_huge_log_probabilities():
    law = torch.tensor([0.25, 0.75], dtype=torch.float64).log()
    for shift in (-1e4, 1e4):
        share = draw((law + shift).expand(4000, 2), torch.Generator().manual_seed(1)).double().mean()
        assert share.item() == pytest.approx(0.75, abs=0.03)
    assert draw(torch.tensor([-1e308, 1e308, -1e300], dtype=torch.float64), torch.Generator()).item() == 1


def test_a_word_of_probability_0_is_never_drawn(monkeypatch):
    law = torch.tensor([-math.inf, 0.0, -math.inf], dtype=torch.float64)
    for u in (0.0, 1 - 2**-53, 1.0):
        monkeypatch.setattr(torch, "rand", lambda *size, u=u, **_: torch.full(size, u, dtype=torch.float64))
        assert draw(law, torch.Generator()).item() == 1


@pytest.mark.parametrize("scale", [2.0**-500, 2.0**500])
def test_a_table_of_any_scale(scale):
    ids, free = torch.tensor([[0, 1, 2]]), torch.arange(3)
    found = pseudo_log_likelihood(TableLM(LAW * scale), ids, free)
    assert found == pytest.approx(pseudo_log_likelihood(TableLM(LAW), ids, free), abs=1e-12)


def test_empty_batches():
    model, none = TableLM(LAW), torch.zeros(0, 3, dtype=torch.long)
    assert leave_one_out(model, none, torch.arange(3)).shape == (0, 3, 3)
    assert pseudo_log_likelihood(model, none, torch.arange(3)).shape == (0,)
    assert tempered(torch.zeros(0, 4), 1.0).shape == (0, 4)
    assert draw(torch.zeros(0, 4), torch.Generator()).shape == (0,)
    for scan in sampling.SCANS:
        for metropolis in (False, True):
            *_, step = walk(model, none, torch.arange(3), [1.0], scan, metropolis=metropolis)
            assert step.ids.shape == (0, 3)
    *_, (sentences, edits, level) = cgmh.edit_walk(model, lambda s: torch.zeros(len(s)), [], [1.0], 3)
    assert sentences == edits == [] and level.shape == (0,)


def test_a_mask_that_is_left_has_no_likelihood():
    assert pseudo_log_likelihood(TableLM(LAW), torch.tensor([[0, 3, 1]]), torch.arange(3)).item() == -math.inf


def test_numpy_numbers_are_numbers():
    ids = np.array([[0, 1, 2]], dtype=np.int16)
    found = pseudo_log_likelihood(TableLM(LAW.astype(np.float32)), ids, np.arange(3, dtype=np.uint8))
    assert found.item() == pytest.approx(
        pseudo_log_likelihood(TableLM(LAW), torch.tensor([[0, 1, 2]]), torch.arange(3)).item()
    )
    assert sampling.temperatures(np.float32(2), np.int64(1), "linear", np.int32(2)) == [2, 1]
    assert experiments.weigh(n=np.int64(200), seed=np.uint8(3)).rate == experiments.weigh(n=200, seed=3).rate


def test_edits_never_begin_or_end_where_the_target_is_0():
    def target(sentences):
        return torch.tensor([-math.inf if 1 in s else 0.0 for s in sentences])

    with pytest.raises(ValueError, match="begin where the target is above 0"):
        list(cgmh.edit_walk(TableLM(np.ones((2, 2))), target, [[1]], [1.0], 3))

    class Coin:
        mask, words, forbidden = 2, 2, None

        def logits(self, ids, at, lengths=None):
            return torch.zeros(*at.shape, 2)

    for sentences, _, level in cgmh.edit_walk(Coin(), target, [[0]] * 20, [1e-300] * 60, 4):
        assert level.isfinite().all() and not any(1 in s for s in sentences)


# diagnostics against arviz


def chains_of(draws, chains, phi, seed):
    noise = np.random.default_rng(seed).normal(size=(draws, chains))
    trace = np.zeros((draws, chains))
    for t in range(1, draws):
        trace[t] = phi * trace[t - 1] + noise[t]
    return trace


@pytest.mark.parametrize("phi", [-0.7, 0.0, 0.6, 0.95])
@pytest.mark.parametrize(("draws", "chains"), [(10, 2), (11, 4), (24, 4), (41, 3), (100, 2), (501, 4)])
def test_r_hat_and_effective_size_as_arviz_has_them(draws, chains, phi):
    import arviz  # takes three seconds

    for seed in range(5):
        trace = chains_of(draws, chains, phi, seed)
        assert diagnostics.split_r_hat(trace) == pytest.approx(float(arviz.rhat(trace.T, method="split")), rel=1e-10)
        ours = diagnostics.effective_sample_size(trace)
        assert ours == pytest.approx(float(arviz.ess(trace.T, method="mean")), rel=1e-8)


@pytest.mark.parametrize("power", [-500, 500, 1000])
def test_diagnostics_of_any_scale_and_shift(power):
    trace = chains_of(60, 3, 0.5, 0)
    expected = diagnostics.split_r_hat(trace), diagnostics.effective_sample_size(trace)
    for other in (trace * 2.0**power, trace + 2.0**20):
        assert diagnostics.split_r_hat(other) == pytest.approx(expected[0], rel=1e-8)
        assert diagnostics.effective_sample_size(other) == pytest.approx(expected[1], rel=1e-6)
    assert diagnostics.split_r_hat(torch.tensor(trace).bfloat16()) == pytest.approx(expected[0], rel=0.01)


@pytest.mark.parametrize("level", [0.1, 1e300, -3.3])
def test_constant_chains_have_no_diagnosis(level):
    for trace in (np.full((6, 2), level), level * np.array([[1.0, 2.0]] * 6)):
        assert math.isnan(diagnostics.split_r_hat(trace))
        assert math.isnan(diagnostics.effective_sample_size(trace))


# text


@pytest.fixture(scope="module")
def story():
    return models.load("bert-storybook")


@pytest.fixture(scope="module")
def quatrain():
    return models.load("bert-quatrain")


@pytest.mark.parametrize("name", ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]", "[sep]"])
def test_names_of_special_tokens_are_text(story, quatrain, name):
    ids = text.prompt(story, f"the {name} king _", 0)
    assert not set(ids) & {story.open, story.close, story.pad, story.tokenizer.unk_token_id}
    assert ids.count(story.mask) == 1
    assert "".join(story.tokens[i].removeprefix("##") for i in ids[1:-2]) == f"{name.lower()}"
    with pytest.raises(ValueError, match="text holds"):
        text.prompt(quatrain, f"明月{name}_", 0)
    (word, found), _ = cgmh.read_keywords(story, f"{name}, king")
    assert word == name and not set(found) & set(story.tokenizer.all_special_ids)


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("the king ＿ ＿ away", "the king _ _ away"),
        ("\ufeffthe king _", "the king _"),
        ("the\r\nking\t_\r\n", "the king _"),
        ("the\u3000king _\u200b", "the king _"),
        ('he said, "come here, _!"', "he said, “come here, _!”"),
        ("'don't go,' said _", "‘don’t go,’ said _"),
        ("ｔｈｅ ｋｉｎｇ，_！", "the king,_!"),
        ("the king。 _", "the king. _"),
        (unicodedata.normalize("NFD", "the café _"), "the café _"),
        ("THE King _", "the king _"),
    ],
)
def test_english_as_people_type_it(story, typed, plain):
    assert text.prompt(story, typed, 0) == text.prompt(story, plain, 0)


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("明月＿＿，清风__。", "明月__，清风__。"),
        ("明月__,清风__.", "明月__，清风__。"),
        ("\ufeff明月__，\r\n清风__。\r\n", "明月__，清风__。"),
        ("明月 __、清风\u3000__｡", "明月__，清风__。"),
    ],
)
def test_chinese_as_people_type_it(quatrain, typed, plain):
    assert text.prompt(quatrain, typed, 0) == text.prompt(quatrain, plain, 0)


@pytest.mark.parametrize(
    "typed",
    [
        "king,forest",
        "king，forest",
        "king、forest",
        "\ufeffking；forest\r\n",
        "king\u3000forest",
        "\"king\", 'forest'",
        "“king”，「forest」",
    ],
)
def test_keywords_with_separators_of_every_width(story, typed):
    assert [word for word, _ in cgmh.read_keywords(story, typed)] == ["king", "forest"]


def test_what_the_vocabulary_lacks_is_named(quatrain, story):
    with pytest.raises(ValueError, match="text holds 'k'"):
        text.prompt(quatrain, "明月 k _", 0)
    with pytest.raises(ValueError, match="text holds '月'"):
        text.prompt(story, "the 月 _", 0)


# every argument of every public function, wrong

MODULES = (annealing, cgmh, diagnostics, experiments, field, inputs, kernels, masked, models, sampling, text, unmask)
NUMBERS = [None, "x", math.nan, 10**400, object(), [1], True]
THINGS = [None, object(), "x", 3.5, [object()], {"a": 1}]
ARRAYS = [*THINGS, np.array("x"), np.array([math.nan, 1.0])]
IDS = [
    *THINGS,
    np.array([[1.5]]),
    torch.full((1, 3), -1),
    torch.full((1, 3), 10**9),
    torch.zeros(1, 1, 1, dtype=torch.long),
]


def good_calls(story):
    """Function -> arguments that work, by name; the test below makes each wrong in turn."""
    tiny, ids, free = TableLM(LAW), torch.tensor([[0, 1, 2]]), torch.arange(3)
    tables, states = kernels.conditionals(LAW), kernels.edit_states()
    decoder, generator = models.load_decoder(), torch.Generator()
    king = story.encode("king")
    table = np.log(kernels.conditional(LAW[0], [0]))
    trace = np.random.default_rng(0).normal(size=(8, 2))
    return {
        cgmh.capital: {"text": "a"},
        cgmh.edit_walk: {
            "model": tiny,
            "target": lambda s: torch.zeros(len(s)),
            "sentences": [[0]],
            "temperature": [1.0],
            "max_length": 3,
            "frame": None,
            "seed": 0,
        },
        cgmh.likeness: {"model": story, "keyword": king},
        cgmh.nearest: {"cosines": np.ones((1, 3)), "sentence": [0, 1]},
        annealing.two_hills: {"length": 3, "lead": 2.0, "slope": 2.0},
        annealing.cool: {"law": np.ones((3, 3)) / 9, "log_p": np.zeros((3, 3)), "temperature": 1.0},
        annealing.cooling: {"first": 2.0, "last": 0.5, "schedule": "linear", "sweeps": 3},
        annealing.anneal: {"sweeps": 4, "first": 2.0, "last": 0.5, "schedule": "linear", "length": 2}
        | {"lead": 1.0, "slope": 2.0},
        unmask.unmask: {"model": tiny, "ids": ids, "free": free, "sampler": "remask", "forwards": 2, "temperature": 1.0}
        | {"remasked": 1, "seed": 0},
        unmask.toy_distances: {"remasked": 1, "coupling": 1.0},
        unmask.decode: {"model": story, "text": "the _ _", "samplers": ("gibbs",), "budgets": (2,), "chains": 1}
        | {"temperature": 1.0, "remasked": 1, "seed": 0},
        sampling.checked_state: {"model": tiny, "ids": ids, "free": free},
        cgmh.holds: {"tokens": story.tokens, "sentence": king, "keyword": king},
        cgmh.text_log_probability: {"decoder": decoder, "texts": ["a"]},
        cgmh.read_keywords: {"model": story, "keywords": "king"},
        cgmh.write: {
            "keywords": "king",
            "constraint": "hard",
            "penalty": 1.0,
            "reward": 1.0,
            "max_length": 4,
            "steps": 10,
        }
        | {"chains": 1, "annealing": "off", "seed": 0, "model": story, "decoder": decoder},
        diagnostics.split_r_hat: {"trace": trace},
        diagnostics.effective_sample_size: {"trace": trace},
        diagnostics.hamming_autocorrelation: {"states": np.zeros((4, 2, 3)), "lags": 2},
        diagnostics.bleu: {"candidate": ["a"], "references": [["a"]], "order": 2},
        diagnostics.self_bleu: {"texts": [["a"], ["b"]], "order": 2},
        experiments.scan_laws: dict.fromkeys(("coupling", "other_coupling", "field"), 1.0)
        | {"conditionals": "joint", "positions": 2, "sweeps": 2},
        experiments.edit_laws: {"cost": 1.0, "gain": 1.0, "max_length": 2, "proposal": "uniform", "n": 100, "seed": 0},
        experiments.weigh: {"mean": 0.0, "sd": 2.0, "n": 100, "seed": 0},
        field.mismatch: {"log_x_given_y": table, "log_y_given_x": table, "weights": np.ones((3, 3))},
        field.random_field: {"model": story, "text": "the _ _", "candidates": 3, "temperature": 1.0},
        kernels.potts: {"length": 2, "coupling": 1.0, "fields": [0.0, 1.0]},
        kernels.conditional: {"law": LAW, "positions": [0]},
        kernels.conditionals: {"law": LAW},
        kernels.site_kernel: {"table": tables[0], "positions": [0]},
        kernels.random_scan: {"tables": tables},
        kernels.systematic_scan: {"tables": tables, "order": [0]},
        kernels.parallel_scan: {"tables": tables},
        kernels.block_scan: {"law": LAW, "size": 2, "at_once": True},
        kernels.pseudo_likelihood: {"tables": tables},
        kernels.metropolis: {"proposal": np.eye(27), "law": LAW, "ratio": True},
        kernels.stationary: {"kernel": kernels.random_scan(tables)},
        kernels.total_variation: {"p": LAW, "q": LAW},
        kernels.detailed_balance_gap: {"kernel": np.eye(27), "law": LAW},
        kernels.approach: {"kernel": np.eye(27), "law": LAW, "start": 0, "steps": 2},
        kernels.edit_log_proposal: {"operation": "insert", "length": 1, "log_word": 0.0},
        kernels.edit_log_acceptance: {"operation": "insert", "length": 1, "log_target": 0.0, "log_word": 0.0}
        | {"log_word_back": 0.0},
        kernels.edit_states: {"alphabet": "ab", "max_length": 2},
        kernels.published_edit_law: {"states": states, "law": kernels.edit_law(states), "alphabet": "ab"},
        kernels.edit_law: {"states": states, "cost": 1.0, "gain": 1.0},
        kernels.edit_kernel: {"states": states, "law": kernels.edit_law(states), "alphabet": "ab", "fill": None}
        | {"ratio": True},
        kernels.log_rejection_rate: {"mean": 0.0, "sd": 2.0},
        kernels.rejection_rate: {"mean": 0.0, "sd": 2.0},
        kernels.log_importance_efficiency: {"mean": 0.0, "sd": 2.0},
        kernels.importance_efficiency: {"mean": 0.0, "sd": 2.0},
        kernels.effective_sample_size: {"log_weights": [0.0]},
        masked.join: {"tokens": ["a"], "chinese": False},
        masked.masked_model: {"model": tiny},
        models.load: {"name": "bert-storybook"},
        sampling.temperatures: {"first": 1.0, "last": 1.0, "schedule": "linear", "sweeps": 2},
        sampling.tempered: {"logits": torch.zeros(2), "temperature": 1.0, "top_k": 0, "top_p": 1.0},
        sampling.draw: {"log_probs": torch.zeros(2), "generator": generator},
        sampling.leave_one_out: {"model": tiny, "ids": ids, "free": free, "rows": 4},
        sampling.pseudo_log_likelihood: {"model": tiny, "ids": ids, "free": free},
        sampling.walk: {"model": tiny, "ids": ids, "free": free, "temperature": [1.0], "scan": "sweep", "block": 1}
        | {"top_k": 0, "top_p": 1.0, "burn_in": 0, "metropolis": False, "seed": 0},
        text.prompt: {"model": story, "text": "the _", "length": 0},
        text.named: {"model": story, "names": models.NAMES},
        text.sample: {
            "model": story,
            "text": "the _",
            "length": 0,
            "scan": "sweep",
            "block": 1,
            "sweeps": 1,
            "chains": 1,
        }
        | {"temperature": 1.0, "end_temperature": 1.0, "schedule": "linear", "top_k": 0, "top_p": 1.0, "burn_in": 0}
        | {"metropolis": False, "start": "masks", "score_every": 1, "seed": 0},
        TableLM: {"law": LAW},
        tiny.logits: {"ids": ids, "at": torch.tensor([[0]])},
        story.logits: {"ids": torch.tensor([[5, 6]]), "at": torch.tensor([[0]]), "lengths": torch.tensor([2])},
        story.encode: {"text": "the king"},
        story.frame: {"ids": torch.tensor([[5]])},
        story.text: {"ids": [5]},
        masked.MaskedLM: {"model": None, "tokenizer": None},
        cgmh.ByteTarget: {"decoder": decoder, "model": story, "keywords": [], "penalty": 1.0, "reward": 1.0},
    }


# truth values are taken as Python takes them; None is a default of these; these take any text or list of words
ANYTHING = {"metropolis", "ratio", "at_once", "chinese", "names"}
FREE = {(None, name) for name in ("frame", "order", "fill", "decoder", "lengths")} | {("x", "text"), ("x", "keywords")}
FREE |= {("x", "candidate"), ("x", "alphabet")}


def run(function, arguments):
    found = function(**arguments)
    return list(found) if inspect.isgenerator(found) else found


def test_every_public_function_refuses_each_argument_wrong_with_a_sentence(story):
    calls = good_calls(story)
    known = {function for function in calls if inspect.isfunction(function)}
    for module in MODULES:
        for name, function in vars(module).items():
            if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_"):
                assert function in known or module is inputs or not inspect.signature(function).parameters, (
                    f"{module.__name__}.{name} is not tried"
                )
    failures = []
    for function, arguments in calls.items():
        if function is not masked.MaskedLM:
            run(function, arguments)
        for name, value in arguments.items():
            plain = isinstance(value, int | float)
            wrong = (
                NUMBERS
                if plain
                else IDS
                if isinstance(value, torch.Tensor) and not value.is_floating_point()
                else ARRAYS
            )
            for bad in wrong:
                if name in ANYTHING or any(bad is what and name == whose for what, whose in FREE):
                    continue
                try:
                    run(function, arguments | {name: bad})
                    failures.append((function.__qualname__, name, str(bad)[:30], "accepted"))
                except ValueError as error:
                    if not isinstance(error, Refusal):
                        failures.append((function.__qualname__, name, str(bad)[:30], repr(error)[:60]))
                except Exception as error:
                    failures.append((function.__qualname__, name, str(bad)[:30], repr(error)[:80]))
    assert not failures, "\n".join(map(str, failures))
