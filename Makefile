# In a new checkout, `make lab` opens the notebooks, `make test` runs the tests, and `make demo` runs one order in the
# terminal. `make` alone prints all targets. GNU make 3.81 and bash 3.2, which macOS has, are enough.
#
#   make lab PYTHON=python3.12        the Python that makes .venv (3.11 or newer)
#   make lab LAB_ARGS='--port 9999'   more options for JupyterLab
#   make test PYTEST_ARGS='-k store'  more options for pytest (also for make proof)
#   make test COVERAGE=yes          measure which lines run, for the figure that make proof prints (slower)
#   make chaos CHAOS_ARGS='--seed 7'  more options for the chaos run (--help lists them)
#   make bench BENCH_ARGS='--only one --folder /tmp/bench'  run this part only, and write to this folder (--help)
#   make histories HISTORIES_ARGS='shipped'  record these kinds only (--help lists them)

SHELL := bash
PYTHON ?= python3
LAB_ARGS ?=
PYTEST_ARGS ?=
COVERAGE ?=
CHAOS_ARGS ?=
BENCH_ARGS ?=
HISTORIES_ARGS ?=

# PATH has the commands of .venv, so that `!order-lifecycle …` in a notebook and JupyterLab's terminals use them too.
# The scripts below reach bash as environment variables. The programs that it starts do not get them.
# Many containers set PYTHONDONTWRITEBYTECODE. A worker imports the workflow's module again for each order, so without a
# .pyc file it would compile the module each time.
IN_VENV := env -u PYTHONDONTWRITEBYTECODE -u SETUP -u LAB -u TEST -u PROOF -u PINS -u GOALS -u NAMED_PYTHON -u MAKEFLAGS -u MAKELEVEL PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help setup lab test proof chaos bench histories demo pins clean
.DEFAULT_GOAL := help

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv and install the project with its pinned dependencies
	@bash -c "$$SETUP"

lab: setup ## open JupyterLab on the notebooks
	@bash -c "$$LAB"

test: setup ## check style and types, then run every test that notices a change by itself, notebooks included
	@bash -c "$$TEST"

proof: setup ## run the tests that search or repeat: more plans, more orders, more kills (after make test)
	@bash -c "$$PROOF"

chaos: setup ## run hundreds of orders while it kills workers and stops servers (three minutes)
	@$(IN_VENV) .venv/bin/python -m tests.chaos $(CHAOS_ARGS)

bench: setup ## run all benchmarks and write benchmarks/results/ (over an hour, on an idle machine)
	@$(IN_VENV) .venv/bin/python -m benchmarks $(BENCH_ARGS)

histories: setup ## record the histories of the replay tests again; tests/replay/record.py says when to
	@$(IN_VENV) .venv/bin/python -m tests.replay.record $(HISTORIES_ARGS)

demo: setup ## run one order in the terminal, from its start to shipped
	@$(IN_VENV) .venv/bin/order-lifecycle demo

pins: ## resolve the dependencies again and write constraints.txt
	@bash -c "$$PINS"

clean: ## remove .venv and the caches of tools (orders in .order-lifecycle/ stay)
	rm -rf .venv build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# If the user has set PYTHON, on the command line or in the environment, no other Python is tried.
NAMED_PYTHON := $(if $(filter-out file,$(origin PYTHON)),$(PYTHON))
GOALS := $(MAKECMDGOALS)
export NAMED_PYTHON GOALS

