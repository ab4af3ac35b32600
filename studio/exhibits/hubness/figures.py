"""What the hubness exhibit draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engines.hubness.approximate import Approximation
from engines.hubness.experiments import Boundary, Concentration, Reductions, SkewnessCurve, Survey
from engines.hubness.files import sentences
from engines.hubness.latents import LatentFilter
from engines.hubness.measures import at_random
from studio.figure import COLORS, GREY, Figure, across, band, bars, cells, drag, figure, label, line, points, short
from studio.language import raw, say
from studio.panels import Folded, Pictures, Prose, Table, png, verbatim

MOST_POINTS = 600  # of a scatter plot, hubs among them
ORDINARY, HUB, RANDOM = COLORS[0], COLORS[1], COLORS[2]

LAWS = {
    "uniform": "uniform on the cube",
    "normal": "standard normal",
    "sphere": "uniform on the sphere",
    "mixture": "mixture of eight normals",
}
REDUCTIONS = {
    "none": "Euclidean distance, not reduced",
    "mutual proximity": "mutual proximity, Gaussian",
    "mutual proximity empirical": "mutual proximity, counted",
    "local scaling": "local scaling",
    "nicdm": "NICDM",
    "dissimlocal": "DisSimLocal",
    "csls": "CSLS",
    "centring": "centred inner product",
    "cosine": "cosine",
}
METHOD_COLORS = dict(zip(REDUCTIONS, (GREY, *COLORS), strict=True))
NORMS = {0.5: "L½", 1.0: "L1", 2.0: "L2 (Euclidean)", math.inf: "L∞"}
PLACES = {
    "cube": "cube",
    "glued cube": "cube, opposite faces glued",
    "sphere": "sphere",
    "ball": "ball",
    "normal": "normal",
}
MEASURES = {
    "top_fifth": "share of the slots held by the top fifth",
    "skewness": "skewness of N",
    "robin_hood": "Robin Hood index",
    "antihubs": "share of antihubs, N = 0",
}
KINDS = {
    "antihubs": "antihubs, N = 0",
    "few": "0 < N < k",
    "many": "k ≤ N < 2k",
    "hubs": "hubs, N ≥ 2k",
}
GROUPS_OF_N = list(KINDS)
KIND_COLORS = dict(zip(KINDS, (COLORS[4], COLORS[5], COLORS[0], COLORS[1]), strict=True))
GROUPS = {"hubs": "Hubs", "ordinary": "N near k", "ordinary, shortened": "The same, shortened", "antihubs": "Antihubs"}


def counts_axis(top: float) -> dict[str, Any]:
    """A log axis of N_k up to `top`, with 0 at one half."""
    values = [v for v in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if v <= top * 1.3]
    return {
        "type": "log",
        "tickvals": [0.5, *values],
        "ticktext": ["0", *map(str, values)],
        "span": (0.4, max(top, 2) * 1.3),
    }


def shown(counts: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Which points to draw, those of least N first, so that hubs lie on top."""
    order = np.argsort(counts, kind="stable")
    order = order if among is None else order[among[order]]
    if len(order) <= MOST_POINTS:
        return order
    return np.concatenate([order[:-100][:: math.ceil(len(order) / MOST_POINTS)], order[-100:]])


def scatter(drawn: Figure, x: np.ndarray, counts: np.ndarray, some: np.ndarray, hover: str, *named: str) -> None:
    """N_k of some points over x; the figure gets the axis of N_k."""
    heights = np.maximum(counts[some], 0.5)
    points(drawn, x[some], heights, *named, size=5, opacity=0.55, hover=hover, customdata=counts[some])
    drawn.y(**counts_axis(float(counts.max())))


def draw_survey(result: Survey, hub: int = 1, log_counts: bool = True) -> list:
    """A hub and its followers, hubs and antihubs, the histogram, the measures, N_k against the distance to the mean."""
    read = [] if result.reading is None else [Prose(_read(result))]
    return [
        _followers(result, min(hub, len(result.hubs)) - 1),
        *read,
        *_gallery(result),
        _histogram(result, log_counts),
        _against_mean(result),
        _measures(result),
    ]


