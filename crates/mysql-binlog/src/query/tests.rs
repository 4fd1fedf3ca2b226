//! Tests, built under `#[cfg(test)]` only. What statements do to outbox tables, by a corpus of them and by any text.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
const UTF8MB4: u16 = 255;
const GBK: u16 = 28;
const LATIN1: u16 = 8;

/// An event of the database `shop` as the server writes it.
fn body(text: &[u8], sql_mode: u64, charset: u16) -> Vec<u8> {
    let mut status = vec![0, 0, 0, 0, 0, 1];
    status.extend_from_slice(&sql_mode.to_le_bytes());
    status.extend_from_slice(&[6, 3, b's', b't', b'd', 4]);
    status.extend_from_slice(&[charset.to_le_bytes(), charset.to_le_bytes(), [255, 0]].concat());
    with_status(text, &status)
}

fn with_status(text: &[u8], status: &[u8]) -> Vec<u8> {
    let mut body = vec![0; POST_HEADER_LEN];
    (body[8], body[11]) = (4, status.len().try_into().unwrap());
    [&body, status, b"shop\0", text].concat()
}

fn is_outbox(database: &str, table: &str) -> bool {
    (database, table) == ("shop", "events")
        || database == "shop"
            && ["my-outbox", "a`b", "a\"b", "阿", "order", "заказы"].contains(&table)
}

fn effect_of(body: &[u8]) -> Effect {
    Query::parse(body).unwrap().effect(&is_outbox)
}

fn effect(text: &str) -> Effect {
    effect_of(&body(text.as_bytes(), 0, UTF8MB4))
}

fn adds(table: &str) -> Effect {
    Effect::Adds(format!("shop.{table}"))
}

fn defines(moves_rows: bool) -> Effect {
    Effect::Defines(Definition { table: "shop.events".to_owned(), moves_rows })
}

#[test]
fn the_event_is_read_as_the_server_writes_it() {
    let event = body(b"BEGIN", 0, UTF8MB4);
    let query = Query::parse(&event).unwrap();
    assert_eq!((query.database, query.text), (&b"shop"[..], &b"BEGIN"[..]));
    assert_eq!(Query::parse(&event[..40]), None);
}

#[test]
fn a_group_is_controlled_by_the_forms_that_the_server_writes() {
    for (text, control) in [
        ("BEGIN", Control::Begin),
        ("COMMIT", Control::Commit),
        ("ROLLBACK", Control::Rollback),
        ("ROLLBACK TO `a`", Control::RollbackTo),
        ("ROLLBACK TO \"x y\"", Control::RollbackTo),
        ("ROLLBACK TO a", Control::RollbackTo),
        ("SAVEPOINT `b``c`", Control::Savepoint),
        ("SAVEPOINT a", Control::Savepoint),
        ("XA START X'7831',X'',1", Control::XaStart),
        ("XA END X'7831',X'',1", Control::XaEnd),
        ("XA COMMIT X'7831',X'',1", Control::XaFinish),
        ("XA ROLLBACK X'7831',X'',1", Control::XaFinish),
    ] {
        let event = body(text.as_bytes(), 0, UTF8MB4);
        assert_eq!(Query::parse(&event).unwrap().control(), Some(control), "{text}");
    }
}

#[test]
fn a_group_is_not_controlled_by_what_a_user_wrote() {
    for text in [
        "-- Begin migration 42\nALTER TABLE other.t ADD x INT",
        "-- rollback of 41\nALTER TABLE other.t ADD x INT",
        "# savepoint table\nCREATE TABLE other.t (a INT)",
        "-- xa start\nDROP TABLE other.t",
        "/* commit */ TRUNCATE other.t",
        "BEGIN -- x",
        "begin",
        "COMMIT /* log */",
        "START TRANSACTION",
        "",
    ] {
        let event = body(text.as_bytes(), 0, UTF8MB4);
        assert_eq!(Query::parse(&event).unwrap().control(), None, "{text}");
        assert_eq!(effect(text), Effect::Nothing, "{text}");
    }
}

