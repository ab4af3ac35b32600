"""HiPPO, S4 and RTF: a function remembered by N numbers, and two fast ways to its kernel."""

from __future__ import annotations

from engines.hippo.checks import CHECKS
from engines.hippo.experiments import SCHEMES, matrices, memory, orders, steps
from engines.hippo.models import kernels, rational
from engines.hippo.selection import copying
from engines.hippo.timescales import forgetting, timescales
from studio.exhibit import Choice, Drawing, Exhibit, Former, Range, Text, Upload, View, each, read_stories
from studio.exhibits.hippo import thumbnail
from studio.exhibits.hippo.figures import (
    MEASURES,
    METHODS,
    MODELS,
    draw_copying,
    draw_forgetting,
    draw_kernels,
    draw_matrices,
    draw_memory,
    draw_orders,
    draw_rational,
    draw_steps,
    draw_timescales,
)

SIGNAL = Choice(
    "Signal",
    {
        "waves": "Two sines",
        "chirp": "Chirp",
        "square": "Square wave",
        "steps": "Random steps",
        "noise": "Smooth noise",
        "white": "White noise",
        "speech": "Speech-like",
        "formula": "Your formula",
        "own": "Your file or drawing",
    },
    icons=thumbnail.signals,
)
FORMULA = Text(
    "Formula in t",
    help="t runs from 0 to 6π. It may use sin, cos, exp, log, abs and piecewise(t < 9, sin(t), 0).",
    when={"signal": ["formula"]},
)
UPLOAD = Upload(
    "A sound (.wav) or a table (.csv)",
    (".wav", ".csv"),
    64,
    help="A table has a column of values, or times and values. A long sound is averaged down to the number of samples.",
    when={"signal": ["own"]},
)
DRAWING = Drawing(
    "Or draw a curve", 256, 160, help="A file, where one is chosen, comes first.", when={"signal": ["own"]}
)
KINDS = (
    "LegS and Fourier-LegS: all the past. LegT, LMU and FouT: a window. LagT and FouD: the past fades. Leg and LMU: Legendre "
    "polynomials, Lag: Laguerre, Fou: a Fourier series."
)
MEASURE = Choice("Measure", MEASURES, icons=thumbnail.measures, help=KINDS)
SEVERAL = Choice("Measures", MEASURES, several=True, icons=thumbnail.measures, help=KINDS)
ORDER = Range("Numbers kept, N", step=1)
METHOD = Choice("Discretisation", {name: METHODS[name] for name in SCHEMES})
SAMPLES = Range("Samples", step=1)
WINDOWED = [name for name in MEASURES if name not in ("legs", "fous")]
WINDOW = Range("Window, fraction of the signal", step=0.01, when={"measure": WINDOWED, "measures": WINDOWED})
SEED = Range("Seed", step=1, when={"signal": ["steps", "noise", "white"]})
LENGTH = Range("Kernel length L", step=1)
DETAIL = Range("Periods in the signal, at most", step=1)
DELAY = Range("Delay recalled", step=0.05)
FORMS = {"blog": "Blog: A/k before the step, A/(k+1) after", "older": "Older: A/(k+1) on both sides"}
FORM = Choice("A/t in a step of LegS", FORMS, when={"measure": ["legs"]})
MODEL = Choice("Model", MODELS)
DAMPING = Range(
    "Greatest |pole|",
    step=0.001,
    help="Below 10^(−16/N) the last coefficients are lost to rounding, and the poles with them.",
    when={"model": ["resonators"]},
)
OWN = {"signal": SIGNAL, "formula": FORMULA, "upload": UPLOAD, "drawing": DRAWING}
READ = {"method": METHOD, "samples": SAMPLES, "seed": SEED}

