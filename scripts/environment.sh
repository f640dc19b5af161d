#!/usr/bin/env bash
# Bring a virtual environment up to a lock file:  scripts/environment.sh FOLDER LOCKFILE
# Returns within milliseconds when that was done before. PYTHON names the interpreter to build it with (python3).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 lock=$2 python=${PYTHON:-python3}
record=$folder/.installed

sum_of() { sha256sum "$1" | cut -d' ' -f1; }
die() { printf '%s\n' "$*" >&2; exit 1; }
is_up_to_date() { [[ -x $folder/bin/python && -f $record ]] && grep -qxF "$lock $(sum_of "$lock")" "$record"; }

is_up_to_date && exit 0

# Two calls of make at once must not install into the same folder.
mkdir -p build
exec 9> "build/$(basename "$folder").lock"
flock 9
is_up_to_date && exit 0

if ! [[ -x $folder/bin/python ]]; then
    command -v "$python" > /dev/null || die "There is no $python here: \
install Python 3.11, 3.12 or 3.13 (on Debian and Ubuntu: sudo apt install python3 python3-venv)."
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    case $version in
        3.11 | 3.12 | 3.13) ;;
        *) die "$python is Python $version, and ImageServer needs 3.11, 3.12 or 3.13: \
install one of them and run make again with PYTHON=python3.12, say." ;;
    esac
    "$python" -c 'import venv, ensurepip' 2> /dev/null ||
        die "$python cannot make virtual environments: \
install its venv module (on Debian and Ubuntu: sudo apt install python$version-venv)."
    echo "Making $folder with Python $version."
    "$python" -m venv --clear "$folder"
    "$folder/bin/python" -m pip --quiet uninstall --yes setuptools 2> /dev/null || true  # 3.11 puts it in; 13 MB
fi

# Megabytes on disk, however they are linked.
size_of() { du -sm "$1" 2> /dev/null | cut -f1 || true; }

# Tell how far the installation is: a bar on a terminal, a line now and then without one.
tell_progress() {
    local before part whole what bar
    before=$(size_of "$folder")
    while kill -0 $$ 2> /dev/null; do
        sleep "$1" > /dev/null 2>&1 9>&-
        part=$(($(size_of "$folder") - before)) whole=$disk what="unpacked"
        ((part > 0)) || { part=$(size_of "$scratch") whole=$download what="downloaded"; }
        ((part < whole)) || part=$whole
        if [[ -t 2 ]]; then
            printf -v bar '%*s' $((part * 40 / whole)) ''
            printf '\e[K[%-40s] %d of %d MB %s\r' "${bar// /#}" "$part" "$whole" "$what" >&2
        else
            echo "$part of $whole MB $what"
        fi
    done
}

# Here and not in /tmp, which may be small: what is downloaded lies there until it is unpacked.
scratch=$(mktemp -d "$PWD/build/installing.XXXXXX") teller=
finish() {
    [[ -z $teller ]] || { kill "$teller" 2> /dev/null && wait "$teller" 2> /dev/null || true; }
    [[ ! -t 2 ]] || printf '\e[K' >&2
    rm -rf "$scratch"
}
trap finish EXIT
name=$(basename "$lock" .lock)
read -r _ download disk < <(grep -s "^$name " "$(dirname "$lock")/sizes.txt") || true
if [[ ${download:-} ]]; then
    echo "Installing $lock into $folder. The first time this downloads $download MB, takes $disk MB on disk," \
        "and some minutes."
    if [[ -t 2 ]]; then tell_progress 1 & else tell_progress 20 & fi
    teller=$!
else
    echo "Installing $lock into $folder. The first time this takes a few minutes."
fi
TMPDIR=$scratch "$folder/bin/python" -m pip --disable-pip-version-check --no-input install --quiet \
    --require-hashes --no-deps --only-binary :all: -r "$lock" ||
    die "The packages of $lock could not be installed into $folder: \
see pip's message above. Run make again when it is mended."

# Several locks may live in one folder (dev.lock on top of run.lock): keep the records that still hold.
{
    printf '%s %s\n' "$lock" "$(sum_of "$lock")"
    if [[ -f $record ]]; then
        while read -r other sum; do
            if [[ $other != "$lock" && -f $other && $(sum_of "$other") == "$sum" ]]; then
                printf '%s %s\n' "$other" "$sum"
            fi
        done < "$record"
    fi
} > "$record.tmp"
mv "$record.tmp" "$record"
