"""The samplers against enumeration, brute force, closed forms and tokenizers; texts as people type them; refusals."""

import inspect
import itertools
import math
import unicodedata
from collections import Counter

import numpy as np
import pytest
import torch

from engines.arguments import rules
from engines.segmentation import (
    METHODS,
    Lattice,
    Vocabulary,
    edge_posteriors,
    enumerate_segmentations,
    load_vocabulary,
    log_partition,
    nbest,
    parse_pieces,
    sample,
    sample_bpe,
    sample_cuts,
    viterbi_sampling_law,
)
from engines.segmentation.experiments import compare, lattice, read, throughput

AB = parse_pieces("a=0.2, b=0.2, ab=0.25, ba=0.15, aba=0.1, bab=0.1")
WATCHING = Vocabulary.of(dict.fromkeys(["w", "wat", "watch", "atching", "ching", "ing"], math.log(0.1)))
LINE = "不知天上有人间，明月照流水。"


def by_brute_force(text, table, alpha):
    """All ways to cut the text, by trying every set of cuts."""
    law = {}
    for cuts in itertools.product([False, True], repeat=len(text) - 1):
        places = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(text)]
        pieces = [text[i:j] for i, j in itertools.pairwise(places)]
        if all(piece in table for piece in pieces):
            law[tuple(pieces)] = math.exp(alpha * sum(table[piece] for piece in pieces))
    return law


def test_the_figures_of_ababab():
    pieces, law = enumerate_segmentations("ababab", AB)
    assert len(pieces) == 24
    assert pieces[0] == ["ab", "ab", "ab"]
    assert log_partition("ababab", AB) == pytest.approx(-2.688704, abs=1e-6)
    assert log_partition("ababab", AB, 0) == pytest.approx(math.log(24), abs=1e-14)
    assert law.sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("text", ["a", "ab", "ababab", "babaab", "abbababba"])
@pytest.mark.parametrize("alpha", [0, 0.3, 1, 2.5])
def test_enumeration_and_partition_agree_with_brute_force(text, alpha):
    table = dict(zip(AB.pieces, AB.log_probs.tolist(), strict=True))
    expected = by_brute_force(text, table, alpha)
    pieces, law = enumerate_segmentations(text, table, alpha)
    total = sum(expected.values())
    assert {tuple(p): q for p, q in zip(pieces, law, strict=True)} == pytest.approx(
        {p: q / total for p, q in expected.items()}, abs=1e-14
    )
    assert log_partition(text, table, alpha) == pytest.approx(math.log(total), abs=1e-13)


def test_enumeration_walks_no_blind_alleys():
    """Of 39 letters, all cuts but one lead back to places that no piece reaches from the start."""
    text = "x" + "b" * 38
    pieces, law = enumerate_segmentations(text, dict.fromkeys([text, *("b" * k for k in range(1, 8))], -1.0))
    assert pieces == [[text]] and law == pytest.approx([1.0])


def test_whole_numbers_of_any_type_are_taken():
    assert sample("abab", AB, "ffbs", np.float64(1), np.int64(3), 5.0) == sample("abab", AB, "ffbs", 1.0, 3, 5)
    assert read("abab", "own", n=np.int64(100)).n == 100


def test_posteriors_are_the_gradient_of_log_z():
    pieces, _ = enumerate_segmentations("abbabab", AB)
    weights = torch.tensor(AB.log_probs, requires_grad=True)
    number = {piece: i for i, piece in enumerate(AB.pieces)}
    paths = torch.tensor([[path.count(piece) for piece in AB.pieces] for path in pieces], dtype=torch.float64)
    torch.logsumexp(paths @ weights, 0).backward()
    source, target, posterior = edge_posteriors("abbabab", AB)
    counts = np.zeros(len(number))
    for i, j, p in zip(source, target, posterior, strict=True):
        counts[number["abbabab"[i:j]]] += p
    assert counts == pytest.approx(weights.grad.numpy(), abs=1e-13)


