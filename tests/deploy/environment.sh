#!/usr/bin/env bash
# What reads the Dockerfile as Docker would, and what holds bills of materials against their schema.
set -euo pipefail
scripts/environment.sh build/hadolint tests/deploy/hadolint.lock
scripts/environment.sh build/cyclonedx tests/deploy/cyclonedx.lock
