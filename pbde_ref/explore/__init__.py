"""A page that shows at once what a loss learns from annotators that one draws: `pbde-ref explore`.

From settings to numbers (`answers`), the page around them (`page`), and who serves it (`server`).
"""

from pbde_ref.explore.answers import Settings, answer, python_of
from pbde_ref.explore.page import page_of
from pbde_ref.explore.server import Explorer

__all__ = ["Explorer", "Settings", "answer", "page_of", "python_of"]
