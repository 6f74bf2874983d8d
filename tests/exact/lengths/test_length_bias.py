"""Length bias: by hand, against every sentence of small languages pair by pair, and what idealised models come to.

The claims: ``proofs/length_bias.md``, ``proofs/merged_outcomes.md``.
"""

from fractions import Fraction
from itertools import combinations, pairwise, product
from math import exp, inf, log, nan

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

import pbde_ref as pb
from pbde_ref import paper
from pbde_ref.exact.lengths.enumeration import (
    ending_probabilities,
    random_token_tables,
    sentence_distribution,
    sentence_lengths,
)
from pbde_ref.exact.lengths.length_bias import (
    IdealizedLanguageModel,
    bin_members,
    group_preference,
    least_scale,
    length_bias_table,
)
from pbde_ref.exact.lengths.sentence_classes import length_distribution, merged_process, projected_policy
from pbde_ref.experiments.idealized_lengths import (
    PUBLISHED_TABLE_2,
    bin_shares,
    idealized_figure_6,
    idealized_models,
    idealized_table_2,
    valley,
)

# Sums of up to 1e5 terms of size at most 1.
ROUNDING = 1e-12
# A certified gap of 1e-20 leaves the probabilities this near, with the curvatures that occur here.
SOLVER = 1e-8

LENGTHS = np.arange(1, 10)
WHOLE = pb.FiniteDistribution.from_weights([2, 8, 12, 15, 16, 16, 13, 10, 8], LENGTHS)
SHORT = pb.FiniteDistribution.from_weights([20, 40, 30, 6, 2, 1, 0.5, 0.3, 0.2], LENGTHS)
LONG = pb.FiniteDistribution.from_weights([0.2, 0.3, 0.5, 1, 2, 6, 30, 40, 20], LENGTHS)


def on(lengths, weights):
    return pb.FiniteDistribution.from_weights(weights, support=lengths)


def equal_tokens(n_tokens, max_length):
    return np.full((max_length - 1, n_tokens + 1, n_tokens), 1.0 / n_tokens)


# --- Table 2 as a finite sum ---


def test_table_entry_by_hand():
    """Two tokens, lengths 1 and 2 with h = (1/4, 3/4): each of the three sentences has probability 1/4, 3/8, 3/8."""
    model = IdealizedLanguageModel(on([1, 2], [1, 3]), 2.0)
    first, second = np.array([True, False]), np.array([False, True])
    sentences = [Fraction(1, 4), Fraction(3, 8)]
    luce = paper.equation_9(sentences, 0, 1)
    assert group_preference(model.annotator(pb.luce()), model.class_pmf, first, second) == pytest.approx(float(luce))
    # Eq. (26) takes the square root of the longer one's; twice the scale squares both.
    process = pb.length_normalized([1, 2], scale=2.0)
    doubled = paper.equation_9([sentences[0] ** 2, sentences[1]], 0, 1)
    assert group_preference(model.annotator(process), model.class_pmf, first, second) == pytest.approx(float(doubled))
    once = paper.equation_26([0.25, 0.375], [1, 2], 0, 1)
    process = pb.length_normalized([1, 2])
    assert group_preference(model.annotator(process), model.class_pmf, first, second) == pytest.approx(once)


@pytest.mark.parametrize("scale", [None, 1.0, 6.0, 50.0])
@pytest.mark.parametrize("n_tokens", [1, 2, 3])
def test_sum_over_lengths_is_sum_over_pairs_of_sentences(n_tokens, scale):
    """A double loop over all sentences of at most five pieces, each with its probability from the tokens up."""
    lengths = np.arange(1, 6)
    likes, drawn = on(lengths, [5, 1, 0.01, 2, 9]), on(lengths, [1, 2, 5, 2, 1])
    sentences = [s for count in range(5) for s in product(range(n_tokens), repeat=count)]

    def log_probability(h, sentence):
        return log(h.pmf[len(sentence)]) - len(sentence) * log(n_tokens)

    total = weight = 0.0
    for a in sentences:
        for b in sentences:
            if len(a) + 1 <= 2 and len(b) + 1 >= 4:
                w, p = (exp(log_probability(drawn, a) + log_probability(drawn, b)),
                        [exp(log_probability(likes, s)) for s in (a, b)])  # fmt: skip
                count = [(len(s) + 1) / scale for s in (a, b)] if scale else [1.0, 1.0]
                total += w * paper.equation_26(p, count, 0, 1)
                weight += w
    process = pb.luce() if scale is None else pb.length_normalized(lengths, scale)
    model = IdealizedLanguageModel(likes, float(n_tokens))
    assert group_preference(model.annotator(process), drawn, lengths <= 2, lengths >= 4) == pytest.approx(
        total / weight, abs=ROUNDING
    )


