PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?= env=nav mixer=gcn kappa=2
TORCH := 2.13.0
JAXMARL ?= .venv-peers/jaxmarl
JAXMARL_COMMIT := c793d095618c6d3edfb5632802348f57b70a4b94
# modules are compiled once, when first imported, also where containers forbid that
export PYTHONDONTWRITEBYTECODE :=

FAST := fig5_cartpole fig5_nav methods_sysadmin methods_voltage nav_budgets sensitivity transfer wrong_graph soft \
	theorem1 fig6 fig8 fig9
OUT ?= runs

.PHONY: help install lock train test test-slow test-lowest torture lint format bench bench-peers traces evidence docs results figures clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Make .venv with the exact versions of requirements.txt, checked by their hashes

# torch comes first and without a hash: which build of it there is depends on the machine (for the CPU alone, or with
# gigabytes of CUDA). The package itself is built by the hatchling of requirements.txt. Not all modules are compiled, which
# takes longer than all else here, but those that the first command imports.
$(VENV)/.installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile "torch==$(TORCH)"
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes --no-deps --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python evaluate.py examples/policies/cartpole episodes=1 > /dev/null
	@touch $@

# versions that are there stay, unless pyproject.toml excludes them; UPGRADE=--upgrade takes the newest
lock: install ## Write requirements.txt anew, for all systems and versions of Python: make lock UPGRADE=--upgrade
	echo "torch==$(TORCH)" | $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --group dev --no-emit-package torch --constraint - $(UPGRADE) \
		--output-file requirements.txt pyproject.toml

train: install ## Train and show the result: make train ARGS="env=cartpole"
	$(BIN)/python train.py $(ARGS)

test: install ## Run the tests; make test-slow runs the rest of long lists of cases, too
	$(BIN)/python -m pytest -n 2

test-slow: install ## Run the long tests
	$(BIN)/python -m pytest -m slow

test-lowest: ## Run the tests with the lowest versions of pyproject.toml, but for export; PYTHON=python3.10 for the lowest of all
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --python .venv-lowest --resolution lowest-direct --group test --group docs --editable .
	.venv-lowest/bin/python -m pytest -W default --ignore tests/export

torture: install ## Run the whole campaigns of tests/torture, an hour or more
	$(BIN)/python -m pytest tests/torture -m "slow or not slow" --torture

lint: install ## Run ruff and mypy, and check the directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

traces: install ## Compare short runs of all methods with benchmarks/traces.json; TRACES=--record writes it
	$(BIN)/python benchmarks/traces.py $(TRACES)

bench: install ## Measure the speed of this machine
	$(BIN)/python benchmarks/speed.py

# torch comes first, as above; JaxMARL's scripts are in its repository alone
bench-peers: .venv-peers/.installed ## Measure training against JaxMARL and BenchMARL: make bench-peers PEERS="--only 1 cartpole"
	test -e "$(JAXMARL)" || { git clone --quiet https://github.com/FLAIROx/JaxMARL "$(JAXMARL)" && \
		git -C "$(JAXMARL)" checkout --quiet $(JAXMARL_COMMIT); }
	.venv-peers/bin/python benchmarks/peers.py --jaxmarl "$(JAXMARL)" $(PEERS)

.venv-peers/.installed: benchmarks/peers.txt pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet "torch==$(TORCH)"
	.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/peers.txt --editable .
	@touch $@

evidence: install ## Run every fast experiment again; with OUT=results what is stored is kept
	for name in $(FAST); do $(BIN)/python train.py experiment=$$name run_dir=$(OUT)/$$name > /dev/null || exit 1; done

docs: install ## Build docs/ as a site, site/index.html
	$(BIN)/python docs/build.py build/docs
	$(BIN)/mkdocs build --strict --config-file build/docs/mkdocs.yml

results: install ## Write docs/results.md and the README's table anew, from the numbers in results/
	$(BIN)/python docs/results.py

figures: install ## Draw all plots in results/ again, from the numbers stored there
	$(BIN)/lomaq figures results=results

clean: ## Remove what was made, except runs
	rm -rf $(VENV) .venv-lowest .venv-peers build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
