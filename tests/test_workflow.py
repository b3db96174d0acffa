"""The workflow's plan and rules: which jobs there are, what each needs, and what a change makes run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from book._make import build as book
from book._make.__main__ import main
from book._make.workflow import book_of
from polinb import __main__ as package
from polinb.cluster import markers as workflow_markers
from polinb.cluster import processes as workflow_processes
from polinb.cluster import workflow
from polinb.cluster.gpu import one_gpu
from polinb.cluster.needs import CHAPTERS, Needs, chapter_needs
from polinb.cluster.plan import Plan
from polinb.cluster.plans import Request, markers, write_plan
from polinb.cluster.steps import FAMILIES, do, parse
from polinb.errors import BookError, ParameterError
from polinb.runs.artifacts import Store, store_root
from polinb.runs.checkout import Layout
from polinb.runs.params import Params

ROOT = Path(__file__).resolve().parents[1]
SMALL: dict[str, Any] = {
    "topics": ["crime", "race"],
    "ablation_topics": ["crime"],
    "baseline_topics": ["crime"],
    "controls": ["layer"],
    "gammas": [50.0, 60.0],
}
SOME = ["01_phenomenon", "03_pnlac", "06_patching", "08_gamma"]
RUN = "tiny-llama-68ac6a-seed0"


def request(**changes: Any) -> Request:
    return Request("tiny", SMALL | changes, SOME)


@pytest.fixture
def checkout(tmp_path: Path) -> Layout:
    """A checkout with the project's notebooks and pages, in which nothing ran."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("chapters", "vendor"))
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    shutil.copy(ROOT / "_config.yml", root)
    return Layout(root)


def pretend(layout: Layout, asked: Request) -> dict[str, Any]:
    """Everything asked for as if it had run: markers, executed notebooks, artifacts."""
    folder = layout.build / "workflow"
    plan = write_plan(book_of(layout), asked, folder / "plan.json")
    store = Store(store_root())
    for name, key in markers(plan).items():
        made = []
        if not name.startswith("book/"):
            artifact = store.get(
                "pretended", {"name": name, "key": key}, lambda f: (f / "a.txt").write_text("a") and None
            )
            made = [["pretended", artifact.path.name]]
        workflow_markers.write(folder / name, {"name": name, "key": key, "artifacts": made, "seconds": 1.0})
    for name in plan["chapters"]:
        target = layout.chapters / f"{name}.ipynb"
        book._write(target, "{}")
        mark = book.fingerprint(layout.notebooks / f"{name}.ipynb", plan["given"])
        record = {"fingerprint": mark, "sha256": book._sha256(target), "seconds": 1.0}
        book._write(target.with_suffix(".json"), json.dumps(record))
    return plan


def steps(names: list[str]) -> list[str]:
    return sorted(name.removeprefix(f"{RUN}/") for name in names)


# --- keys


def test_a_planned_key_is_the_key_of_the_artifact() -> None:
    """Where nothing unknown enters, the plan's key is the store's own: compared with what a real step makes."""
    from polinb.runs.experiment import Experiment, finetuned

    params = Params.from_profile("tiny", **SMALL, device="cpu")  # "auto" is settled where a job runs
    plan = Plan(params, store_root())
    assert plan.scores("crime").meta["key"] == plan.fresh().scores("crime").meta["key"]
    made = Experiment(params).variant("crime", "right")
    assert plan.variant("crime", "right").path == made.path
    told = Experiment(params).arm_inputs(finetuned("crime", "right"))
    assert plan.arm_inputs(finetuned("crime", "right")) == told
    real = Experiment(params).answers()
    assert plan.answers().meta["key"] == real.meta["key"]


def test_planning_loads_neither_a_model_nor_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from polinb.runs.params import Params;"
        "from polinb.cluster.plan import Plan;"
        "from polinb.cluster.needs import CHAPTERS, Needs, chapter_needs;"
        "needs = Needs(Plan(Params.from_profile('tiny'), Path('nowhere')));"
        "[chapter_needs(needs, name) for name in CHAPTERS];"
        "print(len(needs.steps), 'torch' in sys.modules, Path('nowhere').exists())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    count, torch, written = done.stdout.split()
    assert int(count) > 80 and (torch, written) == ("False", "False")


