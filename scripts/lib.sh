# What the scripts of this folder share. Sourced, never run; the caller has set -euo pipefail.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requirements=($root/examples/digits/requirements.txt $root/scripts/requirements.txt)
venv=$root/.venv

# One line of progress, on stderr, so that a script's own output stays clean.
say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

# fail MESSAGE [CODE]: what went wrong and what to do, then the exit.
fail() {
  say "$1"
  exit "${2:-1}"
}

# The presets that CMakePresets.json shows.
presets() { sed -n 's/.*"name": "\([a-z]*\)".*/\1/p' "$root/CMakePresets.json" | grep -v '^base$'; }
