#!/usr/bin/env bash
# Installs Apache Kafka's jars for the tests into $WS_TEST_TOOLS/kafka; starts nothing.
#
# The broker comes from the Maven repository: Java finds it by class path alone, no distribution archive is needed.
# The jars name no log4j binding, so one is added: without it a broker that cannot start dies in silence.
# A last step runs the broker once and keeps the classes it loaded as a shared archive, which halves every later start.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

VERSION=4.4.0
DIR=$WS_TEST_TOOLS/kafka
STAMP=$DIR/installed-$VERSION
[ -f "$STAMP" ] && exit 0

java=$(java_major)
if ((${java:-0} < 17)) || ! have mvn; then
  read -ra packages <<<"$(server_packages)"
  apt_install "${packages[@]}"
fi

mkdir -p "$DIR"
exec 9>"$DIR/lock"
flock 9 # two test runs may want it at the same time
[ -f "$STAMP" ] && exit 0

say "installing Kafka $VERSION into ${DIR#"$ROOT"/}"
rm -rf "$DIR/lib" "$DIR/template" "$DIR"/installed-* "$DIR"/*.jsa
cat >"$DIR/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>wastestream.test</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
POM
if ! mvn -q -B -f "$DIR/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
  -DoutputDirectory="$DIR/lib" >"$DIR/maven.log" 2>&1 </dev/null; then
  tail -n 20 "$DIR/maven.log" >&2
  say "Maven could not fetch Kafka $VERSION; the whole log is in $DIR/maven.log"
  exit 1
fi

# A formatted but unused log directory: its checkpoint carries the feature levels (transactions, groups) that a
# cluster set up by hand has. The tests copy it, so that no start has to pay for the formatting tool.
TRIAL=$(mktemp -d)
trap 'rm -rf "$TRIAL"' EXIT
BROKER_PORT=$((20000 + RANDOM % 5000)) CONTROLLER_PORT=$((25000 + RANDOM % 5000))
cat >"$TRIAL/server.properties" <<CONFIG
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$CONTROLLER_PORT
listeners=PLAINTEXT://127.0.0.1:$BROKER_PORT,CONTROLLER://127.0.0.1:$CONTROLLER_PORT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
offsets.topic.replication.factor=1
log.dirs=$TRIAL/data
CONFIG
cat >"$DIR/log4j2.properties" <<LOGGING
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=Console
appender.console.type=Console
appender.console.name=Console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
LOGGING
# The archive is tied to the exact class path: sorted jars, as the tests sort them.
CLASS_PATH=$(printf '%s\n' "$DIR"/lib/*.jar | LC_ALL=C sort | paste -sd:)
if ! java -Xmx128m -cp "$CLASS_PATH" kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ \
  -c "$TRIAL/server.properties" >"$DIR/format.log" 2>&1; then
  tail -n 20 "$DIR/format.log" >&2
  say "Kafka $VERSION could not format a log directory; the whole log is in $DIR/format.log"
  exit 1
fi
mkdir "$DIR/template"
cp -r "$TRIAL/data/__cluster_metadata-0" "$DIR/template/"
chmod -R u+w "$DIR/template"

java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit="$DIR/classes.jsa" \
  -Dlog4j2.configurationFile="$DIR/log4j2.properties" -cp "$CLASS_PATH" \
  kafka.Kafka "$TRIAL/server.properties" >"$DIR/trial.log" 2>&1 </dev/null &
BROKER=$!
for _ in $(seq 300); do
  grep -q 'Kafka Server started' "$DIR/trial.log" && break
  kill -0 "$BROKER" 2>/dev/null || break
  sleep 0.2
done
kill "$BROKER" 2>/dev/null || true
wait "$BROKER" || true
[ -f "$DIR/classes.jsa" ] || say "no shared class archive was written (see $DIR/trial.log): brokers will start more slowly"
touch "$STAMP"