def test_a_plan_refuses_to_load_the_model() -> None:
    with pytest.raises(Exception, match="planning reached for the model"):
        Plan(Params.from_profile("tiny"), store_root()).lm  # noqa: B018


def test_steps_are_the_arms_of_the_chapters() -> None:
    """Counted by hand from the parameters, not by the code that lists them."""
    p = Params.from_profile("tiny", **SMALL | {"control_seeds": 3, "controls": ["uniform", "layer", "heldout"]})
    needs = Needs(Plan(p, store_root()))
    for name in ("07_inhibitft", "08_gamma", "06_patching"):
        chapter_needs(needs, name)
    count = {family: sum(step.family == family for step in needs.steps.values()) for family in FAMILIES}
    # two topics × (G, 3 uniform, 3 layer, held out) at γ = 50; crime × (G, 3 layer) at γ = 60
    assert count["frozen"] == 2 * 8 + 4
    assert count["variant"] == 4 and count["scores"] == 2 and count["vanilla"] == 1
    assert count["patched"] == 1 + 2 + 2 * 3 + 1  # G, S of two topics, two kinds of controls, every neuron
    assert len({step.key for step in needs.steps.values()}) == len(needs.steps)
    before = needs.steps["frozen/crime.random-layer.g60.n2"].needs
    assert {"scores/crime", "scores/race", "variant/crime.left"} - set(before) == {"variant/crime.left"}
    assert needs.steps["scores/race"].needs == ["variant/race.left", "variant/race.right"]


def test_every_chapter_is_known_and_no_other() -> None:
    assert sorted(CHAPTERS) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_equal_weights_are_one_step() -> None:
    """A rival that is the plain fine-tune, or InhibitFT of its chapter, is not trained twice."""
    needs = Needs(Plan(Params.from_profile("tiny", **SMALL), store_root()))
    names = chapter_needs(needs, "11_hard_controls")
    assert "tuned/crime.right" in names and "frozen/crime.inhibitft.g50.n0" in names
    assert not [name for name in names if name.startswith(("rival/crime.fine-tune", "rival/crime.inhibitft.n0"))]


# --- what a change runs again


def test_nothing_is_to_do_until_something_changes(checkout: Layout) -> None:
    every = workflow.dry_run(request(), book_of(checkout))
    assert every[:2] == [f"{RUN}/vanilla/answers", f"{RUN}/variant/crime.left"] and every[-1] == "chapter/08_gamma"
    plan = pretend(checkout, request())
    assert len(every) == len(markers(plan)) == 25
    assert workflow.dry_run(request(), book_of(checkout)) == []
    # γ of the run: its own arms, what is patched, and the notebooks that take it
    changed = steps(workflow.dry_run(request(gamma=40.0), book_of(checkout)))
    patched = ["every-neuron", "g", "random-layer-matched", "random-next-highest-outside-g", "s-crime", "s-race"]
    assert changed == sorted(
        [f"chapter/{name}" for name in SOME[1:]] + [f"patched/{name}" for name in patched if name != "every-neuron"]
    )
    # one γ more in the ablation: its two arms
    more = steps(workflow.dry_run(request(gammas=[50.0, 60.0, 70.0]), book_of(checkout)))
    assert more == sorted(["frozen/crime.inhibitft.g70.n0", "frozen/crime.random-layer.g70.n0", "chapter/08_gamma"])
    # the learning rate: all but the vanilla model's answers
    rate = workflow.dry_run(request(learning_rate=5e-4), book_of(checkout))
    assert set(every) - set(rate) == {f"{RUN}/vanilla/answers"}
    # a chapter's text: that chapter
    path = checkout.notebooks / "03_pnlac.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("One sentence more.", id="more"))
    nbformat.write(notebook, path)
    assert workflow.dry_run(request(), book_of(checkout)) == ["chapter/03_pnlac"]


