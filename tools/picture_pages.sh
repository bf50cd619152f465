#!/bin/bash
# Pictures of a page for the documentation: wide, on a phone, dark, and on paper.
# Usage: tools/picture_pages.sh NAME PAGE.html DIR    needs chromium, and pdftoppm (poppler-utils) for the last
set -euo pipefail
name=$1 page=$(realpath "$2") out=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$out"

take() { # what to take, and how
    HOME=$scratch chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
        --hide-scrollbars --user-data-dir="$scratch/profile" "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
}

take --window-size=1000,1400 --screenshot="$out/$name-wide.png" "file://$page"
take --window-size=1000,1400 --blink-settings=preferredColorScheme=0 --screenshot="$out/$name-dark.png" "file://$page"
# A window of Chromium cannot be as narrow as a phone: a frame of that width is.
cat >"$scratch/phone.html" <<FRAME
<!DOCTYPE html><body style="margin:0"><iframe src="file://$page" width="390" height="1400" style="border:0"></iframe>
FRAME
take --window-size=500,1400 --allow-file-access-from-files --screenshot="$scratch/phone.png" "file://$scratch/phone.html"
take --no-pdf-header-footer --print-to-pdf="$scratch/page.pdf" "file://$page"
pdftoppm -png -r 60 -f 1 -l 1 "$scratch/page.pdf" "$scratch/print"
mv "$scratch"/print*.png "$out/$name-print.png"
# The phone's part of its window; few colours are enough.
python3 - "$scratch/phone.png" "$out" "$name" <<'CUT'
import sys
from PIL import Image
phone, out, name = sys.argv[1:]
Image.open(phone).convert("RGB").crop((0, 0, 390, 1400)).save(f"{out}/{name}-phone.png")
for kind in ("wide", "phone", "dark", "print"):
    path = f"{out}/{name}-{kind}.png"
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)
CUT
