//! Properties of librdkafka: how they may be written, and which are refused.

use super::*;

#[test]
fn properties_are_named_with_dots_however_they_are_written() {
    let text = format!(
        "{MINIMAL}[kafka.properties]\n\"client.rack\" = \"${{NAME}}\"\nstatistics.interval.ms = 5\n\
         socket.keepalive.enable = true\n[kafka.properties.socket.send]\nbuffer.bytes = 0x10\n"
    );
    let revealed = |config: Config| -> Vec<(String, String)> {
        config
            .kafka
            .connection
            .properties
            .into_iter()
            .map(|(name, value)| (name, value.reveal().unwrap()))
            .collect()
    };
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    assert_eq!(
        revealed(parse(&text, &[]).unwrap()),
        [
            ("client.rack", "value-of-NAME"),
            ("socket.keepalive.enable", "true"),
            ("socket.send.buffer.bytes", "16"),
            ("statistics.interval.ms", "5"),
        ]
        .map(pair)
    );
    let overrides =
        ["kafka.properties.client.rack=1_0", "kafka.properties.\"statistics.interval.ms\"=7"];
    assert_eq!(
        revealed(parse(&text, &overrides).unwrap())
            .into_iter()
            .map(|(_, value)| value)
            .collect::<Vec<_>>(),
        ["1_0", "true", "16", "7"]
    );
    assert!(
        message(parse(&format!("{text}[kafka.properties.\"socket\".\"send\"]\n\"f\" = 1\n"), &[]))
            .contains("not TOML")
    );
    assert!(
        message(parse(&format!("{text}[kafka.properties.client]\nrack = 1\n"), &[]))
            .contains("is written twice")
    );
    assert!(
        message(with(&["kafka.properties.a=[1]"]))
            .contains("is a list; expected text in quotes, a number")
    );
}

#[test]
fn a_property_that_librdkafka_refuses_is_named_without_its_value() {
    for (name, value) in [("sasl.pasword", "hunter2"), ("socket.timeout.ms", "hunter2")] {
        let message = message(with(&[&format!("kafka.properties.{name}={value}")]));
        assert!(message.contains(name) && !message.contains(value), "{message}");
    }
}

#[test]
fn properties_that_the_guarantees_rest_on_are_refused_under_every_name() {
    for name in super::super::properties::FORBIDDEN.map(|(name, _)| name.replace('*', "")) {
        for name in [name.clone(), format!("topic.{name}")] {
            let given = format!("kafka.properties.\"{name}\"=all");
            let message = message(with(&[&given]));
            let words = ": this property is not yours to set: ";
            assert!(message.contains(&name) && message.contains(words), "{message}");
        }
    }
    for name in ["max.in.flight.requests.per.connection", "test.mock.num.brokers"] {
        let message = message(with_line("[kafka]", &format!("properties.{name} = 1")));
        let words = format!("relay.toml:6: kafka.properties.{name}: this property is not yours");
        assert!(message.starts_with(&words), "{message}");
    }
    for name in ["linger.ms", "topic.metadata.refresh.interval.ms", "compression.level"] {
        assert!(with(&[&format!("kafka.properties.\"{name}\"=5")]).is_ok(), "{name}");
    }
}

#[test]
fn a_login_by_tokens_says_where_they_come_from() {
    let with = |config: &[&str]| {
        let login = "kafka.properties.sasl.mechanism=OAUTHBEARER";
        with(&[&[login][..], config].concat())
    };
    for none in [&[][..], &["kafka.properties.sasl.oauthbearer.config=principal=relay"]] {
        let message = message(with(none));
        assert!(message.contains("nothing says where the token comes from"), "{message}");
    }
    let file = "kafka.properties.sasl.oauthbearer.config=token_file=/run/token";
    let unsecured = "kafka.properties.\"enable.sasl.oauthbearer.unsecure.jwt\"=true";
    assert!(with(&[file]).is_ok() && with(&[unsecured]).is_ok());
}

#[test]
fn records_do_not_linger_for_longer_than_a_transaction_lives() {
    for name in ["linger.ms", "queue.buffering.max.ms"] {
        let with = |ms| {
            with(&["kafka.transaction_timeout=2s", &format!("kafka.properties.\"{name}\"={ms}")])
        };
        assert!(with("1999").is_ok());
        let message = message(with("2000"));
        assert!(message.contains("no record would leave before transaction_timeout"), "{message}");
    }
}
