//! Kafka brokers in KRaft mode: one for most tests, three where one must be able to die.
//!
//! A start takes one to two seconds: the log directory is a copy of one formatted at installation (its checkpoint
//! carries the feature levels), classes come from a shared archive, and only the quick compiler runs.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::process::{Guarded, within};
use super::{discard, ports, scratch_dir, skip, tools_dir};

/// Three nodes on two busy cores were seen to take twenty seconds.
const START_LIMIT: Duration = Duration::from_secs(120);
const STARTED: &str = "Kafka Server started";
const VERSION: &str = "4.4.0";

/// A running cluster. Topics are not created by use: a test creates what it needs.
pub struct Kafka {
    /// For `bootstrap.servers`: every node's address, also of killed ones.
    pub bootstrap: String,
    nodes: Vec<Node>,
}

struct Node {
    dir: PathBuf,
    lives: u32,
    process: Option<Guarded>,
}

impl Drop for Node {
    fn drop(&mut self) {
        // A killed node has no guard any more that would remove the folder.
        drop(self.process.take());
        discard(&self.dir);
    }
}

impl Kafka {
    /// Starts a cluster of this many nodes for one test alone. `None`, and a visible word, when Kafka is not installed.
    ///
    /// # Panics
    /// When the brokers do not come up; the message ends with their log.
    pub fn start(nodes: usize) -> Option<Kafka> {
        installed().then(|| Kafka::launch(nodes))
    }

    /// One node that all tests of this process share, started by the first to ask. Use topic, group and transactional
    /// ids of your own, and do not count on an empty broker.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn shared() -> Option<&'static Kafka> {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        // Never dropped, being a static: its keeper ends it when this process ends.
        installed().then(|| SHARED.get_or_init(|| Kafka::launch(1)))
    }

    fn launch(nodes: usize) -> Kafka {
        // Between choosing a port and binding it somebody else may take it.
        let mut failure = String::new();
        for _ in 0..3 {
            match Kafka::try_launch(nodes) {
                Ok(kafka) => return kafka,
                Err(log) => failure = log,
            }
            if !failure.contains("Address already in use") {
                break;
            }
        }
        panic!("Kafka did not come up:\n{failure}");
    }

    fn try_launch(count: usize) -> Result<Kafka, String> {
        let ports: Vec<[u16; 2]> = (0..count).map(|_| ports::free()).collect();
        let bootstrap = join(ports.iter().map(|[broker, _]| format!("127.0.0.1:{broker}")));
        let voters = join((1..).zip(&ports).map(|(id, [_, controller])| format!("{id}@127.0.0.1:{controller}")));
        // Positions name their cluster: no two test clusters may share an id (22 characters of URL-safe base64).
        let cluster_id = format!("{:0>21}Q", format!("{}x{}", std::process::id(), ports[0][0]));

        let mut nodes = Vec::new();
        for (id, [broker, controller]) in (1..).zip(&ports) {
            let node = Node { dir: scratch_dir(&format!("kafka-{id}")), lives: 0, process: None };
            node.prepare(id, &cluster_id, &config(id, *broker, *controller, &voters, count));
            nodes.push(node);
        }
        let mut kafka = Kafka { bootstrap, nodes };
        kafka.nodes.iter_mut().for_each(Node::launch);
        kafka.nodes.iter().try_for_each(Node::wait_started)?;
        Ok(kafka)
    }

    /// Kills one node (from 0) as `kill -9` would; its log stays.
    pub fn kill(&mut self, node: usize) {
        if let Some(process) = self.nodes[node].process.take() {
            process.kill();
        }
    }

    /// Starts a killed node again on its port and log, and waits until it serves.
    pub fn start_again(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "node {node} is still running");
        self.nodes[node].launch();
        if let Err(log) = self.nodes[node].wait_started() {
            panic!("node {node} did not come up again:\n{log}");
        }
    }

    /// Kills every node and starts all again: what a client sees when the only broker's machine restarts.
    pub fn restart(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
        for node in &mut self.nodes {
            node.launch();
        }
        for node in &self.nodes {
            if let Err(log) = node.wait_started() {
                panic!("Kafka did not come up again:\n{log}");
            }
        }
    }

    /// Lines with this text that nodes wrote, in all of their lives.
    pub fn told(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for node in &self.nodes {
            for file in std::fs::read_dir(&node.dir).into_iter().flatten().flatten().filter(|f| f.file_name().to_string_lossy().starts_with("life-")) {
                let log = std::fs::read_to_string(file.path()).unwrap_or_default();
                found.extend(log.lines().filter(|l| l.contains(text)).map(str::to_owned));
            }
        }
        found
    }

    /// Process ids of the running nodes.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| Some(node.process.as_ref()?.pid())).collect()
    }
}

