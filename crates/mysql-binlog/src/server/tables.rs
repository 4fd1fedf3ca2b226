//! What a server says of its tables: which there are, their columns, whether they may be read, and what is in
//! them.

use std::collections::HashMap;

use super::ahead::Pieces;
use super::{
    COLUMN_DENIED, DATABASE_DENIED, Error, NO_SUCH_DATABASE, NO_SUCH_TABLE, Server, TABLE_DENIED,
    unexpected,
};
use crate::connection::with_params;
use crate::table::{SCHEMA_COLUMNS_SQL, SchemaColumn};

/// Answers to a statement that the user may not run, or on a table that is not there.
const CANNOT: [u16; 5] =
    [DATABASE_DENIED, NO_SUCH_DATABASE, TABLE_DENIED, COLUMN_DENIED, NO_SUCH_TABLE];

/// Whether a user can read a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableAccess {
    /// The user may SELECT from it.
    Readable,
    /// There is no such table.
    Missing,
    /// The user may not.
    Denied {
        /// The account that the server takes the user for, as GRANT names it.
        account: String,
    },
}

/// A table as information_schema lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its storage engine; `None` for a view.
    pub engine: Option<String>,
    /// Names in the order of the rows; none when it was dropped a moment ago.
    pub columns: Vec<String>,
}

/// Databases that every server has.
pub const SYSTEM_DATABASES: [&str; 4] =
    ["information_schema", "mysql", "performance_schema", "sys"];

/// From this version on, a server lists the rights on columns that roles have.
const LISTS_RIGHTS_OF_ROLES: (u16, u16, u16) = (8, 0, 19);

/// From this version on, a server can keep generated primary keys out of information_schema.
/// <https://dev.mysql.com/doc/refman/8.4/en/create-table-gipks.html>
const HIDES_GENERATED_KEYS: (u16, u16, u16) = (8, 0, 30);

impl Server {
    /// The columns of a table in ordinal order; empty when there is no such table (or no right to see it).
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn columns(
        &mut self,
        database: &str,
        table: &str,
    ) -> Result<Vec<SchemaColumn>, Error> {
        let sql = with_params(SCHEMA_COLUMNS_SQL, (database, table).into())?;
        // Together: the first row of a table waits for this.
        let shown = self.generated_keys_sql();
        let statements: Vec<&str> = shown.into_iter().chain([sql.as_str()]).collect();
        let answers = self.ask(&statements).await?;
        let rows: Vec<mysql_async::Row> = match answers.into_iter().nth(statements.len() - 1) {
            Some(answer) => answer.rows.map_err(mysql_async::Error::Server)?,
            // A server of another make; if it hides a column, the count of columns will tell.
            None => self.rows(&sql).await?,
        };
        rows.iter()
            .map(|row| {
                SchemaColumn::from_row(row)
                    .ok_or_else(|| unexpected("information_schema.columns", row))
            })
            .collect()
    }

