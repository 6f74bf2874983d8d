"""The oracle's checks as single tests of pytest, with readable ids.

In a test file::

    from pbde_ref.oracle.pytest_plugin import parametrize_with_checks, subject

    @parametrize_with_checks([
        subject(my_dpo, "dpo", beta=0.1),
        subject(my_ipo, "ipo", tau=0.1, average=True, expected_failed_checks={"bfloat16": "computed in bfloat16"}),
    ])
    def test_losses(check):
        check()

From the command line, without a test file::

    pytest --pbde-subject package.module:my_dpo --pbde-loss dpo --pbde beta=0.1 -v

With ``expect_checks=20`` (``--pbde expect_checks=20``) one more test fails unless so many checks held something.

The options are declared by the module ``pytest_pbde_ref``, which pytest finds by itself where the package is installed
(elsewhere: ``-p pytest_pbde_ref``).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pbde_ref.oracle import iter_checks, run_check
from pbde_ref.oracle.calling.naming import subject_named
from pbde_ref.oracle.entry import chosen_values
from pbde_ref.oracle.report import CHOSEN

__all__ = ["Check", "Subject", "items_from_options", "parametrize_with_checks", "subject"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A function to be checked, and what it is declared to compute; made by `subject`."""

    function: Callable[..., Any] | str
    loss: str | None
    keywords: Mapping[str, Any] = field(default_factory=dict)
    expected_failed_checks: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The function's name."""
        if isinstance(self.function, str):
            return self.function
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def definition(self) -> str:
        """What it is held against."""
        return self.loss or str(getattr(self.keywords["objective"], "__name__", "objective"))

    @property
    def checks(self) -> list[str]:
        """The names of its checks."""
        return list(iter_checks(self.loss, **self.keywords))


def subject(
    function: Callable[..., Any] | str,
    loss: str | None = None,
    *,
    expected_failed_checks: Mapping[str, str] | None = None,
    **keywords: Any,
) -> Subject:
    """A function and what it computes, for `parametrize_with_checks`.

    Parameters
    ----------
    function : callable or str
        The function, or "package.module:function", which is imported when the first check runs.
    loss : str
        As in `check_loss`; or "sequence_log_probs". Without it, ``objective=...`` among the keywords.
    expected_failed_checks : mapping of str to str, optional
        Names of checks that are known to fail, with the reason: they become expected failures (xfail).
    **keywords
        Conventions and options of `check_loss`.

    Raises
    ------
    ValueError, TypeError
        If an expected failure names no check of this loss, or the loss or a convention is unknown.

    Examples
    --------
    >>> subject("mine.losses:dpo", "dpo", beta=0.1).checks[:4]
    ['call', 'repeatability', 'statelessness', 'inputs_unmodified']
    """
    expected = dict(expected_failed_checks or {})
    result = Subject(function, loss, keywords, expected)
    checks = result.checks
    unknown = [name for name in expected if name not in checks]
    if unknown:
        raise ValueError(f"`expected_failed_checks` must name checks ({', '.join(checks)}); got {unknown[0]!r}")
    return result


@dataclass(frozen=True, eq=False)
class Check:
    """One check of one subject: call it to run it.

    Examples
    --------
    >>> import numpy as np
    >>> Check("value", subject(lambda chosen, rejected: np.mean(np.logaddexp(0.0, rejected - chosen)), "reward"))()
    """

    name: str
    subject: Subject

    def __call__(self) -> None:
        """Pass, skip, or fail with the check's message."""
        __tracebackhide__ = True
        function = self.subject.function
        if isinstance(function, str):
            function = subject_named(function)
        result = run_check(self.name, function, self.subject.loss, **self.subject.keywords)
        if result.status == "skipped":
            pytest.skip(result.message)
        if result.status == "failed":
            chosen = chosen_values(self.subject.loss, **self.subject.keywords)
            against = ", ".join([self.subject.definition, *(f"{n}={value}{CHOSEN}" for n, value in chosen.items())])
            text = f"{self.subject.name} held against {against}, {self.name}\n\n{result.message}"
            pytest.fail(f"{text}\n\nDiagnosis: {result.diagnosis}" if result.diagnosis else text, pytrace=False)


