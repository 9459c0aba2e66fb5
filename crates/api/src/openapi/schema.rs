//! Schemas of values: what `domain` lists is made from its lists, so that it grows with them, and
//! what the validation counts is made from its limits.

use domain::{Cause, DeliveryStatus, EventType, SigningScheme};
use store::{Action, JobKind, JobScope, JobStatus, Via};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, Array, ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema,
    SchemaFormat, SchemaType, Type,
};

use crate::validation::{RESERVED, RESERVED_FAMILIES, limits};
use crate::view::VERIFICATIONS;

/// No control characters.
const PLAIN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// Printable ASCII without spaces, quotes and backslashes.
pub(crate) const ID: &str = r"^[!#-\[\]-~]+$";

pub(crate) fn text(least: usize, most: usize, pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .min_length(Some(least))
        .max_length(Some(most))
        .pattern(Some(pattern))
}

pub(crate) fn name() -> Object {
    let not_blank = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
    text(1, limits::NAME, not_blank)
        .description(Some("Your name for it; not blank, and without control characters."))
        .build()
}

pub(crate) fn endpoint_url() -> Object {
    let description = "Where deliveries go: `https` or `http`, without a user name, to a public \
        address and to no port of another kind of service. A name is looked up before each \
        attempt.";
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .format(Some(SchemaFormat::Custom("uri".to_owned())))
        .max_length(Some(2_048))
        .description(Some(description))
        .build()
}

pub(crate) fn event_patterns() -> Array {
    list(1, limits::EVENTS, event_pattern())
        .description(Some("What it wants to hear of: event types, families (`scrape.*`) or `*`."))
        .build()
}

pub(crate) fn project_ids() -> Array {
    list(0, limits::PROJECTS, text(1, 128, ID).build())
        .description(Some("Only events of these projects; of all when empty."))
        .build()
}

fn list(least: usize, most: usize, of: Object) -> ArrayBuilder {
    let least = (least > 0).then_some(least);
    ArrayBuilder::new().items(of).min_items(least).max_items(Some(most)).unique_items(true)
}

pub(crate) fn headers() -> Object {
    let description = format!(
        "Sent with every delivery: names by RFC 9110, values of printable ASCII, 8 KiB together. \
         A value may be an object with `value` and `sensitive`. Values that hold credentials are \
         shown as `***`, which leaves them as they are when it is sent back. Refused in any case: \
         {}, and every name that begins with {}.",
        RESERVED.join(", "),
        RESERVED_FAMILIES.join(", ")
    );
    let name = text(1, limits::HEADER_NAME, r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$");
    // Not what was read as the masked form, which stands for nothing where nothing is masked.
    let value = text(0, limits::HEADER_VALUE, r"^(?!\*\*\*$)[ -~]*$").build();
    let sensitive = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Boolean))
        .description(Some("Whether its value is never shown, whatever its name says."));
    let marked = ObjectBuilder::new()
        .property("value", value.clone())
        .required("value")
        .property("sensitive", sensitive)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    let value = OneOfBuilder::new().item(value).item(marked).build();
    map(limits::HEADERS, name, Schema::OneOf(value), &description)
}

pub(crate) fn signing() -> Object {
    let names = SigningScheme::NAMES.iter().map(|(_, name)| (*name).to_owned());
    let description = "How `webhook-signature` is made: `hmac`, the default, with the secret, or \
        `ed25519`, with a key whose public half is `public_key`.";
    one_of(description, names)
}

pub(crate) fn public_key() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .pattern(Some("^whpk_[A-Za-z0-9+/]{43}=$"))
        .description(Some("What receivers check signatures with (Standard Webhooks)."))
        .build()
}

pub(crate) fn verification() -> Object {
    let names = VERIFICATIONS.iter().map(|name| (*name).to_owned());
    one_of("Whether the endpoint proved that it wants to be told.", names)
}

