# make help lists the targets. Set-up happens by itself.

SHELL := /bin/bash
VENV := .venv
READY := $(VENV)/.ready
CLUSTER_READY := $(VENV)/.cluster-ready
PORT := 5000
COMPILE = uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --upgrade --custom-compile-command 'make requirements'
OSV := https://api.osv.dev

# DVC and MLflow start `python` from the PATH, so nobody has to activate anything
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# without bytecode every start costs seconds
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help repro settle ablation test slow bench ui smoke doctor audit study readme calibration requirements

help: ## list these targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

# a recipe of its own, as make ablation has something to do before it
define run-pipeline
@# a tarball has no git, and DVC must be configured for that
@[ -e .git ] || dvc config --local core.no_scm true
@# before DVC deletes the results of a stage whose params it then cannot read
@# the trap has the shell wait for DVC after Ctrl-C, and end with its exit status
@# the verdict comes last, below what DVC says at its end, and so not from the stage as well
@VERDICT_FOLLOWS=1 python -m stages.cli.preload sh -c 'trap : INT; commands=$$(python -m stages.cli.before_repro) && eval "$$commands"'
@printf '\n'; grep '^\*\*' metrics/report.md | tr -d '*'
endef

# what is written on the command line, such as CLUSTER=auto, reaches the recipes' environment as well
repro: $(READY) $(if $(CLUSTER),$(CLUSTER_READY)) ## run the pipeline, only what is out of date, and print the verdict (CLUSTER=auto: trials on a Ray cluster)
	$(run-pipeline)

settle: $(READY) $(if $(CLUSTER),$(CLUSTER_READY)) ## run trials as report.looks plans, until the answer is clear (BUDGET=2h: or that is spent)
	@[ -e .git ] || dvc config --local core.no_scm true
	@python -m stages.cli.settle $(BUDGET)

# the stage choose depends on the folder stages/ with all that is in it
ablation: NO_BYTECODE = PYTHONDONTWRITEBYTECODE=1
ablation: $(READY) ## train with each augmentation operation alone, and all but one, and rank them
	@# the pipeline may take hours, so refuse first what will be refused
	@python -m ablation.plan
	$(run-pipeline)
	@[ -e .git ] || dvc --cd ablation config --local core.no_scm true
	@# what each policy applies, on which depends what is to be trained
	@$(NO_BYTECODE) dvc --cd ablation repro --quiet choose
	@$(NO_BYTECODE) dvc --cd ablation status --json | $(NO_BYTECODE) python -m ablation.cost
	@$(NO_BYTECODE) python -m stages.cli.preload dvc --cd ablation repro

test: $(READY) $(CLUSTER_READY) ## lint, types and tests (9 minutes)
	ruff check .
	ruff format --check .
	@# mypy beside the tests, which leave it time
	mypy & pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder && wait $$!

slow: $(READY) $(CLUSTER_READY) ## the slow tests: real runs killed at every point, a server that hangs
	pytest --numprocesses 2 --dist worksteal -m slow

bench: $(READY) $(CLUSTER_READY) ## measure speed and memory against what people run today: one table (BENCH='--only pipeline': a part)
	@python -m benchmarks.bench --keep benchmarks/results.json $(BENCH)

ui: $(READY) ## browse the tracked runs in MLflow, on this machine only (PORT=5000)
	@python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null || \
		{ echo 'Port $(PORT) is taken. Choose another: make ui PORT=5001'; exit 1; }
	@page=$$(python -c 'from stages.tracking.store import find_chart_page; print(find_chart_page())') && \
	printf 'The charts: http://127.0.0.1:$(PORT)/%s   (Ctrl-C ends)\n' "$$page" && \
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true PYTHONWARNINGS=ignore \
		mlflow ui --workers 1 --uvicorn-opts '--log-level critical' --host 127.0.0.1 --port $(PORT) \
		--allowed-hosts localhost:$(PORT),127.0.0.1:$(PORT) --x-frame-options DENY

