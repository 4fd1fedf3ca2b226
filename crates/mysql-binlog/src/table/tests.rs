//! Tests, built under `#[cfg(test)]` only. Table maps recorded from real servers, and damaged ones.

use proptest::prelude::*;

use super::golden;
use super::schema::Difference;
use super::*;

#[test]
fn events_and_schema_describe_the_same_table() {
    let mut with_names = 0;
    for golden in golden::tables() {
        let recorded = golden.recorded();
        let map = recorded.map();
        let by_schema = Table::from_schema(&map, &golden.schema_columns()).unwrap();
        let alone = Table::of_schema("g", &golden.table, &golden.schema_columns()).unwrap();
        assert_eq!(alone, by_schema);
        match Table::from_metadata(&map) {
            Some(by_event) => {
                with_names += 1;
                assert_eq!(by_event.columns.len(), by_schema.columns.len());
                for (by_event, by_schema) in by_event.columns.iter().zip(&by_schema.columns) {
                    assert_same_column(by_event, by_schema, &golden.server);
                }
            }
            None => assert!(!golden.has_names()),
        }
        assert_eq!((map.schema(), map.table()), ("g", golden.table.as_str()));
        assert_eq!(by_schema.full_name(), format!("g.{}", golden.table));
    }
    assert!(with_names >= 5);
}

fn assert_same_column(by_event: &Column, by_schema: &Column, server: &str) {
    let mut by_event = by_event.clone();
    if by_event.name == "e_utf8mb4" {
        // The event knows the emoji, information_schema shows a `?`.
        assert_eq!(by_event.values.as_ref().unwrap()[0].as_deref(), Some("é€😀"));
        by_event.values.as_mut().unwrap()[0] = None;
    }
    assert_eq!(&by_event, by_schema, "{server}");
}

#[test]
fn peek_sees_what_parse_sees() {
    for golden in golden::tables() {
        let recorded = golden.recorded();
        let map = recorded.map();
        let head = TableId::peek(&recorded.table_map).unwrap();
        assert_eq!(head.signature, map.signature());
    }
}

#[test]
fn every_type_of_the_recorded_table_is_known() {
    let tables = golden::tables();
    let types = tables.iter().find(|golden| golden.has_names() && golden.table == "types").unwrap();
    let recorded = types.recorded();
    let table = types.table(&recorded.map());
    let kind = |name: &str| table.columns[table.position(name).unwrap()].kind;
    assert_eq!(kind("dec2"), ColumnKind::Decimal { precision: 65, scale: 30 });
    assert_eq!(kind("bit10"), ColumnKind::Bit { bits: 10 });
    assert_eq!(kind("dt6"), ColumnKind::DateTime2 { fraction: 6 });
    assert_eq!(kind("c255"), ColumnKind::Char { bytes_max: 1020 });
    assert_eq!(kind("v255l"), ColumnKind::VarChar { bytes_max: 255 });
    assert_eq!(kind("v64"), ColumnKind::VarChar { bytes_max: 256 });
    assert_eq!(kind("e300"), ColumnKind::Enum { bytes: 2 });
    assert_eq!(kind("st9"), ColumnKind::Set { bytes: 2 });
    assert_eq!(kind("mt"), ColumnKind::Blob { length_bytes: 3 });
    let column = |name: &str| &table.columns[table.position(name).unwrap()];
    let values = ["a", "b'c", "d\\e,f", "é"].map(|value| Some(value.to_owned()));
    assert_eq!(column("e").values.as_deref(), Some(&values[..]));
    assert_eq!(column("BU").unsigned, Some(true), "names are found without regard to case");
    assert_eq!(column("v64").charset, Some(Charset::Utf8mb4));
    assert_eq!(column("vb20").charset, Some(Charset::Binary));
    assert!(!column("tu").nullable && column("t").nullable);
}

/// A length takes a second byte as soon as the longest value has more than 255 *bytes*.
#[test]
fn lengths_are_as_wide_as_the_longest_value_in_bytes_needs() {
    assert_eq!(ColumnKind::VarChar { bytes_max: 255 }.size(), Size::Prefixed(1));
    assert_eq!(ColumnKind::VarChar { bytes_max: 256 }.size(), Size::Prefixed(2));
    assert_eq!(ColumnKind::Char { bytes_max: 1020 }.size(), Size::Prefixed(2));
}

