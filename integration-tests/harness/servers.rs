//! Real MySQL and Kafka servers for the tests: one of each shared by the whole run, started when
//! first asked for, and own ones for tests that restart, cut or misconfigure them. The programs
//! come from the `servers/` scripts, or the servers are named in the environment:
//! `BINLOG_RELAY_TEST_MYSQL` (host:port, with `_USER` and `_PASSWORD`) and `BINLOG_RELAY_TEST_KAFKA`.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::holding::HoldingProxy;
use super::lagging::LaggingProxy;
use super::link::{Delay, Distant};
use super::listeners::{Fronted, properties_beside};
use super::process::Process;
use super::proxy::Proxy;
use super::refusing::Faults;
use super::repository;
use super::sql::{Login, Sql};
use super::watchdog;

/// The user the relays log in as, with the rights the documentation asks for and no more: those on the
/// server from here, SELECT on its own database from each scene.
pub const RELAY_USER: &str = "relay";
pub const RELAY_PASSWORD: &str = "relay's own \"secret\" 42";

/// A server that was never started here may first have to be downloaded.
const START_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(120);
/// What `servers/fetch` exits with for a server that this machine cannot have.
const ABSENT: i32 = 3;
/// How many tests may have servers of their own at once; each takes a good part of a core to start. A test
/// with a cluster counts as all of them.
const OWN_SERVERS_AT_ONCE: usize = 2;

pub struct MySql {
    login: Login,
    /// What it was started from; absent for a server named in the environment.
    own: Option<OwnMySql>,
}

struct OwnMySql {
    version: String,
    data: PathBuf,
    arguments: Mutex<Vec<String>>,
    process: Mutex<Option<Process>>,
}

pub struct Kafka {
    bootstrap: String,
    own: Option<OwnKafka>,
}

struct OwnKafka {
    port: u16,
    data: PathBuf,
    properties: Vec<String>,
    process: Mutex<Option<Process>>,
}

/// The right to run own servers; given back when dropped.
pub struct OwnServersPermit {
    weight: usize,
}

/// The MySQL 8.0 that tests share.
pub fn shared_mysql() -> Arc<MySql> {
    static SHARED: OnceLock<Arc<MySql>> = OnceLock::new();
    Arc::clone(SHARED.get_or_init(|| {
        Arc::new(MySql::from_environment().unwrap_or_else(|| MySql::start("mysql-8.0", &[])))
    }))
}

/// The Kafka broker that tests share.
pub fn shared_kafka() -> Arc<Kafka> {
    static SHARED: OnceLock<Arc<Kafka>> = OnceLock::new();
    Arc::clone(
        SHARED.get_or_init(|| {
            Arc::new(Kafka::from_environment().unwrap_or_else(|| Kafka::start(&[])))
        }),
    )
}

/// Waits for the right to run own servers. A test asks once, before it starts the first.
pub fn permit_for_own_servers() -> OwnServersPermit {
    OwnServersPermit::of_weight(1)
}

/// The same for a test that starts several brokers: no other test has own servers meanwhile.
pub fn permit_for_a_cluster() -> OwnServersPermit {
    OwnServersPermit::of_weight(OWN_SERVERS_AT_ONCE)
}

/// Whether the named version can be had on this machine, fetching it when it can. A download that fails is
/// a failure, not an absence.
pub fn has_version(version: &str) -> bool {
    let fetched = Command::new(script("fetch")).arg(version).output().expect("run servers/fetch");
    let is_absent = fetched.status.code() == Some(ABSENT);
    let words = String::from_utf8_lossy(&fetched.stderr);
    assert!(is_absent || fetched.status.success(), "servers/fetch {version}: {words}");
    !is_absent
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Free ports below those that the system hands out: while a killed server is away, none of the many
/// connections that look for it can come to sit on its port.
pub fn lasting_ports<const COUNT: usize>() -> [u16; COUNT] {
    // Bound until all are found, so that no two are the same.
    let listeners = [(); COUNT].map(|()| {
        let mut ports = (0..1_000).map(|_| rand::random_range(23_000..32_000_u16));
        ports.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).expect("a free port")
    });
    listeners.map(|bound| bound.local_addr().expect("a bound socket has an address").port())
}

