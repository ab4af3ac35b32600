"""What an opening picture says that its curves alone would not."""

from engines.gibbs.cgmh import write
from engines.gibbs.unmask import decode
from engines.moe.balancing import balance
from engines.softmax.experiments import compare, sparsity
from studio.exhibits.gibbs.figures import KEYWORD, draw_unmask, draw_write
from studio.exhibits.moe.figures import draw_balancing
from studio.exhibits.softmax.figures import draw_compare, draw_sparsity
from studio.figure import short


def test_exact_zeros_are_told_from_bars_too_low_to_see():
    drawn = draw_compare(compare(scores=(1.5, 1.0, 0.6, 0.0, -9.0), maps=("softmax", "sparsemax")))[0]
    assert [trace.get("text") for trace in drawn.data[:2]] == [[""] * 5, ["", "", "0", "0", "0"]]


def test_a_curve_under_another_is_seen_between_its_dashes():
    drawn = draw_sparsity(sparsity(maps=("softmax", "sparsemax", "taylor")))[0]
    assert [trace["line"].get("dash") for trace in drawn.data] == [None, None, "dash"]


def test_a_rule_that_is_even_now_and_then_is_not_called_never_balanced():
    *_, last = balance(rules=("top-k", "loss-free-rms"), rounds=60)
    result = last.result
    never, sometimes = (note["text"] for note in draw_balancing(result)[0].layout["annotations"][:2])
    within = int((result.max[1, :61] <= 0.1).sum())
    assert "never balanced" in never and 0 < within < 61 and f"balanced in {within} rounds of 61" in sometimes


def test_keywords_keep_their_colour_in_every_frame():
    *_, last = write(keywords="king, forest", steps=40, chains=1)
    for frame in draw_write(last.result)[0].frames:
        assert {piece.text for piece in frame[0] if piece.color == KEYWORD} == {"king", "forest"}


def test_all_samplers_fill_the_same_masks_beside_each_other():
    *_, last = decode(text="明月__，清风__。", samplers=("gibbs", "confident"), budgets=(2,), chains=1)
    frames = draw_unmask(last.result)[0].frames
    assert [sum(piece.text.count("□") for line in frame for piece in line) for frame in frames][::2] == [8, 0]
    ends = ["".join(piece.text for piece in line) for line in frames[-1][1::2]]
    assert ends == last.result.texts[:, 0, 0].tolist()
    assert short(last.result.pll[0, 0, 0]) in frames[-1][0][0].text
