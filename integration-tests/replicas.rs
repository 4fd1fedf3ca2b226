//! A server that replicates from another one: it is read from only where its binlog has what it replicates, and
//! after a failover it may still have to apply what was relayed from its source.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::consumer::Record;
use harness::relay::{Relay, RelaySequence, SOON};
use harness::scene::Scene;
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::sql::Sql;
use harness::workload::PlainWriter;

/// A source and a replica of it, which has a binlog of its own.
struct Pair {
    source: Arc<MySql>,
    replica: Arc<MySql>,
    version: &'static str,
}

impl Pair {
    fn start(version: &'static str, replica_arguments: &[&str]) -> Pair {
        let source = Arc::new(MySql::start(version, &[]));
        let arguments = [&["--server-id=2"], replica_arguments].concat();
        let replica = Arc::new(MySql::start(version, &arguments));
        for server in [&source, &replica] {
            server.connect().run("RESET MASTER");
        }
        let pair = Pair { source, replica, version };
        let port = pair.source.login().port;
        let mut sql = pair.replica.connect();
        let follow = if pair.is_old() {
            format!(
                "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='root', \
                 MASTER_AUTO_POSITION=1"
            )
        } else {
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='root', \
                 SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1"
            )
        };
        sql.run(follow);
        sql.run(pair.say("START REPLICA"));
        pair
    }

    fn is_old(&self) -> bool {
        self.version == "mysql-5.7"
    }

    /// A statement as this version spells it.
    fn say(&self, statement: &str) -> String {
        if self.is_old() { statement.replace("REPLICA", "SLAVE") } else { statement.to_owned() }
    }

    /// Waits until the replica has applied all that the source has.
    fn wait_until_applied(&self) {
        let all = self.source.connect().executed_gtids();
        let waited: i32 = self
            .replica
            .connect()
            .value(format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{all}', {})", SOON.as_secs()));
        assert_eq!(waited, 0, "the replica does not apply {all}");
    }

    fn replica_address(&self) -> String {
        format!("127.0.0.1:{}", self.replica.login().port)
    }
}

#[test]
fn a_replica_that_does_not_log_what_it_replicates_is_refused_and_one_that_does_is_relayed_from() {
    let _permit = permit_for_own_servers();
    // ON is the default from 8.0 on, and OFF that of 5.7.
    for (version, off, variable) in [
        ("mysql-5.7", &[][..], "log_slave_updates"),
        ("mysql-8.0", &["--log-replica-updates=OFF"][..], "log_replica_updates"),
    ] {
        let pair = Pair::start(version, off);
        let scene = Scene::on(Arc::clone(&pair.source), shared_kafka(), "of_a_replica");
        let mut writer = PlainWriter::on(&scene);
        writer.write(2);
        pair.wait_until_applied();
        let mut setup = scene.relay_setup();
        setup.mysql_address = pair.replica_address();
        setup.start_from = Some("earliest".to_owned());
        let source = format!("127.0.0.1:{}", pair.source.login().port);
        let error = format!(
            "MySQL {}: the server replicates from {source}, and with {variable}=OFF its binlog lacks what it \
             replicates",
            setup.mysql_address
        );
        let hint = format!(
            "point [mysql] hosts at {source}, or start mysqld with --{}=ON; a server that is the primary now \
             forgets its source by {}",
            variable.replace('_', "-"),
            pair.say("STOP REPLICA and RESET REPLICA ALL")
        );
        setup.start().halts_saying(&error, &hint);
        let check = setup.answer(&["check"]);
        let report = String::from_utf8_lossy(&check.stdout).into_owned();
        let is_line = |line: &&str| line.starts_with("FAIL  mysql.replica_updates");
        let line = report.lines().find(is_line).unwrap_or_else(|| panic!("no such line\n{report}"));
        assert!(line.ends_with(&error), "{line}");
        assert_eq!(check.status.code(), Some(1));
        assert_eq!(scene.records().len(), 0);
        if pair.is_old() {
            // Promoted: its own writes are in its binlog.
            let mut sql = pair.replica.connect();
            sql.run("STOP SLAVE");
            sql.run("RESET SLAVE ALL");
            sql.run(format!("USE {}", scene.name));
            writer.sql = sql;
        } else {
            pair.replica.add_argument("--log-replica-updates=ON");
            pair.replica.stop();
            pair.replica.start_again();
        }
        let relay = setup.start();
        writer.write(3);
        // What came before the restart is in no binlog of the replica.
        assert_once_each(&scene.wait_for_records(&relay, 3), 3, &relay);
    }
}

