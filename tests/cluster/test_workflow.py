"""The workflow's jobs: which there are, what each needs, and what is left to do; snakemake itself is not run here."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from filelock import FileLock
from small_book import whole_checkout

from book._make import build
from book._make.__main__ import main
from book._make.workflow import command
from book._make.workflow.command import opened
from polinb.cluster import gpu
from polinb.cluster import jobs as cluster_jobs
from polinb.cluster.jobs import Request, grouped, lost, words
from polinb.cluster.wanted import runs_models, wanted
from polinb.runs import stages, weights
from polinb.runs.artifacts import META
from polinb.runs.checkout import Layout, parse_settings
from polinb.runs.params import CHAPTERS, Params
from polinb.runs.results import Result
from polinb.runs.run import Run

SMALL = {
    "topics": ["crime", "race"], "ablation_topics": ["crime"], "baseline_topics": ["crime"],
    "controls": ["layer"], "gammas": [50.0, 60.0], "device": "cpu",
}  # fmt: skip


def jobs_of(*chapters, **changes):
    """Jobs of results by name."""
    run = Run(Params.from_profile("tiny", **SMALL | changes))
    found = grouped(run, [result for name in chapters for result in wanted(run, name)], {"profile": "tiny", **SMALL})
    return {job.name: job for job in found.values()}


def titles(jobs):
    """Names without their hashes."""
    return sorted(re.sub(r"-[0-9a-f]{8}$", "", name) for name in jobs)


def pretend(results):
    """As if these were in the store."""
    for result in results:
        result.path.mkdir(parents=True, exist_ok=True)
        (result.path / META).touch()


def test_jobs_are_the_conditions_of_the_chapters_and_need_what_they_are_made_from():
    """Counted by hand from the parameters, not by the code that lists them."""
    jobs = jobs_of("07_inhibitft", "08_gamma", "06_patching", controls=["uniform", "layer"], control_seeds=3)
    count = Counter(name.split("/")[0] for name in jobs)
    # weights: plain fine-tunes; two topics × (G, 3 uniform, 3 layer) at γ = 50; crime × (G, 3 layer) at γ = 60
    # questions and statements, each with G, S of two topics, 3 pairs of controls and every neuron patched
    patched = 2 * (1 + 2 + 2 * 3 + 1)
    assert count == {"weights": 4 + 2 * 7 + 4, "scores": 2, "patched": patched, "vanilla": 1}
    needs = {titles([name])[0]: job.needs for name, job in jobs.items()}
    assert titles(needs["scores/scores-race"]) == ["weights/fine-tune-race-left", "weights/fine-tune-race-right"]
    assert titles(needs["weights/inhibitft-crime-right-g60"]) == ["scores/scores-crime", "scores/scores-race"]
    assert {"scores/scores-crime", "weights/fine-tune-race-right"} <= set(titles(needs["patched/patched-general"]))
    assert not needs["vanilla/vanilla"] and set().union(*needs.values()) <= jobs.keys()


def in_order(jobs):
    """The jobs, each after those that it needs."""
    return [jobs[name] for name in TopologicalSorter({n: job.needs for n, job in jobs.items()}).static_order()]


def test_a_changed_parameter_changes_its_own_jobs():
    chapters = "15_spurious_cue", "06_patching", "08_gamma", "10_known_truth"
    before = set(jobs_of(*chapters))

    def changed(**changes):
        return titles(set(jobs_of(*chapters, **changes)) - before)

    more = ["weights/inhibitft-crime-right-g70", "weights/random-layer-crime-right-g70"]
    assert changed() == [] and changed(gammas=[50.0, 60.0, 70.0]) == more
    for change, rules in (
        ({"gamma": 40.0}, {"patched"}),
        ({"learning_rate": 5e-4}, {"weights", "scores", "patched"}),
        ({"truth_prompts": [3]}, {"truth_detection", "truth_patching", "truth_tuned"}),
    ):
        assert {name.split("/")[0] for name in changed(**change)} == rules


def test_names_are_the_same_in_every_process_and_load_no_model():
    code = (
        "import sys, json; from polinb.cluster.jobs import Request;"
        f"jobs = Request('tiny', json.loads({json.dumps(SMALL)!r}), ['all']).jobs();"
        "assert not [name for name in sys.modules if name == 'torch' or 'snakemake' in name];"
        "print(json.dumps(list(jobs)))"
    )
    told = subprocess.check_output([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": "1"})
    jobs = Request("tiny", SMALL, ["all"]).jobs()
    assert json.loads(told) == list(jobs) and not Run(Params.from_profile("tiny")).store.root.exists()
    assert in_order(jobs)[-1].rule == "pages", "each can be done after those it needs, the pages last"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout in which nothing ran."""
    layout = Layout(whole_checkout(tmp_path / "check out"))
    for module in (cluster_jobs, command):
        monkeypatch.setattr(module, "find_layout", lambda: layout)
    return layout