def test_table_is_its_entries():
    model = IdealizedLanguageModel(pb.uniform(np.arange(1, 51)), 20.0)
    annotator = model.annotator(pb.length_normalized(model.lengths, 50.0))
    p = annotator.preference_probabilities()
    s, m, long = slice(0, 20), slice(20, 29), slice(29, 50)
    expected = [p[s, m].mean(), p[s, long].mean(), p[m, long].mean()]
    assert length_bias_table([annotator], model.class_pmf, model.lengths)[0] == pytest.approx(expected, abs=ROUNDING)


def test_outcomes_that_are_never_drawn_need_no_preference():
    """Two lengths that the annotator excludes would be 0/0, but neither is drawn."""
    model = IdealizedLanguageModel(on([1, 2, 3, 4], [1, 0, 1, 0]), 2.0)
    groups = np.array([True, True, False, False]), np.array([False, False, True, True])
    drawn = on([1, 2, 3, 4], [1, 0, 1, 0])
    expected = 0.5 / (0.5 + 0.5 / 4.0)
    assert group_preference(model.annotator(pb.luce()), drawn, *groups) == pytest.approx(expected)
    with pytest.raises(ValueError, match="0/0"):
        group_preference(model.annotator(pb.luce()), pb.uniform([1, 2, 3, 4]), *groups)


# --- The Luce rule's bias, and what normalising leaves of it ---

lengths_and_weights = st.lists(st.floats(-20.0, 0.0), min_size=2, max_size=12)


@given(lengths_and_weights, st.floats(1.01, 100.0))
def test_luce_prefers_the_shorter_unless_the_longer_is_liked_exponentially_more(logits, v):
    """For l < m the shorter wins iff h(m)/h(l) < v^(m − l); beyond log(1/h(l)) / log v it wins whatever h(m) is."""
    h = pb.FiniteDistribution(logits, np.arange(1, len(logits) + 1))
    p = IdealizedLanguageModel(h, v).annotator(pb.luce()).preference_probabilities()
    for short, long in combinations(range(len(logits)), 2):
        odds = (long - short) * log(v) + logits[short] - logits[long]
        assert p[short, long] == pytest.approx(expit(odds), abs=1e-12)
        if long - short > -h.log_pmf[short] / log(v) + 1e-9:
            assert p[short, long] >= 0.5


def test_luce_prefers_short_sentences_although_the_annotator_likes_long_ones():
    """A million to one for 40 pieces, and still; with perplexity 1 there is no such bias (control)."""
    h = on([15, 40], [1e-6, 1.0])
    assert IdealizedLanguageModel(h, 14.0).annotator(pb.luce()).preference_probabilities()[0, 1] > 1 - 1e-9
    assert IdealizedLanguageModel(h, 1.0).annotator(pb.luce()).preference_probabilities()[0, 1] < 2e-6


@given(st.floats(1.0, 200.0), st.floats(0.5, 100.0), st.integers(2, 40))
def test_normalised_bias_between_equally_frequent_lengths(v, scale, n):
    """With h = 1/n everywhere the log-odds of l over m are c·log(v/n)·(1/l − 1/m)."""
    lengths = np.arange(1.0, n + 1.0)
    utility = IdealizedLanguageModel(pb.uniform(lengths), v).annotator(pb.length_normalized(lengths, scale)).utility
    expected = scale * log(v / n) * (1.0 / lengths - 1.0)
    # Utilities of up to 100 · log(200 · 40) nats, each rounded.
    assert np.abs((utility - utility[0]) - expected).max() < 1e-11


@given(lengths_and_weights, st.floats(1.0, 200.0), st.integers(1, 30))
def test_normalised_bias_is_bounded_however_far_apart_the_lengths(logits, v, shortest):
    """|Ω(l) − Ω(m)| ≤ (c/l₀) max(log v, log 1/ε), and Luce exceeds any bound (control)."""
    lengths = np.arange(shortest, shortest + len(logits)) ** 2
    h = pb.FiniteDistribution(logits, lengths)
    model = IdealizedLanguageModel(h, v)
    bound = 50.0 / lengths[0] * max(log(v), -h.log_pmf.min())
    assert np.ptp(model.annotator(pb.length_normalized(lengths, 50.0)).utility) <= bound * (1 + 1e-9)
    far = IdealizedLanguageModel(pb.uniform([10, 10_000]), 14.0)
    assert np.ptp(far.annotator(pb.luce()).utility) > 50.0 / 10 * max(log(14.0), log(2.0))


