"""The oldest versions that setup.py allows, a requirement a line: ``python .github/oldest.py``."""

import ast
from pathlib import Path

tree = ast.parse((Path(__file__).parents[1] / "setup.py").read_text(encoding="utf-8"))
wanted = {"REQUIRED", "FIGURES", "LANGUAGE", "TEST"}
for statement in tree.body:
    if isinstance(statement, ast.Assign) and statement.targets[0].id in wanted:
        for entry in statement.value.elts:
            if isinstance(entry, ast.Constant):
                print(entry.value.replace(">=", "=="))