def test_done_is_what_the_store_holds(checkout):
    jobs = Request("tiny", SMALL, ["03_pnlac", "06_patching"]).jobs()
    every = [result for job in jobs.values() for result in job.results]
    todo = ["chapter/03_pnlac", "chapter/06_patching"]
    assert opened(jobs) == set(jobs)
    pretend([result for result in every if result.stage is not stages.rate])
    labelled = {name for name, job in jobs.items() if any(r.stage is stages.rate for r in job.results)}
    assert opened(jobs) == labelled | {name for name in jobs if name.startswith("chapter/")}
    pretend(every)
    assert titles(opened(jobs)) == todo
    [gone] = [job for job in jobs.values() if job.title == "scores-race"]
    shutil.rmtree(gone.results[0].path)
    todo += ["scores/scores-race"]
    assert titles(opened(jobs)) == todo, "what was computed from lost scores stays"
    # weights that nothing needs any more may go (POLINB_WEIGHTS_GB); those that the lost scores need are made again
    for result in every:
        if result.stage is weights.weights:
            shutil.rmtree(result.path, ignore_errors=True)
    todo += ["weights/fine-tune-race-left", "weights/fine-tune-race-right"]
    assert titles(opened(jobs)) == todo


def test_a_condition_without_a_neuron_to_freeze_is_left_out(checkout, monkeypatch):
    jobs = jobs_of("08_gamma")
    frozen = [job for job in jobs.values() if job.title.startswith(("inhibitft", "random"))]
    assert len(frozen) == 4 and not any(job.left_out for job in frozen), "unknown until the scores are there"
    pretend([result for job in jobs.values() if job not in frozen for result in job.results])
    monkeypatch.setattr(Result, "summary", property(lambda result: {"neurons": int(result.inputs["gamma"] > 55)}))
    jobs = jobs_of("08_gamma")
    assert titles(opened(jobs)) == ["weights/inhibitft-crime-right-g60", "weights/random-layer-crime-right-g60"]


def test_a_job_makes_its_results_and_a_chapter_holds_a_gpu_only_if_something_is_missing(checkout, monkeypatch):
    odd = {"data": "no", "gamma": 1e-5, "system_prompt": "yes: 'it' \"is\" = ü\n", "seed": 3}
    told = words({"profile": "tiny", **SMALL, **odd})
    assert told[:2] == ["--profile", "tiny"] and parse_settings(told[3::2]) == SMALL | odd
    held = []
    monkeypatch.setattr(command, "take_gpu", lambda: held.append("a GPU"))
    monkeypatch.setattr(build, "run_chapter", lambda *_: held.append("a run") or build.Chapter("03_pnlac", 0.0, False))

    def start(title, **settings):
        jobs = {job.title: job for job in Request("tiny", SMALL | settings, ["03_pnlac"]).jobs().values()}
        given = words({"profile": "tiny", **SMALL, **settings})
        assert main(["job", jobs[title].name, *given, "--chapters", "03_pnlac", "--one-gpu"]) == 0
        return [result for job in jobs.values() for result in job.results], jobs[title].results

    assert all(result.done() for result in start("fine-tune-race-left")[1]) and not held
    every, _ = start("03_pnlac", device="cuda")  # a device that is named does not have to be there
    pretend(every)
    start("03_pnlac", device="cuda")
    assert held == ["a GPU", "a run", "a run"]


def test_each_job_takes_a_gpu_of_its_own_and_nobody_elses_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("POLINB_GPUS", "2 5")
    monkeypatch.setattr(gpu, "_HELD", [])
    assert (gpu.take_gpu(), os.environ["CUDA_VISIBLE_DEVICES"]) == ("2", "2")

    def child(**environment):
        code = "from polinb.cluster.gpu import take_gpu; print(take_gpu(), flush=True); input()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment, **pipes)

    other = child()
    assert other.stdout.readline() == "5\n"
    waiting, theirs = child(), child(XDG_CACHE_HOME=str(tmp_path / "theirs"))
    assert theirs.communicate("\n", timeout=60)[0] == "2\n", "another user's job"
    assert waiting.poll() is None
    other.kill()  # however a job ends, its GPU is free
    other.communicate()
    assert waiting.communicate("\n", timeout=60)[0] == "5\n"
    for none in ("", "-1"):  # as CUDA writes it
        monkeypatch.setenv("POLINB_GPUS", none)
        assert gpu.take_gpu() is None


