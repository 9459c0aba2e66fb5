//! Who is signed out stays out: at every process, and after restarts of all of them.

use std::time::Duration;

use bench::servers::free_ports;
use bench::token::signed;
use serde_json::json;
use time::OffsetDateTime;

use crate::support::studio::{Backend, JWT_SECRET, Studio};
use crate::support::{client, on_both, wait_at_most, wait_for};

/// A token of `user` that says that it was issued `seconds` from now.
fn token(user: &str, seconds: i64) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let claims = json!({ "sub": user, "iat": now + seconds, "exp": now + 3_600 });
    signed(JWT_SECRET, &claims)
}

/// What each process answers to the token.
async fn statuses(bases: &[(String, &str)], token: &str) -> Vec<u16> {
    let mut found = Vec::new();
    for (base, path) in bases {
        let request = client().get(format!("{base}{path}")).bearer_auth(token);
        found.push(request.send().await.map_or(0, |answer| answer.status().as_u16()));
    }
    found
}

async fn a_user_who_is_signed_out_stays_out_of_every_process_whatever_restarts(backend: Backend) {
    let studio = Studio::start(backend).await;
    let mut bases =
        vec![(studio.api.clone(), "/v1/webhooks"), (studio.gateway.clone(), "/v1/events/stream")];
    let [other] = free_ports().unwrap();
    let bind = format!("127.0.0.1:{other}");
    let second = [("STUDIO__API__BIND", bind.as_str())];
    if backend == Backend::Servers {
        studio.spawn("api 2", "api", &second);
        bases.push((format!("http://{bind}"), "/v1/webhooks"));
        studio.wait_ready(&format!("http://{bind}")).await;
    }
    let all = |status: u16| vec![status; bases.len()];
    let (old, ahead) = (token("usr_1", -60), token("usr_1", 20));
    for token in [&old, &ahead] {
        assert_eq!(statuses(&bases, token).await, all(200));
    }
    let open = client().get(format!("{}/v1/events/stream", studio.gateway)).bearer_auth(&old);
    let open = open.send().await.unwrap();
    let admin = studio.token("usr_boss", "admin");
    let path = "/v1/users/usr_1/sign-out";
    let (status, answer) = studio.call("POST", path, &admin, None).await;
    assert_eq!(status, 202, "{answer}");
    assert!(answer["data"]["tokens_from"].as_str().unwrap().ends_with('Z'), "{answer}");
    let ended = tokio::time::timeout(Duration::from_secs(5), open.text()).await;
    let said = ended.expect("the stream ends").unwrap();
    assert!(said.contains("4503"), "{said}");
    for token in [&old, &ahead] {
        wait_at_most(Duration::from_secs(5), "the sign-out is known to all", || async {
            (statuses(&bases, token).await == all(401)).then_some(())
        })
        .await;
    }
    // All of them at once, and the gateway before those that it asks.
    match backend {
        Backend::Embedded => {
            studio.kill("all");
            studio.spawn("all", "all", &[]);
        }
        Backend::Servers => {
            for name in ["api", "api 2", "dispatcher", "gateway"] {
                studio.kill(name);
            }
            studio.spawn("gateway", "gateway", &[]);
            wait_for("a gateway that is not ready", || async {
                let waits = studio.log("gateway").matches("follows the history").count() == 2;
                waits.then_some(())
            })
            .await;
            let gateway = &bases[1..2];
            assert_eq!(statuses(gateway, &token("usr_2", -60)).await, [503], "it cannot know yet");
            studio.spawn("dispatcher", "dispatcher", &[]);
            studio.wait_ready(&studio.gateway).await;
            studio.spawn("api", "api", &[]);
            studio.spawn("api 2", "api", &second);
        }
    }
    for (base, _) in &bases {
        studio.wait_ready(base).await;
    }
    wait_for("everybody else is let in", || async {
        (statuses(&bases, &token("usr_2", -60)).await == all(200)).then_some(())
    })
    .await;
    for token in [&old, &ahead] {
        assert_eq!(statuses(&bases, token).await, all(401));
    }
    wait_for("a token from after it is let in", || async {
        (statuses(&bases, &token("usr_1", 29)).await == all(200)).then_some(())
    })
    .await;
}

on_both!(a_user_who_is_signed_out_stays_out_of_every_process_whatever_restarts);
