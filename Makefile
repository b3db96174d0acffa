# make book   executes the notebooks and builds the book        make test   lint, types and tests
# Both make their own environment first. Works with GNU make 3.81 and later (macOS has 3.81).
.DEFAULT_GOAL := help
.PHONY: help setup setup-workflow read epub page book reference dag dry-run lab app test bench bench-env lint types fmt lock audit hooks clean distclean
.SUFFIXES:

VENV ?= .venv
PYTHON ?=
TESTS ?=
BIN = $(VENV)/bin

# Shortcuts for parameters, as in `make book MODEL=…`; PARAMS="name=value name=value" takes every other one.
SHORTCUTS = MODEL DATA GAMMA SEED DEVICE DTYPE JUDGE LABEL_FILTER

# A parameter counts only when it is written on make's command line. The environment of a cluster job often holds a
# DATA or MODEL that means something else, so that one is not taken, and we say so.
given = $(filter command,$(origin $(1)))
lower = $(shell printf '%s' '$(1)' | tr A-Z a-z)
quote = '$(subst ','\'',$(1))'
settings = $(foreach name,$(SHORTCUTS),$(if $(call given,$(name)),--set $(call quote,$(call lower,$(name))=$($(name))))) \
	$(if $(call given,PARAMS),$(foreach setting,$(PARAMS),--set $(call quote,$(setting))))
chapters = $(if $(call given,CHAPTERS),--chapters $(call quote,$(CHAPTERS)))
jobs = $(if $(call given,JOBS),--jobs $(call quote,$(JOBS)))
strays = $(foreach name,PROFILE CHAPTERS JOBS PARAMS $(SHORTCUTS),$(if $(filter environment,$(origin $(name))),$(name)))

# Runs one stage of `make test` or `make lint` and names it, also when it fails.
stage = @echo "== $(1)"; $(2) || { echo "== make $@: the stage '$(1)' failed" >&2; exit 1; }

help:
	@echo 'make read        build the whole book from the committed reference run: about a minute, no model is loaded'
	@echo 'make book        execute all notebooks, build the book (_build/html/index.html); see below'
	@echo 'make epub        the same as an EPUB (_build/epub/polinb.epub), for reading without a browser'
	@echo 'make page        add the model to the page "Try the neurons" of the built book (a minute, 115 MB)'
	@echo 'make reference   run every chapter for the committed reference results (hours); goes on where it was stopped'
	@echo 'make dry-run     list what make book JOBS=… would run; make dag: draw it (OUT=_build/dag.dot)'
	@echo 'make test        ruff, mypy, pytest (with a browser); TESTS="-k pnlac" or TESTS="-m slow" is passed to pytest'
	@echo 'make lab         the live lab in JupyterLab; make app: the lab alone, in Voilà; PORT=… changes the port'
	@echo 'make reference-check  the committed results read again, a random tenth of the second run made again; DATA=… as in the run'
	@echo 'make bench       speed and memory against the plain model (minutes); make bench-env first: other libraries as well'
	@echo 'make setup       only make or refresh $(VENV); PYTHON=python3.12 names the Python to use'
	@echo 'make lint        ruff (lint, format)'
	@echo 'make types       mypy'
	@echo 'make fmt         format code, strip notebooks'
	@echo 'make lock        resolve requirements.lock anew after a change of pyproject.toml'
	@echo 'make audit       ask the advisory services about the locked packages (needs the network)'
	@echo 'make hooks       install the git hooks (pre-commit, local only)'
	@echo 'make clean       remove what was built (computed results stay in their store)'
	@echo 'make distclean   clean, and remove $(VENV)'
	@echo
	@echo 'Parameters of make book, lab and app: PROFILE=tiny|quick|full|paper (default quick)'
	@echo '  JOBS=N runs steps and chapters side by side (not lab, app); on a cluster: book/scale.md'
	@echo '  CHAPTERS=core|all|NAME,NAME (default core: the paper; all: also what goes beyond it)'
	@echo '  $(foreach name,$(SHORTCUTS),$(name)=…)'
	@echo '  PARAMS="name=value name=value" for any other parameter'

setup:
	@VENV='$(VENV)' PYTHON='$(PYTHON)' sh .ci/setup

# Snakemake is installed when it is first asked for.
setup-workflow:
	@VENV='$(VENV)' PYTHON='$(PYTHON)' WORKFLOW=1 sh .ci/setup

