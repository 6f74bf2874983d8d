"""Values show themselves in one line, however large they are, and can be copied and stored."""

import copy
import dataclasses
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref import objectives
from pbde_ref.estimation import comparison_table, identify_process
from pbde_ref.estimation.annotator_models import held_out_score
from pbde_ref.estimation.ranking import ranking

PROBLEM = pb.paper_problem(256)
P = PROBLEM.implicit_preference_distribution
ANNOTATOR = pb.Annotator(P, pb.dpo(4.0, PROBLEM.reference))
PROPOSAL = pb.ProductProposal(PROBLEM.reference)
TABLE = comparison_table([0, 1, 0, 2], [1, 0, 2, 1], items=["tea", "coffee", "water"])

VALUES = {
    "problem": PROBLEM,
    "distribution": P,
    "long labels": pb.uniform(["tea " * 1000, "coffee"]),
    "annotator": ANNOTATOR,
    "mixture": pb.AnnotatorMixture([1, 2], [ANNOTATOR, ANNOTATOR]),
    "matrix": pb.PreferenceMatrix(ANNOTATOR.preference_probabilities()),
    "product": PROPOSAL,
    "joint": pb.JointProposal(np.ones((64, 64))),
    "pairs": pb.PairListProposal(range(99), range(1, 100)),
    "process": ANNOTATOR.pbde,
    "expectation": pb.expected_kl(ANNOTATOR, np.zeros(256), PROPOSAL),
    "optimum": pb.minimize_expected_loss("bradley_terry", ANNOTATOR, PROPOSAL),
    "ipo": pb.optimum("ipo", ANNOTATOR, PROPOSAL, tau=0.5, reference=PROBLEM.reference),
    "identifiability": pb.identifiability(ANNOTATOR, PROPOSAL),
    "comparisons": pb.sample_comparisons(ANNOTATOR, PROPOSAL, 99, rng=0),
    "draws": pb.sample_optimal_policy(PROBLEM.reference, P.log_pmf, beta=1.0, size=99, rng=0),
    "batch": pb.dpo_loss(*np.zeros((4, 99)), beta=0.1),
    "answers": pb.ConditionalDistribution(np.zeros(99), pb.Prompts("a" * 99)),
    "prompts": pb.Prompts("aabb"),
    "policies": pb.LogLinearPolicies(np.ones((4, 2)), pb.Prompts("aabb")),
    "prior": pb.GaussianPrior(2.0),
    "objective": pb.ipo(0.5),
    "table": TABLE,
    "fit": pb.fit_comparisons(TABLE),
    "ranking": ranking(pb.fit_comparisons(TABLE), 0.95, None, 3),
    "predictions": held_out_score(np.log([2.0, 3.0]), np.ones(2)),
    "identified": identify_process(log_p=-np.random.default_rng(0).exponential(size=(2, 99))),
}
TIED_FITS = {
    f"{ties}, {prior and type(prior).__name__}, {more and 'covariate'}": pb.fit_comparisons(
        [0, 1, 0, 2, 1, 2], [1, 0, 2, 1, 2, 0], ties=[1, 0, 0, 1, 0, 0], tie_model=ties, prior=prior, covariates=more
    )
    for ties in ("half", "davidson", "rao-kupper")
    for prior in (None, pb.GaussianPrior(2.0), pb.PseudoCounts(1.0))
    for more in (None, {"x": [0.1, -0.2, 0.4, 0.3, -0.1, 0.2]})
}


@pytest.mark.parametrize("name", VALUES)
def test_one_line_and_a_copy(name):
    """The type's name and at most 240 characters; a table for notebooks; a stored copy shows the same."""
    value = VALUES[name]
    text = repr(value)
    assert text.startswith(type(value).__name__ + "(")
    assert len(text) <= 240
    assert "\n" not in text
    assert value._repr_html_().startswith("<table>")
    assert len(value._repr_html_()) < 4000
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert repr(other) == text


@pytest.mark.parametrize(
    "value", [*VALUES.values(), *TIED_FITS.values()], ids=[*VALUES, *TIED_FITS]
)
def test_single_numbers_are_pythons(value):
    """Rao and Kupper's fit had a `converged` of NumPy's, for which JSON has no word."""
    for entry in dataclasses.fields(value) if dataclasses.is_dataclass(value) else ():
        held = getattr(value, entry.name)
        assert not isinstance(held, np.generic), entry.name
        if entry.type in ("bool", "int", "float"):
            assert type(held).__name__ == entry.type, entry.name


@pytest.mark.parametrize("name", VALUES)
def test_nobody_writes_into_a_copy(name):
    """What was sent to another process and back, or copied, could be written to; the original could not."""
    value = VALUES[name]
    held = {key: array.flags.writeable for key, array in vars(value).items() if isinstance(array, np.ndarray)}
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        arrays = {key: array for key, array in vars(other).items() if isinstance(array, np.ndarray)}
        assert arrays.keys() == held.keys()
        assert [key for key, array in arrays.items() if array.flags.writeable and not held[key]] == []
    assert {key: vars(value)[key].flags.writeable for key in held} == held