def _followers(result: Survey, rank: int) -> Figure:
    """The principal plane, with lines from one hub to those that have it among their neighbours."""
    drawn = figure(x="first principal direction", y="second principal direction", height=620, square=True)
    size = np.clip(4 + 1.2 * np.sqrt(result.counts), 4, 20)
    for name, among, color in (
        ("antihubs, N = 0", result.counts == 0, GREY),
        ("points, larger with N", result.counts > 0, ORDINARY),
    ):
        some = shown(result.counts, among)
        points(
            drawn,
            *result.plane[some].T,
            name,
            color,
            size=size[some],
            opacity=0.55,
            hover="N = %{customdata}",
            customdata=result.counts[some],
        )
    hub = result.hubs[rank]
    followers = result.followers[rank]
    followers = followers[followers >= 0]
    ends = np.full((len(followers), 3, 2), np.nan)
    ends[:, 0], ends[:, 1] = result.plane[hub], result.plane[followers]
    thin = float(np.clip(70 / max(len(followers), 1), 0.35, 0.7))
    line(drawn, *ends.reshape(-1, 2).T, "the hub's followers", HUB, width=1, opacity=thin, hoverinfo="skip")
    points(
        drawn,
        *result.plane[[hub]].T,
        "the hub",
        HUB,
        size=16,
        legend=False,
        hover=say("N = {n}", n=int(result.counts[hub])),
    )
    if len(result.hub_pictures):
        span = float(np.ptp(result.plane, axis=0).max()) or 1.0
        drawn.update(
            images=[
                {
                    "source": png(cut_out(picture)),
                    "xref": "x",
                    "yref": "y",
                    "x": float(result.plane[number, 0]),
                    "y": float(result.plane[number, 1]),
                    "sizex": span * (0.1 if number == hub else 0.06),
                    "sizey": span * (0.1 if number == hub else 0.06),
                    "xanchor": "center",
                    "yanchor": "middle",
                    "layer": "above",
                }
                for picture, number in zip(result.hub_pictures[::-1], result.hubs[::-1], strict=True)
            ]
        )
    near = {"xshift": 12, "yshift": 12, "bgcolor": "rgba(128,128,128,0.15)"}
    said = say("<b>N = {n}</b>, the mean is {k}", n=int(result.counts[hub]), k=result.k)
    label(drawn, *result.plane[hub].tolist(), said, **near)
    drawn.alt = say(
        "{n} points in {d} dimensions; N of the hub is {largest}, the mean {k}.",
        n=result.n,
        d=result.dimension,
        largest=int(result.counts[hub]),
        k=result.k,
    )
    return drawn


def cut_out(picture: np.ndarray) -> np.ndarray:
    """The picture as RGBA, its white ground transparent where it touches the border."""
    import scipy.ndimage  # a second to load

    picture = np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else picture
    ground, _ = scipy.ndimage.label((picture > 248).all(2))  # pyright: ignore[reportGeneralTypeIssues]
    outside = np.setdiff1d(np.concatenate([ground[[0, -1]].ravel(), ground[:, [0, -1]].ravel()]), [0])
    return np.dstack([picture, np.where(np.isin(ground, outside), 0, 255).astype(np.uint8)])


def _gallery(result: Survey) -> list:
    if len(result.hub_pictures):
        return [
            Pictures(pictures, [raw(f"N = {n:,}") for n in result.counts[some]], title=title)
            for title, pictures, some in (
                ("Hubs: the greatest N", result.hub_pictures, result.hubs),
                ("Antihubs: the least N", result.antihub_pictures, result.antihubs),
            )
        ]
    texts = (*result.hub_texts[:6], *result.antihub_texts[:6])
    if not texts and result.reading is None:
        return []
    some = np.concatenate([result.hubs[:6], result.antihubs[:6]])
    rows = [
        [int(result.counts[number]), int(result.chosen[number]) + 1, raw(texts[i] if texts else "")]
        for i, number in enumerate(some)
    ]
    return [Table(("N", "row", "label"), rows, title="The six greatest N, then the six least")]


