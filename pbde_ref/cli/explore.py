"""``pbde-ref explore``: a page on which one draws annotators and sees what a loss learns from them."""

from __future__ import annotations

import argparse
import webbrowser
from typing import Any

from tqdm import tqdm

from pbde_ref.cli.arguments import output_path, whole
from pbde_ref.experiments.annotators import annotators_from
from pbde_ref.explore.answers import Settings, answer, choices, fixed_settings
from pbde_ref.explore.page import page_of
from pbde_ref.files import write_atomically

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``pbde-ref explore``."""
    parser.description = (
        "Serve a page, to this machine alone, on which one drags annotators, picks loss, process and numbers, and sees "
        "the exact optimum and what proves it; or write one with the paper's losses to a file. Ctrl-C ends it."
    )
    parser.add_argument("--annotator", metavar="SPEC", action="append", default=[],
                        help="to begin with, WEIGHT:normal(MEAN,DEVIATION) for each, instead of Eq. (10)")  # fmt: skip
    parser.add_argument("--support", metavar="N", type=whole(16, 512), help="grid points [256; 128 with --out]")
    parser.add_argument("--port", metavar="N", type=whole(0, 65535), default=0, help="where to listen [a free one]")
    parser.add_argument("--browser", action="store_true", help="also open the page in a browser")
    parser.add_argument("--out", metavar="PATH", type=output_path(".html"),
                        help="instead: write a page of fixed problems there, for which nothing has to run")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted, or write the file; the exit status."""
    given: dict[str, Any] = {"annotators": tuple(annotators_from(options.annotator))} if options.annotator else {}
    size = options.support or (128 if options.out else 256)
    start = Settings(size=size, parameters={"beta": 4.0}, **given)
    if options.out:
        fixed = tqdm(list(fixed_settings(start)), desc="explore", unit="problem", disable=None, leave=False)
        page = page_of({"choices": choices(), "problems": [answer(settings) for settings in fixed], "ask": None})
        write_atomically(options.out, page.encode())
        return 0
    from pbde_ref.explore.server import Explorer

    with Explorer(options.port, start) as explorer:
        print(f"{explorer.url} (Ctrl-C ends it)", flush=True)
        if options.browser:
            webbrowser.open(explorer.url)
        try:
            explorer.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
