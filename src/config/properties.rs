//! `[kafka.properties]`: what a user may say to librdkafka, and what the relay's guarantees rest on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::Error;
use super::read::{Field, Section};
use crate::secret::Secret;
use crate::sink::kafka::connection::token::TOKEN_FILE;

/// Properties that the guarantees rest on, with librdkafka's other names for them, and why each is
/// not open. What ends with `*` is matched by its beginning.
/// <https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md>
pub(super) const FORBIDDEN: [(&str, &str); 32] = [
    ("transactional.id", "it follows from name; another one would not fence the relay it replaces"),
    ("enable.idempotence", "without it a retry can repeat or reorder records"),
    ("acks", "a record is relayed only when all in-sync replicas have it"),
    ("request.required.acks", "a record is relayed only when all in-sync replicas have it"),
    ("partitioner", "a key must go where every Java client looks for it"),
    ("isolation.level", "a checkpoint that was not committed must not be read"),
    ("message.timeout.ms", "a record that times out would be a gap"),
    ("delivery.timeout.ms", "a record that times out would be a gap"),
    ("enable.gapless.guarantee", "the relay does this by itself"),
    ("group.id", "the relay reads its checkpoint without a consumer group"),
    ("transaction.timeout.ms", "it is kafka.transaction_timeout"),
    ("bootstrap.servers", "it is kafka.bootstrap_servers"),
    ("metadata.broker.list", "it is kafka.bootstrap_servers"),
    ("client.id", "it follows from name"),
    (
        "allow.auto.create.topics",
        "to look at a topic must not create it; it is kafka.create_topics",
    ),
    ("auto.offset.reset", "a checkpoint that is not there must not read as another one"),
    ("topic.auto.offset.reset", "a checkpoint that is not there must not read as another one"),
    ("enable.auto.commit", "the relay reads its checkpoint without a consumer group"),
    ("auto.commit.enable", "the relay reads its checkpoint without a consumer group"),
    ("max.in.flight*", "more requests in flight could reorder records"),
    ("queuing.strategy", "records must leave in their order"),
    ("delivery.report.only.error", "the relay waits for every acknowledgement"),
    ("api.version.request", "headers and transactions need what the brokers say that they can"),
    ("api.version.fallback.ms", "headers and transactions need what the brokers say that they can"),
    ("broker.version.fallback", "headers and transactions need what the brokers say that they can"),
    ("topic.blacklist", "a topic that is hidden could not be written to"),
    ("plugin.library.paths", "a plugin could change what is sent"),
    ("interceptors", "a plugin could change what is sent"),
    ("enabled_events", "the relay reads the events of librdkafka"),
    ("enable_sasl_queue", "the relay reads the events of librdkafka"),
    ("internal.termination.signal", "the signal would stop the relay"),
    ("test.*", "it puts a mock in the place of the brokers"),
];

/// librdkafka's two names for how long it gathers records before it sends them.
const LINGER: [&str; 2] = ["linger.ms", "queue.buffering.max.ms"];

/// librdkafka's two names for how to log in.
const MECHANISM: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];

/// librdkafka takes a property of topics under its name with this before it as well.
const TOPIC_PREFIX: &str = "topic.";

pub(super) fn build(
    properties: &Section<'_>,
    transaction_timeout: Duration,
) -> Option<BTreeMap<String, Secret>> {
    let built: Vec<_> = properties
        .entries()
        .map(|(name, field)| properties.keep(property(name, &field, transaction_timeout)))
        .collect();
    let built = built.into_iter().collect::<Option<_>>()?;
    properties.keep(ensure_token_source(properties, &built))?;
    Some(built)
}

fn property(
    name: &str,
    field: &Field<'_>,
    transaction_timeout: Duration,
) -> Result<(String, Secret), Error> {
    if let Some(reason) = why_forbidden(name) {
        let problem = format!("this property is not yours to set: {reason}");
        return Err(field.rule(problem, format!("take {name} out of [kafka.properties]")));
    }
    let value = field.secret_or_scalar()?;
    if LINGER.contains(&name) {
        ensure_short_linger(field, &value, transaction_timeout)?;
    }
    Ok((name.to_owned(), value))
}

/// librdkafka would ask for a token again and again, and no broker be reached.
fn ensure_token_source(
    properties: &Section<'_>,
    built: &BTreeMap<String, Secret>,
) -> Result<(), Error> {
    let value = |name: &str| built.get(name).and_then(|value| value.reveal().ok());
    let is_oauthbearer = |(name, field): &(&str, Field<'_>)| {
        MECHANISM.contains(name)
            && field.text().is_ok_and(|text| text.eq_ignore_ascii_case("OAUTHBEARER"))
    };
    let Some((_, field)) = properties.entries().find(is_oauthbearer) else { return Ok(()) };
    let config = value("sasl.oauthbearer.config").unwrap_or_default();
    let is_unsecured = value("enable.sasl.oauthbearer.unsecure.jwt").as_deref() == Some("true");
    if is_unsecured || config.trim().starts_with(TOKEN_FILE) {
        Ok(())
    } else {
        Err(field.rule(
            "nothing says where the token comes from (OIDC is not built in)",
            "set \"sasl.oauthbearer.config\" = \"token_file=/run/secrets/kafka-token\", a file with a JSON Web Token that \
             is renewed there",
        ))
    }
}

fn why_forbidden(name: &str) -> Option<&'static str> {
    let is_it = |name: &str, forbidden: &str| match forbidden.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == forbidden,
    };
    let of_topics = name.strip_prefix(TOPIC_PREFIX).unwrap_or(name);
    let found = FORBIDDEN
        .iter()
        .find(|(forbidden, _)| is_it(name, forbidden) || is_it(of_topics, forbidden));
    found.map(|(_, reason)| *reason)
}

/// What is no number is refused by librdkafka.
fn ensure_short_linger(
    field: &Field<'_>,
    value: &Secret,
    transaction_timeout: Duration,
) -> Result<(), Error> {
    let millis = value.reveal().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let timeout_millis = transaction_timeout.as_secs_f64() * 1_000.0;
    if millis.is_some_and(|millis| millis >= timeout_millis) {
        Err(field.rule(
            "no record would leave before transaction_timeout is over",
            "set it to a few milliseconds, or leave it out",
        ))
    } else {
        Ok(())
    }
}
