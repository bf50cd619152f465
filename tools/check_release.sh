#!/bin/sh
# check_release.sh ARCHIVE [WHEEL]: unpacks the archive in a bare Debian, without Swift or a compiler, and goes from there to a
# report; installs the wheel in an environment of its own. MIRROR names another source of packages than the standard one.
set -eu
archive=$1 wheel=${2:-}
[ "$(id -u)" = 0 ] || { echo 'release-check needs root: a chroot is made (sudo make release-check)' >&2; exit 1; }
command -v debootstrap >/dev/null || {
    command -v apt-get >/dev/null || { echo 'release-check needs debootstrap' >&2; exit 1; }
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap
}
(cd "$(dirname "$archive")" && sha256sum -c --quiet SHA256SUMS)
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
debootstrap --variant=minbase "$suite" "$root/debian" ${MIRROR:+"$MIRROR"} >"$root/debootstrap.log" 2>&1 ||
    { tail -5 "$root/debootstrap.log" >&2; exit 1; }
tar -xzf "$archive" -C "$root/debian/opt"
name=$(basename "$archive" .tar.gz)

# In a mount namespace of its own, so that /proc goes when the script does.
cat > "$root/debian/root/check" <<'CHECK'
set -eu
bin=$1
! command -v swift && ! command -v cc
set -x
meraser=$bin/bin/meraser
$meraser --version
cd /root
$meraser demo --quiet
ls -l demo-run/report.html
$meraser check --model demo-run/model.mqf --adapter demo-run/mark --key demo-run/mark/key.json --quiet
CHECK
unshare -m sh -c 'mount -t proc proc "$1/proc" && exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    sh /root/check "/opt/$2"' sh "$root/debian" "$name"

[ -n "$wheel" ] || exit 0
python3 -m venv "$root/venv"
"$root/venv/bin/pip" install --quiet --no-index "$wheel"
"$root/venv/bin/meraser" --version
cd "$root"
"$root/venv/bin/python" - <<'PYTHON'
import meraser

print("from Python:", meraser.run(["cache"])["meraser_version"])
try:
    meraser.run(["inspect", "no-such-file"])
except meraser.MeraserError as error:
    print("from Python:", error.status, error)
    assert error.status == 3, error.status
else:
    raise SystemExit("a missing file was no error")
PYTHON
