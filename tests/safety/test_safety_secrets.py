"""Keys: refused as parameters before anything is written, and found nowhere after a run that uses them."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import nbformat
import pandas as pd
import pytest

from polinb import secrets
from polinb.book import Layout, make_book, parse_settings
from polinb.errors import ParameterError
from polinb.lab_server import environment
from polinb.openai_judge import OpenAIJudge
from polinb.params import Params, from_namespace

REPO = Path(__file__).resolve().parents[2]
SHAPES = {
    "openai": "sk-proj-" + "a1B2" * 8,
    "hub": "hf_" + "AbCdEfGhIj" * 3,
    "github": "ghp_" + "a1B2c3D4" * 4,
    "github, fine": "github_pat_" + "a1B2c3D4" * 4,
    "gitlab": "glpat-" + "a1B2c3D4" * 3,
    "amazon": "AKIA" + "ABCDEFGH12345678",
    "google": "AIza" + "SyA1-b2_" * 5,
    "slack": "xoxb-" + "1234567890-abc",
    "web token": "eyJhbGciOiJI." + "eyJzdWIiOiIx." + "SflKxwRJSMeK",
    "private key": "-----BEGIN RSA PRIVATE KEY-----",
    "address": "https://user:hunter2@example.org/v1",
    "address, token": "https://a1b2c3d4@example.org/v1",
    "query": "https://example.org/v1?api_key=a1b2c3d4",
}
# + and / are written otherwise in addresses, quotes and < otherwise in JSON and HTML
KEYS = {
    "OPENAI_API_KEY": "sk-planted+judge/0123456789<abc>&",
    "HF_TOKEN": "hf_PlantedHubTokenAbCdEfGhIjKlMn",
    "NDIF_API_KEY": "planted-ndif/key+0123456789==",
    "MY_SERVICE_PASSWORD": 'planted "pass" word/0123+456789',
}


# --- parameters


@pytest.mark.parametrize("secret", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize(
    "name", ["model", "judge_url", "system_prompt", "statements", "data", "profile", "gamma", "unknown"]
)
def test_a_value_that_looks_like_a_key_is_refused_and_not_repeated(name, secret, tmp_path):
    value = [secret] if name == "statements" else secret
    with pytest.raises(ParameterError, match="no secret") as error:
        Params.from_profile(value) if name == "profile" else Params.from_profile("tiny", **{name: value})
    assert secret not in str(error.value) + repr(error.value) + repr(error.value.given)
    with pytest.raises(ParameterError, match="no secret|'profile'"):
        from_namespace({"profile": "tiny", name: value})
    if name != "statements":
        with pytest.raises(ParameterError) as error:
            parse_settings([f"{name}={secret}"])
        assert secret not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "openai_api_key",
        "api_key",
        "hf_token",
        "HF_TOKEN",
        "password",
        "db_password",
        "client_secret",
        "access_key",
        "key",
    ],
)
def test_a_name_of_a_key_is_refused_whatever_its_value(name):
    with pytest.raises(ParameterError, match="no secret") as error:
        Params.from_profile("tiny", **{name: "correct horse"})
    assert "correct horse" not in str(error.value)
    with pytest.raises(ParameterError, match="no secret"):
        from_namespace({"profile": "tiny", name: "correct horse"})


def test_the_value_of_a_variable_that_holds_a_key_is_refused(monkeypatch):
    monkeypatch.setenv("NDIF_API_KEY", "an ordinary looking text")
    for value in ("an ordinary looking text", "say: an ordinary looking text.", "an%20ordinary%20looking%20text"):
        with pytest.raises(ParameterError, match="no secret"):
            Params.from_profile("tiny", statement_prefix=value)
    monkeypatch.delenv("NDIF_API_KEY")
    assert Params.from_profile("tiny", statement_prefix="an ordinary looking text").profile == "tiny"


@pytest.mark.parametrize(
    "given",
    [{"model": "tiny:llama"}, {"data": "task-risk-asking-people-what-they-think.csv"}, {"max_tokens": 64}, {"judge_url": "http://localhost:1/v1"},
     {"statement_prefix": "The key to it is a token of password hygiene: sk-ip the rest."}, {"model": "org/sk-model"},
     {"statement_suffix": "Ask me at a@b.org, 12:30."}],
)  # fmt: skip
def test_ordinary_values_are_taken(given):
    assert Params.from_profile("tiny", **given).profile == "tiny"


@pytest.mark.parametrize(
    "settings", [{"judge_url": SHAPES["address"]}, {"judge_model": SHAPES["openai"]}, {"hf_token": "x"}]
)
def test_papermill_never_sees_a_key(settings, tmp_path, monkeypatch):
    import papermill

    def never(*args: object, **more: object) -> None:
        raise AssertionError("papermill was called")

    monkeypatch.setattr(papermill, "execute_notebook", never)
    with pytest.raises(ParameterError):
        make_book("tiny", settings, ["all"], Layout(tmp_path))
    assert not list(tmp_path.iterdir()), "something was written"
    with pytest.raises(ParameterError):
        environment("tiny", settings)


def test_hiding(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for value in KEYS.values():
        for before in (b"", b"-", b"--", b"---"):
            whole = before + value.encode() + before
            written = [value, quote(value), quote(value, safe=""), json.dumps(value), whole.hex()]
            written += [base64.b64encode(whole).decode(), base64.urlsafe_b64encode(whole).decode()]
            for text in written:
                for shown in (secrets.hide(f"before {text} after"), secrets.hide(f"before {text} after", forms=False)):
                    assert not leaks(shown.encode()) and shown.startswith("before ") and shown.endswith(" after")
    assert secrets.hide("nothing to hide: max_tokens=5") == "nothing to hide: max_tokens=5"
    assert secrets.hide("https://user:pass@host/x?token=abc&y=1") == "https://[secret]@host/x?token=[secret]&y=1"
    monkeypatch.setenv("SSL_KEY", "/etc/ssl/private/key.pem")  # says where a key lies
    assert secrets.hide("/etc/ssl/private/key.pem") == "/etc/ssl/private/key.pem"


def test_a_judge_shows_no_key(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEYS["OPENAI_API_KEY"])
    judge = OpenAIJudge(base_url="http://127.0.0.1:9/v1", cache=tmp_path / "c.jsonl")
    shown = repr(judge) + str(judge) + json.dumps(judge.provenance()) + repr(vars(judge))
    assert KEYS["OPENAI_API_KEY"] not in shown


# --- a run with keys in its environment


def forms(value: str) -> list[str]:
    """A key as it may stand in a file."""
    raw = value.encode()
    out = [value, quote(value, safe=""), quote(value), json.dumps(value)[1:-1], raw.hex()]
    for shift in range(3):  # base64 depends on the place; what is left after cutting its ends does not
        text = base64.b64encode(b"-" * shift + raw).decode().rstrip("=")[4:-2]
        out += [text, text.replace("+", "-").replace("/", "_")]
    return list(dict.fromkeys(out))


NEEDLES = {form.encode(): name for name, value in KEYS.items() for form in forms(value)}


def leaks(content: bytes) -> set[str]:
    """Names of the keys in a file's content, also inside the packed data of pages."""
    found = {name for needle, name in NEEDLES.items() if needle in content}
    for packed in re.findall(rb"H4sI[A-Za-z0-9+/]{20,}={0,2}", content):
        try:
            found |= leaks(gzip.decompress(base64.b64decode(packed)))
        except (OSError, ValueError, EOFError):
            continue
    return found


def search(*roots: Path) -> tuple[dict[str, set[str]], int]:
    """File → keys in it, and how many files were read; tables are also searched as text."""
    found, files = {}, 0
    for path in sorted(p for root in roots for p in root.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += pd.read_parquet(path).to_csv().encode()
        files += 1
        if names := leaks(content):
            found[str(path)] = names
    return found, files


def test_the_search_finds_what_is_planted(tmp_path):
    for number, (needle, name) in enumerate(NEEDLES.items()):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(b"x" * number + needle + b"y")
        assert search(tmp_path)[0] == {str(path): {name}}
        path.unlink()
    value = KEYS["HF_TOKEN"]
    pd.DataFrame({"raw": [value]}).to_parquet(tmp_path / "a.parquet", compression="gzip")
    (tmp_path / "b.html").write_bytes(base64.b64encode(gzip.compress(f"...{value}...".encode())))
    assert len(search(tmp_path)[0]) == 2


class Echo(BaseHTTPRequestHandler):
    """A judge that repeats the key it is sent, in replies and in errors; by the path it answers or fails."""

    seen: list[str] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.seen.append(key)
        fails = self.path.startswith("/fails")
        told = {"error": {"code": "invalid_api_key", "message": f"Incorrect API key provided: {key}"}}
        message = {"role": "assistant", "content": f"left leaning, and your key is {key}"}
        reply = {"model": f"m {key}", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        body = json.dumps(told if fails else reply).encode()
        self.send_response(401 if fails else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    Echo.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def checkout(folder: Path, cells: list[str] | None) -> Path:
    """A copy of what a build needs; with ``cells``, of one chapter that consists of them."""
    shutil.copytree(REPO / "book", folder / "book", ignore=shutil.ignore_patterns("chapters", "vendor"))
    shutil.copytree(REPO / "polinb", folder / "polinb", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "_config.yml", folder)
    if cells is None:
        shutil.copytree(REPO / "notebooks", folder / "notebooks")
        return folder
    (folder / "notebooks").mkdir()
    first = nbformat.v4.new_code_cell(
        'profile = "tiny"\njudge = None\njudge_url = None', metadata={"tags": ["parameters"]}
    )
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    book = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)], metadata=kernel)
    nbformat.write(book, folder / "notebooks" / "01_own.ipynb")
    (folder / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: chapters/01_own\n")
    return folder


def build(folder: Path, place: Path, *arguments: str, timeout: int = 600) -> subprocess.CompletedProcess[str]:
    own = {"POLINB_STORE": str(place / "store"), "POLINB_CACHE": str(place / "cache"), "HOME": str(place / "home"),
           "TMPDIR": str(place / "tmp"), "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}  # fmt: skip
    for name in ("home", "tmp"):
        (place / name).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "polinb", "book", "--profile", "tiny", "--set", "judge=openai", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | own | KEYS, capture_output=True, text=True, check=False, timeout=timeout
    )
    (place / "log.txt").write_text(done.stdout + done.stderr)
    return done


RUN = """from polinb.notebook import begin, facts
exp = begin(globals())
facts(exp)"""
ASK = """import os, sys
table = exp.stances()
display(table, exp.judge, exp.judge.provenance(), exp.params, vars(exp.judge))
print(table.to_csv())"""
FAIL = """import traceback
from polinb.errors import JudgeError
from polinb.openai_judge import OpenAIJudge
try:
    OpenAIJudge(base_url=judge_url.replace("/v1", "/fails")).rate(exp.answers().frame("answers"))
except JudgeError:
    traceback.print_exc()
    print("it failed")"""
# a chapter must never do this; the book is the last to notice
CARELESS = """import os, sys, json, base64, html
from urllib.parse import quote
from IPython.display import HTML
for name in ("OPENAI_API_KEY", "HF_TOKEN", "NDIF_API_KEY", "MY_SERVICE_PASSWORD"):
    value = os.environ[name]
    print(value, quote(value, safe=""), base64.b64encode(value.encode()).decode(), base64.b64encode(b"u:" + value.encode()).decode())
    display(HTML(html.escape(value)), {"value": value})
"""


def test_keys_are_nowhere_after_a_run(tmp_path, service):
    folder, place = checkout(tmp_path / "checkout", [RUN, ASK, FAIL, CARELESS]), tmp_path / "place"
    done = build(folder, place, "--set", f"judge_url={service}/v1", "--chapters", "01_own")
    executed = folder / "book" / "chapters" / "01_own.ipynb"
    assert executed.is_file(), done.stdout + done.stderr  # the pages may lack other chapters' labels
    assert set(Echo.seen) == {KEYS["OPENAI_API_KEY"]}, "the judge was not asked, or without its key"
    assert secrets.HIDDEN in executed.read_text() and "it failed" in executed.read_text()
    found, files = search(folder, place)
    assert not found and files > 50
    assert any(place.rglob("rated.parquet")) and any(place.rglob("answers.jsonl"))


@pytest.mark.slow
def test_keys_are_nowhere_after_a_run_that_fails(tmp_path, service):
    folder, place = checkout(tmp_path / "checkout", [RUN, CARELESS, ASK]), tmp_path / "place"
    done = build(folder, place, "--set", f"judge_url={service}/fails", "--chapters", "01_own")
    told = done.stdout + done.stderr
    assert done.returncode == 1 and "JudgeError" in told and "rejects model" in told, told
    assert (folder / "book" / "chapters" / "failed" / "01_own.ipynb").is_file() and Echo.seen
    found, files = search(folder, place)
    assert not found and files > 50


@pytest.mark.slow
def test_keys_are_nowhere_in_the_whole_book(tmp_path, service):
    """All chapters of the paper and the pages, judged by the service that repeats the key."""
    folder, place = checkout(tmp_path / "checkout", None), tmp_path / "place"
    done = build(folder, place, "--set", f"judge_url={service}/v1", timeout=3600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert (folder / "_build" / "html" / "index.html").is_file() and Echo.seen
    found, files = search(folder, place)
    assert not found and files > 300
