//! The model of a primary: a generated binlog that grows, its dumps, and its named locks.

use std::collections::{BTreeMap, HashMap};

use crate::binlog::feed::Feed;
use crate::binlog::server::BinlogFile;
use crate::binlog::table::ColumnKind;
use crate::binlog::write::{Column, Row, TableShape, Writer};
use crate::coordinates::{Coordinates, FIRST_EVENT_OFFSET, Gtid, GtidSet, Uuid};

/// A commit time that no clock of ours has reached: nothing is a backlog.
const COMMITTED_AT: u64 = 4_000_000_000_000_000;

/// What one transaction is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Compressed,
    RolledBack,
    /// A statement that is no transaction.
    Statement,
    /// Rows of a table that is no outbox.
    Foreign,
    /// The binlog goes on in another file.
    Rotation,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    pub number: u64,
    pub topic: u8,
    pub key: u8,
    pub is_published: bool,
}

/// A transaction to be committed: its statements, each with its rows.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub kind: Kind,
    pub statements: Vec<Vec<OutboxRow>>,
}

/// A dump of a process.
struct Dump {
    number: u64,
    process: u32,
    feed: Feed,
}

/// A binlog file.
struct File {
    name: String,
    previous_gtids: GtidSet,
    /// Each with the offset at which it begins.
    events: Vec<(u64, Vec<u8>)>,
    end: u64,
}

/// The primary.
pub struct Database {
    pub server_uuid: Uuid,
    pub has_gtids: bool,
    files: Vec<File>,
    writer: Writer,
    executed: GtidSet,
    /// Committed, with their GTIDs, to be written by a server that takes over.
    history: Vec<(Transaction, u64)>,
    outbox: TableShape,
    foreign: TableShape,
    /// Each row that must be relayed, in commit order.
    pub expected: Vec<OutboxRow>,
    /// Open dumps by their replicas.
    dumps: HashMap<Uuid, Dump>,
    dumps_opened: u64,
    /// Who holds a lock; `None` for one whose holder was ended.
    locks: BTreeMap<String, u32>,
    /// Holders that were ended.
    pub ended: Vec<u32>,
    numbers: u64,
}

impl Database {
    pub fn new(has_gtids: bool, has_checksums: bool) -> Database {
        let column = |name: &str| Column::var_char(name, 50);
        let columns = vec![
            column("event_id"),
            column("event_type"),
            Column::long_text("event_data"),
            column("entity_type"),
            column("entity_id"),
            column("triggering_event").nullable(),
            column("metadata").nullable(),
            Column::new("published", ColumnKind::Tiny).nullable(),
        ];
        let mut database = Database {
            server_uuid: Uuid::from_bytes([1; 16]),
            has_gtids,
            files: Vec::new(),
            writer: Writer::new("binlog.000001", has_checksums),
            executed: GtidSet::new(),
            history: Vec::new(),
            outbox: TableShape::new(7, "shop", "events", columns),
            foreign: TableShape::new(8, "shop", "other", vec![Column::big_int("id")]),
            expected: Vec::new(),
            dumps: HashMap::new(),
            dumps_opened: 0,
            locks: BTreeMap::new(),
            ended: Vec::new(),
            numbers: 0,
        };
        database.begin_file("binlog.000001".to_owned());
        database
    }

    fn begin_file(&mut self, name: String) {
        let previous_gtids = self.executed.clone();
        self.files.push(File { name, previous_gtids, events: Vec::new(), end: FIRST_EVENT_OFFSET });
        let description = self.writer.format_description();
        self.append(description);
        let previous = self.writer.previous_gtids(&self.executed);
        self.append(previous);
    }

    fn append(&mut self, event: Vec<u8>) {
        let file = self.files.last_mut().expect("there is one");
        let begin = file.end;
        file.end += event.len() as u64;
        file.events.push((begin, event));
    }

    /// Commits a transaction.
    pub fn commit(&mut self, transaction: &Transaction) {
        let is_kept = |row: &&OutboxRow| !row.is_published;
        if matches!(transaction.kind, Kind::Plain | Kind::Compressed) {
            let rows = transaction.statements.iter().flatten().filter(is_kept).cloned();
            self.expected.extend(rows);
        }
        self.numbers += u64::from(transaction.kind != Kind::Rotation);
        self.history.push((transaction.clone(), self.numbers));
        self.write(transaction, self.numbers);
    }

    fn write(&mut self, transaction: &Transaction, number: u64) {
        if transaction.kind == Kind::Rotation {
            let name = format!("{}.{:06}", self.base_name(), self.files.len() + 1);
            let rotate = self.writer.rotate(&name);
            self.append(rotate);
            self.begin_file(name);
            return;
        }
        let head = if self.has_gtids {
            self.executed.insert(gtid(number));
            self.writer.gtid(gtid(number).uuid(), number, Some(COMMITTED_AT))
        } else {
            self.writer.anonymous_gtid(COMMITTED_AT)
        };
        self.append(head);
        if transaction.kind == Kind::Statement {
            let statement = self.writer.query("shop", "CREATE TABLE more (id INT)");
            self.append(statement);
            return;
        }
        let mut inside = Writer::inside_payload();
        let writer =
            if transaction.kind == Kind::Compressed { &mut inside } else { &mut self.writer };
        let mut events = vec![writer.begin()];
        for rows in &transaction.statements {
            if transaction.kind == Kind::Foreign {
                events.push(writer.table_map(&self.foreign));
                let rows: Vec<Row> =
                    rows.iter().map(|row| vec![Some(row.number.to_le_bytes().to_vec())]).collect();
                events.push(writer.write_rows(&self.foreign, &rows));
            } else {
                events.push(writer.table_map(&self.outbox));
                let rows: Vec<Row> = rows.iter().map(OutboxRow::values).collect();
                events.push(writer.write_rows(&self.outbox, &rows));
            }
        }
        events.push(match transaction.kind {
            Kind::RolledBack => writer.rollback(),
            _ => writer.xid(number),
        });
        if transaction.kind == Kind::Compressed {
            events = vec![self.writer.transaction_payload(&events)];
        }
        events.into_iter().for_each(|event| self.append(event));
    }

