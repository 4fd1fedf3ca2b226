//! Which tables are relayed, and with which preset.
//!
//! The options of `[[outbox]]` enter. The index of the one that a table belongs to leaves. A table that matches two of
//! them is an error, never a silent choice. The fingerprint of the options goes into the checkpoint, since the rows of
//! one transaction must not be counted in two ways.

pub(crate) mod extract;
mod fallback;
mod ghost;
mod pattern;
mod plan;
mod route;
pub mod template;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

pub use self::fallback::{Fallback, FallbackOptions, OnError, Oversize};
pub use self::pattern::TablePattern;
pub use self::plan::{
    CLOUD_EVENT_NEEDS, CloudEventMode, CloudEventOptions, Condition, Header, KeyNull, Plan,
    PlanOptions, SPEC_VERSION, Value, ValueNull, ValueOptions,
};
pub use self::route::{CELLS_MAX, MissingColumns, Route, ensure_columns};
use crate::nearest::nearest;

/// Why a text of `[[outbox]]` is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `meant`: what the writer may have meant.
    #[error("{given:?} is no database.table")]
    Table { given: String, meant: Vec<String> },
    #[error("preset {given:?} is not known")]
    UnknownPreset { given: String, nearest: Option<&'static str> },
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let presets = || Preset::ALL.map(Preset::as_str).join(", ");
        match self {
            Self::Table { meant, .. } if meant.is_empty() => None,
            Self::Table { meant, .. } => {
                let meant: Vec<_> = meant.iter().map(|text| format!("\"{text}\"")).collect();
                Some(format!("a name with a dot in it stands in backticks: {}", meant.join(" or ")))
            }
            Self::UnknownPreset { nearest: Some(nearest), .. } => {
                Some(format!("did you mean {nearest}?"))
            }
            Self::UnknownPreset { nearest: None, .. } => {
                Some(format!("this version has {}", presets()))
            }
        }
    }
}

/// A table that more than one `[[outbox]]` matches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table {database}.{table} is matched by two outboxes, {} and {}", patterns[0], patterns[1])]
pub struct Ambiguous {
    pub database: String,
    pub table: String,
    pub patterns: Box<[TablePattern; 2]>,
}

/// How rows become records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Eventuate Local's `events` table.
    EventuateLocal,
    /// Eventuate Tram's `message` table.
    EventuateTram,
    /// The outbox table of Debezium's event router.
    Outbox,
    /// A table of messages with a status.
    MessageEvents,
    /// The events of aggregates, with their versions.
    EventSourcing,
    /// Any table.
    Custom,
}

impl Preset {
    /// Every preset of this version.
    pub const ALL: [Self; 6] = [
        Self::EventuateLocal,
        Self::EventuateTram,
        Self::Outbox,
        Self::MessageEvents,
        Self::EventSourcing,
        Self::Custom,
    ];

    /// It writes records that no plan can, as Eventuate does.
    #[must_use]
    pub const fn has_writer(self) -> bool {
        matches!(self, Self::EventuateLocal | Self::EventuateTram)
    }

