"""The univariate experiments at small size: what is computed, stored, drawn and printed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import truncnorm

import pbde_ref as pb
from pbde_ref.cli import main
from pbde_ref.cli.pages.univariate import gallery_page, rows_of, undefeated
from pbde_ref.experiments.annotators import luce_annotator, pooled_annotators
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import execute
from pbde_ref.experiments.toy import how_much_data
from pbde_ref.experiments.toy.adaptation import Loss, exact_optimum, finite
from pbde_ref.experiments.toy.catalogue import FIGURES, runs_of
from pbde_ref.experiments.toy.closed_loops import _share_of_the_first
from pbde_ref.experiments.toy.figure_4_preferences import preference_maps
from pbde_ref.experiments.toy.figure_5_misspecification import maxima, misfit
from pbde_ref.experiments.toy.settings import PRESETS, ToySettings, preset
from pbde_ref.figures import save_figure
from pbde_ref.figures.toy import draw_toy_figure
from pbde_ref.sampling.comparisons import observed_preferences

SMALL = ToySettings(
    grid=48, comparisons=2**10, layers=2, width=16, steps=128, learning_rate=5e-3, pretraining_steps=256,
    pretraining_learning_rate=1e-2, regularizer_draws=128, least_comparisons=256, most_comparisons=1024, replicates=24,
    loop_points=12, loop_rounds=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Every run of every figure, at small size."""
    return execute(runs_of(FIGURES, SMALL), SMALL, tmp_path_factory.mktemp("runs"), identity={})


def test_there_is_a_run_for_every_panel(records):
    assert len(records) == 1 + 1 + 1 + 3 + 1 + 3 + 10 + 3 + 1 + 2 + 7


def test_presets_are_the_papers_and_the_notebooks():
    """Table 1 and the text; the notebook's learning rates and pairs."""
    paper, notebook = PRESETS["paper"], PRESETS["notebook"]
    assert (paper.layers, paper.width, paper.steps, paper.learning_rate) == (4, 64, 8192, 5e-4)
    assert (paper.comparisons, paper.reward_pairs) == (32768, "uniform")
    assert notebook == replace(
        paper, learning_rate=1e-4, pretraining_steps=4096, pretraining_learning_rate=1e-3, reward_pairs="reference"
    )


def test_settings_are_checked():
    with pytest.raises(ValueError, match="`grid` must be at least 16"):
        preset("paper", grid=3)
    with pytest.raises(ValueError, match="`learning_rate` must be positive"):
        preset("paper", learning_rate=0.0)
    with pytest.raises(ValueError, match="`reward_pairs` must be 'uniform' or 'reference'; got 'all'"):
        preset("paper", reward_pairs="all")
    with pytest.raises(ValueError, match="`data` must be 'sample' or 'population'; got 'none'"):
        preset("paper", data="none")
    with pytest.raises(ValueError, match=r"`changes` must be one of .* words, such as .*; got 'speed'"):
        preset("paper", speed=3)
    with pytest.raises(ValueError, match="`preset` must be 'paper', 'notebook' or 'quick'; got 'mine'"):
        preset("mine")


def test_purposes_have_randomness_of_their_own():
    settings = ToySettings()
    assert settings.rng("a").random() == settings.rng("a").random()
    assert settings.rng("a").random() != settings.rng("b").random()
    assert settings.rng("a").random() != replace(settings, seed=1).rng("a").random()


def test_optima_of_the_population_are_the_closed_forms(records):
    """Eq. (16), Eq. (18) and Theorem 2 with the pretrained policy as reference, from the stored curves."""
    reference = records["pretrained"].policy("reference")
    p_star = records["reward"].policy("preference")
    for beta in (1.0, 4.0, 16.0):
        expected = pb.product_of_experts(reference, p_star, beta)
        assert pb.total_variation(records[f"dpo-beta-{beta:g}"].policy("optimum"), expected) < 1e-10
    for alpha in (1.0, 0.25, 0.0625):
        expected = pb.geometric_mean(p_star, reference, alpha)
        assert pb.total_variation(records[f"geometric-alpha-{alpha:g}"].policy("optimum"), expected) < 1e-10
    for name in ("reward", "shared-process"):
        assert pb.total_variation(records[name].policy("optimum"), p_star) < 1e-10


def test_no_policy_has_less_than_the_least_loss(records):
    """Trained policies lie above the population's minimum and above the sample's."""
    for name, record in records.items():
        numbers = record.numbers
        if "loss.trained.population" in numbers:
            assert numbers["loss.trained.population"] >= numbers["loss.least.population"] - 1e-9, name
            if numbers["loss.least.sample"] is not None:
                assert numbers["loss.trained.sample"] >= numbers["loss.least.sample"] - 1e-9, name


