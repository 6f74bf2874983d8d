"""What batch losses take, refuse and leave as it was."""

from __future__ import annotations

import inspect
import re
from math import inf, nan

import numpy as np
import pytest

from pbde_ref import losses as pl
from pbde_ref.catalogue import LOSSES
from pbde_ref.losses.log_ratios import apo_down, kto, nca
from tests.losses.cases import (
    BETA,
    CASES,
    MIXTURE,
    RRHF,
    batch,
    inputs_of,
)


def calls():
    """Every loss once, as a function of arrays, with the arrays."""
    for name, case in CASES.items():
        yield name, case.loss, inputs_of(case, "generic")
    yield "pairwise", pl.pairwise_loss, batch("generic")[:2]
    yield "rrhf", lambda p, n, s: pl.rrhf_loss(p, n, scores=s), RRHF
    yield "mixture", pl.annotator_mixture_loss, MIXTURE
    yield (
        "policy gradient",
        lambda p, r, w: pl.kl_controlled_policy_gradient_loss(p, r, w, beta=BETA),
        batch("generic")[:3],
    )


@pytest.mark.parametrize(("name", "loss", "inputs"), list(calls()), ids=lambda x: x if isinstance(x, str) else "")
def test_inputs_are_not_modified_and_results_are_read_only(name, loss, inputs):
    """Read-only arrays come in, come out unchanged, and the result is read-only and shares no memory with them."""
    copies = [x.copy() for x in inputs]
    for x in copies:
        x.flags.writeable = False
    result, again = loss(*copies), loss(*copies)
    for x, y in zip(copies, inputs, strict=True):
        np.testing.assert_array_equal(x, y)
    assert result.value == again.value
    for x in (result.losses, *result.gradients.values()):
        assert not x.flags.writeable
        assert not any(np.shares_memory(x, y) for y in copies)
    with pytest.raises(TypeError):
        result.gradients["policy_chosen"] = None
    # Plain lists are float64.
    from_lists = loss(*(x.tolist() for x in copies))
    assert from_lists.value == result.value
    assert from_lists.losses.dtype == np.float64


@pytest.mark.parametrize("name", [name for name in pl.__all__ if name.endswith("_loss")])
def test_conventions_have_one_default(name):
    """Every convention is keyword-only; reduction is the mean, no smoothing, no margin; hyperparameters have none."""
    parameters = inspect.signature(getattr(pl, name)).parameters
    positional = {"objective", "desirable", "scores", "ranks", "lengths", "policy", "rewards", "weight_logits"}
    for parameter in parameters.values():
        is_data = (
            parameter.name.startswith(("policy", "reference", "chosen", "rejected")) or parameter.name in positional
        )
        assert is_data or parameter.kind is inspect.Parameter.KEYWORD_ONLY, parameter
    assert parameters["reduction"].default == "mean"
    for hyperparameter in {"beta", "alpha", "delta", "tau"} & set(parameters):
        assert parameters[hyperparameter].default is inspect.Parameter.empty


# Bad input

