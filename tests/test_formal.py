"""The proofs in Coq: what the documents say about them is what they contain, and Coq accepts them.

The first half reads files and needs no Coq. Every check has its control: a copy of the folder with one thing wrong.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROOFS = Path(__file__).parents[1] / "proofs"
# Pages of the folder that prove nothing.
PAGES = {"README.md", "claims.md", "errata.md"}
STATES = ("machine-checked", "proved", "checked numerically")
LIBRARY_AXIOMS = {
    "ClassicalDedekindReals.sig_forall_dec",
    "ClassicalDedekindReals.sig_not_dec",
    "Classical_Prop.classic",
    "FunctionalExtensionality.functional_extensionality_dep",
}


def read(path):
    return path.read_text("utf-8")


def without_comments(source):
    """Coq source without its comments, which may be nested."""
    while (stripped := re.sub(r"\(\*(?:(?!\(\*|\*\)).)*\*\)", " ", source, flags=re.S)) != source:
        source = stripped
    return source


def theorems(proofs):
    """Theorem names by file name, in order."""
    return {
        path.stem: re.findall(r"\bTheorem\s+(\w+)", without_comments(read(path)))
        for path in sorted((proofs / "formal").glob("*.v"))
    }


def formal_table(proofs):
    """(theorem, file, claims) for each row of the table in ``formal/README.md``; the claims are (label, target)."""
    for line in read(proofs / "formal" / "README.md").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 5:
            for name in re.findall(r"`(\w+)`", cells[0]):
                yield name, cells[1], re.findall(r"\[(\w+)\]\((.*?)\)", cells[4])


def formal_line(proof):
    """The (file, theorem) pairs that the header paragraph of a proof names; None if it has not one Formal line."""
    header = read(proof).split("\n\n")[1]
    listed = r"`formal/\w+\.v`: `\w+`(?:, `\w+`)*"
    found = re.findall(rf" Formal: (none|{listed}(?:; {listed})*)\.(?= |$)", header)
    if len(found) != 1 or not header.startswith("Paper: "):
        return None
    groups = re.findall(r"`formal/(\w+)\.v`: ((?:`\w+`(?:, )?)+)", found[0])
    return [(file, name) for file, names in groups for name in re.findall(r"`(\w+)`", names)]


def claims_table(proofs):
    """(target, status) for each row of the table in ``proofs/README.md``."""
    return re.findall(r"^\|.*\| \[\w+\]\((\S+)\) \| (.*?) \|$", read(proofs / "README.md"), flags=re.M)


def disagreements(proofs):
    """Everything that the documents say wrongly about the Coq files, one sentence each."""
    found, contents = [], theorems(proofs)
    stated = [name for names in contents.values() for name in names]
    rows = list(formal_table(proofs))
    lines = {path.name: formal_line(path) for path in sorted(proofs.glob("*.md")) if path.name not in PAGES}
    table = claims_table(proofs)

    if sorted(stated) != sorted(name for name, _, _ in rows):
        odd = set(stated) ^ {name for name, _, _ in rows} or "a repetition"
        found.append(f"formal/README.md does not list exactly the theorems of the .v files: {odd}")
    for name, file, claims in rows:
        if name not in contents.get(file, []):
            found.append(f"formal/README.md: {file}.v has no theorem {name}")
        for label, target in claims:
            if target != f"../{label}.md" or not (proofs / f"{label}.md").is_file():
                found.append(f"formal/README.md: {name} leads to {target}, which is not there")

    for proof, pairs in lines.items():
        if pairs is None:
            found.append(f"{proof} has no Formal line")
        for file, name in pairs or []:
            if name not in contents.get(file, []):
                found.append(f"{proof}: {file}.v has no theorem {name}")
    from_rows = {(name, f"{label}.md") for name, _, claims in rows for label, _ in claims}
    from_lines = {(name, proof) for proof, pairs in lines.items() for _, name in pairs or []}
    found += [f"only one of formal/README.md and {proof} connects {name}" for name, proof in from_rows ^ from_lines]

    if {target for target, _ in table} != set(lines):
        found.append(f"README.md does not list exactly the proofs: {({target for target, _ in table}) ^ set(lines)}")
    for target, status in table:
        names, formal = set(re.findall(r"`(\w+)`", status)), {name for _, name in lines.get(target) or []}
        if not status.startswith(STATES):
            found.append(f"README.md: {target} has the unknown status {status}")
        if ("machine-checked" in status) != bool(names) or not names <= formal:
            found.append(f"README.md: {target} is {status}, its own Formal line names {sorted(formal)}")
    for proof, pairs in lines.items():
        if bool(pairs) != any(target == proof and status.startswith(STATES[0]) for target, status in table):
            found.append(f"README.md and the Formal line of {proof} differ on whether it is machine-checked")
    return found


def test_documents_say_what_the_coq_files_contain():
    """Each theorem stands in `formal/README.md` and in the Formal line of a proof, under the file that has it; a row of
    `proofs/README.md` says machine-checked if and only if its proof names a theorem.
    """
    assert disagreements(PROOFS) == []


@pytest.fixture
def copied(tmp_path):
    """A copy of the folder of proofs, to be spoilt."""
    return Path(shutil.copytree(PROOFS, tmp_path / "proofs", ignore=shutil.ignore_patterns("build", "__pycache__")))


def change(path, old, new):
    text = read(path)
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


THEOREM = "Theorem equation_13 "
UNPROVED = "[asymptotic_error](asymptotic_error.md) | proved"


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("formal/kl_control.v", THEOREM, "Lemma equation_13 ", "kl_control.v has no theorem equation_13"),
        ("formal/kl_control.v", THEOREM, f"(* {THEOREM} *) Lemma x ", "kl_control.v has no theorem equation_13"),
        ("formal/sampling.v", "Lemma diagonal_split", "  Theorem diagonal_split", "does not list exactly the theorems"),
        ("formal/README.md", "| `theorem_1` | identifiability |", "| `theorem_1` | convexity |", "convexity.v has no"),
        ("formal/README.md", "[theorem_2](../theorem_2.md)", "[theorem_3](../theorem_3.md)", "which is not there"),
        ("formal/README.md", "[theorem_2](../theorem_2.md)", "[lemma_1](../lemma_1.md)", "only one of"),
        ("lemma_1.md", ", `lemma_1_converse`", "", "only one of"),
        ("lemma_1.md", "`lemma_1_converse`", "`lemma_1_convert`", "identifiability.v has no theorem lemma_1_convert"),
        ("winners.md", " Formal: ", " Formal ", "winners.md has no Formal line"),
        ("README.md", "(`theorem_1`)", "(`theorem_2`)", "theorem_1.md is machine-checked"),
        ("README.md", "(`theorem_1`)", "", "theorem_1.md is machine-checked"),
        ("README.md", "(winners.md) | machine", "(winners.md) | proved; machine", "winners.md differ on whether"),
        ("README.md", UNPROVED, UNPROVED.replace("proved", "machine-checked (`lemma_1`)"), "asymptotic_error.md is"),
        ("README.md", UNPROVED, UNPROVED.replace("proved", "certain"), "asymptotic_error.md has the unknown status"),
        ("README.md", UNPROVED, "[barker](barker.md) | proved", "does not list exactly the proofs"),
    ],
)  # fmt: skip
def test_comparison_sees_a_wrong_word(copied, file, old, new, complaint):
    """Control: one wrong word in any of the documents, or a theorem gone or new, is named."""
    change(copied / file, old, new)
    added = set(disagreements(copied)) - set(disagreements(PROOFS))
    assert any(complaint in sentence for sentence in added), added


def test_lists_that_make_compares_are_complete():
    """The lists name every theorem and every definition, and no axiom beyond the library's real numbers."""
    formal = PROOFS / "formal"
    stated = sorted(name for names in theorems(PROOFS).values() for name in names)
    printed = read(formal / "assumptions.txt")
    assert sorted(re.findall(r"^(\w+)\n {5}: ", printed, flags=re.M)) == stated
    assert set(re.findall(r"^(\S+)\s*: ", printed.split("Axioms:\n")[1], flags=re.M)) == LIBRARY_AXIOMS
    by_theorem = dict(line.split(":") for line in read(formal / "axioms_by_theorem.txt").splitlines())
    assert sorted(by_theorem) == stated
    assert set(" ".join(by_theorem.values()).split()) <= LIBRARY_AXIOMS

    source = without_comments(read(formal / "definitions.v"))
    defined = re.findall(r"\b(?:Definition|Fixpoint|Inductive)\s+(\w+)", source)
    found = re.findall(r"^(?:Inductive )?(\w+) (?:=|\(.*:=$)", read(formal / "definitions.txt"), flags=re.M)
    assert found == defined