def test_training_went_towards_the_optimum(records):
    """Every trained policy is nearer to its optimum than the reference is."""
    for name, record in records.items():
        if name.startswith(("dpo", "geometric", "ipo", "shared", "two")):
            trained, reference, optimum = (record.policy(which) for which in ("trained", "reference", "optimum"))
            assert pb.total_variation(trained, optimum) < pb.total_variation(reference, optimum), name


def test_stored_distances_are_those_of_the_stored_curves(records):
    record = records["dpo-beta-4"]
    numbers, one, other = record.numbers, record.policy("trained"), record.policy("optimum")
    assert numbers["total_variation.trained.optimum"] == pytest.approx(pb.total_variation(one, other), abs=1e-12)
    assert numbers["kl.trained.optimum"] == pytest.approx(pb.kl_divergence(one, other), abs=1e-10)
    assert numbers["kl.optimum.trained"] == pytest.approx(pb.kl_divergence(other, one), abs=1e-10)


def test_the_sample_optimum_minimises_the_sample_loss():
    """Against Newton's method on a sample that has a finite estimate, and with a penalty against its gradient."""
    problem = pb.paper_problem(16)
    p = pb.FiniteDistribution(0.1 * problem.implicit_preference_distribution.log_pmf)
    annotator, q = pb.Annotator(p, pb.luce()), pb.ProductProposal([1.0] * 16)
    drawn = pb.sample_comparisons(annotator, q, 4000, rng=1)
    sample = observed_preferences(drawn.chosen, drawn.rejected, problem.grid)
    loss = Loss(pb.BRADLEY_TERRY, pb.dpo(2.0, problem.reference), problem.reference)
    optimum = exact_optimum(loss, *sample)
    newton = pb.minimize_expected_loss("bradley_terry", *sample)
    assert optimum.unique
    assert optimum.loss == pytest.approx(newton.loss, rel=1e-12)
    assert loss.expected(sample[0], optimum.policy, sample[1]) == pytest.approx(optimum.loss, rel=1e-12)


@pytest.mark.parametrize(
    ("pairs", "height", "place", "points"), [("reference", 0.1366, 1.50, 512), ("uniform", 0.1415, 1.28, 640)]
)
def test_figure_5s_exact_curve_has_one_maximum(pairs, height, place, points):
    """The known digits, for pairs from π_pre and for the uniform ones of section 4.1; maxima by a loop.

    Another grid for each: the digits are not the grid's, as `test_toy_projection_has_one_maximum` says at 256 points.
    """
    problem = pb.paper_problem(points)
    proposal = pb.ProductProposal(problem.reference if pairs == "reference" else pb.uniform(problem.grid))
    fit = pb.minimize_expected_loss("bradley_terry", pooled_annotators(problem), proposal)
    policy = pb.FiniteDistribution(fit.value, problem.grid)
    ((x, top),) = maxima(policy)
    assert (x, top) == (pytest.approx(place, abs=0.02), pytest.approx(height, abs=5e-5))
    density, step = policy.pmf / (problem.grid[1] - problem.grid[0]), problem.grid[1] - problem.grid[0]
    assert sum(density[i - 1] < density[i] > density[i + 1] for i in range(1, points - 1)) == 1
    # Control: a bump of the size of those of trained curves is a maximum of its own, and is measured.
    bumps = np.exp(-(((problem.grid + 1.7) / 0.2) ** 2))
    bumpy = pb.FiniteDistribution.from_weights(density + 0.005 * bumps, problem.grid)
    assert len(maxima(bumpy)) == 2
    assert misfit(bumpy, policy, -1.7) == pytest.approx(0.005, rel=0.1)
    assert step * density.sum() == pytest.approx(1.0)


def test_without_sampling_only_network_and_optimiser_are_left(records):
    """Training on the expected loss comes nearer to the optimum, and ten times as many steps nearer still."""
    settings = replace(SMALL, data="population")
    needed = {"pretrained": records["pretrained"]}
    run = next(run for run in runs_of(["figure-5"], settings) if run.name == "pooled")
    short, long = (
        run.compute(replace(settings, steps=steps), needed, lambda steps, loss: None).numbers
        for steps in (SMALL.steps, 10 * SMALL.steps)
    )
    sampled = records["pooled"].numbers
    assert short["loss.least.population"] == sampled["loss.least.population"]
    excess = [found["loss.trained.population"] - found["loss.least.population"] for found in (sampled, short, long)]
    assert excess[0] > excess[1] > 2.0 * excess[2] > 0.0


