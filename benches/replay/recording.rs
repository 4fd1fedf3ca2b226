//! Binlog files as MySQL 8.0.31 wrote them (`benches/recordings`, made by `make recordings`), as events, and
//! as a stream of any length: the recorded transactions again and again, numbered and placed on.

use std::io::Write;

use binlog_relay::binlog::event_type;
use binlog_relay::binlog::raw_event::RawEvent;
use binlog_relay::config::Config;
use binlog_relay::outbox::{OutboxOptions, Preset};
use tempfile::NamedTempFile;

/// What comes before the outbox. No server is asked.
const CONFIG: &str = r#"name = "orders"
[mysql]
hosts = ["127.0.0.1:3306"]
user = "relay"
password = "none"
[kafka]
bootstrap_servers = "127.0.0.1:9092"
[[outbox]]
"#;

/// Bytes that every binlog file begins with.
const MAGIC: &[u8] = b"\xfebin";
/// Bytes of an event before its body
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html>).
const HEADER_LEN: usize = 19;
const CHECKSUM_LEN: usize = 4;
/// Where the header has the end of the event in its file.
const LOG_POS_AT: usize = 13;
/// Where the body of a GTID event has the number of the transaction.
const GNO_AT: usize = 17;

/// One recorded file.
#[derive(Debug, Clone, Copy)]
pub struct Recording {
    pub name: &'static str,
    pub preset: Preset,
    /// How many rows of the outbox table it has.
    pub rows: usize,
    file: &'static [u8],
}

macro_rules! recordings {
    ($($variant:ident $preset:ident $name:literal $file:literal $rows:literal,)+) => {
        impl Recording {
            $(pub const $variant: Recording = Recording {
                name: $name,
                preset: Preset::$preset,
                rows: $rows,
                file: include_bytes!(concat!("../recordings/", $file, ".binlog")),
            };)+

            pub const ALL: &[Recording] = &[$(Recording::$variant),+];
        }
    };
}

recordings! {
    SINGLE_ROW EventuateLocal "single-row" "single-row" 40,
    TWENTY_ROWS EventuateLocal "twenty-rows" "twenty-rows" 60,
    TEN_KILOBYTES EventuateLocal "ten-kilobytes" "ten-kilobytes" 4,
    OTHER_TABLES EventuateLocal "other-tables" "other-tables" 20,
    THIRTY_COLUMNS EventuateLocal "thirty-columns" "thirty-columns" 20,
    ESCAPES EventuateLocal "escapes" "escapes" 20,
    NOT_ASCII EventuateLocal "not-ascii" "not-ascii" 20,
    LATIN1 EventuateLocal "latin1" "latin1" 20,
    LATIN1_NOT_ASCII EventuateLocal "latin1-not-ascii" "latin1-not-ascii" 20,
    TRAM EventuateTram "tram" "tram" 20,
    TRAM_ESCAPES EventuateTram "tram-escapes" "tram-escapes" 20,
    TRAM_LATIN1_NOT_ASCII EventuateTram "tram-latin1-not-ascii" "tram-latin1-not-ascii" 20,
    OUTBOX Outbox "outbox" "single-row" 40,
    CUSTOM Custom "custom" "single-row" 40,
    CLOUD_EVENTS Custom "cloud-events" "single-row" 40,
    CUSTOM_JSON Custom "custom-json" "thirty-columns" 20,
}

impl Recording {
    /// The configuration of a relay of its rows.
    pub fn config(&self) -> Config {
        let table = match self.preset {
            Preset::EventuateTram => "shop.message",
            _ => "shop.events",
        };
        let mut file = NamedTempFile::new().expect("create a file");
        write!(file, "{CONFIG}table = \"{table}\"\npreset = \"{}\"\n{}", self.preset, self.plan())
            .expect("write the configuration");
        Config::load(file.path(), &[]).expect("it is valid")
    }

