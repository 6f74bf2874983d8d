"""The experiments with language models at small size, and their arithmetic against loops and difference quotients."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from pbde_ref.cli import main
from pbde_ref.cli.pages.language import language_page, length_rows, position_rows, table_2_rows
from pbde_ref.exact.lengths.length_bias import GROUP_PAIRS
from pbde_ref.experiments.idealized_lengths import PUBLISHED_TABLE_2
from pbde_ref.experiments.language import published
from pbde_ref.experiments.language.catalogue import runs
from pbde_ref.experiments.language.figure_6 import adapt, preference_probability
from pbde_ref.experiments.language.findings import DEEP, bin_share, dip, findings
from pbde_ref.experiments.language.models import checkpoint_files, model_of, tokenizer_of
from pbde_ref.experiments.language.sentences import Pairs, pairs_of
from pbde_ref.experiments.language.settings import PRESETS, LanguageSettings, Workplace, preset
from pbde_ref.experiments.language.sources import fingerprint
from pbde_ref.experiments.language.table_2 import mean_preference
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import execute
from pbde_ref.figures import save_figure
from pbde_ref.figures.language import draw_figure_6
from pbde_ref.language.tokenizers import train_tokenizer
from pbde_ref.language.training import loss_and_error
from pbde_ref.models.transformer import TransformerConfig, initial_parameters, sequence_log_probs
from tests.seeds import drawn_seed

FIXTURE = Path(__file__).parents[1] / "data" / "flax" / "bare_2023.msgpack"
SMALL = LanguageSettings(
    vocabulary=40, embedding_dim=16, layers=1, heads=2, mlp_dim=32, whole_steps=60, short_steps=40, long_steps=60,
    learning_rate=1e-2, warmup_steps=5, tokens_per_batch=512, pairs=64, table_sentences=128, samples=48,
    pairs_per_step=16,
)  # fmt: skip


def sentences(count, rng):
    """Sentences of 3 to 40 short words."""
    words = ["cold", "hot", "tea", "cup", "a", "the", "is", "on", "mat"]
    return [" ".join(rng.choice(words, size=int(rng.integers(3, 36)))).capitalize() + "." for _ in range(count)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_text("\n".join(sentences(600, np.random.default_rng(0))) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def place(corpus, tmp_path_factory):
    return Workplace(SMALL, tmp_path_factory.mktemp("language"), corpus)


@pytest.fixture(scope="module")
def records(place):
    """Every run at small size."""
    return execute(runs(place), place, place.folder, identity={})


def test_every_run_leaves_a_record(records):
    assert list(records) == [
        "tokenizer", "whole", "short", "long", "pairs", "samples-short", "samples-long", "test-loss", "positions",
        "table-2", "annotator-mixture", "density-mixture", "two-components",
    ]  # fmt: skip


def test_models_see_the_lengths_that_they_are_for(records, place):
    """The short model's sentences have at most about 20 pieces, the long one's are longer on average."""
    short, long = (records[f"samples-{kind}"].arrays["length_counts"] for kind in ("short", "long"))
    lengths = np.arange(1, 51)
    assert (short @ lengths) / short.sum() < (long @ lengths) / long.sum()
    assert not list(place.folder.glob("*.checkpoint.npz"))


def test_pairs_are_scored_by_each_model(records, place):
    """One sentence at a time gives what batches of like length gave, to float32."""
    pairs = pairs_of(place)
    assert pairs.tokens.shape == (2 * SMALL.pairs, 50)
    for kind in ("whole", "short", "long"):
        config, parameters = model_of(place, kind)
        for i in (0, 5, 17):
            alone = sequence_log_probs(config, parameters, pairs.tokens[i : i + 1, : pairs.lengths[i]])[0]
            assert pairs.log_probs[kind][i] == pytest.approx(alone, rel=1e-4)


def test_table_2_is_the_mean_over_cross_pairs(records, place):
    """By a double loop over sentences; and with c = 1 every entry is nearer to 1/2 than with c = 50."""
    pairs, numbers = pairs_of(place), records["table-2"].numbers
    lengths = pairs.lengths[: SMALL.table_sentences]
    for kind, rule, scale in (("long", "luce", None), ("short", "scale 50", 50.0)):
        log_probs = pairs.log_probs[kind]
        total, count = 0.0, 0
        for i, m in enumerate(lengths):
            for j, n in enumerate(lengths):
                if m <= 20 and n >= 30:
                    u, v = log_probs[i], log_probs[j]
                    margin = u - v if scale is None else scale * (u / m - v / n)
                    total, count = total + 1.0 / (1.0 + np.exp(-margin)), count + 1
        assert numbers[f"{kind}.{rule}.S>L"] == pytest.approx(total / count, rel=1e-9)
    for kind in ("whole", "short", "long"):
        printed, computed = (numbers[f"{kind}.scale {c}.S>L"] for c in (1, 50))
        assert abs(printed - 0.5) <= abs(computed - 0.5) + 0.02


@pytest.mark.parametrize(("dropped", "end"), [(1, " without end"), (2, " without last two")])
def test_last_pieces_are_left_out_as_said(records, place, dropped, end):
    """Prefix by prefix: a sentence's score without its last pieces is that of those before, over their number."""
    pairs, numbers = pairs_of(place), records["table-2"].numbers
    lengths = pairs.lengths[: SMALL.table_sentences]
    config, parameters = model_of(place, "short")
    kept = np.flatnonzero(lengths > dropped)
    scores = np.array([sequence_log_probs(config, parameters, pairs.tokens[i : i + 1, : lengths[i] - dropped])[0]
                       for i in kept])  # fmt: skip
    lengths = lengths[kept]
    for rule, utility in (("luce", scores), ("scale 50", 50.0 * scores / (lengths - dropped))):
        expected = expit(utility[lengths <= 20][:, None] - utility[lengths >= 30][None, :]).mean()
        if f"short.{rule}{end}.S>L" in numbers:
            assert numbers[f"short.{rule}{end}.S>L"] == pytest.approx(expected, abs=1e-4)
            assert numbers[f"short.{rule}{end}.S>L"] != numbers[f"short.{rule}.S>L"]
    assert f"short.scale 50{end}.S>L" in numbers


