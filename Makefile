# Thin: every recipe is one line of `python -m ci`. `make` alone prints this file's ## comments.
.DEFAULT_GOAL := help
.SUFFIXES:
SERVICES := $(patsubst %/pyproject.toml,%,$(filter-out ci/%,$(wildcard */pyproject.toml)))
CI := ci/.venv/bin/python -m ci
# the name of the stamp changes with the lock, so a changed lock makes ci's environment anew
STAMP := ci/.venv/.lock-$(shell cksum < ci/requirements.txt | tr -cd '0-9')
.PHONY: help run status logs stop clean test lint check-twins venvs env up down images ci pipeline \
  summary $(addprefix test-,$(SERVICES) ci e2e)

help: ## print this help
	@awk -F ':.*## ' '/^[a-zA-Z_-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '  \033[1m%-12s\033[0m %s\n' 'test-FOLDER' 'the tests of one folder: $(SERVICES) ci e2e'

run: $(STAMP) ## the whole platform here; needs Python 3.11+ and nothing else; Ctrl-C stops it
	@exec $(CI) run

status: $(STAMP) ## what runs: pid, port, uptime, memory, readiness
	@exec $(CI) ps

logs: $(STAMP) ## follow the logs of a run; SERVICE=dis for one
	@exec $(CI) logs $(SERVICE)

stop: $(STAMP) ## stop the run, from any terminal
	@exec $(CI) stop

clean: $(STAMP) ## delete data, caches and environments, after asking; YES=1 does not ask
	@exec $(CI) clean $(if $(filter 1 yes true,$(YES)),--yes)

test: $(STAMP) ## all tests: units, integration, ci, the running platform; one closing summary
	@exec $(CI) test $(if $(JUNIT),--junit $(JUNIT)) $(if $(K),-k '$(K)')

$(addprefix test-,$(SERVICES) ci e2e): test-%: $(STAMP)
	@exec $(CI) test $* $(if $(JUNIT),--junit $(JUNIT)) $(if $(K),-k '$(K)')

lint: $(STAMP) ## ruff, mypy, layers, Dockerfiles, twins, locks, tree
	@exec $(CI) lint

check-twins: $(STAMP) ## the files that must be identical are
	@exec $(CI) check-twins

venvs: $(STAMP) ## make the environments of all folders, with the development tools
	@exec $(CI) venvs --dev

ci: $(STAMP) ## make ci's own environment; then: ci/.venv/bin/python -m ci --help
	@exec $(CI) venvs --dev ci

pipeline: $(STAMP) ## a push to a synced manifest repository, here: registry, git, Jenkinsfile, Helm
	@exec $(CI) local $(ARGS)

summary: ## how this build of Jenkins went, command by command
	@if [ -e '$(STAMP)' ]; then exec $(CI) summary; else echo "no command of ci ran: its environment was not made"; fi

env: $(STAMP) ## write .env, the secrets of `make up`, unless it is there
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

$(STAMP): ci/bootstrap
	@sh ci/bootstrap '$(STAMP)'
