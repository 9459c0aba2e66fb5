//! From an answer to what can be done next: whoever has made a webhook can get it, change it,
//! test it. Every operation whose path needs what an answer tells is linked from it.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{Paths, RefOr};

/// An operation, the status of its answer, and where the answer has parameters of paths.
type Source = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const WEBHOOK: (&str, &str) = ("webhook_id", "$request.path.webhook_id");

const SOURCES: &[Source] = &[
    ("createWebhook", "201", &[("webhook_id", "$response.body#/data/id")]),
    ("listWebhooks", "200", &[("webhook_id", "$response.body#/data/0/id")]),
    ("testWebhook", "200", &[WEBHOOK, ("log_id", "$response.body#/data/log_id")]),
    ("listLogs", "200", &[WEBHOOK, ("log_id", "$response.body#/data/0/id")]),
    ("redeliverLog", "202", &[WEBHOOK, ("log_id", "$response.body#/data/id")]),
    ("redeliverRange", "202", &[WEBHOOK, ("job_id", "$response.body#/data/id")]),
    ("replayRange", "202", &[WEBHOOK, ("job_id", "$response.body#/data/id")]),
    ("listJobs", "200", &[WEBHOOK, ("job_id", "$response.body#/data/0/id")]),
    ("getLog", "200", &[("event_id", "$response.body#/data/event_id")]),
];

/// Links every operation that gives ids to those that take them.
pub(crate) fn add(paths: &mut Paths) {
    let targets: Vec<(String, BTreeSet<String>)> = super::operations(paths)
        .map(|(_, _, operation)| (name(operation).to_owned(), in_path(operation)))
        .filter(|(_, parameters)| !parameters.is_empty())
        .collect();
    for (_, _, operation) in super::operations(paths) {
        let Some((from, status, known)) = SOURCES.iter().find(|(id, ..)| *id == name(operation))
        else {
            continue;
        };
        let names: BTreeSet<String> = known.iter().map(|(name, _)| (*name).to_owned()).collect();
        let fitting = targets.iter().filter(|(target, needed)| *needed == names && target != from);
        let links: BTreeMap<_, _> = fitting
            .map(|(target, _)| {
                let link = known
                    .iter()
                    .fold(LinkBuilder::new().operation_id(target), |link, (name, place)| {
                        link.parameter(*name, *place)
                    });
                (target.clone(), RefOr::T(link.build()))
            })
            .collect();
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(*status) {
            response.links = links;
        }
    }
}

fn name(operation: &Operation) -> &str {
    operation.operation_id.as_deref().unwrap_or_default()
}

fn in_path(operation: &Operation) -> BTreeSet<String> {
    let parameters = operation.parameters.iter().flatten();
    parameters
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Path => {
                Some(parameter.name.clone())
            }
            _ => None,
        })
        .collect()
}
