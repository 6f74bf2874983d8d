"""Policies of given utilities under other links than the logarithm, to 40 digits: proofs/links.md."""

import mpmath
import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.exact.links import linked_policy
from pbde_ref.losses.log_ratios import link
from tests.seeds import drawn_seed

# h^-1 where it has a closed form.
INVERSES = {
    "reverse_kl": lambda y: y,
    "forward_kl": lambda y: -mpmath.log(1 - y),
    "js_divergence": lambda y: -mpmath.log(2 * mpmath.exp(-y) - 1),
    # a + e^a = y by Lambert's function.
    "chi_po": lambda y: y - mpmath.lambertw(mpmath.exp(y)).real,
}
HIGHEST = {"forward_kl": 1, "js_divergence": mpmath.log(2)}


@pytest.mark.parametrize("divergence", INVERSES)
def test_the_policy_to_forty_digits(divergence):
    rng = np.random.default_rng(drawn_seed())
    utilities, beta = rng.normal(scale=3.0, size=6), float(rng.uniform(0.2, 3.0))
    reference = pb.FiniteDistribution(rng.normal(size=6))
    found = np.exp(linked_policy(utilities, reference.log_pmf, np.ones(6), beta, link(divergence)))
    with mpmath.workdps(40):
        wanted = [mpmath.mpf(x) / mpmath.mpf(beta) for x in utilities]
        pre = [mpmath.exp(mpmath.mpf(x)) for x in reference.log_pmf]

        def masses(constant):
            return [p * mpmath.exp(INVERSES[divergence](w + constant)) for p, w in zip(pre, wanted, strict=True)]

        end = HIGHEST.get(divergence, mpmath.mpf(1000)) - max(wanted)
        low, high = -mpmath.mpf(1000), end - mpmath.mpf(10) ** -30
        for _ in range(140):
            middle = (low + high) / 2
            low, high = (low, middle) if sum(masses(middle)) > 1 else (middle, high)
        exact = np.array([float(x) for x in masses(low)])
    assert found == pytest.approx(exact, rel=1e-10)


def test_the_alpha_divergence_ends_at_the_logarithm():
    """α → 1 is reverse KL; elsewhere (t^(α − 1) − 1) / (α − 1), by hand at t = 4."""
    a = np.log(4.0)
    assert float(link("alpha_divergence", 1.0 + 2.0**-40).value(a)) == pytest.approx(a + a * a / 2.0**41, rel=1e-15)
    assert [float(link("alpha_divergence", k).value(a)) for k in (0.5, 2.0)] == pytest.approx([1.0, 3.0])
    assert float(link("squared").value(1.0)) == pytest.approx(np.exp(-1.0))


@pytest.mark.parametrize("kind", [("squared", 0.5), ("alpha_divergence", 3.0)])
def test_utilities_that_are_too_far_apart_have_no_policy(kind):
    utilities, reference = np.array([0.0, -8.0, 1.0]), pb.FiniteDistribution([0.0, 1.0, 0.5])
    assert linked_policy(utilities, reference.log_pmf, np.ones(3), 0.3, link(*kind)) is None
    # Control: at a larger β they are near enough.
    found = linked_policy(utilities, reference.log_pmf, np.ones(3), 60.0, link(*kind))
    assert found is not None
    assert np.ptp(60.0 * link(*kind).value(found - reference.log_pmf) - utilities) < 1e-9


def test_alphapo_lengths_and_margin_by_hand():
    """h(s) = 1 - 1/p at α = 1, s = log π / length: β (1/p_l - 1/p_w) is the annotator's margin."""
    annotator, pair = pb.PreferenceMatrix([[0.5, 0.9], [0.1, 0.5]]), pb.PairListProposal([0], [1])
    found = pb.optimum("alphapo", annotator, pair, beta=2.0, alpha=1.0, lengths=[1.0, 2.0])
    per_token = found.policy.log_pmf / [1.0, 2.0]
    assert 2.0 * (np.exp(-per_token[1]) - np.exp(-per_token[0])) == pytest.approx(np.log(9.0), rel=1e-9)
    # Of a pair that is asked once, the margin is added to the utilities' difference where both weigh alike: none is at
    # 1/2, and 0.9 asks for more than log 9.
    further = pb.optimum("alphapo", annotator, pair, beta=2.0, alpha=1.0, margin=0.5, lengths=[1.0, 2.0])
    m = -np.diff(further.utilities)[0]
    assert 0.9 / (1.0 + np.exp(m - 0.5)) == pytest.approx(0.1 / (1.0 + np.exp(-m - 0.5)), rel=1e-9)


@pytest.mark.parametrize(("bound", "known"), [(2.0, False), (2.5, True)])
def test_clipped_where_the_annotator_is_surer_than_the_bound(bound, known):
    """log 9 = 2.197: beyond the bound every margin is as good, and the loss is that of the bound."""
    annotator, pair = pb.PreferenceMatrix([[0.5, 0.9], [0.1, 0.5]]), pb.PairListProposal([0], [1])
    found = pb.optimum("clipped_chi_po", annotator, pair, beta=1.0, bound=bound, reference=pb.uniform([0, 1]))
    m = min(bound, np.log(9.0))
    assert found.loss == pytest.approx(0.9 * np.log1p(np.exp(-m)) + 0.1 * np.log1p(np.exp(m)), rel=1e-12)
    assert found.gap < 1e-12
    assert (found.converged, found.unique, "as good" in found.reason) == (known, True if known else None, not known)
