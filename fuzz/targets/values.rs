//! Single values: JSON documents in MySQL's binary format, and text in each character set.

use mysql_binlog::JsonStyle;
use mysql_binlog::charset::Charset;
use mysql_binlog::table::{Column, ColumnKind};
use mysql_binlog::value::{self, JsonOptions};

use super::seeds::{golden, unhex};
use super::{KIB, Limit, Target};

/// First byte: the style of MySQL 5.7 or 8.0. The rest is a document.
pub const JSON: Target =
    Target { name: "json", run: json, seeds: json_seeds, limit: Limit::new(4 * KIB, 32) };

/// First two bytes: the collation's number, little-endian. The rest is text.
pub const CHARSET: Target =
    Target { name: "charset", run: charset, seeds: charset_seeds, limit: Limit::new(KIB, 16) };

fn json(data: &[u8]) {
    let Some((style, document)) = data.split_first() else { return };
    let json_style = if style & 1 == 0 { JsonStyle::V8_0 } else { JsonStyle::V5_7 };
    let column = Column {
        name: String::new(),
        kind: ColumnKind::Json { length_bytes: 4 },
        nullable: true,
        unsigned: None,
        charset: None,
        values: None,
        json_style,
        display: mysql_binlog::table::Display::default(),
    };
    let _ = value::text(&column, document);
    let _ = value::write_json(&column, document, JsonOptions::default(), &mut Vec::new());
}

fn json_seeds() -> Vec<Vec<u8>> {
    let golden = golden("json.json");
    let servers = golden.as_array().expect("a list of servers").iter();
    let documents = servers.enumerate().flat_map(|(style, server)| {
        let documents = server["documents"].as_array().expect("a list of documents").iter();
        documents.map(move |document| [vec![style as u8], unhex(&document[0])].concat())
    });
    documents.collect()
}

fn charset(data: &[u8]) {
    let Some((collation, text)) = data.split_first_chunk::<2>() else { return };
    let charset = Charset::from_collation(usize::from(u16::from_le_bytes(*collation)));
    let _ = charset.decode(text);
}

fn charset_seeds() -> Vec<Vec<u8>> {
    let golden = golden("charsets.json");
    let charsets = golden.as_object().expect("character sets by name").iter();
    let mut seeds: Vec<Vec<u8>> = charsets
        .map(|(name, it)| [collation_of(name).to_le_bytes().to_vec(), unhex(&it["bytes"])].concat())
        .collect();
    for name in ["utf8mb4", "ucs2", "utf16", "utf16le", "utf32", "binary"] {
        seeds.push(
            [&collation_of(name).to_le_bytes()[..], b"\0a\0\xe9\xd8\x3d\xde\x00\0\0"].concat(),
        );
    }
    seeds
}

fn collation_of(name: &str) -> u16 {
    let charset = Charset::from_name(name).expect("a known character set");
    let ids = (1..2048).find(|id| Charset::from_collation(usize::from(*id)) == charset);
    ids.expect("a character set has a collation")
}
