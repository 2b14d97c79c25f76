# Thin: every recipe is one line of `python -m ci`. `make` alone prints this file's ## comments.
.DEFAULT_GOAL := help
.SUFFIXES:
SERVICES := $(patsubst %/pyproject.toml,%,$(filter-out ci/%,$(wildcard */pyproject.toml)))
PYTHON_OF_CI := ci/.venv/bin/python
CI := $(PYTHON_OF_CI) -m ci
.PHONY: help run status logs stop clean test lint check-twins venvs env up down images ci pipeline \
  summary $(addprefix test-,$(SERVICES) ci e2e)

help: ## print this help
	@awk -F ':.*## ' '/^[a-zA-Z_-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '  \033[1m%-12s\033[0m %s\n' 'test-FOLDER' 'the tests of one folder: $(SERVICES) ci e2e'

run: $(PYTHON_OF_CI) ## the whole platform here; needs Python 3.11+ and nothing else; Ctrl-C stops it
	@exec $(CI) run

status: $(PYTHON_OF_CI) ## what runs: pid, port, uptime, memory, readiness
	@exec $(CI) ps

logs: $(PYTHON_OF_CI) ## follow the logs of a run; SERVICE=dis for one
	@exec $(CI) logs $(SERVICE)

stop: $(PYTHON_OF_CI) ## stop the run, from any terminal
	@exec $(CI) stop

clean: $(PYTHON_OF_CI) ## delete data, caches and environments, after asking; YES=1 does not ask
	@exec $(CI) clean $(if $(filter 1 yes true,$(YES)),--yes)

test: $(PYTHON_OF_CI) ## all tests: units, integration, ci, the running platform; one closing summary
	@exec $(CI) test $(if $(JUNIT),--junit $(JUNIT)) $(if $(K),-k '$(K)')

$(addprefix test-,$(SERVICES) ci e2e): test-%: $(PYTHON_OF_CI)
	@exec $(CI) test $* $(if $(JUNIT),--junit $(JUNIT)) $(if $(K),-k '$(K)')

lint: $(PYTHON_OF_CI) ## ruff, mypy, layers, Dockerfiles, twins, locks, tree
	@exec $(CI) lint

check-twins: $(PYTHON_OF_CI) ## the files that must be identical are
	@exec $(CI) lint twins

venvs: $(PYTHON_OF_CI) ## make the environments of all folders, with the development tools
	@exec $(CI) venvs --dev

ci: $(PYTHON_OF_CI) ## make ci's own environment; then: ci/.venv/bin/python -m ci --help
	@exec $(CI) venvs --dev ci

pipeline: $(PYTHON_OF_CI) ## a push to a synced manifest repository, here: registry, git, Jenkinsfile, Helm
	@exec $(CI) local $(ARGS)

summary: ## how this build of Jenkins went, command by command
	@if [ -e '$(PYTHON_OF_CI)' ]; then exec $(CI) summary; else echo "no command of ci ran: its environment was not made"; fi

env: $(PYTHON_OF_CI) ## write .env, the secrets of `make up`, unless it is there
	@exec $(CI) secrets .env

images up: export REVISION ?= $(shell git rev-parse HEAD)$(shell git diff --quiet HEAD || echo -dirty)
images up: export CREATED ?= $(shell git show --no-patch --format=%cI HEAD)
images: env ## build the five images
	docker compose build

up: env ## the platform in containers, on http://localhost:8080
	docker compose up --detach --build --wait
	@exec $(CI) secrets .env --show

down: ## stop the containers; their data stays
	docker compose down

# made once, by one of several at once; ci then keeps it like its lock (ci/environments.py)
$(PYTHON_OF_CI):
	@sh ci/bootstrap
