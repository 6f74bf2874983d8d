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
    found = np.exp(linked_policy(utilities, reference, beta, link(divergence)))
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
    assert float(link("alpha_divergence", 1.0 + 1e-9).value(a)) == a
    assert [float(link("alpha_divergence", k).value(a)) for k in (0.5, 2.0)] == pytest.approx([1.0, 3.0])
    assert float(link("squared").value(1.0)) == pytest.approx(np.exp(-1.0))


@pytest.mark.parametrize("kind", [("squared", 0.5), ("alpha_divergence", 3.0)])
def test_utilities_that_are_too_far_apart_have_no_policy(kind):
    utilities, reference = np.array([0.0, -8.0, 1.0]), pb.FiniteDistribution([0.0, 1.0, 0.5])
    assert linked_policy(utilities, reference, 0.3, link(*kind)) is None
    # Control: at a larger β they are near enough.
    found = linked_policy(utilities, reference, 60.0, link(*kind))
    assert found is not None
    assert np.ptp(60.0 * link(*kind).value(found - reference.log_pmf) - utilities) < 1e-9
