"""Each loss as the package computes it, and as the paper's text has it, on batches away from and at special points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import autograd.numpy as anp
import mpmath
import numpy as np

from pbde_ref import losses as pl
from pbde_ref import paper
from pbde_ref.catalogue import LOSSES
from pbde_ref.losses.result import batch_loss

# What the paper's text computes with, and how it takes a number.
AUTOGRAD = SimpleNamespace(number=float, log=anp.log, exp=anp.exp)


def remembered(function):
    """A difference moves one input: what is computed of the others is what it was."""
    known = lru_cache(4096)(lambda x, precision: function(x))
    return lambda x: known(x, mpmath.mp.prec)


MPMATH = SimpleNamespace(number=mpmath.mpf, log=remembered(mpmath.log), exp=remembered(mpmath.exp))

BETA, EPSILON, ALPHA, DELTA, LAMBDA, TAU, SCALE, GAMMA, BOUND = 0.3, 0.1, 0.4, 0.75, 0.35, 0.2, 2.5, 0.6, 1.5
CHOSEN_LENGTHS, REJECTED_LENGTHS = np.array([3.0, 7.0, 12.0, 5.0]), np.array([9.0, 2.0, 12.0, 31.0])

# One comparison, which outcome 0 wins.
WON = [(0, 1, 1, 1)]


def cross_entropy(ns, probability, D=WON):
    """Eq. (1) of that probability."""
    return paper.equation_1(D, lambda A, B: probability, ns)


def flipped(ns, variant):
    """One comparison whose label may have been flipped: what cDPO and robust DPO put in the place of its label."""
    epsilon = ns.number(EPSILON)
    if variant == "cdpo":
        return [(0, 1, 1, 1 - epsilon), (0, 1, 0, epsilon)]
    return [(0, 1, 1, (1 - epsilon) / (1 - 2 * epsilon)), (0, 1, 0, -epsilon / (1 - 2 * epsilon))]


def dpo(ns, D=WON):
    """Eq. (1) with Eq. (14), as a function of four log-probabilities."""

    def formula(pc, pr, rc, rr):
        pi, pre = [ns.exp(pc), ns.exp(pr)], [ns.exp(rc), ns.exp(rr)]
        return cross_entropy(ns, paper.equation_14(pi, pre, ns.number(BETA), 0, 1, ns), D)

    return formula


def process(ns):
    """Eq. (1) with Eq. (11), as a function of log-probabilities, f and g of both outcomes."""
    return lambda a, b, fc, fr, gc, gr: cross_entropy(
        ns, paper.equation_11([ns.exp(a), ns.exp(b)], [fc, fr], [gc, gr], 0, 1, ns)
    )


def geometric(ns, pc, pr, rc, rr):
    """The process of Eq. (18)."""
    inverse = 1 / ns.number(ALPHA)
    return process(ns)(pc, pr, inverse, inverse, (1 - inverse) * rc, (1 - inverse) * rr)


def length_normalised(ns, a, b, la, lb):
    """The process of Eq. (26), with a scale and a margin."""
    scale = ns.number(SCALE)
    return process(ns)(a, b, scale / la, scale / lb, -ns.number(GAMMA), 0)


def ipo(ns, pc, pr, rc, rr, lc=1, lr=1):
    """Eq. (23); with lengths, of the log-probabilities per token."""
    pi, pre = [ns.exp(pc / lc), ns.exp(pr / lr)], [ns.exp(rc / lc), ns.exp(rr / lr)]
    return paper.equation_23(WON, pi, pre, ns.number(TAU), ns)


@dataclass(frozen=True)
class Case:
    """A loss as the package computes it, and as the paper has it."""

    loss: Callable[..., pl.BatchLoss]
    formula: Callable[[Any], Callable[..., Any]]
    needs: tuple[str, ...]
    constants: tuple[np.ndarray, ...] = ()
    argument: str = "policy_chosen"
    flips: bool = False
    # Where the exponential of an exponential enters, no precision is enough for gaps of hundreds.
    kinds: tuple[str, ...] = ("generic", "near-certain", "gap 100", "gap 10,000")


def log_sigmoid(ns, z):
    return -ns.log(1 + ns.exp(-z))


def sigmoid(ns, z):
    return 1 / (1 + ns.exp(-z))


def exo(ns, a, b):
    """The divergence as it is defined, from probabilities."""
    m, epsilon = ns.number(BETA) * (a - b), ns.number(EPSILON)
    wins, losses = sigmoid(ns, m), sigmoid(ns, -m)
    return wins * (log_sigmoid(ns, m) - ns.log(1 - epsilon)) + losses * (log_sigmoid(ns, -m) - ns.log(epsilon))


def discopop(ns, a, b):
    m = ns.number(BETA) * (a - b)
    share = sigmoid(ns, m / ns.number(TAU))
    return -log_sigmoid(ns, m) * sigmoid(ns, -m / ns.number(TAU)) + share * ns.exp(-m)


def squares(ns, a, b):
    half = 1 / (2 * ns.number(BETA))
    return (a - half) * (a - half) + (b + half) * (b + half)


def orpo(ns, pc, pr, lc, lr):
    chosen, rejected = pc / lc, pr / lr
    odds = [s - ns.log(1 - ns.exp(s)) for s in (chosen, rejected)]
    return -ns.number(BETA) * log_sigmoid(ns, odds[0] - odds[1]) - ns.number(LAMBDA) * chosen


def of_link(h):
    """DPO with h of both log-ratios."""
    return lambda ns, a, b: -log_sigmoid(ns, ns.number(BETA) * (h(ns, a) - h(ns, b)))


def rao_kupper(ns, a, b, tied):
    """From the three probabilities."""
    m, threshold = ns.number(BETA) * (a - b), ns.number(GAMMA)
    won = sigmoid(ns, m - threshold)
    return -ns.log(won * sigmoid(ns, -m - threshold) * (ns.exp(2 * threshold) - 1) if tied else won)


def davidson(ns, a, b, tied):
    m, nu = ns.number(BETA) * (a - b), ns.number(TAU)
    total = 1 + ns.exp(-m) + 2 * nu * ns.exp(-m / 2)
    return ns.log(total) - (ns.log(2 * nu) - m / 2 if tied else 0)


def clipped_chi_po(ns, a, b):
    m, most = ns.number(BETA) * (ns.exp(a) + a - ns.exp(b) - b), ns.number(BOUND)
    return -log_sigmoid(ns, max(-most, min(most, m)))


def alphapo(ns, pc, pr, lc, lr):
    alpha = ns.number(ALPHA)
    chosen, rejected = ((1 - ns.exp(-alpha * s)) / alpha for s in (pc / lc, pr / lr))
    return -log_sigmoid(ns, ns.number(BETA) * (chosen - rejected) - ns.number(GAMMA))


def ld_dpo(*four, **k):
    """A quarter of each log-probability is its excess's, to have one function of four."""
    pc, pr, rc, rr = (np.array(x) if isinstance(x, list) else x for x in four)
    found = pl.ld_dpo_loss(pc, pr, pc / 4, pr / 4, rc, rr, rc / 4, rr / 4, beta=BETA, share=ALPHA, **k)
    both = {n: found.gradients[n] + found.gradients[f"{n}_excess"] / 4 for n in ("policy_chosen", "policy_rejected")}
    return batch_loss(found.value, found.losses, both)


