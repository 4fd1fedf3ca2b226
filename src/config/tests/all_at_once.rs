//! A configuration with several problems: all of them are told in one run, and none that follows from another one.

use super::*;

const WRONG: &str = r#"nam = "orders"
shutdown_timeout = 10
[mysql]
hosts = []
heartbeat = "${NOBODY}"
tls.cert = "/c.pem"
[kafka]
delivery = "twice"
checkpoint_topic = ".."
[kafka.properties]
acks = 0
"group.id" = "x"
[[outbox]]
table = "shop.outbox"
preset = "outbox"
topic = "{type|lowr|kebap}-{@sequense}"
key = "{a"
headers = { relay-sequence = "x", kind = "{}" }
columns = { paylod = "x", idd = "y" }
where = { state = "new" }
[[outbox]]
table = "orders"
preset = "outbx"
timestamp = "{at|tomorrow}"
[[outbox]]
table = "shop.outbox"
preset = "custom"
value = "json"
json.decimal = "text"
oversize = "claim"
zzz = 1
[http]
listen = "8080"
"#;

const TOLD: [&str; 31] = [
    "relay.toml:1: the key nam is not known / did you mean name?",
    "relay.toml:2: shutdown_timeout is 10; expected a duration",
    "relay.toml:3: mysql.user is missing / for example: user",
    "relay.toml:4: mysql.hosts is an empty list; expected a list",
    "relay.toml:5: mysql.heartbeat: the environment variable NOBODY is not set",
    "relay.toml:6: mysql.tls.cert: it is of no use without key",
    "relay.toml:7: kafka.bootstrap_servers is missing",
    "relay.toml:8: kafka.delivery is \"twice\"; expected one of",
    "relay.toml:9: kafka.checkpoint_topic is \"..\"; expected a name",
    "relay.toml:11: kafka.properties.acks: this property is not yours",
    "relay.toml:12: kafka.properties.group.id: this property is not yours",
    "relay.toml:16: outbox.0.topic: there is no filter \"lowr\"; did you mean lower?",
    "relay.toml:16: outbox.0.topic: there is no filter \"kebap\"; did you mean kebab?",
    "relay.toml:16: outbox.0.topic: there is no {@sequense}; did you mean @sequence?",
    "relay.toml:17: outbox.0.key: { at byte 0 has no }",
    "relay.toml:18: outbox.0.headers.kind: {} at byte 0 names no column",
    "relay.toml:18: outbox.0.headers.relay-sequence: relay-sequence is the relay's own",
    "relay.toml:19: outbox.0.columns.idd: the preset outbox has no column idd / did you mean id?",
    "relay.toml:19: outbox.0.columns.paylod: the preset outbox has no column paylod / did you",
    "relay.toml:20: outbox.0.where.state is \"new\"; expected a list",
    "relay.toml:22: outbox.1.table is \"orders\"; expected \"database.table\"",
    "relay.toml:23: outbox.1.preset: preset \"outbx\" is not known / did you mean outbox?",
    "relay.toml:24: outbox.1.timestamp: there is no filter \"tomorrow\"",
    "relay.toml:25: outbox.2.topic is missing",
    "relay.toml:26: outbox.2.table: shop.outbox overlaps shop.outbox at relay.toml:13",
    "relay.toml:29: outbox.2.json.decimal is \"text\"; expected one of",
    "relay.toml:30: outbox.2.oversize is \"claim\"; expected one of halt, dead-letter, claim-check",
    "relay.toml:31: the key outbox.2.zzz is not known",
    "relay.toml:33: http.listen is \"8080\"; expected host:port",
    "--set batch.max_records: batch.max_records is 0; expected a number",
    "--set outbox.0.value_null: outbox.0.value_null is \"maybe\"; expected one of",
];

/// Each problem by itself.
fn problems(text: &str, overrides: &[&str]) -> Vec<String> {
    let error = parse(text, overrides).expect_err("the configuration must be refused");
    let told = |error: &Error| match error.hint() {
        Some(hint) => format!("{error} / {hint}"),
        None => error.to_string(),
    };
    error.each().iter().map(told).collect()
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let told = problems(WRONG, &["batch.max_records=0", "outbox.0.value_null=maybe"]);
    for (index, expected) in TOLD.iter().enumerate() {
        let told = told.get(index).map_or("nothing", String::as_str);
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
    assert_eq!(told.len(), TOLD.len(), "{told:?}");
}

#[test]
fn what_is_not_toml_hides_no_other_problem() {
    let text = format!(
        "{}headers = {{ kind = \"a\", kind = \"{{b|lowr}}\" }}\ntopic = \"{{c|uper}}\"\nkey = \"x\"\nkey = \"y\"\n",
        MINIMAL.replace("eventuate-local", "outbox").replace("user = \"relay\"", "user = relay")
    );
    let told = problems(&text, &[]);
    let expected = [
        "relay.toml:4: not TOML: ",
        "relay.toml:10: not TOML: the key kind is written twice / ",
        "relay.toml:11: outbox.0.topic: there is no filter \"uper\"; did you mean upper?",
        "relay.toml:13: not TOML: the key key is written twice / ",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
    assert_eq!(told.len(), expected.len(), "{told:?}");
}

#[test]
fn a_key_under_another_name_is_not_missing_as_well() {
    let renamed = MINIMAL.replace("preset =", "prest =").replace("[kafka]", "[kafk]");
    let told = problems(&renamed, &[]);
    assert_eq!(
        told,
        [
            "relay.toml:5: the key kafk is not known / did you mean [kafka]?",
            "relay.toml:9: the key outbox.0.prest is not known / did you mean outbox.preset?",
        ]
    );
}

#[test]
fn a_section_that_is_none_is_one_problem() {
    let text = MINIMAL
        .replace("[mysql]\nhosts = [\"db.example.org:3307\"]\nuser = \"relay\"\n", "mysql = 1\n");
    assert_eq!(problems(&text, &[]), ["relay.toml:2: mysql is 1; expected a section, [mysql]"]);
}

#[test]
fn a_cloud_event_has_each_header_once() {
    for (mode, header, is_taken) in [
        ("binary", "ce_id", false),
        ("binary", "ce_specversion", false),
        ("binary", "content-type", true),
        ("binary", "ce_subject", true),
        ("structured", "content-type", false),
        ("structured", "ce_id", true),
    ] {
        let text = format!(
            "{}value = \"cloudevents\"\nheaders = {{ \"{header}\" = \"x\" }}\n[outbox.cloudevents]\nmode = \"{mode}\"\n\
             id = \"1\"\nsource = \"/\"\ntype = \"t\"\n",
            MINIMAL.replace("eventuate-local", "outbox")
        );
        assert_eq!(parse(&text, &[]).is_ok(), is_taken, "{mode} {header}");
        if !is_taken {
            let told = problems(&text, &[]);
            let wanted = format!(
                "relay.toml:11: outbox.0.headers.{header}: the CloudEvent has a header of that"
            );
            assert!(told[0].starts_with(&wanted), "{told:?}");
        }
    }
}
