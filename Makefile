# Everything a developer runs. A fresh machine needs git, make and Python 3.9 or newer with venv; the rest is installed
# into folders of this checkout: .venv for work, .venvs/ for the suite's other environments.

# Set PYTHON to choose the Python; by default the first of the usual names that is new enough.
PYTHON ?= $(shell sh .ci/find-python)
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet

# Most tests wait for sockets and processes; those of a file stay together and in their order.
SIDE_BY_SIDE = -n 3 --dist loadfile

.PHONY: help demo test test-quick test-soak test-clients test-suite test-oldest test-pythons lint docs bench bench-quick clean

help:
	@echo 'make demo         the bot on a lively local market until Ctrl-C (DEMO_SECONDS=20 make demo ends by itself)'
	@echo 'make test         everything: lint, the suite with coverage, oldest dependencies, every Python on this machine'
	@echo 'make test-quick   the suite without what builds, installs or runs for long'
	@echo 'make test-soak    what runs for minutes: recordings at their own pace, faults, many clients'
	@echo 'make test-clients clients that others wrote, on the local exchange: bitmex-ws, ccxt, bitmex-realtime-api, ...'
	@echo '                  (CLIENT_SECONDS=5 make test-clients follows their streams for 5 s instead of a minute)'
	@echo 'make lint         ruff, mypy, vermin'
	@echo 'make docs         the pages as a site in docs/_build, every warning an error'
	@echo 'make bench        the benchmarks; make bench-quick only looks whether a ratio has halved'
	@echo 'make clean        remove what these commands made'

# An environment is made anew when what it installs has changed; the stamp inside it says when that was.
$(VENV)/stamp-testnet: setup.py
	@sh .ci/make-venv $(VENV) '$(PYTHON)'
	$(PIP) -e '.[testnet]'
	@touch $@

$(VENV)/stamp-test: setup.py
	@sh .ci/make-venv $(VENV) '$(PYTHON)'
	$(PIP) -e '.[testnet,speed,test]'
	@touch $@ $(VENV)/stamp-testnet

$(VENV)/stamp-docs: setup.py
	@sh .ci/make-venv $(VENV) '$(PYTHON)'
	$(PIP) -e '.[docs]'
	@touch $@

demo: $(VENV)/stamp-testnet
	@$(BIN)/marketmaker demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

test: lint test-suite test-oldest test-pythons
	@echo 'All of it passed.'

test-suite: $(VENV)/stamp-test
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov --cov-report=term --durations=15

test-quick: $(VENV)/stamp-test
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not slow and not soak'

test-soak: $(VENV)/stamp-test
	$(BIN)/python -m pytest -m soak --durations=0

# The classic bot in an environment of its own: what the benchmarks compare with, and one of the clients.
CLASSIC = .venvs/classic
$(CLASSIC)/stamp:
	@sh .ci/make-venv $(CLASSIC) '$(PYTHON)'
	$(CLASSIC)/bin/python -m pip --disable-pip-version-check install --quiet \
		bitmex-market-maker==1.6.1 websocket-client==0.56.0
	@touch $@

# The clients in an environment of their own, for they want libraries that we do not; the Node client where npm is.
CLIENTS = .venvs/clients
$(CLIENTS)/stamp: setup.py tests/clients/requirements.txt tests/clients/package.json
	@sh .ci/make-venv $(CLIENTS) '$(PYTHON)'
	$(CLIENTS)/bin/python -m pip --disable-pip-version-check install --quiet \
		-e '.[testnet,speed]' -r tests/clients/requirements.txt
	@cp tests/clients/package.json $(CLIENTS)/
	@if command -v npm >/dev/null; then npm install --prefix $(CLIENTS) --no-audit --no-fund --silent; fi
	@touch $@

test-clients: $(CLIENTS)/stamp $(CLASSIC)/stamp
	CLIENT_NODE_MODULES=$(CLIENTS)/node_modules $(CLIENTS)/bin/python -m pytest --durations=5 tests/clients

test-oldest: $(VENV)/stamp-test
	sh .ci/test-oldest '$(PYTHON)'

test-pythons:
	sh .ci/test-pythons '$(PYTHON)'

lint: $(VENV)/stamp-test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	sh .ci/check-floor $(BIN)/python

docs: $(VENV)/stamp-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo 'docs/_build/html/index.html'

# Each benchmark takes minutes, and wants the machine for itself. QUICK=--quick makes seconds of it, and an error of a
# ratio below half of the one in benchmarks/recorded.json; QUICK='--quick --record' writes that file.
BENCHMARKS = tables converge orders bot
bench: $(VENV)/stamp-test $(CLASSIC)/stamp
	@mkdir -p benchmarks/results
	for name in $(BENCHMARKS); do \
		$(REPEAT) $(BIN)/python benchmarks/$$name.py $(QUICK) --baseline-python $(CLASSIC)/bin/python \
			--json benchmarks/results/$$name.json || exit 1; done
	for name in engine server; do \
		$(REPEAT) $(BIN)/python benchmarks/$$name.py $(QUICK) --json benchmarks/results/$$name.json || exit 1; done

# A quick run is short enough for a neighbour's work to spoil it: what falls short three times in a row has a reason.
bench-quick:
	@$(MAKE) --no-print-directory bench QUICK=--quick REPEAT='sh .ci/thrice'

clean:
	rm -rf $(VENV) .venvs build dist docs/_build htmlcov .coverage .coverage.* *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
