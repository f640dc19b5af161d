#!/bin/sh
# For the images: packages.sh LOCK makes .venv here, with the packages of the lock less what nothing here loads.
set -eu
python -m venv --without-pip .venv
python -m pip --disable-pip-version-check --python .venv/bin/python install --no-cache-dir \
    --require-hashes --no-deps --only-binary :all: -r "$1"
.venv/bin/python deploy/trim.py