impl MySql {
    /// Starts a server of the version (`mysql-8.0`, `mysql-5.7`, `mysql-9`) with a fresh data
    /// directory and these `mysqld` arguments beside the script's.
    pub fn start(version: &str, arguments: &[&str]) -> MySql {
        let own = OwnMySql {
            version: version.to_owned(),
            data: watchdog::fresh_directory(version).join("data"),
            arguments: Mutex::new(arguments.iter().map(|&argument| argument.to_owned()).collect()),
            process: Mutex::new(None),
        };
        let login = Login {
            host: "127.0.0.1".to_owned(),
            port: free_port(),
            user: "root".to_owned(),
            password: String::new(),
        };
        let server = MySql { login, own: Some(own) };
        server.start_again();
        server.create_relay_user();
        server
    }

    fn from_environment() -> Option<MySql> {
        let address = env::var("BINLOG_RELAY_TEST_MYSQL").ok()?;
        let (host, port) = address.rsplit_once(':').expect("BINLOG_RELAY_TEST_MYSQL is host:port");
        let login = Login {
            host: host.to_owned(),
            port: port.parse().expect("BINLOG_RELAY_TEST_MYSQL ends with a port"),
            user: env::var("BINLOG_RELAY_TEST_MYSQL_USER").unwrap_or_else(|_| "root".to_owned()),
            password: env::var("BINLOG_RELAY_TEST_MYSQL_PASSWORD").unwrap_or_default(),
        };
        let server = MySql { login, own: None };
        server.create_relay_user();
        Some(server)
    }

    pub fn login(&self) -> &Login {
        &self.login
    }

    pub fn connect(&self) -> Sql {
        Sql::connect(&self.login)
    }

    #[allow(dead_code, reason = "no test asks, but examples/bench does")]
    pub fn pid(&self) -> u32 {
        locked(&self.own().process).as_ref().expect("the server runs").pid()
    }

    /// Stops the server as its service manager would.
    pub fn stop(&self) {
        let mut process = locked(&self.own().process);
        let running = process.as_mut().expect("the server runs");
        running.signal("TERM");
        running.wait_for_exit(STOP_WITHIN);
        *process = None;
    }

    /// Ends the server with kill -9.
    pub fn kill(&self) {
        *locked(&self.own().process) = None;
    }

    /// The disk is full from this size of a file on; the server runs on until it notices.
    pub fn fill_disk(&self, bytes: u64) {
        locked(&self.own().process).as_ref().expect("the server runs").limit_file_size(bytes);
    }

    /// Waits until the server has ended by itself.
    pub fn wait_for_end(&self) {
        let mut process = locked(&self.own().process);
        process.as_mut().expect("the server ran").wait_for_exit(STOP_WITHIN);
        *process = None;
    }

    /// A further `mysqld` argument from the next start on.
    pub fn add_argument(&self, argument: &str) {
        locked(&self.own().arguments).push(argument.to_owned());
    }

    /// Restarts the server with another `server_uuid`, as a restored copy has.
    pub fn restart_with_another_uuid(&self) {
        self.stop();
        fs::remove_file(self.own().data.join("auto.cnf")).expect("a server keeps its uuid there");
        self.start_again();
    }

    /// A file in the data directory: of the binlog, to be damaged while the server is stopped, or of the
    /// certificates that the server made.
    pub fn data_path(&self, file: &str) -> PathBuf {
        self.own().data.join(file)
    }

    /// Starts a stopped server on its port and data again and waits until it answers.
    pub fn start_again(&self) {
        let own = self.own();
        let log = own.data.with_extension("log");
        let mut command = Command::new(script("mysql"));
        command.arg(&own.version).arg(&own.data).arg(self.login.port.to_string());
        command.args(locked(&own.arguments).iter());
        let mut process = Process::start(&own.version, &mut command, log)
            .with_own_log(own.data.join("error.log"));
        let deadline = Instant::now() + START_WITHIN;
        while let Err(error) = Sql::try_connect(&self.login) {
            assert!(!process.has_ended(), "{} ended\n{}", own.version, process.log_tail());
            assert!(
                Instant::now() < deadline,
                "{} does not answer: {error}\n{}",
                own.version,
                process.log_tail()
            );
            thread::sleep(Duration::from_millis(50));
        }
        *locked(&own.process) = Some(process);
    }

    fn own(&self) -> &OwnMySql {
        self.own.as_ref().expect("this test has a server of its own")
    }

    fn create_relay_user(&self) {
        let mut sql = self.connect();
        let password = RELAY_PASSWORD.replace('\'', "''");
        sql.run(format!("CREATE USER IF NOT EXISTS '{RELAY_USER}'@'%' IDENTIFIED BY '{password}'"));
        sql.run(format!(
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{RELAY_USER}'@'%'"
        ));
    }
}