/// Statements that add rows to `shop.events`; words are apart by one space, names are in backticks.
const ADDING: [&str; 30] = [
    "INSERT INTO `shop` . `events` VALUES ( 1 )",
    "INSERT INTO `events` VALUES ( 1 )",
    "INSERT INTO . `events` VALUES ( 1 )",
    "INSERT `events` SET `a` = 1",
    "INSERT LOW_PRIORITY IGNORE INTO `events` ( `a` ) SELECT 1",
    "INSERT HIGH_PRIORITY `events` ( ) VALUES ( )",
    "INSERT DELAYED INTO `events` VALUES ( 1 )",
    "INSERT INTO `events` PARTITION ( `p` ) VALUES ( 1 ) ON DUPLICATE KEY UPDATE `a` = 1",
    "INSERT INTO `events` TABLE `t`",
    "INSERT INTO `events` WITH `c` AS ( SELECT 1 ) SELECT * FROM `c`",
    "REPLACE `events` VALUES ( 1 )",
    "REPLACE DELAYED INTO `shop` . `events` VALUES ( 1 )",
    "LOAD DATA INFILE 'x' INTO TABLE `events` FIELDS TERMINATED BY ','",
    "LOAD DATA CONCURRENT LOCAL INFILE 'x' REPLACE INTO TABLE `shop` . `events`",
    "LOAD XML INFILE 'x' IGNORE INTO TABLE `events`",
    "CREATE TABLE `events` SELECT * FROM `t`",
    "CREATE TABLE IF NOT EXISTS `shop` . `events` AS SELECT 1",
    "CREATE TABLE `events` ( SELECT 1 )",
    "CREATE TABLE `events` ( ( SELECT 1 ) )",
    "CREATE TABLE `events` ( `a` INT ) ( SELECT 1 )",
    "CREATE TABLE `events` ( `a` INT ) ENGINE = InnoDB COMMENT 'x' REPLACE AS SELECT 1",
    "CREATE TABLE `events` ( `a` INT ) PARTITION BY RANGE ( `a` ) ( PARTITION `p` VALUES LESS THAN ( 5 ) ) SELECT 1",
    "CREATE TABLE `events` TABLE `t`",
    "CREATE TABLE `events` AS VALUES ROW ( 1 ) , ROW ( 2 )",
    "CREATE TABLE `events` ( TABLE `t` )",
    "CREATE TABLE `events` WITH `c` AS ( SELECT 1 ) SELECT * FROM `c`",
    "CREATE TABLE `events` AS ( WITH `c` AS ( TABLE `t` ) TABLE `c` )",
    "CREATE OR REPLACE TABLE `events` AS SELECT 1",
    "SET STATEMENT max_statement_time = 1 FOR INSERT INTO `events` VALUES ( 1 )",
    "ANALYZE FORMAT = JSON INSERT INTO `events` VALUES ( 1 )",
];

/// Statements that add no row to it, though they name it.
const ELSEWHERE: [&str; 22] = [
    "CREATE TEMPORARY TABLE `events` SELECT 1",
    "DROP TEMPORARY TABLE IF EXISTS `events`",
    "REPLACE INTO `percona` . `checksums` SELECT * FROM `shop` . `events`",
    "INSERT INTO `audit_log` VALUES ( 'sent events to billing' )",
    "INSERT INTO `audit_log` VALUES ( 'INSERT INTO events' )",
    "INSERT INTO `other` . `events` VALUES ( 1 )",
    "INSERT INTO `events2` SELECT * FROM `events`",
    "INSERT INTO `t` SELECT * FROM `events` ON DUPLICATE KEY UPDATE `a` = ( SELECT MAX ( `a` ) FROM `events` )",
    "LOAD DATA INFILE 'events' INTO TABLE `t` SET `a` = ( SELECT `a` FROM `events` )",
    "CREATE TABLE `copy` SELECT * FROM `events`",
    "CREATE TABLE `other` . `events` SELECT * FROM `shop` . `events`",
    "UPDATE `events` SET `a` = 1",
    "UPDATE `events` , `t` SET `events` . `a` = `t` . `a`",
    "DELETE FROM `events`",
    "DELETE `events` FROM `events` JOIN `t`",
    "WITH `c` AS ( SELECT 1 ) DELETE FROM `events`",
    "SELECT `shop` . `f` ( )",
    "DO `events` ( )",
    "GRANT INSERT ON `shop` . `events` TO 'a' @ 'b'",
    "ANALYZE TABLE `events`",
    "OPTIMIZE TABLE `events`",
    "FLUSH TABLES `events`",
];