def of_ratios(formula):
    """A formula of a and b as one of four log-probabilities."""
    return lambda ns: lambda pc, pr, rc, rr, *more: formula(ns, pc - rc, pr - rr, *more)


FOUR = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
TWO = FOUR[:2]
LENGTHS = (CHOSEN_LENGTHS, REJECTED_LENGTHS)
TIES = np.array([0.0, 1.0, 1.0, 0.0])
F, G = (np.array([0.5, 2.0, 1.0, 0.1]), np.array([1.5, 0.3, 1.0, 0.7])), (np.array([0.1, -0.2, 3.0, 0.0]), np.zeros(4))


def in_use(name, formula, needs, constants=(), kinds=Case.kinds, one="labels", **parameters):
    """A loss of the catalogue that the paper does not have."""

    def loss(*arrays, **k):
        named = ("chosen_lengths", "rejected_lengths") if len(constants) == 2 else (one,)
        lengths = dict(zip(named, constants, strict=False))
        return LOSSES[name].batch(*arrays, **lengths, **parameters, **k)

    return Case(loss, formula, needs, constants, flips=True, kinds=kinds)


CASES = {
    "bradley_terry": Case(
        lambda a, b, **k: pl.bradley_terry_loss(a, b, margin=GAMMA, **k),
        lambda ns: lambda a, b: cross_entropy(ns, paper.equation_2([a - ns.number(GAMMA), b], 0, 1, ns)),
        ("chosen_rewards", "rejected_rewards"),
    ),
    "centred reward": Case(
        lambda a, b, **k: pl.centred_reward_loss(a, b, coefficient=TAU, **k),
        lambda ns: lambda a, b: -log_sigmoid(ns, a - b) + ns.number(TAU) * (a + b) * (a + b),
        ("chosen_rewards", "rejected_rewards"),
        flips=True,
    ),
    "pbde": Case(
        lambda a, b, **k: pl.pbde_loss(a, b, f_chosen=F[0], f_rejected=F[1], g_chosen=G[0], g_rejected=G[1], **k),
        process,
        TWO,
        (*F, *G),
    ),
    "dpo": Case(lambda *a, **k: pl.dpo_loss(*a, beta=BETA, **k), dpo, FOUR),
    "cdpo": Case(
        lambda *a, **k: pl.dpo_loss(*a, beta=BETA, label_smoothing=EPSILON, **k),
        lambda ns: dpo(ns, flipped(ns, "cdpo")),
        FOUR,
        flips=True,
    ),
    "robust dpo": Case(
        lambda *a, **k: pl.dpo_loss(*a, beta=BETA, label_smoothing=EPSILON, variant="robust", **k),
        lambda ns: dpo(ns, flipped(ns, "robust")),
        FOUR,
        flips=True,
    ),
    "geometric": Case(
        lambda *a, **k: pl.geometric_loss(*a, alpha=ALPHA, **k), lambda ns: lambda *a: geometric(ns, *a), FOUR
    ),
    "length normalised": Case(
        lambda a, b, **k: pl.length_normalized_loss(a, b, *LENGTHS, scale=SCALE, margin=GAMMA, **k),
        lambda ns: lambda *a: length_normalised(ns, *a),
        TWO,
        LENGTHS,
    ),
    "slic": Case(
        lambda a, b, **k: pl.slic_loss(a, b, delta=DELTA, **k),
        lambda ns: lambda a, b: paper.equation_20(WON, [], [ns.exp(a), ns.exp(b)], ns.number(DELTA), 0, ns),
        TWO,
    ),
    "rso": Case(
        lambda *a, **k: pl.rso_loss(*a, delta=DELTA, **k),
        lambda ns: (
            lambda pc, pr, rc, rr: paper.equation_21(
                WON, [ns.exp(pc), ns.exp(pr)], [ns.exp(rc), ns.exp(rr)], ns.number(DELTA), ns
            )
        ),
        FOUR,
    ),
    "ipo": Case(lambda *a, **k: pl.ipo_loss(*a, tau=TAU, **k), lambda ns: lambda *a: ipo(ns, *a), FOUR),
    "exo": in_use("exo", of_ratios(exo), FOUR, beta=BETA, epsilon=EPSILON),
    "discopop": in_use("discopop", of_ratios(discopop), FOUR, beta=BETA, discopop_tau=TAU),
    "soft_dpo": in_use(
        "soft_dpo",
        of_ratios(
            lambda ns, a, b, p: (
                -p * log_sigmoid(ns, ns.number(BETA) * (a - b)) - (1 - p) * log_sigmoid(ns, ns.number(BETA) * (b - a))
            )
        ),
        FOUR,
        (np.array([0.9, 0.25, 1.0, 0.625]),),
        beta=BETA,
    ),
    "odpo": in_use(
        "odpo",
        of_ratios(lambda ns, a, b: -log_sigmoid(ns, ns.number(BETA) * (a - b) - ns.number(GAMMA))),
        FOUR,
        beta=BETA,
        offset=GAMMA,
    ),
    "odpo of each pair": in_use(
        "odpo",
        of_ratios(lambda ns, a, b, offset: -log_sigmoid(ns, ns.number(BETA) * (a - b) - offset)),
        FOUR,
        (np.array([0.0, 0.3, 1.25, 40.5]),),
        one="offsets",
        beta=BETA,
    ),
    "rao_kupper": in_use("rao_kupper", of_ratios(rao_kupper), FOUR, (TIES,), one="ties", beta=BETA, threshold=GAMMA),
    "davidson": in_use("davidson", of_ratios(davidson), FOUR, (TIES,), one="ties", beta=BETA, tendency=TAU),
    "ld_dpo": Case(
        lambda pc, pr, rc, rr, **k: ld_dpo(pc, pr, rc, rr, **k),
        lambda ns: lambda pc, pr, rc, rr: dpo(ns)(*(x + ns.number(ALPHA) * x / 4 for x in (pc, pr, rc, rr))),
        FOUR,
    ),
    "clipped_chi_po": in_use(
        "clipped_chi_po", of_ratios(clipped_chi_po), FOUR, beta=BETA, bound=BOUND, kinds=Case.kinds[:2]
    ),
    "alphapo": in_use(
        "alphapo",
        lambda ns: lambda *a: alphapo(ns, *a),
        TWO,
        LENGTHS,
        beta=BETA,
        alpha=ALPHA,
        margin=GAMMA,
        kinds=Case.kinds[:2],
    ),
    "ln_dpo": in_use(
        "ln_dpo",
        of_ratios(lambda ns, a, b, lc, lr: -log_sigmoid(ns, ns.number(BETA) * (a / lc - b / lr))),
        FOUR,
        LENGTHS,
        beta=BETA,
    ),
    "forward f_dpo": in_use(
        "f_dpo",
        of_ratios(of_link(lambda ns, a: 1 - ns.exp(-a))),
        FOUR,
        beta=BETA,
        divergence="forward_kl",
        kinds=Case.kinds[:2],
    ),
    "jensen f_dpo": in_use(
        "f_dpo", of_ratios(of_link(lambda ns, a: log_sigmoid(ns, a))), FOUR, beta=BETA, divergence="js_divergence"
    ),
    "alpha f_dpo": in_use(
        "f_dpo",
        of_ratios(of_link(lambda ns, a: (ns.exp((ns.number(ALPHA) - 1) * a) - 1) / (ns.number(ALPHA) - 1))),
        FOUR,
        beta=BETA,
        divergence="alpha_divergence",
        alpha=ALPHA,
        kinds=Case.kinds[:2],
    ),
    "chi_po": in_use("chi_po", of_ratios(of_link(lambda ns, a: ns.exp(a) + a)), FOUR, beta=BETA),
    "squared_po": in_use(
        "squared_po", of_ratios(of_link(lambda ns, a: a * ns.exp(-a))), FOUR, beta=BETA, kinds=Case.kinds[:2]
    ),
    "nca": in_use(
        "nca",
        of_ratios(
            lambda ns, a, b: (
                -log_sigmoid(ns, ns.number(BETA) * a) - sum(log_sigmoid(ns, -ns.number(BETA) * x) for x in (a, b)) / 2
            )
        ),
        FOUR,
        beta=BETA,
    ),
    "bco": in_use(
        "bco",
        of_ratios(
            lambda ns, a, b: (
                -log_sigmoid(ns, ns.number(BETA) * (a - ns.number(GAMMA)))
                - log_sigmoid(ns, ns.number(BETA) * (ns.number(GAMMA) - b))
            )
        ),
        FOUR,
        beta=BETA,
        baseline=GAMMA,
    ),
    "sppo": in_use("sppo", of_ratios(squares), FOUR, beta=BETA),
    "cal_dpo": in_use(
        "cal_dpo", of_ratios(lambda ns, a, b: squares(ns, a, b) - log_sigmoid(ns, a - b)), FOUR, beta=BETA
    ),
    "apo_zero": in_use(
        "apo_zero",
        of_ratios(lambda ns, a, b: sigmoid(ns, -ns.number(BETA) * a) + sigmoid(ns, ns.number(BETA) * b)),
        FOUR,
        beta=BETA,
    ),
    "apo_down": in_use(
        "apo_down",
        of_ratios(lambda ns, a, b: sigmoid(ns, ns.number(BETA) * a) + sigmoid(ns, -ns.number(BETA) * (a - b))),
        FOUR,
        beta=BETA,
    ),
    "dpop": in_use(
        "dpop",
        of_ratios(
            lambda ns, a, b: -log_sigmoid(ns, ns.number(BETA) * (a - b - ns.number(GAMMA) * (-a if a < 0 else 0)))
        ),
        FOUR,
        beta=BETA,
        penalty=GAMMA,
    ),
    "bpo": in_use(
        "bpo",
        of_ratios(
            lambda ns, a, b: (
                -log_sigmoid(ns, ns.number(BETA) * (a if a < -ns.number(ALPHA) * b else -ns.number(ALPHA) * b))
            )
        ),
        FOUR,
        beta=BETA,
        balance=ALPHA,
    ),
    "rpo": in_use(
        "rpo",
        lambda ns: lambda pc, pr, rc, rr: dpo(ns)(pc, pr, rc, rr) - ns.number(LAMBDA) * pc,
        FOUR,
        beta=BETA,
        likelihood_weight=LAMBDA,
    ),
    "rpo per token": in_use(
        "rpo",
        lambda ns: lambda pc, pr, rc, rr, lc, lr: dpo(ns)(pc, pr, rc, rr) - ns.number(LAMBDA) * pc / lc,
        FOUR,
        LENGTHS,
        beta=BETA,
        likelihood_weight=LAMBDA,
        average_likelihood=True,
    ),
    "cpo": in_use(
        "cpo",
        lambda ns: lambda pc, pr: -log_sigmoid(ns, ns.number(BETA) * (pc - pr)) - ns.number(LAMBDA) * pc,
        TWO,
        beta=BETA,
        likelihood_weight=LAMBDA,
    ),
    "orpo": in_use("orpo", lambda ns: lambda *a: orpo(ns, *a), TWO, LENGTHS, beta=BETA, likelihood_weight=LAMBDA),
    "averaged ipo": Case(
        lambda *a, **k: pl.ipo_loss(
            *a, tau=TAU, average=True, chosen_lengths=LENGTHS[0], rejected_lengths=LENGTHS[1], **k
        ),
        lambda ns: lambda *a: ipo(ns, *a),
        FOUR,
        LENGTHS,
    ),
}


