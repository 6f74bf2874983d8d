"""The commands of the README's first screen answer; its Python is run by doctest."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8").split("## Which function")[0]
QUESTIONS = README.split("## Six questions")[1]
COMMANDS = re.findall(r"^pbde-ref (.+)$", "".join(re.findall(r"```sh\n(.*?)```", QUESTIONS, flags=re.S)), flags=re.M)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", QUESTIONS, flags=re.S)


def pairs(n=60):
    """Log-probabilities and lengths, a JSON object a line."""
    rng = np.random.default_rng(0)
    for lengths, logs in zip(rng.integers(5, 40, (n, 2)).tolist(), -rng.exponential(20.0, (n, 2)), strict=True):
        names = ("chosen_log_prob", "rejected_log_prob", "chosen_length", "rejected_length")
        yield json.dumps(dict(zip(names, (*logs, *lengths), strict=True)))


def answer(command, folder):
    (folder / "my_losses.py").write_text(blocks("python")[0], "utf-8")
    (folder / "pairs.jsonl").write_text("\n".join(pairs()), "utf-8")
    run = [sys.executable, "-m", "pbde_ref", *shlex.split(command)]
    return subprocess.run(run, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300)


def test_each_question_has_its_command_or_lines():
    assert [command.split()[0] for command in COMMANDS] == ["check", "reproduce", "process", "comparisons"]
    assert len(COMMANDS) + len(blocks("pycon")) == 6


def test_commands_are_found_where_they_were_installed():
    """The README installs into `.venv` and then types `pbde-ref`: who copies line by line needs the line between."""
    assert QUESTIONS.index(". .venv/bin/activate") < QUESTIONS.index("pbde-ref")
    assert README.index("python3 -m venv .venv") < README.index(". .venv/bin/activate")


def test_the_site_is_built_with_what_the_readme_installs():
    """The reference imports what needs Matplotlib and Hypothesis; of CI's two extras the README named one."""
    root = Path(__file__).parents[1]
    if not (root / ".ci/run").exists():
        pytest.skip("a source distribution has no .ci: README and CI were not compared")
    (extras,) = re.findall(r"pip install --quiet '\.\[(docs.*?)\]'", (root / ".ci/run").read_text("utf-8"))
    assert f"pip install '.[{extras}]'" in (root / "README.md").read_text("utf-8")


def params():
    """Training takes half a minute on a busy machine: every run looks at what it would do, a slow one does it."""
    for command in COMMANDS:
        name, trains = command.split()[0], command.startswith("reproduce")
        yield pytest.param(command, id=name, marks=[pytest.mark.slow] if trains else [])
        if trains:
            yield pytest.param(f"{command} --show-settings", id=f"{name}-settings")


@pytest.mark.parametrize("command", [*params()])
def test_a_command_of_the_first_screen_answers(command, tmp_path):
    """Copied as it stands: the check finds the planted bug, as printed below it; the others succeed."""
    checks = command.startswith("check")
    if checks:
        pytest.importorskip("torch", reason="PyTorch is not installed: the README's check was not run")
    elif command.startswith("reproduce"):
        pytest.importorskip("matplotlib")
    done = answer(command, tmp_path)
    assert done.returncode == (1 if checks else 0), done.stderr
    assert (blocks("text")[0] if checks else "\n") in done.stdout
    if command.startswith("comparisons"):
        assert re.search(r"in total\s+variation,[^:]* ([\d,]+):", QUESTIONS)[1] in done.stdout
