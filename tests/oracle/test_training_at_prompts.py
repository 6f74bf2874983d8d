"""`check_training` at several prompts: right trainers pass, harmless slips too, and what mixes prompts up is named.

Trainers have a logit for each answer and minimise batch losses of the package by L-BFGS.
"""

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

import pbde_ref as pb
from pbde_ref.oracle.training.check import TrainingError, check_training
from pbde_ref.oracle.training.several_prompts import draw_sample
from tests.seeds import drawn_seed

ANSWERS = (4, 6, 3)
LENGTHS = np.array([3.0, 5, 2, 9, 4, 7, 6, 8, 2, 5, 3, 8, 4])


def groups(prompts, over):
    """The answers over which the normaliser of each answer runs, as a matrix of zeros and ones."""
    same = prompts[:, None] == prompts
    leaking = same | (prompts == 0)
    return {"prompt": same, "all": np.ones_like(same), "first too": leaking}[over]


def log_normalised(logits, inside):
    return logits - np.log(np.where(inside, np.exp(logits), 0.0).sum(axis=1))


def trainer(loss, *, over="prompt", returned="prompt", shared=False, weights=None):
    """A trainer of `loss(log_probs of chosen and rejected, reference of both, a, b)`, all pairs weighted alike."""

    def train(comparisons, reference, prompts):
        a, b = comparisons
        inside = groups(prompts, over)
        slot = np.arange(prompts.size) - np.searchsorted(prompts, prompts)
        move = np.eye(prompts.size)[slot] if shared else np.eye(prompts.size)
        weight = np.ones(a.size) if weights is None else weights(prompts[a])

        def value_and_gradient(x):
            logits = reference + move @ x
            log_pi = log_normalised(logits, inside)
            result = loss(log_pi[a], log_pi[b], reference[a], reference[b], a, b, weight / weight.sum())
            by_answer = np.bincount(a, result[1], logits.size) + np.bincount(b, result[2], logits.size)
            pi = np.where(inside, np.exp(logits), 0.0)
            pi /= pi.sum(axis=1, keepdims=True)
            return result[0], move.T @ (by_answer - pi.T @ by_answer)

        options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9}
        x = minimize(value_and_gradient, np.zeros(prompts.size), jac=True, method="L-BFGS-B", options=options).x
        return log_normalised(reference + move @ x, groups(prompts, returned))

    return train


def batch(of, **given):
    def loss(pw, pl, rw, rl, a, b, weight):
        found = of(pw, pl, rw, rl, a, b, reduction="sum", **given)
        g = found.gradients
        return weight @ found.losses, weight * g["policy_chosen"], weight * g["policy_rejected"]

    return loss


def dpo(beta=0.5):
    return batch(lambda pw, pl, rw, rl, a, b, **more: pb.dpo_loss(pw, pl, rw, rl, beta=beta, **more))


def ipo(tau=0.2):
    return batch(lambda pw, pl, rw, rl, a, b, **more: pb.ipo_loss(pw, pl, rw, rl, tau=tau, **more))


def luce():
    return batch(lambda pw, pl, rw, rl, a, b, **more: pb.pbde_loss(pw, pl, f_chosen=1.0, f_rejected=1.0, **more))


def per_token(scale=3.0):
    return batch(
        lambda pw, pl, rw, rl, a, b, **more: pb.length_normalized_loss(
            pw, pl, LENGTHS[a], LENGTHS[b], scale=scale, **more)
    )  # fmt: skip


def margins_centred(beta=0.5):
    """Rewards less the mean of the chosen, and of the rejected ones."""

    def loss(pw, pl, rw, rl, a, b, weight):
        margin = beta * (pw - rw - pl + rl)
        margin = margin - weight @ margin
        slope = -weight * expit(-margin)
        slope = beta * (slope - weight * slope.sum())
        return weight @ np.logaddexp(0, -margin), slope, -slope

    return loss


def first_reference(of):
    """The first prompt's reference, by the answers' numbers within their prompt."""

    def train(comparisons, reference, prompts):
        slot = np.arange(prompts.size) - np.searchsorted(prompts, prompts)
        return trainer(of)(comparisons, reference[slot % np.sum(prompts == 0)], prompts)

    return train


def alike(prompts):
    """Every prompt as often as any other."""
    return 1.0 / np.bincount(prompts)[prompts]