def test_costs_by_position_add_up_to_the_sentences(records, place):
    """Each piece's cost, by its own softmax; the ranges' means, weighted by how many there are, give all pieces'."""
    pairs, numbers = pairs_of(place), records["positions"].numbers
    count = SMALL.table_sentences
    lengths, config_parameters = pairs.lengths[:count], model_of(place, "long")
    members = np.flatnonzero(lengths <= 20)
    firsts, pieces = [], 0.0
    for i in members:
        prefixes = [
            sequence_log_probs(*config_parameters, pairs.tokens[i : i + 1, :n])[0] for n in range(1, lengths[i] + 1)
        ]
        costs = -np.diff(np.array([0.0, *prefixes]))
        firsts.append(costs[0] if lengths[i] > 1 else np.nan)
        pieces += costs[:-1].sum()
    assert numbers["long.S.1-1"] == pytest.approx(np.nanmean(firsts), rel=1e-4)
    assert numbers["long.S.pieces"] == pytest.approx(pieces / (lengths[members] - 1).sum(), rel=1e-4)
    assert numbers["long.S.21-29"] is None
    total = -pairs.log_probs["long"][:count][members].mean()
    assert numbers["long.S.end"] == pytest.approx(total - pieces / members.size, rel=1e-3)
    assert [row[0] for row in position_rows(records)][::8] == ["1", "the end"]


def utilities_of(name, scale, size, rng):
    """Utilities of a population."""
    if name == "normal":
        return rng.normal(0.0, scale, size)
    if name == "heavy tails":
        return scale * rng.standard_t(2, size)
    if name == "skew":
        return scale * rng.exponential(1.0, size)
    return np.where(rng.random(size) < 0.03, -40.0, rng.normal(0.0, 0.3 * scale, size))


def coverage(sizes, name, scale, mean, repetitions, rng):
    """Shares of intervals that hold the truth: `mean_preference`'s, and of 1.96 standard errors about the estimate."""
    u, v = utilities_of(name, scale, 300, rng), -utilities_of(name, scale, 300, rng)
    shift = brentq(lambda shift: expit(u[:, None] + shift - v).mean() - mean, -500.0, 500.0, xtol=1e-3)
    u += shift
    truth = expit(u[:, None] - v).mean()
    held = np.zeros(2)
    for _ in range(repetitions):
        first, second = rng.choice(u, sizes[0]), rng.choice(v, sizes[1])
        found = mean_preference(first, second)
        each = expit(first[:, None] - second)
        error = np.sqrt(sum(np.var(each.mean(axis=a), ddof=1) / sizes[1 - a] for a in (0, 1)))
        held += [found.low <= truth <= found.high, abs(each.mean() - truth) <= 1.96 * error]
    return held / repetitions


