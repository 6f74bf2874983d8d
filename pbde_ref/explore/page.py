"""The page: one file of HTML, style and script, with the data that it begins with inside."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

__all__ = ["page_of"]


def page_of(data: dict[str, Any]) -> str:
    """The whole page.

    It loads nothing else, and its own policy forbids what is not in it.

    Parameters
    ----------
    data : dict
        ``choices`` of `answers.choices`; ``problems``, a list of answers that are shown without asking anybody; and
        ``ask``, the address that answers settings, or None in a file.

    Examples
    --------
    >>> "default-src 'none'" in page_of({"choices": {}, "problems": [], "ask": None})
    True
    """
    html, style, script = (
        files("pbde_ref.explore").joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    # Inside a script element only "<" could end it.
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    rules = {
        "default-src": "'none'", "img-src": "data: blob:", "connect-src": "'self'", "base-uri": "'none'",
        "form-action": "'none'", "script-src": _digest(script), "style-src": _digest(style),
    }  # fmt: skip
    policy = "; ".join(f"{name} {value}" for name, value in rules.items())
    for place, value in {"POLICY": policy, "STYLE": style, "SCRIPT": script, "DATA": text}.items():
        html = html.replace(f"%{place}%", value, 1)
    return html


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