# --- With Coq ---


def why_coq_cannot_run():
    """Why `make` cannot be run or its lists not be compared, or nothing."""
    if missing := [program for program in ("coqc", "make", "bash") if shutil.which(program) is None]:
        return f"{' and '.join(missing)} not installed (Debian 12: apt-get install --no-install-recommends coq make)"
    version = subprocess.run(["coqc", "--print-version"], capture_output=True, text=True).stdout.split()
    return None if version and version[0].startswith("8.16") else f"the lists are Coq 8.16's; coqc is {version[:1]}"


REASON = why_coq_cannot_run()
needs_coq = pytest.mark.skipif(REASON is not None, reason=f"formal proofs not checked: {REASON}")


def make(proofs, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "-C", proofs / "formal", *arguments], env=environment, capture_output=True, text=True, timeout=600
    )


@needs_coq
@pytest.mark.slow
def test_coq_accepts_every_proof(copied):
    """`make` compiles everything from scratch and finds the theorems, definitions and axioms on record; a clean
    machine's run asks it for no less, and each theorem's axioms besides.
    """
    run = make(copied)
    assert run.returncode == 0, run.stdout + run.stderr
    count = sum(len(names) for names in theorems(PROOFS).values())
    assert f"\n{count} theorems and " in run.stdout


