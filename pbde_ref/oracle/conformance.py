"""Reports for other readers: JUnit's XML, which continuous integration shows, and a table for a README."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from tabulate import tabulate

from pbde_ref.oracle.report import CheckResult, Report

__all__ = ["conformance_table", "junit_xml"]

# What JUnit's reader makes of a status; nothing stands below a case that passed.
_ELEMENT = {"failed": "failure", "unexpected pass": "failure", "skipped": "skipped", "expected failure": "skipped"}


def junit_xml(reports: Sequence[Report]) -> bytes:
    """One suite for each report, one case for each check, as JUnit's readers understand it.

    Examples
    --------
    >>> report = Report("mine", "dpo", {}, (CheckResult("value", "failed", "not a number"),), "numpy", "float64")
    >>> print(junit_xml([report]).decode().splitlines()[1])
    <testsuites><testsuite name="mine held against dpo" tests="1" failures="1" skipped="0"><testcase classname="mine.dpo" name="value"><failure message="not a number">not a number</failure></testcase></testsuite></testsuites>
    """  # noqa: E501
    root = ElementTree.Element("testsuites")
    for report in reports:
        elements = [_ELEMENT.get(result.status) for result in report.results]
        subject = _printable(report.subject)
        suite = ElementTree.SubElement(root, "testsuite", {
            "name": f"{subject} held against {report.loss}", "tests": str(len(elements)),
            "failures": str(elements.count("failure")), "skipped": str(elements.count("skipped")),
        })  # fmt: skip
        for result, element in zip(report.results, elements, strict=True):
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{subject}.{report.loss}", name=_printable(result.name)
            )
            if element:
                first, text = _printable(result.message.partition("\n")[0]), _printable(_told(result))
                ElementTree.SubElement(case, element, message=first).text = text
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _told(result: CheckResult) -> str:
    return f"{result.message}\n\nDiagnosis: {result.diagnosis}" if result.diagnosis else result.message


def _printable(text: str) -> str:
    """Without control characters and halves of surrogate pairs, for which XML has no place."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def conformance_table(reports: Sequence[Report]) -> str:
    """A Markdown table: what each function was held against, how many checks held something, and what was found.

    Examples
    --------
    >>> report = Report("mine", "dpo", {"beta": 0.3}, (CheckResult("value", "passed"),), "numpy", "float64")
    >>> print(conformance_table([report]))
    | function   | declared as    | arrays         | checks      | verdict   |
    |------------|----------------|----------------|-------------|-----------|
    | mine       | dpo (beta=0.3) | numpy, float64 | 1 of 1 held | conforms  |
    """
    rows = []
    for report in reports:
        failed = [result.name for result in report.results if result.status in ("failed", "unexpected pass")]
        declared = ", ".join(f"{name}={value}" for name, value in report.conventions.items())
        known = [f"{r.name}: {r.message}" for r in report.results if r.status == "expected failure"]
        verdict = "conforms" if report.passed else "; ".join(report.diagnoses) or f"differs in {', '.join(failed)}"
        rows.append([
            report.subject, f"{report.loss} ({declared})", f"{report.framework}, {report.dtype}",
            f"{report.held} of {len(report.results)} held",
            "; ".join([verdict, *(f"known failure, {line}" for line in known)]),
        ])  # fmt: skip
    cells = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in row] for row in rows]
    return tabulate(cells, ["function", "declared as", "arrays", "checks", "verdict"], tablefmt="github")
