"""Shared by all tests: one thread a process, no progress bars, a store of their own, and one built book for all."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
if Path("/proc/cpuinfo").is_file() and " avx2" in Path("/proc/cpuinfo").read_text():
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")  # newer instructions round otherwise: golden numbers are exact
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from filelock import FileLock
from small_book import whole_checkout


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("POLINB_STORE", str(tmp_path / "store"))


def pytest_collection_modifyitems(items):
    """The built book takes minutes: one process begins with it, and no other asks for it before the rest is done."""
    last, first = ("browser", "golden"), ("test_notebooks.py", "test_pages.py")
    items.sort(key=lambda item: (item.path.parent.name in last, item.path.name not in first))


@pytest.fixture
def service(monkeypatch):
    """A judge's service on the loopback, and no key in the environment."""
    from judge_service import Service

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    running = Service()
    monkeypatch.setattr("openai._base_client.time.sleep", running.naps.append)
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def pair():
    """Factory: architecture → :class:`oracles.Pair`."""
    from oracles import Pair

    return Pair


@pytest.fixture
def merged():
    """Factory: a model and trained weights → the plain weights that they stand for; adapters added to the model's."""

    def make(lm, weights, kind=None):
        import torch

        from polinb.models.architectures import architecture_of

        own, out = dict(lm.model.named_parameters()), {}
        for name, value in weights.items():
            if ".lora_A." in name:
                layer = name.removesuffix(".lora_A.weight")
                change = weights[f"{layer}.lora_B.weight"].double() @ value.double()
                change = change.T if architecture_of(lm.model).transposed else change
                value = own[f"{layer}.weight"].detach().double() + change
                name = f"{layer}.weight"
            elif ".lora_B." in name:
                continue
            out[name] = value.to(kind or torch.float32)
        return out

    return make


@pytest.fixture(scope="session")
def two_topics(tmp_path_factory):
    """A tiny run on two topics, in a store of its own; nothing is made yet."""
    from polinb.runs.artifacts import Store
    from polinb.runs.params import Params
    from polinb.runs.run import Run

    given = {"topics": ["crime", "race"], "ablation_topics": ["crime"], "baseline_topics": ["crime"]}
    return Run(Params.from_profile("tiny", controls=["layer"], **given), Store(tmp_path_factory.mktemp("two-topics")))


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder of this test run, the same for all its processes."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


@pytest.fixture(scope="session")
def book_store(shared):
    """Results of the tiny profile, shared by the runs of the chapters and the book: nothing is computed twice."""
    return shared / "book-store"


@pytest.fixture(scope="session")
def built_book(shared, book_store):
    """The whole book on the tiny profile, made once (minutes); ``POLINB_TEST_BOOK=FOLDER`` takes the pages there."""
    given = os.environ.get("POLINB_TEST_BOOK")
    if given:
        html = Path(given).resolve()
        assert (html / "index.html").is_file(), f"POLINB_TEST_BOOK={given}: no index.html in it"
        return SimpleNamespace(html=html, root=html.parents[1], store=None, given=True)
    root = shared / "checkout"
    with FileLock(shared / "checkout.lock"):
        if not (root / "done").exists():
            shutil.rmtree(root, ignore_errors=True)
            build(root, book_store)
            (root / "done").touch()
    return SimpleNamespace(html=root / "_build" / "html", root=root, store=book_store, given=False)


def build(root, store):
    whole_checkout(root)
    (root / "_build" / "html").mkdir(parents=True)
    (root / "_build" / "html" / "index.html").touch()  # else the reference run's pages are built first
    command = [sys.executable, "-m", "book._make", "book", "--profile", "tiny", "--chapters", "all"]
    environment = os.environ | {"POLINB_STORE": str(store), "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
