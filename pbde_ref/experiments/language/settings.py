"""All that can be set in the experiments with language models, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pbde_ref.experiments.presets import changed, check_numbers, presets_of, rng_for
from pbde_ref.language.tokenizers import MAX_LENGTH
from pbde_ref.models.transformer import TransformerConfig

__all__ = ["PRESETS", "TARGETS", "LanguageSettings", "Workplace", "preset"]


@dataclass(frozen=True)
class LanguageSettings:
    """Settings of the experiments with language models; the defaults take about six minutes on two cores.

    Attributes
    ----------
    vocabulary : int
        Pieces of the tokenizer.
    embedding_dim, layers, heads, mlp_dim : int
        Sizes of the Transformer.
    whole_steps, short_steps, long_steps : int
        Of AdamW, for the models of all sentences, of those of at most 20 pieces, and of those of 31 to 50.
    learning_rate, warmup_steps, weight_decay, tokens_per_batch : float, int, float, int
        Of these models' training.
    sentences : int
        At most so many sentences of a corpus, the first ones.
    pairs : int
        Pairs of sentences drawn from *whole*.
    table_sentences : int
        So many of the sentences drawn, the first ones, make Table 2.
    samples : int
        Sentences drawn from each other model.
    scale : float
        c in Eq. (26), for annotators and model; the paper's figures were computed with 50.
    pairs_per_step : int
        Of the adaptation, which goes over the pairs once; a divisor of their number.
    adaptation_learning_rate : float
        Of Adam, constant.
    likelihood_weight : float
        Of a pair's own log-likelihoods, subtracted from its loss. Eq. (1) has none, the authors' notebook 4e-5. Models
        of the default size forget without it how to end a sentence; with it the optimum is not that of Theorem 2.
    seed : int
    """

    vocabulary: int = 1000
    embedding_dim: int = 128
    layers: int = 2
    heads: int = 4
    mlp_dim: int = 512
    whole_steps: int = 1600
    short_steps: int = 800
    long_steps: int = 1600
    learning_rate: float = 4e-3
    warmup_steps: int = 100
    weight_decay: float = 0.5
    tokens_per_batch: int = 2048
    sentences: int = 1_000_000
    pairs: int = 2**15
    table_sentences: int = 4096
    samples: int = 4096
    scale: float = 50.0
    pairs_per_step: int = 128
    adaptation_learning_rate: float = 1e-3
    likelihood_weight: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, may_be_zero=("seed", "warmup_steps", "likelihood_weight", "weight_decay"))
        for name, most, what in (
            ("table_sentences", 2 * self.pairs, "the number of sentences in `pairs`"),
            ("pairs_per_step", self.pairs, "`pairs`"),
        ):
            if getattr(self, name) > most:
                raise ValueError(f"`{name}` must be at most {what}, {most}; got {getattr(self, name)}")
        if self.pairs % self.pairs_per_step:
            raise ValueError(f"`pairs_per_step` must divide `pairs`, {self.pairs}; got {self.pairs_per_step}")
        self.config(self.vocabulary)

    def config(self, vocabulary_size: int) -> TransformerConfig:
        """Sizes of each model."""
        sizes = {name: getattr(self, name) for name in ("embedding_dim", "layers", "heads", "mlp_dim")}
        return TransformerConfig(vocabulary_size=vocabulary_size, max_length=MAX_LENGTH, **sizes)

    def rng(self, purpose: str) -> np.random.Generator:
        """Randomness for one purpose, whatever else is run."""
        return rng_for(self.seed, purpose)


PRESETS: Mapping[str, LanguageSettings] = presets_of("language", LanguageSettings)


TARGETS: Mapping[str, tuple[str, ...]] = {
    "language": (),
    "table-2": ("table-2",),
    "figure-6": ("samples-short", "samples-long", "annotator-mixture", "density-mixture"),
}
"""What can be asked for, and the runs that show it; of the first, all."""


@dataclass(frozen=True)
class Workplace:
    """What a run is told: settings, and where texts and files are.

    Attributes
    ----------
    settings : LanguageSettings
    folder : Path
        Where runs keep tokenizer, models and sentences; those of these settings alone.
    corpus : str or None
        As `pbde_ref.language.corpora.open_corpus` has it.
    checkpoints : str or None
        Folder of finished models, which are read instead of trained.
    """

    settings: LanguageSettings
    folder: Path
    corpus: str | None = None
    checkpoints: str | None = None


def preset(name: str, **changes: Any) -> LanguageSettings:
    """A preset with some settings changed.

    Raises
    ------
    ValueError, TypeError
        If the preset or a setting is unknown, or a value is out of range.

    Examples
    --------
    >>> from pbde_ref.experiments.language.settings import preset
    >>> preset("paper").layers
    6
    """
    return changed(PRESETS, name, changes)