V = [-1.0, -2.0]
PAIR = {"policy_chosen": V, "policy_rejected": V}
ALL_FOUR = {**PAIR, "reference_chosen": V, "reference_rejected": V}
NEEDED = {
    record.batch.__name__: [name for name, parameter in record.parameters.items() if parameter.default is None]
    for record in LOSSES.values()
    if record.batch and record.has_margins and hasattr(pl, record.batch.__name__)
}
VALID = {
    **{
        record.batch.__name__: {i.name: V for i in record.inputs(record.generic)}
        | dict.fromkeys(NEEDED[record.batch.__name__], 1.0)
        for record in LOSSES.values()
        if getattr(record.batch, "__name__", "") in NEEDED
    },
    "log_ratio_loss": {"objective": nca(1.0), **ALL_FOUR},
    "centred_reward_loss": {"chosen_rewards": V, "rejected_rewards": V, "coefficient": 1.0},
    "aot_loss": {**ALL_FOUR, "beta": 1.0},
    "answer_loss": {"objective": kto(1.0), "policy": V, "reference": V, "desirable": [1, 0]},
    "bradley_terry_loss": {"chosen_rewards": V, "rejected_rewards": V},
    "pairwise_loss": {"chosen_utilities": V, "rejected_utilities": V},
    "pbde_loss": {**PAIR, "f_chosen": 1.0, "f_rejected": 1.0},
    "length_normalized_loss": {**PAIR, "chosen_lengths": [1, 1], "rejected_lengths": [1, 1]},
    "rrhf_loss": {"policy": [V], "lengths": [[1, 1]], "ranks": [[1, 2]]},
    "annotator_mixture_loss": {"policy_chosen": [V], "policy_rejected": [V], "weight_logits": [0.0, 0.0]},
    "kl_controlled_policy_gradient_loss": {"policy": V, "reference": V, "rewards": V, "beta": 1.0},
    "sequence_log_probs": {"token_log_probs": [V], "mask": [[1, 1]]},
    "sequence_log_probs_vjp": {"upstream": [1.0], "mask": [[1, 1]]},
    "token_log_probs_from_logits": {"logits": [[[0.0, 1.0]]], "labels": [[0]], "shift": False},
    "token_log_probs_vjp": {"upstream": [[1.0]], "logits": [[[0.0, 1.0]]], "labels": [[0]], "shift": False},
    "completion_mask": {"tokens": [[1, 2]]},
}
EXCLUDED = {"policy_chosen": [-1.0, -inf], "policy_rejected": [-1.0, -inf]}
BAD_VALUES = [
    ("dpo_loss", {"beta": 0.0}, "`beta` must be positive; got 0.0"),
    ("dpo_loss", {"beta": -0.1}, "`beta` must be positive; got -0.1"),
    ("dpo_loss", {"beta": nan}, "`beta` must be free of NaN; got nan"),
    ("dpo_loss", {"policy_chosen": [-1.0, nan]}, "`policy_chosen` must be free of NaN; got nan at index 1"),
    ("dpo_loss", {"policy_chosen": [-1.0, 0.5]},
     "`policy_chosen` must be at most 0 (a log-probability); got 0.5 at index 1"),
    ("dpo_loss", {"policy_chosen": []}, "`policy_chosen` must be a vector with at least one entry; got shape (0,)"),
    ("dpo_loss", {"policy_chosen": [V]}, "`policy_chosen` must be a vector with at least one entry; got shape (1, 2)"),
    ("dpo_loss", {"policy_rejected": [-1.0]},
     "`policy_rejected` must have shape (2,), as the arguments before it; got shape (1,)"),
    ("dpo_loss", {"reference_chosen": [V]},
     "`reference_chosen` must have shape (2,), as the arguments before it; got shape (1, 2)"),
    ("dpo_loss", {"reference_rejected": -1.0},
     "`reference_rejected` must have shape (2,), as the arguments before it; got shape ()"),
    ("dpo_loss", {"reference_rejected": [0.0, 1e-9]},
     "`reference_rejected` must be at most 0 (a log-probability); got 1e-09"),
    ("dpo_loss", {"reference_chosen": [-inf, 0.0]}, "`reference_chosen` must be finite; got -inf at index 0"),
    ("dpo_loss", EXCLUDED, "`policy_chosen` and `policy_rejected` must not be the same infinity in a pair"),
    ("dpo_loss", EXCLUDED, "got -inf twice at index 1"),
    ("dpo_loss", {"label_smoothing": 0.5}, "`label_smoothing` must be in [0, 1/2); got 0.5"),
    ("dpo_loss", {"label_smoothing": -0.1}, "`label_smoothing` must be in [0, 1/2); got -0.1"),
    ("dpo_loss", {"variant": "hinge"}, "`variant` must be 'cdpo' or 'robust'; got 'hinge'"),
    ("dpo_loss", {"reduction": "none"},
     "`reduction` must be 'mean' or 'sum' (each example's own loss is in the result's"),
    ("bradley_terry_loss", {"chosen_rewards": [1.0, inf]}, "`chosen_rewards` must be finite; got inf at index 1"),
    ("bradley_terry_loss", {"margin": -1.0}, "`margin` must be non-negative; got -1.0"),
    ("bradley_terry_loss", {"margin": [0.0, inf]}, "`margin` must be finite; got inf at index 1"),
    ("bradley_terry_loss", {"margin": [0, 0, 0]}, "`margin` must be a number or have shape (2,); got shape (3,)"),
    ("pairwise_loss", {"chosen_utilities": [inf, 0], "rejected_utilities": [inf, 0]}, "got inf twice at index 0"),
    ("pairwise_loss", {"margin": -1.0}, "`margin` must be non-negative; got -1.0"),
    ("pairwise_loss", {"objective": "dpo"}, "`objective` must be one of bradley_terry"),
    ("pbde_loss", {"f_rejected": [1.0, -0.5]}, "`f_rejected` must be positive; got -0.5 at index 1"),
    ("pbde_loss", {"f_chosen": 0.0}, "`f_chosen` must be positive; got 0.0"),
    ("pbde_loss", {"g_chosen": inf}, "`g_chosen` must be finite; got inf"),
    ("geometric_loss", {"alpha": 0.0}, "`alpha` must be positive; got 0.0"),
    ("length_normalized_loss", {"chosen_lengths": [1, 0]}, "`chosen_lengths` must be positive; got 0.0 at index 1"),
    ("length_normalized_loss", {"rejected_lengths": [-2, 1]},
     "`rejected_lengths` must be positive; got -2.0 at index 0"),
    ("length_normalized_loss", {"chosen_lengths": 3}, "`chosen_lengths` must have shape (2,)"),
    ("length_normalized_loss", {"chosen_lengths": [1, inf]}, "`chosen_lengths` must be finite; got inf at index 1"),
    ("length_normalized_loss", {"scale": 0.0}, "`scale` must be positive; got 0.0"),
    ("length_normalized_loss", {"margin": -0.5}, "`margin` must be non-negative; got -0.5"),
    ("slic_loss", {"delta": -1.0}, "`delta` must be non-negative; got -1.0"),
    ("slic_loss", {"lambda_": -1.0}, "`lambda_` must be non-negative; got -1.0"),
    ("slic_loss", {"lambda_": 1.0},
     "`regularization` must be given if `lambda_` is positive; got lambda_=1.0 and None"),
    ("slic_loss", {"regularization": []}, "`regularization` must be a vector with at least one entry; got shape (0,)"),
    ("slic_loss", {"regularization": [2.0]},
     "`regularization` must be at most 0 (a log-probability); got 2.0 at index 0"),
    ("slic_loss", {"reduction": "none", "regularization": V}, "`reduction` must be 'mean' or 'sum'"),
    ("rso_loss", {"delta": -0.25}, "`delta` must be non-negative; got -0.25"),
    ("ipo_loss", {"tau": 0.0}, "`tau` must be positive; got 0.0"),
    ("ipo_loss", {"average": True},
     "`chosen_lengths` must be given exactly if `average` is true; got average=True and None"),
    ("ipo_loss", {"rejected_lengths": [1, 2]}, "`rejected_lengths` must be given exactly if `average` is true"),
    ("ipo_loss", {"average": True, "chosen_lengths": [1, 0], "rejected_lengths": [1, 1]},
     "`chosen_lengths` must be positive; got 0.0 at index 1"),
    ("rrhf_loss", {"ranks": None}, "exactly one of `scores` and `ranks` must be given; got none"),
    ("rrhf_loss", {"scores": [[1, 2]]}, "exactly one of `scores` and `ranks` must be given; got both"),
    ("rrhf_loss", {"policy": [[-1.0]]}, "`policy` must have at least 2 candidates for each prompt; got shape (1, 1)"),
    ("rrhf_loss", {"policy": V}, "`policy` must be an array of 2 axes with at least one entry; got shape (2,)"),
    ("rrhf_loss", {"policy": [[-1.0, 3.0]]}, "`policy` must be at most 0 (a log-probability); got 3.0 at index (0, 1)"),
    ("rrhf_loss", {"policy": [[-inf, -inf]]},
     "`policy` must not be -inf for both candidates of a pair that is compared"),
    ("rrhf_loss", {"policy": [[-1, -2, -3], [-1, -inf, -inf]], "lengths": np.ones((2, 3)), "ranks": [[1, 2, 3]] * 2},
     "got -inf for candidates 1 and 2 at index 1"),
    ("rrhf_loss", {"lengths": [[1, 0]]}, "`lengths` must be positive; got 0.0 at index (0, 1)"),
    ("rrhf_loss", {"ranks": [[1, nan]]}, "`ranks` must be free of NaN; got nan at index (0, 1)"),
    ("rrhf_loss", {"ranks": [[1, 2, 3]]},
     "`ranks` must have shape (1, 2), as the arguments before it; got shape (1, 3)"),
    ("rrhf_loss", {"likelihood_weight": -1.0}, "`likelihood_weight` must be non-negative; got -1.0"),
    ("annotator_mixture_loss", {"policy_chosen": V}, "`policy_chosen` must be an array of 2 axes"),
    ("annotator_mixture_loss", {"weight_logits": [0.0]}, "`weight_logits` must have shape (2,)"),
    ("annotator_mixture_loss", {"weight_logits": [0.0, -inf]}, "`weight_logits` must be finite; got -inf at index 1"),
    ("kl_controlled_policy_gradient_loss", {"beta": -1.0}, "`beta` must be non-negative; got -1.0"),
    ("kl_controlled_policy_gradient_loss", {"policy": [0.0, -inf]}, "`policy` must be finite; got -inf at index 1"),
    ("kl_controlled_policy_gradient_loss", {"rewards": [nan, 0.0]},
     "`rewards` must be free of NaN; got nan at index 0"),
    ("sequence_log_probs", {"mask": [[0, 0]]},
     "`mask` must have at least one token in each sequence; got none at index 0"),
    ("sequence_log_probs", {"mask": [[0, 2]]}, "`mask` must be 0 or 1; got 2 at index (0, 1)"),
    ("sequence_log_probs", {"mask": [[1, nan]]}, "`mask` must be 0 or 1; got nan at index (0, 1)"),
    ("sequence_log_probs", {"mask": [0, 1]},
     "`mask` must be an array of 2 axes with at least one entry; got shape (2,)"),
    ("sequence_log_probs", {"mask": [[1, 1, 1]]},
     "`token_log_probs` must have the mask's shape (1, 3); got shape (1, 2)"),
    ("sequence_log_probs", {"token_log_probs": [[nan, 0]]},
     "`token_log_probs` must be free of NaN where the mask is true"),
    ("sequence_log_probs", {"token_log_probs": [[0.1, 0]]},
     "`token_log_probs` must be at most 0 (a log-probability) where"),
    ("sequence_log_probs_vjp", {"upstream": [1.0, 2.0]}, "`upstream` must have shape (1,)"),
    ("token_log_probs_from_logits", {"labels": [[-100]]}, "`labels` must be in [0, 2); got -100 at index (0, 0)"),
    ("token_log_probs_from_logits", {"labels": [[2]]}, "`labels` must be in [0, 2); got 2 at index (0, 0)"),
    ("token_log_probs_from_logits", {"labels": [[0, 1]]},
     "`labels` must have the logits' shape (1, 1); got shape (1, 2)"),
    ("token_log_probs_from_logits", {"labels": [0]}, "`labels` must be an array of 2 axes"),
    ("token_log_probs_from_logits", {"shift": True},
     "`labels` must have at least 2 tokens to shift by one; got shape (1, 1)"),
    ("token_log_probs_from_logits", {"logits": [[[0, inf]]]},
     "`logits` must be below +inf; got inf at index (0, 0, 1)"),
    ("token_log_probs_from_logits", {"logits": [[[-inf, -inf]]]}, "`logits` must be above -inf for some token"),
    ("token_log_probs_from_logits", {"logits": [[[0, nan]]]},
     "`logits` must be free of NaN; got nan at index (0, 0, 1)"),
    ("token_log_probs_from_logits", {"logits": [[0, 1]]},
     "`logits` must be an array of 3 axes with at least one entry"),
    ("token_log_probs_vjp", {"upstream": [1.0]}, "`upstream` must have shape (1, 1)"),
    ("completion_mask", {"prompt_lengths": 2},
     "`mask` must have at least one token in each sequence; got none at index 0"),
    ("completion_mask", {"tokens": [[0, 0]], "padding": 0}, "`mask` must have at least one token in each sequence"),
    ("completion_mask", {"prompt_lengths": -1}, "`prompt_lengths` must be non-negative; got -1"),
    ("completion_mask", {"prompt_lengths": [1, 1]}, "`prompt_lengths` must be a whole number or have shape (1,)"),
    ("completion_mask", {"end_of_sequence": -1}, "`end_of_sequence` must be at least 0; got -1"),
]  # fmt: skip
BAD_VALUES += [
    ("log_ratio_loss", {"per_token": True}, "`chosen_lengths` must be given if `per_token` is true; got None"),
    ("log_ratio_loss", {"likelihood_weight": -1.0}, "`likelihood_weight` must be non-negative; got -1.0"),
    ("log_ratio_loss", {"reference_chosen": [-inf, 0.0]}, "`reference_chosen` must be finite; got -inf at index 0"),
    ("log_ratio_loss", {"objective": apo_down(1.0), **EXCLUDED}, "a loss together; got -inf and -inf at index 1"),
    ("log_ratio_loss", {"labels": [0.5, 1.5]}, "`labels` must be at most 1; got 1.5 at index 1"),
    ("log_ratio_loss", {"weights": [-1.0, 1.0]}, "`weights` must be non-negative; got -1.0 at index 0"),
    ("centred_reward_loss", {"coefficient": -0.1}, "`coefficient` must be non-negative; got -0.1"),
    ("centred_reward_loss", {"chosen_rewards": [1.0, inf]}, "`chosen_rewards` must be finite; got inf at index 1"),
    ("aot_loss", {"beta": 0.0}, "`beta` must be positive; got 0.0"),
    ("aot_loss", {"policy_rejected": [-1.0, -inf]}, "`policy_rejected` must be finite; got -inf at index 1"),
    ("answer_loss", {"objective": apo_down(1.0)}, "`objective` must be a sum of two functions"),
    ("answer_loss", {"undesirable_weight": 0.0}, "`undesirable_weight` must be positive; got 0.0"),
    ("answer_loss", {"policy": [-1.0, 0.5]}, "`policy` must be at most 0 (a log-probability); got 0.5 at index 1"),
]
BAD_TYPES = [
    ("dpo_loss", {"beta": [0.1, 0.2]}, "`beta` must be a single number; got shape (2,)"),
    ("dpo_loss", {"policy_chosen": "abc"}, "`policy_chosen` must be an array of real numbers; got 'abc'"),
    ("pairwise_loss", {"objective": "ipo"}, "objective 'ipo' must have the parameter `tau`"),
    ("token_log_probs_from_logits", {"labels": [[0.0]]}, "`labels` must be whole numbers; got dtype float64"),
    ("completion_mask", {"tokens": [[1.5, 2]]}, "`tokens` must be whole numbers; got dtype float64"),
    ("completion_mask", {"end_of_sequence": 0.5}, "`end_of_sequence` must be a whole number; got 0.5"),
]
SAID = {"probability": "in [0, 1]"}
# Every loss of a margin refuses what the catalogue's rule forbids.
BAD_VALUES += [
    (record.batch.__name__, {name: -0.125}, f"`{name}` must be {SAID.get(rule, rule)}; got -0.125")
    for record in LOSSES.values()
    if getattr(record.batch, "__name__", "") in NEEDED
    for name in NEEDED[record.batch.__name__]
    for rule in [record.parameters[name].rule]
]
BAD = [(*row, ValueError) for row in BAD_VALUES] + [(*row, TypeError) for row in BAD_TYPES]