def _histogram(result: Survey, log_counts: bool) -> Figure:
    """Points over N_k, beside the binomial; the mark at the mean, which is k, can be dragged."""
    width = result.bin_right - result.bin_left
    edges = np.append(result.bin_left, result.bin_right[-1]).astype(float)
    drawn = figure(x=say("N for k = {k}", k=result.k), y="points for each N", height=400)
    floor = 0.4 * float((result.bin_points / width)[result.bin_points > 0].min())
    edges[0] = 0.5 if log_counts else 0
    for name, held, color in (("found", result.bin_points, ORDINARY), ("at random", result.bin_binomial, RANDOM)):
        height = np.maximum(held / width, floor if log_counts else 0)
        line(
            drawn,
            edges,
            np.append(height, height[-1]),
            name,
            color,
            shape="hv",
            dash=None if color == ORDINARY else "dash",
            fill="tozeroy" if color == ORDINARY else None,
            hover="N = %{x:.0f}: %{y:.3~g} points",
        )
    highest = float(max((result.bin_points / width).max(), (result.bin_binomial / width).max()))
    points(
        drawn, [result.k], [floor * 1.6 if log_counts else 0], "mean of N = k (drag)", HUB, size=13, symbol="diamond"
    )
    drag(drawn, 2, x="k")
    if log_counts:
        drawn.x(**counts_axis(float(edges[-1]))).y(type="log", dtick=1, span=(floor, highest * 1.6))
    else:
        drawn.y(rangemode="tozero")
    return drawn


def _measures(result: Survey) -> Table:
    found, chance = result.unequal, result.random
    rows = [
        ["skewness of N", found.skewness, chance.skewness],
        ["Robin Hood index", found.robin_hood, chance.robin_hood],
        ["antihubs, N = 0 (%)", 100 * found.antihubs, 100 * chance.antihubs],
        ["neighbour slots held by N ≥ 2k (%)", 100 * found.hub_share, 100 * chance.hub_share],
        ["held by the top fifth of the points (%)", 100 * found.top_fifth, 100 * chance.top_fifth],
        ["largest N", found.largest, chance.largest],
        ["rank correlation of N with the distance to the mean", result.rank_correlation, 0],
    ]
    title = say("{n} points, {d} dimensions, k = {k}", n=result.n, d=result.dimension, k=result.k)
    return Table(("", "found", "neighbours at random"), rows, title=title)


def _against_mean(result: Survey) -> Figure:
    drawn = figure(x="distance to the mean of the points", y=say("N for k = {k}", k=result.k), height=400)
    hover = "N = %{customdata}, distance %{x:.3~g}"
    scatter(drawn, result.from_mean, result.counts, shown(result.counts), hover, "", ORDINARY)
    across(drawn, y=result.k, text="mean N = k")
    drawn.update(
        title={"text": say("Spearman’s ρ = {rho}", rho=short(result.rank_correlation, 2)), "font": {"size": 13}}
    )
    return drawn


def _read(result: Survey) -> str:
    """What was read from a file, and how much of it is counted."""
    said = [
        say(template, **{key: verbatim(value) if isinstance(value, str) else value for key, value in fields.items()})
        for template, fields in sentences(result.reading)
    ]
    if result.n < result.reading.rows:  # pyright: ignore[reportOptionalMemberAccess]
        said.append(
            say(
                "{n} of the rows, chosen at random by the seed, are counted; raise the number of points for more.",
                n=result.n,
            )
        )
    return " ".join(said)


def _against_dimension(result: SkewnessCurve | Boundary, measure: str, y: str) -> Figure:
    """A figure of a measure against dimension, with that of random neighbours."""
    drawn = figure(x="dimension d", y=y, height=460, log="x")
    chance = getattr(at_random(result.points, result.k), measure)
    across(drawn, y=chance, text=say("at random: {value}", value=short(chance, 2)))
    ticks = [2, 5, 10, 20, 50, 100, 200, 500]
    return drawn.x(tickvals=ticks, ticktext=[str(d) for d in ticks])


