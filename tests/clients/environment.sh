#!/usr/bin/env bash
# The clients of both generations that the tests here run, JavaScript's from npm with axe for the pages, Python's in
# environments of their own.
set -euo pipefail
scripts/environment.sh build/clients-python4 tests/clients/python4.lock
scripts/environment.sh build/clients-python5 tests/clients/python5.lock

lock=tests/clients/package-lock.json
if ! command -v npm > /dev/null; then
    echo "There is no npm here: the tests of the JavaScript clients and axe's will be skipped." >&2
elif ! cmp -s "$lock" tests/clients/node_modules/.installed; then
    npm ci --prefix tests/clients --no-audit --no-fund --loglevel error
    cp "$lock" tests/clients/node_modules/.installed
fi