define FIND_PYTHON
set -euo pipefail
fail() { printf 'make: %s\n' "$$*" >&2; exit 1; }
version() { "$$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }
new_enough() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
tested() { "$$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }
try="$(PYTHON)"
find_python() { # sets $$python to the interpreter itself, not to a shim or a link in another environment
    local fits candidate
    for fits in tested new_enough; do
        for candidate in "$$try" $${NAMED_PYTHON:-python3.13 python3.12 python3.11 python3.14 python}; do
            if $$fits "$$candidate"; then
                python=$$("$$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
                return
            fi
        done
    done
    found=$$(version "$$try")
    found=$${found:+is $$found}
    fail "this needs Python 3.11 or newer, and $$try $${found:-cannot be run}:" \
        "install one, or say where it is: make $$GOALS PYTHON=/path/to/python3.12"
}
endef

# The user's settings for pip and uv are meant for other installations (`user = true`, a target folder, other
# constraints). So pip and uv get only those that say how to reach packages: an index, a proxy, a folder of wheels.
# Without PYTHONPATH, no module in it counts as installed.
define ONLY_THE_NETWORK
for variable in $${!PYTHON@} UV_CONSTRAINT UV_OVERRIDE UV_BUILD_CONSTRAINT UV_SYSTEM_PYTHON UV_BREAK_SYSTEM_PACKAGES \
    UV_NO_BINARY UV_NO_BINARY_PACKAGE UV_ONLY_BINARY UV_EXCLUDE_NEWER UV_RESOLUTION UV_PRERELEASE UV_REQUIRE_HASHES \
    UV_NO_BUILD UV_NO_DEPS UV_TARGET UV_PREFIX UV_PROJECT UV_PROJECT_ENVIRONMENT UV_WORKING_DIRECTORY; do
    unset "$$variable"
done
keep_what_pip_needs() { # $$1: a Python that has pip
    local network variable
    # To 'pip config', PIP_USER=1 means --user: show the file of the user alone.
    network=$$(env -u PIP_USER -u PIP_GLOBAL -u PIP_SITE "$$1" -m pip config list 2>/dev/null | "$$1" -c '
import ast, shlex, sys
KEEP = "index-url extra-index-url no-index find-links trusted-host proxy cert client-cert timeout retries".split()
KEEP += "default-timeout keyring-provider cache-dir".split()
RANK = ["global", "install", ":env:"]  # the last one wins
found = {}
for line in sys.stdin:
    section, _, rest = line.strip().partition(".")
    name, _, value = rest.partition("=")
    if section in RANK and name in KEEP:
        found[RANK.index(section), name] = ast.literal_eval(value)
for (_, name), value in sorted(found.items()):
    print("export PIP_%s=%s" % (name.upper().replace("-", "_"), shlex.quote(value)))
') || true
    for variable in $${!PIP_@}; do unset "$$variable"; done
    eval "$$network"
    export PIP_CONFIG_FILE=/dev/null
}
endef

# The output of pip goes to .venv/install.log. The terminal shows one line for every 20 packages, and the end of the log
# if the installation fails.
define SETUP
$(FIND_PYTHON)
$(ONLY_THE_NETWORK)
ready=.venv/.ready # written last; it holds the folder that the scripts in .venv are made for
here() { [ "$$(cat $$ready 2>/dev/null || true)" = "$$PWD" ]; }
wanted() { [ -z "$$NAMED_PYTHON" ] || [ "$$(version "$$NAMED_PYTHON")" = "$$(version .venv/bin/python)" ]; }

if [ -x .venv/bin/python ] && here && wanted &&
    [ $$ready -nt pyproject.toml ] && [ $$ready -nt constraints.txt ]; then
    echo ".venv is up to date"
    exit 0
fi
without_news() { # JupyterLab is pinned, so it does not ask to look for news and updates
    mkdir -p .venv/share/jupyter/lab/settings
    echo '{"@jupyterlab/apputils-extension:notification": {"checkForUpdates": false, "fetchNews": "false"}}' \
        >.venv/share/jupyter/lab/settings/overrides.json
}
# The user has installed by hand, perhaps without a network. Or only the dates of files have changed.
if [ -x .venv/bin/python ] && { [ ! -e $$ready ] || here; } && wanted && new_enough .venv/bin/python &&
    .venv/bin/python .ci/is_complete.py >/dev/null 2>&1; then
    without_news
    echo "$$PWD" >$$ready
    echo ".venv is complete"
    exit 0
fi

uv=$$(command -v uv || true)
if ! { new_enough .venv/bin/python && { [ ! -e $$ready ] || here; } && wanted &&
    .venv/bin/python -m pip --version; } >/dev/null 2>&1; then
    find_python
    [ -n "$$uv" ] || "$$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$$python has no venv module: install it (Debian, Ubuntu: apt install python3-venv)," \
            "or choose another Python: make $$GOALS PYTHON=/path/to/python3.12"
    echo "Making .venv with Python $$(version "$$python")"
    rm -rf .venv
    if [ -n "$$uv" ]; then
        uv venv --quiet --seed --python "$$python" .venv
    else
        "$$python" -m venv .venv
    fi
fi

progress() {
    local line n=0
    while IFS= read -r line; do
        case $$line in
        Collecting\ * | Processing\ *)
            n=$$((n + 1))
            [ $$((n % 20)) != 0 ] || echo "  $$n packages found"
            ;;
        Installing\ collected\ packages:*) [ $$n = 0 ] || echo "  unpacking all $$n" ;;
        esac
    done
}
echo "Installing the project and its pinned dependencies into .venv (a minute or so, the first time)"
rm -f $$ready
what=(--constraint constraints.txt --editable '.[dev]')
if [ -n "$$uv" ]; then
    uv pip install --python .venv/bin/python "$${what[@]}" >.venv/install.log 2>&1
else
    keep_what_pip_needs .venv/bin/python
    .venv/bin/python -m pip --disable-pip-version-check --no-input install --progress-bar off "$${what[@]}" 2>&1 |
        tee .venv/install.log | progress
fi || {
    tail -n 20 .venv/install.log >&2
    fail "the installation failed; .venv/install.log has the whole output"
}

without_news
echo "$$PWD" >$$ready
echo "Ready: $$(.venv/bin/python --version) in .venv"
endef
export SETUP

# JUPYTER_PREFER_ENV_PATH: the notebooks run on .venv's Python, even if the user has installed another `python3` kernel.
define LAB
options=--ip=127.0.0.1
if [ "$$(id -u)" = 0 ]; then
    options="$$options --allow-root --no-browser"
elif [ "$$(uname)" != Darwin ] && [ -z "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ]; then
    options="$$options --no-browser"
fi
[ ! -e notebooks/00_start_here.ipynb ] || options="$$options --LabApp.default_url=/lab/tree/00_start_here.ipynb"
home=$${HOME:-}
usable() { [ -n "$$home" ] && mkdir -p "$$home" 2>/dev/null && [ -w "$$home" ]; }
closed() { [ -e "$$home/$$1" ] && ! [ -w "$$home/$$1" ]; }
if ! usable || closed .jupyter || closed .ipython || closed .local || closed .local/share ||
    closed .local/share/jupyter; then
    echo "The home folder ($${home:-HOME is not set}) may not be written, so Jupyter keeps its own files in .venv/home"
    mkdir -p .venv/home
    export HOME="$$PWD/.venv/home"
fi
echo "Starting JupyterLab on notebooks/ (Ctrl-C stops it)"
exec $(IN_VENV) JUPYTER_PREFER_ENV_PATH=1 .venv/bin/jupyter-lab --log-level=WARN $$options $(LAB_ARGS) notebooks
endef
export LAB

define TIMED
set -euo pipefail
trap 'printf "make $$goal took %d min %d s\n" $$((SECONDS / 60)) $$((SECONDS % 60))' EXIT
run() { echo "$$*"; "$$@"; }
measured=()
pytest() { echo ".venv/bin/pytest $$*"; $(IN_VENV) $${measured[@]+"$${measured[@]}"} .venv/bin/pytest "$$@"; }
endef

# What `coverage` reads in each Python process that pytest starts; .ci/covered.py makes the figure of what it writes.
MEASURED := PROJECT_FOLDER="$(CURDIR)" COVERAGE_PROCESS_START="$(CURDIR)/pyproject.toml" COVERAGE_FILE="$(CURDIR)/.coverage/part"

define TEST
goal=test
$(TIMED)
run .venv/bin/ruff check .
run .venv/bin/ruff format --check .
run .venv/bin/mypy
if [ -n "$(COVERAGE)" ]; then
    .venv/bin/python .ci/covered.py begin
    measured=($(MEASURED))
fi
pytest -m 'not proof' $(PYTEST_ARGS)
[ -z "$(COVERAGE)" ] || .venv/bin/python .ci/covered.py passed $(PYTEST_ARGS)
endef
export TEST

define PROOF
goal=proof
$(TIMED)
.venv/bin/python .ci/covered.py continue
measured=($(MEASURED))
pytest -m 'proof or search' --hypothesis-profile=proof $(PYTEST_ARGS)
.venv/bin/python .ci/covered.py figure
endef
export PROOF

# uv resolves for all Pythons and systems at once, from the oldest Python that pyproject.toml allows.
define PINS
$(FIND_PYTHON)
find_python
work=$$(mktemp -d)
trap 'rm -rf "$$work"' EXIT
echo "Resolving (with uv, in a temporary environment)"
"$$python" -m venv "$$work/venv"
"$$work/venv/bin/python" -m pip --disable-pip-version-check --quiet install uv
"$$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --extra dev \
    --no-header --no-annotate --output-file "$$work/pins" pyproject.toml >/dev/null
{
    echo "# The version of every installed package, on every Python and system. Written by \`make pins\`."
    cat "$$work/pins"
} >"$$work/constraints.txt"
cp "$$work/constraints.txt" constraints.txt
echo "constraints.txt has $$(grep -c == constraints.txt) pins; run \`make test\` before you commit it"
endef
export PINS
