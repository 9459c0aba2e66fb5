//! A webhook's own limit of deliveries a second.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio};

async fn a_rate_limit_spreads_deliveries_and_loses_none(backend: Backend) {
    let studio = Studio::start(backend).await;
    let (paced, free) = (Endpoint::answering([200]).await, Endpoint::answering([200]).await);
    let webhook = studio.webhook("usr_1", &paced.url(), json!({ "rate_limit": 10 })).await;
    studio.webhook("usr_1", &free.url(), json!({})).await;
    let events = Published::several("usr_1", 60);
    studio.publish_all(&events).await;
    free.wait_for(60).await;
    assert!(paced.count() < 30, "{} while others had all", paced.count());
    paced.wait_for(60).await;
    let requests = paced.requests();
    for window in requests.windows(14) {
        // The clock of arrivals trembles a little.
        let took = window[13].at - window[0].at;
        assert!(took >= Duration::from_secs(1), "14 in {took:?}");
    }
    let ids: HashSet<String> = requests.iter().map(|request| request.event_id()).collect();
    assert_eq!((ids.len(), requests.len()), (60, 60));
    assert!(requests.iter().all(|request| request.header("x-sentimatrix-attempt") == "1"));
    let logs = crate::support::wait_for("a log of every delivery", || async {
        let logs = studio.logs(&webhook).await;
        (logs.len() == 60 && logs.iter().all(|log| log["status"] == "success")).then_some(logs)
    })
    .await;
    assert!(logs.iter().all(|log| log["retry_count"] == 0));
}

on_both!(a_rate_limit_spreads_deliveries_and_loses_none);