/// DDL that names it and adds no row.
const DEFINING: [&str; 36] = [
    "ALTER TABLE `events` ADD COLUMN import INT , ADD COLUMN exchange INT",
    "CREATE VIEW `v` AS SELECT 1 AS `events`",
    "ALTER TABLE `events` CHANGE `a` `b` INT",
    "ALTER TABLE `shop` . `events` ADD COLUMN `x` INT AFTER `a`",
    "ALTER TABLE `events` DISCARD TABLESPACE",
    "DROP TABLE IF EXISTS `t` , `events`",
    "TRUNCATE `events`",
    "TRUNCATE TABLE `shop` . `events`",
    "CREATE INDEX `i` ON `events` ( `a` )",
    "DROP INDEX `i` ON `events`",
    "CREATE TABLE `events` ( `a` INT )",
    "CREATE TABLE `events` ( `a` INT ) START TRANSACTION",
    "CREATE TABLE `events` LIKE `t`",
    "CREATE TABLE `events` ( LIKE `t` )",
    "CREATE TABLE `events` ( `select` INT , `table` INT , `b` INT DEFAULT ( VALUES ( `a` ) ) )",
    "CREATE TABLE `events` ( `a` INT CHECK ( `a` IN ( SELECT 1 ) ) )",
    "CREATE TABLE `events` ( `a` INT ) COMMENT = 'as select 1'",
    "CREATE TABLE `events` ( `a` INT ) PARTITION BY LIST ( `a` ) ( PARTITION `p` VALUES IN ( 5 ) )",
    "CREATE VIEW `v` AS SELECT * FROM `events`",
    "CREATE DEFINER = 'a' @ 'b' TRIGGER `g` AFTER INSERT ON `events` FOR EACH ROW INSERT INTO `t` VALUES ( 1 )",
    "CREATE PROCEDURE `p` ( ) INSERT INTO `events` VALUES ( 1 )",
    "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DO INSERT INTO `events` VALUES ( 1 )",
    "RENAME TABLE `events` TO `old`",
    "ALTER TABLE `events` RENAME `old`",
    "ALTER TABLE . `events` ADD COLUMN `x` INT",
    "CREATE VIEW `v` AS SELECT COUNT ( * ) AS `events` FROM `t`",
    "ALTER VIEW `v` AS SELECT COUNT ( * ) AS `events` FROM `t`",
    "RENAME USER `a` TO `events`",
    "ALTER EVENT `e` RENAME TO `events`",
    "ALTER TABLESPACE `a` RENAME TO `events`",
    "ALTER TABLE `t` RENAME COLUMN `a` TO `events`",
    "ALTER TABLE `t` RENAME INDEX `a` TO `events` , RENAME KEY `b` TO `events`",
    "ALTER TABLE `t` RENAME `other` . `events` , ADD INDEX `events` ( `a` )",
    "CREATE PROCEDURE `p` ( ) RENAME TABLE `t` TO `events`",
    "CREATE PROCEDURE `p` ( ) ALTER TABLE `events` EXCHANGE PARTITION `p` WITH TABLE `t`",
    "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DO ALTER TABLE `t` RENAME `events`",
];

/// DDL that may bring rows along.
const MOVING: [&str; 12] = [
    "RENAME TABLE `events` TO `old` , `new` TO `events`",
    "RENAME TABLE `t` TO `shop` . `events`",
    "ALTER TABLE `t` RENAME `events`",
    "ALTER TABLE `t` RENAME AS `shop` . `events`",
    "ALTER TABLE `t` EXCHANGE PARTITION `p` WITH TABLE `events`",
    "ALTER TABLE `events` IMPORT TABLESPACE",
    "ALTER TABLE `events` IMPORT PARTITION `p` TABLESPACE",
    "ALTER TABLE `events` EXCHANGE PARTITION `p` WITH TABLE `t`",
    "ALTER TABLE `t` RENAME = `events`",
    "ALTER TABLE `t` ADD COLUMN `a` INT , RENAME TO . `events` , RENAME COLUMN `b` TO `c`",
    "ALTER IGNORE TABLE `t` RENAME TO `events`",
    "RENAME TABLES `t` TO `events` , `a` TO `b`",
];