VIEWS = (
    View(
        slug="memory",
        title="The past in N numbers",
        caption=(
            "A signal is read once, from left to right, and only $N$ numbers are kept; the coloured curve is the past that they give "
            "back at the moment “now” (grey, at the foot: the weight of each age). Play the moments: LegS stretches one polynomial over all that "
            "has been, the others slide a window along or let the past fade. The map below shows the numbers over time, coloured by "
            "their square root. $N$ numbers remember any length, at a resolution that falls as the past grows."
        ),
        compute=memory,
        controls={**OWN, "measure": MEASURE, "order": ORDER, "window": WINDOW, **READ},
        draw=draw_memory,
        scalars={"error at the end / root mean square of the signal": lambda r: r.error[-1] / r.scale},
    ),
    View(
        slug="orders",
        title="Error against N",
        caption=(
            "Thin lines: the error of the memory at the end of the signal. Broad pale lines: the least error that any $N$ numbers could "
            "reach with the same functions (grey where measures share it). Look where a thin line leaves its broad one. With "
            "zero-order hold LegS and LagT never do: read sample by sample, they are still the best projection. A window must guess the "
            "value that leaves it; LegT guesses well, a Fourier series with $2/w$ improves slowly, with $1/w$ it does not converge. "
            "Polynomials end at a floor because samples are held constant; it falls with more samples."
        ),
        compute=orders,
        controls={"measures": SEVERAL, **OWN, "window": WINDOW, **READ},
        draw=draw_orders,
        scalars={
            "relative error at the largest N": lambda r: each(r.measures, r.error[:, -1]),
            "its least value with the same functions": lambda r: each(r.measures, r.floor[:, -1]),
        },
        seconds=0.3,
    ),
    View(
        slug="forgetting",
        title="Error against age",
        caption=(
            "The error of recalling each age at the end of 32 random signals, divided by that of recalling nothing. Look at the "
            "window's edge (drag it): a sliding measure is accurate inside and blank beyond, which is 1 exactly. LegS spreads its $N$ "
            "numbers over all the past; both ends are recalled better than the middle. Below: what an impulse leaves in the state; time is in "
            "windows, with LegS in units of the moment of the impulse. On two logarithmic axes LegS ends on the line $1/t$: it forgets "
            "like a polynomial, because its window grows. Where $A$ is constant, forgetting is exponential in the end: a "
            "straight line once the time axis is linear."
        ),
        compute=forgetting,
        controls={"measures": SEVERAL, "order": ORDER, "window": WINDOW, "detail": DETAIL, "seed": SEED},
        looks={"axes": Choice("Time since the impulse", {"xy": "logarithmic", "y": "linear"})},
        draw=draw_forgetting,
        scalars={
            "mean square error / that of recalling nothing, mean of the ages": lambda r: each(
                r.measures, r.error.mean(1)
            )
        },
    ),
    View(
        slug="scales",
        title="Map of timescales",
        caption=(
            "The error of recalling a sine: its period upwards, its age to the right, strongly coloured where it is recalled. Play the "
            "samples read. "
            "With LegS the whole map moves along its diagonal: what counts is age and period over the time gone by. Windows stay where "
            "they are. The dashed line is the finest period that $N$ numbers can hold: $\\pi$ numbers a wave, two for Fourier. Below, a "
            "signal's values are held longer or shorter: LegS, without a time constant, keeps its state to rounding."
        ),
        compute=timescales,
        controls={
            "measure": MEASURE,
            "order": ORDER,
            "window": Range("Window, fraction of the samples", step=0.01),
            "seed": Range("Seed", step=1),
        },
        draw=draw_timescales,
        scalars={"finest period at the last moment (samples)": lambda r: r.finest[-1]},
        seconds=0.3,
    ),
    View(
        slug="matrices",
        title="Matrix, spectrum, weight",
        caption=(
            "The matrix $A$ of $x' = Ax + Bu$ (with all the past as window: $tx' = Ax + Bu$), its eigenvalues, the weight of the past, and "
            "what an impulse at $t_0$ leaves in the first six numbers. Compare the condition number of the eigenvectors: small for the "
            "Fourier systems, growing exponentially with $N$ for LegS; LagT has one eigenvector only. So S4 does not diagonalise $A$."
        ),
        compute=matrices,
        controls={"measure": MEASURE, "order": ORDER},
        draw=draw_matrices,
        scalars={"condition number of the eigenvectors": "condition"},
    ),
    View(
        slug="steps",
        title="Error against step size",
        caption=(
            "The error of the final state as the same signal is cut into more steps, and below it the length of the state on the way. "
            "Zero-order hold is exact for an input held over each step: its error is that of cutting the signal into steps. For LegS the "
            "first steps of forward Euler are far too long for $A/t$, and the state grows, the more the larger $N$. In exact arithmetic "
            "its factors $I + A/j$, $j = 1 \\dots N$, multiply to zero (Cayley and Hamilton); in double precision rounding errors remain "
            "for a while."
        ),
        compute=steps,
        controls={
            "measure": MEASURE,
            "order": ORDER,
            **OWN,
            "alpha": Range("α of the generalised bilinear", step=0.05, help="Drawn where it is not 0, ½ or 1."),
            "form": FORM,
            "window": WINDOW,
            "seed": SEED,
        },
        draw=draw_steps,
        scalars={
            "relative error of the final state, most samples": lambda r: each(
                (METHODS[name] for name in r.methods), r.error[:, -1]
            ),
            "condition number of the eigenvectors": "condition",
        },
        seconds=0.3,
    ),
    View(
        slug="s4",
        title="S4's kernel",
        caption=(
            "The convolution kernel of LegS without the $1/t$, as S4 uses it, read so as to recall the input a fixed delay ago: a bump "
            "(drag it). $A = S - \\frac12 - PP^\\top$ with $S$ skew, so in the eigenvectors of $S$ the whole kernel is four Cauchy sums and "
            "an FFT; it equals the recurrence to rounding. Without $PP^\\top$ the kernel is another one; with half of $B$ besides, it is that "
            "of S4D, close but with ripples. The second figure: S4's kernel read with its first eight numbers, approximated by diagonal models. As "
            "$N$ grows, the ripples of S4D do not become smaller but faster: only the smoothed kernel converges. With $C$ fitted the same "
            "poles, which are those S5 starts from, come as close as one likes."
        ),
        compute=kernels,
        controls={"order": ORDER, "delay": DELAY, "reach": Range("Time covered", step=0.1), "length": LENGTH},
        draw=draw_kernels,
        scalars={
            "greatest difference of the two kernels": "kernel_gap",
            "greatest difference of the two outputs": "output_gap",
        },
    ),
    View(
        slug="selection",
        title="Selective step (Mamba)",
        caption=(
            "Tokens stand at random places among blanks, and are to be read from the final state, in order, by the best linear readout. "
            "The curves: its exact error over all places, against how far the state moves at a blank. At the right end every step is "
            "equal, as in S4, and no N helps: the readout does not know where the tokens were. Mamba lets the input "
            "choose the step. If a blank's is small (drag the mark), only tokens move the state, and as many numbers as tokens suffice."
        ),
        compute=copying,
        controls={
            "ratio": Range("A blank's step over a token's", step=0.001),
            "tokens": Range("Tokens", step=1),
            "length": Range("Length of the sequence", step=1),
            "order": Range("Numbers kept, N", step=2),
            "poles": Choice(
                "Poles of A",
                {"lin": "S4D-Lin: −½ + iπn, n ≥ 1", "real": "Mamba, S4D-Real: −1 … −N", "legt": "HiPPO-LegT"},
            ),
            "seed": Range("Seed", step=1),
        },
        draw=draw_copying,
        scalars={
            "mean square error / variance of a token": "here",
            "the same at a fixed step": lambda r: r.by_token[1].mean(),
        },
        seconds=0.3,
    ),
    View(
        slug="rtf",
        title="Rational transfer function (RTF)",
        caption=(
            "The kernel of a model that is a ratio of two polynomials, $b(z)/a(z)$, its poles and its gain. Given $(a, b)$, it is one "
            "division of FFTs whatever $N$; the companion matrix runs the same model step by step. From a given $(A, B, C)$ that works "
            "only while the characteristic polynomial survives floating point: for HiPPO up to a small $N$."
        ),
        compute=rational,
        controls={"model": MODEL, "order": ORDER, "damping": DAMPING, "length": LENGTH, "seed": SEED},
        draw=draw_rational,
        scalars={
            "greatest |pole|": "radius",
            "greatest difference of the two kernels": "kernel_gap",
            "greatest difference of the two outputs": "output_gap",
        },
    ),
)