def test_normalising_repairs_exactly_where_every_piece_costs_the_same():
    """v·h(l) = ρ^l: all lengths tie under Eq. (26), and not under Eq. (9)."""
    lengths = np.arange(1, 8)
    h = on(lengths, 0.8**lengths)
    v = 1.0 / np.exp(h.log_pmf[0]) * 0.8
    model = IdealizedLanguageModel(h, v)
    assert model.annotator(pb.length_normalized(lengths, 50.0)).preference_probabilities() == pytest.approx(
        np.full((7, 7), 0.5), abs=1e-12
    )
    assert model.annotator(pb.luce()).preference_probabilities()[0, 6] > 0.9
    assert np.ptp(model.surprisals) < 1e-14


# --- Which scale an entry needs ---


@given(st.lists(st.floats(-60.0, -0.1), min_size=2, max_size=8), st.floats(0.1, 60.0), st.integers(0, 2**32))
def test_no_entry_is_beyond_what_scale_and_surprisals_allow(log_p, scale, seed):
    """For any positive p*, idealised or not: P ≤ σ(c·Δ), so c ≥ logit(P)/Δ."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 20, len(log_p))
    p = pb.FiniteDistribution(log_p)
    annotator = pb.Annotator(p, pb.length_normalized(lengths, scale))
    first = np.arange(len(log_p)) < len(log_p) // 2
    drawn = pb.FiniteDistribution(rng.normal(size=len(log_p)))
    entry = group_preference(annotator, drawn, first, ~first)
    surprisals = -p.log_pmf / lengths
    if 1e-9 < entry < 1 - 1e-9 and np.ptp(surprisals) > 1e-6:
        # The entry's own rounding, 1e-16 / min(P, 1 − P), moves its logit by up to 1e-7.
        assert least_scale(entry, float(np.ptp(surprisals))) <= scale * (1 + 1e-6)


def test_least_scale_is_attained_and_below_it_the_entry_is_not():
    """Two sentences are the extreme case; with 1 % less scale the preference is smaller (control)."""
    lengths, p = np.array([3, 7]), pb.FiniteDistribution([-4.0, -30.0])
    surprisal_range = float(np.ptp(p.log_pmf / lengths))
    needed = least_scale(0.99995, surprisal_range)
    reached, missed = (
        pb.Annotator(p, pb.length_normalized(lengths, c)).preference_probabilities()[0, 1]
        for c in (needed, 0.99 * needed)
    )
    assert reached == pytest.approx(0.99995, abs=1e-14)
    assert missed < 0.9999449


# --- Tiny autoregressive models ---


def test_a_sentence_has_the_product_of_its_probabilities():
    """Random tables: every one of the 121 sentences by a loop over its pieces, and they sum to one by themselves."""
    tables = random_token_tables(3, 5, rng=1)
    ending = np.array([0.1, 0.3, 0.0, 0.6, 1.0])
    sentences = sentence_distribution(ending, tables)
    assert len(sentences) == 1 + 3 + 9 + 27 + 81
    total = 0.0
    for tokens, p in zip(sentences.support, sentences.pmf, strict=True):
        expected, previous = 1.0, 3
        for position, token in enumerate(tokens):
            expected *= (1.0 - ending[position]) * tables[position, previous, token]
            previous = token
        expected *= ending[len(tokens)]
        assert p == pytest.approx(expected, rel=1e-12)
        total += expected
    assert total == pytest.approx(1.0, abs=1e-12)


def test_ending_probabilities_lead_to_the_lengths_asked_for():
    sentences = sentence_distribution(ending_probabilities(SHORT), random_token_tables(3, 9, rng=2))
    lengths = sentence_lengths(sentences)
    by_loop = [sum(sentences.pmf[lengths == length]) for length in LENGTHS]
    assert by_loop == pytest.approx(SHORT.pmf, abs=ROUNDING)
    assert length_distribution(sentences, lengths).pmf == pytest.approx(by_loop, abs=ROUNDING)


def test_equal_tokens_make_an_idealised_model():
    model = IdealizedLanguageModel(LONG, 3.0)
    sentences = sentence_distribution(ending_probabilities(LONG), equal_tokens(3, 9))
    expected = model.log_likelihoods[sentence_lengths(sentences).astype(int) - 1]
    assert sentences.log_pmf == pytest.approx(expected, abs=1e-11)
    assert np.exp(model.log_counts) == pytest.approx(3.0 ** (LENGTHS - 1.0))


def test_length_distribution_of_impossible_lengths():
    marginal = length_distribution(pb.FiniteDistribution([0.0, -inf, -inf, 0.0]), [3, 1, 1, 3])
    assert list(marginal.support) == [1, 3]
    assert list(marginal.pmf) == [0, 1]


# --- Fig. 6 (right): exact optima ---


def adapted(models, scale):
    """Optima of the annotator mixture and of the density mixture, on sentences; lengths."""
    whole, short, long = models
    lengths = sentence_lengths(whole)
    process = pb.length_normalized(lengths, scale)
    pooled = pb.AnnotatorMixture([0.5, 0.5], [pb.Annotator(p, process) for p in (short, long)])
    solution = pb.minimize_expected_loss("bradley_terry", pooled, pb.ProductProposal(whole))
    assert solution.converged
    single = pb.Annotator(pb.mixture([0.5, 0.5], [short, long]), process)
    return (
        pb.FiniteDistribution(pb.normalized_log_policy(solution.value, process), whole.support),
        pb.optimal_policy(single, process),
        lengths,
    )


def modes(p):
    padded = [0.0, *p, 0.0]
    return sum(b > max(a, c) for (a, b), (_, c) in pairwise(pairwise(padded)))


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_figure_6_on_all_9841_sentences(seed):
    """The density mixture's optimum is bimodal in length, and is the mixture; the annotator mixture's has more than
    twice its medium-length mass, which is 0.087. Without a seed, all tokens are equally likely.
    """
    rng = np.random.default_rng(seed)
    models = [
        sentence_distribution(
            ending_probabilities(h),
            equal_tokens(3, 9) if seed is None else random_token_tables(3, 9, concentration=3.0, rng=rng),
        )
        for h in (WHOLE, SHORT, LONG)
    ]
    pooled, single, lengths = adapted(models, 9.0)
    assert len(pooled) == 9841
    by_length = [length_distribution(policy, lengths) for policy in (pooled, single)]
    assert by_length[1].pmf == pytest.approx(0.5 * (SHORT.pmf + LONG.pmf), abs=1e-10)
    assert modes(by_length[1].pmf) == 2
    medium = [float(p.pmf[3:6].sum()) for p in by_length]
    assert medium[0] > 2.0 * medium[1]


def test_merged_lengths_have_the_optimum_of_all_sentences():
    """Nine classes against 9,841 sentences; without the number of sentences they have another optimum (control)."""
    models = [sentence_distribution(ending_probabilities(h), equal_tokens(3, 9)) for h in (WHOLE, SHORT, LONG)]
    pooled, _, lengths = adapted(models, 9.0)
    classes = [IdealizedLanguageModel(h, 3.0) for h in (SHORT, LONG)]
    normalized = pb.length_normalized(LENGTHS, 9.0)
    annotators = pb.AnnotatorMixture([0.5, 0.5], [model.annotator(normalized) for model in classes])
    process = merged_process(normalized, classes[0].log_counts)
    merged = projected_policy(annotators, process, pb.ProductProposal(WHOLE))
    assert merged.solution.converged
    assert length_distribution(pooled, lengths).pmf == pytest.approx(merged.policy.pmf, abs=SOLVER)
    uncounted = projected_policy(annotators, normalized, pb.ProductProposal(WHOLE))
    assert pb.total_variation(uncounted.policy, merged.policy) > 0.1


def test_classes_may_not_be_merged_when_compared_with_different_rivals():
    """Control for equal proposals: two equal outcomes, one compared with y only, the other with z only."""
    rank = np.array([1.0, 0.0, -1.0])
    mixed = pb.AnnotatorMixture([0.4, 0.6], [pb.Annotator(pb.FiniteDistribution(s * rank), pb.luce()) for s in (1, -1)])
    p = mixed.preference_probabilities()[np.ix_([0, 0, 1, 2], [0, 0, 1, 2])]
    tree, independent = pb.PairListProposal([0, 1, 2], [2, 3, 3]), pb.ProductProposal([1, 3, 2, 2])
    apart, together = (
        pb.minimize_expected_loss("bradley_terry", pb.PreferenceMatrix(p), q).value for q in (tree, independent)
    )
    assert abs(apart[0] - apart[1]) > 0.05
    assert abs(together[0] - together[1]) < 1e-12


@pytest.mark.parametrize("v", [3.0, 9.0, 27.0])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_indifference_teaches_a_constant_surprisal(v, scale):
    """Lengths fall or rise geometrically, by the ratio ρ with Σ ρ^l = v, whatever the scale."""
    model = IdealizedLanguageModel(pb.uniform(LENGTHS), v)
    indifferent = pb.PreferenceMatrix(np.full((9, 9), 0.5), LENGTHS)
    process = merged_process(pb.length_normalized(LENGTHS, scale), model.log_counts)
    p = projected_policy(indifferent, process, pb.ProductProposal(WHOLE)).policy.pmf
    ratio = p[1:] / p[:-1]
    assert ratio == pytest.approx(np.full(8, ratio[0]), rel=1e-9)
    assert sum(ratio[0] ** k for k in range(1, 10)) == pytest.approx(v, rel=1e-9)


# --- Idealised models of the paper's size ---


def test_idealised_table_against_a_double_loop():
    """Three difficulties: Eq. (9) and (26) written out for lengths and difficulties."""
    models = idealized_models(levels=3)
    table = idealized_table_2(models, scale=50.0)
    whole = models["whole"]
    members = {"S": range(2, 21), "M": range(21, 30), "L": range(30, 51)}
    for row, model in enumerate(models.values()):
        utility, weight = {}, {}
        for k, label in enumerate(whole.class_pmf.support):
            length = label[0]
            log_p = model.class_pmf.log_pmf[k] - (length - 1) * log(model.perplexity[k])
            utility[label], weight[label] = (log_p, 50.0 * log_p / length), whole.class_pmf.pmf[k]
        for column, (x, y) in enumerate([("S", "M"), ("S", "L"), ("M", "L")]):
            pairs = [(a, b) for a in utility for b in utility if a[0] in members[x] and b[0] in members[y]]
            total = sum(weight[a] * weight[b] for a, b in pairs)
            for found, kind in ((table.luce, 0), (table.normalized, 1)):
                expected = sum(weight[a] * weight[b] * expit(utility[a][kind] - utility[b][kind]) for a, b in pairs)
                assert found[row, column] == pytest.approx(expected / total, abs=1e-10)


def test_table_2_needs_more_than_scale_1():
    """At 50 all 18 entries are within 0.06 of the printed ones, at 1 they are not; and whatever the bias, the printed
    1.0000 is beyond the bound for these surprisals at scale 1.
    """
    ours = {scale: idealized_table_2(scale=scale) for scale in (1.0, 50.0)}
    assert ours[50.0].largest_difference < 0.06
    assert ours[1.0].largest_difference > 0.2
    assert least_scale(0.99995, float(ours[1.0].surprisal_range[1])) > 1.0
    assert PUBLISHED_TABLE_2["short"][1][1] == 1.0


@pytest.mark.parametrize("levels", [1, 9])
def test_findings_of_table_2(levels):
    """Under Eq. (9) every annotator prefers the shorter group; under Eq. (26) *long* prefers the longer."""
    table = idealized_table_2(idealized_models(levels=levels))
    assert (table.luce > 0.5).all()
    assert (table.normalized[table.names.index("long")] < 0.25).all()
    assert (table.normalized[table.names.index("short")] > 0.9).all()


@pytest.mark.parametrize("settings", [{}, {"levels": 1}, {"levels": 1, "perplexity": 50.0}])
def test_findings_of_figure_6(settings):
    figure = idealized_figure_6(idealized_models(**settings))
    assert figure.solution.converged
    assert bin_shares(figure.density_mixture)["M"] < 0.01
    assert bin_shares(figure.annotator_mixture)["M"] > 0.1
    assert valley(figure.density_mixture) < 0.01
    assert valley(figure.annotator_mixture) > 0.6
    expected = 0.5 * (figure.short.pmf + figure.long.pmf)
    assert figure.density_mixture.pmf == pytest.approx(expected, abs=1e-10)


def test_bins_are_the_papers():
    members = {name: np.flatnonzero(bin_members(np.arange(1, 51), name)) + 1 for name in "SML"}
    assert {name: (m[0], m[-1], m.size) for name, m in members.items()} == {
        "S": (1, 20, 20), "M": (21, 29, 9), "L": (30, 50, 21)
    }  # fmt: skip
    assert sum(bin_shares(pb.uniform(np.arange(1, 51))).values()) == pytest.approx(1.0)


# --- What is refused ---

H = pb.uniform([1, 2, 3])
ANNOTATOR = pb.Annotator(H, pb.luce())
TABLES = equal_tokens(2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: IdealizedLanguageModel([0.5, 0.5], 2.0), TypeError, "`class_pmf` must be a FiniteDistribution"),
        (lambda: IdealizedLanguageModel(H, 0.5), ValueError, "`perplexity` must be at least 1; got 0.5"),
        (lambda: IdealizedLanguageModel(H, [2, inf, 2]), ValueError, "`perplexity` must be finite; got inf at index 1"),
        (lambda: IdealizedLanguageModel(H, [2, 2]), ValueError, "`perplexity` must have 3 outcomes"),
        (lambda: IdealizedLanguageModel(H, 2.0, [1, 2]), ValueError, "`lengths` must have 3 outcomes"),
        (lambda: IdealizedLanguageModel(H, 2.0, [1, 0, 2]), ValueError, "`lengths` must be whole .*0.0 at index 1"),
        (lambda: IdealizedLanguageModel(pb.uniform("ab"), 2.0), TypeError, "`lengths` must be an array of real"),
        (lambda: length_distribution(H, [1, 2.5, 3]), ValueError, "`lengths` must be whole .*2.5 at index 1"),
        (lambda: length_distribution(H, [1, inf, 3]), ValueError, "`lengths` must be finite; got inf at index 1"),
        (lambda: merged_process(pb.luce(), [0.0, inf]), ValueError, "`log_counts` must be finite; got inf at index 1"),
        (lambda: bin_members([1], "XL"), ValueError, "`name` must be 'S', 'M' or 'L'; got 'XL'"),
        (lambda: group_preference(ANNOTATOR, H, [0, 1, 0], [1, 0, 0]), TypeError, "`first` must hold True or False"),
        (lambda: group_preference(ANNOTATOR, H, [True], [False]), TypeError, "`first` must hold True or False"),
        (lambda: group_preference(ANNOTATOR, pb.uniform("ab"), [True] * 2, [True] * 2), ValueError, "`drawn_from`"),
        (lambda: length_bias_table([ANNOTATOR], H, [1, 2, 3]), ValueError, "`second` must have an outcome of positive"),
        (lambda: least_scale(1.0, 2.0), ValueError, r"`preference` must be in \(0, 1\); got 1.0"),
        (lambda: least_scale(0.9, 0.0), ValueError, "`surprisal_range` must be positive; got 0.0"),
        (lambda: sentence_distribution([0.5, 0.5, 0.9], TABLES), ValueError, "`ending` must be 1 at the last position"),
        (lambda: sentence_distribution([0.5, 1.5, 1], TABLES), ValueError, r"`ending` must be in \[0, 1\]; got 1.5 at"),
        (lambda: sentence_distribution([0.5, 1], TABLES), ValueError, r"`tables` must have shape \(1, V \+ 1, V\)"),
        (lambda: sentence_distribution([0, 0, 1], TABLES / 2), ValueError, r"`tables.sum\(axis=2\)` must be 1; got"),
        (lambda: sentence_distribution([nan, 0, 1], TABLES), ValueError, "`ending` must be free of NaN"),
        (lambda: sentence_distribution([0.0] * 29 + [1], equal_tokens(2, 30)), ValueError, "at most 1,048,576"),
        (lambda: ending_probabilities(pb.uniform([2, 3])), ValueError, "must be 1, 2, 3, …; got 2.0 at index 0"),
        (lambda: ending_probabilities(on([1, 2], [1, 0])), ValueError, "positive at the largest length; got 0.0"),
        (lambda: random_token_tables(0, 3), ValueError, "`n_tokens` must be at least 1; got 0"),
        (lambda: random_token_tables(3, 1), ValueError, "`max_length` must be at least 2; got 1"),
        (lambda: idealized_models(spread=-1.0), ValueError, "`spread` must be non-negative; got -1.0"),
        (lambda: idealized_models(spread=5.0), ValueError, "`perplexity` must be at least 1"),
        (lambda: idealized_table_2(scale=0.0), ValueError, "`scale` must be positive; got 0.0"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- What is certified of a policy ---


def two_lengths(lengths, perplexity, scale, *pmfs):
    models = [IdealizedLanguageModel(pb.FiniteDistribution.from_weights(h, lengths), perplexity) for h in pmfs]
    process = pb.length_normalized(models[0].lengths, scale)
    annotators = [model.annotator(process) for model in models]
    return annotators, merged_process(process, models[0].log_counts)


def test_annotators_of_the_models_own_process_are_met_where_the_loss_is_flat():
    """Lengths 2 and 50, both annotators even between them: 46.7 nats apart, so that the loss hardly sees the policy."""
    annotators, process = two_lengths([2, 50], 14.0, 50.0, [1, 1], [1, 1])
    found = projected_policy(pb.AnnotatorMixture([1, 1], annotators), process, pb.ProductProposal([1, 1]))
    np.testing.assert_allclose(found.policy.pmf, [0.5, 0.5], rtol=1e-12)
    assert found.converged
    assert found.policy_error < 1e-10
    # Control: the policy that was once called converged has a loss above the minimum by less than 1e-19.
    once = process.utility(np.log([0.4696, 0.5304]))
    assert 0.0 < pb.expected_kl(annotators[0], once, pb.ProductProposal([1, 1])).value < 1e-19


@pytest.mark.parametrize("seed", [*range(25), *(pytest.param(s, marks=pytest.mark.slow) for s in range(25, 60))])
def test_two_classes_against_a_root(seed):
    """The policy's error against bisection in 40 digits, at most what is certified."""
    rng = np.random.default_rng(seed)
    lengths = np.sort(rng.choice(np.arange(1, 51), 2, replace=False))
    pmfs = 10.0 ** rng.uniform(-6.0, 0.0, (2, 2))
    annotators, process = two_lengths(lengths, rng.choice([1.5, 14.0, 200.0]), rng.choice([1.0, 5.0, 50.0]), *pmfs)
    crowd = pb.AnnotatorMixture([0.3, 0.7], annotators)
    found = projected_policy(crowd, process, pb.ProductProposal(10.0 ** rng.uniform(-6.0, 0.0, 2)))
    with mpmath.workdps(40):
        margins = [mpmath.mpf(one.utility[0]) - mpmath.mpf(one.utility[1]) for one in annotators]
        shares = [mpmath.mpf(float(w)) for w in crowd.weights]
        won = sum(w / (1 + mpmath.exp(-d)) for w, d in zip(shares, margins, strict=True))
        lost = sum(w / (1 + mpmath.exp(d)) for w, d in zip(shares, margins, strict=True))
        f, g = ([mpmath.mpf(float(x)) for x in part] for part in (process.f, process.g))

        def margin(t):  # of the policy with odds e^t
            first, second = -mpmath.log1p(mpmath.exp(-t)), -mpmath.log1p(mpmath.exp(t))
            return f[0] * first + g[0] - f[1] * second - g[1] - mpmath.log(won / lost)

        low, high = mpmath.mpf(-5000), mpmath.mpf(5000)
        for _ in range(150):
            middle = (low + high) / 2
            low, high = (low, middle) if margin(middle) > 0 else (middle, high)
        error = abs(1 / (1 + mpmath.exp(-low)) - mpmath.mpf(float(found.policy.pmf[0])))
    assert error <= found.policy_error
    assert found.converged
    assert found.policy_error < 1e-9


def test_a_policy_is_converged_where_loss_utilities_and_policy_are():
    annotators, process = two_lengths([2, 50], 14.0, 50.0, [1, 9], [9, 1])
    crowd, q = pb.AnnotatorMixture([1, 1], annotators), pb.ProductProposal([1, 1])
    found = projected_policy(crowd, process, q)
    assert found.converged
    assert projected_policy(crowd, process, q, policy_tolerance=found.policy_error).converged
    assert not projected_policy(crowd, process, q, policy_tolerance=0.9 * found.policy_error).converged


def test_masses_of_components_are_not_certified():
    """Two pairs that are never compared with each other."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 2, 3, 4]), pb.luce())
    found = projected_policy(annotator, pb.luce(), pb.PairListProposal([0, 2], [1, 3]))
    assert found.policy_error == 1.0
    assert found.solution.converged
    assert not found.converged
