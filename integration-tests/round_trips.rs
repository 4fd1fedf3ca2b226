//! What a start costs over a link: every round trip of MySQL is counted, since over a link they are most of its time.
//! Of Kafka, the order is what may not change: nothing is read before all predecessors are fenced.

use std::sync::Arc;

use harness::lagging::Said;
use harness::relay::SOON;
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, permit_for_own_servers, shared_mysql};
use harness::workload::PlainWriter;

// <https://dev.mysql.com/doc/dev/mysql-server/latest/my__command_8h.html>
const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;
const COM_PING: u8 = 14;
const COM_BINLOG_DUMP: u8 = 18;
const COM_REGISTER_SLAVE: u8 = 21;

/// What the server is, its tables, and where its binlogs end; the dump's session, and where it is a replica.
const UNTIL_DUMP: [u8; 6] =
    [COM_QUERY, COM_QUERY, COM_QUERY, COM_QUERY, COM_REGISTER_SLAVE, COM_BINLOG_DUMP];

#[test]
fn a_start_asks_mysql_four_times_before_it_registers_and_dumps() {
    let scene = Scene::on_shared_servers("round_trips");
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    setup.mysql_lines.push("tls = { mode = \"disabled\" }".to_owned());
    let mut writer = PlainWriter::on(&scene);
    writer.write(1);
    // A place that somebody named is looked at more closely.
    let mut relay = setup.start();
    scene.wait_for_records(&relay, 1);
    for (rows, is_clean) in [(2, true), (3, false)] {
        if is_clean {
            assert_eq!(relay.stop(), 0, "{}", relay.log_tail())
        } else {
            relay.kill()
        }
        proxy.take_commands();
        relay = setup.start();
        writer.write(1);
        scene.wait_for_records(&relay, rows);
        let asked = proxy.take_commands();
        let dump = asked.iter().position(|command| *command == COM_BINLOG_DUMP);
        let until_dump = &asked[..=dump.expect("it dumps")];
        // A connection that was quiet for a while is asked whether it is there; those of the relay before this one end.
        let is_counted = |command: &u8| ![COM_PING, COM_QUIT].contains(command);
        let asked: Vec<u8> = until_dump.iter().copied().filter(is_counted).collect();
        assert_eq!(asked, UNTIL_DUMP, "{}", relay.log_tail());
    }
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

/// The clients connect before. What they ask then says nothing of where a partition ends.
#[test]
fn nothing_is_read_before_all_ids_are_initialised() {
    let _permit = permit_for_own_servers();
    let (proxy, kafka, address) = Kafka::start_beside_lagging_proxy();
    let kafka = Arc::new(kafka);
    for (label, delivery) in
        [("fence_first", Delivery::ExactlyOnce), ("fence_first_idempotent", Delivery::Idempotent)]
    {
        let scene = Scene::on(shared_mysql(), Arc::clone(&kafka), label).with(delivery);
        let mut setup = scene.relay_setup();
        setup.kafka_bootstrap.clone_from(&address);
        let mut writer = PlainWriter::on(&scene);
        let mut relay = setup.start();
        for (rows, is_clean) in [(1, true), (2, false), (3, true)] {
            writer.write(1);
            scene.wait_for_records(&relay, rows);
            if is_clean {
                assert_eq!(relay.stop(), 0, "{}", relay.log_tail())
            } else {
                relay.kill()
            }
            let said = proxy.take_said();
            let place = |what: Said| said.iter().position(|it| *it == what);
            let reads =
                [Said::EndAsked, Said::FetchAsked].map(|what| place(what).expect("it reads"));
            let before = &said[..reads[0].min(reads[1])];
            let given = before.iter().filter(|it| **it == Said::ProducerIdGiven).count();
            assert!(given >= 4, "{said:?}\n{}", relay.log_tail());
            let added = place(Said::PartitionAdded).expect("it claims");
            assert!(added > reads[0].max(reads[1]), "{said:?}\n{}", relay.log_tail());
            relay = setup.start();
        }
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    }
}