    /// The columns of a preset that has a plan. `[[outbox]] columns` gives them other names.
    #[must_use]
    pub const fn plan_columns(self) -> &'static [&'static str] {
        match self {
            Self::EventuateLocal | Self::EventuateTram | Self::Custom => &[],
            Self::Outbox => &["id", "aggregatetype", "aggregateid", "type", "payload"],
            Self::MessageEvents => &["id", "event_type", "event_payload", "created_at", "status"],
            Self::EventSourcing => &[
                "event_id",
                "aggregate_id",
                "aggregate_type",
                "event_type",
                "event_version",
                "event_data",
                "occurred_at",
            ],
        }
    }

    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventuateLocal => "eventuate-local",
            Self::EventuateTram => "eventuate-tram",
            Self::Outbox => "outbox",
            Self::MessageEvents => "message-events",
            Self::EventSourcing => "event-sourcing",
            Self::Custom => "custom",
        }
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(preset) = Self::ALL.into_iter().find(|preset| preset.as_str() == text) {
            return Ok(preset);
        }
        let nearest = nearest(text, Self::ALL.map(Self::as_str));
        Err(Error::UnknownPreset { given: text.to_owned(), nearest })
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One `[[outbox]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxOptions {
    pub table: TablePattern,
    pub preset: Preset,
    /// Second half of the ids of rows whose id the database numbers.
    pub outbox_id: Option<u64>,
    /// How rows become records; `None` for the presets of Eventuate, which have writers of their own.
    pub plan: Option<Arc<PlanOptions>>,
}

/// The outboxes with table names as the server compares them. A server with `lower_case_table_names` takes
/// `Shop.Events` for `shop.events`.
/// <https://dev.mysql.com/doc/refman/8.4/en/identifier-case-sensitivity.html>
#[must_use]
pub fn as_on_server(outboxes: &[OutboxOptions], folds_case: bool) -> Vec<OutboxOptions> {
    let mut outboxes = outboxes.to_vec();
    if folds_case {
        outboxes.iter_mut().for_each(|outbox| outbox.table = outbox.table.folded());
    }
    outboxes
}

/// The index of the outbox that a table belongs to, or `None` if it belongs to none.
///
/// # Errors
/// [`Ambiguous`] if two outboxes match it.
pub fn find(
    outboxes: &[OutboxOptions],
    database: &str,
    table: &str,
) -> Result<Option<usize>, Ambiguous> {
    let is_match = |(_, outbox): &(usize, &OutboxOptions)| outbox.table.matches(database, table);
    let mut matches = outboxes.iter().enumerate().filter(is_match);
    let Some((index, first)) = matches.next() else {
        return Ok(None);
    };
    match matches.next() {
        None => Ok(Some(index)),
        Some((_, second)) => Err(Ambiguous {
            database: database.to_owned(),
            table: table.to_owned(),
            patterns: Box::new([first.table.clone(), second.table.clone()]),
        }),
    }
}

/// Pairs of indexes of patterns that certainly match the same table: they are equal, or one names a table that the other
/// one matches. Two patterns with stars may only share tables that do not exist. The second of a pair is in no other one.
#[must_use]
pub fn find_overlaps(tables: &[Option<&TablePattern>]) -> Vec<(usize, usize)> {
    let covers = |one: &TablePattern, other: &TablePattern| {
        let names = other.literal();
        one == other || names.is_some_and(|(database, table)| one.matches(database, table))
    };
    let overlap = |(second, other): (usize, &Option<&TablePattern>)| {
        let other = (*other)?;
        let is_over = |one: &Option<&TablePattern>| {
            one.is_some_and(|one| covers(one, other) || covers(other, one))
        };
        let first = tables[..second].iter().position(is_over)?;
        Some((first, second))
    };
    tables.iter().enumerate().filter_map(overlap).collect()
}

/// The topics that dead letters go to, each once.
#[must_use]
pub fn dead_letter_topics(outboxes: &[OutboxOptions]) -> Vec<String> {
    let fallbacks = outboxes.iter().filter_map(|outbox| outbox.plan.as_ref()?.fallback.as_ref());
    let with_letters = fallbacks.filter(|fallback| fallback.has_dead_letters());
    let mut topics: Vec<_> = with_letters.map(|it| it.dead_letter_topic.clone()).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// Grows when a `*` in the name of a table stands for other tables than before: rows of a checkpoint that counts
/// them by another rule must not be passed over. 2: the copies of tools are left out.
const STAR_RULE: u32 = 2;

/// 16 hexadecimal characters that change when any table, preset or id changes, and not with the order or the spelling of
/// the file. Where rows may become dead letters or claim checks, as many behind a dash.
#[must_use]
pub fn fingerprint(outboxes: &[OutboxOptions]) -> String {
    let describe = |outbox: &OutboxOptions| {
        let OutboxOptions { table, preset, outbox_id, plan } = outbox;
        let [database, name] = table.names();
        // JSON, so that no name can run into its neighbour.
        let mut line = vec![json!(database), json!(name), json!(preset.as_str()), json!(outbox_id)];
        line.extend(table.has_star_in_table().then(|| json!(STAR_RULE)));
        line.extend(plan.as_ref().map(|plan| plan.describe()));
        serde_json::Value::Array(line).to_string()
    };
    let mut lines: Vec<_> = outboxes.iter().map(describe).collect();
    lines.sort_unstable();
    let own = digest(&lines);
    let fallback = |outbox: &OutboxOptions| {
        let fallback = outbox.plan.as_ref()?.fallback.as_ref()?;
        let [database, name] = outbox.table.names();
        Some(json!([database, name, format!("{fallback:?}")]).to_string())
    };
    let mut fallbacks: Vec<_> = outboxes.iter().filter_map(fallback).collect();
    fallbacks.sort_unstable();
    if fallbacks.is_empty() { own } else { format!("{own}-{}", digest(&fallbacks)) }
}

/// The part of a fingerprint that decides how the rows of a transaction are counted. The rest says what becomes of those
/// that cannot be records: where such a row has halted the relay inside a transaction, it is what can be changed.
#[must_use]
pub fn counted_by(fingerprint: &str) -> &str {
    fingerprint.split_once('-').map_or(fingerprint, |(counted, _)| counted)
}

fn digest(lines: &[String]) -> String {
    let digest = Sha256::digest(lines.join("\n"));
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> TablePattern {
        text.parse().unwrap()
    }

    fn outbox(table: &str, preset: Preset, outbox_id: Option<u64>) -> OutboxOptions {
        OutboxOptions { table: pattern(table), preset, outbox_id, plan: None }
    }

    fn local(tables: &[&str]) -> Vec<OutboxOptions> {
        tables.iter().map(|table| outbox(table, Preset::EventuateLocal, None)).collect()
    }

    #[test]
    fn presets_are_named_as_in_the_configuration() {
        for preset in Preset::ALL {
            assert_eq!(preset.to_string().parse(), Ok(preset));
        }
        assert_eq!(
            "eventuate_tran".parse::<Preset>(),
            Err(Error::UnknownPreset {
                given: "eventuate_tran".to_owned(),
                nearest: Some("eventuate-tram")
            })
        );
    }

    #[test]
    fn a_table_belongs_to_one_outbox_or_to_none() {
        let outboxes = local(&["a.events", "b.*", "*.message"]);
        assert_eq!(find(&outboxes, "a", "events"), Ok(Some(0)));
        assert_eq!(find(&outboxes, "b", "x"), Ok(Some(1)));
        assert_eq!(find(&outboxes, "c", "message"), Ok(Some(2)));
        assert_eq!(find(&outboxes, "c", "events"), Ok(None));
        assert_eq!(
            find(&outboxes, "b", "message").unwrap_err().to_string(),
            "table b.message is matched by two outboxes, b.* and *.message"
        );
    }

    #[test]
    fn overlaps_that_are_certain_are_found() {
        let overlaps = |tables: &[&str]| {
            let tables: Vec<_> = tables.iter().map(|table| pattern(table)).collect();
            find_overlaps(&tables.iter().map(Some).collect::<Vec<_>>())
        };
        assert_eq!(overlaps(&["a.b", "a.c", "a.b"]), [(0, 2)]);
        assert_eq!(overlaps(&["a.b", "a.*"]), [(0, 1)]);
        assert_eq!(overlaps(&["x.y", "a.*", "a.b"]), [(1, 2)]);
        assert_eq!(overlaps(&["a.b*", "a.b**"]), [(0, 1)]);
        assert_eq!(overlaps(&["a.b", "a.b", "c.d", "a.b", "c.*"]), [(0, 1), (0, 3), (2, 4)]);
        assert_eq!(overlaps(&["a.*", "*.b", "A.B"]), []);
    }

    #[test]
    fn the_fingerprint_changes_with_the_meaning_only() {
        let base = [
            outbox("a.b", Preset::EventuateLocal, None),
            outbox("a.c*", Preset::EventuateTram, Some(1)),
        ];
        let [one, other] = base.clone();
        let same = [outbox("a.c**", Preset::EventuateTram, Some(1)), one.clone()];
        assert_eq!(fingerprint(&base), fingerprint(&same));
        // Written into checkpoints: it must stay what it is.
        let literal = [
            one.clone(),
            outbox("a.c", Preset::EventuateTram, Some(1)),
            outbox("*.d", Preset::EventuateTram, None),
        ];
        assert_eq!(fingerprint(&literal), "d71a48e501baa475");
        // Before `*` left out the copies of tools, it was 8171d391730e71e2.
        assert_eq!(fingerprint(&base), "2f0d8cbe072849f4");
        let others = [
            vec![one.clone()],
            vec![one.clone(), other.clone(), outbox("a.d", Preset::EventuateLocal, None)],
            vec![one.clone(), OutboxOptions { outbox_id: None, ..other.clone() }],
            vec![one.clone(), OutboxOptions { outbox_id: Some(2), ..other.clone() }],
            vec![one.clone(), OutboxOptions { preset: Preset::EventuateLocal, ..other.clone() }],
            vec![one.clone(), OutboxOptions { table: pattern("a.c"), ..other.clone() }],
            vec![OutboxOptions { table: pattern("A.b"), ..one }, other],
        ];
        for changed in others {
            assert_ne!(fingerprint(&changed), fingerprint(&base), "{changed:?}");
        }
        assert_eq!(fingerprint(&[]).len(), 16);
    }

    #[test]
    fn what_becomes_of_rows_that_cannot_be_records_does_not_change_how_rows_are_counted() {
        let plan = PlanOptions::of(Preset::Outbox).unwrap();
        let of = |fallback: Option<FallbackOptions>| {
            let plan = Arc::new(PlanOptions { fallback, ..plan.clone() });
            fingerprint(&[OutboxOptions {
                plan: Some(plan),
                ..outbox("a.b", Preset::Outbox, None)
            }])
        };
        let to = |topic: &str, on_error| FallbackOptions {
            on_error,
            oversize: Oversize::ClaimCheck,
            dead_letter_topic: topic.to_owned(),
        };
        let none = of(None);
        assert_eq!((none.len(), counted_by(&none)), (16, &*none));
        let all = [
            of(Some(to("letters", OnError::DeadLetter))),
            of(Some(to("others", OnError::DeadLetter))),
            of(Some(to("letters", OnError::Halt))),
        ];
        for (index, one) in all.iter().enumerate() {
            assert_eq!(counted_by(one), none);
            assert!(all.iter().skip(index + 1).all(|other| other != one), "{one}");
        }
    }
}
