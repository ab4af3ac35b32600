"""Figures of the flows."""

from __future__ import annotations

import numpy as np

from engines.flow.codes import Codes
from engines.flow.experiments import EXTENT, Denoise, Heads, Order, Training
from engines.flow.patch_heads import PatchHeads
from engines.flow.pictures import Digits, Guide, Likelihood
from studio.figure import (
    COLORS,
    DIVERGING,
    GREY,
    INK,
    Figure,
    across,
    arrows,
    bars,
    drag,
    figure,
    heat,
    label,
    line,
    points,
    scrub,
    short,
)
from studio.language import say
from studio.panels import Folded, Pictures, Prose, Table

BLUE, ORANGE, GREEN, RED, PURPLE, TEAL = COLORS[:6]
STACKS = {
    "1": "1 block",
    "2": "2 blocks, both orders",
    "4": "4 blocks, both orders",
    "8": "8 blocks, both orders",
    "8-one-order": "8 blocks, one order",
}
HEADS = {
    "gaussian": ("Gaussian", BLUE),
    "mixture": ("mixture of Gaussians", GREEN),
    "bins": ("bins", PURPLE),
    "codebook": ("codebook and Gaussian residual", TEAL),
    "flow_matching": ("flow matching, Euler's steps", RED),
    "other_order": ("Gaussian in the other order", ORANGE),
}
PATCH_HEADS = {key: HEADS[key] for key in ("gaussian", "mixture", "bins", "codebook")} | {
    "flow_matching": ("flow matching", RED)
}

SHOWN = 3.5  # of the plane, to each side


def titled(drawing: Figure, left: int = 60) -> Figure:
    """Room for a title above the legend."""
    return drawing.update(margin={"t": 72, "l": left}, title={"y": 0.99, "yref": "container", "yanchor": "top"})


def levels(drawing: Figure, steps: np.ndarray, *values: tuple[float, str, str]) -> None:
    """Exact values (value, name, colour) as level lines over the steps, named in the legend: values may lie close together."""
    for value, name, color in values:
        if np.isfinite(value) and value < 4:
            line(drawing, [0, steps[-1]], [value] * 2, name, color, width=1.5, dash="dot", hover="%{y:.4f}")


def plane(title: str = "", height: int = 460) -> Figure:
    """An empty square plane."""
    drawing = figure(x="x₁", y="x₂", height=height, square=True, title=title)
    for axis in (drawing.x, drawing.y):
        axis(range=[-SHOWN, SHOWN])
    return titled(drawing) if title else drawing


def ground(drawing: Figure, axis: np.ndarray, density: np.ndarray) -> None:
    """The exact density, without a bar."""
    heat(drawing, density, axis, axis, showscale=False, zsmooth="fast", hoverinfo="skip", hovertemplate=None)


def draw_order(result: Order) -> list:
    """Particles and grid, block by block, and the distance of every stack."""
    drawing = plane(height=560)
    states, lines = result.states, result.lines
    last = len(states) - 1
    line(drawing, lines[last, :, 0], lines[last, :, 1], "grid", GREY, width=1, opacity=0.6, hoverinfo="skip")
    points(drawing, states[last, :, 0], states[last, :, 1], "particles", BLUE, size=4, opacity=0.7)
    ground(drawing, result.axis, result.density)
    frames = [
        [{"x": lines[i, :, 0], "y": lines[i, :, 1]}, {"x": states[i, :, 0], "y": states[i, :, 1]}]
        for i in range(last + 1)
    ]
    scrub(drawing, frames, [str(i) for i in range(last + 1)], name="blocks undone", start=last)
    distance = figure(
        x="KL(exact distribution ‖ flow) (nats)",
        height=340,
        title="KL divergence of each flow from the exact distribution",
    )
    names = [say(STACKS[name]) for name in result.stacks]
    colors = [ORANGE if name == result.stack else BLUE for name in result.stacks]
    texts = [short(gap) for gap in result.gaps]
    bars(distance, result.gaps, names, "KL", colors, horizontal=True, text=texts, legend=False)
    across(distance, x=result.floor, text=say("one order, at best: {floor}", floor=short(result.floor)), color=RED)
    distance.y(autorange="reversed").x(range=[0, 1.25 * max(float(result.gaps.max()), result.floor)])
    distance.update(margin={"l": 170})
    here = float(result.gaps[result.stacks.index(result.stack)])
    drawing.alt = say("KL {gap} nats; one order reaches {floor} at best.", gap=short(here), floor=short(result.floor))
    rows = [
        ["entropy of the exact distribution", result.entropy],
        ["least −log q of any number of blocks in one order", result.entropy + result.floor],
        ["−log q of this flow", result.entropy + here],
    ]
    return [drawing, distance, Table(("", "nats"), rows)]


