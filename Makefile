# Needs python3 (3.11 or newer, with venv) and pip's access to a package index. Nothing else.
#
#   PYTHON=python3.12    another Python          VENV=.venv-312    another place for it
#   ARGS=--json          handed to what the target runs
#   BROKER=rabbitmq      demo, repositories and chaos-server on RabbitMQ, which must be installed

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PYTHONS ?= $(shell $(PYTHON) tools/pythons.py)
SEEDS ?= 1000
SCHEDULES ?= 50
BROKER ?= sqs
ROOM ?=

export VENV
BIN := $(VENV)/bin
INSTALL := @$(PYTHON) tools/environment.py
# What exported files and the files of examples/ are checked by, apart from the tests' own packages.
VALIDATORS := @$(PYTHON) tools/environment.py validators
# The servers that stand in for AWS live in environments of their own.
LOCAL := @$(BIN)/messaging local --install >/dev/null
BROKERS_SERVER = @[ $(BROKER) != sqs ] || $(BIN)/messaging local --install >/dev/null
MOTO := @$(BIN)/messaging local --install --engine moto >/dev/null

.DEFAULT_GOAL := help
.PHONY: help demo repositories cadastro cadastro-test package image test test-pythons test-bounds one-bound coverage chaos outages chaos-wire chaos-server lint format docs docs-pictures docs-serve bench bench-parts bench-smoke mutants mutants-smoke lock release clean observability rabbitmq-cluster

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

demo:  ## a CSV of students to four services, on this machine; ARGS=--json or --trace
	$(INSTALL) test
	$(BROKERS_SERVER)
	@$(BIN)/python -m examples.demo --broker $(BROKER) $(ARGS)

observability:  ## the demo with a receiver of OTLP: checks one whole trace and every metric by name
	$(INSTALL) test
	$(LOCAL)
	@$(BIN)/python -m examples.observability $(ARGS)

repositories:  ## four teams' repositories and a fifth against one local server; ends with a table
	$(INSTALL) test
	$(BROKERS_SERVER)
	@$(BIN)/python -m examples.repositories.run --broker $(BROKER) $(ARGS)

cadastro:  ## the school's whole system on this machine, page and all; prints one URL, Ctrl-C ends it
	$(INSTALL) cadastro
	$(LOCAL)
	@$(BIN)/python -m examples.cadastro.local $(ARGS)

cadastro-test:  ## its tests, which need more packages than the library's
	$(INSTALL) cadastro
	$(LOCAL)
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/cadastro $(ARGS)

package:  ## the zip of cadastro's functions, for arm64, into dist/; the same sources give the same bytes
	$(INSTALL) cadastro
	@$(BIN)/python -m examples.cadastro.pacote dist

image:  ## cadastro's container for arm64, with the commit's date in all of it; needs docker with buildx
	@docker buildx version >/dev/null 2>&1 || { echo "make image needs docker with buildx, which is not here" >&2; exit 1; }
	docker buildx build --platform linux/arm64 --provenance=false --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
	  --output type=docker,name=cadastro,rewrite-timestamp=true -f examples/cadastro/Dockerfile .

test:  ## every other test; ARGS="tests/test_event.py -x" for some of them
	$(INSTALL) test
	$(VALIDATORS)
	$(LOCAL)
	$(MOTO)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/cadastro --ignore=tests/typed $(ARGS)

test-pythons:  ## make test on every Python of this machine from 3.11 on, or on PYTHONS="python3.12 ..."
	@set -e; for python in $(PYTHONS); do \
	  $(MAKE) test PYTHON=$$python VENV=.venv-$$(basename $$python); done

# The bounds are tried on other Pythons than `make test`, where this machine has some.
OTHERS ?= $(shell $(PYTHON) tools/pythons.py --others)
LOWEST_PYTHON ?= $(firstword $(OTHERS) $(PYTHON))
NEWEST_PYTHON ?= $(lastword $(PYTHON) $(OTHERS))
# Those that meet boto3 or pydantic: a store or a thread of ours is the same with any of them.
BOUNDS_TESTS := tests/contracts/test_queue.py tests/contracts/test_topic.py tests/contracts/test_hostile_messages.py tests/aws/fast \
	$(addprefix tests/consuming/test_,consumer.py dispatch.py fast_decoder.py handlers_that_did_not_run.py) \
	$(addprefix tests/publishing/test_,encoder.py publisher.py roundtrip.py) \
	tests/test_event.py tests/test_projection.py tests/test_codec.py tests/test_wire_format.py