def test_a_lost_or_damaged_result_is_made_again_alone(checkout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    plan = pretend(checkout, request())
    folder = checkout.build / "workflow"
    lost, damaged, gone = (f"{RUN}/{n}.json" for n in ("variant/crime.left", "scores/race", "patched/g"))
    [[kind, key]] = workflow_markers.read(folder / lost)["artifacts"]
    shutil.rmtree(store_root() / kind / key)
    [[kind, key]] = workflow_markers.read(folder / damaged)["artifacts"]
    (store_root() / kind / key / "a.txt").write_text("b")
    (folder / gone).write_text("{")
    (checkout.chapters / "01_phenomenon.ipynb").write_text("changed by hand")
    found = workflow.stale_markers(book_of(checkout), plan, folder)
    assert found == {
        lost: f"artifact pretended/{workflow_markers.read(folder / lost)['artifacts'][0][1]}: artifact.json is missing",
        damaged: f"artifact {kind}/{key}: a.txt was changed",
        gone: "no marker",
        "book/chapters/01_phenomenon.json": "the executed notebook is gone or was changed",
    }
    again = steps(workflow.dry_run(request(), book_of(checkout)))
    assert again == ["chapter/01_phenomenon", "patched/g", "scores/race", "variant/crime.left"]


def test_a_changed_parameter_of_another_experiment_leaves_a_step_alone() -> None:
    keys = []
    for change in ({}, {"cue_rate": 1e-5}, {"seed": 1}):
        needs = Needs(Plan(Params.from_profile("tiny", **SMALL | change), store_root()))
        for name in ("15_spurious_cue", "16_emergent_misalignment", "14_caft"):
            chapter_needs(needs, name)
        keys.append({name: step.key for name, step in needs.steps.items()})
    plain, cue, seed = keys
    assert {n.split("/")[0] for n in plain if plain[n] != cue[n]} == {"cue"}
    assert plain["cue/vanilla"] == cue["cue/vanilla"]
    assert [n for n in plain if plain[n] == seed[n]] == ["vanilla/answers"]


# --- runs, pictures, refusals


def test_models_and_seeds_are_runs_of_their_own(checkout: Layout) -> None:
    asked = Request("tiny", SMALL, ["03_pnlac"], models=("tiny:llama", "tiny:gpt2"), seeds=(0, 1))
    plan = write_plan(book_of(checkout), asked, checkout.build / "workflow" / "plan.json")
    assert [name.rpartition("-seed")[2] for name in plan["runs"]] == ["0", "1", "0", "1"]
    assert plan["book"] == RUN and len(plan["runs"]) == 4
    assert len({s["key"] for r in plan["runs"].values() for s in r["steps"].values()}) == 4 * 6
    assert len(workflow.dry_run(asked, book_of(checkout))) == 4 * 6 + 1


def test_the_graph_can_be_drawn(checkout: Layout, tmp_path: Path) -> None:
    asked = Request("tiny", SMALL, ["03_pnlac"])
    text = workflow.picture(asked, book_of(checkout), tmp_path / "a" / "dag.dot").read_text("utf-8")
    assert text.startswith("digraph") and text.count("->") == 4 + 2 + 4 + 2 + 1 + 2 - 2 - 0
    assert (
        workflow.picture(asked, book_of(checkout), tmp_path / "dag.mmd")
        .read_text("utf-8")
        .lstrip()
        .startswith(("---", "flow"))
    )
    with pytest.raises(ParameterError, match=r"dag.*jpg"):
        workflow.picture(asked, book_of(checkout), tmp_path / "dag.jpg")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["book", "--jobs", "two"], "'jobs': got 'two'"),
        (["book", "--jobs", "0"], "'jobs': got 0"),
        (["book", "--jobs", "-3"], "'jobs': got -3"),
        (["workflow", "--on", "nowhere"], "'on': got 'nowhere'; allowed: default, slurm, kubernetes"),
        (["workflow", "--dry-run", "--set", "gama=1"], "gama"),
        (["workflow", "--dry-run", "--profile", "huge"], "'profile': got 'huge'"),
        (["workflow", "--dry-run", "--chapters", "99_none"], "99_none"),
        (["workflow", "--dry-run", "--models", "tiny:llama,tiny:llama"], "each once"),
        (["workflow", "--dry-run", "--gpus", "-1"], "'gpus'"),
        (["workflow", "--snakemake", "'a"], "quoted as in a shell"),
        (["step", "variant/crime"], "a name like variant/{topic}.{leaning}"),
        (["step", "nothing/x"], "one of the families"),
        (["step", "variant/crime.left", "--plan", "none.json"], "marker"),
        (["step", "variant/crime.left", "--plan", "none.json", "--marker", "m.json"], "'--plan': got 'none.json'"),
    ],
)
def test_what_cannot_work_is_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    step = words[0] == "step"
    assert (package.main if step else main)(words) == 2
    assert told in capsys.readouterr().err