def draw_train(result: Training) -> list:
    """Samples over the exact density, scrubbed over the steps; the loss between two exact lines."""
    shown = plane(height=560)
    last = len(result.samples) - 1
    frames = [
        [dict(zip("xy", part.T, strict=True)) for part in both]
        for both in zip(result.lines, result.samples, strict=True)
    ]
    line(shown, *result.lines[last].T, "grid", GREY, width=1, opacity=0.6, hoverinfo="skip")
    points(shown, *result.samples[last].T, "samples", BLUE, size=4, opacity=0.7)
    ground(shown, result.axis, result.density)
    if last:
        scrub(shown, frames, [f"{step:,}" for step in result.step.tolist()], name="step", start=last, once=True)
    shown.alt = say("KL to the flow is now {gap} nats.", gap=short(result.gap))
    drawing = figure(x="step", y="−log q (nats)", height=440)
    line(drawing, result.step, result.nll, "−log q", BLUE, marks=4, hover="step %{x}: %{y:.4f}")
    levels(
        drawing,
        result.step,
        (result.entropy, say("entropy {value}", value=short(result.entropy, 4)), GREEN),
        (result.best_one_order, say("one order, at best: {floor}", floor=short(result.best_one_order, 4)), RED),
    )
    low = min(result.entropy, float(result.nll.min()))
    high = max(result.best_one_order, min(float(result.nll.max()), result.entropy + 1.5))
    drawing.y(range=[low - 0.08, high + 0.12])
    return [shown, drawing, Table(("", "nats"), [["KL(exact distribution ‖ flow), by quadrature", result.gap]])]


def moves(drawing: Figure, start: np.ndarray, end: np.ndarray, few: int = 250) -> None:
    """Thin lines from where a few points were to where they are."""
    gap = np.full((min(few, len(start)), 1, 2), np.nan)
    path = np.concatenate((start[:few, None], end[:few, None], gap), 1).reshape(-1, 2)
    line(drawing, path[:, 0], path[:, 1], "step", GREY, width=1, opacity=0.7, hoverinfo="skip")


def draw_denoise(result: Denoise) -> list:
    """Samples as they are, after the flow's own step, and after the exact one."""
    panels = []
    for title, moved, color in (
        ("Tweedie's step with the flow's own score", result.by_flow, ORANGE),
        ("The same samples, with the exact score", result.by_exact, GREEN),
    ):
        drawing = plane(title, 520 if not panels else 440)
        moves(drawing, result.samples, moved)
        points(drawing, result.samples[:, 0], result.samples[:, 1], "samples of the flow", BLUE, size=3, opacity=0.45)
        points(drawing, moved[:, 0], moved[:, 1], "after the step", color, size=4, opacity=0.85)
        ground(drawing, result.axis, result.density)
        panels.append(drawing)
    field = plane("One Tweedie step: of the flow's score and of the exact one", 480)
    for name, steps, color in (("exact score", result.exact_steps, GREEN), ("flow's score", result.flow_steps, ORANGE)):
        arrows(field, *result.places.T, *steps.T, name, color)
    ground(field, result.axis, result.density)
    panels.append(field)
    sets = ("samples of the flow", "after the flow's step", "after the exact step", "real clean data")
    rows = [[name, *values] for name, *values in zip(sets, result.cost, result.distance, strict=True)]
    columns = ("", "−log p of the clean distribution (nats)", "sliced W1 to other clean data")
    panels[0].alt = say("−log p falls from {raw} to {after}.", raw=short(result.cost[0]), after=short(result.cost[1]))
    facts = [
        ["KL(noised distribution ‖ flow) (nats)", result.gap],
        ["squared error of the flow's score, as a share of the exact one's square", result.score_error],
    ]
    return [*panels, Table(columns, rows), Table(("of the flow itself", ""), facts)]


