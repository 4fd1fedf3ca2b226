//! Three brokers, each of them a controller too, so that any one may be killed or stopped and the
//! other two go on. Every topic has a replica on each, and a write needs two of them. While a broker
//! is away, others lead its partitions; soon after it is back, it leads them again.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::Metadata;

use super::link::{Delay, Distant};
use super::listeners::{Fronted, properties_beside};
use super::refusing::Faults;
use super::servers::{Kafka, lasting_ports};
use super::watchdog;

const BROKERS: usize = 3;
/// Longer than a killed broker's session and an election of the controllers together.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Transactions have one partition, so that one broker coordinates them all. The JVMs are set to start fast
/// and to stay small, as three of them share the machine.
const PROPERTIES: [&str; 12] = [
    "default.replication.factor=3",
    "min.insync.replicas=2",
    "offsets.topic.replication.factor=3",
    "transaction.state.log.replication.factor=3",
    "transaction.state.log.min.isr=2",
    "transaction.state.log.num.partitions=1",
    "leader.imbalance.check.interval.seconds=1",
    "leader.imbalance.per.broker.percentage=0",
    "replica.fetch.backoff.ms=200",
    "jvm+=-Xmx192m",
    "jvm+=-XX:+UseSerialGC",
    "jvm+=-XX:TieredStopAtLevel=1",
];

