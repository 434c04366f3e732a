# Everything runs in a virtual environment of its own, .venv; the first target that needs it makes it.
# A machine needs Python 3.11 or later, make and a C compiler.  `make` alone prints what there is.

PYTHON ?= python3
VENV ?= .venv
OUT ?= out
FACTS ?= ../shared/facts
# How many programs are verified at a time by the targets that can.
JOBS ?= 2
ALL_CORPORA := examples xdp-tools libbpf-tools verifier
# Options of a campaign: make garbage ARGS="--count 200".
ARGS ?=
# Two workers halve the time of the tests on two cores; PYTEST_ARGS="-n0 -x" is for hunting one failure.
PYTEST_ARGS ?= -n auto

PY := $(VENV)/bin/python
TEST_ENV := $(VENV)/.ready-test
RESEARCH_ENV := $(VENV)/.ready-research
DEV_ENV := $(VENV)/.ready-dev
PREVAIL := $(VENV)/bin/prevail-py
EXAMPLES := prevail_py/examples

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

.PHONY: help
help: ## print this list
	@echo 'usage: make TARGET [PYTHON=python3.11] [VENV=.venv] [PYTEST_ARGS="-n auto"]'
	@echo
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##### The two commands of the README

.PHONY: demo
demo: $(TEST_ENV) ## verify the examples, see an unsafe one rejected, run the firewall over a capture
	@echo '### Every example: the safe programs are proved SAFE, the unsafe ones are not.'
	$(PREVAIL) verify --brief $(EXAMPLES)/*.o; test $$? -eq 1
	@echo; echo '### Why one is rejected: the source line, what is known there, what would be needed.'
	$(PREVAIL) verify $(EXAMPLES)/unsafe_null.o; test $$? -eq 1
	@echo; echo '### It is refused when it comes to running, too.'
	$(PREVAIL) run $(EXAMPLES)/unsafe_null.o --pcap $(EXAMPLES)/traffic.pcap >/dev/null; test $$? -eq 1
	@echo; echo '### The firewall is SAFE: with its rules loaded it runs over 150 packets, and counts what it did.'
	$(PREVAIL) run $(EXAMPLES)/xdp_firewall.o --pcap $(EXAMPLES)/traffic.pcap \
		--maps $(EXAMPLES)/xdp_firewall.json --show-maps --out $(OUT)

.PHONY: test
test: $(TEST_ENV) ## run the tests; whatever this machine lacks is skipped and named
	$(PY) -m pytest -q $(PYTEST_ARGS)

##### Checks while developing

.PHONY: check
check: lint types layers test ## lint, types, layers and tests: what must pass before a commit

.PHONY: lint
lint: $(DEV_ENV) ## ruff: lint and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

.PHONY: format
format: $(DEV_ENV) ## rewrite the sources as `make lint` wants them
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

.PHONY: types
types: $(DEV_ENV) ## mypy --strict over the package and the tests
	$(PY) -m mypy

.PHONY: layers
layers: $(DEV_ENV) ## import-linter: who may import whom
	$(VENV)/bin/lint-imports --no-cache

##### Longer campaigns and measurements: not part of `make check`

.PHONY: bench
bench: $(TEST_ENV) ## measure the verifier: speed, and growth with the size of programs
	$(PY) -m prevail_py.research.bench $(ARGS)

.PHONY: oracle
oracle: $(TEST_ENV) ## run every SAFE program on generated inputs and hold each state against its invariants
	$(PY) -m prevail_py.research.oracle --min-coverage 75 --min-total 90 --out docs/measurements/oracle.md $(ARGS) \
		$(EXAMPLES)/*.o $(wildcard /usr/lib/*/bpf/x*.o)

.PHONY: soundness
soundness: $(TEST_ENV) ## verify random programs for ten minutes and run those that are SAFE
	$(PY) -m prevail_py.research.soundness --seconds 300 --out $(OUT)/soundness $(ARGS)
	$(PY) -m prevail_py.research.soundness --seconds 300 --loops --size 15 --out $(OUT)/soundness $(ARGS)

.PHONY: museum
museum: $(RESEARCH_ENV) ## plant historic bugs one by one, and ask every oracle about each
	mkdir -p $(OUT)
	$(PREVAIL) museum run --seconds 30 --jobs $(JOBS) --json $(ARGS) > $(OUT)/museum.json; test $$? -le 1
	$(PY) papers/museum/reproduce.py $(OUT)/museum.json

.PHONY: museum-fuzz
museum-fuzz: $(RESEARCH_ENV) ## campaigns against 15 bugs of the museum, drawn by a seed: goes on where it was interrupted
	mkdir -p $(OUT)
	$(PY) -m prevail_py.research.museum.hunt --keep $(OUT)/museum-fuzz.jsonl --json $(OUT)/museum-fuzz.json \
		--markdown docs/measurements/museum-fuzz.md $(ARGS)

