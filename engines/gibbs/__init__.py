"""Text sampled by walking: Gibbs sampling and edits with masked language models, and tiny chains whose distribution is known."""

from engines.gibbs.text import GibbsSample, sample

__all__ = ["GibbsSample", "sample"]
