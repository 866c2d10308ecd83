# Shared by the scripts beside it: where things live, how to speak, how to install a Debian package.
# Sourced by bash, never run.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WORK_DIR=$ROOT/.work
WS_TEST_TOOLS=${WS_TEST_TOOLS:-$WORK_DIR/servers}

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# version_at_least FOUND WANTED: dotted numbers, compared part by part.
version_at_least() {
  local -a found wanted
  IFS=. read -ra found <<<"$1"
  IFS=. read -ra wanted <<<"$2"
  local i f w
  for i in 0 1 2; do
    f=${found[i]:-0} w=${wanted[i]:-0}
    f=$((10#${f//[!0-9]/}0 / 10)) w=$((10#${w//[!0-9]/}0 / 10))
    if ((f != w)); then ((f > w)); return; fi
  done
}

# java_major: prints 17 for Java 17.x, nothing when there is none. Reads the JDK's own `release` file where it
# can, because starting a virtual machine to ask for its version takes half a second.
java_major() {
  have java || return 0
  local home version
  home=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
  if [ -r "$home/release" ]; then
    version=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$home/release")
  else
    version=$(java -version 2>&1 | sed -n '1s/.*"\([0-9]*\).*/\1/p')
  fi
  printf '%s' "$version"
}

# server_packages: the Debian packages that the tests' real servers still miss, on one line.
server_packages() {
  local java packages=()
  java=$(java_major)
  if ((${java:-0} < 17)); then
    # Debian 12 has 17, later releases a newer default; either runs the broker.
    if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
      packages+=(openjdk-17-jre-headless)
    else
      packages+=(default-jre-headless)
    fi
  fi
  have mvn || packages+=(maven)
  have redis-server || packages+=(redis-server)
  # Without a font the page's text would be boxes in the picture.
  find_browser >/dev/null || packages+=(chromium fonts-dejavu-core)
  printf '%s' "${packages[*]-}"
}

find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

# apt_install PACKAGE...: as root on Debian and its kin it installs; otherwise it prints the exact line and fails.
apt_install() {
  local line="apt-get update && apt-get install -y --no-install-recommends $*"
  if [ "$(id -u)" != 0 ]; then
    say "missing: $*. Run this once, then try again:"
    say "    sudo sh -c '$line'"
    return 1
  fi
  if ! have apt-get; then
    say "missing: $* (names of Debian's packages); there is no apt-get here, install them your system's way."
    return 1
  fi
  mkdir -p "$WORK_DIR"
  local log=$WORK_DIR/apt.log lock
  # Two runs of ours queue here, other installations at dpkg's own lock.
  exec {lock}>"$WORK_DIR/apt.lock"
  flock "$lock"
  say "installing: $*"
  if ! { apt-get -o DPkg::Lock::Timeout=600 update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "$@"; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    say "apt-get failed; the whole log is in $log"
    return 1
  fi
  exec {lock}>&-
}