#[test]
fn a_failover_to_a_replica_that_still_applies_is_waited_for() {
    let _permit = permit_for_own_servers();
    let pair = Pair::start("mysql-8.0", &[]);
    let scene = Scene::on(Arc::clone(&pair.source), shared_kafka(), "failover");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.setup_with_http();
    let mut relay = setup.start();
    writer.write(3);
    pair.wait_until_applied();
    let mut replica = pair.replica.connect();
    replica.run("STOP REPLICA SQL_THREAD");
    writer.write(4);
    scene.wait_for_records(&relay, 7);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    wait_until_received(&pair, &mut replica);
    // The source is gone; the replica has all of it, and has not applied it.
    replica.run("STOP REPLICA IO_THREAD");
    let mut moved = setup.clone();
    moved.mysql_address = pair.replica_address();
    let mut relay = moved.start();
    let words = "count as relayed, and this server has not applied them yet";
    relay.wait_for_log(words);
    let http = relay.http();
    http.wait_until("/readyz says what is waited for", |http| {
        http.get("/readyz").body.contains(words)
    });
    thread::sleep(Duration::from_secs(1));
    assert!(!relay.has_ended(), "{}", relay.log_tail());
    replica.run("START REPLICA SQL_THREAD");
    pair.wait_until_applied();
    replica.run("STOP REPLICA");
    replica.run("RESET REPLICA ALL");
    replica.run(format!("USE {}", scene.name));
    writer.sql = replica;
    writer.write(3);
    assert_once_each(&scene.wait_for_records(&relay, 10), 10, &relay);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    // What can never come halts at once: nobody sends it.
    let mut ahead = scene.checkpoint().expect("a checkpoint");
    let uuid = pair.source.connect().value::<String>("SELECT @@server_uuid");
    ahead["gtidSet"] = format!("{uuid}:1-100000").into();
    ahead["serverUuid"] = uuid.into();
    scene.store_checkpoint(&ahead);
    moved.start().halts_saying(
        "MySQL …: cannot begin at the checkpoint, …: the transactions … count as relayed, but this server has not \
         executed them",
        "the server was restored, reset or replaced: …",
    );
}

fn wait_until_received(pair: &Pair, replica: &mut Sql) {
    let all = pair.source.connect().executed_gtids();
    for _ in 0..600 {
        let rows: Vec<mysql_async::Row> = replica.query("SHOW REPLICA STATUS");
        let received: String = rows[0].get("Retrieved_Gtid_Set").expect("it says what it received");
        let received = received.replace('\n', "");
        let is_there: i32 = replica.value(format!(
            "SELECT GTID_SUBSET('{all}', CONCAT('{received}', ',', @@GLOBAL.gtid_executed))"
        ));
        if is_there == 1 {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the replica does not receive {all}");
}

/// So many rows came, each once, and their numbers have no gap.
fn assert_once_each(records: &[Record], count: usize, relay: &Relay) {
    let numbers: HashSet<u64> =
        records.iter().map(|record| RelaySequence::of(record).sequence).collect();
    let values: HashSet<String> = records.iter().map(id_of).collect();
    assert_eq!(
        (records.len(), numbers.len(), values.len()),
        (count, count, count),
        "{}",
        relay.log_tail()
    );
}

fn id_of(record: &Record) -> String {
    let value: serde_json::Value = serde_json::from_str(&record.value_text()).expect("JSON");
    value["id"].as_str().expect("an id").to_owned()
}
