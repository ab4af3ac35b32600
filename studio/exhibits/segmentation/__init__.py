"""Random segmentation: a text cut into pieces, drawn from all the ways there are."""

from __future__ import annotations

from engines.segmentation.checks import CHECKS
from engines.segmentation.experiments import compare, lattice, read, throughput
from studio.exhibit import Choice, Exhibit, Former, Range, Text, Upload, View, each, read_stories
from studio.exhibits.segmentation.figures import SAMPLERS, draw_lattice, draw_law, draw_reading, draw_throughput

TEXT = Text("Text", help="A word or two. Chinese needs the Chinese vocabulary.")
VOCABULARY = Choice(
    "Vocabulary",
    {
        "english": "English (story books)",
        "chinese": "Chinese (quatrains)",
        "own": "typed pieces",
        "file": "a tokenizer's file",
    },
    help="The first two are unigram vocabularies of 8,000 pieces.",
)
PIECES = Text("Pieces", help="piece=probability, separated by commas.", when={"vocabulary": ["own"]})
FILE = Upload(
    "Tokenizer's file",
    (".model", ".vocab", ".json"),
    20,
    help="A .model or .vocab of sentencepiece, a tokenizer.json: unigram, or BPE for BPE-dropout.",
    when={"vocabulary": ["file"]},
)
UNKNOWN = Choice(
    "Characters in no piece",
    {"refuse": "refused", "piece": "unknown pieces", "bytes": "bytes"},
    help="Unknown pieces and bytes cost 10 nats more than the least probable piece.",
)
ALPHA = Range(
    "α", step=0.05, help="0: all segmentations alike; 1: the unigram distribution; large: nearly always the best."
)
SEED = Range("Seed", step=1)
NBEST = Range("n of n-best", step=1, when={"method": ["n-best"], "methods": ["n-best"]})
DROPOUT = Range("Dropout p", step=0.01, when={"method": ["bpe-dropout"], "methods": ["bpe-dropout"]})
DRAWS = Range("Draws", step=1, log=True)
SOURCE = {"vocabulary": VOCABULARY, "pieces": PIECES, "file": FILE}

VIEWS = (
    View(
        slug="law",
        title="Draws against the exact distribution",
        caption="A unigram vocabulary gives a segmentation $w_1\\dots w_m$ a probability proportional to $(p(w_1)\\cdots p(w_m))^\\alpha$. Bars: this distribution, every segmentation listed. Marks: shares of the draws. The perfect sampler and forward filtering, backward sampling lie on the bars up to chance. Viterbi Sampling draws one path in proportion to their probabilities wherever Viterbi's algorithm compares two; paths that are compared later get too much (open diamonds: its own distribution). Drawing from the n best never gives what it left out. BPE-dropout merges the same pieces, the most probable first, leaving out each merge with probability p: another distribution altogether (open circles). “▁” stands for a space.",
        compute=compare,
        controls={
            "text": TEXT,
            **SOURCE,
            "methods": Choice("Samplers", SAMPLERS, several=True),
            "alpha": ALPHA,
            "n": DRAWS,
            "nbest": NBEST,
            "dropout": DROPOUT,
            "unknown": UNKNOWN,
            "seed": SEED,
        },
        draw=draw_law,
        scalars={
            "total variation from the exact distribution": lambda r: each(r.methods, r.distance),
            "total variation by chance": "chance",
        },
        seconds=0.2,
    ),
    View(
        slug="lattice",
        title="Lattice and α",
        caption="Every piece of the vocabulary that occurs in the text is an arc; a segmentation is a path from left to right. An arc is as thick as the probability that a random segmentation uses it. Orange: the best path, or all that tie. Dots grow with the probability of a cut. Below: at α = 0 all segmentations are equally probable; as α grows the entropy falls, the best takes everything, and the expected number of pieces tends to that of the best. Drag the point on a curve.",
        compute=lattice,
        controls={
            "text": TEXT,
            **SOURCE,
            "alpha": ALPHA,
            "alpha_max": Range("Greatest α of the curves", step=0.05),
            "unknown": UNKNOWN,
        },
        draw=draw_lattice,
        scalars={
            "entropy of the segmentation (nats)": "entropy",
            "expected number of pieces": "pieces",
            "probability of the best segmentation": "best_probability",
        },
    ),
    View(
        slug="passage",
        title="Repeated segmentation of a text",
        caption="What a language model reads that is trained with random segmentation: the same text, cut differently each time. Tiles are pieces, longer ones darker; play the draws. Below: how often each place was cut, and its probability; cuts that every segmentation has are left out. Last: compression, the bytes that a piece holds; random segmentation pays for its variety with more pieces, at α = 0 with most. The file of a BPE tokenizer is cut by BPE-dropout, which leaves out merges at random.",
        compute=read,
        controls={
            "text": Text("Passage", lines=3),
            **SOURCE,
            "method": Choice("Sampler", SAMPLERS),
            "alpha": ALPHA,
            "dropout": DROPOUT,
            "n": DRAWS,
            "nbest": NBEST,
            "unknown": UNKNOWN,
            "seed": SEED,
        },
        draw=draw_reading,
        scalars={"mean number of pieces": "pieces", "different segmentations drawn": "distinct"},
        seconds=0.2,
    ),
    View(
        slug="speed",
        appendix=True,
        title="Appendix: throughput",
        caption="A long text falls apart at forced cuts (before every space in English), and equal words have equal distributions. So forward filtering runs once for each different word, and backward sampling draws all words together. The perfect sampler draws at every node and cannot share that work. The n best of a text are not made of the n best of its words: the search goes through every place, and only the beginning is timed. Measured on this server when you press Run; benchmarks/segmentation.py compares with SentencePiece.",
        compute=throughput,
        controls={
            **SOURCE,
            "kilobytes": Range("Kilobytes", step=1, log=True),
            "alpha": ALPHA,
            "nbest": NBEST,
            "seed": SEED,
        },
        draw=draw_throughput,
        scalars={"bytes a second": lambda r: each((SAMPLERS[name] for name in r.methods), r.sizes / r.seconds)},
        live=False,
        seconds=2,
        brief={"kilobytes": 10},
    ),
)


EXHIBIT = Exhibit(
    slug="segmentation",
    title="Random segmentation",
    summary="Texts segmented at random: all segmentations of a text into pieces, and which samplers draw from their distribution.",
    question="How are the segmentations of a word drawn with exactly the right probabilities?",
    theme="text",
    sources=(
        ("Su, Viterbi Sampling, a first look at random segmentation", "https://kexue.fm/archives/9768"),
        ("Su, From Viterbi Sampling to the perfect sampler", "https://kexue.fm/archives/9811"),
        ("Su, BytePiece", "https://kexue.fm/archives/9752"),
        ("Kudo, Subword Regularization", "https://arxiv.org/abs/1804.10959"),
        ("Provilkov, Emelianenko, Voita, BPE-Dropout", "https://arxiv.org/abs/1910.13267"),
        ("Kudo & Richardson, SentencePiece", "https://arxiv.org/abs/1808.06226"),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
    former={
        "law": Former("law", values={"n": 1000}),
        "passage": Former("passage", {"passage": "text"}, {"n": 1000}),
        "alpha": Former("lattice", {"most": "alpha_max"}),
    },
)