@needs_coq
@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("kl_control.v", "Theorem equation_13 ", "Axiom cheat : False.\nTheorem equation_13 ", "forbidden word"),
        ("kl_control.v", "Qed.", "Admitted.", "forbidden word"),
        ("kl_control.v", "Theorem ", "Definition kl (p s : R) : R := 0.\nTheorem ", "only definitions.v may define"),
        ("_CoqProject", "kl_control.v", "", "_CoqProject does not name"),
        ("definitions.v", "p * ln (p / s) + (1 - p)", "p * ln (p / s) - (1 - p)", "the definitions differ"),
        ("definitions.v", "(sum n (fun x => F))", "(sum (S n) (fun x => F))", "the definitions differ"),
        *(pytest.param("definitions.v", old, new, "the definitions differ", marks=pytest.mark.slow)
          for old, new in (("0 < q A B + q B A", "0 < q A B"), ("(C < n)%nat -> comp", "(B < n)%nat -> comp"))),
    ],
)  # fmt: skip
def test_make_refuses(copied, file, old, new, complaint):
    """Control: an axiom, an admitted proof, a second `kl`, a file left out, a changed definition or notation."""
    change(copied / "formal" / file, old, new)
    run = make(copied)
    assert run.returncode != 0
    assert complaint in run.stderr, run.stdout + run.stderr


WINNERS = "winners n q (luce p)).\nProof.\n  intros n q p Hq Hp. split;"
WEAKER = WINNERS.replace("p)).", "p)) \\/ False.").replace("split", "left. split")


@needs_coq
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "arguments", "complaint"),
    [
        # The words are only the first fence: Coq itself reports what was not proved.
        ("kl_control.v", "Qed.", "Admitted.", ["FORBIDDEN=nothing"], "differ from assumptions.txt"),
        # A false statement has no proof, whatever the lists say.
        ("definitions.v", "p * ln (p / s) + (1 - p)", "p * ln (p / s) - (1 - p)", ["list"], "Error"),
        # A weaker theorem has one.
        ("sampling.v", WINNERS, WEAKER, [], "differ from assumptions.txt"),
    ],
    ids=["unproved", "false", "weaker"],
)  # fmt: skip
def test_coq_itself_refuses(copied, file, old, new, arguments, complaint):
    """Control, without the quick checks that come before: Coq rejects what is false, and reports what is assumed."""
    change(copied / "formal" / file, old, new)
    run = make(copied, *arguments)
    assert run.returncode != 0
    assert complaint in run.stderr, run.stdout + run.stderr
