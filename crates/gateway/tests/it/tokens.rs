//! Tokens: where they stand, how they end, and how they are renewed.

use broker::{ControlMessage, ControlSignal, SignedOut};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::client::Response;

use crate::studio::{
    Client, Next, PATIENCE, Studio, request, token, token_for, token_issued, token_with_id,
};
use gateway::GatewayConfig;

fn status(result: Result<(Client, Response), Error>) -> u16 {
    match result {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_stands_in_the_query_the_header_or_the_subprotocol() {
    let studio = Studio::start().await;
    let mut header = request(studio.address, "");
    let value = format!("Bearer {}", token("ann")).parse().unwrap();
    header.headers_mut().insert("authorization", value);
    let (mut client, _) = Client::open(header).await.unwrap();
    assert_eq!(client.json().await["type"], "connected");

    let mut subprotocol = request(studio.address, "");
    let value = format!("bearer, {}", token("ann")).parse().unwrap();
    subprotocol.headers_mut().insert("sec-websocket-protocol", value);
    let (mut client, answer) = Client::open(subprotocol).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "bearer", "never the token");
    assert_eq!(client.json().await["type"], "connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_before_the_upgrade() {
    let studio = Studio::start().await;
    for query in ["", "?token=", "?token=a.b.c", &format!("?token={}x", token("ann"))] {
        assert_eq!(status(Client::open(request(studio.address, query)).await), 401, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_upgraded_so_that_a_browser_can_see_why_it_is_closed() {
    let studio = Studio::start().await;
    let url = request(studio.address, &format!("?token={}", token_for("ann", -60)));
    let (mut client, _) = Client::open(url).await.unwrap();
    assert_eq!(client.next().await, Next::Close(Some(4_001)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_that_its_token_ends_and_closed_when_it_does() {
    let studio = Studio::start().await;
    let mut client = Client::connect(studio.address, &token_for("ann", 2)).await;
    let began = Instant::now();
    assert_eq!(client.json().await["type"], "token_expiring");
    assert_eq!(client.closed().await, Some(4_001));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_renewed_in_place_loses_nothing() {
    let studio = Studio::start().await;
    let mut client = Client::connect(studio.address, &token_for("ann", 5)).await;
    let began = Instant::now();
    assert_eq!(client.json().await["type"], "token_expiring");
    client.subscribe("*").await;
    let renewed = client.ask(&json!({ "type": "auth", "token": token("ann"), "id": 1 })).await;
    assert_eq!((&renewed["type"], &renewed["id"]), (&json!("authenticated"), &json!(1)));
    assert!(renewed["token_expires_at"].as_str().unwrap().ends_with('Z'));
    tokio::time::sleep_until((began + Duration::from_millis(6_500)).into()).await;
    studio.publish("evt_1", "ann", "proj_1").await;
    assert_eq!(client.event_id().await, "evt_1", "after the first token's end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_by_another_users_token_or_a_wrong_one_ends_the_connection() {
    let studio = Studio::start().await;
    for (token, code) in
        [(token("bob"), 4_500), ("wrong".into(), 4_500), (token_for("ann", -60), 4_001)]
    {
        let mut client = studio.client("ann").await;
        client.say(&json!({ "type": "auth", "token": token })).await;
        assert_eq!(client.closed().await, Some(code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_signed_out_is_gone_within_a_second_and_stays_out() {
    let studio = Studio::start().await;
    let old = token("ann");
    let mut clients = [
        Client::connect(studio.address, &old).await,
        Client::connect(studio.address, &token_with_id("ann", "t1")).await,
    ];
    let mut other = studio.watching("bob", "*").await;
    let began = Instant::now();
    let message = ControlMessage::SignedOut { user_id: "ann".into(), token_id: None, at: None };
    studio.broker.announce(&message).await.unwrap();
    for client in &mut clients {
        assert_eq!(client.closed().await, Some(4_503));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let url = request(studio.address, &format!("?token={old}"));
    let (mut again, _) = Client::open(url).await.unwrap();
    assert_eq!(again.next().await, Next::Close(Some(4_503)), "the old token opens nothing");
    other.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_it_is_from_the_near_future_does_not_survive_a_sign_out() {
    let studio = Studio::start().await;
    let ahead = token_issued("ann", 20);
    let mut client = Client::connect(studio.address, &ahead).await;
    let message = ControlMessage::SignedOut { user_id: "ann".into(), token_id: None, at: None };
    studio.broker.announce(&message).await.unwrap();
    assert_eq!(client.closed().await, Some(4_503));
    let url = request(studio.address, &format!("?token={ahead}"));
    let (mut again, _) = Client::open(url).await.unwrap();
    assert_eq!(again.next().await, Next::Close(Some(4_503)), "it opens nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_signed_out_and_the_users_others_stay() {
    let studio = Studio::start().await;
    let first = token_with_id("ann", "t1");
    let mut out = Client::connect(studio.address, &first).await;
    let mut stays = Client::connect(studio.address, &token_with_id("ann", "t2")).await;
    let message =
        ControlMessage::SignedOut { user_id: "ann".into(), token_id: Some("t1".into()), at: None };
    studio.broker.announce(&message).await.unwrap();
    assert_eq!(out.closed().await, Some(4_503));
    stays.has_nothing().await;
    stays.say(&json!({ "type": "auth", "token": first })).await;
    assert_eq!(stays.closed().await, Some(4_503), "nor does it renew another connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_may_not_connect_is_refused() {
    let origins = vec!["https://studio.example".to_owned()];
    let studio = Studio::with(GatewayConfig { origins, ..GatewayConfig::default() }).await;
    for (origin, expected) in
        [(Some("https://evil.example"), 403), (Some("https://studio.example"), 101), (None, 101)]
    {
        let mut request = request(studio.address, &format!("?token={}", token("ann")));
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        assert_eq!(status(Client::open(request).await), expected, "{origin:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_count_against_their_address_on_every_way_in() {
    let proxies = serde_json::from_value(json!("127.0.0.0/8")).unwrap();
    let config = GatewayConfig { trusted_proxies: proxies, ..GatewayConfig::default() };
    let studio = Studio::with_wrong_tokens(4, config).await;
    let from = |address: &str, token: &str| {
        let mut request = request(studio.address, &format!("?token={token}"));
        request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
        request
    };
    let stream = async |address: &str| {
        let headers = format!("Authorization: Bearer a.b.c\r\nX-Forwarded-For: {address}\r\n");
        crate::sse::status_of(&studio, &headers).await
    };
    for _ in 0..2 {
        assert_eq!(status(Client::open(from("192.0.2.1", "a.b.c")).await), 401);
        assert_eq!(stream("192.0.2.1").await, 401);
    }
    let Err(Error::Http(answer)) = Client::open(from("192.0.2.1", "a.b.c")).await else {
        panic!("not refused");
    };
    assert_eq!(answer.status().as_u16(), 429);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=16).contains(&wait), "{wait}");
    assert_eq!(stream("192.0.2.1").await, 429);
    // Others are not touched, and neither is who has a right token or none.
    assert_eq!(status(Client::open(from("192.0.2.2", "a.b.c")).await), 401);
    assert_eq!(status(Client::open(from("192.0.2.1", "")).await), 401);
    assert_eq!(status(Client::open(from("192.0.2.1", &token("ann"))).await), 101);
    // A wrong token in a message counts, too.
    for _ in 0..3 {
        let (mut client, _) = Client::open(from("192.0.2.2", &token("ann"))).await.unwrap();
        client.json().await;
        client.say(&json!({ "type": "auth", "token": "a.b.c" })).await;
        assert_eq!(client.closed().await, Some(4_500));
    }
    assert_eq!(stream("192.0.2.2").await, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_before_it_is_known_who_was_signed_out() {
    let studio = Studio::start().await;
    let mut control = studio.broker.control();
    let asked = async {
        loop {
            let signal = control.next().await.unwrap();
            if let ControlSignal::Message(ControlMessage::SignOutsWanted { question, .. }) = signal
            {
                return question;
            }
        }
    };
    let gateway = studio.uninformed_gateway();
    let question = tokio::time::timeout(PATIENCE, asked).await.unwrap();
    let opened = async |user: &str| {
        status(Client::open(request(gateway.address, &format!("?token={}", token(user)))).await)
    };
    assert_eq!(opened("ann").await, 503);
    let now = time::OffsetDateTime::now_utc().unix_timestamp() * 1_000_000;
    let part = |part: u32, user: &str| ControlMessage::SignOuts {
        question: question.clone(),
        answer: "a".into(),
        part,
        parts: 2,
        sign_outs: vec![SignedOut { user_id: user.into(), token_id: None, at: now }],
        everybody: None,
    };
    studio.broker.announce(&part(0, "bob")).await.unwrap();
    assert_eq!(opened("ann").await, 503, "the other part is missing");
    studio.broker.announce(&part(1, "carol")).await.unwrap();
    crate::studio::ready(gateway.address).await;
    assert_eq!(opened("ann").await, 101);
    for user in ["bob", "carol"] {
        let url = request(gateway.address, &format!("?token={}", token(user)));
        let (mut client, _) = Client::open(url).await.unwrap();
        assert_eq!(client.next().await, Next::Close(Some(4_503)), "{user}");
    }
}
