use serde_json::{Value, json};

use super::EventType;

#[test]
fn there_are_twelve_types_and_each_is_found_by_its_name() {
    assert_eq!(EventType::ALL.len(), 12);
    for kind in EventType::ALL {
        assert_eq!(kind.as_str().parse(), Ok(*kind));
    }
    assert!("scrape.exploded".parse::<EventType>().is_err());
}

fn example(kind: EventType) -> Value {
    serde_json::from_str(kind.example_data()).unwrap()
}

#[test]
fn every_example_is_an_object_of_a_project() {
    for kind in EventType::ALL {
        assert_eq!(example(*kind)["project_id"], "proj_abc123", "{kind}");
    }
}

/// Whether `value` is valid by `schema`. Knows the keywords that our schemas use, and no other.
fn valid(schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "title" | "description" => rule.is_string(),
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            other => panic!("the type {other}"),
        },
        "const" => value == rule,
        "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|entry| valid(rule, entry))),
        "properties" => rule
            .as_object()
            .unwrap()
            .iter()
            .all(|(name, schema)| value.get(name).is_none_or(|value| valid(schema, value))),
        "required" => {
            rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
        }
        other => panic!("the keyword {other}"),
    })
}

#[test]
fn every_example_is_valid_by_its_schema_which_describes_all_of_it() {
    fn keys(value: &Value) -> Vec<&String> {
        value.as_object().unwrap().keys().collect()
    }
    for kind in EventType::ALL {
        let (schema, example) = (kind.data_schema(), example(*kind));
        assert!(valid(&schema, &example), "{kind}");
        assert_eq!(keys(&schema["properties"]), keys(&example), "{kind}");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(
            (&schema["title"], &schema["description"]),
            (&json!(kind.as_str()), &json!(kind.description()))
        );
    }
    let completed = EventType::AnalysisCompleted;
    assert_eq!(
        keys(&completed.data_schema()["properties"]["summary"]["properties"]),
        keys(&example(completed)["summary"])
    );
}

#[test]
fn a_schema_refuses_what_its_type_is_not() {
    for (kind, field, wrong) in [
        (EventType::ProjectCreated, "project_id", None),
        (EventType::ScrapeStarted, "job_id", None),
        (EventType::ScrapeStarted, "targets", Some(json!(-1))),
        (EventType::ScrapeStarted, "targets", Some(json!(1.5))),
        (EventType::ScrapeProgress, "progress", Some(json!(101))),
        (EventType::ScrapeCompleted, "status", Some(json!("failed"))),
        (EventType::ScrapeCompleted, "errors", Some(json!([1]))),
        (EventType::AnalysisCompleted, "summary", Some(json!({ "avg_sentiment": 2 }))),
        (EventType::AnalysisFailed, "error", Some(json!(["no text"]))),
        (EventType::AlertSentimentDrop, "target_id", None),
    ] {
        let mut data = example(kind);
        match &wrong {
            None => drop(data.as_object_mut().unwrap().remove(field)),
            Some(wrong) => data[field] = wrong.clone(),
        }
        assert!(!valid(&kind.data_schema(), &data), "{kind} {field} {wrong:?}");
    }
}
