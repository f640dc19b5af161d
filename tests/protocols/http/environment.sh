#!/usr/bin/env bash
# Clients of the Open Inference Protocol and of OpenAPI, which want another greenlet than the server: an environment of their own.
set -euo pipefail
scripts/environment.sh build/rest-clients tests/protocols/http/rest.lock
