#!/usr/bin/env bash
# wastestream as a peer of the harness: it reads BOOTSTRAP IN_TOPIC OUT_TOPIC GROUP TASK EOS PARTITIONS SCHEMA WORK,
# prints `BENCH first MS` and `BENCH done MS`, and ends. `run.sh build` only builds.
# benches/peers/run copies this folder beside the other peers and says in WASTESTREAM_ROOT where the sources are.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
cd "${WASTESTREAM_ROOT:?the root folder of the wastestream sources}"
TARGET=${CARGO_TARGET_DIR:-target}

if [ "${1:-}" = build ]; then
  cargo build --quiet --release -p ws-cli --bin wastestream >&2
  exit 0
fi
# No cargo here: its own CPU seconds would be counted as ours.
[ -x "$TARGET/release/wastestream" ] || { echo "not built: run '$0 build' first" >&2; exit 1; }

export TOPOLOGY=$HERE/${TASK:?w1 or w2}.yaml
exec "$TARGET/release/wastestream" bench-peer
