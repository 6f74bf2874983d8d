"""English sentences that every machine has: the documentation inside Python's standard library.

Sources are read and parsed, never imported or run. What counts as a sentence is decided here, by rules about the text
alone, so one Python version gives one list.
"""

from __future__ import annotations

import ast
import hashlib
import os
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from itertools import pairwise

__all__ = ["python_sentences", "sentences_of"]

TOPICS = "pydoc_data.topics"
TEST_FOLDERS = {"test", "tests", "idle_test"}

BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")

TO_ASCII = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "`": "'", "*": None})
ROLE = re.compile(r":[a-z:]+:(?=`)")
BULLET = re.compile(r"(?:[*•-]|\(?(?:\d{1,2}|[a-z])[.)]) +")
BOUNDARY = re.compile(r"""[.!?]["')]* +(?=["'(]?[A-Z]|["'][a-z_])""")
ABBREVIATION = re.compile(r"(?:^|[ (])(?:[A-Z]|[A-Za-z]\.[A-Za-z]|[Cc]f|[Vv]s|etc|No|Mr|Mrs|Dr|Fig|Vol|vol|pp?)\.$")

START = re.compile(r"""["'(]?(?:[A-Z][a-z]+|[A-Z]{2,}|A|I)(?:['-][A-Za-z]+)*["']?[,:]? """)
CHARACTERS = re.compile(r"""[A-Za-z0-9 ,.;:'"?!()/%$&_+-]+""")
WORD = re.compile(
    r"""[("']*(?:[A-Za-z]+\d*|\$?\d+(?:[.,:]\d+)*%?)(?:(?:['/+&-]|--)(?:[A-Za-z]+\d*|\d+))*(?:'|s'|\(\))?"""
    r"""[)"']*[,.;:?!]*[)"']*|--?|\(?(?:e\.g\.|i\.e\.|etc\.),?"""
)
IDENTIFIER = re.compile(r"""[("']*\w+(?:\.\w+)*(?:\(\)|'s)?[)"']*[,.;:?!]*[)"']*""")
# A sentence of prose has one of these; a list of names or a noun phrase need not.
FUNCTION_WORDS = frozenset([
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "but", "by", "can", "do", "does", "each", "for",
    "from", "has", "have", "if", "in", "into", "is", "it", "its", "may", "more", "must", "no", "not", "of", "on", "one",
    "only", "or", "other", "should", "such", "than", "that", "the", "their", "then", "there", "this", "to", "two",
    "was", "when", "whether", "which", "will", "with", "without", "you",
])  # fmt: skip


