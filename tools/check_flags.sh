#!/bin/bash
# Only the command line spells flags: below it an error names a setting by its key, between backquotes (`max_length`), and
# Sources/meraser/Terminal/FlagNames.swift makes the flag of it. Exempt is what writes command lines and CSS.
cd "$(dirname "$0")/.." || exit 1
found=$(grep -rnE '"([^"]*[^-[:alnum:]])?--[a-z]' Sources --include='*.swift' |
    grep -vE '^Sources/(meraser/|Pipeline/Compare/|Pipeline/Search/TrainingCommand|Pipeline/Run/RunCommands|Pipeline/Report/PageStyle)' |
    grep -vE '^[^:]*:[0-9]+: *//|"--no-" \+')
[ -z "$found" ] && exit 0
echo "$found"
echo 'check_flags: name the setting by its key between backquotes; the command line spells the flag' >&2
exit 1
