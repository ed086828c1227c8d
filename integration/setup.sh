#!/bin/sh
# Installs what this machine lacks, and nothing else. Looks command by command; when nothing is missing
# apt-get is not called at all, so a second run needs no network.
#
#   integration/setup.sh build   an interpreter that can make a venv, and a compiler for python-iptables
#   integration/setup.sh lab     what tests, bench/ and `make dev` run: Consul, routers, a Docker engine, mandoc
#   integration/setup.sh image   what integration/test_image.py builds the Docker image from, in .cache/image
#
# Without arguments: the first two. Without root it installs nothing and says what cannot run.
set -eu

PYTHON=${PYTHON:-python3}
CONSUL_SUITE=bullseye # the last Debian release with a consul package (1.8.7)
IMAGE_SUITE=bookworm  # what the Dockerfile is built on, unless told otherwise
IMAGE_PYTHON=3.11     # its interpreter
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

our_policy='' # a policy-rc.d that this run has written
work=''       # a folder for temporary files that this run has made
clean_up() { [ -z "$our_policy" ] || rm -f "$our_policy"; [ -z "$work" ] || rm -rf "$work"; }
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

missing=''
need() { # need PACKAGE... : remember packages for `install`
    for package; do
        case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
    done
}

look_for_build() {
    have "$PYTHON" || { [ "$PYTHON" = python3 ] || die "$PYTHON: not found"; need python3 python3-venv python3-dev gcc libc6-dev; return 0; }
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || need python3-venv
    "$PYTHON" -c 'import os, sysconfig as s, sys; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' || need python3-dev
    have gcc || have cc || need gcc
    [ -e /usr/include/stdio.h ] || need libc6-dev
}

look_for_lab() {
    have ip || need iproute2
    { have bird && have birdc; } || need bird2
    [ -x /usr/lib/frr/bgpd ] || need frr
    { have gobgpd && have gobgp; } || need gobgpd
    have iptables || need iptables
    have nft || need nftables
    have ps || need procps
    have systemd-analyze || need systemd
    have man || need man-db
    have groff || need groff-base
    have mandoc || need mandoc
    have dockerd || need docker.io
    have docker-compose || need docker-compose
    { have prometheus && have promtool; } || need prometheus
    have chromium || need chromium
    [ -e /etc/ssl/certs/ca-certificates.crt ] || need ca-certificates
}

look_for_image() {
    [ -e "$(base_image)" ] || have debootstrap || need debootstrap
}

# Daemons that come with the packages are for the lab alone: they must not start on the host, now or at boot.
keep_services_down() {
    policy=/usr/sbin/policy-rc.d
    [ ! -e $policy ] || return 0
    our_policy=$policy
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
}

disable_services() { # disable_services PACKAGE... : only of packages that this run has installed
    for package; do
        case $package in
            bird2) units='bird' ;;
            frr) units='frr' ;;
            gobgpd) units='gobgpd' ;;
            docker.io) units='docker docker.socket containerd' ;;
            consul) units='consul' ;;
            nftables) units='nftables' ;;
            prometheus) units='prometheus' ;;
            *) continue ;;
        esac
        for unit in $units; do
            case $unit in *.socket) ;; *) update-rc.d "$unit" disable >/dev/null 2>&1 || true; unit=$unit.service ;; esac
            # it insists on being called by a package's own script, which is what this stands in for
            DPKG_MAINTSCRIPT_PACKAGE=$package deb-systemd-helper disable "$unit" >/dev/null 2>&1 || true
        done
    done
}

quietly() { # quietly COMMAND... : its output is shown only when it fails
    "$@" >"$work/output" 2>&1 || { cat "$work/output" >&2; return 1; }
}

updated=''
update() {
    [ -z "$updated" ] || return 0
    work=$(mktemp -d)
    chmod 755 "$work"
    quietly apt-get -q update || die 'apt-get update failed: is a package mirror reachable?'
    updated=yes
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive quietly apt-get -qy -o Dpkg::Options::=--force-confold install --no-install-recommends "$@"
}

install_missing() {
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    keep_services_down
    update
    # shellcheck disable=SC2086 # a list of words
    apt_install $missing || die "could not install:$missing"
    # shellcheck disable=SC2086
    disable_services $missing
    missing=''
}

this_release() {
    # shellcheck disable=SC1091
    . /etc/os-release && echo "${VERSION_CODENAME:-stable}"
}