    /// The rows have a generated invisible primary key, whatever the server is told to show of it. Any user may
    /// set this for a session of its own.
    fn generated_keys_sql(&self) -> Option<&'static str> {
        let sql = "SET SESSION show_gipk_in_create_table_and_information_schema = ON";
        (self.conn.server_version() >= HIDES_GENERATED_KEYS).then_some(sql)
    }

    /// The character sets of collations, by the collations' ids; without those that the server does not know.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn collation_charsets(
        &mut self,
        collations: &[u16],
    ) -> Result<Vec<(u16, String)>, Error> {
        let ids: Vec<String> = collations.iter().map(ToString::to_string).collect();
        self.rows(&format!(
            "SELECT CAST(ID AS UNSIGNED), CAST(CHARACTER_SET_NAME AS CHAR) FROM information_schema.COLLATIONS \
             WHERE ID IN ({})",
            ids.join(", ")
        ))
        .await
    }

    /// The account, when it has rights on columns of the table but none on the table itself: the server shows
    /// it those columns, and no others.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn has_column_rights_only(
        &mut self,
        database: &str,
        table: &str,
    ) -> Result<Option<String>, Error> {
        let name = format!("{}.{}", quoted(database), quoted(table));
        // Any right on the table allows the second, a right on a column only the first.
        let sees_columns = self.may(&format!("SHOW COLUMNS FROM {name}")).await?;
        if !sees_columns || self.may(&format!("SHOW CREATE TABLE {name}")).await? {
            return Ok(None);
        }
        self.account().await.map(Some)
    }

    /// Whether the user may SELECT all columns of the table that are not invisible.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn may_select_all(&mut self, database: &str, table: &str) -> Result<bool, Error> {
        self.may(&format!("SELECT * FROM {}.{} LIMIT 0", quoted(database), quoted(table))).await
    }

    /// Whether the server lets the user do this. What is done to a table that is gone, nobody may do.
    async fn may(&mut self, sql: &str) -> Result<bool, Error> {
        match self.rows::<mysql_async::Row>(sql).await {
            Ok(_) => Ok(true),
            Err(Error::MySql(mysql_async::Error::Server(error)))
                if CANNOT.contains(&error.code) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The base tables of such names that the user may see, and the columns of each. System databases are left
    /// out. No other tables are looked at: there may be tens of thousands.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn tables(&mut self, names: (&[String], &[String])) -> Result<Vec<Listed>, Error> {
        let [tables, columns] = listing_sql(names)?;
        let tables: Vec<(String, String, Option<String>)> = self.rows(&tables).await?;
        let rows: Vec<(String, String, String)> = self.rows(&columns).await?;
        let mut columns: HashMap<(String, String), Vec<String>> = HashMap::new();
        for (database, name, column) in rows {
            columns.entry((database, name)).or_default().push(column);
        }
        let tables = tables.into_iter().map(|(database, name, engine)| {
            let of_table = columns.remove(&(String::clone(&database), String::clone(&name)));
            Listed { database, name, engine, columns: of_table.unwrap_or_default() }
        });
        Ok(tables.collect())
    }

    /// Whether the user, or a role of it, has rights on single columns of any table.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn has_rights_on_columns(&mut self) -> Result<bool, Error> {
        let rows: Vec<(u64,)> =
            self.rows(&rights_on_columns_sql(self.conn.server_version())).await?;
        Ok(rows.first().is_some_and(|(count,)| *count > 0))
    }

    /// Whether there is such a table, and a right to read it. Where there is no right, the server does not
    /// say whether there is a table.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn table_access(
        &mut self,
        database: &str,
        table: &str,
    ) -> Result<TableAccess, Error> {
        let sql = format!("SELECT 1 FROM {}.{} LIMIT 0", quoted(database), quoted(table));
        match self.rows::<(u8,)>(&sql).await {
            Ok(_) => Ok(TableAccess::Readable),
            Err(Error::MySql(mysql_async::Error::Server(error))) => match error.code {
                NO_SUCH_TABLE | NO_SUCH_DATABASE => Ok(TableAccess::Missing),
                DATABASE_DENIED | TABLE_DENIED => {
                    Ok(TableAccess::Denied { account: self.account().await? })
                }
                _ => Err(Error::MySql(mysql_async::Error::Server(error))),
            },
            Err(error) => Err(error),
        }
    }

    /// The distinct values of a column, without NULL and what is no text: at most `values_max`, in the last
    /// `rows_max` rows of the table by its primary key. Needs SELECT.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn sample(
        &mut self,
        (database, table, column): (&str, &str, &str),
        rows_max: usize,
        values_max: usize,
    ) -> Result<Vec<String>, Error> {
        // An index of its own choice could hold the rows of one value together.
        let order = match self.primary_key(database, table).await? {
            key if key.is_empty() => String::new(),
            key => {
                let columns: Vec<_> = key.iter().map(|name| quoted(name) + " DESC").collect();
                format!("FORCE INDEX (PRIMARY) ORDER BY {}", columns.join(", "))
            }
        };
        let [database, table, column] = [database, table, column].map(quoted);
        let sql = format!(
            "SELECT DISTINCT {column} FROM (SELECT {column} FROM {database}.{table} {order} LIMIT {rows_max}) \
             AS sample LIMIT {values_max}"
        );
        let rows: Vec<(Option<Vec<u8>>,)> = self.rows(&sql).await?;
        let values = rows.into_iter().filter_map(|(value,)| String::from_utf8(value?).ok());
        Ok(values.collect())
    }

    /// The columns of a table's primary key in their order; empty when it has none.
    pub(super) async fn primary_key(
        &mut self,
        database: &str,
        table: &str,
    ) -> Result<Vec<String>, Error> {
        let sql = "SELECT column_name FROM information_schema.statistics \
                   WHERE table_schema = ? AND table_name = ? AND index_name = 'PRIMARY' \
                   ORDER BY seq_in_index";
        self.rows(&with_params(sql, (database, table).into())?)
            .await
            .map(|rows| rows.into_iter().map(|(name,)| name).collect())
    }
}

