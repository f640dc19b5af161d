#!/usr/bin/env bash
# The programs of the system that the tests drive: a browser, a display without a screen, nginx, HAProxy, Node, Java with
# OkHttp, a C compiler for the clock that a test moves, PostgreSQL, Redis.
# Installs what is missing on Debian 12 and Ubuntu 24.04, and does nothing when all is there.
# `make run` needs none of it.
set -euo pipefail

missing=()
want() { # want PROGRAM PACKAGE…: when the program is missing, the first of the packages that exists
    command -v "$1" > /dev/null 2>&1 || missing+=("${*:2}")
}
have_library() { /sbin/ldconfig -p | grep -q "$1"; }

command -v google-chrome > /dev/null 2>&1 || want chromium chromium chromium-browser
want Xvfb xvfb
want xdotool xdotool
want import imagemagick
want nginx nginx-light nginx
want haproxy haproxy
want node nodejs
want npm npm
[[ -e /usr/share/java/okhttp.jar ]] || missing+=(libokhttp-java)
want javac default-jdk-headless
want ssh-keygen openssh-client
want ip iproute2
compgen -G '/usr/lib/postgresql/*/bin/postgres' > /dev/null || missing+=(postgresql)
want redis-server redis-server
want curl curl
want jq jq
want systemd-analyze systemd
want cc gcc
[[ -e /usr/include/time.h ]] || missing+=(libc6-dev)
have_library 'libGL\.so\.1' || missing+=(libgl1)
have_library 'libglib-2\.0\.so\.0' || missing+=("libglib2.0-0 libglib2.0-0t64")
python3 -c 'import venv, ensurepip' 2> /dev/null || missing+=(python3-venv)

((${#missing[@]})) || exit 0

if ((EUID == 0)); then as_root=(); else as_root=(sudo); fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

apt update
packages=()
for names in "${missing[@]}"; do
    found=
    for name in $names; do
        if apt-cache show "$name" > /dev/null 2>&1; then found=$name; break; fi
    done
    [[ $found ]] || { echo "No package source here has any of: $names." >&2; exit 1; }
    packages+=("$found")
done
echo "Installing ${packages[*]}."
apt install -y --no-install-recommends "${packages[@]}" > /dev/null
