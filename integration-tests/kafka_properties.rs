//! What `[kafka.properties]` may say: it works, it is refused, or the relay ends with words.

use harness::relay::{SOON, said};
use harness::scene::{Delivery, Scene};
use harness::workload::PlainWriter;

/// Properties that change how, and not what is sent. Those of a line are set together.
const WORK: &[&[(&str, &str)]] = &[
    &[
        ("statistics.interval.ms", "100"),
        ("debug", "broker,topic,msg"),
        ("linger.ms", "5"),
        ("batch.num.messages", "1"),
        ("compression.codec", "zstd"),
        ("compression.level", "3"),
        ("message.max.bytes", "2000000"),
        ("message.copy.max.bytes", "0"),
        ("socket.nagle.disable", "true"),
        ("socket.keepalive.enable", "true"),
        ("socket.max.fails", "5"),
        ("socket.timeout.ms", "20000"),
        ("client.rack", "somewhere"),
        ("enable.metrics.push", "false"),
        ("log.connection.close", "false"),
        ("broker.address.family", "v4"),
        ("topic.metadata.refresh.interval.ms", "-1"),
        ("topic.metadata.refresh.sparse", "false"),
        ("metadata.recovery.strategy", "none"),
        ("check.crcs", "false"),
        ("produce.offset.report", "false"),
    ],
    &[
        ("topic.request.timeout.ms", "5000"),
        ("batch.size", "1"),
        ("compression.type", "none"),
        ("queue.buffering.max.messages", "1"),
        ("queue.buffering.max.kbytes", "1"),
        ("sticky.partitioning.linger.ms", "900"),
        ("retry.backoff.ms", "1"),
        ("retry.backoff.max.ms", "10"),
        ("connections.max.idle.ms", "1000"),
        ("metadata.max.age.ms", "1000"),
        ("reconnect.backoff.max.ms", "500"),
        ("fetch.max.bytes", "1000000000"),
        ("receive.message.max.bytes", "2000000000"),
        ("fetch.min.bytes", "100000000"),
        ("fetch.message.max.bytes", "1"),
        ("fetch.wait.max.ms", "300000"),
        ("queued.min.messages", "1"),
        ("queued.max.messages.kbytes", "1"),
        ("enable.partition.eof", "false"),
        ("enable.auto.offset.store", "false"),
        ("group.instance.id", "one"),
        ("max.poll.interval.ms", "86400000"),
        ("client.dns.lookup", "resolve_canonical_bootstrap_servers_only"),
        ("enable.random.seed", "false"),
        ("log_level", "0"),
    ],
];

/// Refused before anything is connected to.
const REFUSED: &[(&str, &str)] = &[
    ("delivery.report.only.error", "true"),
    ("topic.acks", "1"),
    ("topic.partitioner", "random"),
    ("queuing.strategy", "lifo"),
    ("test.mock.num.brokers", "3"),
    ("plugin.library.paths", "libnowhere"),
    ("api.version.request", "false"),
    ("broker.version.fallback", "0.9.0"),
    ("linger.ms", "900000"),
    ("sasl.oauthbearer.method", "oidc"),
    ("dr_msg_cb", "1"),
    ("compression.codec", "brotli"),
];

/// Refused by librdkafka when a client is made, which is a halt with its words.
const HALT: &[(&str, &str, &str)] = &[
    ("queue.buffering.backpressure.threshold", "9", "threshold` must be set to 1"),
    ("retries", "0", "`retries` must be set >= 1"),
    ("fetch.max.bytes", "1000", "`fetch.max.bytes` must be >= `message.max.bytes`"),
    ("sasl.mechanism", "GSSAPI", "GSSAPI"),
];

#[test]
fn properties_work_or_are_refused_or_halt_with_words() {
    for (index, properties) in WORK.iter().enumerate() {
        for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
            let scene = Scene::on_shared_servers(&format!("property{index}")).with(delivery);
            let mut setup = scene.relay_setup();
            set(&mut setup.kafka_lines, properties);
            let mut writer = PlainWriter::on(&scene);
            writer.write(3);
            writer.write_together(20);
            let mut relay = setup.start();
            scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
        }
    }
    let scene = Scene::on_shared_servers("property");
    for property in REFUSED {
        let mut setup = scene.relay_setup();
        set(&mut setup.kafka_lines, &[*property]);
        let answer = said(&setup.answer(&["run"]));
        assert_eq!(answer.code, 2, "{property:?}: {answer:?}");
        assert!(answer.error.contains(property.0), "{property:?}: {answer:?}");
    }
    for (name, value, words) in HALT {
        let mut setup = scene.relay_setup();
        let login = ("security.protocol", "SASL_PLAINTEXT");
        let login = (*name == "sasl.mechanism").then_some(login);
        let properties: Vec<_> = login.into_iter().chain([(*name, *value)]).collect();
        set(&mut setup.kafka_lines, &properties);
        let log = setup.start().halts();
        assert!(log.contains(words), "{name}: {log}");
    }
}

fn set(lines: &mut Vec<String>, properties: &[(&str, &str)]) {
    lines.push("[kafka.properties]".to_owned());
    lines.extend(properties.iter().map(|(name, value)| format!("{name:?} = {value:?}")));
}