    fn base_name(&self) -> &str {
        let name = &self.files[0].name;
        name.split_once('.').map_or(name.as_str(), |(base, _)| base)
    }

    /// Another server takes over: it has the same transactions, in files of its own.
    pub fn fail_over(&mut self) {
        let first = self.server_uuid.as_bytes()[0];
        self.server_uuid = Uuid::from_bytes([first + 1; 16]);
        let base = format!("server{first}");
        self.writer = Writer::new(&format!("{base}.000001"), true);
        (self.executed, self.files) = (GtidSet::new(), Vec::new());
        // Its files begin elsewhere.
        self.begin_file(format!("{base}.000001"));
        let history = std::mem::take(&mut self.history);
        for (transaction, number) in &history {
            if transaction.kind != Kind::Rotation {
                self.write(transaction, *number);
            }
        }
        self.history = history;
        self.cut_dumps();
        self.locks.clear();
    }

    /// The event of a file that begins at the offset or behind it, and where the next one begins.
    pub fn event_at(&self, file: &str, offset: u64) -> Option<(Vec<u8>, u64)> {
        let file = self.files.iter().find(|it| it.name == file)?;
        let index = file.events.partition_point(|(begin, _)| *begin < offset);
        let (begin, event) = file.events.get(index)?;
        Some((event.clone(), begin + event.len() as u64))
    }

    /// The file behind another.
    pub fn file_after(&self, file: &str) -> Option<String> {
        let index = self.files.iter().position(|it| it.name == file)?;
        self.files.get(index + 1).map(|file| file.name.clone())
    }

    /// What a dump begins with.
    pub fn dump_head(&self, file: &str, offset: u64) -> Vec<Vec<u8>> {
        self.writer.dump_head(file, offset)
    }

    /// Opens a dump. That of the same replica before it ends. Answers with its number.
    pub fn open_dump(&mut self, replica: Uuid, process: u32, feed: Feed) -> u64 {
        self.dumps_opened += 1;
        let number = self.dumps_opened;
        self.dumps.insert(replica, Dump { number, process, feed });
        number
    }

    /// Gives a dump its next event, unless it was ended.
    pub fn push(&self, replica: Uuid, number: u64, event: &[u8]) {
        if let Some(dump) = self.dumps.get(&replica).filter(|dump| dump.number == number) {
            dump.feed.push(event);
        }
    }

    pub fn is_open(&self, replica: Uuid, number: u64) -> bool {
        self.dumps.get(&replica).is_some_and(|dump| dump.number == number)
    }

    /// Ends the dump of a process, if it has one.
    pub fn end_dump_of(&mut self, process: u32) {
        self.dumps.retain(|_, dump| dump.process != process);
    }

    pub fn end_dump(&mut self, replica: Uuid) {
        self.dumps.remove(&replica);
    }

    /// All connections are lost.
    pub fn cut_dumps(&mut self) {
        self.dumps.clear();
    }

    /// Takes a lock, if nobody else has it.
    pub fn take_lock(&mut self, name: &str, process: u32) -> bool {
        *self.locks.entry(name.to_owned()).or_insert(process) == process
    }

    /// Ends the session that holds a lock.
    pub fn end_holder(&mut self, name: &str) -> bool {
        match self.locks.remove(name) {
            Some(holder) => {
                self.ended.push(holder);
                true
            }
            None => false,
        }
    }

    pub fn release_locks_of(&mut self, process: u32) {
        self.locks.retain(|_, holder| *holder != process);
    }

    pub fn files(&self) -> Vec<BinlogFile> {
        let file = |it: &File| BinlogFile { name: it.name.clone(), size_bytes: it.end };
        self.files.iter().map(file).collect()
    }

    pub fn end(&self) -> Coordinates {
        let file = self.files.last().expect("there is one");
        Coordinates::new(file.name.as_str(), file.end).expect("a legal name")
    }

    pub fn previous_gtids(&self, file: &str) -> GtidSet {
        let file = self.files.iter().find(|it| it.name == file);
        file.map(|file| file.previous_gtids.clone()).unwrap_or_default()
    }

    pub fn executed(&self) -> GtidSet {
        self.executed.clone()
    }

    pub fn is_event_boundary(&self, at: &Coordinates) -> bool {
        let file = self.files.iter().find(|it| it.name == at.file());
        file.is_some_and(|file| {
            at.offset == file.end || file.events.iter().any(|(begin, _)| *begin == at.offset)
        })
    }
}

impl OutboxRow {
    fn values(&self) -> Row {
        let text = |text: String| Some(text.into_bytes());
        vec![
            text(format!("e{}", self.number)),
            text("Happened".to_owned()),
            text(format!("{{\"n\":{}}}", self.number)),
            text(format!("topic{}", self.topic)),
            text(format!("key{}", self.key)),
            None,
            None,
            Some(vec![u8::from(self.is_published)]),
        ]
    }
}

fn gtid(number: u64) -> Gtid {
    Gtid::new(Uuid::from_bytes([9; 16]), None, number).expect("numbers begin at 1")
}
