//! The events of a file, a line each, and the rows in them.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::{Asked, Error, note_of_end, open, printed, unreadable};
use crate::binlog::event_type as kind;
use crate::binlog::events::{Event, Events};
use crate::binlog::row::{Bitmap, Cell, RowDecoder, RowsEvent};
use crate::binlog::table::{Table, TableMap};
use crate::explain::printable;
use crate::telemetry::clock::{CommitTime, rfc_3339};

/// The beginning of a statement that is shown.
const STATEMENT_CHARS_MAX: usize = 300;

/// What has been shown so far.
pub(super) struct Shown<'a> {
    asked: &'a Asked,
    out: &'a mut (dyn Write + Send),
    tables: HashMap<u64, Mapped>,
    gtid: Option<String>,
    has_told_of_names: bool,
}

struct Mapped {
    table: Table,
    has_names: bool,
    decoder: RowDecoder,
}

/// What a line says.
struct Line {
    what: String,
    fields: Map<String, Json>,
    rows: Vec<String>,
    is_of_rows: bool,
}

impl Line {
    fn of(what: impl Into<String>, fields: Json) -> Line {
        let fields = match fields {
            Json::Object(fields) => fields,
            _ => Map::new(),
        };
        Line { what: what.into(), fields, rows: Vec::new(), is_of_rows: false }
    }
}

