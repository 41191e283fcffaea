#!/bin/bash
# The project speaks of itself alone: no paths of a developer's machine, no private addresses, no notes to self.
set -u
git rev-parse --git-dir >/dev/null 2>&1 || { echo "not a git checkout: the list of files is unknown"; exit 77; }
words='/work/|/home/|/root/|/Users/|https?://(localhost|127\.|10\.|192\.168\.)'
words="$words|\\b(TODO|FIXME|XXX|HACK)\\b|\\b([Aa]gents?|[Ss]essions?|[Cc]hatbot|as an AI)\\b"
! git grep --untracked -nIE "$words" -- . ':!tests/meta/words.sh' ':!LICENSE'
