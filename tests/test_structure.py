"""What the package promises about itself: light to import, documented, one direction of flow, no hidden state."""

import ast
import dataclasses
import functools
import inspect
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import pbde_ref as pb

PACKAGE = Path(pb.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A module may import from its own room and from those before it.
ORDER = [
    "paper", "validation", "display", "files", "processes", "foreign", "threads", "double_double", "numerics",
    "conditional", "distributions", "paper_problem", "pbde", "pairs", "annotators", "proposals", "objectives", "losses",
    "exact", "prompts", "games", "aggregation", "design", "online",
    "catalogue", "policy_optimization", "sampling", "estimation", "models", "language", "experiments", "strategies",
    "oracle", "vectors", "verification", "docket", "benchmarking", "figures", "explore", "cli", "__main__",
]  # fmt: skip
CARRIES_ITS_OWN_STATE = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64", "Philox"}


# The rules for a module follow each other, so one tree is enough; many would slow down the garbage collector.
parsed = functools.lru_cache(maxsize=1)(ast.parse)


def modules_loaded_by(statement):
    """Top-level names in sys.modules after `statement` ran in a fresh interpreter, where a warning is an error."""
    script = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def imports_of(name, source, is_package, modules):
    """Modules of the package that `source` names in an import statement, wherever in the file it stands."""
    found = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "pbde_ref"}
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".") if is_package else name.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            if origin.split(".")[0] == "pbde_ref":
                members = {f"{origin}.{alias.name}" for alias in node.names}
                found |= {member if member in modules else origin for member in members}
    return found


def has_room(name):
    return name != "pbde_ref" and name.split(".")[1] in ORDER


def rank(name):
    return ORDER.index(name.split(".")[1])


def is_signpost(name):
    """A module that only keeps an earlier import path open may point up."""
    return name in MODULES and (ast.get_docstring(parsed(MODULES[name].read_text("utf-8"))) or "").startswith(
        "Another way to"
    )


def upward_imports(graph):
    """Imports that point up the order; the front door has no rank, and a module without a room fails another test."""
    return {
        (importer, imported)
        for importer, targets in graph.items()
        for imported in targets
        if has_room(importer) and has_room(imported) and rank(imported) > rank(importer)
        if not is_signpost(importer)
    }


def modules_before_or_on_a_cycle(graph):
    """Strip modules that import nothing that is left; from whatever remains, imports lead into a cycle."""
    remaining = {name: set(targets) for name, targets in graph.items()}
    while leaves := [name for name, targets in remaining.items() if not targets & remaining.keys()]:
        for name in leaves:
            del remaining[name]
    return set(remaining)


@functools.cache
def import_graph():
    return {
        name: imports_of(name, path.read_text("utf-8"), path.name == "__init__.py", MODULES)
        for name, path in MODULES.items()
    }


def global_random_calls(source):
    """Names taken from NumPy's random module other than those that carry their own state."""
    used = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"np.random", "numpy.random"}:
            used.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == "numpy.random":
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names if alias.name == "random"}
        elif isinstance(node, ast.ImportFrom) and node.module == "random":
            used.add("random")
    return used - CARRIES_ITS_OWN_STATE


def asserted_arguments(source):
    """Arguments of public functions and methods that an `assert` statement reads."""
    found = set()
    for function in ast.walk(parsed(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        if function.name.startswith("_") and function.name not in ("__init__", "__post_init__", "__call__"):
            continue
        arguments = {a.arg for a in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]}
        for statement in ast.walk(function):
            if isinstance(statement, ast.Assert):
                names = {node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name)}
                found |= {f"{function.name}({name})" for name in names & arguments}
    return found


def unsafe_loading(source):
    """Uses of pickle under any of its names."""
    found = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            allowed = not (isinstance(node.value, ast.Constant) and node.value.value is False)
            found |= {"allow_pickle"} if allowed else set()
    return {name for name in found if name.split(".")[0] in {"pickle", "cPickle", "dill", "joblib", "allow_pickle"}}


def machine_paths(source):
    """Absolute paths of somebody's machine, in code, comments and docstrings alike."""
    return re.findall(r"(?<![\w.:/])/(?:home|work|root|tmp|Users|mnt|opt|srv)/\S*|[A-Z]:\\\w+", source)