impl<'a> Shown<'a> {
    pub(super) fn new(asked: &'a Asked, out: &'a mut (dyn Write + Send)) -> Shown<'a> {
        Shown { asked, out, tables: HashMap::new(), gtid: None, has_told_of_names: false }
    }

    pub(super) async fn file(&mut self, file: &Path, from: u64) -> Result<(), Error> {
        let name = file.display().to_string();
        if !self.asked.json {
            writeln!(self.out, "{name}")?;
        }
        self.tables.clear();
        let mut events = Events::new(open(file).await?);
        loop {
            let event = match events.next().await.map_err(|error| unreadable(file, &error))? {
                Ok(event) => event,
                Err(end) => {
                    if let Some(note) = note_of_end(end) {
                        self.note(&name, &note)?;
                    }
                    return Ok(());
                }
            };
            let line = self.line(&event);
            if event.start >= from && (line.is_of_rows || self.asked.table.is_none()) {
                self.print(&name, &event, &line)?;
            }
        }
    }

    fn note(&mut self, file: &str, note: &str) -> Result<(), Error> {
        if self.asked.json {
            writeln!(self.out, "{}", json!({ "file": file, "note": note }))?;
        } else {
            writeln!(self.out, "note: {note}")?;
        }
        Ok(())
    }

    fn print(&mut self, file: &str, event: &Event<'_>, line: &Line) -> Result<(), Error> {
        let Event { start, end, in_payload, raw } = event;
        if self.asked.json {
            let mut object = Map::new();
            object.insert("file".to_owned(), json!(file));
            object.insert("start".to_owned(), json!(start));
            object.insert("end".to_owned(), json!(end));
            object.insert("compressed".to_owned(), json!(in_payload));
            object.insert("event".to_owned(), json!(event_name(raw.event_type)));
            object.extend(line.fields.clone());
            let head = Json::Object(object).to_string();
            // The rows are JSON already, whose numbers have more digits than a JSON library keeps.
            let rows = match line.is_of_rows {
                true => format!("{},\"rows\":[{}]}}", &head[..head.len() - 1], line.rows.join(",")),
                false => head,
            };
            writeln!(self.out, "{rows}")?;
            return Ok(());
        }
        let mark = if *in_payload { " *" } else { "" };
        writeln!(self.out, "{start}-{end}{mark}  {}", printable(&line.what))?;
        for row in &line.rows {
            writeln!(self.out, "    {}", printable(row))?;
        }
        Ok(())
    }

    fn line(&mut self, event: &Event<'_>) -> Line {
        match event.raw.event_type {
            kind::TABLE_MAP => self.table_map(event),
            kind::WRITE_ROWS | kind::WRITE_ROWS_V1 => self.rows(event, "insert"),
            kind::UPDATE_ROWS | kind::UPDATE_ROWS_V1 => self.rows(event, "update"),
            kind::DELETE_ROWS | kind::DELETE_ROWS_V1 => self.rows(event, "delete"),
            kind::GTID | kind::GTID_TAGGED | kind::ANONYMOUS_GTID => self.gtid(event),
            _ => other(event),
        }
    }

    fn gtid(&mut self, event: &Event<'_>) -> Line {
        let Some(found) = event.gtid() else {
            return Line::of("a GTID event that cannot be read", json!({}));
        };
        self.gtid = found.gtid.as_ref().map(ToString::to_string);
        let at = match found.immediate_commit_timestamp_micros {
            Some(micros) => CommitTime::from_micros(micros),
            None => CommitTime::from_seconds(event.raw.timestamp),
        };
        let at = rfc_3339(at).to_string();
        let name = self.gtid.clone().unwrap_or_else(|| "without GTID".to_owned());
        Line::of(
            format!("transaction {name}, committed at {at}"),
            json!({ "gtid": self.gtid, "committedAt": at }),
        )
    }

    fn table_map(&mut self, event: &Event<'_>) -> Line {
        let map = match TableMap::parse(event.raw.body) {
            Ok(map) => map,
            Err(error) => {
                return Line::of(error.to_string(), json!({ "error": error.to_string() }));
            }
        };
        let named = Table::from_metadata(&map);
        let has_names = named.is_some();
        let table = named.unwrap_or_else(|| Table::by_position(&map));
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let decoder = RowDecoder::new(&table, &all);
        let names: Vec<_> = table
            .columns
            .iter()
            .map(|column| format!("{} {}", column.name, column.kind.name()))
            .collect();
        let mut what = format!("table {}: {}", table.full_name(), names.join(", "));
        if !has_names && !self.has_told_of_names {
            self.has_told_of_names = true;
            what.push_str(
                " (the binlog does not name columns: it does with binlog_row_metadata=FULL)",
            );
        }
        let line = Line::of(
            what,
            json!({ "table": table.full_name(), "columns": names, "hasNames": has_names }),
        );
        self.tables.insert(map.table_id(), Mapped { table, has_names, decoder });
        line
    }

    fn rows(&mut self, event: &Event<'_>, verb: &str) -> Line {
        let (rows, after) = match RowsEvent::parse_any(event.raw.event_type, event.raw.body) {
            Ok(parsed) => parsed,
            Err(error) => {
                return Line::of(error.to_string(), json!({ "error": error.to_string() }));
            }
        };
        let Some(mapped) = self.tables.get(&rows.table_id()) else {
            return Line::of(format!("{verb} into a table without a table map"), json!({}));
        };
        let Table { schema, name, .. } = &mapped.table;
        let is_wanted = self.asked.table.as_ref().is_none_or(|wanted| wanted.has(schema, name));
        let (texts, error) = row_texts(mapped, &rows, after);
        let images = if after.is_some() { texts.len().div_ceil(2) } else { texts.len() };
        let plural = if images == 1 { "row" } else { "rows" };
        let mut what = format!("{verb} {images} {plural}, {}", mapped.table.full_name());
        if after.is_some() {
            what.push_str(", each before and after");
        }
        let mut fields = json!({
            "table": mapped.table.full_name(), "gtid": self.gtid, "count": images, "hasNames": mapped.has_names,
        });
        if let Some(error) = error {
            what.push_str(&format!(": {error}"));
            fields["error"] = json!(error);
        }
        Line { rows: texts, is_of_rows: is_wanted, ..Line::of(what, fields) }
    }
}