pub(super) fn rights_on_columns_sql(server_version: (u16, u16, u16)) -> String {
    let of_roles = if server_version >= LISTS_RIGHTS_OF_ROLES {
        " UNION ALL SELECT 1 FROM information_schema.ROLE_COLUMN_GRANTS"
    } else {
        ""
    };
    format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM information_schema.COLUMN_PRIVILEGES{of_roles} LIMIT 1) AS rights"
    )
}

/// What asks for the tables of such names, and for their columns.
pub(super) fn listing_sql(names: Pieces<'_>) -> Result<[String; 2], mysql_async::Error> {
    let (condition, values) = condition(names);
    let tables = format!(
        "SELECT CAST(TABLE_SCHEMA AS CHAR), CAST(TABLE_NAME AS CHAR), CAST(ENGINE AS CHAR) \
         FROM information_schema.TABLES WHERE {condition} AND TABLE_TYPE = 'BASE TABLE'"
    );
    let columns = format!(
        "SELECT CAST(TABLE_SCHEMA AS CHAR), CAST(TABLE_NAME AS CHAR), CAST(COLUMN_NAME AS CHAR) \
         FROM information_schema.COLUMNS WHERE {condition} \
         ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
    );
    Ok([with_params(&tables, values.clone().into())?, with_params(&columns, values.into())?])
}

/// The condition for names of these pieces, between each two of which any characters may stand, with what stands
/// for its question marks. The server may compare less strictly than it names tables.
fn condition((database, table): (&[String], &[String])) -> (String, Vec<String>) {
    let operator = |pieces: &[String]| match pieces.len() {
        1 => "= ?",
        _ => "LIKE ? ESCAPE '|'",
    };
    let value = |pieces: &[String]| match pieces {
        [name] => name.clone(),
        pieces => {
            let escaped =
                |piece: &String| piece.replace('|', "||").replace('%', "|%").replace('_', "|_");
            pieces.iter().map(escaped).collect::<Vec<_>>().join("%")
        }
    };
    let sql = format!(
        "TABLE_SCHEMA {} AND TABLE_NAME {} AND TABLE_SCHEMA NOT IN ('{}')",
        operator(database),
        operator(table),
        SYSTEM_DATABASES.join("', '")
    );
    (sql, vec![value(database), value(table)])
}

/// A name as a person writes it in SQL: in backticks only where it needs them.
pub fn spelled(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
    let is_number = name.chars().all(|c| c.is_ascii_digit());
    if name.chars().all(is_plain) && !is_number { name.to_owned() } else { quoted(name) }
}

/// A name as SQL takes it, whatever it is.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_asked_for_as_they_are_and_patterns_by_what_is_not_a_star() {
        let pieces = |pieces: &[&str]| -> Vec<String> {
            pieces.iter().map(|piece| (*piece).to_owned()).collect()
        };
        let (sql, values) = condition((&pieces(&["50%_|"]), &pieces(&["tenant_", "%", ""])));
        assert!(sql.starts_with("TABLE_SCHEMA = ? AND TABLE_NAME LIKE ? ESCAPE '|' AND"), "{sql}");
        assert_eq!(values, ["50%_|", "tenant|_%|%%"]);
        let left_out = "NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')";
        assert!(sql.ends_with(left_out), "{sql}");
    }

    #[test]
    fn a_name_is_in_backticks_where_sql_needs_them() {
        for (name, expected) in [
            ("events_2", "events_2"),
            ("a.b", "`a.b`"),
            ("my`table", "`my``table`"),
            ("über", "`über`"),
            ("42", "`42`"),
        ] {
            assert_eq!(spelled(name), expected);
        }
    }
}