#[test]
fn decimals_take_the_bytes_of_their_digits() {
    let size = |precision, scale| ColumnKind::Decimal { precision, scale }.size();
    assert_eq!(size(10, 3), Size::Fixed(6));
    assert_eq!(size(65, 30), Size::Fixed(30));
    assert_eq!(size(4, 4), Size::Fixed(2));
    assert_eq!(size(18, 9), Size::Fixed(8));
}

/// A change to one column of information_schema's answer.
type Alteration = fn(&mut SchemaColumn);

/// Alters one column of the recorded table of all types, as 8.0 with MINIMAL metadata has it.
fn difference(column: &str, alter: Alteration) -> Difference {
    let tables = golden::tables();
    let types = tables
        .iter()
        .find(|golden| golden.server.ends_with("MINIMAL") && golden.table == "types")
        .unwrap();
    let recorded = types.recorded();
    let mut columns = types.schema_columns();
    alter(columns.iter_mut().find(|schema| schema.name == column).unwrap());
    Table::from_schema(&recorded.map(), &columns).unwrap_err().difference
}

#[test]
fn an_altered_column_is_a_mismatch_that_names_it() {
    let of_kind = |difference: Difference, name: &str| match difference {
        Difference::Kind { column, .. } => assert_eq!(column, name),
        other => panic!("{other}"),
    };
    of_kind(difference("i", |c| c.data_type = "bigint".to_owned()), "i");
    of_kind(difference("v64", |c| c.octet_length_max = Some(260)), "v64");
    of_kind(difference("c10", |c| c.data_type = "varchar".to_owned()), "c10");
    of_kind(difference("dec1", |c| c.numeric_scale = Some(2)), "dec1");
    of_kind(difference("dt6", |c| c.datetime_precision = Some(3)), "dt6");
    of_kind(difference("te", |c| c.data_type = "mediumtext".to_owned()), "te");
    of_kind(difference("bit10", |c| c.numeric_precision = Some(9)), "bit10");
    of_kind(difference("e300", |c| c.column_type = "enum('a')".to_owned()), "e300");
    assert_eq!(
        difference("t", |c| c.nullable = false),
        Difference::Nullable { column: "t".to_owned(), event: true }
    );
    assert_eq!(
        difference("bu", |c| c.column_type = "bigint".to_owned()),
        Difference::Unsigned { column: "bu".to_owned(), event: true }
    );
    assert_eq!(
        difference("v63", |c| c.charset = Some("utf16".to_owned())),
        Difference::Charset {
            column: "v63".to_owned(),
            event: Charset::Utf8mb4,
            schema: Charset::Utf16
        }
    );
    let charset = "utf9".to_owned();
    assert_eq!(
        difference("te", |c| c.charset = Some("utf9".to_owned())),
        Difference::UnknownCharset { column: "te".to_owned(), charset }
    );
    let unknown = difference("j", |c| {
        c.data_type = "xml".to_owned();
        c.column_type = "xml".to_owned();
    });
    assert_eq!(unknown.to_string(), "column j has the type xml, which this version does not know");
}

#[test]
fn a_dropped_column_is_a_mismatch() {
    let tables = golden::tables();
    let recorded = tables[0].recorded();
    let mut columns = tables[0].schema_columns();
    columns.pop();
    let mismatch = Table::from_schema(&recorded.map(), &columns).unwrap_err();
    assert_eq!(
        mismatch.to_string(),
        format!(
            "g.types is not what it was when its binlog event was written: the event has {} columns, \
             information_schema has {}",
            columns.len() + 1,
            columns.len()
        )
    );
}

#[test]
fn a_table_map_cut_off_anywhere_is_an_error_or_has_no_later_metadata() {
    for golden in golden::tables() {
        let body = golden.recorded().table_map;
        for length in 0..body.len() {
            if let Ok(map) = TableMap::parse(&body[..length]) {
                // Whole fields of optional metadata may be missing: the server need not write them.
                assert_eq!(map.kinds(), golden.recorded().map().kinds());
            }
        }
    }
}