def python_sentences(location: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """Distinct English sentences of a standard library's documentation, in the order of their SHA-256 digests.

    Taken from `pydoc_data.topics` and from the docstrings of all modules, classes and functions of the standard
    library, its test folders excepted. A sentence starts with a capital, ends with ``.``, ``!`` or ``?``, has 3 to 80
    words, at most one of which is an identifier with underscores or dots, and reads as prose: no prompts, operators or
    unbalanced brackets. Typographic quotes become ASCII.

    Parameters
    ----------
    location : path, optional
        Folder or zip archive of a standard library. Default: that of the running Python. Some distributions leave out
        modules (IDLE, tkinter): then there are fewer sentences.

    Returns
    -------
    tuple of str
        About 13,000 for Python 3.11; the same for equal sources, whatever the file system.

    Raises
    ------
    ValueError
        If there is no sentence, for instance because only compiled modules are installed.

    Examples
    --------
    >>> import tempfile
    >>> from pbde_ref.language.python_documentation import python_sentences
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/shlex.py", "w") as file:
    ...         _ = file.write("def split(s): 'Split the string into words.  Quotes?'")
    ...     python_sentences(folder)
    ('Split the string into words.',)
    """
    folder = os.fspath(location) if location is not None else os.path.dirname(os.__file__)
    sentences = _sentences_in(folder)
    if not sentences:
        raise ValueError(f"`location` must hold Python sources with documentation; found none in {folder!r}")
    return sentences


def sentences_of(text: str) -> list[str]:
    """The English sentences in a piece of plain-text or reStructuredText documentation, in its order.

    Examples
    --------
    >>> from pbde_ref.language.python_documentation import sentences_of
    >>> sentences_of('''Return the sum, e.g. of prices.  Is `start` given?
    ... Then it is added.
    ...
    ... >>> sum([1, 2])
    ... ''')
    ['Return the sum, e.g. of prices.', "Is 'start' given?", 'Then it is added.']
    """
    pieces = (piece for paragraph in _paragraphs(text) for piece in _split(_plain(paragraph)))
    return [piece for piece in pieces if _is_sentence(piece)]


@cache
def _sentences_in(folder: str) -> tuple[str, ...]:
    # Parsing the whole library takes seconds.
    found = {sentence for text in _documentation(folder) for sentence in sentences_of(text)}
    return tuple(sorted(found, key=lambda sentence: hashlib.sha256(sentence.encode()).digest()))


def _documentation(folder: str) -> Iterator[str]:
    for name, source in _sources(sys.stdlib_module_names, [folder]):
        try:
            with warnings.catch_warnings():
                # The parser warns about escapes in other people's sources.
                warnings.simplefilter("ignore")
                tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        yield from _topics(tree) if name == TOPICS else _docstrings(tree)


def _sources(names: Iterable[str], path: list[str], package: str = "") -> Iterator[tuple[str, str]]:
    """Names and sources of modules and of their submodules, found and read but not imported."""
    for name in sorted(names):
        if package and name in TEST_FOLDERS:
            continue
        try:
            spec = PathFinder.find_spec(package + name, path)
            if spec is None or spec.loader is None:
                continue
            source = getattr(spec.loader, "get_source", lambda name: None)(spec.name)
        # Inside a zip archive, finding a module compiles it.
        except (ImportError, OSError, SyntaxError, ValueError):
            continue
        if source is not None:
            yield spec.name, source
        if spec.submodule_search_locations is not None:
            inside = list(spec.submodule_search_locations)
            yield from _sources([module.name for module in pkgutil.iter_modules(inside)], inside, f"{spec.name}.")


def _topics(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for value in node.values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def _docstrings(tree: ast.Module) -> Iterator[str]:
    nodes: list[ast.AST] = [tree]
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield text
        # Expressions hold no documentation, and are most of the tree.
        for block in BLOCKS:
            nodes += getattr(node, block, ())


def _paragraphs(text: str) -> Iterator[str]:
    """Lines that belong together, joined: a blank line, a bullet or another indentation begins the next."""
    lines: list[str] = []
    indentation = 0
    for line in [*text.expandtabs().splitlines(), ""]:
        content = line.strip()
        bullet = BULLET.match(content)
        begin = len(line) - len(line.lstrip()) + (bullet.end() if bullet else 0)
        if lines and (not content or bullet or begin != indentation):
            yield " ".join(lines)
            lines = []
        if content:
            lines.append(content[bullet.end() :] if bullet else content)
            indentation = begin


def _plain(paragraph: str) -> str:
    """Without reStructuredText's marks and typographic characters; single spaces."""
    return " ".join(ROLE.sub("", paragraph).replace("``", '"').translate(TO_ASCII).split())


def _split(paragraph: str) -> list[str]:
    ends = [match.end() for match in BOUNDARY.finditer(paragraph)]
    cuts = [0, *(end for end in ends if not ABBREVIATION.search(paragraph[:end].rstrip())), len(paragraph)]
    return [paragraph[begin:end].strip() for begin, end in pairwise(cuts)]


def _is_sentence(text: str) -> bool:
    if not (START.match(text) and CHARACTERS.fullmatch(text) and re.search(r"""(?<!\.)[.!?]["')]?$""", text)):
        return False
    words = text.split()
    names = [word for word in words if not WORD.fullmatch(word)]
    bare = [word.strip(",.;:()\"'") for word in words]
    return (
        3 <= len(words) <= 80
        and text.count("(") == text.count(")")
        and text.count('"') % 2 == 0
        and len(names) <= 1
        and all(IDENTIFIER.fullmatch(name) for name in names)
        and not FUNCTION_WORDS.isdisjoint(word.lower() for word in bare)
        and sum(map(str.isalpha, text)) >= 0.75 * sum(map(len, words))
        and sum(len(word) > 1 and word.isupper() for word in bare) <= len(words) / 4
    )
