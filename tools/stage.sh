#!/bin/sh
# stage.sh PROGRAM FOLDER: what is installed, under FOLDER: bin/meraser without symbols, completions, man pages,
# licences. `make install`, `make release` and `make wheel` hand this folder on.
set -eu
program=$1 folder=$2
cd "$(dirname "$0")/.."
rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/share/doc/meraser/licenses" "$folder/share/man/man1" \
    "$folder/share/bash-completion/completions" "$folder/share/zsh/site-functions" "$folder/share/fish/vendor_completions.d"

strip=$(command -v strip || command -v llvm-strip || echo "$(dirname "$(readlink -f "$(command -v swift)")")/llvm-strip")
"$strip" -o "$folder/bin/meraser" "$program"
chmod 755 "$folder/bin/meraser"

"$program" --generate-completion-script bash > "$folder/share/bash-completion/completions/meraser"
"$program" --generate-completion-script zsh > "$folder/share/zsh/site-functions/_meraser"
"$program" --generate-completion-script fish > "$folder/share/fish/vendor_completions.d/meraser.fish"
if command -v python3 >/dev/null; then
    "$program" --experimental-dump-help | python3 tools/make_man.py "$folder/share/man/man1"
else
    echo 'stage: there is no python3: no man pages were made' >&2
fi

doc=$folder/share/doc/meraser
cp LICENSE README.md "$doc"
for checkout in .build/checkouts/*/; do
    name=$(basename "$checkout")
    for file in LICENSE LICENSE.txt; do
        [ ! -f "$checkout$file" ] || cp "$checkout$file" "$doc/licenses/$name"
    done
done
for file in "$(dirname "$(readlink -f "$(command -v swift)")")"/../share/swift/LICENSE.txt; do
    [ ! -f "$file" ] || cp "$file" "$doc/licenses/swift"
done
find "$folder" -type f ! -path '*/bin/*' -exec chmod 644 {} +