# The machine's own Debian sources with the suite replaced, as one-line entries. Reads both formats.
sources() { # sources THIS_RELEASE OTHER_RELEASE
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$file" ] || continue
        sed -nE "s/^(deb[ \t]+(\[[^]]*\][ \t]+)?[^ \t]+)[ \t]+($1|stable|oldstable|testing|unstable|sid)[ \t]+main.*/\1 $2 main/p" "$file"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] || continue
        sed '/^#/d' "$file" | awk -v suite="$1" -v other="$2" '
            BEGIN { RS = ""; FS = "\n" }
            {
                split("", field)
                for (i = 1; i <= NF; i++) {
                    if ($i !~ /^[A-Za-z-]+:/) continue
                    key = tolower($i); sub(/:.*/, "", key)
                    value = $i; sub(/^[^:]*:[ \t]*/, "", value); sub(/[ \t]+$/, "", value)
                    field[key] = value
                }
                if (tolower(field["enabled"]) == "no") next
                if ((" " field["types"] " ") !~ / deb / || (" " field["components"] " ") !~ / main /) next
                if ((" " field["suites"] " ") !~ (" (" suite "|stable|oldstable|testing|unstable|sid) ")) next
                n = split(field["uris"], uri, /[ \t]+/)
                for (i = 1; i <= n; i++) printf "deb %s%s %s main\n", (field["signed-by"] ~ /^\// ? "[signed-by=" field["signed-by"] "] " : ""), uri[i], other
            }'
    done
}

# Consul is taken from an older Debian release. Its source lives in a private folder for the length of this function:
# the machine's own sources and pins stay as they are, and nothing else can come from there.
install_consul() {
    have consul && return 0
    keep_services_down
    update
    if [ -n "$(apt-cache madison consul 2>/dev/null)" ]; then
        say 'installing: consul (from this machine'\''s own sources)'
        apt_install consul && disable_services consul && return 0
    fi
    suite=$(this_release)
    say "installing: consul (from Debian $CONSUL_SUITE)"
    mkdir -p "$work/parts" "$work/lists/partial"
    sources "$suite" "$CONSUL_SUITE" | sort -u >"$work/parts/older.list"
    [ -s "$work/parts/older.list" ] || die "no source for Debian $suite main found in /etc/apt: install 'consul' by hand (any version from 1.8)"
    set -- -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$work/parts" -o "Dir::State::Lists=$work/lists" \
        -o "Dir::Etc::Preferences=/dev/null" -o "Dir::Etc::PreferencesParts=$work/parts" \
        -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o "APT::Sandbox::User=root"
    apt-get -q "$@" update >"$work/update" 2>&1 || true # one of several sources may well lack the suite
    if ! (cd "$work" && quietly apt-get -q "$@" download consul); then
        cat "$work/update" >&2
        die "this machine's package mirror does not serve Debian $CONSUL_SUITE (any more), the last release with a consul package.
setup: Put a consul binary (any version from 1.8) on the PATH by hand and run this again."
    fi
    apt_install "$work"/consul_*.deb || die 'could not install consul'
    disable_services consul
}

# What the Dockerfile installs from Debian, and the file that has it. Another recipe makes another file.
image_packages() { sed -nE 's/^ARG [A-Z]+_PACKAGES="([^"]*)"$/\1/p' Dockerfile; }
base_image() {
    key=$({ echo "$IMAGE_SUITE"; image_packages; sed -n '/^make_base_image/,/^}/p' integration/setup.sh; } | sha256sum | cut -c1-16)
    echo ".cache/image/base-$key.tar"
}
locked_packages() { echo ".cache/image/packages-$(sha256sum <requirements.txt | cut -c1-16)"; }

