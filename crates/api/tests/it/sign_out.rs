//! `POST /v1/users/{user_id}/sign-out`

use broker::{ControlMessage, ControlSignal};
use reqwest::Method;
use serde_json::json;

use crate::studio::{Caller, Studio, token_of};

const PATH: &str = "/v1/users/usr_1/sign-out";

#[tokio::test]
async fn an_admin_signs_a_user_or_one_token_out_everywhere() {
    let studio = Studio::start().await;
    let mut control = studio.broker.control();
    assert_eq!(control.next().await, Some(ControlSignal::Gap));
    let admin = studio.with_roles("usr_boss", &["admin"]);
    let mut announced = async |token_id: Option<&str>| {
        let Some(ControlSignal::Message(told)) = control.next().await else { panic!("the end") };
        let ControlMessage::SignedOut { user_id, token_id: told, at } = told else {
            panic!("{told:?}")
        };
        assert_eq!((user_id.as_str(), told.as_deref()), ("usr_1", token_id));
        at.expect("it says when")
    };
    let answer = admin.send(Method::POST, PATH, None).await.expect(202);
    let at = announced(None).await / 1_000_000;
    let from = time::OffsetDateTime::from_unix_timestamp(at + 31).unwrap();
    let from = from.format(&time::format_description::well_known::Rfc3339).unwrap();
    assert_eq!(answer.data(), json!({ "user_id": "usr_1", "tokens_from": from }));
    let answer = admin.post(PATH, json!({ "jti": "token 7" })).await.expect(202);
    assert_eq!(answer.data(), json!({ "user_id": "usr_1", "jti": "token 7" }));
    announced(Some("token 7")).await;
}

#[tokio::test]
async fn nobody_else_may_and_what_is_wrong_is_named() {
    let studio = Studio::start().await;
    for roles in [&["user"][..], &["service"], &["admin", "readonly"]] {
        let answer = studio.with_roles("usr_1", roles).send(Method::POST, PATH, None).await;
        assert_eq!(answer.expect(403).code(), "FORBIDDEN", "{roles:?}");
    }
    studio.stranger().send(Method::POST, PATH, None).await.expect(401);
    let admin = studio.with_roles("usr_boss", &["admin"]);
    for wrong in [json!({ "jti": "" }), json!({ "jti": 7 })] {
        assert_eq!(admin.post(PATH, wrong).await.expect(422).fields(), ["jti"]);
    }
    assert_eq!(admin.post(PATH, json!({ "all": true })).await.expect(422).fields(), ["all"]);
    admin.send(Method::POST, "/v1/users/two%20words/sign-out", None).await.expect(404);
}

fn holder<'a>(studio: &'a Studio, user: &str, roles: &[&str], issued: i64) -> Caller<'a> {
    studio.with_header(&format!("Bearer {}", token_of(user, roles, issued, 3_600)))
}

#[tokio::test]
async fn a_token_from_before_a_sign_out_does_nothing_any_more_and_a_later_one_does() {
    let studio = Studio::start().await;
    let id = studio.user("usr_1").webhook("https://example.com/").await;
    let admin = studio.with_roles("usr_boss", &["admin"]);
    // Twenty seconds ahead: as far as clocks may differ, and issued before all the same.
    let old = [-3_600, 0, 20].map(|issued| holder(&studio, "usr_1", &["user"], issued));
    for caller in &old {
        caller.get("/v1/webhooks").await.expect(200);
    }
    admin.send(Method::POST, PATH, None).await.expect(202);
    let path = format!("/v1/webhooks/{id}");
    let body = json!({ "name": "n", "url": "https://example.com/", "events": ["*"] });
    for caller in &old {
        let answer = caller.get("/v1/webhooks").await.expect(401);
        assert_eq!(answer.code(), "UNAUTHORIZED");
        caller.post("/v1/webhooks", body.clone()).await.expect(401);
        caller.post(&format!("{path}/rotate-secret"), json!({})).await.expect(401);
        caller.delete(&path).await.expect(401);
    }
    studio.user("usr_2").get("/v1/webhooks").await.expect(200);
    admin.get(&format!("{path}?user_id=usr_1")).await.expect(200);
}

#[tokio::test]
async fn an_admin_who_is_signed_out_signs_nobody_out() {
    let studio = Studio::start().await;
    let admin = studio.with_roles("usr_1", &["admin"]);
    admin.send(Method::POST, PATH, None).await.expect(202);
    admin.send(Method::POST, PATH, None).await.expect(401);
}

#[tokio::test]
async fn one_token_that_is_signed_out_does_nothing_and_the_users_others_do() {
    let studio = Studio::start().await;
    let admin = studio.with_roles("usr_boss", &["admin"]);
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let with_id = |id: &str| {
        let claims = json!({ "sub": "usr_1", "exp": now + 600, "iat": now + 20, "jti": id });
        let secret = "a secret of tests, with more than 32 bytes";
        format!("Bearer {}", bench::token::signed(secret, &claims))
    };
    let (out, stays) = (with_id("t1"), with_id("t2"));
    studio.with_header(&out).get("/v1/webhooks").await.expect(200);
    admin.post(PATH, json!({ "jti": "t1" })).await.expect(202);
    studio.with_header(&out).get("/v1/webhooks").await.expect(401);
    studio.with_header(&stays).get("/v1/webhooks").await.expect(200);
}

#[tokio::test]
async fn a_sign_out_that_is_not_kept_is_not_accepted() {
    let studio = Studio::start().await;
    let admin = studio.with_roles("usr_boss", &["admin"]);
    studio.sql("DROP TABLE sign_outs").await;
    assert!(admin.send(Method::POST, PATH, None).await.status >= 500);
    studio.user("usr_1").get("/v1/webhooks").await.expect(200);
}