def parametrize_with_checks(subjects: Sequence[Subject], *, argument: str = "check") -> pytest.MarkDecorator:
    """Turn each check of each subject into one test.

    Parameters
    ----------
    subjects : sequence of Subject
        Made by `subject`.
    argument : str
        The test function's argument that takes the check, to be called.

    Returns
    -------
    decorator
        Ids are like ``my_dpo-dpo-value``; conventions are added where two subjects would share an id.

    Examples
    --------
    >>> mark = parametrize_with_checks([subject("mine:dpo", "dpo", beta=0.1), subject("mine:dpo", "dpo", beta=0.5)])
    >>> mark.args[1][4].id
    'mine:dpo-dpo(beta=0.1)-value'
    """
    if isinstance(subjects, Subject) or not all(isinstance(one, Subject) for one in subjects):
        raise TypeError("`subjects` must be a list of what `subject(function, loss, ...)` returns")
    parameters = []
    for label, one in zip(_labels(subjects), subjects, strict=True):
        for check in one.checks:
            marks = [_expected_failure(one, check)] if check in one.expected_failed_checks else []
            parameters.append(pytest.param(Check(check, one), id=f"{label}-{check}", marks=marks))
    return pytest.mark.parametrize(argument, parameters)


def items_from_options(session: pytest.Session) -> list[pytest.Item]:
    """The checks of the subjects that the command line names."""
    options = session.config.option
    if not (options.pbde_loss or options.pbde_objective):
        raise pytest.UsageError("--pbde-subject needs --pbde-loss, or --pbde-objective")
    keywords = {name: _value(text) for name, text in _assignments("--pbde", options.pbde_conventions)}
    expected = dict(_assignments("--pbde-expected-failure", options.pbde_expected))
    items: list[pytest.Item] = []
    for name in options.pbde_subject:
        try:
            # A name that is mistyped is wrong once, not once for each check.
            subject_named(name)
            if options.pbde_objective:
                keywords["objective"] = subject_named(options.pbde_objective)
            one = subject(name, options.pbde_loss, expected_failed_checks=expected, **keywords)
        except (TypeError, ValueError) as error:
            raise pytest.UsageError(f"{name}: {error}") from error
        node = _SubjectNode.from_parent(session, name=name, nodeid=f"{name}[{one.definition}]")
        node.subject = one
        items += node.collect()
    return items


class _SubjectNode(pytest.Collector):
    """What the checks of one subject from the command line stand under."""

    subject: Subject

    def collect(self) -> list[pytest.Item]:
        """One item for each check."""
        items: list[pytest.Item] = []
        for name in self.subject.checks:
            item = _CheckItem.from_parent(self, name=name)
            item.check = Check(name, self.subject)
            if name in self.subject.expected_failed_checks:
                item.add_marker(_expected_failure(self.subject, name))
            items.append(item)
        return items


class _CheckItem(pytest.Item):
    """One check of a subject from the command line."""

    check: Check

    def runtest(self) -> None:
        self.check()

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.config.invocation_params.dir, None, self.nodeid

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Failures of a check speak for themselves; a traceback is for a subject that cannot be imported."""
        if isinstance(excinfo.value, pytest.fail.Exception):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


def _expected_failure(one: Subject, check: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(reason=one.expected_failed_checks[check], raises=pytest.fail.Exception)


def _labels(subjects: Sequence[Subject]) -> list[str]:
    short = [f"{one.name}-{one.definition}" for one in subjects]
    return [
        f"{label}({','.join(f'{name}={value}' for name, value in one.keywords.items() if name != 'objective')})"
        if short.count(label) > 1 and one.keywords
        else label
        for label, one in zip(short, subjects, strict=True)
    ]


def _assignments(option: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise pytest.UsageError(f"{option} must be given like name=value; got {text!r}")
        yield name, value


def _value(text: str) -> Any:
    """A number, True, False or a list as in Python; anything else is a word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
