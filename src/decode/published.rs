//! What the relay would publish from a file: the rows of its outboxes, by its own source, plans and writers.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::IoError;
use serde_json::{Map, Value as Json, json};

use super::{Asked, Error, note_of_end, open, unreadable};
use crate::binlog::events::{self, End, Events};
use crate::binlog::file::FileStream;
use crate::binlog::row::Cell;
use crate::binlog::{self, Change, FixedCatalog, Interest, LayoutId, Rows, Source, Start};
use crate::config::Config;
use crate::coordinates::Coordinates;
use crate::envelope::{Buffers, RowFacts, RowPosition};
use crate::error;
use crate::explain::{Explained, explained_json, printable, record_of, write_explained};
use crate::outbox::{self, Route};
use crate::relay::table_filter;
use crate::telemetry::Causes;

/// A name for a file that has none of a binlog.
const STAND_IN: &str = "binlog.000001";

type FileSource = Source<FileStream<tokio::io::BufReader<tokio::fs::File>>, FixedCatalog>;

/// What has been shown so far.
pub(super) struct Shown<'a> {
    asked: &'a Asked,
    config: &'a Config,
    out: &'a mut (dyn Write + Send),
    sequence: u64,
    wrong: u64,
}

/// What is known inside of one file.
#[derive(Default)]
struct OfFile {
    routes: HashMap<LayoutId, Route>,
    /// Rows of each table in the compressed transaction that is being read.
    payload_rows: HashMap<LayoutId, u64>,
    buffers: Buffers,
    /// Records since the last boundary.
    open_records: u64,
}

/// A row that was made a record, or not.
struct OfRow<'a> {
    rows: &'a Rows<'a>,
    index: u64,
    sequence: u64,
    explained: Explained,
}

