#!/usr/bin/env bash
# Makes .venv with nbilling and tox in it, from a bare system with Python. Run it again to upgrade in place.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: ./setup.sh [--no-system] [--dev]

Installs nbilling and tox into .venv, beside this script. As root on Debian or Ubuntu it first installs the
system packages that are missing; otherwise it prints the line that does.

  --no-system  install no system packages; without Pango everything but PDF works
  --dev        also install what the tests and checks need, to run pytest, mypy and ruff from .venv
  --help       this text

PYTHON=/path/to/python chooses the interpreter (3.11 or newer).
Exit codes: 0 done, 1 the installation failed, 2 unknown option, 3 something is missing on this system.
TEXT
}

say() { printf 'setup: %s\n' "$*"; }
complain() { printf 'setup: %s\n' "$*" >&2; }

system=yes
what=.
for option in "$@"; do
    case $option in
        --no-system) system=no ;;
        --dev) what='.[dev]' ;;
        -h | --help) usage; exit 0 ;;
        *) complain "unknown option $option"; usage >&2; exit 2 ;;
    esac
done

cd "$(dirname "${BASH_SOURCE[0]}")"
unset PYTHONPATH PYTHONHOME
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs a command quietly; when it fails, shows the end of what it said.
quietly() {
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 25 "$log" >&2
        return 1
    fi
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

can_make_venv() { "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# The libraries that WeasyPrint loads, asked for as it asks for them: it has to work however they were installed.
has_pango() {
    "$python" - >/dev/null 2>&1 <<'CODE'
import ctypes, ctypes.util
for names in (
    ("libpango-1.0.so.0", "libpango-1.0.dylib", "pango-1.0"),
    ("libpangoft2-1.0.so.0", "libpangoft2-1.0.dylib", "pangoft2-1.0"),
    ("libharfbuzz-subset.so.0", "libharfbuzz-subset.0.dylib", "harfbuzz-subset"),
):
    for name in names:
        try:
            ctypes.CDLL(ctypes.util.find_library(name) or name)
            break
        except OSError:
            pass
    else:
        raise SystemExit(1)
CODE
}

has_font() {
    local directory
    for directory in /usr/share/fonts /usr/local/share/fonts /Library/Fonts /System/Library/Fonts "${HOME:-/}/.fonts"; do
        if [ -d "$directory" ] && [ -n "$(find "$directory" -name '*.[ot]t[fc]' 2>/dev/null | head -n 1)" ]; then
            return 0
        fi
    done
    return 1
}

apt_install() { DEBIAN_FRONTEND=noninteractive quietly apt-get install -y -q --no-install-recommends "$@"; }

if ! python=$(find_python); then
    complain "Python 3.11 or newer is needed and was not found"
    complain "install it (Debian 12, Ubuntu 24.04: apt-get install python3) or name it: PYTHON=/path/to/python3.12 ./setup.sh"
    exit 3
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# What is missing, as Debian's packages.
missing=()
if ! can_make_venv; then
    if [ "$version" = "$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" ]; then
        missing+=(python3-venv)
    else
        missing+=("python$version-venv")
    fi
fi
if ! has_pango; then missing+=(libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0); fi
if ! has_font; then missing+=(fonts-dejavu-core); fi

if [ "${#missing[@]}" -gt 0 ] && [ "$system" = yes ] && command -v apt-get >/dev/null; then
    if [ "$(id -u)" -ne 0 ]; then
        complain "packages are missing; install them, then run ./setup.sh again:"
        complain "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
        if can_make_venv; then complain "or go on without PDF: ./setup.sh --no-system"; fi
        exit 3
    fi
    say "installing ${missing[*]}"
    # The package lists may be absent or old: fetch them only then.
    if ! apt_install "${missing[@]}" 2>/dev/null; then
        if ! quietly apt-get update -q || ! apt_install "${missing[@]}"; then
            complain "apt-get could not install ${missing[*]}"
            exit 3
        fi
    fi
fi

if ! can_make_venv; then
    complain "$python cannot make virtual environments (no ensurepip)"
    complain "install Python's venv module (Debian: apt-get install python3-venv), then run ./setup.sh again"
    exit 3
fi

# An environment that works is kept, unless PYTHON asks for another version.
if ! new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1 \
    || { [ -n "${PYTHON:-}" ] && [ ! -d ".venv/lib/python$version" ]; }; then
    say "making .venv with Python $version"
    quietly "$python" -m venv --clear .venv
fi

say "installing nbilling and its libraries into .venv (about a minute)"
rm -rf build nbilling.egg-info  # an old build would bring deleted modules back
if ! quietly .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --upgrade "$what" 'tox>=4.30'; then
    complain "pip could not install nbilling; is the network there?"
    exit 1
fi
rm -rf build nbilling.egg-info
.venv/bin/python -I -c 'import nbilling'

if ! has_pango || ! has_font; then
    complain "PDF is off: it needs Pango, HarfBuzz and a font; everything else works. To turn it on install"
    complain "  Debian: libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core"
    complain "  Fedora: pango harfbuzz dejavu-sans-fonts   Alpine: pango font-dejavu   macOS: brew install pango"
fi

say "done in $SECONDS s. Next:"
say "  .venv/bin/nbilling demo    a month of traffic, metered, limited and billed, offline"
say "  .venv/bin/nbilling --help  every command"
say "  .venv/bin/tox              all checks and tests"
