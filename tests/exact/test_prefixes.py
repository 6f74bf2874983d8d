"""Where length-desensitised DPO leads, held against its definition, token by token (proofs/prefixes.md)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact.prefixes import Prefixes, minimize_prefix_loss

TOKENS = ["ax.", "axy.", "a.", "bxx.", "bxzz.", "b.", "."]


def conditional(pmf, prefix, token):
    """Probability of the next token, of all answers that begin so."""
    begun, more = (
        sum(p for p, x in zip(pmf, TOKENS, strict=True) if x.startswith(start)) for start in (prefix, prefix + token)
    )
    return more / begun


def score(pmf, answer, other, share):
    """Log-probabilities of tokens, those beyond the shorter answer's length counted `share` times."""
    least = min(len(answer), len(other))
    logs = [np.log(conditional(pmf, answer[:i], answer[i])) for i in range(len(answer))]
    return sum(logs[:least]) + share * sum(logs[least:])


def defined(annotator, pairs, beta, share, reference, pmf):
    """The expected loss, pair by pair."""
    p, q, total = annotator.preference_probabilities(), pairs.matrix(len(TOKENS)), 0.0
    for i, a in enumerate(TOKENS):
        for j, b in enumerate(TOKENS):
            m = score(pmf, a, b, share) - score(pmf, b, a, share)
            m -= score(reference.pmf, a, b, share) - score(reference.pmf, b, a, share)
            total += q[i, j] * (p[i, j] * np.logaddexp(0.0, -beta * m) + p[j, i] * np.logaddexp(0.0, beta * m))
    return total


@pytest.mark.parametrize("seed", range(3))
def test_the_definition_token_by_token(seed):
    rng, n = np.random.default_rng(seed), len(TOKENS)
    p, reference = (pb.FiniteDistribution(rng.normal(size=n)) for _ in range(2))
    annotator, pairs = pb.Annotator(p, pb.luce()), pb.ProductProposal(rng.random(n))
    beta, share = rng.uniform(0.3, 2.0), rng.uniform(0.0, 1.0)
    found = minimize_prefix_loss(annotator, pairs, beta=beta, share=share, reference=reference, tokens=TOKENS)
    assert found.loss == pytest.approx(defined(annotator, pairs, beta, share, reference, found.policy.pmf), rel=1e-12)

    def loss(theta):
        return defined(annotator, pairs, beta, share, reference, np.exp(theta - np.logaddexp.reduce(theta)))

    climbed = minimize(loss, rng.normal(size=n), options={"gtol": 1e-7}).fun
    assert found.loss == pytest.approx(climbed, abs=1e-9)
    assert found.loss - found.gap <= climbed
    assert found.reason.startswith("a local minimum")


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1.0))
def test_without_shared_beginnings_it_is_dpo(seed, share):
    rng = np.random.default_rng(seed)
    p, reference = (pb.FiniteDistribution(rng.normal(size=4)) for _ in range(2))
    annotator, pairs = pb.Annotator(p, pb.luce()), pb.ProductProposal([1, 1, 2, 3])
    found = pb.optimum("ld_dpo", annotator, pairs, beta=1.5, share=share, reference=reference,
                       tokens=["ab.", "b.", "cdd.", "."])  # fmt: skip
    assert pb.total_variation(found.policy, pb.product_of_experts(reference, p, 1.5)) < 1e-14
    assert found.converged


def test_answers_at_prompts():
    prompts = pb.Prompts("ppqqq")
    p = pb.ConditionalDistribution(np.log([1.0, 3.0, 1.0, 1.0, 2.0]), prompts)
    tokens = ["a.", "ab.", "xy.", "xyz.", "z."]
    given = {"beta": 1.0, "share": 0.5, "reference": p}
    found = pb.optimum("ld_dpo", pb.Annotator(p, pb.luce()), pb.prompt_pairs(prompts), tokens=tokens, **given)
    alone = pb.FiniteDistribution.from_weights([1, 1, 2])
    second = pb.optimum(
        "ld_dpo", pb.Annotator(alone, pb.luce()), pb.ProductProposal([1, 1, 1]), beta=1.0, share=0.5, reference=alone,
        tokens=tokens[2:],
    )  # fmt: skip
    np.testing.assert_allclose(found.policy.pmf[2:], second.policy.pmf, atol=1e-9)


def test_what_is_refused():
    for tokens, rule in ((["a", "ab"], "begins another"), (["a", "a"], "one twice"), (["", "a"], "no empty answer")):
        with pytest.raises(ValueError, match=rule):
            Prefixes(tokens)
    annotator, reference = pb.Annotator(pb.uniform(range(3)), pb.luce()), pb.uniform(range(3))
    given = {"beta": 1.0, "share": 0.5, "reference": reference}
    with pytest.raises(ValueError, match="one answer for each outcome, 3; got 2"):
        pb.optimum("ld_dpo", annotator, pb.ProductProposal([1, 1, 1]), tokens=["aa.", "ab."], **given)
    with pytest.raises(TypeError, match="`tokens`"):
        pb.optimum("ld_dpo", annotator, pb.ProductProposal([1, 1, 1]), tokens=5, **given)
    assert "never lose" in pb.optimum(
        "ld_dpo", pb.PreferenceMatrix([[0.5, 1, 1], [0, 0.5, 0.5], [0, 0.5, 0.5]]), pb.ProductProposal([1, 1, 1]),
        tokens=["a.", "ab.", "."], **given,
    ).reason  # fmt: skip