/// Statements that have nothing to do with it.
const STRANGERS: [&str; 6] = [
    "ALTER TABLE `other` . `events` ADD COLUMN `x` INT COMMENT 'shop.events'",
    "CREATE TABLE `t` ( `a` INT ) COMMENT 'events'",
    "DROP TABLE `events_old`",
    "DROP DATABASE `other`",
    "CREATE USER 'events' @ 'b'",
    "TRUNCATE `t`",
];

fn corpus() -> Vec<(&'static str, Effect)> {
    let of = |texts: &[&'static str], effect: &Effect| {
        texts.iter().map(|text| (*text, effect.clone())).collect::<Vec<_>>()
    };
    [
        of(&ADDING, &adds("events")),
        of(&ELSEWHERE, &Effect::Nothing),
        of(&DEFINING, &defines(false)),
        of(&MOVING, &defines(true)),
        of(&STRANGERS, &Effect::Nothing),
    ]
    .concat()
}

#[test]
fn only_the_table_that_is_written_to_counts() {
    for (text, expected) in corpus() {
        assert_eq!(effect(text), expected, "{text}");
        // A name that is a keyword as well is one only between quotes.
        if !text.contains("`select`") {
            assert_eq!(effect(&text.replace('`', "")), expected, "{text}");
        }
    }
}

#[test]
fn statements_of_public_reports_are_read_as_they_were_meant() {
    for (text, expected) in [
        ("-- order service\nINSERT INTO shop.events VALUES (1)", adds("events")),
        ("# order service\nINSERT INTO shop.events VALUES (1)", adds("events")),
        ("/*!50000 INSERT INTO shop.events VALUES (1) */", adds("events")),
        ("/*!50000 INSERT */ INTO shop.events VALUES (1)", adds("events")),
        ("insert into`events`values(1)", adds("events")),
        ("INSERT INTO `my-outbox` VALUES (1)", adds("my-outbox")),
        ("INSERT INTO `a``b` VALUES (1)", adds("a`b")),
        ("INSERT INTO shop.order VALUES (1)", adds("order")),
        ("INSERT /* 99999 it's */ INTO events VALUES (1)", adds("events")),
        ("INSERT INTO t /* events */ VALUES (1)", Effect::Nothing),
        // The first */ ends an optimizer hint, even between quotes.
        ("INSERT /*+ QB_NAME(`a*/ INTO t VALUES (1) -- `) */ INTO events", Effect::Nothing),
        ("INSERT /*+ QB_NAME(`a*/ INTO events VALUES (1) -- `) */ INTO t", adds("events")),
        ("-- insert triggers fill events\nALTER TABLE other.t ADD a INT", Effect::Nothing),
        ("-- commit log\nALTER TABLE shop.events CHANGE a b INT", defines(false)),
        ("DROP TABLE `t`,`events` /* generated by server */", defines(false)),
        ("INSERT INTO t VALUES (1);; -- events", Effect::Nothing),
        ("", Effect::Nothing),
        ("-- events", Effect::Nothing),
    ] {
        assert_eq!(effect(text), expected, "{text}");
    }
}

#[test]
fn a_name_in_another_case_is_an_outbox_only_where_the_filter_says_so() {
    let text = "INSERT INTO SHOP.Events VALUES (1)";
    assert_eq!(effect(text), Effect::Nothing);
    assert_eq!(effect("MERGE INTO SHOP.Events"), Effect::Nothing);
    assert_eq!(effect("ALTER TABLE SHOP.Events ADD a INT"), Effect::Nothing);
    let folded =
        |database: &str, table: &str| is_outbox(&database.to_lowercase(), &table.to_lowercase());
    let event = body(text.as_bytes(), 0, UTF8MB4);
    let effect = Query::parse(&event).unwrap().effect(&folded);
    assert_eq!(effect, Effect::Adds("SHOP.Events".to_owned()));
}

