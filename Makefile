# One line per job; 'make help' lists them.
VENV ?= .venv
PYTHON ?= python3
WORKERS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.speechft-setup
# What was tried where a finding does not hold, or asked again, is no part of the paper:
# make study STUDY=attempts-asr.
# Those on human voices need an encoder and a corpus (docs/studies.md).
STUDIES := $(filter-out attempts-% human% language,$(basename $(notdir $(wildcard studies/*.yaml))))
STUDY ?= $(STUDIES)
BENCHES := $(basename $(notdir $(wildcard benchmarks/*.py)))

export VENV PYTHON

.PHONY: help setup demo demo-human test oldest faults fuzz lint format check bench docs study clean-demo
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

$(STAMP): constraints.txt pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh

setup: $(STAMP)  ## make .venv with exact versions (quick when it is there)

demo: setup  ## the main job, end to end, on the packaged default: runs/demo/report.html
	$(BIN)/speechft demo --out runs/demo

demo-human: setup  ## the same on human Czech: ENCODER=FOLDER-OR-HUB-ID CORPUS=FOLDER
	@test -n "$(ENCODER)" || { echo "ENCODER is missing: give openai/whisper-base, which the Hub has," \
	    "or a folder with it (docs/encoders.md)" >&2; exit 4; }
	@test -n "$(CORPUS)" || { echo "CORPUS is missing: give the folder that Debian's fillets-ng-data" \
	    "and fillets-ng-data-cs are unpacked to; 'speechft data prepare fillets FOLDER --download'" \
	    "makes it" >&2; exit 3; }
	$(BIN)/speechft run demo-human --set encoder="$(ENCODER)" --set "data=fillets:$(CORPUS)@cs" \
	    --out runs/demo-human

test: setup  ## run the tests (two processes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

oldest:  ## run the tests with the oldest versions that are asked for (constraints-oldest.txt), in .venv-oldest
	@VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt sh scripts/setup.sh
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -q -n $(WORKERS) --dist worksteal $(TESTS)

faults: setup  ## the whole table of faults, kills in every stage, several processes (half an hour): docs/reliability.md
	@rm -f .faults.jsonl
	-SPEECHFT_FAULTS=all SPEECHFT_FAULTS_KEPT=$(CURDIR)/.faults.jsonl OMP_NUM_THREADS=1 \
	    $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests/faults
	$(BIN)/python tests/faults/fault_report.py .faults.jsonl
	SPEECHFT_FAULTS=all OMP_NUM_THREADS=1 \
	    $(BIN)/python -m pytest -q -n $(WORKERS) -k "killed or keeps_its_state" tests/pipeline tests/training
	SPEECHFT_FAULTS=all OMP_NUM_THREADS=1 \
	    $(BIN)/python -m pytest -q -n 0 tests/training/test_several_processes.py

fuzz: setup  ## read damaged inputs of seven kinds, SECONDS=1200 each: docs/reliability.md
	@for target in recipe table cuts checkpoint "safetensors header" state store; do \
	    OMP_NUM_THREADS=1 PYTHONPATH=tests/support HF_HUB_OFFLINE=1 $(BIN)/python \
	        tests/faults/fault_fuzz.py "$$target" $(or $(SECONDS),1200) || failed=1; \
	done; $(BIN)/python tests/faults/fault_report.py; exit $${failed:-0}

lint: setup  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## put the files into the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint  ## style, strict types, import contracts
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## list the benchmarks; make bench NAME=x runs one
ifdef NAME
	$(BIN)/python benchmarks/$(NAME).py
else
	@echo "Benchmarks (make bench NAME=...): $(or $(BENCHES),none yet)"
endif

docs: setup  ## write the generated pages of docs/ again, build the site into site/, try its search
	$(BIN)/python scripts/make_docs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	$(BIN)/python scripts/search_site.py

study: setup  ## run the full studies of studies/*.yaml (hours) and keep their results
	$(BIN)/speechft study $(STUDY) --out runs/studies
	@for name in $(STUDY); do \
	    $(BIN)/python scripts/keep_results.py runs/studies/$$name results/studies/$$name \
	        || exit $$?; \
	done
	$(BIN)/python scripts/make_docs.py

clean-demo:  ## remove runs/demo, so that make demo starts anew
	rm -rf runs/demo