def test_a_report_is_read_in_a_notebook_and_sent_to_other_processes():
    report = pb.check_loss(lambda c, r, *_: np.mean(r - c), "dpo", beta=0.3, on_failure="report")
    assert len(repr(report)) <= 240
    assert report._repr_html_().startswith("<pre>function held against dpo")
    for other in copies(report):
        assert (other, repr(other)) == (report, repr(report))
        with pytest.raises(TypeError, match="does not support item assignment"):
            other.conventions["beta"] = 1.0


def test_an_error_of_a_fit_is_sent_to_other_processes():
    with pytest.raises(pb.NoFiniteEstimateError) as caught:
        pb.fit_comparisons([0, 1, 0], [1, 0, 2], support=["tea", "coffee", "water"])
    for other in copies(caught.value):
        assert (str(other), vars(other)) == (str(caught.value), vars(caught.value))
        assert other.losers == ["water"]


@pytest.mark.parametrize("name", ["distribution", "answers"])
def test_a_distribution_is_no_array(name):
    with pytest.raises(TypeError, match="Distribution is no array: take its `pmf`"):
        np.asarray(VALUES[name])


def test_small_values_are_shown_whole():
    assert repr(pb.uniform("ab")) == "FiniteDistribution(a: 0.5, b: 0.5)"
    assert repr(pb.PBDE([1.0, 2.0], 0.0)) == "PBDE(f=[1., 2.], g=0.)"
    assert repr(pb.JointProposal(np.ones((2, 2)))) == "JointProposal(weights=[2 × 2: 0.25 … 0.25])"


def copies(value):
    return copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize(
    "objective",
    [pb.BRADLEY_TERRY, pb.hinge(0.7), pb.ipo(tau=0.2), objectives.robust(0.1), objectives.robust(0.0),
     objectives.smoothed(0.2), objectives.exo(0.1), objectives.discopop(), objectives.rrhf(),
     objectives.with_margin("bradley_terry", 0.3),
     objectives.with_margin(objectives.with_margin(pb.hinge(1), 0.5), 0.25),
     pb.Objective("mine", np.exp, np.exp, np.exp, {"a": 1.0}, convex=True)],
    ids=repr,
)  # fmt: skip
def test_objectives_can_be_stored(objective):
    """Copies have the same functions; the cross-entropy stays the one object that is recognised."""
    margins = np.array([-2.0, 0.0, 0.3, 5.0])
    for other in copies(objective):
        assert (other.name, dict(other.parameters), other.convex) == (
            objective.name, dict(objective.parameters), objective.convex
        )  # fmt: skip
        for name in ("value", "derivative", "second_derivative"):
            np.testing.assert_array_equal(getattr(other, name)(margins), getattr(objective, name)(margins))
        assert (other is pb.BRADLEY_TERRY) == (objective is pb.BRADLEY_TERRY)


def test_an_objective_of_ones_own_is_stored_by_its_functions_names():
    own = pb.Objective("mine", np.exp, np.exp, np.exp)
    assert objectives.with_margin(own, 0.0) is own
    assert copies(own)[2].value is np.exp
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(pb.Objective("mine", lambda m: m, np.exp, np.exp))


def test_batch_losses_can_be_stored():
    loss = pb.dpo_loss([-1.0], [-2.0], [-2.0], [-2.0], beta=2.0)
    for other in copies(loss):
        assert (other.value, other.gradients) == (loss.value, loss.gradients)
        assert not other.losses.flags.writeable
        with pytest.raises(TypeError):
            other.gradients["policy_chosen"] = 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: pb.as_objective("x" * 1000),
        lambda: pb.closed_loop("x" * 1000, ANNOTATOR, P, rounds=1),
        lambda: pb.closed_loop("kto", ANNOTATOR, P, rounds=1, **{"x" * 1000: 1.0}),
        lambda: pb.optimum("kto", ANNOTATOR, PROPOSAL, **{"x" * 1000: 1.0}),
        lambda: pb.check_loss(max, "x" * 1000),
        lambda: pb.check_loss(max, "kto", **{"x" * 1000: 1.0}),
    ],
)
def test_errors_fit_into_300_characters(call):
    with pytest.raises((TypeError, ValueError)) as refused:
        call()
    assert len(str(refused.value)) <= 300


def test_help_and_completion_need_no_extras(tmp_path):
    """Whatever asks the package for all that it has gets it where neither Matplotlib nor Hypothesis is installed."""
    code = """
    import pydoc, sys
    sys.modules |= dict.fromkeys(("autograd", "hypothesis", "matplotlib"))
    import pbde_ref
    assert "comparisons_needed" in pydoc.render_doc(pbde_ref)
    found = [name for name in dir(pbde_ref) if hasattr(pbde_ref, name)]
    print(*sorted(set(dir(pbde_ref)) - set(found)))
    try:
        from pbde_ref import figures
    except ImportError as error:
        print(error.name)
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rooms, missing = done.stdout.splitlines()
    assert "figures" in rooms.split()
    assert "oracle" not in rooms.split()
    assert missing == "matplotlib"