def test_import_is_light():
    """`import pbde_ref` loads NumPy and SciPy, and neither matplotlib nor autograd."""
    loaded = modules_loaded_by("import pbde_ref")
    assert {"pbde_ref", "numpy"} <= loaded
    assert not loaded & {"matplotlib", "autograd", "pandas", "tqdm", "tabulate", "pytest", "hypothesis", "mpmath"}


def test_import_check_sees_a_heavy_import():
    """Control: the same question about `import autograd` finds autograd."""
    assert "autograd" in modules_loaded_by("import autograd")


def test_public_names_are_sorted_and_exist_once():
    """`__all__` is sorted (CONSTANTS, Classes, functions), without repetition, and every name in it exists."""
    assert list(pb.__all__) == sorted(set(pb.__all__), key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert [name for name in pb.__all__ if not hasattr(pb, name)] == []


def test_nothing_is_public_by_accident():
    """Whatever `import pbde_ref` shows without an underscore is a module or stands in `__all__`."""
    visible = {name for name, value in vars(pb).items() if name[0] != "_" and not inspect.ismodule(value)}
    assert visible - {"annotations"} == set(pb.__all__)


def test_completion_shows_rooms_and_parts():
    """Every name that `dir` shows exists, few of all public names are among them, and the version is the package's."""
    assert [name for name in dir(pb) if not hasattr(pb, name)] == []
    # A room is where people look: those that the README names are found as attributes.
    rooms = {"aggregation", "design", "docket", "exact", "games", "losses", "online", "oracle", "prompts", "sampling"}
    assert rooms <= set(dir(pb))
    assert len(set(dir(pb)) & set(pb.__all__)) < 30
    assert pb.__version__ == version("pbde-ref")
    assert pb.check_loss is pb.oracle.check_loss
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pb.nothing  # noqa: B018


@pytest.mark.parametrize("name", pb.__all__)
def test_public_name_is_documented(name):
    """Every public name has its own docstring: with Examples if a user calls it, with Attributes if a function
    returns it.
    """
    value = getattr(pb, name)
    doc = inspect.getdoc(value) or ""
    assert len(doc.splitlines()[0]) > 10 if doc else False, f"{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"{name} has only the docstring that dataclasses generate"
    if callable(value):
        is_record = inspect.isclass(value) and dataclasses.is_dataclass(value)
        heading = "Attributes\n----" if is_record and ">>>" not in doc else "Examples\n----"
        assert heading in doc, f"{name} lacks a section"
        assert is_record or ">>>" in doc


@pytest.mark.parametrize("name", sorted({"pbde_ref", *MODULES}))
def test_module_is_documented(name):
    """Every module says in a docstring what it is for."""
    assert ast.get_docstring(parsed(MODULES[name].read_text("utf-8"))), f"{name} has no docstring"


def test_every_module_has_a_room():
    """Each module of the package has a place in the order of rooms."""
    assert [name for name in MODULES if name != "pbde_ref" and not has_room(name)] == []


def test_imports_point_down():
    """No module imports from a room further down the list."""
    assert upward_imports(import_graph()) == set()


def test_imports_have_no_cycle():
    """Following imports never leads back: not inside a room, and not through the package's front door."""
    assert modules_before_or_on_a_cycle(import_graph()) == set()


def test_import_checks_see_violations():
    """Control: an import that points up, in each of Python's spellings, and a cycle inside a room are found."""
    modules = {"pbde_ref", "pbde_ref.pbde", "pbde_ref.cli", "pbde_ref.exact", "pbde_ref.exact.optima"}
    spellings = [
        "from pbde_ref.cli import main", "import pbde_ref.cli", "from .cli import main", "from . import cli",
        "def f():\n    from .cli import main",
    ]  # fmt: skip
    for source in spellings:
        graph = {"pbde_ref.pbde": imports_of("pbde_ref.pbde", source, False, modules)}
        assert upward_imports(graph) == {("pbde_ref.pbde", "pbde_ref.cli")}, source
    assert imports_of("pbde_ref.exact.optima", "from .. import pbde", False, modules) == {"pbde_ref.pbde"}
    assert imports_of("pbde_ref.exact", "from .optima import x", True, modules) == {"pbde_ref.exact.optima"}
    cyclic = {"pbde_ref.a": {"pbde_ref.b"}, "pbde_ref.b": {"pbde_ref.a"}, "pbde_ref.c": set()}
    assert modules_before_or_on_a_cycle(cyclic) == {"pbde_ref.a", "pbde_ref.b"}
    assert modules_before_or_on_a_cycle({"pbde_ref": {"pbde_ref.a"}, "pbde_ref.a": {"pbde_ref"}})


SOURCE_RULES = {
    "no global random state": global_random_calls,
    "no assert on an argument": asserted_arguments,
    "no pickle": unsafe_loading,
    "no path of somebody's machine": machine_paths,
}


@pytest.mark.parametrize("rule", SOURCE_RULES)
@pytest.mark.parametrize("name", sorted(MODULES))
def test_source_keeps_the_rule(name, rule):
    """Randomness comes in as `rng`; arguments are refused by exceptions, which `python -O` keeps; files are read
    without pickle; nothing mentions a machine's own folders.
    """
    assert not SOURCE_RULES[rule](MODULES[name].read_text("utf-8"))


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ("no global random state", "np.random.seed(0)"),
        ("no global random state", "x = numpy.random.rand(3)"),
        ("no global random state", "from numpy.random import normal"),
        ("no global random state", "import random"),
        ("no assert on an argument", "def public(beta):\n    assert beta > 0"),
        ("no assert on an argument", "class C:\n    def __init__(self, *, f):\n        assert len(f)"),
        ("no pickle", "import pickle"),
        ("no pickle", "np.load(path, allow_pickle=True)"),
        ("no path of somebody's machine", "# see /home/someone/notes"),
    ],
)
def test_source_rules_see_violations(rule, source):
    """Control: each rule finds what it forbids."""
    assert SOURCE_RULES[rule](source)


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ("no global random state", "np.random.default_rng(0).normal()"),
        ("no assert on an argument", "def public(beta):\n    total = 1.0\n    assert total > 0"),
        ("no pickle", "np.load(path, allow_pickle=False)"),
        ("no path of somebody's machine", "# https://example.org/home/page, docs/opt/b"),
    ],
)
def test_source_rules_allow_what_is_allowed(rule, source):
    """Control: each rule lets pass what it should."""
    assert not SOURCE_RULES[rule](source)