def draw_digits(result: Digits) -> list:
    """Nats a pixel over the steps; with the last report pictures and what is measured of them."""
    drawing = figure(x="step", y="−log q (nats a pixel)", height=440)
    line(drawing, result.step, result.train, "training", BLUE, hover="step %{x}: %{y:.4f}")
    line(drawing, result.step, result.test, "test, with labels", ORANGE, hover="step %{x}: %{y:.4f}")
    line(drawing, result.step, result.test_unlabelled, "test, without labels", PURPLE, hover="step %{x}: %{y:.4f}")
    levels(
        drawing,
        result.step,
        *(
            references := (
                (result.gaussian, "one Gaussian", GREY),
                (result.memory, "the noised training set as a distribution", RED),
                (result.noise_alone, "the noise alone", GREEN),
            )
        ),
    )
    panels: list = [drawing]
    if len(result.test):
        drawing.alt = say("{nats} nats a pixel on test pictures.", nats=short(result.test[-1]))
        rows = [["flow, with labels", result.test[-1]], ["flow, without labels", result.test_unlabelled[-1]]]
        rows += [[name, value] for value, name, _ in references]
        panels.append(Table(("test pictures with noise", "−log q (nats a pixel)"), rows))
    if np.isfinite(result.bits):
        panels.append(Prose(say("Test pictures cost {bits} bits a pixel.", bits=short(result.bits))))
    if not len(result.raw):
        return panels
    sets = [("samples", result.raw), ("after Tweedie's step", result.denoised), ("test pictures", result.real)]
    names = ("samples", "after the step", "test pictures (Fréchet: training)")
    rows = [list(row) for row in zip(names, result.recognised, result.frechet, result.nearest, strict=True)]
    if not result.noise:
        panels.append(Prose("Uniform noise has no Tweedie step."))
        del sets[1], rows[1]
    sheet = Pictures(
        np.concatenate([images[:20] for _, images in sets]),
        rows=[text for title, _ in sets for text in (title, "")],
        columns=[str(i) for i in range(10)],
        size=44,
    )
    columns = (
        "",
        "share recognised",
        "Fréchet distance to the test pictures (ink²)",
        "distance to the nearest training picture (ink)",
    )
    return [sheet, *panels, Table(columns, rows)]


def draw_guide(result: Guide) -> list:
    """The same z under several weights, what each weight costs, and a sheet of digits."""
    weights, costs, rows = [*result.weights, result.guidance], [*result.frechet, result.frechet_here], result.compared
    order = sorted({weight: i for i, weight in enumerate(weights)}.values(), key=lambda i: weights[i])
    compared = Pictures(
        np.concatenate([rows[i] for i in order] + [result.real]),
        rows=[
            *(say("w = {weight}; Fréchet {cost}", weight=short(weights[i]), cost=short(costs[i])) for i in order),
            say("test pictures"),
        ],
        columns=[str(i) for i in range(10)],
        size=44,
    )
    cost = figure(x="guidance w", y="Fréchet distance (ink²)", height=380)
    line(cost, result.weights, result.frechet, "Fréchet distance to the test pictures", BLUE, marks=6)
    points(cost, [result.guidance], [result.frechet_here], "w", ORANGE, size=13, legend=False)
    drag(cost, 1, x="guidance")
    across(cost, y=result.frechet_real, text=say("training pictures: {value}", value=short(result.frechet_real)))
    cost.y(rangemode="tozero")
    cost.alt = say(
        "At w = {weight} the distance is {value}.", weight=short(result.guidance), value=short(result.frechet_here)
    )
    known = figure(x="guidance w", y="share recognised", height=380)
    line(known, result.weights, result.recognised, "recognised", GREEN, marks=6)
    across(known, y=result.recognised_real)
    text = say("test pictures: {value}", value=short(result.recognised_real))
    label(known, result.weights[-1], result.recognised_real, text, GREY, xanchor="right", yanchor="top")
    known.y(range=[min(0.9, float(result.recognised.min()) - 0.02), 1.01])
    title = say("More samples at w = {weight}", weight=short(result.guidance))
    sheet = Pictures(result.pictures, title=title, rows=[""] * 5, columns=[str(i) for i in range(10)], size=44)
    return [compared, cost, known, sheet]


