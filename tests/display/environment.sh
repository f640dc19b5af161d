#!/usr/bin/env bash
# The windows of -d run in an environment of their own.
exec scripts/environment.sh .venv-display requirements/display.lock