def rewards_centred(beta=0.5):
    """The same mean goes off both rewards of a pair: nothing happens."""

    def loss(pw, pl, rw, rl, a, b, weight):
        chosen, rejected = beta * (pw - rw), beta * (pl - rl)
        mean = 0.5 * (weight @ chosen + weight @ rejected)
        margin = (chosen - mean) - (rejected - mean)
        slope = -beta * weight * expit(-margin)
        return weight @ np.logaddexp(0, -margin), slope, -slope

    return loss


RIGHT = {
    "dpo": (trainer(dpo()), "dpo", {"beta": 0.5}, "DPO"),
    "dpo smoothed": (
        trainer(batch(lambda pw, pl, rw, rl, a, b, **m: pb.dpo_loss(pw, pl, rw, rl, beta=0.5, label_smoothing=0.1, **m)
                      )), "dpo", {"beta": 0.5, "label_smoothing": 0.1}, "DPO with label smoothing 0.1"),
    "luce": (trainer(luce()), "luce", {}, "the Luce rule (DPO without the reference)"),
    "ipo": (trainer(ipo()), "ipo", {"tau": 0.2}, "IPO"),
    "geometric": (trainer(batch(lambda pw, pl, rw, rl, a, b, **m: pb.geometric_loss(pw, pl, rw, rl, alpha=0.25, **m))),
                  "geometric", {"alpha": 0.25}, "the geometric loss"),
    "per token": (trainer(per_token()), "length_normalized", {"lengths": LENGTHS, "scale": 3.0},
                  "length_normalized as declared"),
    # What does not matter: normalisers that cancel, weights of prompts, a mean that cancels.
    "dpo over all": (trainer(dpo(), over="all"), "dpo", {"beta": 0.5}, "DPO"),
    "dpo, prompts alike": (trainer(dpo(), weights=alike), "dpo", {"beta": 0.5}, "DPO"),
    "ipo, prompts alike": (trainer(ipo(), weights=alike), "ipo", {"tau": 0.2}, "IPO"),
    "rewards centred": (trainer(rewards_centred()), "dpo", {"beta": 0.5}, "DPO"),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_right_trainers_pass(case):
    """At a drawn seed, so that no sample was chosen for them."""
    train, loss, conventions, objective = RIGHT[case]
    report = check_training(train, loss=loss, answers=ANSWERS, seed=drawn_seed(), **conventions)
    assert report.passed
    assert report.training_error < 0.01
    assert report.fits[0].objective == objective
    assert f"{report.n_comparisons} comparisons of 13 answers to 3 prompts" in report.message
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["n_prompts"] == 3


WRONG = {
    "returned over all": (trainer(dpo(), returned="all"), "dpo", {"beta": 0.5},
                          "sum to 1 over all prompts together, not at each"),
    "returned with the first's": (trainer(dpo(), returned="first too"), "dpo", {"beta": 0.5},
                                  "or answers of others in the sum?"),
    "margins centred": (trainer(margins_centred()), "dpo", {"beta": 0.5}, "margins are centred over all prompts"),
    "one policy": (trainer(dpo(), shared=True), "dpo", {"beta": 0.5},
                   "DPO with one policy for all prompts, answers numbered within each"),
    "one policy, ipo": (trainer(ipo(), shared=True), "ipo", {"tau": 0.2}, "IPO with one policy for all prompts"),
    "one policy, luce": (lambda c, r, k: trainer(luce(), shared=True)(c, np.zeros_like(r), k), "luce", {},
                         "with one policy for all prompts"),
    "first reference": (first_reference(dpo()), "dpo", {"beta": 0.5}, "DPO with the first prompt's reference at all"),
    "first reference, ipo": (first_reference(ipo()), "ipo", {"tau": 0.2}, "IPO with the first prompt's reference"),
    "per token over all": (trainer(per_token(), over="all"), "length_normalized", {"lengths": LENGTHS, "scale": 3.0},
                           "normalised over other answers than the prompt's, such as those of all prompts"),
    "per token, leaking": (trainer(per_token(), over="first too"), "length_normalized",
                           {"lengths": LENGTHS, "scale": 3.0}, "normalised over other answers than the prompt's"),
    "beta twice": (trainer(dpo(0.25)), "dpo", {"beta": 0.5}, "squared, as if applied twice"),
    "no reference": (trainer(batch(lambda pw, pl, rw, rl, a, b, **m: pb.dpo_loss(
        pw, pl, 0 * rw, 0 * rl, beta=0.5, **m))), "dpo", {"beta": 0.5}, "the Luce rule (DPO without the reference)"),
    "untrained": (lambda c, reference, k: reference, "dpo", {"beta": 0.5}, "no step was taken"),
    "two arguments": (lambda comparisons, reference: reference, "dpo", {"beta": 0.5},
                      "train(comparisons, reference_log_probs, prompts) was called"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_mixes_prompts_up_is_named(case):
    train, loss, conventions, words = WRONG[case]
    # Of the samples of the leak three in ten lead it to where the first prompt's answers have hardly a share.
    seed = 70005 if case == "per token, leaking" else drawn_seed()
    with pytest.raises(TrainingError) as caught:
        check_training(train, loss=loss, answers=ANSWERS, seed=seed, **conventions)
    report = caught.value.report
    assert words in report.message
    assert not report.fits or report.fits[0].distance <= report.tolerance


@pytest.mark.parametrize("scale", [1.0, None])
def test_a_regulariser_that_weighs_prompts_alike_is_named(scale):
    """SLiC's optimum at each prompt, with λ as declared, and as the mean over prompts has it."""

    def train(comparisons, reference, prompts):
        parts = []
        for k in range(3):
            own, rows = prompts == k, prompts[comparisons.chosen] == k
            start = int(np.argmax(own))
            wins = np.zeros((own.sum(), own.sum()))
            np.add.at(wins, (comparisons.chosen[rows] - start, comparisons.rejected[rows] - start), 1.0)
            rates = (wins + 1e-300) / (wins + wins.T + 2e-300)
            weight = 0.3 * (rows.size / (3 * rows.sum()) if scale is None else scale)
            parts.append(pb.minimize_slic(
                pb.PreferenceMatrix(rates), pb.JointProposal(wins), delta=1.0, lambda_=weight,
                reference=pb.FiniteDistribution(reference[own])).policy.log_pmf)  # fmt: skip
        return np.concatenate(parts)

    report = check_training(
        train, loss="slic", delta=1.0, lambda_=0.3, answers=ANSWERS, seed=4, on_failure="report", repeat=False
    )
    assert report.passed == (scale is not None)
    assert report.passed or "slic with a regulariser that weighs all prompts alike" in report.message


def test_the_optimum_at_each_prompt_is_that_of_its_comparisons():
    """By maximum likelihood from the comparisons of one prompt alone, and Eq. (16) for the population."""
    sample = draw_sample("dpo", {"beta": 0.5}, [3, 5], 2000, seed=drawn_seed(), tolerance=0.02)
    for k, (start, stop) in enumerate(zip(sample.prompts.start, sample.prompts.start[1:], strict=False)):
        rows = sample.prompts.number[sample.comparisons.chosen] == k
        a, b = (side[rows] - start for side in sample.comparisons)
        reference = pb.FiniteDistribution(sample.reference[start:stop])
        votes = pb.fit_comparisons(a, b, support=range(stop - start))
        best = pb.FiniteDistribution(reference.log_pmf + votes.utilities / 0.5)
        np.testing.assert_allclose(sample.optima[0][start:stop], best.log_pmf, atol=1e-7)
        experts = pb.product_of_experts(reference, sample.parts[k].population.distribution, 0.5)
        np.testing.assert_allclose(sample.optima[1][start:stop], experts.log_pmf, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"answers": [5]}, "`answers` must be of several prompts; got 1"),
        ({"answers": [5, 1]}, r"`answers\[1\]` must be at least 2"),
        ({"answers": 5}, "`answers` must be a sequence"),
        ({"answers": [4, 4], "n_comparisons": 4}, "`n_comparisons` must be large enough"),
        ({"answers": [2, 2], "loss": "length_normalized", "lengths": [1, 2, 3]}, "`lengths` must have 4"),
    ],
)
def test_wrong_usage_is_refused(arguments, words):
    given = arguments if "loss" in arguments else {"beta": 0.5, **arguments}
    with pytest.raises((TypeError, ValueError), match=words):
        check_training(lambda *_: 1 / 0, **given)
