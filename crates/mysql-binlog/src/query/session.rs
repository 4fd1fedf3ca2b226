//! What a QUERY event says of the session that sent the statement, as far as it decides how the text is read:
//! `sql_mode` and the client's character set, from the event's status variables
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html>).

use crate::charset::Charset;

/// Bit of `sql_mode`: double quotes are around names, not around text.
const ANSI_QUOTES: u64 = 1 << 2;

/// Bit of `sql_mode`: a backslash in a text is a character like any other.
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// Settings of the session; `None` where the event does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Session {
    /// Double quotes are around names.
    pub ansi_quotes: Option<bool>,
    /// A backslash in a text takes the next character with it.
    pub backslash_escapes: Option<bool>,
    /// `character_set_client`. Never [`Charset::Unknown`].
    pub charset: Option<Charset>,
}

impl Session {
    /// Reads status variables in any order, up to the first of a kind that nobody knows.
    pub fn parse(mut variables: &[u8]) -> Session {
        let mut session = Session::default();
        while let Some((code, rest)) = variables.split_first() {
            let Some((value, rest)) =
                length(*code, rest).and_then(|length| rest.split_at_checked(length))
            else {
                break;
            };
            match (*code, value) {
                (1, value) => {
                    let mode =
                        value.iter().rev().fold(0, |mode, byte| mode << 8 | u64::from(*byte));
                    session.ansi_quotes = Some(mode & ANSI_QUOTES != 0);
                    session.backslash_escapes = Some(mode & NO_BACKSLASH_ESCAPES == 0);
                }
                (4, &[low, high, ..]) => {
                    let id = usize::from(u16::from_le_bytes([low, high]));
                    let charset = Charset::from_collation(id);
                    session.charset =
                        Some(charset).filter(|known| !matches!(known, Charset::Unknown(_)));
                }
                _ => {}
            }
            variables = rest;
        }
        session
    }
}

/// How many bytes the variable of that code has. MySQL writes 0 to 20, MariaDB 128 to 131 as well.
fn length(code: u8, rest: &[u8]) -> Option<usize> {
    let counted = |at: usize| rest.get(at).map(|length| at + 1 + usize::from(*length));
    match code {
        // flags2, auto_increment, master_data_written, commit timestamps of 5.7's labs
        0 | 3 | 10 => Some(4),
        // sql_mode, table_map_for_update, the XID of DDL, MariaDB's XID
        1 | 9 | 17 | 129 => Some(8),
        // The catalogue as 5.0.3 wrote it, with a zero at its end.
        2 => counted(0).map(|length| length + 1),
        // client's character set, connection's and server's collation
        4 => Some(6),
        // time zone, catalogue
        5 | 6 => counted(0),
        // lc_time_names, the database's collation, the default collation of utf8mb4, MariaDB's GTID flags
        7 | 8 | 18 | 130 => Some(2),
        // the invoker: user and host
        11 => counted(0).and_then(counted),
        // databases: how many (254: too many to tell), each with a zero at its end
        12 => match *rest.first()? {
            0 | 254 => Some(1),
            count => {
                memchr::memchr_iter(0, &rest[1..]).nth(usize::from(count) - 1).map(|end| end + 2)
            }
        },
        // microseconds
        13 | 128 => Some(3),
        // explicit_defaults_for_timestamp, sql_require_primary_key, default_table_encryption
        16 | 19 | 20 => Some(1),
        // MariaDB's default collations: how many, four bytes each
        131 => rest.first().map(|count| 1 + 4 * usize::from(*count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SQL_MODE: [u8; 9] = [1, 4, 0, 0x10, 0, 0, 0, 0, 0];
    const GBK: [u8; 7] = [4, 28, 0, 28, 0, 255, 0];

    fn whole() -> Session {
        Session {
            ansi_quotes: Some(true),
            backslash_escapes: Some(false),
            charset: Some(Charset::Gbk),
        }
    }

    #[test]
    fn what_decides_is_found_behind_every_other_variable() {
        let others: [&[u8]; 20] = [
            &[0, 0, 0, 0, 0],
            &[2, 3, b's', b't', b'd', 0],
            &[3, 2, 0, 1, 0],
            &[5, 6, b'S', b'Y', b'S', b'T', b'E', b'M'],
            &[6, 3, b's', b't', b'd'],
            &[7, 1, 0],
            &[8, 1, 0],
            &[9, 1, 2, 3, 4, 5, 6, 7, 8],
            &[10, 1, 2, 3, 4],
            &[11, 4, b'r', b'o', b'o', b't', 1, b'%'],
            &[12, 2, b'a', 0, b'b', b'c', 0],
            &[12, 254],
            &[12, 0],
            &[13, 1, 2, 3],
            &[16, 1],
            &[17, 1, 2, 3, 4, 5, 6, 7, 8],
            &[18, 255, 0],
            &[19, 0],
            &[20, 0],
            &[131, 1, 1, 2, 3, 4],
        ];
        for other in others {
            let variables = [other, &SQL_MODE, other, &GBK].concat();
            assert_eq!(Session::parse(&variables), whole(), "{other:?}");
        }
    }

    #[test]
    fn what_nobody_knows_ends_the_reading_and_leaves_the_rest_open() {
        let variables = [&SQL_MODE[..], &[200, 1], &GBK].concat();
        assert_eq!(Session::parse(&variables), Session { charset: None, ..whole() });
        assert_eq!(Session::parse(&[4, 0xff, 0x7f, 0, 0, 0, 0]), Session::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            Session::parse(&bytes);
        }
    }
}
