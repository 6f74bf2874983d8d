"""`pbde-ref explore`: the numbers, the Python that makes them, who is served, and the page in a browser."""

import contextlib
import http.client
import io
import json
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest

from pbde_ref.cli import main
from pbde_ref.experiments.atlas import atlas_row
from pbde_ref.explore import Explorer, Settings, answer, page_of, python_of
from pbde_ref.explore.answers import EXPLORED, choices, fixed_settings
from pbde_ref.explore.server import MOST_BYTES

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_it_shows_what_the_atlas_shows():
    """On Eq. (10) the policies are those of `pbde-ref optima`, which come another way."""
    for loss, numbers in (("slic", {"delta": 1.0, "lambda_": 0.0}), ("ipo", {"tau": 0.5}), ("dpo", {"beta": 4.0})):
        row = atlas_row(loss, size=32, **numbers)
        found = answer(Settings(loss=loss, parameters=numbers, size=32))
        assert found["policy"] == row.policy.pmf.tolist()
        assert found["certificate"]["gap"] == row.optimum.gap
        assert found["distances"]["preference"] == row.distances["total_variation_preference"]


# The slowest, on few points: seconds of a search for minima that are not certified.
SLOW = ("bpo", "dpop", "apo_down", "exo", "annotator_mixture", "discopop", "aot")
QUICK = [name for name in EXPLORED if name not in SLOW]


@pytest.mark.parametrize("seed", range(6))
def test_the_python_that_is_copied_gives_the_same_numbers(seed):
    """Settings that nobody chose; every bit of the policy, and of what proves it."""
    rng = np.random.default_rng(seed)
    pick = lambda names: str(rng.choice(names))  # noqa: E731
    annotators = np.stack([rng.random(3), rng.normal(0, 3, 3), 1 + rng.random(3)], axis=1).tolist()
    for loss in (QUICK[seed * len(QUICK) // 6], pick(QUICK)):
        settings = Settings(
            annotators=annotators[: rng.integers(1, 4)], several=bool(rng.integers(2)), loss=loss, size=16,
            process=pick(["luce", "dpo", "geometric_average"]), strength=0.25 + rng.random(),
            pairs=pick(["reference", "uniform", "preference"]), reference=(1.0, 3.0), length_ratio=3.0,
        )  # fmt: skip
        names = {}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(python_of(settings), names)
        found, shown = names["found"], answer(settings)
        assert shown["policy"] == (None if found.policy is None else found.policy.pmf.tolist()), settings
        for name in ("gap", "policy_error", "loss"):
            value = getattr(found, name)
            assert shown["certificate"][name] == (value if np.isfinite(value) else None)
        json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": "__import__('os')"}, "`loss` must be"),
        ({"parameters": {"beta": "1+1"}}, "`beta` must be"),
        ({"parameters": {"reference": 1.0}}, "`parameters of dpo` must be"),
        ({"parameters": {"beta": -1.0}}, "`beta` must be positive"),
        ({"parameters": [1]}, "`parameters` must be numbers by name"),
        ({"size": 10**9}, "`size` must be at most 512"),
        ({"annotators": []}, "`number of annotators` must be at least 1"),
        ({"annotators": [[1, 2]]}, "must have 3 numbers"),
        ({"annotators": [[1, 2, 0.0]]}, "must be positive"),
        ({"annotators": [[0, 2, 1]]}, "positive mass"),
        ({"annotators": [[float("inf"), 2, 1]]}, "finite"),
        ({"several": 1}, "`several` must be True or False"),
        ({"code": "print()"}, "code"),
    ],
)
def test_wrong_settings_are_refused_by_name(given, said):
    with pytest.raises((TypeError, ValueError), match=re.escape(said)) as refused:
        answer(Settings(**given))
    assert len(str(refused.value)) <= 300


@pytest.fixture(scope="module")
def explorer():
    with Explorer(0, Settings(size=32)) as explorer:
        threading.Thread(target=explorer.serve_forever, daemon=True).start()
        yield explorer
        explorer.shutdown()


