//! Table maps and rows: a table's shape and its values enter, and leave as the bodies of events.

use super::body::length;
use crate::table::{ColumnKind, Size};

// Fields of the optional metadata.
const SIGNEDNESS: u8 = 1;
const COLUMN_CHARSET: u8 = 3;
const COLUMN_NAME: u8 = 4;

/// `utf8mb4_0900_ai_ci`
const UTF8MB4: usize = 255;
const BINARY: usize = 63;

const FLAG_STATEMENT_END: u16 = 1;

/// The values of a row, one a column; `None` is NULL. Each is as the binlog has it, without the length before it.
pub type Row = Vec<Option<Vec<u8>>>;

/// A table as its table map describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// The number by which rows name their table map. It has 48 bits.
    pub table_id: u64,
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its columns, in the order of the rows.
    pub columns: Vec<Column>,
    /// The table map names the columns (`binlog_row_metadata=FULL`).
    pub has_names: bool,
}

/// A column of a [`TableShape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnKind,
    /// It takes NULL.
    pub is_nullable: bool,
    /// It is a number without a sign.
    pub is_unsigned: bool,
    /// Bytes that are no text.
    pub is_binary: bool,
}

impl Column {
    /// NOT NULL, signed, and text in utf8mb4 where its values are text.
    pub fn new(name: &str, kind: ColumnKind) -> Column {
        let name = name.to_owned();
        Column { name, kind, is_nullable: false, is_unsigned: false, is_binary: false }
    }

    /// BIGINT NOT NULL. Its values are the 8 bytes of an `i64`, the lowest first.
    pub fn big_int(name: &str) -> Column {
        Column::new(name, ColumnKind::LongLong)
    }

    /// VARCHAR NOT NULL in utf8mb4, of so many characters.
    pub fn var_char(name: &str, characters_max: u16) -> Column {
        Column::new(name, ColumnKind::VarChar { bytes_max: characters_max.saturating_mul(4) })
    }

    /// LONGTEXT NOT NULL in utf8mb4.
    pub fn long_text(name: &str) -> Column {
        Column::new(name, ColumnKind::Blob { length_bytes: 4 })
    }

    /// The same column, that takes NULL.
    #[must_use]
    pub fn nullable(self) -> Column {
        Column { is_nullable: true, ..self }
    }
}

impl TableShape {
    /// A table whose table map names its columns.
    pub fn new(table_id: u64, database: &str, name: &str, columns: Vec<Column>) -> TableShape {
        let (database, name) = (database.to_owned(), name.to_owned());
        TableShape { table_id, database, name, columns, has_names: true }
    }

    /// The body of a TABLE_MAP event.
    ///
    /// # Panics
    /// A column is the array column of a multi-valued index.
    pub fn table_map(&self) -> Vec<u8> {
        let mut body = self.table_id.to_le_bytes()[..6].to_vec();
        body.extend([1, 0]);
        for name in [&self.database, &self.name] {
            sized(&mut body, name.as_bytes());
            body.push(0);
        }
        let (mut types, mut metadata) = (Vec::new(), Vec::new());
        for column in &self.columns {
            let (type_code, of_type) = encoded_kind(column.kind);
            types.push(type_code);
            metadata.extend(of_type);
        }
        sized(&mut body, &types);
        sized(&mut body, &metadata);
        body.extend(bits(self.columns.iter().map(|column| column.is_nullable)));
        self.append_optional(&mut body);
        body
    }

    fn append_optional(&self, body: &mut Vec<u8>) {
        let numeric = self.columns.iter().filter(|column| column.kind.is_numeric());
        // These bits count from the highest one of each byte.
        let signs = bits(numeric.map(|column| column.is_unsigned));
        let signs: Vec<u8> = signs.into_iter().map(u8::reverse_bits).collect();
        let mut collations = Vec::new();
        for column in self.columns.iter().filter(|column| column.kind.has_collation()) {
            length(&mut collations, if column.is_binary { BINARY } else { UTF8MB4 });
        }
        let mut names = Vec::new();
        for column in self.columns.iter().filter(|_| self.has_names) {
            sized(&mut names, column.name.as_bytes());
        }
        let fields = [(SIGNEDNESS, signs), (COLUMN_CHARSET, collations), (COLUMN_NAME, names)];
        for (field, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            body.push(*field);
            sized(body, value);
        }
    }

    /// The body of a WRITE_ROWS event (version 2) that ends its statement.
    ///
    /// # Panics
    /// A row has another number of values than the table has columns, or a value does not fit its column.
    pub fn write_rows(&self, rows: &[Row]) -> Vec<u8> {
        let mut body = self.table_id.to_le_bytes()[..6].to_vec();
        body.extend(FLAG_STATEMENT_END.to_le_bytes());
        // The length of the extra data, of which there is none.
        body.extend([2, 0]);
        length(&mut body, self.columns.len());
        body.extend(bits(self.columns.iter().map(|_| true)));
        for row in rows {
            assert_eq!(row.len(), self.columns.len(), "a row has a value for each column");
            body.extend(bits(row.iter().map(Option::is_none)));
            for (value, column) in row.iter().zip(&self.columns) {
                append_value(&mut body, column.kind.size(), value.as_deref());
            }
        }
        body
    }
}

