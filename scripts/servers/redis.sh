#!/usr/bin/env bash
# Installs Redis for the tests and links its server as $WS_TEST_TOOLS/redis/redis-server; starts nothing.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

DIR=$WS_TEST_TOOLS/redis
[ -x "$DIR/redis-server" ] && exit 0
have redis-server || apt_install redis-server
mkdir -p "$DIR"
ln -sfn "$(command -v redis-server)" "$DIR/redis-server"