    /// What its outbox says beside table and preset.
    fn plan(&self) -> &'static str {
        match (self.preset, self.name) {
            (Preset::Outbox, _) => {
                r#"columns = { id = "event_id", aggregatetype = "entity_type", aggregateid = "entity_id", payload = "event_data" }
                "#
            }
            (Preset::Custom, "custom-json") => {
                r#"topic = "shop.{@table}"
                key = "{entity_id}"
                value = "json"
                "#
            }
            (Preset::Custom, "cloud-events") => {
                r#"topic = "{entity_type|topic}"
                key = "{entity_id}"
                value = "cloudevents"
                [outbox.cloudevents]
                id = "{event_id}"
                source = "/{@database}/{@table}"
                type = "{event_type|kebab}"
                time = "{@committed_at}"
                data = "{event_data}"
                "#
            }
            (Preset::Custom, _) => {
                r#"topic = "{entity_type|topic}"
                key = "{entity_type}-{entity_id|lower}"
                value = "{event_data}"
                headers = { id = "{event_id}", type = "{event_type|kebab}", at = "{@file}:{@offset}" }
                partition = "{@sequence}"
                where = { published = ["0"] }
                "#
            }
            _ => "",
        }
    }

    /// The outbox that its rows were written to.
    pub fn outbox(&self) -> OutboxOptions {
        self.config().outbox.remove(0)
    }

    /// The events of the file.
    pub fn events(&self) -> Events<'static> {
        Events(self.file.strip_prefix(MAGIC).expect("a binlog file begins with its magic number"))
    }

    /// Its transactions, to be repeated.
    pub fn repeater(&self) -> Repeater {
        Repeater { recording: *self, end: MAGIC.len(), transactions: 0 }
    }
}

/// Events one after another, each with its checksum.
#[derive(Debug, Clone, Copy)]
pub struct Events<'a>(&'a [u8]);

impl<'a> Events<'a> {
    pub fn of(stream: &'a [u8]) -> Events<'a> {
        Events(stream)
    }

    /// The bytes of the next event, from its header to its checksum.
    fn next_bytes(&mut self) -> Option<&'a [u8]> {
        let size = self.0.get(9..13)?.try_into().expect("four bytes");
        let (event, rest) = self.0.split_at(u32::from_le_bytes(size) as usize);
        self.0 = rest;
        Some(event)
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = RawEvent<'a>;

    /// As the source does it: the fields of the header, and the checksum held against the bytes.
    fn next(&mut self) -> Option<RawEvent<'a>> {
        let event = self.next_bytes()?;
        let (content, checksum) = event.split_last_chunk::<CHECKSUM_LEN>()?;
        assert_eq!(u32::from_le_bytes(*checksum), crc32fast::hash(content), "an event is whole");
        let u32_at = |at: usize| {
            u32::from_le_bytes(content[at..at + 4].try_into().expect("a header has 19 bytes"))
        };
        Some(RawEvent {
            event_type: content[4],
            flags: u16::from_le_bytes([content[17], content[18]]),
            size: u32_at(9),
            timestamp: u32_at(0),
            log_pos: u32_at(LOG_POS_AT),
            body: &content[HEADER_LEN..],
        })
    }
}

/// Makes a longer stream of a recording. Times stay those of the recording.
pub struct Repeater {
    recording: Recording,
    /// Of the last event, in a file that is as long as it takes.
    end: usize,
    /// How many were made already.
    transactions: u64,
}

impl Repeater {
    /// The transactions of so many passes over the recording; before the first, the head of the file.
    pub fn passes(&mut self, passes: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        if self.transactions == 0 {
            self.append(&mut stream, is_head);
        }
        for _ in 0..passes {
            self.append(&mut stream, |event_type| {
                !is_head(event_type) && event_type != event_type::ROTATE
            });
        }
        stream
    }

    fn append(&mut self, stream: &mut Vec<u8>, is_wanted: impl Fn(u8) -> bool) {
        let mut events = self.recording.events();
        let mut first_gno = None;
        while let Some(event) = events.next_bytes() {
            if !is_wanted(event[4]) {
                continue;
            }
            let mut event = event.to_vec();
            self.end += event.len();
            event[LOG_POS_AT..LOG_POS_AT + 4].copy_from_slice(&(self.end as u32).to_le_bytes());
            if event[4] == event_type::GTID {
                let gno = &mut event[HEADER_LEN + GNO_AT..][..8];
                let recorded = u64::from_le_bytes((&*gno).try_into().expect("eight bytes"));
                let first = *first_gno.get_or_insert(recorded);
                // The first pass is as it was recorded.
                gno.copy_from_slice(&(first + self.transactions).to_le_bytes());
                self.transactions += 1;
            }
            let content_len = event.len() - CHECKSUM_LEN;
            let checksum = crc32fast::hash(&event[..content_len]);
            event[content_len..].copy_from_slice(&checksum.to_le_bytes());
            stream.extend_from_slice(&event);
        }
    }
}

fn is_head(event_type: u8) -> bool {
    matches!(event_type, event_type::FORMAT_DESCRIPTION | event_type::PREVIOUS_GTIDS)
}
