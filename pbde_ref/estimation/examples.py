"""Comparisons that were really made, shipped with the package."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np

from pbde_ref.validation import FloatArray

__all__ = ["stigler_citations", "stigler_file"]


def stigler_file() -> Traversable:
    """The file of `stigler_citations`: columns cited, citing, citations.

    Examples
    --------
    >>> from pbde_ref.estimation import stigler_file
    >>> stigler_file().name
    'stigler_citations.csv'
    """
    return files("pbde_ref.estimation").joinpath("data", "stigler_citations.csv")


def stigler_citations() -> tuple[list[str], FloatArray]:
    """How often four journals of statistics cited each other.

    A citation is a comparison that the cited journal wins: it exported knowledge.

    Returns
    -------
    journals : list of str
    counts : ndarray, shape (4, 4)
        Entry [i, j]: citations of journal i in journal j.

    References
    ----------
    S. M. Stigler: Citation patterns in the journals of statistics and probability. Statistical Science 9 (1994).
    A. Agresti: Categorical Data Analysis (2002), section 10.6, has these four of its journals.

    Examples
    --------
    >>> from pbde_ref.estimation import stigler_citations
    >>> journals, counts = stigler_citations()
    >>> counts[0]
    array([  0., 730., 498., 221.])
    """
    lines = stigler_file().read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split(",") for line in lines]
    journals = list(dict.fromkeys(cited for cited, _, _ in rows))
    counts = np.zeros((len(journals), len(journals)))
    for cited, citing, citations in rows:
        counts[journals.index(cited), journals.index(citing)] = float(citations)
    return journals, counts
