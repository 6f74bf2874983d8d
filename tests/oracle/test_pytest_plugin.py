"""The pytest plugin: each check a single test, from a decorator and from the command line, and no trace otherwise."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

LOSSES = """
import numpy as np

def right(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margin = beta * (policy_chosen - reference_chosen - policy_rejected + reference_rejected)
    return np.mean(np.logaddexp(0.0, -margin))

def twice(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    return right(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta * beta)

number = 3
"""


@pytest.fixture
def project(pytester):
    """An empty project with a module of losses, and no settings of ours."""
    pytester.makepyfile(mylosses=LOSSES)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.syspathinsert()
    return pytester


def run(project, *arguments):
    return project.runpytest("-p", "pytest_pbde_ref", "-p", "no:cacheprovider", *arguments)


def command(*arguments):
    return ["--pbde-subject", "mylosses:right", "--pbde-loss", "dpo", *arguments]


def test_decorator_makes_single_tests(project):
    """Each check is a test with a readable id; a bug fails its own checks with the diagnosis, the others pass."""
    project.makepyfile(
        test_it="""
        from mylosses import right, twice
        from pbde_ref.oracle.pytest_plugin import parametrize_with_checks, subject

        @parametrize_with_checks([subject(right, "dpo", beta=0.3), subject(twice, "dpo", beta=0.3)])
        def test_losses(check):
            check()
        """
    )
    result = run(project, "-v")
    result.stdout.fnmatch_lines(["*test_losses?right-dpo-value? PASSED*", "*test_losses?twice-dpo-value? FAILED*"])
    result.stdout.fnmatch_lines(["twice held against dpo, value", "*β applied twice (MaxText #1530)*"])
    assert "right-dpo-value] FAILED" not in result.stdout.str()
    assert "statelessness] FAILED" not in result.stdout.str()


def test_expected_failures_are_expected(project):
    """`expected_failed_checks` become xfail with their reason; one that passes shows as XPASS, or fails if strict."""
    project.makepyfile(
        test_it="""
        from mylosses import twice
        from pbde_ref.oracle.pytest_plugin import parametrize_with_checks, subject

        one = subject(twice, "dpo", beta=0.3, expected_failed_checks={"value": "known, #12", "statelessness": "no"})

        @parametrize_with_checks([one])
        def test_losses(check):
            check()
        """
    )
    arguments = ("-k", "value or statelessness", "-rxX")
    result = run(project, *arguments)
    result.assert_outcomes(xfailed=1, xpassed=1)
    result.stdout.fnmatch_lines(["XFAIL *twice-dpo-value?*known, #12*"])
    run(project, *arguments, "-o", "xfail_strict=true").assert_outcomes(xfailed=1, failed=1)


def test_ids_tell_conventions_apart(project):
    """Two subjects of one function and loss have their conventions in the id."""
    project.makepyfile(
        test_it="""
        from mylosses import right
        from pbde_ref.oracle.pytest_plugin import parametrize_with_checks, subject

        @parametrize_with_checks([subject(right, "dpo", beta=b) for b in (0.3, 2.0)])
        def test_losses(check):
            check()
        """
    )
    result = run(project, "--collect-only", "-q")
    result.stdout.fnmatch_lines(["*?right-dpo(beta=0.3)-value?", "*?right-dpo(beta=2.0)-value?"])


def test_subject_from_the_command_line(project):
    """Options name a subject; without paths its checks are all that is collected, and each is a test."""
    project.makepyfile(test_other="def test_other(): pass")
    result = run(project, *command("--pbde", "beta=0.3"), "-v")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["mylosses:right?dpo?::value PASSED*"])
    assert "test_other" not in result.stdout.str()
    run(project, *command("--pbde", "beta=0.3"), "-k", "value").assert_outcomes(
        passed=1, deselected=result.parseoutcomes()["passed"] + result.parseoutcomes().get("skipped", 0) - 1
    )


def test_a_pinned_number_of_checks(project):
    """One more test, from a decorator or from the command line, that fails if another number of checks held."""
    project.makepyfile(
        test_it="""
        from mylosses import right
        from pbde_ref.oracle.pytest_plugin import parametrize_with_checks, subject

        @parametrize_with_checks([subject(right, "dpo", beta=0.3, expect_checks=count) for count in (20, 21)])
        def test_losses(check):
            check()
        """
    )
    run(project).assert_outcomes(passed=2 * 20 + 1, failed=1, skipped=8)
    result = run(project, *command("--pbde", "beta=0.3", "--pbde", "expect_checks=19"), "-k", "expect_checks")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*20 checks held something, 19 were expected to; skipped: gradient_policy_chosen*"])


def test_paths_and_subjects_together(project):
    """With paths on the command line the project's own tests run too."""
    project.makepyfile(test_other="def test_other(): pass")
    result = run(project, "test_other.py", *command("--pbde", "beta=0.3"), "-v", "-k", "other or value")
    result.assert_outcomes(passed=2, deselected=result.parseoutcomes()["deselected"])


def test_failures_from_the_command_line(project):
    """A failing subject gives exit status 1 and the check's message without a traceback; a known failure does not."""
    arguments = ["--pbde-subject", "mylosses:twice", "--pbde-loss", "dpo", "--pbde", "beta=0.3", "-k", "value"]
    result = run(project, *arguments)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["mylosses:twice held against dpo, value", "*β applied twice (MaxText #1530)*"])
    assert "pytest_plugin.py" not in result.stdout.str()
    chosen = run(project, *arguments[:4], *arguments[6:])
    chosen.stdout.fnmatch_lines(["mylosses:twice held against dpo, beta=0.3 (chosen here), value"])
    run(project, *arguments, "--pbde-expected-failure", "value=known").assert_outcomes(
        xfailed=1, deselected=result.parseoutcomes()["deselected"]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pbde-subject", "mylosses:right"], "*--pbde-subject needs --pbde-loss*"),
        (["--pbde-loss", "dpo"], "*need a --pbde-subject*"),
        (command("--pbde", "beta"), "*--pbde must be given like name=value; got 'beta'*"),
        (["--pbde-subject", "mylosses:right", "--pbde-loss", "nonsense"], "*mylosses:right: *nonsense*"),
        (command("--pbde", "tau=1"), "*tau*"),
        (command("--pbde-expected-failure", "valu=typo"), "*name checks*got 'valu'*"),
    ],
)
def test_wrong_usage(project, arguments, words):
    """Wrong options are a usage error that names them, not a traceback."""
    result = run(project, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([words])


@pytest.mark.parametrize(
    ("name", "words"),
    [("mylosses", "*package.module:function*"), ("mylosses:number", "*must be callable*"),
     ("mylosses:absent", "*absent*"), ("nowhere:f", "*No module named 'nowhere'*")],
)  # fmt: skip
def test_subjects_that_cannot_be_loaded(project, name, words):
    """A subject or formula that is mistyped is one usage error with the reason, not a failure for each check."""
    for against in (["--pbde-subject", name, "--pbde-loss", "dpo"], [*command()[:2], "--pbde-objective", name]):
        result = run(project, *against, "--pbde", "beta=0.3")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([words])
        assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_decorator_refuses_wrong_arguments():
    """Names of checks and subjects are validated when the test file is imported."""
    from pbde_ref.oracle.pytest_plugin import parametrize_with_checks, subject

    with pytest.raises(ValueError, match="got 'valu'"):
        subject("a:b", "dpo", beta=0.3, expected_failed_checks={"valu": "typo"})
    with pytest.raises(TypeError, match="list of what `subject"):
        parametrize_with_checks(subject("a:b", "dpo", beta=0.3))
    with pytest.raises(TypeError, match="list of what `subject"):
        parametrize_with_checks([len])


def test_an_ordinary_run_does_not_load_the_package(tmp_path):
    """Without its options the plugin imports nothing of the package, NumPy or SciPy, and warns of nothing."""
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it():\n    assert not {'pbde_ref', 'numpy', 'scipy', 'hypothesis'} & set(sys.modules)\n"
    )
    # Hypothesis has a plugin of its own.
    pytest_alone = [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:hypothesispytest", "-p", "pytest_pbde_ref"]
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    run = subprocess.run(pytest_alone, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


def test_an_ordinary_run_collects_the_same(project):
    """The plugin changes neither what is collected nor the outcome of a project that does not use it."""
    project.makepyfile(test_other="def test_one(): pass\ndef test_two(): assert False")
    with_plugin = run(project, "-v")
    without = project.runpytest("-p", "no:pytest_pbde_ref", "-p", "no:cacheprovider", "-v")
    assert with_plugin.parseoutcomes() == without.parseoutcomes() == {"passed": 1, "failed": 1}