# A Debian as small as the published ones, whose only apt source is a folder of its own: /debs, with all that the
# Dockerfile installs. So the Dockerfile can be built where there is no network, by the very steps that need one.
make_base_image() {
    made=$(base_image)
    [ ! -e "$made" ] || return 0
    say "making the test's base image: Debian $IMAGE_SUITE and the Dockerfile's packages"
    update
    sources "$(this_release)" "$IMAGE_SUITE" | sort -u >"$work/base.list"
    [ -s "$work/base.list" ] || die "no source for Debian main found in /etc/apt"
    root=$work/root
    while read -r source; do # not every source that has this release need have the other
        mirror=$(echo "$source" | sed -E 's/^deb[ \t]+(\[[^]]*\][ \t]+)?([^ \t]+).*/\2/')
        keyring=$(echo "$source" | sed -nE 's/^deb[ \t]+\[.*signed-by=([^] \t]+).*/\1/p')
        rm -rf "$root"
        # what it mounts there is gone when it ends, in whatever way
        unshare --mount debootstrap --variant=minbase ${keyring:+"--keyring=$keyring"} "$IMAGE_SUITE" "$root" "$mirror" \
            >>"$work/output" 2>&1 </dev/null && break
        mirror=''
    done <"$work/base.list"
    [ -n "$mirror" ] || { tail -5 "$work/output" >&2; die "debootstrap of Debian $IMAGE_SUITE failed: is a package mirror reachable?"; }
    echo "$source" >"$work/base.list"
    rm -f "$root"/var/cache/apt/archives/*.deb
    set -- -o "Dir::State=$root/var/lib/apt" -o "Dir::State::status=$root/var/lib/dpkg/status" \
        -o "Dir::Cache=$root/var/cache/apt" -o "Dir::Etc::SourceList=$work/base.list" -o "Dir::Etc::SourceParts=/dev/null" \
        -o "Dir::Etc::Preferences=/dev/null" -o "Dir::Etc::PreferencesParts=/dev/null" -o "APT::Sandbox::User=root"
    # shellcheck disable=SC2046 # a list of words
    { quietly apt-get -q "$@" update &&
        quietly apt-get -qy "$@" --download-only install --no-install-recommends $(image_packages); } || die "could not download the Dockerfile's packages"
    mkdir "$root/debs"
    mv "$root"/var/cache/apt/archives/*.deb "$root/debs"
    (
        cd "$root/debs"
        for deb in *.deb; do
            dpkg-deb -f "$deb"
            printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum <"$deb" | cut -d' ' -f1)"
        done
    ) >"$work/Packages"
    mv "$work/Packages" "$root/debs/Packages"
    rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/* \
        "$root"/var/cache/apt/*.bin "$root"/etc/resolv.conf "$root"/etc/hostname "$root"/var/log/*.log
    echo 'deb [trusted=yes] file:/debs ./' >"$root/etc/apt/sources.list"
    mkdir -p .cache/image
    tar -C "$root" --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf .cache/image/part.tar .
    rm -f .cache/image/base-*
    mv .cache/image/part.tar "$made"
}

# The locked packages, as pip would fetch them for the image's interpreter.
fetch_locked_packages() {
    made=$(locked_packages)
    [ ! -e "$made" ] || return 0
    say 'fetching the locked Python packages for the image'
    rm -rf .cache/image/packages-* .cache/image/part
    mkdir -p .cache/image
    .venv/bin/python -m pip -q --disable-pip-version-check download --require-hashes --no-deps --no-build-isolation \
        --python-version "$IMAGE_PYTHON" -r requirements.txt -d .cache/image/part || die 'could not fetch the locked packages'
    mv .cache/image/part "$made"
}

lab_without_root() {
    [ -n "$missing" ] && say "not root, so not installed:$missing"
    have consul || say 'not root, so not installed: consul'
    say 'not root: integration/, `make dev` and `make bench` cannot run (they make network namespaces); tests/ can.'
}

[ $# -gt 0 ] || set -- build lab
root=$(id -u)
for part; do
    case $part in
        build)
            look_for_build
            [ -z "$missing" ] || [ "$root" = 0 ] || die "not root, and missing for the virtual environment:$missing"
            ;;
        lab) [ "$root" != 0 ] || look_for_lab ;;
        image) [ "$root" != 0 ] || look_for_image ;;
        *) die "unknown part '$part' (known: build lab image)" ;;
    esac
    if [ "$root" != 0 ]; then
        [ "$part" != lab ] || { look_for_lab; lab_without_root; }
        missing=''
        continue
    fi
    have apt-get || [ -z "$missing" ] || die "no apt-get here; install by hand:$missing"
    install_missing
    [ "$part" != lab ] || install_consul
    [ "$part" != image ] || { make_base_image; fetch_locked_packages; }
done
if have "$PYTHON" && ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    die "$("$PYTHON" -V) is too old: Python 3.11 or newer is needed (set PYTHON=...)"
fi
