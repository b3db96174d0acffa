"""The live lab in JupyterLab and in Voilà, from the click to the text, on a tiny model and with no way to a network."""

import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from waiting import until

from polinb.lab.request import CHANGES, Request
from polinb.lab.serve import NOTEBOOK, command, environment
from polinb.lab.session import Session
from polinb.runs.artifacts import Store

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"topics": ["crime", "race"], "ablation_topics": ["crime"], "baseline_topics": ["crime"]}
EVIL = "<script>window.planted = 1</script><img src=x onerror='window.planted = 2'> Should taxes rise?"
WAIT = 180_000  # milliseconds; kernels start slowly on a busy machine


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders of their own for the notebook, the store and everything of Jupyter."""
    root = tmp_path_factory.mktemp("lab")
    (root / NOTEBOOK).parent.mkdir(parents=True)
    shutil.copy(ROOT / NOTEBOOK, root / NOTEBOOK)
    return root


@contextmanager
def server(kind, root):
    """The server that ``make lab`` or ``make app`` starts, on a free port; yields its address. Always ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = environment("tiny", SETTINGS) | {"POLINB_STORE": str(root / "store"), "PYTHONPATH": str(ROOT)}
    names = ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "HOME")
    environ |= {name: str(root / name.lower()) for name in names}
    log, line = root / f"{kind}.log", command(kind, port, browser=False, root=root)
    with log.open("w") as file:
        # A session of its own: its kernels end with it.
        process = subprocess.Popen(line, env=environ, stdout=file, stderr=file, start_new_session=True)
    address = re.compile(rf"http://127\.0\.0\.1:{port}/\S*token=\S*")
    try:
        until(lambda: process.poll() is not None or address.search(log.read_text()), told=log.read_text)
        assert process.poll() is None, log.read_text()[-3000:]
        yield address.search(log.read_text())[0]
    finally:
        for way in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, way)
                process.wait(10)


def opened(visit, address):
    """The page, which may load nothing from elsewhere; without the token it asks for that and runs no notebook."""
    page = visit(address, allowed=re.match(r"http://[^/?]+", address)[0], wait="commit")
    page.set_default_timeout(WAIT)
    with urllib.request.urlopen(address.split("?")[0], timeout=60) as answer:
        assert "/login" in answer.url and not re.search("polinb-lab|jupyter-config-data", answer.read().decode())
    return page


def ask(lab, kind, tokens=12, own=""):
    """Once the lab is ready."""
    lab.get_by_text("Status: Ready.").wait_for()
    lab.get_by_label("Prompt").fill(EVIL)
    if own:
        lab.get_by_label("Neurons").select_option("my own list")
        lab.get_by_label("Own list").fill(own)
    lab.get_by_label("Intervention").select_option(CHANGES[kind])
    lab.get_by_label("Longest answer").fill(str(tokens))
    lab.get_by_label("Longest answer").press("Tab")
    lab.get_by_role("button", name="Run", exact=True).click()


def agree(lab, missing):
    """Once the lab has asked whether to make what is missing."""
    lab.get_by_text("Status: Waiting for your answer").wait_for()
    lab.get_by_role("listitem").filter(has_text=missing).wait_for()
    lab.get_by_role("button", name="Start", exact=True).click()


def answers(lab):
    lab.get_by_text("Status: Done.").wait_for()
    return lab.locator(".polinb-text").all_text_contents()


def test_voila_from_click_to_text(visit, place):
    """Variants are trained after a question; the answers are those of the same request in this process."""
    with server("app", place) as address:
        page = opened(visit, address)
        lab = page.locator(".polinb-lab")
        ask(lab, "patch")
        assert not page.get_by_text("started_with").count(), "no source is shown"
        agree(lab, "PNLAC scores (crime, race)")
        asked = {"profile": "tiny", "settings": SETTINGS, "topic": "crime", "donor_topic": "crime"}
        request = Request.of(prompt=EVIL, kind="patch", max_new_tokens=12, **asked)
        shown = answers(lab)
        result = Session(Store(place / "store")).run(request)
        assert shown == [answer.text for answer in result.answers.values()]
        assert lab.get_by_role("meter", name=re.compile(r"P\(right\) = ")).count() >= 1
        assert lab.get_by_role("cell", name="<script>window.planted").is_visible(), "markup is shown as text"
        assert lab.locator(".polinb-text span[title][style*=rgba]").count() > 12, "tokens are coloured"
        assert page.evaluate("window.planted") is None
        on_a_phone_with_the_keyboard(page, lab)


def on_a_phone_with_the_keyboard(page, lab):
    from playwright.sync_api import expect

    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    lab.get_by_label("Intervention").select_option(CHANGES["scale"])
    slider, exact = lab.get_by_role("slider", name="Strength"), lab.get_by_label("Exact value")
    expect(slider).to_have_attribute("max", "4")  # the kernel has heard of the intervention
    exact.fill("9")
    exact.press("Tab")
    for field in (exact, slider):  # both stay in the range
        expect(field).to_have_value("4")
    lab.get_by_label("Model", exact=True).focus()
    for _ in range(14):
        last = page.evaluate("document.activeElement.innerText")
        page.keyboard.press("Tab")
    assert last.strip() == "Stop", "Tab reaches every control in turn"
    lab.get_by_role("button", name="Run", exact=True).press("Enter")
    lab.get_by_role("cell", name="scale, strength 4").wait_for()
    answers(lab)


def test_jupyterlab_from_click_to_text_and_stop(visit, place):
    from playwright.sync_api import TimeoutError as Late

    with server("lab", place) as address:
        page = opened(visit, address)
        page.locator(".jp-MarkdownOutput h1", has_text="The live lab").wait_for()
        page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()  # the kernel is there
        for _ in range(3):  # JupyterLab may drop what a kernel is asked while it connects
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            with suppress(Late):
                page.locator(".polinb-lab").first.wait_for(timeout=45_000)
                break
        lab = page.locator(".polinb-lab")
        ask(lab, "ablate", tokens=900, own="0.0-47, 1.5")
        lab.get_by_text(re.compile(r"tokens: [1-9]\d* of 900")).wait_for()
        lab.get_by_role("button", name="Stop", exact=True).click()
        lab.get_by_text("Status: Stopped.").wait_for()
        assert lab.get_by_text("; stopped").count() == 2 and all(lab.locator(".polinb-text").all_text_contents())
        assert lab.get_by_role("alert").count() == page.get_by_text("Jupyter news").count() == 0
        assert page.evaluate("window.planted") is None