@pytest.mark.parametrize(("name", "change", "message", "error"), BAD)
def test_bad_input(name, change, message, error):
    """The error names the argument, the rule and the value; without the change the call is valid."""
    function = getattr(pl, name)
    function(**VALID[name])
    with pytest.raises(error, match=re.escape(message)):
        function(**{**VALID[name], **change})


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name, arguments in VALID.items() if name.endswith("_loss")
        for argument in [argument for argument, value in arguments.items() if isinstance(value, list)][1:]
    ],
)  # fmt: skip
def test_one_entry_is_not_repeated_over_the_batch(name, argument):
    """NumPy would broadcast it: an argument of another example's size is refused by name."""
    short = np.array(VALID[name][argument])[..., :1].tolist()
    with pytest.raises(ValueError, match=f"`{argument}` must have shape"):
        getattr(pl, name)(**{**VALID[name], argument: short})


def test_losses_whose_sum_overflows_are_infinite():
    """Each is finite, their sum and mean are not, and nothing warns."""
    result = pl.pairwise_loss([-1.5e308, -1.5e308], [0.0, 0.0])
    np.testing.assert_array_equal(result.losses, [1.5e308, 1.5e308])
    assert result.value == inf


def test_gradients_bear_the_arguments_names():
    """Also those of a loss of plain utilities."""
    assert set(pl.pairwise_loss(V, V).gradients) == {"chosen_utilities", "rejected_utilities"}


def test_no_zero_is_negative():
    """The gradient of an inactive hinge is 0.0 for both, not -0.0 for one."""
    result = pl.slic_loss([-1.0], [-9.0], delta=1.0)
    for x in (result.losses, *result.gradients.values()):
        assert x.tolist() == [0.0]
        assert not np.signbit(x).any()


def test_every_function_has_bad_input():
    assert {name for name, *_ in BAD} == set(VALID) == {name for name in pl.__all__ if name != "BatchLoss"}