#[test]
fn unknown_types_and_impossible_metadata_are_errors() {
    let body = |types: &[u8], metadata: &[u8]| {
        let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0, 1, b's', 0, 1, b't', 0, types.len() as u8];
        body.extend(types);
        body.push(metadata.len() as u8);
        body.extend(metadata);
        body.push(0);
        body
    };
    let error = |types: &[u8], metadata: &[u8]| TableMap::parse(&body(types, metadata)).err();
    assert_eq!(error(&[3], &[]), None);
    assert_eq!(error(&[3, 200], &[]), Some(Error::UnknownType { column: 1, type_code: 200 }));
    assert_eq!(error(&[252], &[9]), Some(Error::Metadata { column: 0, metadata: 9 }));
    assert_eq!(error(&[246], &[3, 4]), Some(Error::Metadata { column: 0, metadata: 0x0304 }));
    // An element of a typed array has its own metadata, a VARCHAR three bytes of it.
    assert_eq!(error(&[20, 252], &[15, 1, 2, 3, 2]), None);
    assert!(matches!(error(&[15], &[1]), Some(Error::Malformed(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_a_table_map_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = TableMap::parse(&bytes).map(|map| Table::from_metadata(&map));
    }

    /// Real events with a few bytes changed reach further into the parser than random ones.
    #[test]
    fn a_damaged_table_map_is_a_table_map_or_an_error(
        which in 0_usize..10,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let golden = &golden::tables()[which];
        let mut body = golden.recorded().table_map;
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(map) = TableMap::parse(&body) {
            let _ = Table::from_metadata(&map);
            let _ = Table::from_schema(&map, &golden.schema_columns());
        }
    }
}

/// Recorded from MySQL 9.7.4 with FULL metadata.
fn recorded_from_9(hex: &str) -> Table {
    Table::from_metadata(&TableMap::parse(&golden::unhex(hex)).unwrap()).unwrap()
}

fn charset_of(table: &Table, name: &str) -> Option<Charset> {
    table.columns[table.position(name).unwrap()].charset
}

#[test]
fn a_vector_does_not_shift_the_character_sets_of_the_columns_after_it() {
    // Each character set by itself: a latin1, v VECTOR(3), b utf8mb4, e ENUM latin2, s SET, bl BLOB, t TEXT.
    let table = recorded_from_9(
        "6a00000000000100016700027631000b030ff20ffefef5fcfffc030d0a00042800f701f80104020402fe070101400309083f\
         fcff003ffcff000701000d0103041a02696401610176016201650173016a02626c0367656f017401750b0409fcff0005030\
         1017906030101780801000c02ffe0",
    );
    for (name, charset) in [
        ("a", Some(Charset::Latin1)),
        ("v", None),
        ("b", Some(Charset::Utf8mb4)),
        ("e", Some(Charset::Latin2)),
        ("s", Some(Charset::Utf8mb4)),
        ("j", None),
        ("bl", Some(Charset::Binary)),
        ("geo", None),
        ("t", Some(Charset::Utf8mb4)),
    ] {
        assert_eq!(charset_of(&table, name), charset, "{name}");
    }
    assert_eq!(table.columns[10].unsigned, Some(true));
    // One for most and exceptions by number: geo, j, v VECTOR, a, b, c latin1, d, e.
    let table = recorded_from_9(
        "6d00000000000100016700027633000a03fff5f2fcfcfcfcfc08080404040202020202fe030101400207fcff00003f0308\
         0701010d03fc000804170269640367656f016a01760161016201630164016501660801000c02ffc0",
    );
    for name in ["a", "b", "d", "e"] {
        assert_eq!(charset_of(&table, name), Some(Charset::Utf8mb4), "{name}");
    }
    assert_eq!(charset_of(&table, "c"), Some(Charset::Latin1));
    // The only one that has a collation.
    let table = recorded_from_9(
        "6c00000000000100016700027632000203f201040201010002013f0d0103040502696401760801000c01c0",
    );
    assert_eq!(table.columns[1].kind, ColumnKind::Vector { length_bytes: 4 });
    assert_eq!(charset_of(&table, "v"), None);
}

/// A table `s.t` with these types, and this optional metadata.
fn table_map(types: &[u8], metadata: &[u8], optional: &[u8]) -> Vec<u8> {
    let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0, 1, b's', 0, 1, b't', 0, types.len() as u8];
    body.extend(types);
    body.push(metadata.len() as u8);
    body.extend(metadata);
    body.extend(vec![0; types.len().div_ceil(8)]);
    body.extend(optional);
    body
}

#[test]
fn a_list_that_counts_other_columns_than_we_do_is_an_error() {
    // Two TEXT columns, and three collations, signs or names for them.
    for optional in [&[3, 3, 45, 8, 45][..], &[1, 1, 0], &[4, 6, 1, b'a', 1, b'b', 1, b'c']] {
        let body = table_map(&[252, 252], &[2, 2], optional);
        assert!(matches!(TableMap::parse(&body), Err(Error::Malformed(_))), "{optional:?}");
    }
    assert!(TableMap::parse(&table_map(&[252, 252], &[2, 2], &[3, 2, 45, 8])).is_ok());
}

#[test]
fn fields_of_later_servers_are_passed_over() {
    let optional = [200, 3, 1, 2, 3, 13, 1, 7, 3, 1, 45, 255, 0, 4, 2, 1, b'a'];
    let body = table_map(&[252], &[2], &optional);
    let table = Table::from_metadata(&TableMap::parse(&body).unwrap()).unwrap();
    assert_eq!(
        (table.columns[0].name.as_str(), table.columns[0].charset),
        ("a", Some(Charset::Utf8mb4))
    );
}

#[test]
fn a_collation_that_a_person_made_is_of_the_character_set_that_the_server_says() {
    // Ids up to 2047, three of them unknown.
    let optional = [3, 14, 45, 0xfc, 0xe8, 3, 0xfc, 0xe9, 3, 8, 0xfc, 0xe8, 3, 0xfc, 0xff, 7];
    let names = [4, 12, 1, b'a', 1, b'b', 1, b'c', 1, b'd', 1, b'e', 1, b'f'];
    let body = table_map(&[252; 6], &[2; 6], &[&optional[..], &names].concat());
    let mut map = TableMap::parse(&body).unwrap();
    assert_eq!(map.unknown_collations(), [1000, 1001, 2047]);
    map.name_collations(&[(1000, Charset::Utf8mb4), (2047, Charset::Latin2)]);
    assert_eq!(map.unknown_collations(), [1001]);
    let charsets: Vec<_> = Table::from_metadata(&map).unwrap().columns;
    let charsets: Vec<_> = charsets.into_iter().map(|column| column.charset.unwrap()).collect();
    assert_eq!(
        charsets,
        [
            Charset::Utf8mb4,
            Charset::Utf8mb4,
            Charset::Unknown(1001),
            Charset::Latin1,
            Charset::Utf8mb4,
            Charset::Latin2
        ]
    );
}

#[test]
fn a_list_that_comes_twice_is_an_error() {
    // Each list costs a look at all columns. In an event of megabytes that says the same again and again, that would
    // take hours.
    let parse = |optional: &[u8]| TableMap::parse(&table_map(&[252], &[2], optional)).err();
    for list in [&[2, 1, 45][..], &[3, 1, 45], &[4, 2, 1, b'a'], &[1, 0], &[10, 1, 45], &[5, 0]] {
        assert_eq!(parse(list), None, "{list:?}");
        let twice = Some(Error::Malformed(Malformed::Long(list.len() - 2)));
        assert_eq!(parse(&list.repeat(2)), twice, "{list:?}");
    }
    // What is passed over costs nothing.
    assert_eq!(parse(&[200, 1, 7].repeat(9)), None);
}

#[test]
fn more_columns_than_any_server_allows_are_an_error() {
    for (count, too_many) in [(4096_u32, 0), (4097, 1), (70_000, 65_904)] {
        let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0, 1, b's', 0, 1, b't', 0, 0xfd];
        body.extend(&count.to_le_bytes()[..3]);
        body.extend(vec![3; count as usize]);
        body.push(0);
        body.extend(vec![0xff; count.div_ceil(8) as usize]);
        let expected = Some(too_many).filter(|count| *count > 0).map(Malformed::Long);
        assert_eq!(TableMap::parse(&body).err(), expected.map(Error::Malformed), "{count}");
    }
}

#[test]
fn a_table_of_thousands_of_columns_is_read() {
    let count = 4000_usize;
    let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0, 1, b's', 0, 1, b't', 0, 0xfc];
    body.extend((count as u16).to_le_bytes());
    body.extend(vec![3; count]);
    body.push(0);
    body.extend(vec![0xff; count / 8]);
    let names: Vec<u8> =
        (0..count).flat_map(|n| [&[4][..], format!("{n:04}").as_bytes()].concat()).collect();
    body.push(4);
    body.push(0xfd);
    body.extend(&(names.len() as u32).to_le_bytes()[..3]);
    body.extend(names);
    let table = Table::from_metadata(&TableMap::parse(&body).unwrap()).unwrap();
    assert_eq!((table.columns.len(), table.position("3999")), (count, Some(count - 1)));
}
