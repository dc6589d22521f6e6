# What the tests that need more than Rust share: their options, their tools, their program. Sourced by tests/*/run.
#
# `--if-possible` among the arguments: what is missing is said, and skipped, instead of failing the run. The others are left in
# `arguments`. FLYWHEEL names the program under test, which is built if it is not given; CHROMIUM the browser. Python packages
# go to target/python.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
python=$target/python/bin/python
name=$(basename "$(dirname "$0")")

if_possible=
arguments=()
for argument in "$@"; do
  if [ "$argument" = --if-possible ]; then if_possible=yes; else arguments+=("$argument"); fi
done

# Says what is missing. Fails without `--if-possible`.
lacks() {
  if [ -n "$if_possible" ]; then
    printf 'tests/%s SKIPPED in part or whole: %s\n' "$name" "$1"
  else
    printf 'tests/%s: %s\n' "$name" "$1" >&2
    exit 1
  fi
}

# The same of what nothing goes on without.
missing() {
  lacks "$1"
  exit 0
}

has() {
  command -v "$1" > /dev/null
}

# Has the packages of tests/NAME/requirements.txt in the Python of all such tests.
need_python() {
  has python3 || missing 'there is no python3'
  local wanted=$root/tests/$name/requirements.txt installed=$target/python/$name.txt
  if [ ! -x "$python" ]; then
    python3 -m venv "$target/python" || missing 'python3 cannot make a virtual environment (Debian: apt-get install python3-venv)'
  fi
  if ! cmp -s "$wanted" "$installed"; then
    "$python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" \
      || missing "the packages of tests/$name/requirements.txt cannot be installed"
    cp "$wanted" "$installed"
  fi
}

# Finds Chromium, as CHROMIUM; says if there is none.
look_for_chromium() {
  local candidate
  for candidate in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    if [ -n "$candidate" ] && CHROMIUM=$(command -v "$candidate"); then
      export CHROMIUM
      return
    fi
  done
  unset CHROMIUM
  lacks 'there is no Chromium (Debian: apt-get install chromium)'
}

need_program() {
  if [ -z "${FLYWHEEL:-}" ]; then
    (cd "$root" && cargo build --locked --bin flywheel)
    FLYWHEEL=$target/debug/flywheel
  fi
  export FLYWHEEL
}
