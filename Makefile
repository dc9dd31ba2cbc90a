# Two commands matter: `make book` and `make test`. Both work on a fresh machine that has Python >= 3.11 and make.
# A chapter is executed again exactly when its text, emt_core, the lock, the data or its section of the profile changed:
# tools/execute.py compares a hash of all of these, so file times do not matter and every chapter is simply asked.

PROFILE ?= default
PYTHON  ?= python3
BUILD   ?= _build
HTML    ?= $(BUILD)/html
JOBS    ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

LIBRARY_TESTS := $(addprefix tests/,support tasks theory networks training analysis experiments)
PROFILES := smoke default full
ifeq ($(filter $(PROFILE),$(PROFILES)),)
$(error unknown PROFILE "$(PROFILE)": choose one of $(PROFILES))
endif

VENV  := .venv
PY    := $(VENV)/bin/python
STAMP := $(VENV)/.stamp
CHAPTERS := $(patsubst book/%.md,%,$(shell grep -l '^jupytext:' book/*.md 2>/dev/null))
# the longest first, so that no core waits for the last one
LONGEST := bits rotate_route_shrink analog_or_digital failures sensitivity spectrum interventions onion_to_linear causal_tests training privileged_basis origins probes gru_repeat onions
ORDERED := $(filter $(CHAPTERS),$(LONGEST)) $(filter-out $(LONGEST),$(CHAPTERS))
EXECUTED := $(patsubst %,$(BUILD)/executed/$(PROFILE)/%.ipynb,$(ORDERED))
VENDOR := $(BUILD)/web/.stamp
# children of a parallel make share its job slots; only a plain `make` gets one job per core
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(JOBS))
PIP_COMPILE = $(VENV)/bin/pip-compile -q --strip-extras --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --no-emit-options --output-file=requirements.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help book pdf test lighthouse lab sync lint lowest interop clean lock upgrade site executed pytest FORCE

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18
	@echo; echo '  PROFILE=smoke|default|full chooses how much is computed (default: default);'
	@echo '  PYTHON=... the interpreter that makes .venv; HTML=... where the site goes.'

book: $(STAMP) ## execute the chapters and build the site into _build/html
	@$(MAKE) --no-print-directory $(PARALLEL) site

pdf: book ## print the whole book into _build/emt.pdf (needs Chromium or Chrome)
	$(PY) tools/pdf.py --html $(HTML) --out $(BUILD)/emt.pdf

test: $(STAMP) ## lint, build the smoke site into _build/test/html, run every test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory $(PARALLEL) PROFILE=smoke HTML=$(BUILD)/test/html site
	@$(MAKE) --no-print-directory pytest

lighthouse: $(STAMP) ## rate five pages of the built site (HTML=...); reports in _build/lighthouse
	$(PY) tools/lighthouse.py $(HTML) $(BUILD)/lighthouse

# loadgroup: tests that must not run side by side name a common xdist_group. One thread each: a worker per core is enough.
pytest: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) --dist loadgroup

lab: $(STAMP) ## open JupyterLab on the reading notebooks (those of the last build; of the smoke profile if there is none)
	@test -d $(HTML)/notebooks || $(MAKE) --no-print-directory $(PARALLEL) PROFILE=smoke site
	$(VENV)/bin/jupyter lab --notebook-dir=$(HTML)/notebooks

sync: $(STAMP) ## write each chapter's paired .ipynb from its .md
	$(PY) tools/sync.py

lint: $(STAMP) ## ruff, mypy, whether the pairs are in sync, and how much plumbing the chapters show
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) tools/sync.py --check
	$(PY) tools/check_code.py

lowest: ## test the library with the lowest versions that pyproject.toml allows, in .venv-lowest
	@test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	$(PYTHON) -c 'import tomllib; print(*(d.replace(">=", "==") for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]), sep="\n")' \
		> .venv-lowest/lowest.txt
	.venv-lowest/bin/pip install -q --disable-pip-version-check -r .venv-lowest/lowest.txt pytest pytest-xdist hypothesis beartype psutil
	.venv-lowest/bin/pip install -q --disable-pip-version-check --no-deps -e .
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -q -n $(JOBS) --dist loadgroup $(LIBRARY_TESTS)

interop: $(STAMP) ## test the networks under nnsight and pyvene, in .venv-interop beside what .venv has
	@test -x .venv-interop/bin/python || $(PYTHON) -m venv .venv-interop
	$(PY) -c 'import os, sysconfig; print(sysconfig.get_paths()["purelib"], os.getcwd(), sep="\n")' \
		> $$(.venv-interop/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/lock.pth
	.venv-interop/bin/pip install -q --disable-pip-version-check \
		$$($(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["interop"])')
	OMP_NUM_THREADS=1 .venv-interop/bin/python -m pytest -q -rs tests/networks/test_interop.py

clean: ## remove everything that was built (not .venv)
	rm -rf $(BUILD) *.egg-info

lock: $(STAMP) ## compile requirements.txt from requirements.in, keeping what still fits
	$(PIP_COMPILE) requirements.in
	sed -i.bak -E 's/^(torch==[^+]*)\+[^ ]*/\1/' requirements.txt && rm requirements.txt.bak

upgrade: $(STAMP) ## like lock, with the newest versions that requirements.in allows
	sed -i.bak -E 's/^torch==.*/torch>=2.11/' requirements.in && rm requirements.in.bak
	$(PIP_COMPILE) --upgrade requirements.in
	sed -i.bak -E 's/^(torch==[^+]*)\+[^ ]*/\1/' requirements.txt && rm requirements.txt.bak
	$(PY) -m pip install -q --disable-pip-version-check -r requirements.txt

# -- the steps -------------------------------------------------------------------------------------------------------

$(STAMP): requirements.txt pyproject.toml setup.py $(wildcard emt_core/networks/kernels/*.cpp emt_core/networks/kernels/*.h)
	@test -x $(PY) || $(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit( \
		"emt needs Python 3.11 or newer, but $(PYTHON) is %d.%d: call make with PYTHON=python3.12 or the like" % v)'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install -q --disable-pip-version-check --no-deps -e . 2>/dev/null || \
		$(PY) -m pip install --disable-pip-version-check --no-deps -e .  # again, to show why
	@touch $@

# an unfinished download leaves no stamp, so it is fetched again
$(VENDOR): tools/web/package.json tools/web/package-lock.json tools/vendor.py | $(STAMP)
	$(PY) tools/vendor.py $(BUILD)/web
	@touch $@

executed: $(EXECUTED)

$(BUILD)/executed/$(PROFILE)/%.ipynb: book/%.md FORCE | $(STAMP)
	@$(PY) tools/execute.py $* --profile $(PROFILE) --build $(BUILD)

site: $(EXECUTED) $(VENDOR)
	@$(PY) tools/build_site.py --profile $(PROFILE) --build $(BUILD) --html $(HTML)

FORCE:
