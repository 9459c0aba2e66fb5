//! Webhooks whose owner asked for the order of publication.

use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio};

const PROJECTS: usize = 5;
const EVENTS: usize = 50;

async fn deliveries_of_a_project_go_one_after_the_other_past_one_that_fails(backend: Backend) {
    let studio = Studio::start(backend).await;
    // The very first request fails: those behind it wait for its second attempt.
    let endpoint = Endpoint::answering([500, 200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({ "ordered": true })).await;
    let events: Vec<Published> = (0..EVENTS)
        .map(|n| Published::in_project("usr_1", &format!("p{}", n % PROJECTS)))
        .collect();
    studio.publish_all(&events).await;

    let requests = endpoint.wait_for(EVENTS + 1).await;

    let failed = requests[0].event_id();
    for project in 0..PROJECTS {
        let published: Vec<&str> =
            events.iter().skip(project).step_by(PROJECTS).map(|event| event.id.as_str()).collect();
        let mut came: Vec<String> = requests.iter().map(|request| request.event_id()).collect();
        came.retain(|id| published.contains(&id.as_str()));
        if came[0] == failed {
            assert_eq!(came.remove(0), came[0], "nothing overtakes it");
        }
        assert_eq!(came, published, "project {project}");
    }
    let logs = crate::support::wait_for("a log of every delivery", || async {
        let logs = studio.logs(&webhook).await;
        (logs.len() == EVENTS && logs.iter().all(|log| log["status"] == "success")).then_some(logs)
    })
    .await;
    assert!(logs.iter().all(|log| log["next_attempt_at"] == Value::Null));
}

on_both!(deliveries_of_a_project_go_one_after_the_other_past_one_that_fails);