@pytest.mark.parametrize("method", ["perfect", "ffbs"])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_exact_samplers_keep_the_law(method, alpha):
    n = 20_000
    pieces, law = enumerate_segmentations("ababab", AB, alpha)
    counts = Counter(map(tuple, sample("ababab", AB, method, alpha, n, seed=1)))
    statistic = sum((counts[tuple(p)] - n * q) ** 2 / (n * q) for p, q in zip(pieces, law, strict=True))
    assert statistic < 23 + 5 * math.sqrt(46)  # chi-squared with 23 degrees of freedom, five standard deviations


def test_viterbi_sampling_as_first_published_is_biased():
    pieces, law = viterbi_sampling_law("watching", WATCHING)
    assert pieces[0] == ["watch", "ing"]
    assert law == pytest.approx([1 / 2, 1 / 4, 1 / 4], abs=1e-15)
    _, exact = enumerate_segmentations("watching", WATCHING)
    assert exact == pytest.approx([1 / 3] * 3, abs=1e-15)


def test_viterbi_sampling_draws_from_its_own_law():
    n = 20_000
    pieces, law = viterbi_sampling_law("ababab", AB)
    assert law.sum() == pytest.approx(1, abs=1e-14)
    counts = Counter(map(tuple, sample("ababab", AB, "viterbi-sampling", 1.0, n, seed=2)))
    statistic = sum((counts[tuple(p)] - n * q) ** 2 / (n * q) for p, q in zip(pieces, law, strict=True))
    assert statistic < 23 + 5 * math.sqrt(46)


def test_nbest_is_the_head_of_the_enumeration():
    every, law = enumerate_segmentations("abbababba", AB)
    best, scores = nbest("abbababba", AB, 7)
    assert np.exp(scores - log_partition("abbababba", AB)) == pytest.approx(law[:7], abs=1e-14)
    assert set(map(tuple, best)) <= set(map(tuple, every))
    assert len(nbest("ab", AB, 50)[0]) == 2
    assert set(map(tuple, sample("abbababba", AB, "n-best", 1.0, 200, nbest=7))) == set(map(tuple, best))


@pytest.mark.parametrize("method", METHODS)
def test_samples_spell_the_text_and_repeat(method):
    first = sample(LINE, "chinese", method, 0.5, 5, seed=3)
    assert first == sample(LINE, "chinese", method, 0.5, 5, seed=3)
    for pieces in first:
        assert "".join(pieces) == LINE
        assert set(pieces) <= set(load_vocabulary("chinese").pieces)


