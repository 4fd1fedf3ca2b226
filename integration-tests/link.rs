//! The link that benchmarks and tests put between the relay and a server: it delays, and does nothing else. What
//! comes too early fails; nothing is claimed about what comes late, as the machine may be busy.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use harness::link::{Delay, Distant, Link};
use harness::relay::SOON;
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, permit_for_own_servers, shared_mysql};
use harness::workload::PlainWriter;

const ONE_WAY: Duration = Duration::from_millis(20);

/// A client, and the server's side of its connection.
fn connected(delay: Duration) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    let upstream = listener.local_addr().expect("a bound socket has an address").to_string();
    let link = Link::to(&upstream, Delay::of(delay));
    let client = TcpStream::connect(link.address()).expect("connect through the link");
    let (server, _) = listener.accept().expect("the link connects");
    (client, server)
}

fn read_all(mut from: TcpStream) -> JoinHandle<(Vec<u8>, Instant)> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("read to the end");
        (bytes, Instant::now())
    })
}

#[test]
fn a_byte_takes_the_delay_each_way_and_the_first_one_the_handshake_as_well() {
    let begun = Instant::now();
    let (mut client, mut server) = connected(ONE_WAY);
    client.write_all(b"?").expect("write");
    let mut byte = [0];
    server.read_exact(&mut byte).expect("the byte comes");
    assert!(begun.elapsed() >= 3 * ONE_WAY, "{:?}", begun.elapsed());
    for _ in 0..3 {
        let left = Instant::now();
        server.write_all(b"!").expect("write");
        client.read_exact(&mut byte).expect("the byte comes");
        assert!(left.elapsed() >= ONE_WAY, "{:?}", left.elapsed());
        let left = Instant::now();
        client.write_all(b"?").expect("write");
        server.read_exact(&mut byte).expect("the byte comes");
        assert!(left.elapsed() >= ONE_WAY, "{:?}", left.elapsed());
    }
}

#[test]
fn a_server_that_speaks_first_is_heard_after_two_round_trips() {
    let begun = Instant::now();
    let (mut client, mut server) = connected(ONE_WAY);
    server.write_all(b"!").expect("write");
    client.read_exact(&mut [0]).expect("the byte comes");
    assert!(begun.elapsed() >= 4 * ONE_WAY, "{:?}", begun.elapsed());
}

#[test]
fn nothing_is_lost_or_reordered_both_ways_at_once() {
    let (client, server) = connected(Duration::from_millis(3));
    // No part of it is like another, and it is more than the sockets hold.
    let sent: Vec<u8> = (0..4_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let readings = [&client, &server].map(|stream| read_all(stream.try_clone().expect("clone")));
    thread::scope(|scope| {
        for mut stream in [&client, &server] {
            let sent = &sent;
            scope.spawn(move || {
                stream.write_all(sent).expect("write");
                stream.shutdown(Shutdown::Write).expect("end the stream");
            });
        }
    });
    for reading in readings {
        let (came, _) = reading.join().expect("it is read");
        assert!(came == sent, "{} of {} bytes came", came.len(), sent.len());
    }
}

/// One after the other they would take 100 delays.
#[test]
fn chunks_are_in_flight_together() {
    let (mut client, server) = connected(Duration::from_millis(100));
    let reading = read_all(server);
    let begun = Instant::now();
    for _ in 0..100 {
        client.write_all(b"a chunk").expect("write");
        // Nothing waits for them to come.
        thread::sleep(Duration::from_millis(1));
    }
    client.shutdown(Shutdown::Write).expect("end the stream");
    let (came, at) = reading.join().expect("it is read");
    assert_eq!(came, b"a chunk".repeat(100));
    let took = at - begun;
    assert!(took < Duration::from_secs(5), "{took:?}, though 100 delays are 10 s");
}

#[test]
fn the_end_of_one_side_reaches_the_other() {
    let (client, mut server) = connected(ONE_WAY);
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the end comes"), 0);
    let (mut client, server) = connected(ONE_WAY);
    drop(server);
    assert_eq!(client.read(&mut [0]).expect("the end comes"), 0);
}

#[test]
fn a_relay_behind_links_that_is_killed_in_between_relays_every_row_once() {
    let _permit = permit_for_own_servers();
    let delay = Delay::of(Duration::from_millis(5));
    let (kafka, addresses) = Kafka::start_beside_links(&[], &[Delay::of(ONE_WAY), delay]);
    assert_brokers_are_behind(&addresses[0], ONE_WAY);
    assert_brokers_are_behind(&addresses[1], delay.one_way());
    let (kafka, brokers) = (Arc::new(kafka), Distant { bootstrap: addresses[1].clone(), delay });
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on(shared_mysql(), Arc::clone(&kafka), "linked").with(delivery);
        let setup = scene.setup_behind_link(&brokers);
        scene.create_topic("account");
        let (mut writer, mut inbox) = (PlainWriter::on(&scene), scene.inbox());
        for written in [0, 10] {
            let mut relay = setup.start();
            writer.write(10);
            relay.wait_until_came(&mut inbox, written + 1, SOON);
            relay.kill();
        }
        writer.write(10);
        let mut relay = setup.start();
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    }
}

/// A client that begins there finds brokers only there.
fn assert_brokers_are_behind(address: &str, one_way: Duration) {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "asks")
        .create()
        .expect("create a Kafka client");
    let metadata = client.fetch_metadata(None, SOON).expect("the broker answers");
    let found: Vec<String> = (metadata.brokers().iter())
        .map(|broker| format!("{}:{}", broker.host(), broker.port()))
        .collect();
    assert_eq!(found, [address]);
    let asked = Instant::now();
    client.fetch_metadata(None, SOON).expect("the broker answers");
    assert!(asked.elapsed() >= 2 * one_way, "{:?}", asked.elapsed());
}
