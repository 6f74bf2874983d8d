"""The command line as a user meets it: output, files, exit status, one-line errors."""

import contextlib
import functools
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pbde_ref.cli import COMMANDS, main
from pbde_ref.experiments.atlas import atlas_row
from pbde_ref.verification import CLAIMS

QUICK = "cross_entropy_and_kl,winners"


def test_verify_prints_a_row_per_claim_within_80_columns(capsys):
    assert main(["verify", "--claims", QUICK, "--support", "16", "--controls"]) == 0
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    for name in QUICK.split(","):
        assert output.count(f"\n{name}") == 2  # once in the claims, once in the controls
    assert "2 of 2 claims hold; 2 of 2 controls caught" in output


def test_verify_writes_all_numbers_as_json(tmp_path, capsys):
    path = tmp_path / "verdicts.json"
    assert main(["verify", "--claims", QUICK, "--support", "16", "--seed", "3", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert (record["support"], record["seed"]) == (16, 3)
    assert [claim["name"] for claim in record["claims"]] == QUICK.split(",")
    assert all(c["holds"] and c["control"]["caught"] and c["cases"] >= 16 for c in record["claims"])


def test_a_claim_that_fails_gives_exit_status_1(monkeypatch, capsys):
    from dataclasses import replace

    claim = CLAIMS["winners"]
    broken = replace(claim, error=lambda problem: 0.5)
    monkeypatch.setitem(CLAIMS, "winners", broken)
    assert main(["verify", "--claims", "winners", "--support", "16"]) == 1
    output = capsys.readouterr().out
    assert "winners fails on 37 of 37: Eq. (10); ordinary 1; ordinary 2; two outcomes 1 and" in output
    assert "0 of 1 claims hold; 1 of 1 controls caught" in output


def test_a_claim_that_raises_gives_exit_status_1_and_all_the_rest(monkeypatch, capsys, tmp_path):
    """The others' rows, the replay of the one that raised, and the file are all there."""
    from dataclasses import replace

    def raising(problem):
        if problem.name == "tree 2":
            raise ZeroDivisionError("division by\nzero " + "again " * 99)
        return 0.0

    monkeypatch.setitem(CLAIMS, "winners", replace(CLAIMS["winners"], error=raising))
    path = tmp_path / "verdicts.json"
    assert main(["verify", "--claims", QUICK, "--support", "16", "--seed", "7", "--json", str(path)]) == 1
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    assert "winners fails on 1 of 37: tree 2" in output
    assert "error: ZeroDivisionError: division by zero again" in output
    assert "    --claims winners --seed 7 --problem 'tree 2'" in output
    assert "1 of 2 claims hold; 2 of 2 controls caught" in output
    record = json.loads(path.read_text())
    assert [claim["holds"] for claim in record["claims"]] == [True, False]
    (failure,) = record["claims"][1]["failures"]
    assert (failure["problem"], failure["seed"], failure["error"]) == ("tree 2", 7, None)
    assert failure["raised"].startswith("ZeroDivisionError: division by\nzero")


def test_one_problem_replayed_gives_the_same_numbers(monkeypatch, capsys, tmp_path):
    from dataclasses import replace

    # Every row fails, so that every row is written.
    monkeypatch.setitem(CLAIMS, "theorem_2", replace(CLAIMS["theorem_2"], tolerance=-1.0))
    records = []
    for arguments in ([], ["--problem", "two outcomes 2"]):
        path = tmp_path / "verdicts.json"
        main(["verify", "--claims", "theorem_2", "--support", "16", "--seed", "7", "--json", str(path), *arguments])
        records.append(json.loads(path.read_text())["claims"][0]["failures"])
    all_rows, (alone,) = records
    assert alone in all_rows
    assert len(all_rows) > 30


def test_a_problem_that_a_claim_is_not_about_does_not_make_it_hold(capsys):
    arguments = ["verify", "--claims", "mixed_annotators", "--support", "16", "--problem", "star 1"]
    assert main(arguments) == 1
    output = capsys.readouterr().out
    assert "NO CASE" in output
    assert "mixed_annotators was tried on no problem" in output


def test_a_random_seed_is_printed_and_can_be_given_again(capsys):
    arguments = ["verify", "--claims", QUICK, "--support", "16", "--repetitions", "1"]
    main([*arguments, "--seed", "random"])
    first = capsys.readouterr().out
    seed = first.splitlines()[0].rpartition(" ")[2]
    main([*arguments, "--seed", seed])
    assert capsys.readouterr().out == first


def test_many_seeds_make_one_table(monkeypatch, capsys, tmp_path):
    from dataclasses import replace

    claim = CLAIMS["winners"]
    broken = replace(claim, error=lambda p: 1.0 if (p.run, p.name) == (4, "star 1") else claim.error(p))
    monkeypatch.setitem(CLAIMS, "winners", broken)
    path = tmp_path / "verdicts.json"
    arguments = ["verify", "--claims", QUICK, "--support", "16", "--repetitions", "1", "--controls"]
    assert main([*arguments, "--seeds", "3-5", "--json", str(path)]) == 1
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    assert "18 random problems for each of seeds 3 to 5" in output
    assert "winners fails on 1 of 55: star 1" in output
    assert "--claims winners --seed 4 --problem 'star 1'" in output
    assert "seeds that failed: 4\n" in output
    record = json.loads(path.read_text())
    assert (record["seeds"], record["failed_seeds"]) == ([3, 5], [4])
    assert record["claims"][0]["holds"]
    assert record["claims"][0]["cases"] == 1 + 3 * 18


def test_a_control_that_passes_gives_exit_status_1(monkeypatch, capsys):
    from dataclasses import replace

    claim = CLAIMS["winners"]
    monkeypatch.setitem(CLAIMS, "winners", replace(claim, control=claim.error))
    assert main(["verify", "--claims", "winners", "--support", "16"]) == 1
    assert "winners, control not caught on 37 of 37: Eq. (10); ordinary 1" in capsys.readouterr().out


@pytest.mark.parametrize("error", [float("nan"), float("inf")])
def test_an_error_that_is_not_a_number_is_no_evidence(monkeypatch, capsys, error):
    from dataclasses import replace

    claim = CLAIMS["winners"]
    monkeypatch.setitem(CLAIMS, "winners", replace(claim, error=lambda problem: error, control=lambda p: float("nan")))
    assert main(["verify", "--claims", "winners", "--support", "16"]) == 1
    output = capsys.readouterr().out
    assert "FAILS" in output
    assert "error not a number" in output
    assert "winners, control not caught on 37 of 37: Eq. (10); ordinary 1" in output


WRONG = {
    "unknown claim": (["verify", "--claims", "lemma_7"], "unknown claim 'lemma_7'"),
    "no claim": (["verify", "--claims", ","], "names no claim"),
    "support too small": (["verify", "--support", "1"], "--support: must be from 8 to 2048; got 1"),
    "support not a number": (["verify", "--support", "many"], "--support: must be a whole number; got 'many'"),
    "seed negative": (["verify", "--seed", "-1"], "--seed"),
    "seed no number": (["verify", "--seed", "any"], "--seed: must be a whole number; got 'any'"),
    "seeds downwards": (["verify", "--seeds", "5-3"], "--seeds: must go up, as in 0-499; got '5-3'"),
    "seed and seeds": (["verify", "--seed", "5", "--seeds", "3-5"], "--seeds: not allowed with argument --seed"),
    "workers for one seed": (["verify", "--workers", "2"], "`--workers`, `--scheduler` and `--journal` are for"),
    "a problem of many seeds": (["verify", "--seeds", "3-5", "--problem", "tree 1"], "`--problem` is one of a single"),
    "unknown problem": (["verify", "--problem", "tree"], "`problem` must be 'Eq. (10)' or a family and an index"),
    "no repetitions": (["verify", "--repetitions", "0"], "--repetitions: must be from 1"),
    "no command": ([], "COMMAND"),
    "unknown command": (["prove"], "invalid choice: 'prove'"),
    "unknown loss": (["optima", "--loss", "ppo"], "invalid choice: 'ppo'"),
    "not a parameter": (["optima", "--loss", "slic", "--beta", "1"], "--beta is not a parameter of the loss 'slic'"),
    "out of range": (["optima", "--loss", "dpo", "--beta", "-1"], "`beta` must be positive; got -1.0"),
    "not finite": (["optima", "--loss", "dpo", "--beta", "inf"], "--beta: must be finite"),
    "plot format": (["optima", "--support", "16", "--loss", "dpo", "--plot", "x.bmp"], "must end in one of"),
    "missing folder": (["verify", "--claims", "winners", "--support", "8", "--json", "no/such/x.json"], "no/such"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_gets_one_line_and_status_2(capsys, case):
    arguments, message = WRONG[case]
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    error = capsys.readouterr().err
    assert status == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_the_module_runs_outside_the_repository(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pbde_ref", "list"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in CLAIMS)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stderr == ""


def test_optima_answers_one_question_in_one_row(tmp_path, capsys):
    path = tmp_path / "optima.json"
    arguments = ["optima", "--support", "32", "--loss", "slic", "--delta", "1", "--lambda", "0", "--json", str(path)]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert output.count("slic δ=1 λ=0") == 1
    assert max(map(len, output.splitlines())) <= 80
    (row,) = json.loads(path.read_text())["optima"]
    assert row["certificate"] == "dual"
    assert row["gap"] <= 1e-7
    assert sum(row["policy"]) == pytest.approx(1.0, abs=1e-12)


def command(*arguments, **options):
    """The command line in a process of its own, as a shell would start it."""
    run = [sys.executable, "-m", "pbde_ref", *arguments]
    return subprocess.run(run, capture_output=True, text=True, check=False, timeout=300, **options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "votes.csv", "--f", "5e-324"], "`f` must be at least 1e-300"),
        (["fit", "votes.csv", "--prior", "gaussian:1e308"], "`scale` must be from 1e-150 to 1e150"),
        (["fit", "votes.csv", "--prior", "pseudo:1e308"], "`count` must be from 1e-200 to 1e200"),
        (["fit", "votes.csv", "--json", ""], "`path` must be the name of a file; got ''"),
        (["fit", "votes.csv", "--json", "."], "cannot be written to: Is a directory"),
        (["reproduce", "figure-3", "--out", "votes.csv/new"], "argument --out: cannot be written to: Not a directory"),
        (["sweep", "toy", "--out", "votes.csv"], "argument --out: cannot be written to: Not a directory"),
        (["vectors", "--out", "votes.csv"], "argument --out: cannot be written to: Not a directory"),
        (["optima", "--loss", "ipo", "--support", "16", "--tau", "1e-308"], "tau"),
        (["fit", "votes.csv", "--json", "./votes.csv"], "argument --json: is a file that is read: './votes.csv'"),
        (["fit", "votes.csv", "--json", "link.csv"], "argument --json: is a file that is read: 'link.csv'"),
        (["check", "votes:f", "--loss", "reward", "--json", "votes.py"], "argument --json: is a file that is read"),
        (["check", "m:f", "--loss", "reward", "--json", "new", "--junit", "new"], "argument --junit: is what --json"),
        (["check", "x" * 700_000 + ":f", "--loss", "reward"], "pbde-ref check: the subject 'xxx"),
        (["reproduce", "figure-3", "--preset", "quick", "--set", "grid=1" + "0" * 4000], "grid"),
    ],
)
def test_every_error_is_one_short_line(arguments, said, tmp_path, monkeypatch, capsys):
    """Each was a traceback, ignored, or up to 700,000 characters."""
    (tmp_path / "votes.csv").write_text("chosen,rejected\na,b\nb,a\n", encoding="utf-8")
    (tmp_path / "link.csv").symlink_to("votes.csv")
    (tmp_path / "votes.py").touch()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = ended.code
    error = capsys.readouterr().err
    assert status == 2
    assert said in error
    assert error.count("\n") == 1
    assert len(error) < 400
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_closed_streams_and_poor_locales():
    poor = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    found = command("list", env=poor)
    assert (found.returncode, found.stderr) == (0, "")
    assert "Eq. (16)" in found.stdout
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        script = f'"{sys.executable}" -m pbde_ref list {closed}'
        found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=300)
        assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_help_keeps_to_80_columns_in_every_encoding(encoding, monkeypatch):
    """Escapes are longer than what they stand for: lines were filled before they were known."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = {}
    for name in ("", *COMMANDS):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, errors="backslashreplace"))
        with pytest.raises(SystemExit):
            main([*name.split(), "--help"])
        sys.stdout.flush()
        lines[name] = written.getvalue().decode(encoding).splitlines()
    assert {name: line for name, page in lines.items() for line in page if len(line) > 80} == {}
    # Control: a letter that the terminal has not is there, spelt.
    assert any("beta, as in" in line for line in lines["check"]) == (encoding != "utf-8")


# The numbers are the same in every encoding.
ROW_OF_THE_ATLAS = functools.cache(atlas_row)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_tables_keep_to_80_columns_in_every_encoding(encoding, monkeypatch, capsys):
    """`optima` had 98 columns, and `list` 83 where dashes were escaped after its columns had been measured."""
    spelt = {"utf-8": "β=4", "cp1252": "beta=4", "ascii": "beta=4"}[encoding]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("pbde_ref.cli.optima.atlas_row", ROW_OF_THE_ATLAS)
    for arguments, there in ((["list"], "policy_losses"), (["optima", "--family", "paper", "--support", "8"], spelt)):
        written = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
            assert main(arguments) == 0
            sys.stdout.flush()
            shown = written.getvalue().decode(encoding)
        assert capsys.readouterr().err == ""
        assert max(map(len, shown.splitlines())) <= 80
        assert there in shown
        assert "\\u" not in shown
        # A column begins where its line of dashes does.
        rule = next(line for line in shown.splitlines() if line.startswith("---"))
        edges = [i for i, sign in enumerate(rule) if sign == " "]
        rows = shown.splitlines()[shown.splitlines().index(rule) + 1 :][:5]
        assert all(row[i : i + 1] in ("", " ") for row in rows for i in edges)


def test_letters_that_a_terminal_has_not_are_spelt():
    assert "π − β·λ ± ½…".encode("ascii", "pbde_ref.spelt") == b"pi - beta*lambda +- \\xbd..."
    assert "β ± ½".encode("cp1252", "pbde_ref.spelt").decode("cp1252") == "beta ± ½"


@pytest.mark.parametrize(("name", "near"), [
    ("pbde_ref.losses:dpo_los", "near it: dpo_loss"), ("my_losse:right", "near it: my_losses"), ("zzz:f", "'zzz'"),
])  # fmt: skip
def test_a_function_that_is_not_there_is_one_line_with_names_near_it(name, near, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_losses.py").write_text("def right(): ...\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["check", name, "--loss", "dpo"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert near in err
    assert ("near it" in err) == ("near it" in near)
    assert len(err) <= 301


def test_the_oracle_loads_without_what_only_one_of_its_laws_needs():
    """Saying that a function does not exist took as long as loading scipy.stats twice."""
    code = "import sys, pbde_ref.oracle, pbde_ref.oracle.calling.naming; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=300).returncode == 0


@contextlib.contextmanager
def interruptible(*words, folder, path):
    """A process that Ctrl-C reaches also where these tests do not hear it, in a shell's background; it never stays."""
    process = subprocess.Popen(
        [sys.executable, *words], text=True, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_an_interruption_is_one_word(tmp_path):
    """Five times Ctrl-C, at once and while it ends."""
    never = "import pathlib\npathlib.Path('begun').touch()\nwhile True: pass"
    (tmp_path / "never.py").write_text(never, encoding="utf-8")
    words = ["-m", "pbde_ref", "check", "never:ends", "--loss", "reward"]
    with interruptible(*words, folder=tmp_path, path=[Path(__file__).parents[2]]) as process:
        deadline = time.monotonic() + 120.0
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for _ in range(5):
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        assert process.communicate(timeout=120) == ("", "interrupted\n")
        assert process.returncode == 130


@pytest.mark.parametrize(
    "words", [("-c", "import sys, pbde_ref_command as c; sys.exit(c.main())"), ("-m", "pbde_ref")], ids=["script", "-m"]
)
def test_an_interruption_while_the_package_is_loaded_is_one_word(tmp_path, words):
    """With a NumPy that never ends to load."""
    (tmp_path / "numpy.py").write_text("print('begun', flush=True)\nwhile True: pass", encoding="utf-8")
    with interruptible(*words, folder=tmp_path, path=[tmp_path, Path(__file__).parents[2]]) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=120) == ("", "interrupted\n")
        assert process.returncode == 130


def test_a_control_that_one_problem_alone_has_no_case_of_is_not_missed(capsys):
    arguments = ("verify", "--claims", "misspecification", "--seed", "168", "--problem", "anything 2")
    assert main(arguments) == 0
    assert "1 of 1 claims hold; 0 of 0 controls caught" in capsys.readouterr().out


def test_completion_knows_the_options_of_the_command_in_the_line(monkeypatch):
    """The shell gives its line in a variable; a command's options are there if the line names it."""
    given = []
    monkeypatch.setitem(sys.modules, "argcomplete", SimpleNamespace(autocomplete=given.append))
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    for line in ("pbde-ref comparisons --tot", "pbde-ref fi"):
        monkeypatch.setenv("COMP_LINE", line)
        with pytest.raises(SystemExit):
            main([])
    known = [parser._subparsers._group_actions[0].choices for parser in given]
    assert [set(commands) for commands in known] == [set(COMMANDS)] * 2
    assert ["--total-variation" in c["comparisons"]._option_string_actions for c in known] == [True, False]


@pytest.mark.parametrize("arguments", [
    ["bench", "--plot", "x.png"], ["optima", "--plot", "x.png"], ["optima", "--page", "x.md"],
    ["fit", "pairs.csv", "--plot", "x.png"], ["sweep", "optimum", "--over", "beta=1,2"],
], ids=" ".join)  # fmt: skip
def test_what_is_not_installed_is_said_in_a_line_before_the_work(monkeypatch, capsys, tmp_path, arguments):
    """The core draws nothing: whoever asks for a picture is told what to install."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err == "pbde-ref needs matplotlib here: pip install 'pbde-ref[figures]'\n"
    assert not captured.out


def test_a_backend_that_matplotlib_does_not_know_is_its_own_word(tmp_path):
    """It was "invalid convert value", of the path."""
    run = subprocess.run(
        [sys.executable, "-m", "pbde_ref", "fit", "--example", "--plot", "p.png"], cwd=tmp_path, text=True,
        env={**os.environ, "MPLBACKEND": "nonsense"}, capture_output=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert "nonsense" in run.stderr
    assert "convert" not in run.stderr
    assert len(run.stderr) <= 300
