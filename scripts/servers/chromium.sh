#!/usr/bin/env bash
# Installs a headless browser for the page's test and links it as $WS_TEST_TOOLS/chromium/chromium; starts nothing.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

DIR=$WS_TEST_TOOLS/chromium
[ -x "$DIR/chromium" ] && exit 0
find_browser >/dev/null || apt_install chromium fonts-dejavu-core
mkdir -p "$DIR"
ln -sfn "$(find_browser)" "$DIR/chromium"