#[test]
fn quotes_and_names_are_those_of_the_session() {
    for (text, mode, charset, expected) in [
        (
            &b"INSERT INTO shop.\"my-outbox\" VALUES (1)"[..],
            ANSI_QUOTES,
            UTF8MB4,
            adds("my-outbox"),
        ),
        (b"INSERT INTO \"a\"\"b\" VALUES (1)", ANSI_QUOTES, UTF8MB4, adds("a\"b")),
        (
            b"LOAD DATA INFILE 'c:\\' INTO TABLE events",
            NO_BACKSLASH_ESCAPES,
            UTF8MB4,
            adds("events"),
        ),
        (b"LOAD DATA INFILE 'it\\'s' INTO TABLE events", 0, UTF8MB4, adds("events")),
        (b"INSERT INTO \xb0\xa2 VALUES (1)", 0, GBK, adds("\u{963f}")),
        (b"CREATE TABLE t (a CHAR DEFAULT '\xb1\x5c') SELECT 1", 0, GBK, Effect::Nothing),
        (b"CREATE TABLE events (a CHAR DEFAULT '\xb1\x5c') SELECT 1", 0, GBK, adds("events")),
        // What the server writes itself is in UTF-8.
        ("LOAD DATA INFILE 'x' INTO TABLE `阿`".as_bytes(), 0, GBK, adds("阿")),
        (b"INSERT\xa0INTO\xa0events\xa0VALUES (1)", 0, LATIN1, adds("events")),
    ] {
        assert_eq!(effect_of(&body(text, mode, charset)), expected, "{}", text.escape_ascii());
    }
}

/// A statement that was prepared under one character set and executed under another is logged in the first.
#[test]
fn a_name_in_another_charset_than_the_session_is_found() {
    for (text, charset, expected) in [
        (&b"INSERT INTO \xb0\xa2 VALUES (1)"[..], UTF8MB4, adds("\u{963f}")),
        (b"INSERT INTO `\xb0\xa2` VALUES (1)", UTF8MB4, adds("\u{963f}")),
        (b"INSERT INTO shop.`\xaa\xfc` VALUES (1)", UTF8MB4, adds("\u{963f}")),
        ("INSERT INTO `\u{963f}` VALUES (1)".as_bytes(), GBK, adds("\u{963f}")),
        (
            b"INSERT INTO `\xe7\xe0\xea\xe0\xe7\xfb` VALUES (1)",
            UTF8MB4,
            adds("\u{437}\u{430}\u{43a}\u{430}\u{437}\u{44b}"),
        ),
        ("CREATE TABLE t (`\u{540d}` INT) COMMENT 'events'".as_bytes(), UTF8MB4, Effect::Nothing),
        ("CREATE TABLE events (`\u{540d}` INT)".as_bytes(), UTF8MB4, defines(false)),
        (b"INSERT\xa0INTO\xa0events\xa0VALUES (1)", UTF8MB4, adds("events")),
        (b"INSERT INTO\xa0events VALUES (1)", UTF8MB4, adds("events")),
        (b"INSERT INTO `\xb0\xa3` VALUES (1)", UTF8MB4, Effect::Nothing),
        (b"INSERT INTO t VALUES ('\xb0\xa2', 'INTO events')", UTF8MB4, Effect::Nothing),
        (
            b"ALTER TABLE \xb0\xa2 ADD a INT",
            UTF8MB4,
            Effect::Defines(Definition { table: "shop.\u{963f}".to_owned(), moves_rows: false }),
        ),
    ] {
        assert_eq!(effect_of(&body(text, 0, charset)), expected, "{}", text.escape_ascii());
    }
}