# What measuring itself changes: which modules are loaded, whose frame stands where, how threads switch.
UNMEASURED := tests/outbox/test_writing.py::test_importing_it_loads_no_database \
	tests/aws/fast/test_endpoint.py::test_motos_decorator_stands_in_for_aws \
	tests/runtime/test_wedge.py::test_it_says_so_with_the_place_and_gives_back_what_waits \
	tests/aws/test_gunicorn.py

coverage:  ## how much of messaging/ the tests run, by line and branch; htmlcov/ shows the rest
	$(INSTALL) test
	$(VALIDATORS)
	$(LOCAL)
	$(MOTO)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q -n 2 --dist loadfile --ignore=tests/cadastro --ignore=tests/typed $(addprefix --deselect=,$(UNMEASURED)) $(ARGS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage html -q
	@$(BIN)/coverage report --fail-under=95

test-bounds:  ## the tests of what meets boto3 and pydantic, with the lowest and the newest of them
	$(MAKE) one-bound BOUND=lowest PYTHON=$(LOWEST_PYTHON) VENV=.venv-lowest
	$(MAKE) one-bound BOUND=newest PYTHON=$(NEWEST_PYTHON) VENV=.venv-newest

one-bound:
	$(INSTALL) test
	@$(BIN)/python tools/bounds.py $(BOUND)
	$(LOCAL)
	$(MOTO)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -k "not rabbitmq" $(BOUNDS_TESTS) $(ARGS)

chaos:  ## tries to break the promises of delivery: SEEDS=1000 scenarios of faults, in this process
	$(INSTALL) test
	@$(BIN)/python -m tests.chaos.scenarios --seeds $(SEEDS) $(ARGS)

outages:  ## plays outages and poison on a clock of its own, and prints what becomes of the messages
	$(INSTALL) test
	@$(BIN)/python -m tests.chaos.outages

chaos-wire:  ## the same over real sockets and threads, against a server that answers wrongly: SEEDS=50
	$(INSTALL) test
	@$(BIN)/python -m tests.chaos.sockets --seeds $(SEEDS) $(ARGS)

chaos-server:  ## the same with worker processes, kill -9 and a local server: SCHEDULES=50
	$(INSTALL) test
	$(BROKERS_SERVER)
	@$(BIN)/python -m tests.chaos.server --broker $(BROKER) --schedules $(SCHEDULES) $(ARGS)

rabbitmq-cluster:  ## three nodes of RabbitMQ, of which the connected one is killed: half a minute
	$(INSTALL) test
	@$(BIN)/python -m pytest -q -o timeout=300 tests/rabbitmq/cluster.py

lint:  ## ruff, mypy and pyright
	$(INSTALL) lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q tests/typed

format:  ## let ruff put the files in order
	$(INSTALL) lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs:  ## build the site into site/, stable and next, in two languages; any warning is an error
	$(INSTALL) docs
	$(BIN)/python tools/docs.py build

docs-pictures:  ## pictures of the site: both languages, desk and phone, light and dark, into artefatos/site/
	$(INSTALL) docs
	$(BIN)/python tools/docs.py photograph

docs-serve:  ## read the English site while you write it
	$(INSTALL) docs
	$(BIN)/zensical serve $(ARGS)

bench:  ## measure beside other libraries (benchmarks/README.md); ARGS=--quick for a first look
	$(INSTALL) test
	$(LOCAL)
	@$(BIN)/python -m benchmarks.environment
	@$(BIN)/python -m benchmarks $(ARGS)

bench-parts:  ## FIFO, one event at a time, files, processes, an idle worker, and Lambda beside Powertools
	$(INSTALL) test
	@$(BIN)/python -m benchmarks.parts $(ARGS)
	@$(BIN)/python -m benchmarks.functions

bench-smoke:  ## only whether the benchmark runs
	$(INSTALL) test
	$(LOCAL)
	@$(BIN)/python -m benchmarks --smoke $(ARGS)

mutants:  ## plants small bugs and counts what the tests notice; ROOM=settlement, ARGS="--sample 100"
	$(INSTALL) mutants
	@$(BIN)/python tools/mutants.py $(ROOM) $(ARGS)

mutants-smoke:  ## a few dozen of them, in small modules: under two minutes
	$(INSTALL) mutants
	@$(BIN)/python tools/mutants.py settlement attempts --sample 15 $(ARGS)

lock:  ## make uv.lock and requirements/ anew; ARGS=--upgrade for newer packages
	$(INSTALL) uv
	$(BIN)/python tools/lock.py $(ARGS)

release:  ## check everything that a release needs, build it, and try the wheel; publishes nothing
	$(INSTALL) test
	@$(BIN)/python tools/release.py

clean:  ## remove what make made
	rm -rf $(VENV) $(VENV).lock $(VENV)-validators* .venv-python* .venv-lowest* .venv-newest* site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