def batch(kind):
    """Four pairs (policy chosen, rejected, reference chosen, rejected) of unequal lengths, away from special points."""
    if kind == "generic":
        return (
            np.array([-4.1, -9.7, -14.2, -6.3]), np.array([-11.3, -3.9, -13.1, -40.5]),
            np.array([-5.0, -8.8, -15.9, -6.1]), np.array([-10.1, -4.2, -12.6, -42.0]),
        )  # fmt: skip
    if kind == "near-certain":  # 1e-9 to 1e-7 per token: for the rejected ones, and for both
        return (
            np.array([-4.1, -9.7, -3e-8, -6.3]), -REJECTED_LENGTHS * np.array([1e-9, 1e-8, 1e-7, 1e-9]),
            np.array([-5.0, -8.8, -2e-8, -6.1]), -REJECTED_LENGTHS * np.array([2e-9, 3e-8, 2e-7, 5e-9]),
        )  # fmt: skip
    gap = {"gap 100": 100.0, "gap 10,000": 1e4}[kind]
    return (
        np.array([-gap - 3.5, -0.25, -gap, -1.5]), np.array([-0.125, -gap - 0.5, -2.0, -gap]),
        np.array([-4.0, -3.25, -gap / 2, -2.5]), np.array([-0.5, -6.5, -1.0, -gap / 4]),
    )  # fmt: skip


