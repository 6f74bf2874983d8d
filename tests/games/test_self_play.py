"""Rules of self-play against loops in plain Python, their fixed points and measured rates. Proof:
`proofs/nash_policy.md`, part 4.
"""

import math

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.exact.ipo import ipo_optimum
from pbde_ref.games import nash_policy, self_play
from pbde_ref.games.self_play import METHODS
from tests.games.cases import CYCLE, drawn
from tests.seeds import drawn_seed


def normalized(weights):
    return [w / math.fsum(weights) for w in weights]


def wins(preferences, policy):
    table = preferences.preference_probabilities()
    return [math.fsum(p * q for p, q in zip(row, policy, strict=True)) for row in table]


def literal(method, preferences, policy, reference, tau, eta):
    """One step, with probabilities as they are printed."""
    if method == "sppo":
        return normalized([p * math.exp(eta * w) for p, w in zip(policy, wins(preferences, policy), strict=True)])
    if method == "ipo":
        return normalized([r * math.exp(w / tau) for r, w in zip(reference, wins(preferences, policy), strict=True)])
    if method == "nash_md":
        mixed = normalized([p ** (1 - eta * tau) * r ** (eta * tau) for p, r in zip(policy, reference, strict=True)])
        return normalized([p * math.exp(eta * w) for p, w in zip(mixed, wins(preferences, mixed), strict=True)])

    def prox(against):
        rows = zip(policy, reference, wins(preferences, against), strict=True)
        return normalized([(p * r ** (eta * tau) * math.exp(eta * w)) ** (1 / (1 + eta * tau)) for p, r, w in rows])

    return prox(prox(policy))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_the_printed_one(method):
    rng = np.random.default_rng(drawn_seed())
    preferences, tau = drawn(rng, 5), 0.0 if method == "sppo" else 0.4
    reference, start = (pb.FiniteDistribution(rng.normal(size=5)) for _ in range(2))
    run = self_play(method, preferences, 3, tau=tau, eta=0.7, reference=reference, start=start)
    policy = start.pmf.tolist()
    for row in run.log_policies[1:]:
        policy = literal(method, preferences, policy, reference.pmf.tolist(), tau, 0.7)
        assert np.exp(row) == pytest.approx(policy, rel=1e-12)


def test_a_round_of_ipo_is_the_optimum_of_its_loss():
    rng = np.random.default_rng(drawn_seed())
    preferences = drawn(rng, 5)
    reference, start = (pb.FiniteDistribution(rng.normal(size=5)) for _ in range(2))
    run = self_play("ipo", preferences, 1, tau=0.3, reference=reference, start=start)
    found = ipo_optimum(preferences, pb.ProductProposal(start), tau=0.3, reference=reference)
    assert pb.total_variation(pb.FiniteDistribution(run.log_policies[1]), found.policy) < 1e-12


@pytest.mark.parametrize("method", ["mirror_prox", "ipo"])
def test_the_equilibrium_stays(method):
    rng = np.random.default_rng(drawn_seed())
    preferences, reference = drawn(rng, 6), pb.FiniteDistribution(rng.normal(size=6))
    target = nash_policy(preferences, 0.2, reference).policy
    run = self_play(method, preferences, 3, tau=0.2, reference=reference, start=target)
    assert pb.total_variation(pb.FiniteDistribution(run.log_policies[3]), target) < 1e-12


def test_rates_are_measured():
    """Mirror prox is linear and faster than published; Nash-MD of second order in the gap; SPPO leads away."""
    level, start = pb.uniform(range(3)), pb.FiniteDistribution.from_weights([2, 1, 1])
    prox = self_play("mirror_prox", CYCLE, 80, tau=0.1, eta=2.0, reference=level, start=start)
    assert 0.1 < prox.rate < 1.0 / 1.2
    assert prox.gaps[-1] < 1e-12
    # Nash-MD starts from the reference itself, the equilibrium here; so another reference.
    md = self_play("nash_md", CYCLE, 2000, tau=0.3, eta="decreasing", reference=start)
    assert -2.2 < md.order < -1.8
    away = self_play("sppo", CYCLE, 2000, eta=0.1, reference=level, start=start)
    divergence = np.log(1 / 3) - away.log_policies.mean(axis=1)
    assert (np.diff(divergence) > 0.0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "dpo"}, "`method`"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"tau": 0.0}, "`tau` must be"),
        ({"method": "sppo", "tau": 0.1}, "`tau` must be 0 for 'sppo'"),
        ({"method": "sppo", "tau": 0.0, "eta": "decreasing"}, "`eta` must be a number"),
        ({"eta": 11.0}, "`eta` must be at most 1 / tau"),
        ({"eta": "slow"}, "`eta`"),
        ({"reference": pb.FiniteDistribution.from_weights([1, 1, 0])}, "`reference` must be positive"),
        ({"start": pb.uniform(range(2))}, "`start`"),
    ],
)
def test_bad_input_is_named(arguments, message):
    given = {"method": "nash_md", "preferences": CYCLE, "steps": 2, "tau": 0.1, "reference": pb.uniform(range(3))}
    with pytest.raises((TypeError, ValueError), match=message):
        self_play(**given | arguments)
