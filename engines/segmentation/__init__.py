"""Cutting text into the pieces of a vocabulary: the best way, and at random.

Unigram vocabularies (`Vocabulary`) give every segmentation a probability; `sampling` draws from it. BPE tokenizers (`BytePairs`)
have merges; BPE-dropout draws from them.
"""

from engines.segmentation.bpe import BytePairs, sample_bpe
from engines.segmentation.files import load_tokenizer, load_vocabulary
from engines.segmentation.lattice import Lattice
from engines.segmentation.sampling import (
    METHODS,
    edge_posteriors,
    enumerate_segmentations,
    log_partition,
    nbest,
    sample,
    sample_cuts,
    viterbi_sampling_law,
)
from engines.segmentation.vocabulary import Prepared, Vocabulary, parse_pieces

__all__ = [
    "METHODS",
    "BytePairs",
    "Lattice",
    "Prepared",
    "Vocabulary",
    "edge_posteriors",
    "enumerate_segmentations",
    "load_tokenizer",
    "load_vocabulary",
    "log_partition",
    "nbest",
    "parse_pieces",
    "sample",
    "sample_bpe",
    "sample_cuts",
    "viterbi_sampling_law",
]