@pytest.mark.parametrize("figure", ["figure-5", "figure-9", "figure-10"])
def test_the_populations_loss_is_what_is_trained_on(figure, records):
    """A step too small to move anything: the training loss is the expected loss, by its own sum."""
    settings = replace(SMALL, data="population", steps=1, learning_rate=1e-9)
    needed = {"pretrained": records["pretrained"]}
    for run in runs_of([figure], settings)[1:]:
        record = run.compute(settings, needed, lambda steps, loss: None)
        before = record.arrays["losses"][0]
        assert before == pytest.approx(record.numbers["loss.trained.population"], rel=1e-5)
        assert before > record.numbers["loss.least.population"]


def test_optima_over_unconnected_comparisons_are_not_reported():
    problem = pb.paper_problem(16)
    loss = Loss(pb.BRADLEY_TERRY, pb.luce(), problem.reference)
    optimum = exact_optimum(loss, luce_annotator(problem), pb.PairListProposal([0, 2], [1, 3]))
    assert (optimum.policy, finite(optimum.loss), optimum.unique, optimum.converged) == (None, None, False, False)
    assert "compare" in optimum.reason


def test_a_sample_with_two_undefeated_points_has_a_least_loss_and_no_optimum():
    """The smallest case: of three points, two beat the third and never meet."""
    problem = pb.paper_problem(3)
    sample = observed_preferences([0, 1], [2, 2], problem.grid)
    optimum = exact_optimum(Loss(pb.BRADLEY_TERRY, pb.dpo(4.0, problem.reference), problem.reference), *sample)
    assert (optimum.policy, optimum.loss, optimum.unique) == (None, 0.0, False)


def test_hinge_optima_of_a_sample_are_reported_only_if_unique():
    """At δ = λ = 0 a point that never won may be lowered at no cost."""
    problem = pb.paper_problem(3)
    sample = observed_preferences([0, 1, 0, 1], [1, 0, 2, 2], problem.grid)
    for lambda_, unique in ((0.0, False), (1.0, True)):
        loss = Loss(pb.hinge(0.0), pb.luce(), problem.reference, lambda_)
        assert exact_optimum(loss, *sample).unique is unique


def test_the_components_are_told_apart(records):
    """Each fitted annotator is nearer to its own than to the other one."""
    record = records["two-annotators"]
    fitted = [record.policy(f"trained_{i}") for i in (1, 2)]
    truth = [pb.FiniteDistribution(p.log_pmf, p.support) for p in pb.paper_problem(48).annotator_distributions]
    for i in (0, 1):
        assert pb.total_variation(fitted[i], truth[i]) < pb.total_variation(fitted[i], truth[1 - i])
        stored = record.numbers[f"total_variation.trained_{i + 1}.annotator_{i + 1}"]
        assert stored == pytest.approx(pb.total_variation(fitted[i], truth[i]), abs=1e-12)
    assert record.arrays["weights.trained"].sum() == pytest.approx(1.0)


def test_maps_are_the_preferences_of_equations_24_and_25(records):
    """By a loop over some pairs; and the model of one annotator cannot be as near to (25) as that of two."""
    maps = preference_maps(records, SMALL)
    problem = pb.paper_problem(48)
    p, (p_1, p_2) = problem.implicit_preference_distribution.pmf, (d.pmf for d in problem.annotator_distributions)
    for a, b in ((0, 20), (17, 30), (30, 33)):
        assert maps[0].probabilities[a, b] == pytest.approx(p[a] / (p[a] + p[b]), rel=1e-9)
        assert maps[1].probabilities[a, b] == pytest.approx(
            0.4 * p_1[a] / (p_1[a] + p_1[b]) + 0.6 * p_2[a] / (p_2[a] + p_2[b]), rel=1e-9
        )
    assert maps[1].error == 0.0
    assert maps[4].error < maps[2].error < maps[3].error
    assert maps[1].plateaus > 0.3
    assert pooled_annotators(problem).preference_probabilities() == pytest.approx(maps[1].probabilities, abs=1e-12)


