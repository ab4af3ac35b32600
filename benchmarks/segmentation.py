"""Random segmentation of long text: MB/s beside sentencepiece's own sampling, on the same pieces.

    python -m benchmarks.segmentation --data DATA

Both cut the same half megabyte of English with the shipped vocabulary at alpha = 0.3 and give lists of pieces. sentencepiece
(pip install sentencepiece protobuf) reads that vocabulary from a model file built here. One thread each; medians of interleaved runs, in
processor time, which a busy machine leaves alone.
"""

import argparse
import statistics
import time
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as protobuf

from engines.segmentation import load_vocabulary, log_partition, sample


def peer(vocabulary) -> sentencepiece.SentencePieceProcessor:
    """sentencepiece over the same pieces and scores."""
    model = protobuf.ModelProto()
    model.trainer_spec.model_type = protobuf.TrainerSpec.UNIGRAM
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = model.normalizer_spec.escape_whitespaces = True
    kinds = protobuf.ModelProto.SentencePiece
    for piece, kind in (("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)):
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for piece, score in zip(vocabulary.pieces, vocabulary.log_probs.tolist(), strict=True):
        model.pieces.add(piece=piece, score=score, type=kinds.NORMAL)
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    vocabulary = load_vocabulary("english")
    lines = (options.data / "storybook.txt").read_text(encoding="utf-8").split("\n")
    text = " ".join(" ".join(lines).split())[:500_000]
    lines = [" ".join(line.split()) for line in lines]
    lines = lines[: next(i for i in range(len(lines)) if sum(map(len, lines[:i])) > 500_000)]
    other = peer(vocabulary)
    short = "Once upon a time there was a miller."
    assert other.encode(short, out_type=str) == sample(short, vocabulary, "viterbi")[0]
    print(f"log Z of {short!r}: {log_partition(short, vocabulary):.6f}")

    size = len(text.encode()) / 1e6
    small, small_text = size / 20, text[: len(text) // 20]
    runs = {
        "ours, ffbs": (size, lambda seed: sample(text, vocabulary, "ffbs", 0.3, 1, seed)),
        "ours, perfect": (size, lambda seed: sample(text, vocabulary, "perfect", 0.3, 1, seed)),
        "ours, viterbi": (size, lambda seed: sample(text, vocabulary, "viterbi")),
        "sentencepiece, sampling, line by line": (
            sum(len(line.encode()) for line in lines) / 1e6,
            lambda seed: other.encode(
                lines, out_type=str, enable_sampling=True, alpha=0.3, nbest_size=-1, num_threads=1
            ),
        ),
        "sentencepiece, sampling, one text of 1/20": (
            small,
            lambda seed: other.encode(small_text, out_type=str, enable_sampling=True, alpha=0.3, nbest_size=-1),
        ),
        "sentencepiece, viterbi": (size, lambda seed: other.encode(text, out_type=str)),
    }
    sample(text[:1000], vocabulary, "ffbs")
    times = {name: [] for name in runs}
    for seed in range(options.pairs):
        for name, (_, run) in runs.items():
            started = time.process_time()
            run(seed)
            times[name].append(time.process_time() - started)
    base = (
        statistics.median(times["sentencepiece, sampling, line by line"])
        / runs["sentencepiece, sampling, line by line"][0]
    )
    print(f"{'':44}{'MB/s':>8}{'ratio to sentencepiece sampling':>34}")
    for name, (megabytes, _) in runs.items():
        seconds = statistics.median(times[name]) / megabytes
        print(f"{name:44}{1 / seconds:8.2f}{base / seconds:34.2f}")


if __name__ == "__main__":
    main()