impl Kafka {
    /// Starts a broker with a fresh data directory and these `key=value` properties.
    pub fn start(properties: &[&str]) -> Kafka {
        Kafka::start_on(free_port(), properties)
    }

    /// Starts a broker that is reached through a proxy only.
    pub fn start_behind_proxy() -> (Proxy, Kafka) {
        let port = free_port();
        let proxy = Proxy::to(&format!("127.0.0.1:{port}"));
        let advertised = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{}", proxy.port());
        let kafka = Kafka::start_on(port, &[&advertised]);
        (proxy, kafka)
    }

    /// Starts a broker that a relay reaches through a proxy, and everybody else directly. The address is the
    /// relay's.
    pub fn start_beside_proxy() -> (Proxy, Kafka, String) {
        Kafka::start_beside(&[], |upstream| {
            let proxy = Proxy::to(upstream);
            let port = proxy.port();
            (proxy, port)
        })
    }

    /// The same with a proxy that can show topics shorter than they are.
    pub fn start_beside_lagging_proxy() -> (LaggingProxy, Kafka, String) {
        Kafka::start_beside(&[], |upstream| {
            let proxy = LaggingProxy::to(upstream);
            let port = proxy.port();
            (proxy, port)
        })
    }

    /// The same with a proxy that can hold a request or its answer.
    pub fn start_beside_holding_proxy() -> (HoldingProxy, Kafka, String) {
        Kafka::start_beside(&[], |upstream| {
            let proxy = HoldingProxy::to(upstream);
            let port = proxy.port();
            (proxy, port)
        })
    }

    /// The same with a proxy that refuses Produce requests, on a broker with these properties.
    pub fn start_beside_refusing_proxy(
        faults: &Arc<Faults>,
        properties: &[&str],
    ) -> (Kafka, String) {
        let stand_before = |upstream: &str| ((), faults.stand_before(upstream));
        let ((), kafka, address) = Kafka::start_beside(properties, stand_before);
        (kafka, address)
    }

    /// Starts a broker that is reached through links with these delays, and without any as well. The addresses are
    /// in the order of the delays.
    pub fn start_beside_links(properties: &[&str], delays: &[Delay]) -> (Kafka, Vec<String>) {
        let fronted: Vec<_> = delays.iter().copied().map(Fronted::by_link).collect();
        let kafka = Kafka::start_fronted(properties, &fronted);
        (kafka, fronted.into_iter().map(|front| front.address).collect())
    }

    /// The same with one link, of [`Delay::FAR`].
    pub fn start_far() -> (Arc<Kafka>, Distant) {
        let delay = Delay::FAR;
        let (kafka, addresses) = Kafka::start_beside_links(&[], &[delay]);
        (Arc::new(kafka), Distant { bootstrap: addresses.join(","), delay })
    }

    fn start_beside<P>(
        properties: &[&str],
        proxy_to: impl Fn(&str) -> (P, u16),
    ) -> (P, Kafka, String) {
        let proxied = free_port();
        let (proxy, proxy_port) = proxy_to(&format!("127.0.0.1:{proxied}"));
        let fronted = Fronted::by_proxy(proxied, proxy_port);
        let kafka = Kafka::start_fronted(properties, std::slice::from_ref(&fronted));
        (proxy, kafka, fronted.address)
    }

    fn start_fronted(properties: &[&str], fronted: &[Fronted]) -> Kafka {
        let port = free_port();
        let own = properties_beside(port, fronted);
        let own = own.iter().map(String::as_str);
        let properties: Vec<&str> = own.chain(properties.iter().copied()).collect();
        Kafka::start_on(port, &properties)
    }

    /// Starts a second broker of this one's cluster.
    pub fn join(&self) -> Kafka {
        let own = self.own();
        let read = |name: &str| fs::read_to_string(own.data.join(name)).expect("the broker runs");
        let (controller, meta) = (read("controller-port"), read("log/meta.properties"));
        let cluster = meta.lines().find(|line| line.starts_with("cluster.id=")).expect("its id");
        let data = watchdog::fresh_directory("kafka").join("data");
        // As the script formats a first broker.
        fs::create_dir_all(data.join("log")).expect("create the log's directory");
        fs::write(data.join("log/meta.properties"), format!("version=1\n{cluster}\nnode.id=2\n"))
            .expect("write the broker's identity");
        let port = free_port();
        let properties = [
            "process.roles=broker".to_owned(),
            "node.id=2".to_owned(),
            format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
            format!("controller.quorum.voters=1@127.0.0.1:{}", controller.trim()),
        ];
        Kafka::start_in(data, port, &properties.each_ref().map(String::as_str))
    }