@pytest.mark.parametrize("sizes", [(5, 5), (10, 10), (30, 300), (300, 30)])
@pytest.mark.parametrize("name", ["normal", "heavy tails", "skew", "outliers"])
def test_intervals_of_table_2_hold_their_level(sizes, name):
    """Drawn from populations whose mean preference is known; 300 draws each have a standard error of 1.3 %."""
    rng = np.random.default_rng([9, *sizes, len(name)])
    found = [coverage(sizes, name, scale, mean, 300, rng) for scale in (1.0, 30.0) for mean in (0.5, 0.98)]
    assert min(held for held, _ in found) > 0.95 - 3.0 * 0.0126
    # Control: the estimate and 1.96 standard errors fall short.
    assert min(usual for _, usual in found) < 0.93


def test_intervals_of_large_samples_are_the_usual_ones():
    """Where both are right, the interval is not much longer than that of the standard error."""
    rng = np.random.default_rng(10)
    first, second = rng.normal(0.5, 2.0, 2000), rng.normal(0.0, 1.0, 1000)
    found, each = mean_preference(first, second), expit(first[:, None] - second)
    error = np.sqrt(sum(np.var(each.mean(axis=a), ddof=1) / size for a, size in ((0, 1000), (1, 2000))))
    assert found.value == pytest.approx(each.mean(), rel=1e-12)
    assert found.low <= found.value <= found.high
    assert found.high - found.low == pytest.approx(2.0 * 1.96 * error, rel=0.03)


def test_no_interval_is_a_point():
    """All sentences of one group are preferred to all of the other, and still 5 of them do not settle it."""
    found = mean_preference(np.full(5, 100.0), np.full(8, -100.0))
    assert found.value == 1.0
    assert found.low < 0.75
    assert found.high == 1.0
    assert str(found) == f"1.000 [{found.low:.3f}, 1.000]"
    opposite = mean_preference(np.full(8, -100.0), np.full(5, 100.0))
    assert (opposite.low, opposite.high) == pytest.approx((0.0, 1.0 - found.low), abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_the_interval_holds_the_estimate_and_turns_with_the_question(seed):
    """Of whatever sizes, scales and shifts: within [0, 1], around the mean; and P(B ≻ A) is 1 − P(A ≻ B), ends too."""
    rng = np.random.default_rng([13, seed])
    sizes, scale = rng.integers(5, 400, 2), 10.0 ** rng.uniform(-6, 3)
    first, second = scale * (rng.standard_t(2, sizes[0]) + rng.normal()), scale * rng.standard_t(2, sizes[1])
    found, turned = mean_preference(first, second), mean_preference(second, first)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.low < found.high
    ends = 1.0 - turned.value, 1.0 - turned.high, 1.0 - turned.low
    assert found == pytest.approx(ends, abs=1e-12)


def test_too_few_sentences_have_no_preference():
    assert mean_preference(np.empty(0), np.ones(9)) is None
    assert mean_preference(np.ones(4), np.ones(9)) is None
    assert mean_preference(np.ones(9), np.ones(4)) is None


def test_loss_and_its_error_against_repeated_draws(records, place):
    """A ratio of sums over sentences; its error is the spread of 400 samples of 40 sentences."""
    config, parameters = model_of(place, "whole")
    pairs = pairs_of(place)
    sequences = [row[:n] for row, n in zip(pairs.tokens, pairs.lengths, strict=True)]
    costs, rng = -pairs.log_probs["whole"], np.random.default_rng(11)
    draws = rng.integers(0, len(sequences), (400, 40))
    spread = np.std([costs[chosen].sum() / pairs.lengths[chosen].sum() for chosen in draws])
    found = [loss_and_error(config, parameters, [sequences[i] for i in chosen]) for chosen in draws[:20]]
    assert found[0][0] == pytest.approx(costs[draws[0]].sum() / pairs.lengths[draws[0]].sum(), rel=1e-4)
    assert np.mean([error for _, error in found]) == pytest.approx(spread, rel=0.2)


def some_pairs(rng, config):
    lengths = rng.integers(2, 8, 8)
    tokens = np.zeros((8, 10), dtype=np.intp)
    for row, n in zip(tokens, lengths, strict=True):
        row[: n - 1], row[n - 1] = rng.integers(2, config.vocabulary_size, n - 1), 1
    log_probs = {kind: -rng.gamma(3.0, 3.0, 8) for kind in ("whole", "short", "long")}
    return Pairs(tokens, lengths, log_probs)


def test_populations_are_equations_27_and_28():
    pairs = some_pairs(np.random.default_rng(2), TransformerConfig(9, 4, 1, 1, 4, 10))
    short, long, n = pairs.log_probs["short"], pairs.log_probs["long"], pairs.lengths
    for scale in (1.0, 50.0):
        found = [preference_probability(pairs, name, scale) for name in ("annotator-mixture", "density-mixture")]
        for i in range(4):
            j = i + 4
            both = [expit(scale * (p[i] / n[i] - p[j] / n[j])) for p in (short, long)]
            assert found[0][i] == pytest.approx(0.5 * sum(both), rel=1e-12)
            mix = [np.log(0.5 * np.exp(short[k]) + 0.5 * np.exp(long[k])) / n[k] for k in (i, j)]
            assert found[1][i] == pytest.approx(expit(scale * (mix[0] - mix[1])), rel=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.05])
