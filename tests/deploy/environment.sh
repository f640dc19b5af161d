#!/usr/bin/env bash
# What reads the Dockerfile as Docker would.
exec scripts/environment.sh build/hadolint tests/deploy/hadolint.lock