/// The rows as JSON, and why the rest cannot be read.
fn row_texts(
    mapped: &Mapped,
    rows: &RowsEvent<'_>,
    after: Option<Bitmap<'_>>,
) -> (Vec<String>, Option<String>) {
    let mut texts = Vec::new();
    let mut bytes = rows.rows();
    let mut cells = vec![Cell::Absent; mapped.decoder.cells()];
    let mut images = [Some(rows.present()), after].into_iter().flatten().cycle();
    while !bytes.is_empty() {
        let present = images.next().expect("it goes round");
        if let Err(error) = mapped.decoder.decode(&mut bytes, present, &mut cells) {
            return (texts, Some(error.to_string()));
        }
        texts.push(printed::row(&mapped.table.columns, &cells));
    }
    (texts, None)
}

fn other(event: &Event<'_>) -> Line {
    if let Some(version) = event.server_version() {
        return Line::of(format!("written by MySQL {version}"), json!({ "server": version }));
    }
    if let Some(set) = event.previous_gtids() {
        let set = set.to_string();
        let words = if set.is_empty() { "none".to_owned() } else { set.clone() };
        return Line::of(format!("GTIDs before this file: {words}"), json!({ "gtidSet": set }));
    }
    if let Some((database, text)) = event.statement() {
        let shown: String = text.chars().take(STATEMENT_CHARS_MAX).collect();
        let dots = if shown.len() < text.len() { "…" } else { "" };
        return Line::of(
            format!("{}{dots}", shown.replace('\n', " ")),
            json!({ "database": database, "statement": text }),
        );
    }
    if let Some(next) = event.next_file() {
        return Line::of(format!("goes on in {next}"), json!({ "next": next }));
    }
    let what = match event.raw.event_type {
        kind::XID => "COMMIT".to_owned(),
        kind::XA_PREPARE => "XA PREPARE".to_owned(),
        kind::TRANSACTION_PAYLOAD => {
            "compressed transaction: its events follow, marked with *".to_owned()
        }
        kind::PARTIAL_UPDATE_ROWS => {
            "update with parts of JSON documents, whose rows are not shown".to_owned()
        }
        other => event_name(other),
    };
    Line::of(what, json!({}))
}

fn event_name(event_type: u8) -> String {
    let name = match event_type {
        kind::QUERY => "QUERY",
        kind::STOP => "STOP",
        kind::ROTATE => "ROTATE",
        kind::INTVAR => "INTVAR",
        kind::RAND => "RAND",
        kind::USER_VAR => "USER_VAR",
        kind::FORMAT_DESCRIPTION => "FORMAT_DESCRIPTION",
        kind::XID => "XID",
        kind::BEGIN_LOAD_QUERY => "BEGIN_LOAD_QUERY",
        kind::EXECUTE_LOAD_QUERY => "EXECUTE_LOAD_QUERY",
        kind::APPEND_BLOCK => "APPEND_BLOCK",
        kind::DELETE_FILE => "DELETE_FILE",
        kind::TABLE_MAP => "TABLE_MAP",
        kind::WRITE_ROWS | kind::WRITE_ROWS_V1 => "WRITE_ROWS",
        kind::UPDATE_ROWS | kind::UPDATE_ROWS_V1 => "UPDATE_ROWS",
        kind::DELETE_ROWS | kind::DELETE_ROWS_V1 => "DELETE_ROWS",
        kind::PARTIAL_UPDATE_ROWS => "PARTIAL_UPDATE_ROWS",
        kind::INCIDENT => "INCIDENT",
        kind::HEARTBEAT | kind::HEARTBEAT_V2 => "HEARTBEAT",
        kind::IGNORABLE => "IGNORABLE",
        kind::ROWS_QUERY => "ROWS_QUERY",
        kind::GTID => "GTID",
        kind::GTID_TAGGED => "GTID_TAGGED",
        kind::ANONYMOUS_GTID => "ANONYMOUS_GTID",
        kind::PREVIOUS_GTIDS => "PREVIOUS_GTIDS",
        kind::TRANSACTION_CONTEXT => "TRANSACTION_CONTEXT",
        kind::VIEW_CHANGE => "VIEW_CHANGE",
        kind::XA_PREPARE => "XA_PREPARE",
        kind::TRANSACTION_PAYLOAD => "TRANSACTION_PAYLOAD",
        other => return format!("event of type {other}"),
    };
    name.to_owned()
}