def test_adaptation_descends_the_loss_as_written(weight):
    """Its first step is Adam's on the loss of Eq. (1) under Eq. (26), likelihood term included: signs and value."""
    config = TransformerConfig(9, 4, 1, 1, 4, 10)
    rng = np.random.default_rng(3)
    parameters = initial_parameters(config, rng=0).astype(np.float64)
    pairs, answers = some_pairs(rng, config), np.array([True, False, True, True])
    settings = replace(
        SMALL, pairs=4, pairs_per_step=4, table_sentences=8, scale=5.0, likelihood_weight=weight,
        adaptation_learning_rate=1e-3,
    )  # fmt: skip

    def loss(theta):
        log_probs = sequence_log_probs(config, theta, pairs.tokens)
        margin = 5.0 * (log_probs / pairs.lengths)[:4] - 5.0 * (log_probs / pairs.lengths)[4:]
        chosen = np.where(answers, margin, -margin)
        return np.mean(np.log1p(np.exp(-chosen))) - weight * np.mean(log_probs[:4] + log_probs[4:])

    (moved,), weights, losses = adapt(config, parameters[None], pairs, answers, settings, "")
    assert weights.tolist() == [1.0]
    assert losses["losses"][0] == pytest.approx(loss(parameters), rel=1e-9)
    likelihood = weight * float(sequence_log_probs(config, parameters, pairs.tokens).sum()) / 4.0
    assert losses["answers"][0] == pytest.approx(loss(parameters) + likelihood, rel=1e-9)
    for i in rng.integers(0, parameters.size, 40):
        step = np.zeros(parameters.size)
        step[i] = 1e-6
        slope = (loss(parameters + step) - loss(parameters - step)) / 2e-6
        if abs(slope) > 1e-6:
            assert moved[i] - parameters[i] == pytest.approx(-1e-3 * np.sign(slope), rel=0.02)


def test_histograms_tell_one_mode_from_two():
    lengths = np.arange(1, 51)
    one = 100.0 * np.exp(-0.01 * (lengths - 25) ** 2)
    two = 100.0 * (np.exp(-0.1 * (lengths - 8) ** 2) + 0.5 * np.exp(-0.1 * (lengths - 40) ** 2))
    assert dip(one).z < 1e-9
    found = dip(two)
    assert (found.left, found.right) == (8, 40)
    assert found.z > 10.0
    assert bin_share(two, "M").value < 0.01 < bin_share(one, "M").value


def test_flat_histograms_have_no_valley():
    """Of 1,000 samples from one flat distribution, at most 5 exceed the threshold; 1 is to be expected at most."""
    rng = np.random.default_rng(8)
    draws = rng.multinomial(4096, np.full(50, 0.02), size=1000)
    assert sum(dip(counts.astype(float)).z > DEEP for counts in draws) <= 5