def test_viterbi_agrees_with_tokenizers():
    tokenizers = pytest.importorskip("tokenizers")
    table = load_vocabulary("chinese")
    rows = [("<unk>", 0.0), *zip(table.pieces, table.log_probs.tolist(), strict=True)]
    peer = tokenizers.Tokenizer(tokenizers.models.Unigram(rows, unk_id=0))
    for text in [LINE, "东风一夜吹花落，人在江南第几桥。", "梅花" * 20]:
        ours = sample(text, table, "viterbi")[0]
        score = dict(zip(table.pieces, table.log_probs, strict=True))
        theirs = peer.encode(text).tokens
        assert sum(score[p] for p in ours) == pytest.approx(sum(score[p] for p in theirs), abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_forced_cuts_change_nothing(method):
    """A text of several chunks has the law of its chunks put together."""
    table = Vocabulary(("▁", "▁a", "a", "b", "ab", "▁ab", "ba"), np.log([0.1, 0.1, 0.2, 0.2, 0.2, 0.1, 0.1]), True)
    assert table.chunks(table.prepare("abab ab"))[0] == ["▁abab", "▁ab"]
    n = 20_000
    text, cuts = sample_cuts("abab ab", table, method, 1.0, n, seed=4, nbest=100)
    _, target, posterior = edge_posteriors("abab ab", table)
    if method in ("viterbi", "viterbi-sampling"):
        assert cuts[:, 5].all()
    else:
        exact = np.bincount(target, posterior, len(text) + 1)[1:]
        assert cuts.mean(0)[1:] == pytest.approx(exact, abs=5 * 0.5 / math.sqrt(n))


def test_log_partition_is_a_sum_over_chunks():
    long = " ".join(["ab"] * 200)
    table = Vocabulary(("▁", "▁a", "a", "b", "ab", "▁ab"), np.log([0.1, 0.1, 0.2, 0.2, 0.2, 0.2]), True)
    assert log_partition(long, table) == pytest.approx(200 * log_partition("ab", table), rel=1e-12)


def test_a_long_text_without_a_forced_cut():
    lattice = Lattice(["ab" * 500], AB)
    assert lattice.nodes == 1001
    _, cuts = sample_cuts("ab" * 2000, AB, "ffbs", 1.0, 1)
    assert cuts.shape == (1, 4001)


def pieces_of(text, cuts):
    places = np.flatnonzero(cuts).tolist()
    return [text[i:j] for i, j in itertools.pairwise(places)]


def test_experiments_agree_with_enumeration():
    seen = lattice("ababab", "own", alpha=1.0)
    assert pieces_of(seen.text, seen.best_cuts[0]) == ["ab", "ab", "ab"] and seen.ties == 1
    assert seen.best.sum() == 3
    assert seen.log_z == pytest.approx(-2.688704, abs=1e-6)
    _, law = enumerate_segmentations("ababab", AB)
    assert seen.entropy == pytest.approx(-(law * np.log(law)).sum(), abs=1e-13)
    assert seen.best_probability == pytest.approx(law[0], abs=1e-14)
    assert seen.log_count == pytest.approx(math.log(24))
    assert seen.alphas[20] == 1 and seen.sweep_entropy[20] == pytest.approx(seen.entropy)
    assert (np.diff(seen.sweep_entropy) < 0).all() and (np.diff(seen.sweep_best) > 0).all()
    found = compare("ababab", "own", methods=list(METHODS), alpha=1.0, n=2000)
    assert found.count == 24
    assert dict(zip(found.methods, found.distance, strict=True))["perfect"] < 2 * found.chance
    assert found.published[0] == pytest.approx(0.299685, abs=1e-6)
    assert found.published_distance == pytest.approx(0.238851, abs=1e-6)
    reading = read("ababab", "own", n=2000)
    assert reading.frequency == pytest.approx(reading.exact, abs=0.06)


def test_the_lattice_shows_all_the_best_where_they_tie():
    seen = lattice("watching", "own", "watch=1, ing=1, wat=1, ching=1, w=1, atching=1", alpha=1.0)
    best = {"|".join(pieces_of(seen.text, row)) for row in seen.best_cuts}
    assert seen.ties == 3 and best == {"watch|ing", "wat|ching", "w|atching"}
    assert seen.best.all() and seen.best_probability == pytest.approx(1 / 3)
    many = lattice("ab" * 20, "own", "a=0.5, b=0.5, ab=0.25", alpha=1.0)
    assert many.ties == 2**20 and len(many.best_cuts) == 4


@pytest.mark.parametrize("scale", [2.0**-500, 1e-20, 1.0, 1e20])
def test_log_probabilities_of_any_size(scale):
    """Only alpha log p matters: scaled by powers of two, the law at alpha / scale is the same; the best is the best."""
    scaled = Vocabulary(AB.pieces, AB.log_probs * scale)
    assert nbest("ababab", scaled, 1)[0] == [["ab", "ab", "ab"]]
    assert sample("ababab", scaled, "viterbi") == [["ab", "ab", "ab"]]
    _, law = enumerate_segmentations("ababab", scaled, 1.0)
    assert law.sum() == pytest.approx(1) and (np.diff(law) <= 0).all()
    half = Vocabulary(AB.pieces, np.float16(AB.log_probs))
    assert log_partition("ababab", half) == pytest.approx(
        log_partition("ababab", Vocabulary(AB.pieces, half.log_probs))
    )


def test_texts_as_keyboards_and_files_give_them():
    """Straight quotes, decomposed and full-width letters, line ends, separators and byte order marks read as what pieces have."""
    expected = sample("“Oh, don’t!” said Café Alice.", "english", "viterbi")
    for text in (
        '"Oh, don\'t!" said Café Alice.',
        unicodedata.normalize("NFD", "“Oh, don’t!” said Café Alice."),
        "\ufeff“Oh, don’t!”\r\nsaid\tCafé\u3000Alice.\r\n",
        "“Oh, don’t!” said Café\u00a0\u200bＡｌｉｃｅ．",
        "“Ｏｈ， don´t！” said Café Al\u00adice.",
    ):
        assert sample(text, "english", "viterbi") == expected, text
    line = "不知天上有人间，明月照流水。"
    for text in (
        "不知天上有人间,明月照流水.",
        "\ufeff不知天上有人间，\r\n明月照流水｡",
        "不知天上有人间﹐\u3000明月照流水．",
    ):
        assert "".join(sample(text, "chinese", "viterbi")[0]) == line
    assert sample("ａｂ　ab", AB, "viterbi") == [["ab", "ab"]]
    assert parse_pieces("é=1，ab＝0.5").pieces == parse_pieces("é=1, ab=0.5").pieces
    spaced = sample("a b\r\na\u3000b", {"a": -1.0, "b": -1.0, " ": -1.0, "\n": -1.0}, "viterbi")
    assert spaced == [["a", " ", "b", "\n", "a", " ", "b"]]


def test_no_piece_crosses_the_end_of_a_word():
    text, cuts = sample_cuts("ab ab", AB, "ffbs", 0.0, 500, 1)
    assert text == "abab" and cuts[:, 2].all() and not cuts[:, 1].all()
    for method in METHODS:
        assert sample_cuts("ab ab", AB, method, 1.0, 50)[1][:, 2].all()
    source, target, _ = edge_posteriors("ab ab", AB)
    assert not ((source < 2) & (target > 2)).any() and ((source == 0) & (target == 2)).any()
    assert len(enumerate_segmentations("ab ab", AB)[0]) == 4


def test_unknown_characters_are_refused_by_name_or_stand_alone():
    with pytest.raises(ValueError, match=r"'ñ' \(U\+00F1\), '日' \(U\+65E5\)"):
        sample("mañana 日", "english")
    assert sample("aña", AB, "viterbi", unknown="piece") == [["a", "ñ", "a"]]
    assert sample("abñ", AB, "viterbi", unknown="bytes") == [["ab", "<0xC3>", "<0xB1>"]]
    penalty = AB.log_probs.min() - 10  # as sentencepiece and tokenizers have it
    assert log_partition("ab日ab", AB, unknown="piece") == pytest.approx(2 * log_partition("ab", AB) + penalty)
    # a letter that occurs in pieces but is none: alone it costs the same
    table = {"ab": -1.0, "a": -2.0}
    assert log_partition("ba", table, unknown="piece") == pytest.approx(-12 - 2)
    for method in METHODS:
        assert "".join(sample("ab日ba", AB, method, unknown="piece")[0]) == "ab日ba"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: sample("", AB), "text is empty"),
        (lambda: sample("   ", AB), "text is empty"),
        (lambda: sample("abc", AB), "'c' .*no piece of this vocabulary has"),
        (lambda: sample("a\x00b", AB), "no piece of this vocabulary has"),
        (lambda: sample("\ufeff", AB), "text is empty"),
        (lambda: sample("a\ud800", AB), "lone surrogate"),
        (lambda: sample("ab", AB, unknown="skip"), "unknown must be one of"),
        (lambda: sample("ab", [("a", 1)]), "vocabulary must be"),
        (lambda: sample_bpe("ab", AB), "tokenizer must be a BPE"),
        (lambda: load_vocabulary("file"), "file is missing"),
        (lambda: read("ab", "own", method="bpe-dropout"), "needs the file of a BPE"),
        (lambda: Vocabulary(("a", "b"), [0.0, "x"]), "finite log-probability"),
        (lambda: Vocabulary(("a", 3), [0.0, 0.0]), "pieces of at least one character"),
        (lambda: sample("ba", {"b": -1.0, "ab": -1.0}), "cannot be cut"),
        (lambda: lattice("a" * 100_000, "own"), "at most 60"),
        (lambda: read("a" * 100_000, "own"), "at most 600"),
        (lambda: sample("a" * 2_000_000, AB), "at most 1,000,000"),
        (lambda: sample("ab", AB, alpha=float("nan")), "alpha must be"),
        (lambda: sample("ab", AB, alpha=-1), "alpha must be"),
        (lambda: sample("ab", AB, "best"), "method must be one of"),
        (lambda: sample("ab", AB, n=0), "n must be"),
        (lambda: sample("ab", AB, n=10**9), "n must be"),
        (lambda: sample("ab", AB, n=30_000_000), "can be drawn"),
        (lambda: sample("ab", AB, n=True), "n must be"),
        (lambda: sample("ab", AB, seed=-1), "seed must be"),
        (lambda: nbest("ab", AB, 0), "k must be"),
        (lambda: enumerate_segmentations("ab" * 20, AB), "too many to list"),
        (lambda: viterbi_sampling_law("ab" * 20, AB), "comparisons"),
        (lambda: parse_pieces("a"), "piece=probability"),
        (lambda: parse_pieces("a=1 a=2"), "twice"),
        (lambda: parse_pieces("a=inf"), "positive number"),
        (lambda: parse_pieces(""), "pieces is empty"),
        (lambda: parse_pieces(None), "pieces must be a? ?text"),
        (lambda: throughput("own", "\ud800=1, a=1", 1), "lone surrogate"),
        (lambda: load_vocabulary("klingon"), "vocabulary must be one of"),
        (lambda: load_vocabulary(["own"]), "vocabulary must be one of"),
        (lambda: compare("ab", "own", methods=[["perfect"]]), "methods must be"),
        (lambda: compare("ab", "own", methods=[]), "methods must be"),
        (lambda: Vocabulary.of({}), "distinct pieces"),
        (lambda: Vocabulary.of({"a": math.inf}), "finite log-probability"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("function", (compare, lattice, read, throughput), ids=lambda function: function.__name__)
def test_every_parameter_refuses_what_it_cannot_take(function):
    """Every parameter but the file has a rule, and each wrong value of it a sentence that names it."""
    assert set(rules(function)) | {"file"} == set(inspect.signature(function).parameters)
    for name in rules(function):
        for wrong in (object(), math.nan, math.inf, 10**400, -(10**9), True, (), [[1], [2]], "x" * 2000):
            with pytest.raises(ValueError, match=rf"^{name}\b.*\.$"):
                function(**{name: wrong})
    for wrong in (object(), 3, "", "/nowhere", "\0", math.nan):
        with pytest.raises(ValueError, match=r"^file .*\.$"):
            function(**{"vocabulary": "file", "file": wrong})


WRONG = [None, "☃", math.nan, math.inf, -1, 10**400, object(), [], {}, {"": 1.0}, {"a": "b"}, {3: 1.0}, True, 2.5]


@pytest.mark.parametrize(
    "function, right",
    [
        (
            sample,
            {
                "text": "ab",
                "vocabulary": AB,
                "method": "n-best",
                "alpha": 1,
                "n": 2,
                "seed": 0,
                "nbest": 2,
                "unknown": "piece",
            },
        ),
        (sample_cuts, {"text": "ab", "vocabulary": AB, "method": "n-best", "alpha": 1, "n": 2, "seed": 0, "nbest": 2}),
        (nbest, {"text": "ab", "vocabulary": AB, "k": 2}),
        (log_partition, {"text": "ab", "vocabulary": AB, "alpha": 1}),
        (enumerate_segmentations, {"text": "ab", "vocabulary": AB, "alpha": 1, "most": 5}),
        (viterbi_sampling_law, {"text": "ab", "vocabulary": AB, "alpha": 1}),
        (edge_posteriors, {"text": "ab", "vocabulary": AB, "alpha": 1}),
        (load_vocabulary, {"name": "own", "pieces": "a=1"}),
        (parse_pieces, {"pieces": "a=1"}),
    ],
)
def test_each_argument_wrong_in_turn_is_refused_with_a_sentence(function, right):
    """Only ValueError with a sentence that names the argument; what fits after all gives a result."""
    function(**right)
    for name in right:
        refused = 0
        for wrong in WRONG:
            try:
                function(**{**right, name: wrong})
            except ValueError as refusal:
                refused += 1
                named = "vocabulary" if function is load_vocabulary and name == "name" else name
                assert str(refusal).startswith(named) and str(refusal).endswith("."), str(refusal)
        assert refused >= 9, (name, refused)


def by_tosses(text, table):
    """The law of Viterbi Sampling by following whole states: the path that survives at each place; pieces longest first."""
    states = [((((0.0, ()),) + (None,) * len(text)), 1.0)]
    for j in range(1, len(text) + 1):
        for i in range(j):
            if text[i:j] not in table:
                continue
            following = []
            for state, chance in states:
                if state[i] is None:
                    following.append((state, chance))
                    continue
                score, path = state[i]
                new = (score + table[text[i:j]], (*path, text[i:j]))
                taken = (*state[:j], new, *state[j + 1 :])
                if state[j] is None:
                    following.append((taken, chance))
                    continue
                share = 1 / (1 + math.exp(state[j][0] - new[0]))
                following += [(taken, chance * share), (state, chance * (1 - share))]
            states = following
    law = Counter()
    for state, chance in states:
        law[state[-1][1]] += chance
    return law


def test_the_best_path_need_not_be_the_likeliest_under_viterbi_sampling():
    """Of 100 random lattices of four letters (each longer piece there with probability 1/2, weights uniform), by another way."""
    rng, text, wrong = np.random.default_rng(0), "abcd", 0
    spans = [(i, j) for i in range(4) for j in range(i + 1, 5)]
    for _ in range(100):
        table = {text[i:j]: math.log(rng.random()) for i, j in spans if j == i + 1 or rng.random() < 0.5}
        pieces, law = viterbi_sampling_law(text, table)
        assert by_tosses(text, table) == pytest.approx(
            {tuple(p): q for p, q in zip(pieces, law, strict=True)}, abs=1e-13
        )
        wrong += pieces[0] != enumerate_segmentations(text, table)[0][0]
    assert 2 <= wrong <= 25
    found = compare("abc", "own", "abc=0.4, a=1, bc=0.31, ab=0.29, c=1", alpha=1.0, n=100)
    assert found.published_best == 2 and found.published[2] > found.published[0] + 0.12


def test_bpe_dropout_over_the_same_pieces_has_a_law_of_its_own():
    found = compare("unkindest", methods=("bpe-dropout", "ffbs"), n=10_000)
    assert found.own_distance[0] < 0.02 and found.distance[0] > 0.9
    assert found.own_distance[1] == found.distance[1] < 2 * found.chance
    letters = compare("abab", "own", methods=("bpe-dropout",), dropout=1.0, n=10)
    assert letters.bpe[[row.all() for row in letters.cuts]] == pytest.approx([1.0])
    with pytest.raises(ValueError, match="a is none of the pieces"):
        compare("watching", "own", "watch=1, ing=1, wat=1, ching=1, w=1, atching=1", methods=("bpe-dropout",))


def test_compression_of_a_passage():
    """Expected pieces by the distinct words are those of the whole lattice; many draws have as many on average."""
    seen = read(alpha=0.2, n=2000)
    _, _, posterior = edge_posteriors("Once upon a time there was a miller who was uncommonly quarrelsome.", alpha=0.2)
    assert seen.sweep_pieces[2] == pytest.approx(posterior.sum(), abs=1e-9) and seen.alphas[2] == 0.2
    assert seen.pieces == pytest.approx(posterior.sum(), abs=0.3)
    assert (np.diff(seen.size / seen.sweep_pieces) > 0).all() and seen.size == 68 and seen.best_pieces == 15


def test_the_n_best_are_timed_on_a_beginning():
    found = throughput("english", kilobytes=20, nbest=2)
    sizes = dict(zip(found.methods, found.sizes, strict=True))
    assert 4000 < sizes["n-best"] < 8000 < sizes["ffbs"] == found.size and (found.seconds > 0).all()
