"""How the tests run: on one thread each, with the same examples every time, and the whole suite on all cores.

``HYPOTHESIS_PROFILE=thorough`` looks further, with new examples in every run.
"""

import gc
import os
import sys

import pytest
from hypothesis import HealthCheck, Phase, settings

# They import Flax, and what builds the site, which the tests do without.
collect_ignore = ["tests/data/flax/make_fixture.py", "docs/conf.py"]

# The tests' matrices are small: OpenBLAS's threads wait for each other longer than the work takes, on busy cores a
# hundred times longer. It reads this when NumPy is first imported, here or in a process that a test starts.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Where no bytecode may lie beside the sources, each worker, and each of the hundred commands that tests start, would
# compile everything anew.
if sys.dont_write_bytecode:
    cache = os.path.join(os.path.dirname(os.path.abspath(__file__)), ".pytest_cache", "bytecode")
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = cache
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False

# Nothing is timed: a busy machine does not fail a law. Explaining a failure takes as long as finding it, and `find`
# explains every example that it returns; the thorough profile does.
WITHOUT_EXPLANATIONS = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
untimed = settings.get_profile("untimed")
settings.register_profile("ci", untimed, derandomize=True, max_examples=40, phases=WITHOUT_EXPLANATIONS)
settings.register_profile("thorough", untimed, max_examples=400)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Spread the whole suite over the cores if pytest-xdist is there; for less, its workers cost more than they save.

    ``-n 0`` keeps everything in one process.
    """
    option = config.option
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # a worker must not start workers
    whole = config.args_source is config.ArgsSource.TESTPATHS and not option.keyword
    watched = option.usepdb or option.collectonly or option.capture == "no"
    if not whole or watched or config.getoption("pbde_subject", None) or not config.pluginmanager.hasplugin("xdist"):
        return
    if option.numprocesses is None and option.dist == "no":
        # Each worker begins with a stretch of neighbours, which share their modules' fixtures.
        option.numprocesses, option.dist = "auto", "worksteal"


def pytest_collection_finish():
    """What was collected stays to the end: the garbage collector need not look through it time and again."""
    gc.collect()
    gc.freeze()