smoke: $(READY) ## run the pipeline on drawn samples in two minutes, as a throw-away DVC experiment
	@# what depends on the user's photos, weights and hosts is as it was when cloned
	@# git wants a name even for a commit that is thrown away
	@export GIT_AUTHOR_NAME=smoke GIT_AUTHOR_EMAIL=smoke@localhost GIT_COMMITTER_NAME=smoke GIT_COMMITTER_EMAIL=smoke@localhost; \
	dvc exp remove --quiet smoke 2>/dev/null; trap 'dvc exp remove --quiet smoke; rm -f .dvc/tmp/smoke.db' EXIT; \
	MLFLOW_TRACKING_URI=sqlite:///$(CURDIR)/.dvc/tmp/smoke.db dvc exp run --temp --name smoke \
		-S 'fetch.sources=[sample]' -S 'trials=[0]' -S model.image_size=64 -S train.epochs=2 -S train.checkpoint_every=2 -S evaluate.robustness=false \
		-S fetch.labels=null -S split.scheme=folds -S split.groups=null -S report.looks=null -S model.name=resnet50 -S model.weights=null -S model.freeze=none -S train.launcher=null && \
	printf '\nThe whole pipeline works here. Its results were discarded; metrics/ and models/ are unchanged.\n'

doctor: ## check that everything is fit to run; FIX=1 applies the fixes that lose no data
	@# does not need $(READY): a broken set-up is a finding, and fixing it is up to the user
	@for python in $(VENV)/bin/python python3; do $$python -c '' 2>/dev/null && break; done; \
	$$python -m stages.doctor $(if $(FIX),--fix)

audit: $(READY) ## ask osv.dev for known vulnerabilities of the pinned packages
	@# uv audits only projects: make one of these requirements
	@folder=$$(mktemp -d) && trap 'rm -r $$folder' EXIT && cd $$folder && uv init --quiet --bare --name pins && \
	uv add --quiet --no-sync --requirements $(CURDIR)/requirements.txt --requirements $(CURDIR)/requirements-cluster.txt && \
	uv audit --preview-features audit-command --frozen --service-url $(OSV)

$(READY): requirements.txt
	@# to clear a link would empty what it points to
	@[ ! -L $(VENV) ] || { echo '$(VENV) is a link, and the set-up would replace what it points to. Remove the link first: rm $(VENV)'; exit 1; }
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && break; \
	done || { echo 'No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make PYTHON=/path/to/python3.12'; exit 1; }; \
	echo "Setting up $(VENV) with $$($$python --version): one to two minutes on a fast connection, 6.5 GB" && \
	{ $$python -c 'import ensurepip, venv' 2>/dev/null || { echo 'Python lacks venv. On Debian and Ubuntu: apt install python3-venv'; exit 1; }; } && \
	$$python -m venv --clear $(VENV)
	@awk '/^uv==/,!/\\$$/' requirements.txt > $(VENV)/uv.txt
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.txt
	@uv pip sync --quiet --python $(VENV)/bin/python --require-hashes --compile-bytecode requirements.txt
	@touch $@

# Ray, beside the rest
$(CLUSTER_READY): requirements-cluster.txt $(READY)
	@uv pip install --quiet --python $(VENV)/bin/python --require-hashes --compile-bytecode --requirement requirements-cluster.txt
	@touch $@

study: $(READY) ## render the published studies of docs/study/ again
	@python -m stages.cli.study $(dir $(wildcard docs/study/*/summary.json))

readme: $(READY) ## regenerate the results table of README.md from docs/study/
	@python -m tests.support.readme

calibration: $(READY) ## simulate studies with a known truth: docs/calibration.md and docs/looks.md (two hours)
	@python -m benchmarks.calibration
	@python -m benchmarks.looks

requirements: $(READY) ## pin the packages of requirements.in and requirements-cluster.in again, with hashes
	$(COMPILE) --output-file requirements.txt requirements.in
	$(COMPILE) --constraint requirements.txt --output-file requirements-cluster.txt requirements-cluster.in
