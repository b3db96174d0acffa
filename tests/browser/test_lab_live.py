"""The live lab in JupyterLab and in Voilà, from the click to the text, on a tiny model and with no way to a network."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from polinb.lab.engine import NOTHING, Intervention, stream
from polinb.lab.server import NOTEBOOK, command, environment
from polinb.lab.sets import neurons
from polinb.models.generation import decode
from polinb.models.tokens import prompt_ids
from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"topics": ["crime", "race"], "ablation_topics": ["crime"], "baseline_topics": ["crime"]}
EVIL = "<script>window.planted = 1</script><img src=x onerror='window.planted = 2'> Should taxes rise?"
WAIT = 180_000  # milliseconds; kernels start slowly on a busy machine


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders of their own for the notebook, the store and everything of Jupyter."""
    root = tmp_path_factory.mktemp("lab")
    (root / "notebooks" / "lab").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, root / "notebooks" / NOTEBOOK)
    return root


@contextmanager
def server(kind, root):
    """The server that ``make lab`` or ``make app`` starts, on a free port; yields its address. Always ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = environment("tiny", SETTINGS) | {"POLINB_STORE": str(root / "store"), "PYTHONPATH": str(ROOT)}
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "HOME"):
        environ[name] = str(root / name.lower())
    environ |= {f"JUPYTERLAB_{name}_DIR": str(root / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    log = root / f"{kind}.log"
    with log.open("w") as file:
        # A session of its own: its kernels end with it.
        process = subprocess.Popen(
            command(kind, port, browser=False, root=root), env=environ, stdout=file, stderr=file, start_new_session=True
        )
    try:
        end = time.monotonic() + 60
        while not (found := re.search(rf"http://127\.0\.0\.1:{port}/\S*", log.read_text())):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.05)
        yield found[0]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


@pytest.fixture(scope="module")
def voila(chromium, place):
    with server("app", place) as address:
        yield address


@pytest.fixture(scope="module")
def jupyterlab(chromium, place):
    with server("lab", place) as address:
        yield address


def host(address):
    return re.match(r"http://[^/?]+", address)[0]


def opened(visit, address):
    """The page with the lab ready for a question."""
    seen = visit(address, allowed=host(address), wait="commit")
    seen.page.set_default_timeout(WAIT)
    return seen


def lab_of(page):
    lab = page.locator(".polinb-lab")
    lab.get_by_text("Status: Ready.").wait_for()
    return lab


def ask(lab, prompt, own="", tokens=12, intervention="ablate: set to zero"):
    lab.get_by_label("Prompt").fill(prompt)
    if own:
        lab.get_by_label("Neurons").select_option("my own list")
        lab.get_by_label("Own list").fill(own)
    lab.get_by_label("Intervention").select_option(intervention)
    lab.get_by_label("Longest answer").fill(str(tokens))
    lab.get_by_label("Longest answer").press("Tab")
    lab.get_by_role("button", name="Run", exact=True).click()


def answers(lab):
    lab.get_by_text("Status: Done.").wait_for()
    return lab.locator(".polinb-text").all_text_contents()


def expected(place, prompt, kind, own="", tokens=12):
    """What the engine says in this process."""
    run = Run(Params.from_profile("tiny", **SETTINGS), Store(place / "store"))
    ids = prompt_ids(run.lm, prompt, run.params.system_prompt)
    chosen = neurons(run, "own" if own else "general", own=own)
    donor = run.load_variant("crime", "right") if kind == "patch" else None
    changes = ((NOTHING, None), (Intervention(kind, chosen, 1.0), donor))
    return [decode(run.lm, list(stream(run.lm, ids, *change, max_new_tokens=tokens))) for change in changes]


def test_voila_from_click_to_text(visit, voila, place):
    """General neurons and a patch: variants are trained after a question, then both answers are the engine's."""
    seen = opened(visit, voila)
    lab = lab_of(seen.page)
    assert not seen.page.get_by_text("started_with").count(), "no source is shown"
    ask(lab, EVIL, intervention="patch: take activations from a donor")
    start = lab.get_by_role("button", name="Start", exact=True)
    start.wait_for()
    needs = lab.get_by_text("fine-tuning variants").inner_text()
    assert "crime left, crime right, race left, race right" in needs and "a rough guess" in needs
    start.click()
    assert answers(lab) == expected(place, EVIL, "patch")
    assert lab.get_by_role("img", name=re.compile(r"P\(right\) = ")).count() >= 1
    assert lab.get_by_role("cell", name="<script>window.planted").is_visible(), "markup is shown as text"
    lab.get_by_role("button", name="Code that makes this again").click()
    assert repr(EVIL) in lab.get_by_label("Python").input_value()
    assert seen.page.evaluate("window.planted") is None
    seen.assert_clean()


