//! What all routes have in common, asked of every route that the API's description has.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::studio::{Answer, Caller, Studio};

/// An operation of the description.
struct Operation {
    method: Method,
    /// As it is described, and with ids that exist.
    path: String,
    url: String,
    of: Value,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn needs_token(&self) -> bool {
        !self.of["security"].as_array().unwrap().is_empty()
    }

    /// The first of the roles that it is for.
    fn role(&self) -> &str {
        self.of["security"][0]["access_token"][0].as_str().unwrap_or("user")
    }

    /// Its caller: publishing is for services, what concerns any user for admins.
    fn caller<'a>(&self, studio: &'a Studio) -> Caller<'a> {
        match self.role() {
            "service" => studio.service(),
            "admin" => studio.with_roles("usr_1", &["admin"]),
            _ => studio.user("usr_1"),
        }
    }

    fn parameters(&self, document: &Value, place: &str) -> Vec<Value> {
        let all = self.of["parameters"].as_array().into_iter().flatten();
        all.map(|parameter| resolve(document, parameter))
            .filter(|parameter| parameter["in"] == place)
            .collect()
    }

    /// The fields of its body: the first form where there are several.
    fn fields(&self, document: &Value) -> Option<BTreeMap<String, Value>> {
        let schema = &self.of["requestBody"]["content"]["application/json"]["schema"];
        let mut schema = resolve(document, schema);
        while let Some(form) = schema["oneOf"].as_array() {
            let object = form.iter().find(|form| form["type"] != "null").unwrap();
            schema = resolve(document, object);
        }
        serde_json::from_value(schema["properties"].clone()).ok()
    }

    async fn send(&self, caller: &Caller<'_>, body: Option<Value>) -> Answer {
        caller.send(self.method.clone(), &self.url, body.map(|body| body.to_string())).await
    }
}

fn resolve(document: &Value, value: &Value) -> Value {
    match value["$ref"].as_str() {
        Some(place) => document.pointer(&place[1..]).unwrap().clone(),
        None => value.clone(),
    }
}

fn document() -> Value {
    serde_json::from_str(api::openapi()).unwrap()
}

/// Every operation, with ids of `usr_1`.
async fn operations(studio: &Studio) -> Vec<Operation> {
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let user = studio.user("usr_1");
    let webhook = user.webhook(&endpoint.url()).await;
    let test = user.post(&format!("/v1/webhooks/{webhook}/test"), json!({})).await.expect(200);
    let log = test.data()["log_id"].as_str().unwrap().to_owned();
    let found = user.get(&format!("/v1/webhooks/{webhook}/logs/{log}")).await.expect(200);
    let event = found.data()["event_id"].as_str().unwrap().to_owned();
    let range = json!({ "since": "2026-01-01T00:00:00Z" });
    let job = user.post(&format!("/v1/webhooks/{webhook}/redeliver"), range).await.expect(202);
    let job = job.data()["id"].as_str().unwrap().to_owned();
    let mut all = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, of) in item.as_object().unwrap() {
            let url = path
                .replace("{webhook_id}", &webhook)
                .replace("{log_id}", &log)
                .replace("{job_id}", &job)
                .replace("{user_id}", "usr_1")
                .replace("{event_id}", &event);
            let method = method.to_uppercase().parse().unwrap();
            all.push(Operation { method, path: path.clone(), url, of: of.clone() });
        }
    }
    assert!(all.len() >= 22);
    all
}