    /// Brokers that somebody else starts and stops.
    pub fn at(bootstrap: String) -> Kafka {
        Kafka { bootstrap, own: None }
    }

    fn start_on(port: u16, properties: &[&str]) -> Kafka {
        Kafka::start_in(watchdog::fresh_directory("kafka").join("data"), port, properties)
    }

    /// Starts a broker on what is in the directory already.
    pub fn start_in(data: PathBuf, port: u16, properties: &[&str]) -> Kafka {
        let broker = Kafka {
            bootstrap: format!("127.0.0.1:{port}"),
            own: Some(OwnKafka {
                port,
                data,
                properties: broker_properties(properties),
                process: Mutex::new(None),
            }),
        };
        broker.start_again();
        broker
    }

    fn from_environment() -> Option<Kafka> {
        env::var("BINLOG_RELAY_TEST_KAFKA").ok().map(Kafka::at)
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    #[allow(dead_code, reason = "no test asks, but examples/bench does")]
    pub fn pid(&self) -> u32 {
        locked(&self.own().process).as_ref().expect("the broker runs").pid()
    }

    /// Stops the broker as its service manager would.
    pub fn stop(&self) {
        let mut process = locked(&self.own().process);
        let running = process.as_mut().expect("the broker runs");
        running.signal("TERM");
        running.wait_for_exit(STOP_WITHIN);
        *process = None;
    }

    /// Ends the broker with kill -9.
    pub fn kill(&self) {
        *locked(&self.own().process) = None;
    }

    /// The disk is full from this size of a file on; the broker runs on until it notices.
    pub fn fill_disk(&self, bytes: u64) {
        locked(&self.own().process).as_ref().expect("the broker runs").limit_file_size(bytes);
    }

    /// Waits until the broker has ended by itself.
    pub fn wait_for_end(&self) {
        let mut process = locked(&self.own().process);
        process.as_mut().expect("the broker ran").wait_for_exit(STOP_WITHIN);
        *process = None;
    }

    /// Starts a stopped broker on its port and data again and waits until it answers.
    pub fn start_again(&self) {
        let own = self.own();
        let mut command = Command::new(script("kafka"));
        command.arg(&own.data).arg(own.port.to_string()).args(&own.properties);
        let mut process = Process::start("kafka", &mut command, own.data.with_extension("log"))
            .with_own_log(own.data.join("kafka.log"));
        let deadline = Instant::now() + START_WITHIN;
        while !self.answers() {
            assert!(!process.has_ended(), "kafka ended\n{}", process.log_tail());
            assert!(Instant::now() < deadline, "kafka does not answer\n{}", process.log_tail());
        }
        *locked(&own.process) = Some(process);
    }

    /// A broker that is starting answers for a while with a list of brokers that lacks itself.
    fn answers(&self) -> bool {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", "answers")
            .set("log_level", "0")
            .create()
            .expect("create a Kafka client");
        client
            .fetch_metadata(None, Duration::from_secs(2))
            .is_ok_and(|metadata| !metadata.brokers().is_empty())
    }

    fn own(&self) -> &OwnKafka {
        self.own.as_ref().expect("this test has a broker of its own")
    }
}

/// Topics are never made by accident, and an abandoned transaction ends soon after its timeout.
fn broker_properties(extra: &[&str]) -> Vec<String> {
    let ours = [
        "auto.create.topics.enable=false",
        "num.partitions=3",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
    ];
    ours.iter().chain(extra).map(|&property| property.to_owned()).collect()
}

fn script(name: &str) -> PathBuf {
    repository().join("servers").join(name)
}

fn own_servers() -> &'static (Mutex<usize>, Condvar) {
    static OWN_SERVERS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());
    &OWN_SERVERS
}

/// A test that failed while it held a lock must not fail the others.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl OwnServersPermit {
    fn of_weight(weight: usize) -> OwnServersPermit {
        let (running, changed) = own_servers();
        let mut count = changed
            .wait_while(locked(running), |count| *count + weight > OWN_SERVERS_AT_ONCE)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *count += weight;
        OwnServersPermit { weight }
    }
}

impl Drop for OwnServersPermit {
    fn drop(&mut self) {
        let (running, changed) = own_servers();
        *locked(running) -= self.weight;
        // Those that wait want different amounts.
        changed.notify_all();
    }
}