def request_in(words):
    """As snakemake reads it, here and in a job on a cluster, for which it quotes its options anew."""
    from snakemake.cli import parse_config
    from snakemake_interface_executor_plugins.utils import format_cli_arg

    given = words[words.index("--config") + 1]
    [_, again] = shlex.split(format_cli_arg("--config", [given]))
    assert parse_config([given]) == parse_config([again])
    return Request.read(parse_config([again])["request"])


def test_jobs_share_the_cores_and_gpus_of_this_machine(checkout, monkeypatch):
    pytest.importorskip("snakemake")
    monkeypatch.setattr(os, "execve", lambda _, *given: sys.exit(given))
    monkeypatch.setattr(command, "_lock", lambda _: None)
    monkeypatch.setattr(command, "_cores", lambda: 8)
    monkeypatch.setenv("POLINB_GPUS", "")

    def start(line):
        """The words and the environment of snakemake, and what they ask of it."""
        with pytest.raises(SystemExit) as found:
            main(shlex.split(line))
        words, environment = found.value.code
        return words, environment, request_in(words)

    words, environment, asked = start("book --profile tiny --set gamma=2 --set 'topics=[crime, race]' --jobs 3")
    assert words[words.index("--cores") + 1] == "6" and asked.threads == 2 and "--resources" not in words
    assert asked.settings == {"gamma": 2, "topics": ["crime", "race"]}
    assert environment["POLINB_STORE"] == str(Path(os.environ["POLINB_STORE"]).resolve())
    assert start("workflow --jobs 16")[2].threads == 1
    monkeypatch.setenv("POLINB_GPUS", "0 1")
    words, _, _ = start("workflow --threads 5 -- --dry-run --set-resources weights:mem_mb=7")
    assert words[words.index("--resources") + 1] == "gpu=2" and words[words.index("--cores") + 1] == "5"
    assert words[-3:] == ["--dry-run", "--set-resources", "weights:mem_mb=7"]
    words, _, asked = start("workflow --on slurm --profile tiny --jobs 9")
    assert asked.settings == {"device": "cpu"} and words[words.index("--jobs") + 1] == "9"
    assert words[words.index("--profile") + 1].endswith("profiles/slurm")
    _, _, asked = start("workflow --on slurm --profile tiny --gpus 2 --models tiny:llama,tiny:gpt2 --seeds 0,1")
    assert (asked.settings, asked.gpus) == ({"device": "cuda"}, 2)
    assert [given["seed"] for given in asked.runs()] == [0, 1, 0, 1]


def test_what_cannot_work_is_refused(checkout, capsys):
    pytest.importorskip("snakemake")
    for line, told in (
        ("book --set gama=5", "Did you mean 'gamma'"),
        ("book --profile huge", "'profile'"),
        ("book --jobs 0", "'jobs': got '0'"),
        ("workflow --on nowhere", "'on': got 'nowhere'; allowed: default, slurm, kubernetes"),
        ("workflow --set cue_rate=1.0", "Chapters that use it: 15_spurious_cue"),
        ("workflow --chapters 99_none", "99_none"),
        ("workflow --seeds 0,x", "'seeds': got 'x'"),
        ("job weights/nothing-12345678 --profile tiny", "one of "),
    ):
        assert main(line.split()) == 2 and told in capsys.readouterr().err, line
    checkout.build.mkdir()
    with FileLock(checkout.build / "book.lock"):
        assert main(["book", "--profile", "tiny", "--jobs", "2"]) == 1
    assert "another build" in capsys.readouterr().err


@pytest.mark.parametrize(
    "chapter", [pytest.param(name, marks=[pytest.mark.slow] * (name != "15_spurious_cue")) for name in sorted(CHAPTERS)]
)
def test_a_notebook_finds_all_that_a_model_makes(chapter, shared, monkeypatch):
    """A chapter at ``tiny``, after its jobs: nothing is missing, and it loads no model."""
    from golden import oracle

    monkeypatch.setenv("POLINB_STORE", str(shared / "jobs-store"))
    run = Run(Params.from_profile("tiny"))
    jobs = {job.name: job for job in grouped(run, wanted(run, chapter), {"profile": "tiny"}).values()}
    for job in in_order(jobs):
        job.make(lost(jobs))
    assert not [name for name, job in jobs.items() if {r.path for r in job.results} & lost(jobs) and not job.left_out]
    if not runs_models(run, chapter):
        monkeypatch.setattr(Run, "_load", lambda run: pytest.fail("a model was loaded"))
    oracle.run_here(chapter)