BATCHES = ("generic", "near-certain", "gap 100", "gap 10,000")


def inputs_of(case, kind):
    return batch(kind)[: len(case.needs)]


def exact_losses(case, inputs):
    """Each pair's loss and its derivative with respect to each input, to more than 30 digits."""
    formula = case.formula(MPMATH)
    values, gradients = [], [[] for _ in inputs]
    # 1 − σ(z) needs z / log 10 digits more: 250 nats in gaps of 100, and 3,000 where a flipped label keeps such a loss;
    # without one, it is nothing beyond 340 digits.
    most = 1400 if case.flips else 340
    with mpmath.workdps(60 + min(most, int(1.4 * max(np.abs(x).max() for x in inputs)))):
        h = mpmath.mpf(10) ** -30
        for row in zip(*inputs, *case.constants, strict=True):
            row = [mpmath.mpf(float(x)) for x in row]
            values.append(float(formula(*row)))
            for i, gradient in enumerate(gradients):
                above, below = ([*row[:i], row[i] + s * h, *row[i + 1 :]] for s in (1, -1))
                gradient.append(float((formula(*above) - formula(*below)) / (2 * h)))
    return np.array(values), [np.array(gradient) for gradient in gradients]


RRHF = (
    np.array([[-8.0, -3.5, -6.25, -9.0], [-1.0, -20.0, -7.5, -2.0]]),
    np.array([[4.0, 3.0, 2.0, 9.0], [5.0, 7.0, 3.0, 8.0]]),
    np.array([[0.9, 0.5, 0.1, 0.5], [-1.0, 2.0, 2.0, 0.0]]),  # with ties, once among the best
)

MIXTURE = (
    np.array([[-1.5, -0.2, -3.1], [-2.0, -4.0, -0.9]]),
    np.array([[-0.7, -2.2, -3.0], [-6.0, -0.1, -1.4]]),
    np.array([0.3, -0.4, 1.1]),
)


def check_central_differences(loss, inputs, names, h):
    """Truncation h² and rounding 1e-16·|value|/h stay below the tolerance."""
    result = loss(*inputs)
    for i, name in enumerate(names):
        if name not in result.gradients:
            continue
        numerical = np.zeros(inputs[i].shape)
        for place in np.ndindex(inputs[i].shape):
            step = np.zeros(inputs[i].shape)
            step[place] = h
            above, below = (loss(*inputs[:i], inputs[i] + s * step, *inputs[i + 1 :]).value for s in (1.0, -1.0))
            numerical[place] = (above - below) / (2.0 * h)
        np.testing.assert_allclose(result.gradients[name], numerical, rtol=1e-6, atol=1e-8)
