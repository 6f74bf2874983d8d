"""Run the notebooks beside this file, here and now: ``python docs/notebooks/run.py`` writes their outputs again.

A cell's output is what it prints, then its last expression; a figure becomes a small PNG.
"""

import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path


def outputs_of(cells, names=None):
    """The outputs of each code cell, as the notebooks' format has them."""
    names = {"__name__": "__main__"} if names is None else names
    return [_outputs("".join(cell["source"]), names) for cell in cells if cell["cell_type"] == "code"]


def _outputs(source, names):
    body = ast.parse(source).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if last is not None:
            value = eval(compile(last, "cell", "eval"), names)
    found = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        found.append({"name": "stdout", "output_type": "stream", "text": text})
    if hasattr(value, "get_figure"):
        found.append(_output("display_data", {"image/png": _png(value.get_figure()), "text/plain": ["<Figure>"]}))
    elif value is not None:
        text = repr(value).splitlines(keepends=True)
        found.append({**_output("execute_result", {"text/plain": text}), "execution_count": None})
    return found


def _output(kind, data):
    return {"data": data, "metadata": {}, "output_type": kind}


def _png(figure):
    from matplotlib import pyplot

    image = io.BytesIO()
    figure.set_size_inches(5.4, 2.7)
    figure.savefig(image, dpi=80, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)
    return base64.b64encode(image.getvalue()).decode()


def markdown_of(text):
    """A notebook as a page: its text, its code, and what came out."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f'<img alt="figure" src="data:image/png;base64,{data["image/png"]}">')
            else:
                said = "".join(output.get("text") or data["text/plain"])
                parts.append(f"```text\n{said.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def main():
    """Run those that are named, or all, and store what came out."""
    paths = [Path(name) for name in sys.argv[1:]] or sorted(Path(__file__).parent.glob("*.ipynb"))
    for path in paths:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for cell, outputs in zip(code, outputs_of(code), strict=True):
            cell["outputs"] = outputs
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