def table(luce, normalized):
    numbers = {"long.luce.S>L": luce, "long.scale 50.S>L": normalized}
    ends = {f"{name}.low": value - 0.02 for name, value in numbers.items()}
    ends |= {f"{name}.high": value + 0.02 for name, value in numbers.items()}
    return Record("table-2", {}, {**numbers, **ends}, {})


def histogram(centres, without_end=0.0):
    lengths = np.arange(1, 51)
    counts = sum(400.0 * np.exp(-0.05 * (lengths - c) ** 2) for c in centres)
    return Record("", {}, {"without_end": without_end}, {"length_counts": counts})


def test_findings_are_shown_only_where_the_numbers_say_so():
    one, two = histogram([25]), histogram([8, 42])
    models = {"samples-short": histogram([10]), "samples-long": histogram([38])}
    paper = {"table-2": table(0.97, 0.05), "annotator-mixture": one, "density-mixture": two, **models}
    opposite = {"table-2": table(0.3, 0.7), "annotator-mixture": two, "density-mixture": one, **models}
    undecided = {**paper, "table-2": table(0.51, 0.49)}
    assert [finding.shown for finding in findings(paper)] == [True] * 4
    assert [finding.shown for finding in findings(opposite)] == [False] * 4
    assert [finding.shown for finding in findings(undecided)] == [False, False, True, True]


def test_a_model_that_seldom_ends_does_not_pass_for_one_of_medium_sentences():
    """Half of the sentences that end are medium-length, but hardly any end."""
    records = {
        "table-2": table(0.97, 0.05), "annotator-mixture": histogram([25, 40], without_end=0.9),
        "density-mixture": histogram([8, 24, 42]), "samples-short": histogram([10]), "samples-long": histogram([38]),
    }  # fmt: skip
    assert not findings(records)[2].shown
    assert findings({**records, "annotator-mixture": histogram([25, 40])})[2].shown


def test_a_bin_without_sentences_has_no_valley():
    assert dip(np.eye(50)[10] * 100.0).z == 0.0


def test_page_and_figure_show_the_records(records, tmp_path):
    page = language_page(records, "pbde-ref reproduce language", "figure-6.png")
    assert "small.txt, 600 sentences" in page
    # Six rules, six entries beside the print, and shares here and in the notebook.
    assert page.count("| short ") == 14
    assert len(table_2_rows(records)) == 18
    assert "test sentences" in page
    assert len(length_rows(records)) == 5
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_figure(draw_figure_6(records), tmp_path / folder / "f.png")
    assert (tmp_path / "a" / "f.png").read_bytes() == (tmp_path / "b" / "f.png").read_bytes()


def test_presets_and_settings_are_checked():
    paper = PRESETS["paper"]
    assert (paper.vocabulary, paper.layers, paper.embedding_dim, paper.likelihood_weight) == (30000, 6, 512, 4e-5)
    with pytest.raises(ValueError, match="`table_sentences` must be at most the number of sentences in `pairs`, 16"):
        replace(SMALL, pairs=8, pairs_per_step=8)
    with pytest.raises(ValueError, match="`pairs_per_step` must divide `pairs`, 64; got 24"):
        replace(SMALL, pairs_per_step=24)
    with pytest.raises(ValueError, match="heads"):
        replace(SMALL, heads=5)
    with pytest.raises(ValueError, match=r"`scale` must be positive; got 0\.0"):
        preset("quick", scale=0.0)
    with pytest.raises(ValueError, match=r"`changes` must be one of .* words, such as .*; got 'speed'"):
        preset("quick", speed=1)
    with pytest.raises(ValueError, match="`preset` must be 'laptop', 'quick' or 'paper'; got 'mine'"):
        preset("mine")


def test_the_fingerprint_is_that_of_the_text(tmp_path):
    lines = sentences(200, np.random.default_rng(5))
    for name, text in (("a", lines), ("b", lines), ("c", lines[:-1])):
        (tmp_path / f"{name}.txt").write_text("\n".join(text) + "\n")
    a, b, c = (fingerprint(Workplace(SMALL, tmp_path, str(tmp_path / f"{name}.txt"))) for name in "abc")
    assert a == b != c