.PHONY: fuzz
fuzz: $(RESEARCH_ENV) ## a fuzz campaign of twenty minutes with all four oracles: goes on where it was interrupted
	mkdir -p $(OUT)
	$(PREVAIL) fuzz --oracles soundness,engines,kernel-verdict,certificate --time 20m --jobs $(JOBS) \
		--db $(OUT)/fuzz.db --out $(OUT)/fuzz --markdown docs/measurements/fuzz.md $(ARGS)

.PHONY: bench-generator
bench-generator: $(TEST_ENV) ## measure generated programs: how many are SAFE, how large they are, how many a second
	$(PY) -m prevail_py.research.bench_generator --out docs/measurements/generator.md $(ARGS)

.PHONY: mutants
mutants: $(TEST_ENV) ## run the tests against 200 mutants of the verifier; goes on where it was interrupted
	$(PY) -m prevail_py.research.mutants --jobs $(JOBS) --out $(OUT)/mutants --markdown docs/measurements/mutants.md $(ARGS)

.PHONY: selftests
selftests: $(RESEARCH_ENV) ## verify the annotated selftests of the kernel: agreement, and every disagreement with its cause
	mkdir -p $(OUT)
	$(PREVAIL) corpus run verifier --jobs $(JOBS) --json $(OUT)/selftests.json $(ARGS); test $$? -le 1
	$(PREVAIL) corpus run verifier --policy linux-root --jobs $(JOBS) --json $(OUT)/selftests-root.json $(ARGS); test $$? -le 1
	$(PREVAIL) corpus table $(OUT)/selftests.json --lax $(OUT)/selftests-root.json --title "Annotated selftests of the kernel" \
		--markdown docs/measurements/selftests.md

.PHONY: core-cases
core-cases: $(RESEARCH_ENV) ## hold CO-RE against the cases of the kernel's selftests
	$(PY) -m prevail_py.research.core_cases --markdown docs/measurements/core-cases.md $(ARGS)

.PHONY: corpora
corpora: $(RESEARCH_ENV) ## verify the objects of Debian packages and of the other selftests, and ask the kernel
	mkdir -p $(OUT)
	$(PREVAIL) corpus run examples xdp-tools libbpf-tools --jobs $(JOBS) --json $(OUT)/corpora.json $(ARGS); test $$? -le 1
	$(PREVAIL) corpus table $(OUT)/corpora.json --title "Objects of Debian packages" \
		--markdown docs/measurements/corpora.md

.PHONY: smt-corpora
smt-corpora: $(RESEARCH_ENV) ## what each step of the verifier decides on the corpora: domains, equations, disjuncts, discharge, witnesses
	$(PY) -m prevail_py.research.corpora.steps examples xdp-tools libbpf-tools verifier --fresh \
		--markdown docs/measurements/smt.md $(ARGS)

.PHONY: oracle-corpora
oracle-corpora: $(RESEARCH_ENV) ## run every SAFE program of the corpora and hold each state against its invariants
	$(PREVAIL) corpus oracle xdp-tools libbpf-tools verifier examples --runs 20 --steered 10 --jobs $(JOBS) \
		--markdown docs/measurements/oracle-corpora.md $(ARGS)

.PHONY: bench-corpora
bench-corpora: $(RESEARCH_ENV) ## measure the verifier beside the kernel's, program by program, in one process
	mkdir -p $(OUT)
	$(PREVAIL) corpus run $(ALL_CORPORA) --fresh --no-smt --json $(OUT)/speed.json $(ARGS); test $$? -le 1
	$(PREVAIL) corpus run $(ALL_CORPORA) --fresh --no-smt --disjuncts 1 --json $(OUT)/speed-one.json $(ARGS); test $$? -le 1
	$(PREVAIL) corpus run $(ALL_CORPORA) --fresh --json $(OUT)/speed-solver.json $(ARGS); test $$? -le 1
	$(PREVAIL) corpus speed $(OUT)/speed.json --also "one state at each join=$(OUT)/speed-one.json" \
		--also "with the solver=$(OUT)/speed-solver.json" --markdown docs/measurements/speed.md

.PHONY: bench-engines
bench-engines: $(TEST_ENV) ## measure the generated-source engine against the interpreter
	$(PY) -m prevail_py.research.bench_engines $(ARGS)

.PHONY: bench-jit
bench-jit: $(TEST_ENV) ## measure native code of proved programs beside clang's and the kernel's JIT
	$(PY) -m prevail_py.research.bench_jit $(ARGS)

.PHONY: bench-trust
bench-trust: $(TEST_ENV) ## measure what a verifier in a process of its own costs: round trips, signing, checking
	$(PY) -m prevail_py.research.bench_trust $(ARGS)

.PHONY: bench-host
bench-host: $(TEST_ENV) ## measure the host: calls, 200 clients, packets in replay and live, binds
	$(PY) -m prevail_py.research.bench_host $(ARGS)
.PHONY: bench-certificates
bench-certificates: $(RESEARCH_ENV) ## measure certificates: writing, reading and checking them beside verification
	$(PY) -m prevail_py.research.bench_certificates --corpora verifier libbpf-tools $(ARGS)

