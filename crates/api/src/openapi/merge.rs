//! Fields that several views share (`#[serde(flatten)]`) come as `allOf`; readers and generators
//! of clients get one plain object instead.

use utoipa::openapi::schema::{AllOf, Components, Object, Schema};
use utoipa::openapi::{Ref, RefOr};

/// What several views share and nobody sees by itself.
const SHARED: &str = "Beyond";

/// Makes plain objects of all components that are put together from others.
pub(crate) fn flatten(components: &mut Components) {
    let composed: Vec<(String, AllOf)> = components
        .schemas
        .iter()
        .filter_map(|(name, schema)| match schema {
            RefOr::T(Schema::AllOf(all)) => Some((name.clone(), all.clone())),
            _ => None,
        })
        .collect();
    for (name, all) in composed {
        let mut whole = Object::default();
        // As the views are written: what they share stands last, what they extend first.
        let last = |item: &RefOr<Schema>| matches!(item, RefOr::Ref(part) if part.ref_location.ends_with(SHARED));
        let (shared, others): (Vec<_>, Vec<_>) = all.items.iter().partition(|item| last(item));
        for item in others.into_iter().chain(shared) {
            let part = resolve(components, item);
            whole.schema_type = part.schema_type;
            whole.properties.extend(part.properties);
            whole.required.extend(part.required);
        }
        whole.description = all.description.or(whole.description);
        components.schemas.insert(name, RefOr::T(Schema::Object(whole)));
    }
    components.schemas.retain(|name, _| name != SHARED);
}

fn resolve(components: &Components, item: &RefOr<Schema>) -> Object {
    match item {
        RefOr::T(Schema::Object(object)) => object.clone(),
        RefOr::T(Schema::AllOf(all)) => {
            let mut whole = Object::default();
            for item in &all.items {
                let part = resolve(components, item);
                whole.schema_type = part.schema_type;
                whole.properties.extend(part.properties);
                whole.required.extend(part.required);
            }
            whole
        }
        RefOr::Ref(Ref { ref_location, .. }) => {
            let name = ref_location.rsplit('/').next().unwrap_or_default();
            components
                .schemas
                .get(name)
                .map(|schema| resolve(components, schema))
                .unwrap_or_default()
        }
        RefOr::T(_) => Object::default(),
    }
}