def draw_likelihood(result: Likelihood) -> list:
    """log q under each label, and where the nats of the likeliest come from."""
    drawing = figure(x="label", y="log q(x | label) (nats)", height=420)
    best = int(result.log_q.argmax())
    colors = [ORANGE if i == best else BLUE for i in range(10)]
    points(drawing, list(range(10)), result.log_q, "log q", colors, size=15, legend=False, hover="%{x}: %{y:.2f}")
    across(drawing, y=result.without, text=say("without a label: {value}", value=short(result.without)))
    drawing.x(dtick=1, range=[-0.6, 9.6])
    low, high = float(result.log_q.min()), float(result.log_q.max())
    drawing.y(range=[low - 0.1 * (high - low) - 1, high + 0.15 * (high - low) + 1])
    drawing.alt = say("The likeliest label is {label}.", label=best)
    pictures = Pictures(
        np.concatenate((result.picture, result.noised, result.latent)),
        ("the picture", "with noise, as the flow sees it", "z"),
        size=130,
    )
    costs = figure(x="patch", y="", height=320, title="What −log q sums to (nats)")
    size = float(np.abs(result.costs).max())
    blocks = len(result.costs) - 1
    names = [say("block {number}", number=i + 1) for i in range(blocks)] + [say("prior of z")]
    texts = [[short(cell) for cell in row] for row in result.costs]
    heat(
        costs,
        result.costs,
        [str(i + 1) for i in range(result.costs.shape[1])],
        names,
        scale=DIVERGING,
        low=-size,
        high=size,
        text=texts,
    )
    costs.y(autorange="reversed").update(margin={"l": 90})
    rows = [
        [str(i), value, chance] for i, (value, chance) in enumerate(zip(result.log_q, result.posterior, strict=True))
    ]
    said = say(
        "The sum over blocks and patches is {sum}; the determinant of the whole Jacobian gives {whole}. Difference: {off}.",
        sum=short(result.sum_of_costs, 8),
        whole=short(result.brute_force, 8),
        off=short(abs(result.sum_of_costs - result.brute_force), 2),
    )
    panels = [
        drawing,
        pictures,
        costs,
        Prose(said),
        Folded("Posterior", [Table(("label", "log q", "posterior"), rows)]),
    ]
    if result.label >= 0:
        verdict = say("True label {label}; the likeliest is {best}.", label=result.label, best=best)
        panels.insert(1, Prose(verdict))
    return panels


def draw_heads(result: Heads) -> list:
    """The plane with x₁ to drag, beside it on the same axis the law of x₂ there, and each head's excess against noise."""
    drawing = figure(x="x₁", y="x₂", height=560)
    line(drawing, [result.x1] * 2, [-EXTENT, EXTENT], "x₁ given", RED, width=2, hoverinfo="skip", legend=False)
    points(drawing, [result.x1], [0], "x₁", RED, size=14, hover="x₁ = %{x:.2f}", legend=False)
    drag(drawing, 1, x="x1")
    ground(drawing, result.axis, result.density)
    beside = {"xaxis": "x2", "hover": "x₂ = %{y:.2f}: %{x:.3f}"}
    line(
        drawing,
        result.exact,
        result.x2,
        "exact",
        INK,
        width=3,
        fill="tozerox",
        fillcolor="rgba(136, 136, 136, 0.18)",
        **beside,
    )
    curves = titled(
        figure(x="noise σ", y="excess of −log q (nats)", height=420, title="What each head loses at its best")
    )
    rows = []
    for i, key in enumerate(result.heads):
        name, color = HEADS[key]
        width = 3 if key == "gaussian" else 1.5
        line(
            drawing,
            result.laws[i],
            result.x2,
            name,
            color,
            width=width,
            shape="vhv" if key == "bins" else None,
            **beside,
        )
        line(curves, result.noise, result.gaps[i], name, color, marks=4)
        rows.append([name, result.here[i]])
    most = 1.1 * max(float(result.exact.max()), min(float(result.laws.max()), 3 * float(result.exact.max())))
    drawing.x(domain=[0, 0.56], range=[-SHOWN, SHOWN]).y(range=[-SHOWN, SHOWN])
    drawing.update(xaxis2={"domain": [0.6, 1], "range": [0, most], "title": {"text": "p(x₂ | x₁)"}, "anchor": "y"})
    across(curves, x=result.sigma, text="σ")
    drawing.alt = say("A Gaussian head loses {gap} nats at this noise.", gap=short(result.here[0]))
    text = say("H(x₂ | x₁) = {entropy} nats: no head costs less.", entropy=short(result.entropy, 6))
    return [drawing, curves, Table(("head", "excess of −log q (nats)"), rows), Prose(text)]


