"""What each loss learns on the paper's problem: rows against closed forms, solvers against each other, the drawing."""

from pathlib import Path

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.catalogue import LOSSES
from pbde_ref.experiments.atlas import RULES, atlas, atlas_row
from pbde_ref.experiments.flows import chosen_on_the_way
from pbde_ref.figures import draw_optima, save_figure

SIZE = 48
# Not convex, or with kinks, or held back by normalisation: where nothing proves that the policy is the best.
OPEN = {
    "aot", "aot_unpaired", "exo", "discopop", "squared_po", "nca", "apo_down", "clipped_chi_po", "dpop", "bpo", "orpo",
}  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return list(atlas(size=SIZE))


def test_every_row_of_the_papers_sweeps_is_there(rows):
    assert [row.label for row in rows if row.name == "dpo"] == ["dpo β=1", "dpo β=4", "dpo β=16"]
    assert sum(row.name == "slic" for row in rows) == 10
    assert {row.name for row in rows} == set(RULES)


def test_every_gap_is_small_and_every_policy_normalised(rows):
    for row in rows:
        found, mixture = row.optimum, row.name == "two_annotators"
        if not found.converged and not mixture:
            # What is not proved says so, and says why.
            assert row.name in OPEN, row.label
            assert found.reason
            assert found.unique is not True
            continue
        assert 0.0 <= found.gap <= (1e-6 if mixture else 1e-7 * max(found.loss, 1e-3)), row.label
        # The loss of a mixture model is not convex.
        assert found.policy_error == 1.0 if mixture else found.policy_error <= 1e-4, row.label
        assert row.policy.pmf.sum() == pytest.approx(1.0, abs=1e-12)


def test_the_page_has_every_loss_with_its_formula_and_source():
    page = (Path(__file__).parents[2] / "docs" / "atlas.md").read_text(encoding="utf-8")
    for loss in LOSSES.values():
        if not loss.equation:
            assert f"`{loss.name}` {loss.title}" in page
            assert loss.formula.replace("|", "\\|") in page or loss.formula in page
            assert loss.source in page
    assert all(f"| {label} |" in page for label in ("dpo β=4", "kto β=1 z=0.4"))


def test_two_stage_rlhf_lands_where_dpo_lands(rows):
    dpo, rlhf = ([row.policy for row in rows if row.name == loss] for loss in ("dpo", "rlhf"))
    assert max(pb.total_variation(a, b) for a, b in zip(dpo, rlhf, strict=True)) < 1e-9


def test_reward_shared_dpo_and_alpha_1_all_learn_the_preference_distribution(rows):
    for row in rows:
        if row.name in ("reward", "dpo_shared") or row.label == "geometric α=1":
            assert row.distances["total_variation_preference"] < 1e-9


def test_slic_without_margin_or_regulariser_is_uniform_and_grows_sharper_with_delta(rows):
    slic = {row.label: row for row in rows if row.name == "slic"}
    uniform = slic["slic δ=0 λ=0"]
    assert uniform.policy.pmf == pytest.approx(np.full(SIZE, 1 / SIZE), abs=1e-9)
    # Homogeneity: the scores of δ = 2 are twice those of δ = 1.
    one, two = (slic[f"slic δ={d} λ=0"].policy.log_pmf for d in (1, 2))
    assert np.diff(two) == pytest.approx(2 * np.diff(one), abs=1e-9)


def test_the_pooled_reward_is_neither_annotators_density(rows):
    (pooled,) = (row for row in rows if row.name == "pooled_reward")
    for own in pooled.problem.annotator_distributions:
        assert pb.total_variation(pooled.policy, own) > 0.3


def test_the_two_annotator_model_recovers_the_marginal(rows):
    (mixed,) = (row for row in rows if row.name == "two_annotators")
    assert mixed.distances["total_variation_preference"] < 1e-3


def test_what_losses_do_to_the_chosen_answer_and_to_equation_16(rows):
    """DPO's row is Eq. (16); KTO and APO-zero give up answers that are chosen now and then; BPO moves nothing."""
    named = {row.label: row for row in rows}
    assert named["dpo β=4"].distances["total_variation_product"] < 1e-12
    assert named["ln_dpo β=1"].distances["total_variation_product"] < 1e-12
    assert named["kto β=1 z=0.4"].chosen == named["apo_zero β=1"].chosen == -np.inf
    assert abs(named["bpo β=1 α=0.5"].chosen) < 1e-2
    nca = named["nca β=1"]
    winners = pb.winners_distribution(nca.annotator, pb.ProductProposal(nca.problem.reference))
    assert pb.total_variation(nca.policy, winners) < 1e-9


def test_ipo_is_the_tilted_reference(rows):
    problem = pb.paper_problem(SIZE)
    p = problem.implicit_preference_distribution.pmf
    wins = (p[:, None] / (p[:, None] + p[None, :])) @ problem.reference.pmf
    for row in rows:
        if row.name == "ipo":
            expected = pb.tilt(problem.reference, wins, row.parameters["tau"])
            assert pb.total_variation(row.policy, expected) < 1e-9


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("ppo", {}), ValueError, "`name` must be one of .* words, such as"),
        (("dpo", {}), TypeError, "'dpo' must have `beta`; got none"),
        (("reward", {"beta": 1.0}), TypeError, "'reward' must have no parameters; got `beta`"),
        (("slic", {"delta": -1.0, "lambda_": 0.0}), ValueError, "`delta` must be non-negative; got -1.0"),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    loss, parameters = arguments
    with pytest.raises(error, match=message):
        atlas_row(loss, size=16, **parameters)


def test_the_drawing_has_a_panel_per_loss_and_stable_bytes(rows, tmp_path):
    figure = draw_optima([row for row in rows if row.policy is not None])
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert len(titles) == len(RULES)  # SLiC has one for each λ, and SquaredPO has no policy
    save_figure(figure, tmp_path / "all.png")
    assert (tmp_path / "all.png").stat().st_size < 40_000 * len(titles)
    for name in ("a.png", "a.svg", "a.pdf"):
        save_figure(draw_optima(rows[:1]), tmp_path / name)
        save_figure(draw_optima(rows[:1]), tmp_path / f"again-{name}")
        assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()


def test_a_figure_is_refused_in_an_unknown_format(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in one of \.png, \.pdf, \.svg; got"):
        save_figure(draw_optima([atlas_row("dpo", size=16, beta=1.0)]), tmp_path / "a.bmp")


def test_the_flow_from_the_reference_ends_at_the_optimum():
    """Two paths to one number: the solver's optimum of NCA, and the end of its gradient flow; control: of another β."""
    row = atlas_row("nca", size=12, beta=1.0)
    path, other = (
        chosen_on_the_way(LOSSES["nca"], {"beta": beta}, row.annotator, row.problem.reference) for beta in (1.0, 2.0)
    )
    assert path[-1] == pytest.approx(row.chosen, abs=1e-7)  # the flow is solved to 8 digits
    assert abs(other[-1] - row.chosen) > 1e-2
    assert row.falls == "no"
    assert atlas_row("dpo", size=12, beta=1.0).falls == "at end"