#[test]
fn a_text_whose_session_is_not_known_is_read_in_every_way() {
    for (text, expected) in [
        (&b"INSERT INTO \"my-outbox\" VALUES (1)"[..], adds("my-outbox")),
        (b"LOAD DATA INFILE 'c:\\' INTO TABLE events", adds("events")),
        (b"LOAD DATA INFILE '\xb1\x5c' INTO TABLE events", adds("events")),
        (b"INSERT INTO t SELECT * FROM \"my-outbox\"", Effect::Nothing),
        (b"ALTER TABLE events ADD a INT", defines(false)),
    ] {
        for status in [&[][..], &[200], &[1, 0]] {
            let event = with_status(text, status);
            assert_eq!(effect_of(&event), expected, "{}", text.escape_ascii());
        }
    }
}

#[test]
fn a_comment_that_5_7_disarmed_with_others_inside_hides_no_table() {
    for (text, expected) in [
        ("INSERT /* 99999 a /* b */ c */ INTO events VALUES (1)", adds("events")),
        ("INSERT INTO /* 99999 a /* b */ t /* c */ d */ events VALUES (1)", adds("events")),
        ("INSERT /* 99999 a /* b */ c /* d */ e */ INTO events VALUES (1)", adds("events")),
        ("INSERT /* 99999 /*/ a */ b /**/ c */ INTO events VALUES (1)", adds("events")),
        ("INSERT /*M!100100 INTO */ events VALUES (1)", adds("events")),
        ("INSERT /* 99999 a /* b */ c */ INTO t SELECT * FROM events", Effect::Nothing),
    ] {
        assert_eq!(effect(text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_read_counts_only_if_it_may_have_added_rows() {
    let may = |table: &str| Effect::MayAdd(format!("shop.{table}"));
    for (text, expected) in [
        ("INSERT INTO 'events' VALUES (1)", may("events")),
        ("INSERT INTO ? `shop`.`my-outbox` VALUES (1)", may("my-outbox")),
        ("/* INSERT INTO events", may("events")),
        ("MERGE INTO shop.events USING t", may("events")),
        ("MERGE INTO other USING shop.events", may("events")),
        ("MERGE INTO other USING t", Effect::Nothing),
        ("VACUUM shop.events", Effect::Nothing),
        ("CREATE TABLE events (a INT DEFAULT 'x", may("events")),
        ("CREATE TABLE other (a INT DEFAULT 'events", Effect::Nothing),
        ("CREATE PROCEDURE p() AS $$ it's INSERT INTO events", Effect::Nothing),
        ("LOAD INDEX INTO CACHE t", Effect::Nothing),
        ("LOAD INDEX INTO CACHE events", Effect::Nothing),
    ] {
        assert_eq!(effect(text), expected, "{text}");
    }
}

#[test]
fn a_load_always_adds_rows() {
    let of = |text: &str, file_end: u32| {
        let event = body(text.as_bytes(), NO_BACKSLASH_ESCAPES, UTF8MB4);
        let more = [&[0; 8][..], &file_end.to_le_bytes(), &[0]].concat();
        let event = [&event[..POST_HEADER_LEN], &more, &event[POST_HEADER_LEN..]].concat();
        Query::parse_load(&event).unwrap().effect(&is_outbox)
    };
    assert_eq!(of("LOAD DATA INFILE 'x' INTO TABLE `events`", 0), adds("events"));
    assert_eq!(of("LOAD DATA INFILE 'events' INTO TABLE `t`", 0), Effect::Nothing);
    assert_eq!(of("SELECT INTO events", 99), Effect::MayAdd("shop.events".to_owned()));
    // The file's name is what it is.
    let named = "LOAD DATA INFILE 'x\\' INTO TABLE t -- ' INTO";
    let end = named.len().try_into().unwrap();
    assert_eq!(of(&format!("{named} TABLE `events`"), end), adds("events"));
    assert_eq!(of(&format!("{named} TABLE `t`"), end), Effect::Nothing);
}

/// What may stand between two tokens of which one is a name or a symbol, or in place of a space.
const FILLERS: [&str; 14] = [
    " ",
    "\n",
    "\t",
    "\u{b}",
    "\r\n",
    "/**/",
    "/* it's ` \" */",
    "/*/ */",
    "-- it's ` \"\n",
    "--\n",
    "#\n",
    "# events ' \n",
    "/* INSERT INTO other */",
    "/*+ x */",
];

fn quotings(name: &str, way: usize) -> String {
    match way {
        0 => format!("`{name}`"),
        1 => format!("\"{name}\""),
        _ => name.to_owned(),
    }
}

/// A statement with other fillers, other case and other quotes; in ANSI_QUOTES.
fn disguised() -> impl Strategy<Value = (String, Effect)> {
    let fillers = || prop::collection::vec(subsequence(&FILLERS[..], 1..4), 60);
    let ways = prop::collection::vec((0..3_usize, any::<bool>(), 0..12_usize), 60);
    (select(corpus()), fillers(), ways, any::<bool>()).prop_map(
        |((text, effect), fillers, ways, leads)| {
            let mut disguise = String::new();
            // Texts in quotes have spaces of their own.
            let mut in_text = false;
            for (number, token) in text.split(' ').enumerate() {
                let (way, lower, comment) = ways[number % ways.len()];
                let filler = fillers[number % fillers.len()].concat();
                match in_text {
                    true => disguise.push(' '),
                    false if number > 0 || leads => disguise.push_str(&filler),
                    false => {}
                }
                let was_in_text = in_text;
                in_text ^= token.matches('\'').count() % 2 == 1;
                if was_in_text || in_text || token.contains('\'') {
                    disguise.push_str(token);
                } else if let Some(name) = token.strip_prefix('`') {
                    // Keywords are names only between quotes.
                    let name = name.trim_end_matches('`');
                    let way = if ["select", "table"].contains(&name) { way % 2 } else { way };
                    disguise.push_str(&quotings(name, way));
                } else {
                    let word = if lower { token.to_lowercase() } else { token.to_owned() };
                    match comment {
                        0 => disguise.push_str(&format!("/*!50000 {word}*/")),
                        1 => disguise.push_str(&format!("/*!{word} */")),
                        _ => disguise.push_str(&word),
                    }
                }
            }
            (disguise, effect)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn comments_case_space_and_quotes_change_nothing((text, expected) in disguised()) {
        let event = body(text.as_bytes(), ANSI_QUOTES, UTF8MB4);
        let query = Query::parse(&event).unwrap();
        prop_assert_eq!(query.control(), None);
        prop_assert_eq!(query.effect(&is_outbox), expected, "{}", text);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(event in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(query) = Query::parse(&event) {
            query.control();
            query.effect(&is_outbox);
        }
    }

    #[test]
    fn any_pieces_are_read_without_a_panic(
        pieces in prop::collection::vec(
            select(vec![
                "/*", "*/", "/*!", "/*!50000", "/*M!", "'", "\"", "`", "\\", "--", " ", "\n", "#", ".", "(", ")", "INSERT",
                "INTO", "CREATE", "TABLE", "events", "shop", "SELECT", "LOAD", "SET", "STATEMENT", "FOR", "\u{963f}", "\0", "5",
            ]),
            0..40,
        ),
        mode in select(vec![0, ANSI_QUOTES, NO_BACKSLASH_ESCAPES]),
        charset in select(vec![UTF8MB4, GBK, LATIN1, 0x7fff]),
    ) {
        effect_of(&body(pieces.concat().as_bytes(), mode, charset));
    }
}

/// A text of this many bytes is read in the time of the machine's memory, whatever it repeats; quadratic would be
/// hours.
#[test]
fn a_text_is_read_once_however_it_nests() {
    for piece in [
        "/*",
        "/*!50000 ",
        "/* 99999 /*",
        "/* 99999 /**/",
        "/**/ /* 99999 ",
        "'",
        "`a` ",
        "(",
        "SELECT (",
        "SET STATEMENT ",
        "a.",
        "--",
        "\\'",
    ] {
        for start in [
            "",
            "CREATE TABLE t ",
            "CREATE TABLE events (",
            "LOAD DATA ",
            "INSERT INTO ",
            "ANALYZE ",
        ] {
            let text = [start, &piece.repeat(20_000)].concat();
            effect(&text);
        }
    }
}
