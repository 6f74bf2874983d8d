"""Values show themselves in one line, however large they are, and can be copied and stored."""

import copy
import pickle

import numpy as np
import pytest

import pbde_ref as pb

PROBLEM = pb.paper_problem(256)
P = PROBLEM.implicit_preference_distribution
ANNOTATOR = pb.Annotator(P, pb.dpo(4.0, PROBLEM.reference))
PROPOSAL = pb.ProductProposal(PROBLEM.reference)

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


def test_small_values_are_shown_whole():
    assert repr(pb.uniform("ab")) == "FiniteDistribution(a: 0.5, b: 0.5)"
    assert repr(pb.PBDE([1.0, 2.0], 0.0)) == "PBDE(f=[1., 2.], g=0.)"
    assert repr(pb.JointProposal(np.ones((2, 2)))) == "JointProposal(weights=[2 × 2: 0.25 … 0.25])"
