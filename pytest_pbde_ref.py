"""pytest's way in: declares the options of pbde_ref's checks, and loads the rest only when one of them is used.

This module stands outside the package because pytest imports it in every run of every project where pbde_ref is
installed, and importing anything inside the package loads NumPy and SciPy. See `pbde_ref.oracle.pytest_plugin`.
"""

import sys

import pytest

__all__ = ["pytest_addoption", "pytest_collection", "pytest_collection_modifyitems"]


def pytest_addoption(parser):
    """Options that name subjects from the command line."""
    group = parser.getgroup("pbde_ref", "hold preference losses against their definitions (pbde_ref)")
    group.addoption(
        "--pbde-subject", action="append", default=[], metavar="PACKAGE.MODULE:FUNCTION",
        help="run the checks on this function, each as a test of its own; may be repeated. Without paths on the "
        "command line nothing else is collected.",
    )  # fmt: skip
    group.addoption("--pbde-loss", metavar="NAME", help='what the subjects compute, such as "dpo"')
    group.addoption("--pbde-objective", metavar="PACKAGE.MODULE:FUNCTION", help="or a formula of your own for it")
    group.addoption(
        "--pbde", action="append", default=[], dest="pbde_conventions", metavar="NAME=VALUE",
        help="a convention or option of check_loss, such as beta=0.1 or reduction=sum; may be repeated",
    )  # fmt: skip
    group.addoption(
        "--pbde-expected-failure", action="append", default=[], dest="pbde_expected", metavar="CHECK=REASON",
        help="a check that is known to fail; may be repeated",
    )  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session):
    """Subjects without paths: collect nothing but their checks."""
    config = session.config
    if config.getoption("pbde_subject"):
        # A module that is named from the command line is looked for where the command was given.
        sys.path.insert(0, str(config.invocation_params.dir))
        if config.args_source is not config.ArgsSource.ARGS:
            config.args = []
    elif any(config.getoption(f"pbde_{name}") for name in ("loss", "objective", "conventions", "expected")):
        options = "--pbde-loss, --pbde-objective, --pbde and --pbde-expected-failure"
        raise pytest.UsageError(f"{options} need a --pbde-subject")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session, config, items):
    """Add the subjects' checks, before -k and the like choose among all tests."""
    if config.getoption("pbde_subject"):
        from pbde_ref.oracle.pytest_plugin import items_from_options

        items.extend(items_from_options(session))
