#!/usr/bin/env bash
# What reads the Dockerfile as Docker would, and what holds bills of materials and deploy/compose.yaml against their schemas.
set -euo pipefail
scripts/environment.sh build/hadolint tests/deploy/hadolint.lock
scripts/environment.sh build/cyclonedx tests/deploy/cyclonedx.lock
scripts/environment.sh build/compose tests/deploy/compose.lock
