"""Senseless arguments get an error of this package that names them, not one of NumPy's, SciPy's or Python's."""

import copy
import pickle

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref import estimation, losses, oracle
from pbde_ref.docket.record import finding
from pbde_ref.experiments.process_simulation import simulated_pairs
from pbde_ref.explore.answers import answer
from pbde_ref.losses.log_ratios import kto
from pbde_ref.online import online_dpo, online_shortfall
from pbde_ref.oracle.report import Report
from pbde_ref.verification.problems import problem_named, problem_names

PRIOR = pb.GaussianPrior(1.0)
Z = [-1.0, -2.0]
PAIRS = pb.ProductProposal([1, 1])


class Unknown:
    """As pandas' NA: nobody knows whether it equals anything."""

    def __repr__(self):
        return "unknown"

    def __eq__(self, other):
        raise TypeError("ambiguous")

    def __hash__(self):
        return 0


def stays(comparisons, reference):
    """A trainer that does not train."""
    return reference


def ranked(*rankings, support="abc", **options):
    return lambda: estimation.fit_rankings(list(rankings), support, **{"prior": PRIOR} | options)


def trained(**conventions):
    return lambda: oracle.check_training(stays, **{"loss": "dpo"} | conventions)


CALLS = {
    "negative weight": (ranked((((0,), (1,)), -1.0)), r"`rankings\[0\]\[1\]` must be non-negative; got -1.0"),
    "no weight": (ranked((((0,), (1,)), float("nan"))), r"`rankings\[0\]\[1\]` must be free of NaN"),
    "an item twice": (ranked((((0,), (0,)), 1.0)), r"`rankings\[0\]` must name an item once"),
    "an item too many": (ranked((((0,), (1,), (2,)), 1.0), support="ab"), r"`rankings\[0\]\[0\]` must be at most 1"),
    "half an item": (ranked((((0,), (1.5,)), 1.0)), r"`rankings\[0\]\[0\]` must be a whole number; got 1.5"),
    "no ranking": (ranked(1), r"`rankings\[0\]` must be a ranking, .*; got 1"),
    "a long label": (
        lambda: pb.total_variation(pb.uniform(["x" * 4000, "b"]), pb.uniform("ab")), "`r` must have the support of `p`"
    ),
    "no label": (
        lambda: pb.uniform([1, Unknown()]), "`support` must hold labels that equal themselves; got unknown at index 1"
    ),
    "no prompt": (
        lambda: pb.Prompts(["a", Unknown(), "a"]), "`prompts` must hold labels that equal themselves; got unknown at"
    ),
    "a set": (lambda: pb.uniform({"a", "b"}), "`support` must be a sequence of labels; got {"),
    "a set of items": (
        lambda: estimation.comparison_table([0, 0], [1, 1], items=frozenset("ab")),
        "`items` must be a sequence of labels; got frozenset",
    ),
    "no support": (ranked((((0,), (1,)), 1.0), support=3), "`support` must be a sequence of labels; got 3"),
    "no prior": (ranked((((0,), (1,)), 1.0), prior=1), "`prior` must be a GaussianPrior or PseudoCounts; got int"),
    "items": (lambda: estimation.comparison_table([0, 0], [1, 1], items=3), "`items` must be a sequence of labels"),
    "annotators": (
        lambda: estimation.comparison_table([0, 0], [1, 1], annotator=[0, 0], annotators=3),
        "`annotators` must be a sequence of labels; got 3",
    ),
    "beta 0": (trained(beta=0), "`beta` must be positive; got 0"),
    "beta a word": (trained(beta="x"), "`beta` must be an array of real numbers; got 'x'"),
    "beta a list": (trained(beta=[1.0]), r"`beta` must be a single number; got shape \(1,\)"),
    "beta too small": (trained(beta=1e-320), "`beta` must be 0, or of size 1e-100 to 1e100"),
    "tau 0": (trained(loss="ipo", tau=0), "`tau` must be positive; got 0"),
    "layout": (lambda: oracle.check_sequence_log_probs(lambda *a: 0, layout="x"), "`layout` must be 'mask', "),
    "level": (lambda: oracle.check_fitter(lambda *a: {}, level=2.0), r"`level` must be in \(0, 1\); got 2.0"),
    "report": (lambda: Report.from_dict({"subject": "f"}), "`content` must be what `as_dict` returns"),
    "objective a word": (lambda: losses.answer_loss("kto", Z, Z, [True, False]), "`objective` must be a PairObjective"),
    "objective of margins": (
        lambda: losses.log_ratio_loss(pb.as_objective("bradley_terry"), Z, Z, Z, Z), "`objective` must be a Pair"
    ),
    "desirable": (lambda: losses.answer_loss(kto(0.1), Z, Z, [1, [2]]), "`desirable` must be an array"),
    "label_smoothing": (lambda: losses.aot_loss(Z, Z, Z, Z, beta=1.0, label_smoothing="x"), "`label_smoothing` must"),
    "paired": (lambda: losses.aot_loss(Z, Z, Z, Z, beta=1.0, paired=[True]), "`paired` must be True or False"),
    "least": (
        lambda: online_shortfall([0, 1.0], PAIRS, 1.0, pb.uniform("ab"), least=2.5), "`least` and `most` must enclose",
    ),
    "length": (lambda: online_dpo([0.0, 0.4, 1.0], "uniform", length=1e308), "`length` must be at most 1e100"),
    "scale": (lambda: pb.length_normalized([1e308, 2], scale=1e-5), "`scale / lengths` must be from 1e-300"),
    "problem": (lambda: problem_named(1, size=5, seed=7), "`name` must be a name; got int"),
    "size": (lambda: problem_named("two outcomes 2", size="x", seed=7), "`size` must be a whole number; got 'x'"),
    "a long name": (lambda: problem_named("x" * 10_000, size=5, seed=7), r"`problem` must be .*; got 'xxxx"),
    "a large index": (lambda: problem_named("ordinary " + "9" * 5000, size=5, seed=7), r"`problem` must .*'ordinary 9"),
    "repetitions": (lambda: problem_names("x"), "`repetitions` must be a whole number; got 'x'"),
    "process": (lambda: simulated_pairs("nope", 3), "`name` must be 'Luce', "),
    "printed": (lambda: finding(10**400, 1e-12, "x"), "`printed` must be in the range of float64"),
    "settings": (lambda: answer("x"), "`settings` must be Settings; got str"),
    "one label for four": (lambda: pb.PairListProposal([0, 3], [1, 2], support=["a"]), "`x_a` must be an index below"),
    "a label twice": (lambda: pb.PBDE([1.0, 2.0], support=["a", "a"]), "`support` must hold distinct labels"),
    "a label too many": (lambda: pb.PBDE([1.0, 2.0], support="abc"), "`f` must have 3 outcomes"),
    "bytes": (lambda: pb.ProductProposal(bytearray(b"ab")), "`a` must be an array of real numbers; got bytearray"),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_what_is_wrong_is_named(case):
    call, message = CALLS[case]
    with pytest.raises((TypeError, ValueError), match=f"^{message}") as error:
        call()
    assert len(str(error.value)) <= 300


def test_a_far_margin_of_sorted_answers_is_infinite_without_a_warning():
    found = losses.aot_loss([-1.0, -2.0], [-3.0, -1.0], Z, Z, beta=1e308)
    assert found.losses.min() == 0.0


def test_reports_of_training_are_copied():
    report = oracle.check_training(stays, beta=0.5, on_failure="report")
    for other in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report), copy.copy(report)):
        assert str(other) == str(report)
        assert dict(other.conventions) == {"beta": 0.5}
        np.testing.assert_array_equal(other.log_probs, report.log_probs)
    with pytest.raises(TypeError):
        report.conventions["beta"] = 1.0