def test_steps_are_parsed_back() -> None:
    assert parse("frozen/crime.random-layer.g2.5.n1") == (
        "frozen",
        {"topic": "crime", "arm": "random-layer", "gamma": "2.5", "number": "1"},
    )
    for name in ("frozen/crime.random-layer.g2.5", "variant/../crime.left", "scores/", "scores/a/b"):
        with pytest.raises(ParameterError):
            parse(name)


def test_a_second_run_is_refused_while_one_runs(checkout: Layout) -> None:
    from filelock import FileLock

    checkout.build.mkdir()
    with FileLock(checkout.build / "book.lock"), pytest.raises(BookError, match="another build"):
        workflow.dry_run(request(), book_of(checkout))


def test_left_over_processes_are_found_and_ended(tmp_path: Path) -> None:
    """A child in a session of its own, deaf to SIGTERM, as a kernel may be; another run's process stays."""
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    mine, other = workflow_processes.run_name(tmp_path / "a"), workflow_processes.run_name(tmp_path / "b")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", deaf],
            env=os.environ | {workflow_processes.TAG: name},
            start_new_session=True,
            stdout=subprocess.PIPE,
        )
        for name in (mine, other)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        assert workflow_processes.left_over(mine) == [children[0].pid]
        assert workflow_processes.end_left_over(mine, patience=0.5) == 1
        assert not psutil.pid_exists(children[0].pid) and children[1].poll() is None
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_slurm_jobs_are_cancelled_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With planted squeue and scancel: only this run's jobs, until they are gone."""
    queue = tmp_path / "queue"
    queue.write_text("1 polinbabc_1\n2 other\n3 polinbabc_1\n")
    (tmp_path / "squeue").write_text(f'#!/bin/sh\ncat "{queue}"\n')
    (tmp_path / "scancel").write_text(f'#!/bin/sh\nfor i; do sed -i "/^$i /d" "{queue}"; done\n')
    for name in ("squeue", "scancel"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert workflow_processes.cancel_slurm("polinbabc") == 2
    assert queue.read_text() == "2 other\n"
    (tmp_path / "squeue").write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    with pytest.raises(Exception, match="no controller"):
        workflow_processes.cancel_slurm("polinbabc")


def test_each_job_takes_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with one_gpu(["0", "1"], tmp_path) as first:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == first == "0"
        with one_gpu(["0", "1"], tmp_path) as second:
            assert os.environ["CUDA_VISIBLE_DEVICES"] == second == "1"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with one_gpu([], tmp_path) as none:
        assert none is None


def test_a_step_does_what_the_experiment_does(checkout: Layout) -> None:
    """Its marker names artifacts that are in the store, and a plan's step is done by the same function."""
    plan = checkout.build / "workflow" / "plan.json"
    write_plan(book_of(checkout), request(), plan)
    marker = plan.parent / "m.json"
    words = ["step", "variant/race.left", "--plan", str(plan), "--run", RUN, "--marker", str(marker)]
    assert package.main(words) == 0
    [[kind, key]] = workflow_markers.read(marker)["artifacts"]
    assert (kind, (store_root() / kind / key / "weights.safetensors").is_file()) == ("variant", True)
    assert workflow_markers.fault(marker, workflow_markers.read(marker)["key"], Store(store_root())) == ""
    with pytest.raises(ParameterError, match="allowed"):
        do(Plan(Params.from_profile("tiny", **SMALL), store_root()), "patched/nothing")
