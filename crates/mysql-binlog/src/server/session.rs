//! What the relay's own sessions rest on, set by one statement right after the login: globals of the server and its
//! `init_connect` may have set anything.

/// Each value is an integer, or a text with the character set it is in: `init_connect` may have changed the one that
/// a text without would be converted to.
///
/// - `autocommit` off and on again ends a transaction that `init_connect` began. With it off, a SELECT would keep a
///   snapshot and the table's metadata lock: ALTER TABLE would wait for the relay.
/// - `time_zone`: local times come twice in the hour in which clocks are put back.
/// - `lc_messages`: some errors are told apart by their text.
/// - `sql_select_limit` and `max_join_size` cut answers off or refuse them, `max_execution_time` ends them.
///   MariaDB has no such variable, and reads what stands in this comment as a comment.
pub(crate) const SETTINGS_SQL: &str = "SET NAMES utf8mb4, autocommit = 0, autocommit = 1, sql_mode = 0, \
     time_zone = _utf8mb4'+00:00', lc_messages = _utf8mb4'en_US', sql_select_limit = 18446744073709551615, \
     max_join_size = 18446744073709551615, sql_big_selects = 1, sql_safe_updates = 0, net_read_timeout = 60, \
     net_write_timeout = 60 /*!50708 , max_execution_time = 0 */";
