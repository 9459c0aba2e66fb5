//! The language of filters (`docs/api.md`, "Filters"; read in `domain::Filter`), as a schema.

use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, Components, Object, ObjectBuilder, OneOfBuilder, Schema,
    SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};

/// A path into `data`, or one of the words that join filters.
const PATH_OR_WORD: &str = r"^(\$and|\$or|\$not|[^.$][^.]*(\.[^.$][^.]*){0,15})$";

/// Different paths of a filter.
const PATHS: usize = 32;

/// A webhook's `filter`.
pub(crate) fn of_webhook() -> Schema {
    OneOfBuilder::new()
        .item(Ref::from_schema_name("Filter"))
        .item(ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null)))
        .description(Some("Only events whose `data` passes; every event when null."))
        .build()
        .into()
}

/// Adds the schemas of filters.
pub(super) fn add(components: &mut Components) {
    let value = one_of([Type::String, Type::Number, Type::Boolean, Type::Null]);
    let condition = OneOfBuilder::new()
        .item(value.clone())
        .item(Ref::from_schema_name("FilterOperators"))
        .description(Some("A value to be equal to, or operators, all of which must hold."))
        .build();
    let filters = ArrayBuilder::new().items(Ref::from_schema_name("Filter")).min_items(Some(1));
    let filters = filters.build();
    let filter = ObjectBuilder::new()
        .description(Some(
            "Conditions on an event's `data`, all of which must hold: names are paths such as \
             `summary.avg_sentiment`. At most 4,096 bytes, 256 conditions and 8 levels.",
        ))
        .property("$and", filters.clone())
        .property("$or", filters)
        .property("$not", Ref::from_schema_name("Filter"))
        .property_names(Some(Schema::Object(pattern(PATH_OR_WORD))))
        .additional_properties(Some(AdditionalProperties::from(Schema::OneOf(condition))))
        .min_properties(Some(1))
        .max_properties(Some(PATHS))
        .examples([serde_json::json!({ "status": "completed", "results_count": { "$gte": 100 } })])
        .build();
    components.schemas.insert("Filter".to_owned(), filter.into());
    components.schemas.insert("FilterOperators".to_owned(), operators(&value).into());
}

fn operators(value: &Object) -> Object {
    let values = ArrayBuilder::new().items(value.clone()).min_items(Some(1)).build();
    let ordered = one_of([Type::Number, Type::String]);
    let not = RefOr::Ref(Ref::from_schema_name("FilterOperators"));
    let named: [(&str, RefOr<Schema>); 11] = [
        ("$eq", value.clone().into()),
        ("$ne", value.clone().into()),
        ("$in", values.clone().into()),
        ("$nin", values.into()),
        ("$gt", ordered.clone().into()),
        ("$gte", ordered.clone().into()),
        ("$lt", ordered.clone().into()),
        ("$lte", ordered.into()),
        ("$prefix", one_of([Type::String]).into()),
        ("$exists", one_of([Type::Boolean]).into()),
        ("$not", not),
    ];
    let object = ObjectBuilder::new()
        .description(Some(
            "What is asked of the value at a path; of a list, of one of its entries.",
        ))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        .min_properties(Some(1));
    named.into_iter().fold(object, |object, (name, schema)| object.property(name, schema)).build()
}

fn one_of<const N: usize>(types: [Type; N]) -> Object {
    ObjectBuilder::new().schema_type(SchemaType::Array(types.to_vec())).build()
}

fn pattern(pattern: &str) -> Object {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).pattern(Some(pattern)).build()
}