pub struct Cluster {
    /// By id, from 1.
    brokers: Vec<Kafka>,
    all: Arc<Kafka>,
    /// All of it through a link, in the order of the delays that it was started with.
    linked: Vec<String>,
    client: BaseConsumer,
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::start_with(&[], |_, _| Vec::new())
    }

    /// The same with further properties, and with each broker also behind links of these delays. Between the
    /// brokers there is none.
    pub fn start_beside_links(further: &[&str], delays: &[Delay]) -> Cluster {
        let mut linked = Vec::new();
        let cluster = Cluster::start_with(further, |_, port| {
            let fronted: Vec<_> = delays.iter().copied().map(Fronted::by_link).collect();
            let properties = properties_beside(port, &fronted);
            linked.push(fronted);
            properties
        });
        let addresses_of = |number: usize| {
            linked.iter().map(|of_broker| of_broker[number].address.as_str()).collect::<Vec<_>>()
        };
        let linked = (0..delays.len()).map(|number| addresses_of(number).join(",")).collect();
        Cluster { linked, ..cluster }
    }

    /// The same with one link, of [`Delay::FAR`].
    pub fn start_far() -> (Cluster, Distant) {
        let delay = Delay::FAR;
        let cluster = Cluster::start_beside_links(&[], &[delay]);
        let bootstrap = cluster.linked(0).to_owned();
        (cluster, Distant { bootstrap, delay })
    }

    /// Starts brokers that a relay reaches through proxies with these faults, and everybody else directly. The
    /// addresses are the relay's.
    pub fn start_beside_refusing_proxies(faults: &Arc<Faults>) -> (Cluster, String) {
        let proxied = lasting_ports::<BROKERS>();
        let proxies = proxied.map(|port| faults.stand_before(&format!("127.0.0.1:{port}")));
        let cluster = Cluster::start_with(&[], |index, port| {
            properties_beside(port, &[Fronted::by_proxy(proxied[index], proxies[index])])
        });
        (cluster, proxies.map(|port| format!("127.0.0.1:{port}")).join(","))
    }

    /// `own`: further properties of the broker of this index and port.
    fn start_with(further: &[&str], mut own: impl FnMut(usize, u16) -> Vec<String>) -> Cluster {
        let ports = lasting_ports::<BROKERS>();
        let controllers = lasting_ports::<BROKERS>();
        let voters: Vec<String> = (1..)
            .zip(controllers)
            .map(|(id, controller)| format!("{id}@127.0.0.1:{controller}"))
            .collect();
        let mut properties = vec![
            format!("controller.quorum.voters={}", voters.join(",")),
            // 16 bytes in base64; hexadecimal digits are some of its letters.
            format!("cluster+={:016x}relayA", rand::random::<u64>()),
        ];
        properties.extend(further.iter().map(|&property| property.to_owned()));
        // None of them answers before a second one is there.
        let brokers = thread::scope(|scope| {
            let starting: Vec<_> = (1..)
                .zip(ports.into_iter().zip(controllers))
                .map(|(id, (port, controller))| {
                    let properties = [&own(id - 1, port)[..], &properties].concat();
                    scope.spawn(move || start_broker(id, port, controller, &properties))
                })
                .collect();
            starting.into_iter().map(|broker| broker.join().expect("the broker starts")).collect()
        });
        let bootstrap = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
        let client = ClientConfig::new()
            .set("bootstrap.servers", &bootstrap)
            .set("group.id", "leaders")
            .set("reconnect.backoff.max.ms", "200")
            .set("log_level", "0")
            .create()
            .expect("create a Kafka client");
        let all = Arc::new(Kafka::at(bootstrap));
        let cluster = Cluster { brokers, all, linked: Vec::new(), client };
        cluster.wait_until_whole();
        cluster
    }

    /// All of it, as clients name it.
    pub fn kafka(&self) -> Arc<Kafka> {
        Arc::clone(&self.all)
    }

    /// All of it through the links of one delay, as clients name it.
    pub fn linked(&self, number: usize) -> &str {
        &self.linked[number]
    }

    /// One broker, to be killed, stopped and started again.
    pub fn broker(&self, id: i32) -> &Kafka {
        let index = usize::try_from(id - 1).expect("ids begin with 1");
        &self.brokers[index]
    }

    /// The broker that leads a partition; waits for one if there is none.
    pub fn leader(&self, topic: &str, partition: i32) -> i32 {
        self.wait_for(
            |metadata| leader_in(metadata, topic, partition),
            || format!("{topic}[{partition}] has a leader"),
        )
    }

    /// Waits until another broker than `before` leads a partition, and returns it.
    pub fn wait_for_another_leader(&self, topic: &str, partition: i32, before: i32) -> i32 {
        let another = |metadata: &Metadata| {
            leader_in(metadata, topic, partition).filter(|leader| *leader != before)
        };
        self.wait_for(another, || format!("{topic}[{partition}] has another leader than {before}"))
    }

    /// Waits until all brokers are up and every partition is in sync on each of them.
    pub fn wait_until_whole(&self) {
        self.wait_for(
            |metadata| is_whole(metadata).then_some(()),
            || "every partition is in sync on three brokers, and led by its first".to_owned(),
        );
    }

    fn wait_for<T>(&self, find: impl Fn(&Metadata) -> Option<T>, what: impl Fn() -> String) -> T {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            // The broker that is asked may be the one that has just been killed.
            let answer = self.client.fetch_metadata(None, ANSWER_WITHIN);
            if let Some(found) = answer.ok().as_ref().and_then(&find) {
                return found;
            }
            assert!(Instant::now() < deadline, "not within {SETTLED_WITHIN:?}: {}", what());
            thread::sleep(PAUSE);
        }
    }
}

fn start_broker(id: usize, port: u16, controller: u16, properties: &[String]) -> Kafka {
    let data = watchdog::fresh_directory("kafka").join("data");
    fs::create_dir_all(&data).expect("create the broker's directory");
    // Where the script keeps the port that it would choose.
    fs::write(data.join("controller-port"), format!("{controller}\n")).expect("write the port");
    let id = format!("node.id={id}");
    let own = properties.iter().map(String::as_str).chain([id.as_str()]);
    let properties: Vec<&str> = PROPERTIES.into_iter().chain(own).collect();
    Kafka::start_in(data, port, &properties)
}

fn leader_in(metadata: &Metadata, topic: &str, partition: i32) -> Option<i32> {
    let topic = metadata.topics().iter().find(|found| found.name() == topic)?;
    let partition = topic.partitions().iter().find(|found| found.id() == partition)?;
    // -1 says that nobody leads.
    Some(partition.leader()).filter(|leader| *leader > 0)
}

fn is_whole(metadata: &Metadata) -> bool {
    let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    metadata.brokers().len() == BROKERS
        && partitions.all(|partition| {
            let is_led_by_first = partition.replicas().first() == Some(&partition.leader());
            partition.isr().len() == BROKERS && is_led_by_first
        })
}
