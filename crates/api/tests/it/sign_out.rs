//! `POST /v1/users/{user_id}/sign-out`

use broker::{ControlMessage, ControlSignal};
use reqwest::Method;
use serde_json::json;

use crate::studio::Studio;

const PATH: &str = "/v1/users/usr_1/sign-out";

#[tokio::test]
async fn an_admin_signs_a_user_or_one_token_out_everywhere() {
    let studio = Studio::start().await;
    let mut control = studio.broker.control();
    assert_eq!(control.next().await, Some(ControlSignal::Gap));
    let admin = studio.with_roles("usr_boss", &["admin"]);
    let mut announced = async |token_id: Option<&str>| {
        let expected = ControlMessage::SignedOut {
            user_id: "usr_1".into(),
            token_id: token_id.map(str::to_owned),
        };
        assert_eq!(control.next().await, Some(ControlSignal::Message(expected)));
    };
    let answer = admin.send(Method::POST, PATH, None).await.expect(202);
    assert_eq!(answer.data(), json!({ "user_id": "usr_1" }));
    announced(None).await;
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
