#!/usr/bin/env bash
# The proof that set-up works: runs it in a bare Debian 12 made by debootstrap, with only Python in it. Not a part of
# the test run: it needs root, debootstrap, the package registries and a few minutes.
#
#   tests/setup/chroot.sh [--base DIR] [--setup-only] [--tox]
#
#   --base DIR    where the bare system is kept for the next time (default: /var/tmp/nbilling-bookworm)
#   --setup-only  leave the demo out
#   --tox         run the tests too
#
# It goes through three cases, each in its own copy: as somebody without rights, as root, and without Pango.
# How this machine reaches its registries (pip and apt settings, proxies, certificates) is copied in at run time.
set -euo pipefail

base=/var/tmp/nbilling-bookworm
demo=yes
tox=no
while [ $# -gt 0 ]; do
    case $1 in
        --base) base=$2; shift ;;
        --setup-only) demo=no ;;
        --tox) tox=yes ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift
done

# All mounts are made in a namespace of our own and go when it does.
if [ -z "${NBILLING_IN_NAMESPACE:-}" ]; then
    again=(--base "$base")
    if [ "$demo" = no ]; then again+=(--setup-only); fi
    if [ "$tox" = yes ]; then again+=(--tox); fi
    NBILLING_IN_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child "${BASH_SOURCE[0]}" "${again[@]}"
fi

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d /var/tmp/nbilling-chroot.XXXXXX)
root=

unmount() {
    if [ -n "$root" ]; then umount -R "$root/proc" "$root/dev/shm" "$root/dev/pts" 2>/dev/null || true; fi
}
trap 'unmount; rm -rf --one-file-system "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

if [ ! -e "$base/usr/bin/python3" ]; then
    say "making a bare Debian 12 in $base"
    debootstrap --variant=minbase --include=python3,ca-certificates bookworm "$base" >/dev/null
    rm -rf "$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/*
fi

# A fresh system with the checkout in /srv/nbilling, as a clone would have it.
fresh() {
    unmount
    root=$work/$1
    cp -a "$base" "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/dev/shm"
    mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
    mkdir "$root/srv/nbilling"
    (cd "$checkout" && git ls-files -z --cached --others --exclude-standard | tar --null -T - -c --ignore-failed-read) \
        | tar -x --no-same-owner -C "$root/srv/nbilling"
    registries_of_this_machine
}

registries_of_this_machine() {
    local file
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    rm -f "$root/etc/apt/sources.list"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources \
        /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf.d/*registry* /etc/pip.conf; do
        if [ -f "$file" ]; then cp -L "$file" "$root$file"; fi
    done
}

# Runs a line in the chroot and checks its exit code: inside CODE LINE. The environment is a new user's, but for the
# settings of pip and the proxies.
inside() {
    local expected=$1 line=$2 started=$SECONDS code=0 settings=() name
    while read -r name; do settings+=("$name=${!name}"); done < <(
        compgen -e | grep -E '^(PIP_(CERT|DEFAULT_TIMEOUT|INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST)|SSL_CERT_FILE|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)$'
    )
    say "$line"
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "${settings[@]}" \
        chroot "$root" /bin/bash -c "cd /srv/nbilling && $line" || code=$?
    printf -- '-- exit %s in %s s\n' "$code" "$((SECONDS - started))"
    if [ "$code" -ne "$expected" ]; then
        echo "FAILED: exit $code instead of $expected" >&2
        exit 1
    fi
}

say "CASE 1: without rights"
fresh user
inside 3 "su -s /bin/bash nobody -c ./setup.sh"

say "CASE 2: as root"
if [ "$demo" = yes ]; then
    inside 0 "./setup.sh && .venv/bin/nbilling demo"
else
    inside 0 "./setup.sh"
fi
inside 0 "cd / && /srv/nbilling/setup.sh"
if [ "$tox" = yes ]; then inside 0 ".venv/bin/tox"; fi

say "CASE 3: without Pango"
fresh plain
inside 3 "./setup.sh --no-system"
inside 0 "apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends python3-venv >/dev/null 2>&1"
inside 0 "./setup.sh --no-system"
if [ "$demo" = yes ]; then inside 0 ".venv/bin/nbilling demo"; fi

say "all as it should be"