def draw_curve(result: SkewnessCurve, measure: str = "skewness") -> list:
    """A measure of N_k over dimension, with the spread of the seeds."""
    drawn = _against_dimension(result, measure, MEASURES[measure])
    every = getattr(result, measure)
    done = np.isfinite(every).all((0, 2))
    d = result.dimensions[done]
    for i, law in enumerate(result.laws):
        found, color = every[i, done], COLORS[list(LAWS).index(law)]
        band(drawn, d, found.min(1), found.max(1), color=color)
        line(drawn, d, found.mean(1), LAWS[law], color, marks=6, hover="d = %{x}: %{y:.3~g}")
    drawn.x(span=(1.8, 560))
    if measure == "top_fifth":
        drawn.y(tickformat=".0%", span=(0.15, max(0.85, float(np.nanmax(every)) + 0.05)))
        across(drawn, y=0.8, text="four fifths")
    rows = [[LAWS[law], *every[i, done].mean(1)] for i, law in enumerate(result.laws)]
    columns = ("distribution", *(raw(f"d = {value}") for value in d))
    title = say("Mean of {seeds} sets of {n} points, k = {k}", seeds=every.shape[2], n=result.points, k=result.k)
    return [drawn, Table(columns, rows, title=title)]


def draw_reductions(result: Reductions) -> list:
    """Lorenz curves of the neighbour slots, and the measures before and after."""
    drawn = figure(x="share of the points, least N first", y="share of all neighbour slots they hold", height=600)
    share = np.linspace(0, 1, 81)
    for method, counts in zip(result.methods, result.counts, strict=True):
        held = np.concatenate(([0], np.sort(counts).cumsum())) / counts.sum()
        line(
            drawn,
            share,
            np.interp(share, np.linspace(0, 1, len(held)), held),
            REDUCTIONS[method],
            METHOD_COLORS[method],
            width=4 if method == "none" else 2,
            hover="the least %{x:.0%} hold %{y:.1%}",
        )
    line(drawn, [0, 1], [0, 1], "all equal", GREY, width=1, dash="dot", legend=False, hoverinfo="skip")
    label(drawn, 0.5, 0.5, "all equal", GREY, xanchor="right", xshift=-8)
    # no curve comes above the diagonal
    corner = {
        "orientation": "v",
        "x": 0.02,
        "y": 0.99,
        "yanchor": "top",
        "font": {"size": 11},
        "bgcolor": "rgba(0,0,0,0)",
    }
    drawn.update(legend=corner)
    for axis in (drawn.x, drawn.y):
        axis(tickformat=".0%", range=[0, 1], nticks=6)
    rows = [
        [REDUCTIONS[method], u.skewness, u.robin_hood, 100 * u.antihubs, 100 * u.hub_share, u.largest]
        for method, u in zip(result.methods, result.unequal, strict=True)
    ]
    title = say("{n} points, {d} dimensions, k = {k}", n=result.n, d=result.dimension, k=result.k)
    columns = ("distance", "skewness", "Robin Hood", "antihubs (%)", "held by N ≥ 2k (%)", "largest N")
    return [drawn, Table(columns, rows, title=title)]