def request(explorer, method="POST", path="/answer", body=b"{}", **changed):
    """Status, headers and body; a header that is None is left out."""
    headers = {"Host": explorer.hosts[0], "Content-Type": "application/json", "Content-Length": str(len(body))}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    connection = http.client.HTTPConnection("127.0.0.1", explorer.server_port, timeout=60)
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read()


def test_it_answers_and_listens_to_this_machine_alone(explorer):
    status, headers, page = request(explorer, "GET", "/", b"")
    assert (status, headers["X-Frame-Options"]) == (200, "DENY")
    assert not re.search(rb"""(?:src|href)=["'](?!data:)|url\(|@import|https?://""", page.partition(b"id=\"data\"")[0])
    status, _, body = request(explorer, body=json.dumps({"size": 32, "parameters": {"beta": 2}}).encode())
    assert status == 200
    assert json.loads(body) == json.loads(json.dumps(answer(Settings(size=32, parameters={"beta": 2.0}))))
    assert explorer.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": None}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"method": "GET", "path": "/", "Host": "evil.example"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Length": None}, 411),
        ({"Content_Length": "-1"}, 411),
        ({"Content_Length": str(MOST_BYTES + 1)}, 413),
        ({"Content_Length": "9" * 400}, 413),
        ({"path": "/../setup.py"}, 404),
        ({"method": "GET", "path": "/page.js"}, 404),
        ({"method": "OPTIONS"}, 501),
        ({"body": b"[" * 9000}, 422),
        ({"body": b"\xff"}, 422),
        ({"body": b"[]"}, 422),
        ({"body": b'{"size": NaN}'}, 422),
        ({"body": b'{"size": ' + b"9" * 5000 + b"}"}, 422),
        ({"body": b'{"loss": "no such"}'}, 422),
    ],
)
def test_whoever_else_asks_is_refused(explorer, changed, status):
    """Other sites, other names for this machine, other paths, and what is too long or no settings."""
    found, _, body = request(explorer, **changed)
    assert found == status
    assert status == 501 or len(json.loads(body)["error"]) <= 300


@pytest.mark.slow
def test_a_newer_question_ends_the_older_one(explorer):
    """What takes minutes is given up, and answered with a conflict."""
    late = []
    slow = json.dumps({"loss": "bpo", "size": 256}).encode()
    thread = threading.Thread(target=lambda: late.append(request(explorer, body=slow)[0]))
    thread.start()
    thread.join(3.0)
    status, _, _ = request(explorer, body=b'{"size": 128}')
    thread.join(60.0)
    assert (status, late) == (200, [409])


def test_a_page_of_fixed_problems_needs_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("pbde_ref.cli.explore.fixed_settings", lambda start: list(fixed_settings(start))[:3])
    path = tmp_path / "page.html"
    assert main(["explore", "--out", str(path), "--support", "16", "--annotator", "1:normal(0,1)"]) == 0
    text = path.read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))
    assert data["ask"] is None
    assert [problem["settings"]["annotators"] for problem in data["problems"]] == [[[1.0, 0.0, 1.0]]] * 3
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)


def test_data_cannot_end_the_script():
    page = page_of({"choices": {"losses": {"</script><script>alert(1)": {}}}, "problems": [], "ask": None})
    assert "</script><script>alert" not in page


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed: the page was not seen in a browser")
@pytest.mark.parametrize("served", [True, False])
def test_a_browser_shows_it_without_complaint(explorer, tmp_path, served):
    """The certificate and the Python stand on the page, and the console stays empty."""
    url = explorer.url
    if not served:
        path = tmp_path / "page.html"
        path.write_text(page_of({"choices": choices(), "problems": [answer(Settings(size=32))], "ask": None}), "utf-8")
        url = path.as_uri()
    seen = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
         "--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom", url],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert re.search(r'id="state"[^>]*class="good"[^>]*>certified on 32 points', seen.stdout)
    assert "pb.optimum(&quot;dpo&quot;" in seen.stdout or 'pb.optimum("dpo"' in seen.stdout
    assert "CONSOLE" not in seen.stderr, seen.stderr