def draw_patch_heads(result: PatchHeads) -> list:
    """Nats of test pictures by each head over its training, samples, and what is measured of them."""
    drawing = figure(x="step", y="−log q of test pictures (nats a pixel)", height=460)
    for key, nats in zip(result.heads, result.nats, strict=True):
        name, color = PATCH_HEADS[key]
        line(drawing, result.step, nats, name, color, marks=6, hover="step %{x}: %{y:.4f}")
    levels(drawing, result.step, (result.gaussian, "one Gaussian of all pixels", GREY))
    names = [say(PATCH_HEADS[key][0]) for key in result.heads]
    now = [row[np.isfinite(row)][-1] for row in result.nats]
    least = int(np.argmin(now))
    drawing.alt = say("Least is {head} with {nats} nats a pixel.", head=names[least], nats=short(now[least]))
    rows = list(zip(names, now, result.train, result.loss, result.recognised, strict=True))
    rows += [
        ("one Gaussian of all pixels, no label", result.gaussian, "", "", ""),
        ("the noise alone: no head costs less", result.noise_alone, "", "", ""),
    ]
    columns = ("head", "−log q, test", "−log q, training", "training loss", "share recognised")
    sheet = Pictures(
        np.concatenate((result.real, result.pictures.reshape(-1, 8, 8, 3))),
        title="Samples, with their noise",
        rows=["test pictures", *names],
        columns=[str(i) for i in range(10)],
        size=44,
    )
    return [sheet, drawing, Table(columns, rows, "Nats a pixel")]


def draw_codes(result: Codes) -> list:
    """Originals and what their codes say, the codebook, the bill, and Lloyd-Max beside Shannon."""
    rate = figure(x="rate R of a code of N(0, 1) (bits)", y="mean squared error", log="y", height=400)
    rate.update(margin={"t": 80})
    grid = np.linspace(0.8, 4.2, 60)
    line(rate, grid, 4.0**-grid, "Shannon: 2^(−2R)", INK)
    line(rate, result.rate, result.distortion, "Lloyd-Max, log2 of its levels", BLUE, marks=6)
    line(rate, result.coded, result.distortion, "Lloyd-Max, entropy of its code", ORANGE, marks=6)
    book = Pictures(result.codebook, title="Codebook (64 entries at most)", size=28)
    rows = [
        ["bits a picture, log2 K a patch", result.bits_fixed],
        ["bits a picture, entropy of the codes", result.bits_code],
        ["bits a picture, entropy of the exact patches", result.bits_exact],
    ]
    psnr = ["PSNR of the codes alone (dB)", result.psnr]
    different = 3 - np.array_equal(result.kept, result.shown)
    names = ("original", "codes alone", "with the residual")[:different]
    sets = (result.original, result.kept, result.shown)[:different]
    if result.source == "upload":
        sheet = Pictures(np.concatenate(sets), names, size=256)
        both = result.bits_fixed + result.bits_book
        text = say(
            "PNG keeps this picture whole in {png} bits. Codes and codebook take {both}, {ratio} times as much.",
            png=f"{result.bits_png:,.0f}",
            both=f"{both:,.0f}",
            ratio=short(both / result.bits_png),
        )
        rows += [
            ["bits of the codebook, 8 a channel", result.bits_book],
            ["bits a picture as PNG, without loss", result.bits_png],
            ["bits a picture, 24 a pixel", result.bits_raw],
            psnr,
        ]
        return [sheet, Prose(text), Table(("", ""), rows), book, rate]
    few = 10
    sheet = Pictures(np.concatenate([part[:few] for part in sets]), rows=names, columns=[""] * few, size=56)
    rows += [
        ["bits a picture, 17 grey levels a pixel", result.bits_raw],
        psnr,
        ["recognised: originals", result.accuracy_real],
        ["recognised: codes alone", result.accuracy_kept],
        ["recognised: with the residual", result.accuracy_shown],
    ][: different + 2]
    return [sheet, Table(("", ""), rows), book, rate]