def test_errors_follow_the_theory(tmp_path):
    """The mean excess loss of 200 samples lies within five standard errors of (n − 1) / (2N), at large N."""
    settings = replace(SMALL, least_comparisons=2**16, most_comparisons=2**16, replicates=200)
    for run in how_much_data.runs(settings):
        record = run.compute(settings, {}, lambda steps, loss: None)
        mean, low, theory = (record.arrays[f"excess.{part}"][0] for part in ("mean", "low", "theory"))
        assert abs(mean - theory) < 5.0 * (mean - low) / 1.96
        if run.name == "data-one-annotator":
            assert theory == pytest.approx((SMALL.outcomes - 1) / 2 / 2**16, rel=1e-9)
        error, error_low, error_theory = (record.arrays[f"error.{part}"][0] for part in ("mean", "low", "theory"))
        # The delta method is right to first order; the next is of relative size 1 / sqrt(N · information) here.
        assert abs(error - error_theory) < 5.0 * (error - error_low) / 1.96 + 0.05 * error_theory


def test_every_figure_is_drawn_and_equal_records_give_equal_bytes(records, tmp_path):
    for name in FIGURES:
        figure = draw_toy_figure(name, records, SMALL)
        save_figure(figure, tmp_path / f"{name}.png")
        assert all(legend.get_window_extent().width <= figure.bbox.width for legend in figure.legends)
        assert (tmp_path / f"{name}.png").read_bytes()[1:4] == b"PNG"
    for suffix in ("png", "svg", "pdf"):
        for name in ("figure-1", "again"):
            if not (tmp_path / f"{name}.{suffix}").exists():
                save_figure(draw_toy_figure("figure-1", records, SMALL), tmp_path / f"{name}.{suffix}")
        assert (tmp_path / f"figure-1.{suffix}").read_bytes() == (tmp_path / f"again.{suffix}").read_bytes()
    with pytest.raises(ValueError, match=r"`name` must be one of .* words, such as .*; got 'figure-6'"):
        draw_toy_figure("figure-6", records, SMALL)


def test_lines_mean_what_their_labels_say(records):
    """The drawn curves are the stored densities."""
    axis = draw_toy_figure("figure-3", records, SMALL).axes[1]
    lines = {line.get_label(): line.get_ydata() for line in axis.get_lines()}
    width = 20.0 / 47.0
    record = records["dpo-beta-4"]
    for label, name in (("trained", "trained"), ("$p^*$", "preference"), ("optimum, Eq. (16)", "optimum")):
        np.testing.assert_allclose(lines[label], record.policy(name).pmf / width)


def test_the_page_shows_every_figure_with_numbers(records):
    page = gallery_page(records, list(FIGURES), "pbde-ref reproduce toy", SMALL, "png")
    for name, figure in FIGURES.items():
        assert f"![{name}]({name}.png)" in page
        assert figure.look_for in page
    assert "| dpo-beta-4" in page
    assert len(rows_of(records, list(records))) == len(records) - 3 - 7


def test_the_page_says_where_luck_took_all_mass():
    grid = np.linspace(-10.0, 10.0, 48)
    lucky = Record("x", {}, {}, {"grid": grid, "policy.sample_optimum": np.eye(48)[3]})
    assert "x = -8.72 never lost" in undefeated(lucky)
    spread = Record("x", {}, {}, {"grid": grid, "policy.sample_optimum": np.full(48, 1 / 48)})
    assert undefeated(spread) == undefeated(Record("x", {}, {}, {"grid": grid})) == ""


def test_the_command_line_runs_says_and_stores(tmp_path, capsys):
    options = [f"--set={name}={getattr(SMALL, name)}" for name in ("grid", "comparisons", "steps", "width", "layers")]
    command = ["reproduce", "figure-5", "--preset", "quick", "--workers", "1", "--out", str(tmp_path / "out"), *options]
    assert main([*command, "--set=pretraining_steps=16", "--json", str(tmp_path / "numbers.json")]) == 0
    captured = capsys.readouterr()
    assert max(map(len, captured.out.splitlines())) <= max(80, 40 + len(str(tmp_path)))
    assert "pooled" in captured.out
    assert "pooled: loss" in captured.err
    written = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {"figure-5.png", "README.md", "pooled.json", "pretrained.json"}
    document = json.loads((tmp_path / "numbers.json").read_text())
    assert document["settings"]["grid"] == SMALL.grid
    assert "loss.trained.sample" in document["runs"]["pooled"]


