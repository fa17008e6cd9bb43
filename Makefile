# Two commands: `make toy` runs the whole workflow in small, `make test` all fast tests.
# Both work in a virtual environment in this folder; nothing outside it is changed, but for the
# weights of VGG16 and AlexNet, which `make test` keeps in resources/weights as the workflow does.

PYTHON ?= python3
CORES ?= all
VENV := .venv
# Three workers with one thread each, on two cores too: most tests wait for processes of their own.
PYTEST := --numprocesses 3 --dist worksteal
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export TLW_WEIGHTS ?= $(CURDIR)/resources/weights

# Byte code is written at the first import of what is used, not of everything at installation; each
# of many short jobs would compile torch anew if the environment forbade it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: toy test test-all verify gpu lint clean help

help:
	@echo "make toy       the whole workflow in small: real photographs, all losses, a few minutes"
	@echo "make test      the fast tests"
	@echo "make test-all  the slow ones, too"
	@echo "make verify    the paper's bicubic numbers beside ours, of the benchmarks in resources/images"
	@echo "make gpu       on a machine with a GPU: tests, judge, steps and trainings, in ten minutes"
	@echo "make lint      style and types of the code, style of the workflow"
	@echo "make clean     removes the virtual environment and the toy results"

toy: $(VENV)/installed
	snakemake --cores $(CORES) --configfile config/toy.yaml --rerun-incomplete --show-failed-logs
	@cat results/toy/tables/table1.md results/toy/tables/table2.md
	@echo "These tables: results/toy/tables (Markdown, CSV, LaTeX). Each cell: results/toy/table*/"
	@echo "As pages to look at: source .venv/bin/activate && snakemake report --cores all --configfile config/toy.yaml"

test: $(VENV)/installed
	pytest $(PYTEST) -m "not slow and not network and not slurm and not toy"

test-all: $(VENV)/installed
	pytest $(PYTEST) -m "not network and not slurm and not toy"

verify: $(VENV)/installed
	tlw verify

gpu: $(VENV)/installed
	tlw fetch-weights vgg
	python benchmarks/first_light.py

lint: $(VENV)/installed
	ruff check tlw tests workflow benchmarks examples
	ruff format --check tlw tests benchmarks examples
	mypy
	snakefmt --check workflow
	snakemake --lint --configfile config/toy.yaml

# The stamp is made last, so an interrupted installation is done again.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "tlw needs Python 3.11.4 or newer, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
	    --constraint constraints.txt --editable '.[train,workflow,report,test,lint,import,export,trainers]'
	@touch $@

clean:
	rm -rf $(VENV) results/toy
