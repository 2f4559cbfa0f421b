# Shared by the scripts of this folder, which source it: build a Rust program on standard input over filecoin-proofs-api,
# without anything of ours, and put the path of the result into $program. The first build takes some minutes; the
# libraries stay in ~/.cache/damocles/findings-target for the next script.
set -euo pipefail
version=19.1.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# No setting of this machine counts, and nothing of the library is kept outside of the folder.
for name in $(compgen -e FIL_PROOFS_ || true); do unset "$name"; done
export FIL_PROOFS_PARENT_CACHE="$work/parents"

build() {
  mkdir -p "$work/crate/src"
  cat > "$work/crate/src/main.rs"
  cp "$here/sector.rs" "$work/crate/src/"
  cp "$here/Cargo.lock" "$work/crate/"
  cat > "$work/crate/Cargo.toml" <<TOML
[package]
name = "finding"
version = "0.1.0"
edition = "2021"

[dependencies]
anyhow = "=1.0.105"
filecoin-proofs-api = { version = "=$version", default-features = false }

[profile.dev]
opt-level = 1
debug = 0
debug-assertions = false
overflow-checks = false
TOML
  export CARGO_TARGET_DIR="$HOME/.cache/damocles/findings-target"
  # One build at a time: they all make the same file.
  mkdir -p "$CARGO_TARGET_DIR"
  exec 8> "$CARGO_TARGET_DIR/lock"
  flock 8
  (cd "$work/crate" && cargo build --quiet --locked)
  program="$work/finding"
  cp "$CARGO_TARGET_DIR/debug/finding" "$program"
  exec 8>&-
  cd "$work"
  echo "filecoin-proofs-api $(cd "$work/crate" && cargo pkgid --locked filecoin-proofs-api | sed 's/.*@//'), $(rustc --version)"
}

# Compare what the program printed with what was seen when this was written; exit with 1 if it is something else.
expect() {
  local seen
  seen=$(cat)
  echo "$seen"
  if [ "$seen" = "$1" ]; then
    echo "As described."
  else
    echo "Not as described; expected was:"
    echo "$1"
    exit 1
  fi
}