def finished_models(folder):
    """A tokenizer of 17 pieces, and three models of that vocabulary that Flax wrote."""
    folder.mkdir()
    tokenizer = train_tokenizer(["A cat sat.", "A hat sat on a cat.", "That is that."], vocabulary_size=17)
    (folder / "pieces.model").write_bytes(tokenizer.model_bytes)
    for kind in ("whole", "short", "long"):
        shutil.copy(FIXTURE, folder / kind)


def test_finished_models_are_read_instead_of_trained(tmp_path):
    """Tokenizer and models of a folder in Flax's format: the same runs, without the first four."""
    finished_models(tmp_path / "finished")
    settings = replace(SMALL, pairs=8, pairs_per_step=8, table_sentences=16, samples=4)
    place = Workplace(settings, tmp_path / "out", checkpoints=str(tmp_path / "finished"))
    found = execute(runs(place), place, place.folder, identity={})
    assert set(found) == {
        "pairs", "samples-short", "samples-long", "positions", "table-2", "annotator-mixture", "density-mixture",
        "two-components",
    }  # fmt: skip
    assert tokenizer_of(place).vocabulary_size == 17
    assert model_of(place, "long")[0].embedding_dim == 8
    pairs = pairs_of(place)
    np.testing.assert_array_equal(pairs.log_probs["short"], pairs.log_probs["long"])
    assert "Corpus" not in language_page(found, "", "figure-6.png")
    assert set(fingerprint(place)) == {"checkpoints"}
    larger = train_tokenizer(["A cat sat.", "A hat sat on a cat.", "That is that."], vocabulary_size=18)
    (tmp_path / "finished" / "pieces.model").write_bytes(larger.model_bytes)
    with pytest.raises(ValueError, match="models of the tokenizer's 18 pieces; got 17 in whole"):
        fingerprint(place)
    (tmp_path / "finished" / "short").unlink()
    with pytest.raises(ValueError, match=r"whole, short, long and one \*.model file .*; got .* no short and 1 tok"):
        checkpoint_files(str(tmp_path / "finished"))


def test_a_folder_as_flax_leaves_it(tmp_path):
    """``sentencepiece_model`` beside ``checkpoint_<step>`` in each model's folder, with what else training writes."""
    finished_models(tmp_path / "flat")
    root = tmp_path / "authors"
    for kind in ("whole", "short", "long"):
        (root / kind).mkdir(parents=True)
        for step in (100, 2000):
            shutil.copy(FIXTURE, root / kind / f"checkpoint_{step}")
        (root / kind / "events.out.tfevents.1").write_bytes(b"")
        shutil.copy(tmp_path / "flat" / "pieces.model", root / kind / "sentencepiece_model")
    flat, authors = (Workplace(SMALL, tmp_path / "out", checkpoints=str(p)) for p in (tmp_path / "flat", root))
    assert tokenizer_of(authors) == tokenizer_of(flat)
    for one, other in zip(model_of(authors, "short"), model_of(flat, "short"), strict=True):
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
    assert set(fingerprint(authors)) == {"checkpoints"}
    # One folder may have it for all; two that differ are refused.
    for kind in ("short", "long"):
        (root / kind / "sentencepiece_model").unlink()
    assert tokenizer_of(authors) == tokenizer_of(flat)
    other = train_tokenizer(["A cat sat.", "A hat sat on a cat.", "That is that."], vocabulary_size=18)
    (root / "long" / "sentencepiece_model").write_bytes(other.model_bytes)
    with pytest.raises(ValueError, match=r"the same sentencepiece_model in each; got .* 2 tokenizers"):
        checkpoint_files(str(root))
    for kind in ("whole", "long"):
        (root / kind / "sentencepiece_model").unlink()
    with pytest.raises(ValueError, match="0 tokenizers"):
        checkpoint_files(str(root))


COMMAND = ["reproduce", "language", "--preset", "quick"]
OPTIONS = [f"--set={name}={getattr(SMALL, name)}" for name in (
    "vocabulary", "embedding_dim", "heads", "mlp_dim", "pairs", "table_sentences", "samples", "pairs_per_step",
    "tokens_per_batch",
)]  # fmt: skip