impl Node {
    /// Lays out the node's folder: configuration and a formatted, empty log directory.
    fn prepare(&self, id: usize, cluster_id: &str, config: &str) {
        let data = self.dir.join("data");
        let metadata = data.join("__cluster_metadata-0");
        std::fs::create_dir_all(&metadata).expect("the node's folder");
        let template = tools_dir().join("kafka/template/__cluster_metadata-0");
        for file in std::fs::read_dir(&template).expect("the template of a formatted log").flatten() {
            std::fs::copy(file.path(), metadata.join(file.file_name())).expect("a copy of the template");
        }
        let properties = format!("version=1\ncluster.id={cluster_id}\nnode.id={id}\n");
        std::fs::write(data.join("meta.properties"), properties).expect("the node's identity");
        let config = format!("{config}log.dirs={}\n", data.display());
        std::fs::write(self.dir.join("server.properties"), config).expect("the node's configuration");
    }

    fn launch(&mut self) {
        let kafka = tools_dir().join("kafka");
        let mut command: Vec<String> =
            ["java", "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"].map(str::to_owned).to_vec();
        let archive = kafka.join("classes.jsa");
        if archive.exists() {
            command.push(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        command.push(format!("-Dlog4j2.configurationFile={}", kafka.join("log4j2.properties").display()));
        command.extend(["-cp".to_owned(), class_path(&kafka.join("lib")), "kafka.Kafka".to_owned()]);
        command.push(self.dir.join("server.properties").display().to_string());
        // A log per life: the line that says "started" must not be an earlier life's.
        self.lives += 1;
        self.process = Some(Guarded::start(&format!("life-{}", self.lives), &self.dir, &command));
    }

    fn wait_started(&self) -> Result<(), String> {
        let process = self.process.as_ref().ok_or("the node was not launched")?;
        let started = within(START_LIMIT, || {
            if process.output().contains(STARTED) {
                return Some(true);
            }
            (!process.is_running()).then_some(false)
        });
        if started == Some(true) { Ok(()) } else { Err(process.last_lines()) }
    }
}

/// Whether Kafka is there; says that the test is skipped when it is not.
fn installed() -> bool {
    let there = tools_dir().join(format!("kafka/installed-{VERSION}")).exists();
    if !there {
        skip("Kafka");
    }
    there
}

/// The jars in the order in which the class archive was written: another order would make it useless.
fn class_path(lib: &Path) -> String {
    let mut jars: Vec<String> =
        std::fs::read_dir(lib).expect("Kafka's jars").flatten().map(|jar| jar.path().display().to_string()).filter(|jar| jar.ends_with(".jar")).collect();
    jars.sort();
    jars.join(":")
}

fn config(id: usize, broker: u16, controller: u16, voters: &str, nodes: usize) -> String {
    let (replicas, in_sync) = if nodes >= 3 { (3, 2) } else { (1, 1) };
    format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
num.partitions=1
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
# Tests wait for these: rebalances, expiry of abandoned transactions, compaction.
group.initial.rebalance.delay.ms=0
# A killed broker may register again only when its old session is over: 9 s by default.
broker.session.timeout.ms=2500
broker.heartbeat.interval.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.backoff.ms=1000
# Event times of a test may lie years back; retention by time would delete such records at once.
log.retention.ms=-1
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=33554432
"
    )
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}