def test_voila_without_its_token_runs_nothing(voila):
    assert "token=" in voila
    try:
        with urllib.request.urlopen(voila.split("?")[0], timeout=60) as answer:
            address, text = answer.url, answer.read().decode()
    except urllib.error.HTTPError as error:
        address, text = f"{error.code}", error.read().decode()
    assert address == "403" or "/login" in address, "neither refused nor asked for the token"
    assert "polinb-lab" not in text and "jupyter-config-data" not in text, "no notebook was run"


def test_voila_on_a_phone_with_the_keyboard(visit, voila):
    seen = opened_narrow(visit, voila)
    page, lab = seen.page, lab_of(seen.page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    lab.get_by_label("Intervention").select_option("scale: multiply by the strength")
    lab.get_by_role("slider", name="Strength").press("ArrowRight")
    seen.page.wait_for_function(  # the number has come back from the kernel
        "() => [...document.querySelectorAll('.polinb-lab input[type=number]')].some((e) => e.value === '1.05')"
    )
    lab.get_by_label("Model", exact=True).focus()
    names = []
    for _ in range(14):
        names.append(page.evaluate("document.activeElement.labels?.[0]?.innerText || document.activeElement.innerText"))
        page.keyboard.press("Tab")
    assert [name.strip() for name in names] == [
        "Model", "Topic", "Neurons", "γ (per cent)", "Intervention", "Strength\n1.05", "Exact value", "Examples",
        "Prompt", "Longest answer", "Temperature", "Compare likelihoods of the reference responses too", "Run", "Stop",
    ]  # fmt: skip
    seen.assert_clean()


def opened_narrow(visit, address):
    seen = visit(address, allowed=host(address), wait="commit", viewport={"width": 390, "height": 900})
    seen.page.set_default_timeout(WAIT)
    return seen


def test_jupyterlab_from_click_to_text_stop_and_error(visit, jupyterlab, place):
    seen = opened(visit, jupyterlab)
    page = seen.page
    assert "token=" in jupyterlab, "the server asks for its token"
    page.locator(".jp-MarkdownOutput h1", has_text="The live lab").wait_for()
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()  # the kernel is there
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    lab = lab_of(page)
    # a wrong list: an error in the widget, no traceback on the screen
    ask(lab, EVIL, own="0.1, 9.4")
    alert = lab.get_by_role("alert")
    alert.wait_for()
    assert "'9.4'" in alert.inner_text() and "layer 0–2" in alert.inner_text()
    assert not alert.get_by_text("Traceback").is_visible()
    # a right one: the engine's text
    ask(lab, EVIL, own="0.0-47, 1.5")
    assert answers(lab) == expected(place, EVIL, "ablate", "0.0-47, 1.5")
    assert lab.get_by_role("alert").count() == 0
    # stop: some tokens, not all
    ask(lab, "Is growth good?", own="0.1", tokens=900)
    lab.get_by_text(re.compile(r"tokens: [1-9]\d* of 900")).wait_for()
    ask_again = lab.get_by_role("button", name="Run", exact=True)
    ask_again.click()
    lab.get_by_text("Still busy").wait_for()
    lab.get_by_role("button", name="Stop", exact=True).click()
    lab.get_by_text("Status: Stopped.").wait_for()
    assert lab.get_by_text("; stopped").count() == 2
    assert page.get_by_text("Jupyter news").count() == 0, "no announcements"
    assert page.evaluate("window.planted") is None
    seen.assert_clean()