#[tokio::test]
async fn every_path_names_its_methods_to_whoever_takes_another() {
    let studio = Studio::start().await;
    let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for operation in operations(&studio).await {
        let methods = paths.entry(operation.url).or_default();
        methods.push(operation.method.to_string());
        if operation.method == Method::GET {
            methods.push("HEAD".to_owned());
        }
    }
    for (path, mut methods) in paths {
        methods.sort();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if methods.iter().any(|known| known == method) {
                continue;
            }
            let method: Method = method.parse().unwrap();
            let answer = studio.stranger().send(method.clone(), &path, None).await.expect(405);
            assert_eq!(answer.code(), "METHOD_NOT_ALLOWED", "{method} {path}");
            let mut allowed: Vec<&str> = answer.header("allow").split(", ").collect();
            allowed.sort_unstable();
            assert_eq!(allowed, methods, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn nothing_lies_beyond_the_described_paths() {
    let studio = Studio::start().await;
    for operation in operations(&studio).await {
        for beyond in [format!("{}/nothing/more", operation.url), format!("{}/", operation.url)] {
            let caller = operation.caller(&studio);
            let answer = caller.send(operation.method.clone(), &beyond, None).await.expect(404);
            assert_eq!(answer.code(), "NOT_FOUND", "{beyond}");
        }
    }
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let studio = Studio::start().await;
    for operation in operations(&studio).await {
        let headers = [("x-request-id", "mine-1")];
        let (method, url) = (operation.method.clone(), &operation.url);
        let answer = operation.caller(&studio).send_with(method, url, None, &headers).await;
        assert_eq!(answer.header("x-request-id"), "mine-1", "{}", operation.name());
        if operation.needs_token() && !answer.text.is_empty() {
            assert_eq!(answer.json()["meta"]["request_id"], "mine-1", "{}", operation.name());
        }
    }
}

#[tokio::test]
async fn without_a_token_every_operation_but_the_open_ones_is_refused() {
    let studio = Studio::start().await;
    for operation in operations(&studio).await {
        let answer = operation.send(&studio.stranger(), Some(json!({}))).await;
        if operation.needs_token() {
            assert_eq!(answer.expect(401).code(), "UNAUTHORIZED", "{}", operation.name());
        } else {
            answer.expect(200);
        }
    }
}

#[tokio::test]
async fn another_users_ids_are_unknown_to_every_operation() {
    let studio = Studio::start().await;
    let stranger = studio.user("usr_2");
    for operation in operations(&studio).await {
        if !operation.path.contains('{') {
            continue;
        }
        // With a body that would be right.
        let example = &operation.of["requestBody"]["content"]["application/json"]["example"];
        let body = (!example.is_null()).then(|| example.clone());
        let answer = operation.send(&stranger, body).await;
        if operation.role() == "admin" {
            assert_eq!(answer.expect(403).code(), "FORBIDDEN", "{}", operation.name());
        } else {
            assert_eq!(answer.expect(404).code(), "NOT_FOUND", "{}", operation.name());
        }
    }
}

#[tokio::test]
async fn every_body_must_be_json_by_name() {
    let studio = Studio::start().await;
    for operation in operations(&studio).await {
        if operation.of["requestBody"].is_null() {
            continue;
        }
        let headers = [("content-type", "text/plain")];
        let (method, body) = (operation.method.clone(), Some("{}".to_owned()));
        let caller = operation.caller(&studio);
        let answer = caller.send_with(method, &operation.url, body, &headers).await.expect(415);
        assert_eq!(answer.code(), "UNSUPPORTED_MEDIA_TYPE", "{}", operation.name());
    }
}

#[tokio::test]
async fn every_body_refuses_unknown_fields_by_name() {
    let studio = Studio::start().await;
    for operation in operations(&studio).await {
        if operation.fields(&document()).is_none() {
            continue;
        }
        let body = Some(json!({ "no_such_field": 1 }));
        let answer = operation.send(&operation.caller(&studio), body).await.expect(422);
        let fields = answer.fields();
        assert!(fields.contains(&"no_such_field".to_owned()), "{}: {fields:?}", operation.name());
    }
}

#[tokio::test]
async fn every_field_of_a_wrong_type_is_named_with_what_it_must_be() {
    let studio = Studio::start().await;
    let mut tried = 0;
    for operation in operations(&studio).await {
        for (field, schema) in operation.fields(&document()).unwrap_or_default() {
            // Nothing takes both a number and a list of lists.
            let kinds = schema["type"].to_string();
            let wrong = if kinds.contains("integer") || kinds.contains("number") {
                json!([[]])
            } else {
                json!(7)
            };
            let body = Some(json!({ field.clone(): wrong }));
            let answer = operation.send(&operation.caller(&studio), body).await.expect(422);
            let details = answer.json()["error"]["details"].clone();
            let named = details.as_array().unwrap().iter().find(|d| d["field"] == field.as_str());
            let name = operation.name();
            let named = named.unwrap_or_else(|| panic!("{name}: {field}: {}", answer.text));
            assert!(named["message"].as_str().unwrap().starts_with("must "), "{name}: {named}");
            tried += 1;
        }
    }
    assert!(tried >= 25, "{tried}");
}

#[tokio::test]
async fn every_parameter_of_a_wrong_form_is_named_and_so_is_an_unknown_one() {
    let studio = Studio::start().await;
    let document = document();
    let mut tried = 0;
    for operation in operations(&studio).await {
        let mut parameters = operation.parameters(&document, "query");
        parameters.retain(|parameter| parameter["name"] != "user_id");
        if parameters.is_empty() {
            continue;
        }
        let mut wrong = vec![("no_such_parameter".to_owned(), "1")];
        for parameter in parameters {
            // What is free text has no wrong form but NUL.
            let schema = &parameter["schema"];
            let free = schema["type"] == "string"
                && schema["enum"].is_null()
                && schema["format"].is_null();
            let name = parameter["name"].as_str().unwrap().to_owned();
            wrong.push((name, if free { "%00" } else { "nonsense" }));
        }
        for (name, value) in wrong {
            let path = format!("{}?{name}={value}", operation.url);
            let answer = operation.caller(&studio).get(&path).await.expect(422);
            assert_eq!(answer.fields(), [name.as_str()], "{path}");
            let twice = format!("{}?{name}={value}&{name}={value}", operation.url);
            let answer = operation.caller(&studio).get(&twice).await.expect(422);
            assert!(answer.fields().contains(&name), "{twice}");
            tried += 1;
        }
    }
    assert!(tried >= 11, "{tried}");
}