def test_the_command_line_shows_settings_and_runs_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "figure-3", "--show-settings", "--seed", "7", "--set", "learning_rate=1e-3"]) == 0
    out = capsys.readouterr().out
    assert "dpo-beta-16" in out
    assert "0.001" in out
    assert "seed" in out
    assert max(map(len, out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "speed=3"], "--set must be NAME=VALUE with NAME one of grid,"),
        (["--set", "grid"], "--set must be NAME=VALUE"),
        (["--set", "grid=many"], "--set grid must be a whole number; got 'many'"),
        (["--set", "learning_rate=fast"], "--set learning_rate must be a number; got 'fast'"),
        (["--set", "grid=2"], "`grid` must be at least 16; got 2"),
        (["--set", "betas=1,x"], "--set betas must be numbers with commas between them; got '1,x'"),
        (["--set", "taus=0"], "`taus` must be positive; got 0"),
    ],
)
def test_wrong_usage_gets_one_line(options, message, capsys):
    assert main(["reproduce", "figure-1", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_targets_settings_and_annotators_have_folders_of_their_own(tmp_path, capsys):
    """A page stays as it is after a run of other settings; each has its own records, and goes on from them.

    How well they are trained says nothing about where they are kept.
    """
    options = [f"--set={name}={getattr(SMALL, name)}" for name in ("grid", "comparisons", "width", "layers")]
    command = ["reproduce", "figure-2", "figure-4", "--preset", "quick", "--jobs", "1", "--out", str(tmp_path),
               "--set=pretraining_steps=16", "--set=steps=16", *options]  # fmt: skip
    assert main(command) == 0
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    names = ("1:normal(-5,1)", "1:normal(0,0.5)", "2:normal(5,1)")
    assert main([*command, *(f"--annotator={name}" for name in names)]) == 0
    assert {path: path.read_bytes() for path in first} == first
    pages = {path.read_text() for path in tmp_path.glob("figure-4-quick-*/README.md")}
    assert sorted("normal(0,0.5)" in page for page in pages) == [False, True]
    assert len(list(tmp_path.glob("*/two-annotators.json"))) == 0
    assert len(list(tmp_path.glob("runs/*/two-annotators.json"))) == 2
    capsys.readouterr()
    assert main(command) == 0
    assert "pretrained: found finished" in capsys.readouterr().err


def test_the_users_annotators_are_those_that_answer():
    """Three of them: their mixture by SciPy, and maps, components and captions for each."""
    settings = replace(SMALL, annotators=("1:normal(-5,1)", "1:normal(0,0.5)", "2:normal(5,1)"), steps=8)
    problem = settings.problem()
    parts = [truncnorm((-10 - m) / s, (10 - m) / s, m, s).pdf(problem.grid) for m, s in ((-5, 1), (0, 0.5), (5, 1))]
    expected = sum(w * part / part.sum() for w, part in zip((0.25, 0.25, 0.5), parts, strict=True))
    np.testing.assert_allclose(problem.implicit_preference_distribution.pmf, expected, atol=2e-3)
    records = {}
    for run in runs_of(["figure-4"], settings):
        records[run.name] = run.compute(settings, records, lambda steps, loss: None)
    assert records["two-annotators"].arrays["weights.trained"].size == 3
    assert len(draw_toy_figure("figure-11", records, settings).axes[1].get_lines()) == 6
    assert preference_maps(records, settings)[1].probabilities[0, 24] == pytest.approx(
        pooled_annotators(problem).preference_probabilities()[0, 24]
    )
    page = gallery_page(records, ["figure-4", "figure-11"], "", settings, "png")
    assert "1:normal(-5,1), 1:normal(0,0.5), 2:normal(5,1) instead of Eq. 10" in page
    assert "| 3           |" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("normal(0,1)", r"WEIGHT:normal\(MEAN,DEVIATION\).*; got 'normal\(0,1\)'"),
        ("a:normal(0,1)", "got 'a:normal"),
        ("1:normal(0,0)", "`the annotator's DEVIATION` must be positive; got 0"),
        ("0:normal(0,1)", "`the annotators' WEIGHT` must have positive mass"),
    ],
)
def test_annotators_spelt_otherwise_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        ToySettings(annotators=(text,))


def test_loops_are_those_of_closed_loop(records):
    """DPO's distances, written out by Eq. (16); shares are the weights at p*, and sum to one over annotators."""
    problem = SMALL.problem(SMALL.loop_points)
    p_star = problem.implicit_preference_distribution
    for reference, power in (("first", lambda t: min(t, 1)), ("last", lambda t: t)):
        expected = [
            pb.total_variation(pb.FiniteDistribution(
                problem.reference.log_pmf + power(t) / 4.0 * p_star.log_pmf, problem.grid), p_star)
            for t in range(SMALL.loop_rounds + 1)
        ]  # fmt: skip
        np.testing.assert_allclose(records["loop-dpo"].arrays[f"{reference}.distance"], expected, atol=1e-9)
    assert _share_of_the_first(p_star, problem) == pytest.approx(0.4)
    assert _share_of_the_first(problem.annotator_distributions[1], problem) < 1e-4