book: $(if $(call given,JOBS),setup-workflow,setup)
	$(if $(strip $(strays)),@echo 'polinb: not taken from the environment: $(strip $(strays)). Write them after make book.' >&2)
	@$(BIN)/python -m book._make book --profile $(if $(call given,PROFILE),$(call quote,$(PROFILE)),quick) $(strip $(chapters) $(jobs) $(settings))

read: setup
	@$(BIN)/python -m book._make read

epub: setup
	@$(BIN)/python -m book._make read --epub

page: setup
	@$(BIN)/python -m book._make page

# The profile is full; what a computer without a GPU leaves out of it: polinb/resources/reference/cpu.toml.
reference: setup
	$(foreach name,PROFILE JOBS,$(if $(call given,$(name)),$(error make reference takes no $(name): the profile is full)))
	$(if $(strip $(strays)),@echo 'polinb: not taken from the environment: $(strip $(strays)). Write them after make reference.' >&2)
	@$(BIN)/python -m book._make reference $(strip $(chapters) $(settings))

workflow = $(BIN)/python -m book._make workflow --profile $(if $(call given,PROFILE),$(call quote,$(PROFILE)),quick) \
	$(strip $(chapters) $(jobs) $(settings))
dry-run: setup-workflow
	@$(workflow) -- --dry-run

dag: setup-workflow
	@mkdir -p _build
	@$(workflow) -- --forceall --dag dot >$(if $(call given,OUT),$(call quote,$(OUT)),_build/dag.dot)

# The committed results read again and compared, a random tenth of the second run's made again; SHARE=0.2, RANDOM_SEED=7, FILES_ONLY=1.
.PHONY: reference-check
reference-check: setup
	@$(BIN)/python -m book._make reference-check $(strip $(settings)) $(if $(call given,SHARE),--share $(call quote,$(SHARE))) \
	$(if $(call given,RANDOM_SEED),--seed $(call quote,$(RANDOM_SEED))) $(if $(call given,FILES_ONLY),--files-only)

lab app: setup
	@$(BIN)/python -m polinb $@ --profile $(if $(call given,PROFILE),$(call quote,$(PROFILE)),quick) \
	$(strip $(settings)) $(if $(call given,PORT),--port $(call quote,$(PORT)))

test: setup-workflow
	$(call stage,ruff check,$(BIN)/ruff check .)
	$(call stage,ruff format --check,$(BIN)/ruff format --check .)
	$(call stage,mypy,$(BIN)/mypy)
	$(call stage,browser,VENV='$(VENV)' sh .ci/browser)
	$(call stage,pytest,$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(TESTS))

# Figures go to POLINB_BENCHMARKS (default _build/benchmarks.json); the book shows the committed book/benchmarks.json.
bench: setup
	@OMP_NUM_THREADS=1 POLINB_BENCH_PYTHON="$${POLINB_BENCH_PYTHON:-.venv-bench/bin/python}" \
	$(BIN)/python -m pytest -s -m 'not gpu' tests/benchmarks $(TESTS)

# TransformerLens and pyvene, measured beside PNLAC, in an environment of their own.
bench-env: setup
	@$(BIN)/python -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --disable-pip-version-check --quiet -r tests/benchmarks/requirements.txt

lint: setup
	$(call stage,ruff check,$(BIN)/ruff check .)
	$(call stage,ruff format --check,$(BIN)/ruff format --check .)

types: setup
	$(call stage,mypy,$(BIN)/mypy)

fmt: setup
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .
	@for n in notebooks/*.ipynb notebooks/*/*.ipynb; do [ ! -f "$$n" ] || $(BIN)/nbstripout --keep-id "$$n" || exit 1; done

# The resolver runs in an environment of its own: the lock must not depend on what happens to be installed.
lock:
	@t=$$(mktemp -d) && trap 'rm -rf "$$t"' EXIT && \
	$(if $(PYTHON),'$(PYTHON)',python3) -m venv "$$t/venv" && "$$t/venv/bin/python" .ci/lock.py

# Status 3: the advisory service could not be reached, so nothing was audited.
audit: setup
	@$(BIN)/python .ci/audit.py

hooks: setup
	@$(BIN)/pre-commit install

clean:
	rm -rf _build book/chapters book/_assets/vendor build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find polinb tests .ci -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf '$(VENV)' polinb.egg-info