def test_every_equation_has_an_address_and_a_home_that_exist():
    """The README's table names each equation's address, 1–30, and each function beside it can be imported."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("| equation |") : readme.index("## How far to trust it")]
    addresses = re.findall(r"`paper\.(\w+)`", table)
    assert addresses == [*(f"equation_{number}" for number in range(1, 31)), "lemma_1", "theorem_1", "theorem_2"]
    for address in addresses:
        pkgutil.resolve_name(f"pbde_ref.paper:{address}")
    homes = re.findall(r"`(pbde_ref\.[\w.]+)`", table)
    assert homes
    for home in homes:
        pkgutil.resolve_name(home)


BUDGET = 33_500
"""Lines of code of the whole package, docstrings, comments, imports and blank lines apart."""


def lines_of_code(source):
    """Lines that hold code: what is left without docstrings, comments, imports and blank lines."""
    left_out = set()
    for node in ast.walk(parsed(source)):
        imported = isinstance(node, ast.Import | ast.ImportFrom)
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if imported or text:
            left_out |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate((line.strip() for line in source.splitlines()), 1)
    return sum(bool(line) and not line.startswith("#") and number not in left_out for number, line in lines)


def test_the_package_keeps_to_its_budget():
    """Every capability pays rent: what is written twice goes before the number above is raised."""
    assert sum(lines_of_code(path.read_text("utf-8")) for path in SOURCES) <= BUDGET


def test_the_count_leaves_out_what_is_not_code():
    source = '"""Docs."""\nimport os\n\n# why\ndef f(x):\n    """Two\n    lines."""\n    return (x +\n            1)\n'
    assert lines_of_code(source) == 3


ROOT = Path(__file__).parents[1]
PAGES = sorted(p for p in ROOT.rglob("*.md") if not any(part[0] == "." for part in p.relative_to(ROOT).parts))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_no_page_has_a_section_twice(page):
    """What two branches add to one page may stand there twice, one under the other's heading."""
    sections = re.findall(r"^## .*$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    assert sorted(sections) == sorted(set(sections))