pub(crate) fn metadata() -> Object {
    let description = "Your own keys and values; never looked at.";
    let key = text(1, limits::METADATA_KEY, PLAIN);
    map(limits::METADATA, key, text(0, limits::METADATA_VALUE, PLAIN), description)
}

fn map(
    most: usize,
    name: ObjectBuilder,
    value: impl Into<RefOr<Schema>>,
    description: &str,
) -> Object {
    ObjectBuilder::new()
        .property_names(Some(Schema::Object(name.build())))
        .additional_properties(Some(AdditionalProperties::from(value.into())))
        .max_properties(Some(most))
        .description(Some(description))
        .build()
}

pub(crate) fn always() -> Object {
    boolean(true)
}

pub(crate) fn never() -> Object {
    boolean(false)
}

fn boolean(only: bool) -> Object {
    let boolean = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Boolean));
    boolean.enum_values(Some([only])).build()
}

pub(crate) fn secret() -> Object {
    // Not what was read as the masked form.
    text(8, 256, r"^(?!whsec_\.\.\.)[^\u0000-\u001f\u007f-\u009f]*$")
        .schema_type(SchemaType::Array(vec![Type::String, Type::Null]))
        .description(Some("Signs the deliveries; made for you when left out or null."))
        .build()
}

fn one_of(description: &str, names: impl IntoIterator<Item = String>) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(description))
        .enum_values(Some(names))
        .build()
}

fn names<T>(numbered: impl Fn(i16) -> Option<T>, name: impl Fn(T) -> &'static str) -> Vec<String> {
    (0..).map_while(numbered).map(|value| name(value).to_owned()).collect()
}

pub(crate) fn event_type() -> Object {
    let names = EventType::ALL.iter().map(|kind| kind.as_str().to_owned());
    one_of("The type of the event.", names)
}

/// What a webhook may subscribe to: everything, families, types.
pub(crate) fn event_pattern() -> Object {
    let types = EventType::ALL.iter().map(|kind| kind.as_str().to_owned());
    let mut names = vec!["*".to_owned()];
    for kind in EventType::ALL {
        let family = kind.as_str().split_once('.').map(|(family, _)| format!("{family}.*"));
        names.extend(family.filter(|family| !names.contains(family)));
    }
    names.extend(types);
    one_of("An event type, a family of them, or `*` for all.", names)
}

pub(crate) fn delivery_status() -> Object {
    let names = names(|n| DeliveryStatus::try_from(n).ok(), DeliveryStatus::as_str);
    one_of("How far the delivery is.", names)
}

pub(crate) fn cause() -> Object {
    let names = names(|n| Cause::try_from(n).ok(), Cause::as_str);
    one_of("Why the delivery is made.", names)
}

pub(crate) fn audit_action() -> Object {
    one_of("What was done.", Action::ALL.iter().map(|action| action.as_str().to_owned()))
}

pub(crate) fn audit_via() -> Object {
    let ways = [Via::Api, Via::Command, Via::Service];
    one_of("The way in.", ways.map(|way| way.as_str().to_owned()))
}

pub(crate) fn job_kind() -> Object {
    let names = names(|n| JobKind::try_from(n).ok(), JobKind::as_str);
    one_of("What the job does.", names)
}

pub(crate) fn job_status() -> Object {
    let names = names(|n| JobStatus::try_from(n).ok(), JobStatus::as_str);
    one_of("How far the job is.", names)
}

pub(crate) fn job_scope() -> Object {
    let names = names(|n| JobScope::try_from(n).ok(), JobScope::as_str);
    one_of("Which deliveries of the range are made again.", names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_whole() {
        assert_eq!(event_type().enum_values.unwrap().len(), 12);
        assert_eq!(event_pattern().enum_values.unwrap().len(), 12 + 4 + 1);
        assert_eq!(delivery_status().enum_values.unwrap().len(), 5);
        assert_eq!(cause().enum_values.unwrap().len(), 4);
        let of_jobs = [job_kind(), job_status(), job_scope()];
        assert_eq!(of_jobs.map(|names| names.enum_values.unwrap().len()), [2, 4, 4]);
    }
}