def draw_concentration(result: Concentration, rim: float = 0.1) -> list:
    """Spread of distances over dimension, their histograms, those of angles, and the ball in its cube."""
    spread = figure(x="dimension d", y="standard deviation ÷ mean of the distance", height=400, log="xy")
    for i, power in enumerate(result.exponents):
        line(spread, result.dimensions, result.spread[i], NORMS[power], COLORS[i], marks=6, hover="d = %{x}: %{y:.3~g}")
    line(
        spread,
        result.dimensions,
        result.limit,
        raw("1/√(2d)"),
        GREY,
        dash="dot",
        legend=bool(np.isfinite(result.limit).any()),
    )
    for axis, values in ((spread.x, (1, 3, 10, 30, 100, 300)), (spread.y, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1))):
        axis(tickvals=values, ticktext=[str(value) for value in values])
    shape = figure(x="Euclidean distance ÷ its mean", y="density", height=460)
    middle = (result.bin_edges[1:] + result.bin_edges[:-1]) / 2
    for i, d in enumerate(result.shown):
        line(shape, middle, result.bin_density[i], raw(f"d = {d}"), COLORS[i], shape="hvh")
    angles = figure(x="angle of two points, seen from the origin (degrees)", y="density (per degree)", height=400)
    middle = (result.angle_edges[1:] + result.angle_edges[:-1]) / 2
    for i, d in enumerate(result.shown):
        if d == 1:
            continue  # 0 or 180 degrees
        line(angles, middle, result.angle_density[i], raw(f"d = {d}"), COLORS[i], shape="hvh", hover="%{x}°: %{y:.3~g}")
        if result.law in ("normal", "sphere"):
            line(angles, middle, result.angle_law[i], "", COLORS[i], width=1, dash="dash", hoverinfo="skip")
    if np.isfinite(result.angle_limit):
        across(angles, x=result.angle_limit, text=raw(f"{result.angle_limit:.3g}°"))
    angles.x(tickvals=list(range(0, 181, 30)))
    ball = figure(x="dimension d", y="share of the volume", height=400)
    line(ball, result.ball_dimension, result.ball_share, "the ball, of its cube", COLORS[0], marks=4)
    shell = 1 - (1 - rim) ** result.ball_dimension.astype(float)
    outer = say("the ball’s outer {rim} of the radius, of the ball (drag)", rim=f"{rim:.0%}")
    line(ball, result.ball_dimension, shell, outer, COLORS[1])
    points(ball, [1], [rim], color=COLORS[1], size=13, symbol="diamond", hover=" ")
    drag(ball, 2, y="rim")
    ball.x(range=[0.5, 30.5]).y(range=[-0.02, 1.02])
    contrast = Table(
        ("dimension d", *NORMS.values()),
        [[d, *column] for d, column in zip(result.dimensions[1:], result.contrast.T[1:], strict=True)],
        title=say("(farthest − nearest) ÷ nearest of {pairs} distances from one point", pairs=result.pairs),
    )
    return [shape, spread, angles, ball, contrast]


def draw_boundary(result: Boundary) -> list:
    """Skewness with and without an edge, and N_k in three planes."""
    drawn = _against_dimension(result, "skewness", say("skewness of N for k = {k}", k=result.k))
    done = np.isfinite(result.skewness).all(0)
    for i, place in enumerate(result.places):
        line(
            drawn,
            result.dimensions[done],
            result.skewness[i, done],
            PLACES[place],
            COLORS[i],
            marks=6,
            dash=None if place in ("glued cube", "sphere") else "dash",
            hover="d = %{x}: skewness %{y:.3~g}",
        )
    top = max(float(result.flat_counts.max()), 1.0)
    every = math.ceil(result.points / 700)
    titles = []
    for name, counts in zip(("square", "square, opposite sides glued", "normal"), result.flat_counts, strict=True):
        least, most = (short(value) for value in (counts.min(), counts.max()))
        told = say("N from {least} to {most}, mean {k}", least=least, most=most, k=result.flat_k)
        titles.append(raw(f"<b>{say(name)}</b><br>{told}"))
    planes, places = cells(titles, [-0.02, 1.02], [-0.02, 1.02])
    for i, (place, counts, at) in enumerate(zip(result.flat, result.flat_counts, places, strict=True)):
        points(
            planes,
            *place[::every].T,
            values=counts[::every],
            low=0,
            high=top,
            size=6,
            hover="N = %{marker.color}",
            **at,
        )
        if i == 2:  # a normal set, whole
            far = 1.05 * float(np.abs(place).max())
            planes.update(xaxis3={"range": [-far, far]}, yaxis3={"range": [-far, far]})
    central = [
        int(counts[np.argsort(np.linalg.norm(place - place.mean(0), axis=1))[:10]].mean())
        for place, counts in zip(result.flat, result.flat_counts, strict=True)
    ]
    note = say(
        "In the planes $k$ is {k}, {share} of the {n} points. The ten points nearest to the mean have $N$ = {square} in the square, "
        "{glued} where its sides are glued and {normal} under the normal distribution.",
        k=result.flat_k,
        share=f"{result.share:.0%}",
        n=result.points,
        square=central[0],
        glued=central[1],
        normal=central[2],
    )
    names = ("square", "square, opposite sides glued", "normal")
    rows = [
        [name, index, int(counts.min()), int(counts.max())]
        for name, index, counts in zip(names, result.flat_robin_hood, result.flat_counts, strict=True)
    ]
    return [planes, Prose(note), drawn, Table(("in the plane", "Robin Hood index", "least N", "largest N"), rows)]