.PHONY: bench-explorer
bench-explorer: $(TEST_ENV) ## measure how soon pages of the explorer open in Chromium, for programs of 5,000 instructions
	$(PY) -m prevail_py.research.bench_explorer $(ARGS)

.PHONY: differential
differential: $(TEST_ENV) ## run 20,000 generated programs on interpreter and source
	$(PY) -m prevail_py.research.differential --programs 20000 --out $(OUT)/differential $(ARGS)

.PHONY: differential-jit
differential-jit: $(TEST_ENV) ## all vectors and 20,000 generated programs on native code, both tiers
	PREVAIL_PY_ALL_VECTORS=1 $(PY) -m pytest -q $(PYTEST_ARGS) tests/vm/jit
	$(PY) -m prevail_py.research.differential --programs 20000 --engines interpreter,source,jit-O0,jit \
		--out $(OUT)/differential $(ARGS)
	$(PY) -m prevail_py.research.proved --programs 20000 $(ARGS)

.PHONY: differential-kernel
differential-kernel: $(TEST_ENV) ## run 3,000 generated programs on interpreter, source and kernel
	$(PY) -m prevail_py.research.differential --programs 3000 --engines interpreter,source,kernel \
		--out $(OUT)/differential $(ARGS)

.PHONY: differential-proved
differential-proved: $(TEST_ENV) ## run 3,000 generated programs, those that are SAFE, as code without checks and on the kernel
	$(PY) -m prevail_py.research.differential --programs 3000 --engines proved-O0,proved,kernel \
		--out $(OUT)/differential $(ARGS)

.PHONY: plugin
plugin: $(TEST_ENV) ## all conformance vectors through the plugin process
	PREVAIL_PY_ALL_VECTORS=1 $(PY) -m pytest -q $(PYTEST_ARGS) tests/cli/test_plugin.py

.PHONY: garbage
garbage: $(TEST_ENV) ## feed 5,000 damaged objects to the loader and the verifier
	$(PY) -m prevail_py.research.garbage --out $(OUT)/garbage $(ARGS)

.PHONY: damaged
damaged: $(TEST_ENV) ## hand 10,000 damaged objects to one confined verifier, and as many to a host
	PREVAIL_PY_DAMAGED=10000 $(PY) -m pytest -q -n0 tests/host/service/test_verifier.py -k damaged
	$(PY) -m prevail_py.research.damaged_host --count 10000 $(ARGS)

.PHONY: exhaustive
exhaustive: $(TEST_ENV) ## check the word operators on all pairs of small words: some twenty minutes
	PREVAIL_PY_EXHAUSTIVE=1 $(PY) -m pytest -q $(PYTEST_ARGS) tests/domains/test_exhaustive.py

.PHONY: prove
prove: $(RESEARCH_ENV) ## prove the operators of the domains at 64 bits, and write the table
	mkdir -p $(OUT)
	$(PY) -m prevail_py.research.proofs --fallback 16 --fallback 8 \
		--jobs $(JOBS) --out docs/measurements/proofs.md $(ARGS)

.PHONY: regenerate
regenerate: $(TEST_ENV) ## rewrite generated tables (from ../shared/facts), golden files, pages of notebooks
	$(PY) -m prevail_py.platforms.linux.generate $(FACTS)
	$(PY) -m prevail_py.research.support --out docs/support.md
	$(PY) -m prevail_py.research.notebooks markdown notebooks/03_write_your_own_domain.ipynb > docs/writing-a-domain.md
	PREVAIL_PY_UPDATE_GOLDEN=1 $(PY) -m pytest -q $(PYTEST_ARGS) tests/cli
	PREVAIL_PY_UPDATE_GOLDEN=1 $(PY) -m pytest -q -n0 tests/domains/test_exhaustive.py

.PHONY: papers
papers: $(RESEARCH_ENV) ## make the tables and figures of the reproduced papers anew: some twenty minutes
	$(PY) papers/prevail/experiment.py --fresh
	$(PY) papers/fuzz_oracles/experiment.py
	$(PY) papers/operator_verification/reproduce.py
	$(PY) papers/proof_guided_refinement/experiment.py --markdown papers/proof_guided_refinement/table.md

.PHONY: docs
docs: $(VENV)/.ready-docs ## build the documentation site into out/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

.PHONY: notebooks
notebooks: $(DEV_ENV) ## execute the notebooks; copies with outputs and pictures go to out/notebooks
	$(PY) -m prevail_py.research.notebooks execute --out $(OUT)/notebooks notebooks/*.ipynb

##### The environment

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "prevail-py needs Python 3.11 or later; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# `make` sees from these stamps that the environment is newer than pyproject.toml: then nothing is installed.
$(VENV)/.ready-%: pyproject.toml | $(VENV)/pyvenv.cfg
	$(PY) -m pip install -qq --disable-pip-version-check --editable '.[$*]'
	@touch $@

.PHONY: setup
setup: $(DEV_ENV) ## make the environment for development

.PHONY: clean
clean: ## remove what was built, the environment apart
	rm -rf build dist $(OUT) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove the environment as well
	rm -rf $(VENV)