fn append_value(body: &mut Vec<u8>, size: Size, value: Option<&[u8]>) {
    let Some(value) = value else { return };
    match size {
        Size::Fixed(bytes) => assert_eq!(value.len(), usize::from(bytes), "the value's length"),
        Size::Prefixed(width) => {
            let length = (value.len() as u64).to_le_bytes();
            let (length, zeros) = length.split_at(width.into());
            assert!(zeros.iter().all(|byte| *byte == 0), "the value is short enough");
            body.extend(length);
        }
        Size::Unknown => panic!("values of such a column are not in rows"),
    }
    body.extend(value);
}

fn sized(body: &mut Vec<u8>, bytes: &[u8]) {
    length(body, bytes.len());
    body.extend(bytes);
}

/// Bits, from the lowest one of the first byte on.
fn bits(bits: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, bit) in bits.enumerate() {
        if index % 8 == 0 {
            bytes.push(0);
        }
        *bytes.last_mut().expect("one was added") |= u8::from(bit) << (index % 8);
    }
    bytes
}

/// The type code of a column, and its metadata.
fn encoded_kind(kind: ColumnKind) -> (u8, Vec<u8>) {
    use ColumnKind::*;
    match kind {
        Tiny => (1, vec![]),
        Short => (2, vec![]),
        Long => (3, vec![]),
        Float => (4, vec![4]),
        Double => (5, vec![8]),
        Timestamp => (7, vec![]),
        LongLong => (8, vec![]),
        Int24 => (9, vec![]),
        Date => (10, vec![]),
        Time => (11, vec![]),
        DateTime => (12, vec![]),
        Year => (13, vec![]),
        VarChar { bytes_max } => (15, bytes_max.to_le_bytes().to_vec()),
        Bit { bits } => (16, vec![(bits % 8) as u8, (bits / 8) as u8]),
        Timestamp2 { fraction } => (17, vec![fraction]),
        DateTime2 { fraction } => (18, vec![fraction]),
        Time2 { fraction } => (19, vec![fraction]),
        Vector { length_bytes } => (242, vec![length_bytes]),
        Json { length_bytes } => (245, vec![length_bytes]),
        Decimal { precision, scale } => (246, vec![precision, scale]),
        Blob { length_bytes } => (252, vec![length_bytes]),
        // CHAR, ENUM and SET share a type. Bits 8 and 9 of a length are inverted in the first byte.
        Char { bytes_max } => {
            (254, vec![254 ^ ((bytes_max >> 4) & 0x30) as u8, bytes_max.to_le_bytes()[0]])
        }
        Enum { bytes } => (254, vec![247, bytes]),
        Set { bytes } => (254, vec![248, bytes]),
        Geometry { length_bytes } => (255, vec![length_bytes]),
        TypedArray => panic!("no row has such a column"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Cell, RowDecoder, RowsEvent};
    use crate::table::{Table, TableMap};

    #[test]
    fn a_table_is_read_as_it_was_written() {
        use ColumnKind::*;
        let kinds = [
            Tiny,
            LongLong,
            VarChar { bytes_max: 255 },
            VarChar { bytes_max: 1020 },
            Char { bytes_max: 1020 },
            Char { bytes_max: 40 },
            Bit { bits: 10 },
            DateTime2 { fraction: 6 },
            Decimal { precision: 20, scale: 5 },
            Blob { length_bytes: 2 },
            Json { length_bytes: 4 },
            Enum { bytes: 2 },
            Set { bytes: 8 },
        ];
        let column = |(index, kind): (usize, &ColumnKind)| Column {
            is_nullable: index % 2 == 0,
            is_unsigned: index == 1,
            ..Column::new(&format!("c{index}"), *kind)
        };
        let columns: Vec<Column> = kinds.iter().enumerate().map(column).collect();
        let shape = TableShape::new(0x0001_0203_0405, "shop", "events", columns);
        let body = shape.table_map();
        let map = TableMap::parse(&body).unwrap();
        assert_eq!((map.table_id(), map.schema(), map.table()), (shape.table_id, "shop", "events"));
        let table = Table::from_metadata(&map).expect("it has names");
        for (read, written) in table.columns.iter().zip(&shape.columns) {
            assert_eq!((&read.name, read.kind), (&written.name, written.kind));
            assert_eq!(read.nullable, written.is_nullable);
        }
        assert_eq!(table.columns[1].unsigned, Some(true));
        assert_eq!(table.columns[0].unsigned, Some(false));
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let columns = vec![
            Column::big_int("id"),
            Column::var_char("name", 64).nullable(),
            Column::long_text("data"),
        ];
        let shape = TableShape::new(9, "shop", "events", columns);
        let rows: Vec<Row> = vec![
            vec![Some(5_i64.to_le_bytes().to_vec()), None, Some(b"{}".to_vec())],
            vec![Some(6_i64.to_le_bytes().to_vec()), Some(b"a".repeat(256)), Some(vec![])],
        ];
        let (map, body) = (shape.table_map(), shape.write_rows(&rows));
        let table = Table::from_metadata(&TableMap::parse(&map).unwrap()).unwrap();
        let decoder = RowDecoder::new(&table, &[0, 1, 2]);
        let event = RowsEvent::parse(crate::event_type::WRITE_ROWS, &body).unwrap();
        assert!(event.ends_statement());
        let mut left = event.rows();
        for row in &rows {
            let mut cells = [Cell::Absent; 3];
            decoder.decode(&mut left, event.present(), &mut cells).unwrap();
            let expected = row.iter().map(|value| match value {
                Some(bytes) => Cell::Bytes(bytes),
                None => Cell::Null,
            });
            assert!(cells.into_iter().eq(expected));
        }
        assert!(left.is_empty());
    }
}
