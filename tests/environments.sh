#!/usr/bin/env bash
# Prepares what tests need beside .venv: other versions of Python clients, packages of Node, built helpers.
#
# A folder of tests that needs such a thing has an `environment.sh` of its own, which this calls from the project's
# root. It puts what it makes under build/, is quick when nothing changed, and can use
#     scripts/environment.sh build/<name> tests/<folder>/<name>.lock     for a Python environment from a hashed lock
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
find tests -name environment.sh | sort | while read -r script; do
    bash "$script"
done