EXHIBIT = Exhibit(
    slug="hippo",
    title="HiPPO, S4, RTF",
    summary="A whole past kept in N numbers, updated sample by sample, and the two ideas that made such memories fast.",
    question="Can 64 numbers hold everything that has been heard?",
    theme="sequences",
    sources=(
        ("Su, Revisiting SSM (1): linear systems and HiPPO", "https://kexue.fm/archives/10114"),
        ("Su, Revisiting SSM (2): what HiPPO left open", "https://kexue.fm/archives/10137"),
        ("Su, Revisiting SSM (3): computing S4", "https://kexue.fm/archives/10162"),
        ("Su, Revisiting SSM (4): rational generating functions", "https://kexue.fm/archives/10180"),
        ("Gu et al., HiPPO", "https://arxiv.org/abs/2008.07669"),
        ("Gu, Goel, Ré, S4", "https://arxiv.org/abs/2111.00396"),
        ("Gu et al., How to Train Your HiPPO", "https://arxiv.org/abs/2206.12037"),
        ("Gu et al., S4D", "https://arxiv.org/abs/2206.11893"),
        ("Smith, Warrington, Linderman, S5", "https://arxiv.org/abs/2208.04933"),
        ("Gu, Dao, Mamba", "https://arxiv.org/abs/2312.00752"),
        ("Parnichkun et al., RTF", "https://arxiv.org/abs/2405.06147"),
        (
            "Voelker, Kajić, Eliasmith, Legendre Memory Units",
            "https://proceedings.neurips.cc/paper/2019/hash/952285b9b7e7a1be5aa7849f32ffff05-Abstract.html",
        ),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
    former={
        "own": Former("memory", values={"signal": "own"}),
        "timing": Former("s4", names={"longest": "length"}, values={"length": 4096}),
    },
)
