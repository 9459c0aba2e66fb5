//! Many rows in one statement. PostgreSQL gets one array for each column: the text of the
//! statement never changes, so it is parsed and planned once. SQLite gets a list of rows.
//!
//! Arrays of the driver hold no nulls; a column that may be null writes an empty text or -1 for
//! it, which the statement, or the list of a row's values, turns into null.

use sea_orm::sea_query::{ArrayType, Value};
use sea_orm::{DatabaseBackend, Statement};
use uuid::Uuid;

/// The values of one column, a row each.
pub(crate) enum Column {
    Uuid(Vec<Uuid>),
    /// Empty is null where the column takes null.
    Text(Vec<String>),
    BigInt(Vec<i64>),
    Int(Vec<i32>),
    SmallInt(Vec<i16>),
    Bytes(Vec<Vec<u8>>),
}

/// Rows of one statement on SQLite, at most.
const CHUNK: usize = 250;

/// A column of an insertion.
pub(crate) struct Field {
    name: &'static str,
    nullable: bool,
    values: Column,
}

/// A column that is never null.
pub(crate) fn field(name: &'static str, values: Column) -> Field {
    Field { name, nullable: false, values }
}

/// A column in which an empty text or a -1 stands for null.
pub(crate) fn nullable(name: &'static str, values: Column) -> Field {
    Field { name, nullable: true, values }
}

impl Field {
    /// What is stored of `given`.
    fn chosen(&self, given: &str) -> String {
        match (self.nullable, &self.values) {
            (false, _) => given.to_owned(),
            (true, Column::Text(_)) => format!("NULLIF({given}, '')"),
            (true, _) => format!("NULLIF({given}, -1)"),
        }
    }
}

impl Column {
    pub(crate) fn array(self) -> Value {
        fn of<T: Into<Value>>(kind: ArrayType, values: Vec<T>) -> Value {
            Value::Array(kind, Some(Box::new(values.into_iter().map(Into::into).collect())))
        }
        match self {
            Self::Uuid(values) => of(ArrayType::Uuid, values),
            Self::Text(values) => of(ArrayType::String, values),
            Self::BigInt(values) => of(ArrayType::BigInt, values),
            Self::Int(values) => of(ArrayType::Int, values),
            Self::SmallInt(values) => of(ArrayType::SmallInt, values),
            Self::Bytes(values) => of(ArrayType::Bytes, values),
        }
    }

    fn list(self, nullable: bool) -> Vec<Value> {
        fn of<T>(values: Vec<T>, is_null: impl Fn(&T) -> bool) -> Vec<Value>
        where
            Option<T>: Into<Value>,
        {
            values.into_iter().map(|v| Some(v).filter(|v| !is_null(v)).into()).collect()
        }
        match self {
            Self::Uuid(values) => values.into_iter().map(Into::into).collect(),
            Self::Text(values) => of(values, |text| nullable && text.is_empty()),
            Self::BigInt(values) => of(values, |number| nullable && *number == -1),
            Self::Int(values) => of(values, |number| nullable && *number == -1),
            Self::SmallInt(values) => of(values, |number| nullable && *number == -1),
            Self::Bytes(values) => values.into_iter().map(Into::into).collect(),
        }
    }

    fn sql_type(&self) -> &'static str {
        match self {
            Self::Uuid(_) => "uuid",
            Self::Text(_) => "text",
            Self::BigInt(_) => "bigint",
            Self::Int(_) => "integer",
            Self::SmallInt(_) => "smallint",
            Self::Bytes(_) => "bytea",
        }
    }
}

/// `INSERT INTO table (fields) … conflict`; every field has the same number of values.
pub(crate) fn insert(
    backend: DatabaseBackend,
    table: &str,
    fields: Vec<Field>,
    conflict: &str,
) -> Vec<Statement> {
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    let head = format!("INSERT INTO {table} ({})", names.join(", "));
    if backend == DatabaseBackend::Postgres {
        return vec![from_arrays(&head, fields, conflict)];
    }
    from_rows(backend, &head, fields, conflict)
}

fn from_arrays(head: &str, fields: Vec<Field>, conflict: &str) -> Statement {
    let numbered = || fields.iter().enumerate().map(|(i, field)| (i + 1, field));
    let chosen: Vec<String> = numbered().map(|(i, field)| field.chosen(&format!("c{i}"))).collect();
    let arrays: Vec<String> =
        numbered().map(|(i, field)| format!("${i}::{}[]", field.values.sql_type())).collect();
    let aliases: Vec<String> = numbered().map(|(i, _)| format!("c{i}")).collect();
    let sql = format!(
        "{head} SELECT {} FROM UNNEST({}) AS given({}) {conflict}",
        chosen.join(", "),
        arrays.join(", "),
        aliases.join(", ")
    );
    let values: Vec<Value> = fields.into_iter().map(|field| field.values.array()).collect();
    Statement::from_sql_and_values(DatabaseBackend::Postgres, sql, values)
}

fn from_rows(
    backend: DatabaseBackend,
    head: &str,
    fields: Vec<Field>,
    conflict: &str,
) -> Vec<Statement> {
    let row = format!("({})", vec!["?"; fields.len()].join(", "));
    let mut columns: Vec<_> =
        fields.into_iter().map(|field| field.values.list(field.nullable).into_iter()).collect();
    let mut left = columns.first().map_or(0, ExactSizeIterator::len);
    let mut statements = Vec::with_capacity(left.div_ceil(CHUNK));
    while left > 0 {
        let count = left.min(CHUNK);
        left -= count;
        let mut values = Vec::with_capacity(count * columns.len());
        for _ in 0..count {
            values.extend(columns.iter_mut().filter_map(Iterator::next));
        }
        let sql = format!("{head} VALUES {} {conflict}", vec![row.as_str(); count].join(", "));
        statements.push(Statement::from_sql_and_values(backend, sql, values));
    }
    statements
}

/// What follows a column that is one of `ids`, and its values; `first` is the number of its first
/// parameter.
pub(crate) fn among(
    backend: DatabaseBackend,
    ids: Vec<Uuid>,
    first: usize,
) -> (String, Vec<Value>) {
    if backend == DatabaseBackend::Postgres {
        return (format!("= ANY(${first})"), vec![Column::Uuid(ids).array()]);
    }
    let marks: Vec<String> = (first..first + ids.len()).map(|i| format!("${i}")).collect();
    (format!("IN ({})", marks.join(", ")), Column::Uuid(ids).list(false))
}