impl<'a> Shown<'a> {
    pub(super) fn new(
        asked: &'a Asked,
        config: &'a Config,
        out: &'a mut (dyn Write + Send),
    ) -> Shown<'a> {
        Shown { asked, config, out, sequence: 0, wrong: 0 }
    }

    /// Says how it went.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.wrong {
            0 => Ok(()),
            count => Err(Error::Rows { count }),
        }
    }

    pub(super) async fn file(&mut self, file: &Path, from: u64) -> Result<(), Error> {
        ensure_binlog(file).await?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.filter(|name| Coordinates::start_of_file(name.as_str()).is_ok());
        let name = name.unwrap_or_else(|| STAND_IN.to_owned());
        self.note(&format!(
            "{}, with stand-ins for {{@sequence}} and {{@generation}}",
            file.display()
        ))?;
        let start = Start::of_file(&name).expect("the name was tried");
        let stream = FileStream::new(open(file).await?);
        let catalog = FixedCatalog::default();
        let mut source = Source::over(stream, Duration::MAX, start, catalog, self.filter());
        let mut of_file = OfFile::default();
        loop {
            if let Err(error) = source.read().await {
                return self.ended(file, &of_file, error);
            }
            match source.interpret().await {
                Ok(Change::Rows(rows)) if rows.at.end > from => self.rows(&mut of_file, &rows)?,
                Ok(Change::Committed) => self.boundary(&mut of_file, &source, "committed")?,
                Ok(Change::RolledBack) => {
                    self.boundary(&mut of_file, &source, "rolled back: they are not published")?;
                }
                Ok(_) => {}
                Err(error) => return Err(failed(file, error)),
            }
        }
    }

    fn filter(&self) -> binlog::TableFilter {
        let of_relay = table_filter(self.config.outbox.clone());
        let wanted = self.asked.table.clone();
        Arc::new(move |database, table| {
            let is_wanted = wanted.as_ref().is_none_or(|wanted| wanted.has(database, table));
            if is_wanted { of_relay(database, table) } else { Interest::None }
        })
    }

    fn rows(&mut self, of_file: &mut OfFile, rows: &Rows<'_>) -> Result<(), Error> {
        let OfFile { routes, payload_rows, buffers, open_records } = of_file;
        let route = match routes.entry(rows.layout) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => match self.route(rows) {
                Ok(route) => new.insert(route),
                Err(problem) => {
                    self.wrong += 1;
                    return self.note(&problem);
                }
            },
        };
        let mut index = match rows.at.in_payload {
            true => payload_rows.get(&rows.layout).copied().unwrap_or_default(),
            false => 0,
        };
        let mut cells = vec![Cell::Absent; route.decoder.cells()];
        let mut bytes = rows.event.rows();
        while !bytes.is_empty() {
            if let Err(error) = route.decoder.decode(&mut bytes, rows.event.present(), &mut cells) {
                self.wrong += 1;
                return self.note(&format!("{}: {}", rows.table.full_name(), Causes(&error)));
            }
            let sequence = self.sequence + 1;
            let facts = RowFacts {
                position: RowPosition {
                    file: rows.position.coordinates.file(),
                    end: rows.at.end,
                    index,
                },
                database: &rows.table.schema,
                table: &rows.table.name,
                name: &self.config.name,
                generation: 0,
                sequence,
                gtid: rows.gtid,
                committed_at: rows.committed_at,
            };
            let explained = record_of(route, &cells, &facts, buffers);
            let is_record = u64::from(matches!(explained, Explained::Record(_)));
            self.sequence += is_record;
            *open_records += is_record;
            self.wrong += u64::from(matches!(explained, Explained::Error(_)));
            self.row(&OfRow { rows, index, sequence, explained })?;
            index += 1;
        }
        if rows.at.in_payload {
            payload_rows.insert(rows.layout, index);
        }
        Ok(())
    }

    fn route(&self, rows: &Rows<'_>) -> Result<Route, String> {
        let Rows { table, .. } = rows;
        let found = outbox::find(&self.config.outbox, &table.schema, &table.name);
        let index = found.map_err(|ambiguous| ambiguous.to_string())?;
        let index = index.ok_or_else(|| format!("no [[outbox]] has {}", table.full_name()))?;
        Route::new(&self.config.outbox[index], table).map_err(|missing| missing.to_string())
    }

    fn row(&mut self, of: &OfRow<'_>) -> Result<(), Error> {
        let Rows { table, at, position, gtid, .. } = of.rows;
        let gtid = gtid.map(ToString::to_string);
        if self.asked.json {
            let mut object = Map::new();
            object.insert("file".to_owned(), json!(position.coordinates.file()));
            object.insert("end".to_owned(), json!(at.end));
            object.insert("row".to_owned(), json!(of.index));
            object.insert("table".to_owned(), json!(table.full_name()));
            object.insert("gtid".to_owned(), json!(gtid));
            object.extend(explained_json(&of.explained));
            writeln!(self.out, "{}", Json::Object(object))?;
            return Ok(());
        }
        let place = format!("{}:{} row {}", position.coordinates.file(), at.end, of.index);
        let gtid = gtid.map(|gtid| format!(", {gtid}")).unwrap_or_default();
        let number = match of.explained {
            Explained::Record(_) => format!(", number {}", of.sequence),
            _ => String::new(),
        };
        let mut text = format!("  {place}, {}{gtid}{number}\n", printable(&table.full_name()));
        write_explained(&of.explained, &mut text);
        self.out.write_all(text.as_bytes())?;
        Ok(())
    }

    fn boundary(
        &mut self,
        of_file: &mut OfFile,
        source: &FileSource,
        how: &str,
    ) -> Result<(), Error> {
        of_file.payload_rows.clear();
        let records = std::mem::take(&mut of_file.open_records);
        if records == 0 {
            return Ok(());
        }
        let at = source.position().coordinates.clone();
        if self.asked.json {
            let line = json!({ "file": at.file(), "end": at.offset, "records": records, "transaction": how });
            writeln!(self.out, "{line}")?;
        } else {
            writeln!(self.out, "  {at} {records} records {how}\n")?;
        }
        Ok(())
    }

    fn note(&mut self, note: &str) -> Result<(), Error> {
        if self.asked.json {
            writeln!(self.out, "{}", json!({ "note": note }))?;
        } else {
            writeln!(self.out, "note: {note}")?;
        }
        Ok(())
    }

    /// The end of a file is one of its own, and so is that of a file which is being written.
    fn ended(&mut self, file: &Path, of_file: &OfFile, error: binlog::Error) -> Result<(), Error> {
        let end = match &error {
            binlog::Error::Ended { .. } => End::Whole,
            binlog::Error::Stream { after, error: mysql_async::Error::Io(IoError::Io(io)) }
                if io.kind() == ErrorKind::UnexpectedEof =>
            {
                End::CutOff(after.offset)
            }
            _ => return Err(failed(file, error)),
        };
        if let Some(note) = note_of_end(end) {
            self.note(&note)?;
        }
        if of_file.open_records > 0 {
            self.note(&format!(
                "the last {} records are of a transaction that does not end in this file",
                of_file.open_records
            ))?;
        }
        Ok(())
    }
}

/// The source's words for a file that is none would be about a connection.
async fn ensure_binlog(file: &Path) -> Result<(), Error> {
    match Events::new(open(file).await?).next().await {
        Err(
            error @ (events::Error::NoBinlog | events::Error::Encrypted | events::Error::Read(_)),
        ) => Err(unreadable(file, &error)),
        _ => Ok(()),
    }
}

/// The relay halts there as well.
fn failed(file: &Path, error: binlog::Error) -> Error {
    let hint = match &error {
        binlog::Error::Columns { .. } => Some(
            "the binlog names columns only with binlog_row_metadata=FULL (MySQL 8.0), and a file alone does not say them: \
             decode without --config shows the rows by position, `binlog-relay explain` asks the server"
                .to_owned(),
        ),
        binlog::Error::Checksum { .. } => Some(
            "the file is damaged there: look at it with mysqlbinlog --verify-binlog-checksum, or take another copy"
                .to_owned(),
        ),
        _ => None,
    };
    let problem = match &error {
        binlog::Error::Columns { table, at, .. } => {
            format!("the rows of {table} at {at} do not name their columns")
        }
        error => format!("the relay halts here: {}", Causes(error)),
    };
    let hint = hint.or_else(|| {
        error::Error::Binlog { server: file.display().to_string(), source: error }.hint()
    });
    Error::File { file: file.to_owned(), problem, hint }
}