def draw_approximate(result: Approximation) -> list:
    """Share of points found by a search for themselves, over the beam; links that lead to them; those that are lost."""
    drawn = figure(x="beam ef", y="share found", height=520, log="x")
    for i, name in enumerate(result.groups):
        if result.sizes[i]:
            y = result.found_share[:, i]
            line(drawn, result.beams, y, KINDS[name], KIND_COLORS[name], marks=6, hover="ef = %{x}: %{y:.1%}", width=3)
    line(drawn, result.beams, result.recall, "of all neighbours", GREY, dash="dash", hover="ef = %{x}: %{y:.1%}")
    at = result.beams.tolist().index(result.beam)
    points(drawn, [result.beam], [result.recall[at]], "beam (drag)", GREY, size=13, symbol="diamond", hover=" ")
    drag(drawn, len(drawn.data) - 1, x="beam")
    low, ticks = result.beams[0], [1, 2, 4, 8, 16, 32, 64, 128, 256]
    drawn.x(tickvals=ticks, ticktext=[str(tick) for tick in ticks], span=(low / 1.15, max(result.beams) * 1.15))
    drawn.y(tickformat=".0%", span=(-0.02, 1.03))
    lost = result.counts[~result.found]
    drawn.alt = say("{lost} of {n} points are not found", lost=len(lost), n=result.n)

    group = np.select([result.counts == 0, result.counts < result.k, result.counts < 2 * result.k], [0, 1, 2], 3)
    links = np.arange(min(int(result.incoming.max()), 24) + 1)
    reach = figure(x="links that lead to the point", y="share", height=400)
    for name in ("antihubs", "hubs"):
        among = result.incoming[group == GROUPS_OF_N.index(name)]
        if len(among):
            share = np.bincount(np.minimum(among, links[-1]), minlength=len(links)) / len(among)
            title = say("number of links: {kind}", kind=say(KINDS[name]))
            bars(reach, links, share, title, KIND_COLORS[name], opacity=0.6, hover="%{x}: %{y:.1%}")
    some = np.bincount(np.minimum(result.incoming, links[-1]), minlength=len(links))
    met = np.bincount(np.minimum(result.incoming, links[-1]), result.found, minlength=len(links))
    met = np.divide(met, some, out=np.full(len(links), np.nan), where=some > 0)
    line(reach, links, met, "found, of the points with that many", ORDINARY, marks=6, hover="%{x}: %{y:.1%}")
    reach.y(tickformat=".0%", span=(0, 1.03))

    rows = [
        [
            KINDS[name],
            int(result.sizes[i]),
            100 * result.found_share[at, i],
            100 * result.neighbour_share[at, i],
            float(result.incoming[group == i].mean()) if result.sizes[i] else math.nan,
            100 * float((result.incoming[group == i] == 0).mean()) if result.sizes[i] else math.nan,
        ]
        for i, name in enumerate(result.groups)
    ]
    heads = (
        "points",
        "how many",
        "found by a search for themselves (%)",
        "found as neighbours (%)",
        "links that lead there, mean",
        "without any (%)",
    )
    title = say(
        "At ef = {beam}: {recall} % of all neighbours are found",
        beam=result.beam,
        recall=short(100 * result.recall[at]),
    )
    panels = [drawn, reach, Table(heads, rows, title=title)]
    if len(result.lost) and len(result.lost_pictures):
        captions = [raw(f"N = {n}") for n in result.counts[result.lost]]
        panels.insert(1, Pictures(result.lost_pictures, captions, title="Not found, though searched for", size=120))
    elif len(result.lost) and result.lost_texts:
        texts = [
            [int(result.counts[number]), raw(said)] for number, said in zip(result.lost, result.lost_texts, strict=True)
        ]
        panels.append(Table(("N", "label"), texts, title="Not found, though searched for"))
    return panels


