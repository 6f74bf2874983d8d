"""The fixed vectors: the same everywhere, away from the points where bugs hide.

At β = 1, ε = 0, equal lengths, a batch of one or a policy equal to its reference, wrong formulas give right numbers.
"generic" avoids all of these; "near_certain" has sequences of probability almost 1, above all rejected ones;
"zero_margin" has policies that are their reference, the first step of every training, and pairs of equal outcomes,
where a wrong gradient can be 0 or NaN;
"extreme" has gaps of ±100 and ±10,000, and pairs of which both are improbable. All batches of a loss have one shape:
JAX compiles each operation anew for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ANSWERS", "MIXTURE", "PAIRS", "RANKING", "REWARDS"]

Batches = dict[str, dict[str, NDArray[Any]]]


def _batch(**values: Any) -> dict[str, NDArray[Any]]:
    return {name: np.array(numbers) for name, numbers in values.items()}


PAIRS: Batches = {
    "generic": _batch(
        policy_chosen=[-12.37, -31.62, -7.81, -48.15, -22.06, -3.58],
        policy_rejected=[-15.92, -27.43, -9.64, -44.28, -25.71, -6.93],
        reference_chosen=[-13.45, -30.17, -9.28, -50.73, -20.89, -5.02],
        reference_rejected=[-14.18, -29.86, -8.52, -45.37, -23.47, -4.36],
        chosen_lengths=[9, 23, 5, 31, 16, 2],
        rejected_lengths=[14, 17, 11, 26, 19, 7],
        f_chosen=[0.35, 0.8, 1.2, 0.15, 0.55, 0.95],
        f_rejected=[0.5, 0.65, 0.9, 0.3, 0.25, 1.35],
        labels=[0.9, 0.35, 0.75, 0.6, 0.05, 0.85],
        g_chosen=[0.7, -1.3, 2.1, 0.4, -0.9, 1.7],
        g_rejected=[-0.6, 0.9, 1.5, -2.2, 0.2, -0.4],
        offsets=[0.3, 1.7, 0.9, 0.2, 2.3, 0.6],
        ties=[True, False, False, True, True, False],
        policy_chosen_excess=[-2.31, -0.84, -5.17, -1.46, -3.92, -0.57],
        policy_rejected_excess=[-0.93, -4.28, -1.75, -2.64, -0.38, -6.05],
        reference_chosen_excess=[-1.87, -1.22, -4.43, -2.08, -4.61, -0.79],
        reference_rejected_excess=[-1.36, -3.71, -2.49, -1.93, -0.82, -5.28],
        regularization=[-8.4, -21.7, -3.9, -15.2, -30.6],
    ),
    # The third pair differs from its reference, by the same on both sides; the last three are pairs of equal outcomes.
    "zero_margin": _batch(
        policy_chosen=[-12.37, -31.62, -7.75, -48.15, -22.06, -3.58],
        policy_rejected=[-15.92, -27.43, -9.5, -48.15, -22.06, -3.58],
        reference_chosen=[-12.37, -31.62, -9.25, -48.15, -22.06, -3.58],
        reference_rejected=[-15.92, -27.43, -11.0, -48.15, -22.06, -3.58],
        chosen_lengths=[9, 23, 5, 31, 16, 2],
        rejected_lengths=[9, 23, 5, 31, 16, 2],
        f_chosen=[0.35, 0.8, 1.2, 0.15, 0.55, 0.95],
        f_rejected=[0.5, 0.65, 0.9, 0.15, 0.55, 0.95],
        labels=[0.9, 0.35, 0.75, 0.6, 0.05, 0.85],
        g_chosen=[0.7, -1.3, 2.1, 0.4, -0.9, 1.7],
        g_rejected=[-0.6, 0.9, 1.5, 0.4, -0.9, 1.7],
        offsets=[0.3, 1.7, 0.9, 0.2, 2.3, 0.6],
        ties=[True, False, False, True, True, False],
        policy_chosen_excess=[-2.31, 0.0, -5.17, 0.0, 0.0, -0.57],
        policy_rejected_excess=[0.0, -4.28, 0.0, 0.0, 0.0, -0.57],
        reference_chosen_excess=[-2.31, 0.0, -5.17, 0.0, 0.0, -0.57],
        reference_rejected_excess=[0.0, -4.28, 0.0, 0.0, 0.0, -0.57],
        regularization=[-8.4, -21.7, -3.9, -15.2, -30.6],
    ),
    "near_certain": _batch(
        policy_chosen=[-11.3, -2.3e-8, -6.4, -25.2, -7.4e-6, -19.6],
        policy_rejected=[-4.5e-8, -13.8, -9.1e-7, -1.3e-7, -3.2, -8.6e-8],
        reference_chosen=[-9.7, -3.1e-7, -7.9, -22.4, -0.3, -17.8],
        reference_rejected=[-6.2e-8, -12.1, -0.8, -5.1e-7, -5.9, -2.6e-6],
        chosen_lengths=[9, 2, 5, 31, 3, 16],
        rejected_lengths=[14, 17, 11, 3, 6, 2],
        f_chosen=[0.35, 0.8, 1.2, 0.15, 0.55, 0.95],
        f_rejected=[0.5, 0.65, 0.9, 0.3, 0.25, 1.35],
        labels=[0.9, 0.35, 0.75, 0.6, 0.05, 0.85],
        g_chosen=[0.7, -1.3, 2.1, 0.4, -0.9, 1.7],
        g_rejected=[-0.6, 0.9, 1.5, -2.2, 0.2, -0.4],
        offsets=[0.3, 1.7, 0.9, 0.2, 2.3, 0.6],
        ties=[False, True, True, False, False, True],
        policy_chosen_excess=[-3.2e-08, -0.4, -5.1, -6.3e-07, 0.0, -1.9],
        policy_rejected_excess=[-1.7, -2.4e-08, -8.6e-07, -0.2, -7.3e-08, -4.4e-09],
        reference_chosen_excess=[-4.9e-08, -0.7, -4.2, -2.1e-07, 0.0, -2.6],
        reference_rejected_excess=[-0.9, -3.5e-07, -0.05, -0.4, -9.2e-08, -6.1e-06],
        regularization=[-8.4, -2.7e-8, -3.9, -15.2, -30.6],
    ),
    "extreme": _batch(
        policy_chosen=[-3.7, -104.2, -5.3, -10007.1, -9995.2, -8211.4],
        policy_rejected=[-103.9, -4.1, -10006.3, -6.2, -9997.9, -8209.1],
        reference_chosen=[-20.3, -24.6, -31.9, -28.4, -9996.1, -8212.7],
        reference_rejected=[-22.8, -21.2, -33.1, -26.7, -9996.6, -8210.2],
        chosen_lengths=[9, 23, 5, 3, 900, 850],
        rejected_lengths=[14, 17, 11, 26, 910, 840],
        f_chosen=[0.35, 0.8, 1.2, 0.15, 0.7, 0.45],
        f_rejected=[0.5, 0.65, 0.9, 0.3, 0.6, 0.4],
        labels=[0.9, 0.35, 0.75, 0.6, 0.05, 0.85],
        g_chosen=[0.7, -1.3, 2.1, 0.4, 0.2, -0.5],
        g_rejected=[-0.6, 0.9, 1.5, -2.2, 1.1, 0.3],
        offsets=[0.3, 1.7, 0.9, 140.2, 2.3, 0.6],
        ties=[True, False, True, False, True, False],
        policy_chosen_excess=[-2.3, -51.7, 0.0, -5003.6, -941.2, -810.3],
        policy_rejected_excess=[-47.4, -1.6, -4988.1, 0.0, -940.8, -812.5],
        reference_chosen_excess=[-9.6, -12.9, -16.3, -14.1, -941.7, -811.9],
        reference_rejected_excess=[-11.2, -10.4, -17.2, -13.8, -939.9, -811.1],
        regularization=[-8.4, -10021.7, -3.9, -15.2, -30.6],
    ),
}

REWARDS: Batches = {
    "generic": _batch(
        chosen_rewards=[1.34, -0.62, 2.91, 0.27],
        rejected_rewards=[0.51, 0.88, -1.43, 1.96],
        margins=[0.25, 0.6, 0.1, 0.9],
    ),
    # The last two are equal once the pair's own margin is taken off.
    "zero_margin": _batch(
        chosen_rewards=[1.34, -0.62, 0.25, 0.9],
        rejected_rewards=[1.34, -0.62, 0.0, 0.0],
        margins=[0.25, 0.6, 0.25, 0.9],
    ),
    "extreme": _batch(
        chosen_rewards=[61.3, -48.9, 5003.1, -4998.7],
        rejected_rewards=[-38.9, 51.4, -4997.2, 5001.9],
        margins=[0.25, 0.6, 0.1, 0.9],
    ),
}

ANSWERS: Batches = {
    name: _batch(
        policy=[*pairs["policy_chosen"], *pairs["policy_rejected"]],
        reference=[*pairs["reference_chosen"], *pairs["reference_rejected"]],
        desirable=[True, True, False, True, True, True, False, False, False, True, False, False],
    )
    for name, pairs in PAIRS.items()
}

_SCORES = {"scores": [[0.9, 0.2, 0.5], [-1.3, 0.4, 2.2], [0.1, 0.7, 0.3]], "ranks": [[1, 3, 2], [3, 2, 1], [3, 1, 2]]}

RANKING: Batches = {
    "generic": _batch(
        policy=[[-18.3, -14.1, -22.6], [-9.7, -30.4, -41.8], [-6.1, -19.5, -12.2]],
        lengths=[[9, 14, 5], [11, 17, 23], [4, 6, 13]],
        **_SCORES,
    ),
    "near_certain": _batch(
        policy=[[-18.3, -4.1e-8, -22.6], [-9.7e-7, -30.4, -2.2e-8], [-6.1, -3.3e-7, -12.2]],
        lengths=[[9, 14, 5], [11, 17, 23], [4, 6, 13]],
        **_SCORES,
    ),
    "extreme": _batch(
        policy=[[-1003.7, -4.1, -102.6], [-10009.7, -3.4, -9941.8], [-16.1, -10019.5, -12.2]],
        lengths=[[9, 14, 5], [11, 17, 2300], [4, 6, 13]],
        **_SCORES,
    ),
}

_WEIGHT_LOGITS = [0.4, -0.7]

MIXTURE: Batches = {
    "generic": _batch(
        policy_chosen=[[-12.37, -14.02], [-31.62, -29.15], [-7.81, -6.33], [-48.15, -43.96], [-20.74, -23.39]],
        policy_rejected=[[-13.92, -12.61], [-29.43, -31.28], [-8.64, -5.17], [-46.28, -47.05], [-21.93, -22.08]],
        weight_logits=_WEIGHT_LOGITS,
    ),
    # Each annotator's pairs are equal outcomes, all but one.
    "zero_margin": _batch(
        policy_chosen=[[-12.37, -14.02], [-31.62, -29.15], [-7.81, -6.33], [-48.15, -43.96], [-20.74, -23.39]],
        policy_rejected=[[-12.37, -14.02], [-31.62, -29.15], [-7.81, -5.17], [-48.15, -43.96], [-20.74, -23.39]],
        weight_logits=_WEIGHT_LOGITS,
    ),
    "near_certain": _batch(
        policy_chosen=[[-11.3, -2.1e-8], [-2.3e-8, -7.4], [-6.4, -3.5e-7], [-25.2, -14.9], [-7.4e-6, -19.6]],
        policy_rejected=[[-4.5e-8, -9.2], [-13.8, -5.6e-7], [-9.1e-7, -2.8], [-1.3e-7, -8.8e-8], [-3.2, -8.6e-8]],
        weight_logits=_WEIGHT_LOGITS,
    ),
    "extreme": _batch(
        policy_chosen=[[-3.7, -104.2], [-104.2, -9.1], [-5.3, -10007.1], [-10007.1, -10003.4], [-9995.2, -8211.4]],
        policy_rejected=[[-103.9, -4.1], [-4.1, -7.7], [-10006.3, -6.2], [-6.2, -11.9], [-9997.9, -8209.1]],
        weight_logits=_WEIGHT_LOGITS,
    ),
}