def test_the_command_line_runs_says_and_goes_on(corpus, tmp_path, capsys):
    command = [*COMMAND, "--corpus", corpus, "--out", str(tmp_path / "out"), *OPTIONS]
    command += [f"--set={kind}_steps=12" for kind in ("whole", "short", "long")]
    assert main([*command, "--json", str(tmp_path / "numbers.json")]) == 0
    captured = capsys.readouterr()
    assert "Eq. 26, c = 50" in captured.out
    assert captured.out.count("hown: ") == 4
    assert "density-mixture: done" in captured.err
    first = {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {"README.md", "figure-6.png", "tokenizer.model", "whole.npz", "pairs.npz", "table-2.json"} <= set(first)
    assert "long.luce.S>L" in json.loads((tmp_path / "numbers.json").read_text())["runs"]["table-2"]
    next((tmp_path / "out" / "runs").glob("*/density-mixture.json")).unlink()
    assert main(command) == 0
    assert "pairs: found finished" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == first


def test_several_seeds_are_set_side_by_side(corpus, tmp_path, capsys):
    """A folder each, as that seed alone would give; the mean and Student's interval by NumPy and a table of t."""
    steps = [f"--set={kind}_steps=6" for kind in ("whole", "short", "long")]
    command = [*COMMAND, "--corpus", corpus, *OPTIONS, *steps]
    assert main([*command, "--seeds", "2", "--seed", "4", "--out", str(tmp_path / "both")]) == 0
    shown = capsys.readouterr().out
    assert main([*command, "--seed", "5", "--out", str(tmp_path / "one")]) == 0
    capsys.readouterr()
    both, one = (tmp_path / "both", tmp_path / "one")
    made = {path.relative_to(one) for path in (one / "runs").rglob("*") if path.is_file()}
    assert {"table-2.json", "density-mixture.json", "long.npz"} <= {path.name for path in made}
    assert all((both / path).read_bytes() == (one / path).read_bytes() for path in made)
    page = (tmp_path / "both" / "README.md").read_text()
    assert "(seed-5/README.md)" in page
    assert "seed 4" in shown
    tables = [json.loads(path.read_text()) for path in both.glob("runs/*/table-2.json")]
    by_seed = {table["settings"]["seed"]: table["numbers"]["whole.scale 50.S>L"] for table in tables}
    first, second = by_seed[4], by_seed[5]
    line = next(line for line in page.splitlines() if line.startswith("| *whole* prefers short to long"))
    found = [float(number) for number in re.findall(r"-?\d+\.\d+", line.partition("c = 50")[2])]
    reach = 12.706204736 * abs(first - second) / 2.0
    mean = (first + second) / 2.0
    ends = max(0.0, mean - reach), min(1.0, mean + reach)
    assert found == pytest.approx([first, second, mean, *ends], abs=6e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["figure-5", "--seeds", "3"], "--seeds are for the target language"),
        (["language", "toy"], "`language` must be given without univariate figures and these without it"),
        (["table-2", "--annotator", "1:normal(0,1)"], "--annotator is for univariate figures"),
        (["toy", "--corpus", "x"], "--corpus, --checkpoints and --seeds are for the target language"),
        (["language", "--preset", "notebook"], "--preset must be one of laptop, quick, paper here; got 'notebook'"),
        (["language", "--corpus", "nowhere.txt"], "nowhere.txt"),
        (["language", "--checkpoints", "nowhere"], "`checkpoints` must name a folder with whole, short, long"),
    ],
)
def test_wrong_usage_gets_one_line(options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_targets_run_what_they_show_and_share_it(corpus, tmp_path, capsys):
    """Table 2 trains, and draws no adapted model; Fig. 6 then finds the models trained; each has a page of its own."""
    steps = [f"--set={kind}_steps=6" for kind in ("whole", "short", "long")]
    out = tmp_path / "out"
    command = ["reproduce", "table-2", "figure-6", "--preset", "quick", "--corpus", corpus, "--out", str(out)]
    assert main([*command, *OPTIONS, *steps]) == 0
    said = capsys.readouterr().err
    assert said.count("whole: loss") == said.count("whole: found finished") == 1
    table, figure = (next(out.glob(f"{target}-quick-*")) / "README.md" for target in ("table-2", "figure-6"))
    shown = [[f"## {name}" in page.read_text() for name in ("Table 2", "Figure 6")] for page in (table, figure)]
    assert shown == [[True, False], [False, True]]
    assert not (table.parent / "figure-6.png").exists()


def test_two_components_descend_the_loss_of_equation_30():
    """The first step of Adam goes down the slopes of the loss of Eq. (30) under Eq. (26), by differences."""
    config, rng = TransformerConfig(9, 4, 1, 1, 4, 10), np.random.default_rng(drawn_seed())
    pairs, answers = some_pairs(rng, config), np.array([True, False, True, True])
    settings = replace(SMALL, pairs=4, pairs_per_step=4, table_sentences=8, scale=5.0, likelihood_weight=0.0,
                       adaptation_learning_rate=1e-3)  # fmt: skip
    parameters = initial_parameters(config, rng=0).astype(np.float64)
    copies = parameters + 0.3 * rng.standard_normal((2, parameters.size))
    moved, weights, found = adapt(config, copies, pairs, answers, settings, "")
    assert weights.sum() == pytest.approx(1.0)

    def loss(theta):
        chances = []
        for each in theta.reshape(2, -1):
            scores = 5.0 * sequence_log_probs(config, each, pairs.tokens) / pairs.lengths
            chances.append(expit(np.where(answers, 1.0, -1.0) * (scores[:4] - scores[4:])))
        return -np.mean(np.log(np.mean(chances, axis=0)))

    start = copies.ravel()
    assert found["losses"][0] == found["answers"][0] == pytest.approx(loss(start), rel=1e-9)
    for i in rng.integers(0, start.size, 40):
        step = np.zeros(start.size)
        step[i] = 1e-6
        slope = (loss(start + step) - loss(start - step)) / 2e-6
        if abs(slope) > 1e-6:
            assert moved.ravel()[i] - start[i] == pytest.approx(-1e-3 * np.sign(slope), rel=0.02)


def test_the_print_is_compared_by_sides_of_a_half():
    """A table equal to the printed one is shown everywhere, in its order; mirrored at 1/2 it is reversed everywhere."""
    names = [(k, rule, f"{a}>{b}") for k in PUBLISHED_TABLE_2 for rule in ("luce", "scale 50") for a, b in GROUP_PAIRS]
    printed = [p for rows in PUBLISHED_TABLE_2.values() for row in rows for p in row]
    for change, said, ordered in ((lambda p: p, "shown", 6), (lambda p: 1.0 - p, "reversed", 0)):
        numbers = {}
        for (kind, rule, pair), p in zip(names, printed, strict=True):
            for end, shift in (("", 0.0), (".low", -1e-3), (".high", 1e-3)):
                numbers[f"{kind}.{rule}.{pair}{end}"] = change(p) + shift
        records = {"table-2": Record("table-2", {}, numbers, {})}
        assert {entry[-1] for entry in published.entries(records)} == {said}
        assert published.orders_as_printed(records) == ordered


def test_lengths_at_theorem_2s_optimum_are_as_far_as_chance():
    rng, lengths = np.random.default_rng(drawn_seed()), np.arange(1, 51)
    short, long = np.exp(-0.05 * (lengths - 10) ** 2), np.exp(-0.02 * (lengths - 40) ** 2)
    short, long = short / short.sum(), long / long.sum()
    laws = {"samples-short": short, "samples-long": long, "density-mixture": 0.5 * (short + long)}
    far, chance = published.from_theorem_2(
        {n: Record("", {}, {}, {"length_counts": rng.multinomial(4096, law).astype(float)}) for n, law in laws.items()}
    )
    assert 0.5 * chance < far < 1.5 * chance
    laws["density-mixture"] = short
    far, _ = published.from_theorem_2(
        {name: Record("", {}, {}, {"length_counts": 4096 * law}) for name, law in laws.items()}
    )
    assert far == pytest.approx(0.25 * np.abs(short - long).sum())


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["Short one.", "A cat."] * 40, [], "must leave"),
        (None, ["--set=vocabulary=30000"], "`vocabulary_size` must be at most"),
    ],
)
def test_unfit_text_is_refused_before_training(lines, options, message, corpus, tmp_path, capsys):
    if lines is not None:
        text = sorted({f"{line[:-1]} {i}." for i, line in enumerate(lines)})
        corpus = str(tmp_path / "short.txt")
        Path(corpus).write_text("\n".join(text) + "\n")
    command = [*COMMAND, "--corpus", corpus, "--out", str(tmp_path / "out"), *OPTIONS]
    if lines is not None:
        command.append("--set=vocabulary=30")
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.npz"))