def draw_latent(result: LatentFilter, threshold: int = 30) -> list:
    """Pictures of four kinds of latents; lengths of those kept among all; what each threshold leaves."""
    kept = result.counts >= threshold
    lengths = figure(x="length ‖z‖ of the latent", y="latents", height=400, barmode="overlay", bargap=0)
    edges = np.linspace(float(result.norms.min()), float(result.norms.max()), 61)
    middle = (edges[1:] + edges[:-1]) / 2
    chosen = say("N ≥ {threshold}", threshold=threshold)
    for name, some, color, opacity in (("all", result.norms, ORDINARY, 0.5), (chosen, result.norms[kept], HUB, 1)):
        bars(lengths, middle, np.histogram(some, edges)[0], name, color, opacity=opacity, hover="‖z‖ ≈ %{x:.4~g}: %{y}")
    across(lengths, x=result.chi_mean, text=say("mean of χ: {mean}", mean=short(result.chi_mean, 4)))
    against = figure(x="length ‖z‖ of the latent", y=say("N for k = {k}", k=result.k), height=400)
    for name, among, color in (("all", ~kept, ORDINARY), (chosen, kept, HUB)):
        some = shown(result.counts, among)
        scatter(against, result.norms, result.counts, some, "N = %{customdata}, ‖z‖ = %{x:.4~g}", name, color)
    leaves = figure(x="threshold t", y="mean length where N ≥ t", height=400)
    line(
        leaves,
        np.maximum(result.thresholds, 0.5),
        result.norm_above,
        color=ORDINARY,
        hover="N ≥ %{x:.0f}: %{customdata:.2%} of the latents, mean length %{y:.4~g}",
        customdata=result.share_above,
    )
    here = float(result.norms[kept].mean()) if kept.any() else float(np.nanmin(result.norm_above))
    points(leaves, [max(threshold, 0.5)], [here], "threshold (drag)", HUB, size=13, symbol="diamond")
    drag(leaves, 1, x="threshold")
    leaves.x(**counts_axis(max(float(result.thresholds[-1]), threshold)))
    for share in (0.5, 0.1, 0.01):
        reached = np.flatnonzero(result.share_above <= share)
        if len(reached) and np.isfinite(result.norm_above[reached[0]]):
            at = reached[0]
            part = f"{result.share_above[at]:.2g}".removeprefix("0")
            label(leaves, max(result.thresholds[at], 0.5), float(result.norm_above[at]), say("{part} kept", part=part))
    panels = [lengths, Prose(_kept(result, kept, threshold)), against, leaves]
    if not result.pictures.size:
        return panels
    each = result.group_counts.shape[1]
    # N of a shortened latent is not that of the latent it was
    captions = [
        raw(f"‖z‖ = {norm:.1f}" if "shortened" in group else f"N = {n}, ‖z‖ = {norm:.1f}")
        for group, counts, norms in zip(result.groups, result.group_counts, result.group_norms, strict=True)
        for n, norm in zip(counts, norms, strict=True)
    ]
    grid = Pictures(
        result.pictures.reshape(-1, *result.pictures.shape[2:]),
        captions,
        title=say("Denoising step {step} of {steps}", step=result.step, steps=result.steps),
        rows=[GROUPS[group] for group in result.groups],
        columns=[str(i + 1) for i in range(each)],
        size=128,
    )
    note = say(
        "The hubs are {shorter} shorter than ordinary latents; the third row is the second, shortened to the hubs’ mean length.",
        shorter=f"{1 - result.shortening:.1%}",
    )
    return [grid, Prose(note), Folded("Lengths and thresholds", panels)]


def _kept(result: LatentFilter, kept: np.ndarray, threshold: int) -> str:
    if not kept.any():
        return say(
            "None of the {n} latents has N ≥ {threshold}: lower the threshold.", n=result.latents, threshold=threshold
        )
    mean, all_mean = float(result.norms[kept].mean()), float(result.norms.mean())
    return say(
        "Of {n} latents in {d} dimensions {share} have N ≥ {threshold}. Their mean length is {mean}, that of all {all}: the "
        "truncation trick needs ψ = {psi} for the same.",
        n=result.latents,
        d=result.dimension,
        share=f"{kept.mean():.2%}",
        threshold=threshold,
        mean=short(mean, 4),
        all=short(all_mean, 4),
        psi=f"{mean / all_mean:.3f}",
    )
