//! What stands in an event's `data`, as a list that becomes a JSON Schema.

use serde_json::{Map, Value, json};

/// One field of `data`.
pub(super) struct Field {
    name: &'static str,
    kind: Kind,
    required: bool,
    description: &'static str,
}

enum Kind {
    Text,
    /// Always this text.
    Always(&'static str),
    Texts,
    /// A whole number from 0.
    Count,
    /// A number from the first to the second.
    Within(f64, f64),
    Object(&'static [Field]),
}

macro_rules! of_kind {
    ($($name:ident $kind:ident;)*) => {$(
        pub(super) const fn $name(name: &'static str, description: &'static str) -> Field {
            Field { name, kind: Kind::$kind, required: false, description }
        }
    )*};
}

of_kind! {
    text Text;
    texts Texts;
    count Count;
}

pub(super) const fn always(name: &'static str, text: &'static str) -> Field {
    Field { name, kind: Kind::Always(text), required: false, description: "How it ended" }
}

pub(super) const fn within(
    name: &'static str,
    least: f64,
    most: f64,
    description: &'static str,
) -> Field {
    Field { name, kind: Kind::Within(least, most), required: false, description }
}

pub(super) const fn object(
    name: &'static str,
    description: &'static str,
    fields: &'static [Field],
) -> Field {
    Field { name, kind: Kind::Object(fields), required: false, description }
}

/// An id, which is never left out.
const fn id(name: &'static str, description: &'static str) -> Field {
    Field { name, kind: Kind::Text, required: true, description }
}

pub(super) const PROJECT: Field = id("project_id", "The project");
pub(super) const PROJECT_NAME: Field = text("project_name", "The project's name");
pub(super) const JOB: Field = id("job_id", "The job");
pub(super) const TARGET: Field = id("target_id", "The target of the project that it is about");
pub(super) const TARGET_LABEL: Field = text("target_label", "The target's name");
pub(super) const PERIOD: Field = text("period", "The time looked at, such as 24h");

/// The schema (JSON Schema 2020-12) of an object with these fields; others may stand beside them.
pub(super) fn schema(title: &str, description: &str, fields: &[Field]) -> Value {
    let mut schema = object_of(fields);
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!(title));
    schema.insert("description".into(), json!(description));
    schema.into()
}

fn object_of(fields: &[Field]) -> Map<String, Value> {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), field.schema())).collect();
    let required = fields.iter().filter(|field| field.required).map(|field| field.name);
    Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), properties.into()),
        ("required".to_owned(), required.collect::<Vec<_>>().into()),
    ])
}

impl Field {
    fn schema(&self) -> Value {
        let mut schema = match self.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Always(text) => json!({ "const": text }),
            Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Kind::Count => json!({ "type": "integer", "minimum": 0 }),
            Kind::Within(least, most) => {
                json!({ "type": "number", "minimum": least, "maximum": most })
            }
            Kind::Object(fields) => object_of(fields).into(),
        };
        schema["description"] = json!(self.description);
        schema
    }
}
