"""The univariate figures: what each takes, and what to look for in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from pbde_ref.experiments.runs import Run
from pbde_ref.experiments.toy import (
    adapted,
    closed_loops,
    figure_1_reward,
    figure_4_preferences,
    figure_11_two_annotators,
    how_much_data,
)
from pbde_ref.experiments.toy.pretraining import pretrain
from pbde_ref.experiments.toy.settings import ToySettings

__all__ = ["FIGURES", "Figure", "runs_of"]


@dataclass(frozen=True)
class Figure:
    """One figure of the paper, or beyond it.

    Attributes
    ----------
    title : str
    runs : callable
        Settings to the runs whose results it shows.
    look_for : str
        What to see in it.
    print_differs : str
        Where the paper's figure looks otherwise, and why; empty if it does not.
    letters : tuple of str
        Keys of `LETTERS` that it shows.
    """

    title: str
    runs: Callable[[ToySettings], list[Run]]
    look_for: str
    print_differs: str = ""
    letters: tuple[str, ...] = ("p*", "π_pre")


LETTERS: Mapping[str, str] = {
    "p*": "p\\* is the annotators' implicit preference distribution, Eq. 10, the weighted sum of theirs",
    "annotators": "annotators 1 and 2 are the two parts of Eq. 10, whose answers are pooled, Eq. 25",
    "π_pre": "π_pre is the pretrained policy, about N(0, 5), which training starts from and losses refer to",
    "r": "r is the trained reward, Eq. 2",
    "β": "β is the weight of the log-ratio to π_pre in DPO's margin, Eq. 14, in RLHF that of the KL divergence",
    "α": "α is the exponent of p\\* in Eq. 18",
    "τ": "τ is the weight of the KL divergence from π_pre in Eq. 22, in units of preference probability",
    "δ": "δ is the hinge's margin in nats, λ the weight of the mean log-likelihood of π_pre's draws, Eq. 20",
    "n": "n is the number of outcomes, N of comparisons; H is the Hessian at the optimum, V the variance of the scores",
    "rounds": "π_0 is where round 0 starts; the first reference is π_0 in all rounds, the last one the policy that a "
    "round's pairs are drawn from",
}
"""What a caption says of each letter in its figure."""

FIGURES: Mapping[str, Figure] = {
    "figure-1": Figure(
        "Reward learning is density estimation",
        figure_1_reward.runs,
        "The softmax of the trained reward (green) lies on p* (blue), by Theorem 1. The best reward for this very "
        "sample (grey), free at each of the grid's points, scatters about it: that is what finite data leave open, and "
        "what the network's smoothness closes.",
        letters=("p*", "r"),
    ),
    "figure-2": Figure(
        "DPO where annotator and model share a process",
        partial(adapted.runs, "figure-2"),
        "The annotator answers by DPO's own process, so the trained policy (green) comes to lie on p* (blue) and not "
        "between p* and the reference (orange): Theorem 2.",
        letters=("p*", "π_pre", "β"),
    ),
    "figure-3": Figure(
        "DPO on Luce preferences",
        partial(adapted.runs, "figure-3"),
        "The trained policy (green) follows the product of experts of Eq. 16 (red), which tends to the reference "
        "(orange) as β grows. At β = 1 the optimum is not p*: it is p* times the reference.",
        "The paper draws Eq. 16 with the exact truncated normal; here it has the pretrained policy that the loss "
        "refers to.",
        letters=("p*", "π_pre", "β"),
    ),
    "figure-4": Figure(
        "Who prefers what",
        figure_4_preferences.runs,
        "The first two maps are exact. Two annotators who disagree (second) leave plateaus at exactly 0.4 and 0.6, "
        "their weights. A model of one annotator has no way to show them, neither the best one (third, exact) nor the "
        "trained one (fourth); a model of two (fifth, trained) has, and comes near them as far as it was trained. Its "
        "best one is the second map.",
        "The caption says near-0.5. The third map is not in the paper.",
        letters=("p*", "annotators"),
    ),
    "figure-5": Figure(
        "One policy for two annotators",
        partial(adapted.runs, "figure-5"),
        "Cold coffee (blue) and hot coffee (pink) average to lukewarm: the best single policy (red, exact) is broad, "
        "with its one maximum on neither mode but between them.",
        "The second bump near x = -1.7 is in the paper's curve and in ours, and not in the exact one, which has one "
        "maximum (0.1366 at 1.50; for the uniform pairs of section 4.1 0.1415 at 1.28) and a shoulder there. It is "
        "training that stopped early. On the expected loss itself, without any sample (`--set data=population --set "
        "grid=256`), the curve still exceeds the exact one by 0.0026 at -1.6 after the 8,192 steps from the "
        "pretrained network. It does so by 0.0022 with 2 layers, 0.0014 with 8, 0.0012 with four times the width, "
        "0.0012 to 0.0015 with four times the learning rate, 0.0017 with a constant one, but by 0.0003 to 0.0004 from "
        "a fresh network, and by less than 0.0002 after four times as many steps, when the bump is gone: the network "
        "can bend so sharply, and from the pretrained one learns it last. Sampling adds to that: over eight samples "
        "the excess at -1.6 is 0.003 with a standard deviation of 0.003. The bump near 0 is the sample's: without one "
        "the curve is off by less than 0.001 there, with eight different ones by 0.003 with a standard deviation of "
        "0.007.",
        letters=("annotators", "π_pre"),
    ),
    "figure-7": Figure(
        "The reward is log p* plus a constant",
        figure_1_reward.runs,
        "On a logarithmic scale exp(reward) (green) runs parallel to p* (blue) wherever p* has mass. In the tails no "
        "pair among the sample tells how much worse one point is than another, and the network is free. The thin "
        "line is p* shifted by the mean offset under p*.",
        "The offset is a constant only where p* has mass, in the paper's figure as well.",
        letters=("p*", "r"),
    ),
    "figure-8": Figure(
        "A process whose optimum is a geometric mean",
        partial(adapted.runs, "figure-8"),
        "The trained policy (green) follows Eq. 18 (red), from p* at α = 1 towards the reference (orange) as α falls.",
        "The paper draws Eq. 18 with the exact truncated normal; here it has the pretrained policy that the loss "
        "refers to.",
        letters=("p*", "π_pre", "α"),
    ),
    "figure-9": Figure(
        "SLiC-HF",
        partial(adapted.runs, "figure-9"),
        "Upper row, λ = 0: the exact optima (red) are staircases in log-probability with steps of δ, which a smooth "
        "network can only approach. Lower row, λ = 1, on a scale of its own, which p* leaves: drawn to the reference. "
        "At δ = 0, λ = 0 only the uniform policy is optimal for the population; for a sample every policy is that puts "
        "no loser above a winner, so tails that never won may fall.",
        "A.2 says that δ bounds the range of log-probabilities; it bounds one step of the staircase.",
        letters=("p*", "π_pre", "δ"),
    ),
    "figure-10": Figure(
        "IPO",
        partial(adapted.runs, "figure-10"),
        "The larger τ, the closer to the reference (orange). The exact optimum (red) is the reference times "
        "exp(win rate / τ). That τ = 0.1 looks like p* is that τ's doing: as τ falls further, the mass concentrates on "
        "the outcome that wins most often.",
        letters=("p*", "π_pre", "τ"),
    ),
    "figure-11": Figure(
        "A model of two annotators",
        figure_11_two_annotators.runs,
        "From pooled answers alone the model tells the two annotators apart (right) and finds the marginal (left); the "
        "narrow peak is the last to grow. How near each comes is in the table.",
        "The paper's peaks are 0.39 against 0.64 (marginal) and 0.98 against 1.60 (narrow component).",
        letters=("p*", "π_pre", "annotators"),
    ),
    "how-much-data": Figure(
        "Error against the number of comparisons",
        how_much_data.runs,
        "The excess loss of the best fit (points, with 95 % intervals) follows (n - 1) / (2N) (line), n = 16 outcomes "
        "and N comparisons, and tr(H+V) / (2N) where two annotators are fitted as one. Of small samples, "
        "many or most have no finite estimate at all (right); means are over those that have one.",
        letters=("n",),
    ),
    "closed-loop": Figure(
        "The closed loop: adapt, ask again, adapt again",
        closed_loops.runs,
        "All of it is exact. Solid lines: the reference is the last policy, or there is none; dotted: it is the first "
        "in all rounds. From the last reference DPO passes p* in round β = 4 and ends on its mode (left), as IPO and "
        "RSO do sooner or later (middle); the geometric process converges to p*. From the first reference every loss "
        "stays near its first round. Of pooled answers (right) no outcome beats all others: DPO's and IPO's loops "
        "never rest, and what they lose first is the minority, annotator 1. Her share is that of her density in p*, "
        "averaged over the policy; at p* it is her weight.",
        letters=("p*", "annotators", "rounds", "β", "τ", "δ", "α"),
    ),
}


def runs_of(figures: Iterable[str], settings: ToySettings) -> list[Run]:
    """All runs that some figures need, each once, with those that come first."""
    found = {run.name: run for figure in figures for run in FIGURES[figure].runs(settings)}
    if any("pretrained" in run.needs for run in found.values()):
        found = {"pretrained": Run("pretrained", pretrain, (), settings.pretraining_steps)} | found
    return list(found.values())
