//! Which URLs a webhook may have: nothing that leads inside, however it is written.

use serde_json::json;

use crate::studio::Studio;

/// Every notation of addresses that are not for the public.
const SPECIAL: &str = "
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.254 100.100.100.200 127.0.0.1 127.255.255.254
    169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1
    192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 233.252.0.16 240.0.0.1
    255.255.255.255 168.63.129.16
    127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 127.0.0.1. ①②⑦.⓪.⓪.①
    127。0。0。1 １２７.0.0.1 %31%32%37.0.0.1 2852039166 0xa9fea9fe 0251.0376.0251.0376
    169.16689662
    [::] [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:a9fe:a9fe]
    [::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::808:808] [64:ff9b:1::a00:1]
    [2002:7f00:1::] [2002:808:808::1] [2001:0:4136:e378:8000:63bf:3fff:fdd2] [2001:db8::1]
    [3fff::1] [100::1] [5f00::1] [fc00::1] [fd00:ec2::254] [fe80::1] [fe80::1%25eth0] [febf::1]
    [fec0::1] [ff02::1]";

const NEIGHBOURS: &str = "
    100.63.255.254 100.128.0.1 172.15.255.255 172.32.0.1 169.253.255.255 198.17.255.255 198.20.0.1
    223.255.255.255 8.8.8.8 [2606:4700:4700::1111] [2001:4860:4860::8888]";

const MALFORMED: &[&str] = &[
    "http://1.1.1.1@127.0.0.1/",
    "http://user:pw@example.com/",
    "http://127.0.0.1#@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1%00.example.com/",
    "http:127.0.0.1",
    "//127.0.0.1/",
    "https:/\\/127.0.0.1/",
    "file:///etc/passwd",
    "gopher://x:70/_",
    "ftp://x/",
    "unix:/run/x",
    "data:,x",
    "javascript:1",
    "http://",
    "http://a..b/",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com:22/",
    "http://example.com:25/",
    "http://example.com:6379/",
    "http://example.com:5672/",
    "http://example.com:15672/",
    "http://exam\tple.com/",
    "http://example.com/a\rb",
    "http://example.com/a\nb",
    "http://example.com/\0",
    "http://example.com/ ",
    " http://example.com/",
    "",
];

#[tokio::test]
async fn no_url_leads_inside_however_it_is_written() {
    let studio = Studio::start_guarded().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}", user.webhook("https://example.com/").await);
    let special = SPECIAL.split_whitespace().map(|host| format!("http://{host}/"));
    let malformed = MALFORMED.iter().map(|url| (*url).to_owned());
    let long = format!("https://example.com/{}", "x".repeat(2_029));
    assert_eq!(long.len(), 2_049);
    for url in special.chain(malformed).chain([long]) {
        let body = json!({ "name": "n", "url": url, "events": ["*"] });
        let answer = user.post("/v1/webhooks", body).await;
        assert_eq!(answer.status, 422, "{url:?}: {}", answer.text);
        assert_eq!(answer.fields(), ["url"], "creation: {url:?}");
        let answer = user.put(&path, json!({ "url": url })).await.expect(422);
        assert_eq!(answer.fields(), ["url"], "change: {url:?}");
    }
    assert_eq!(user.get(&path).await.data()["url"], "https://example.com/", "nothing changed");
    for host in NEIGHBOURS.split_whitespace() {
        user.put(&path, json!({ "url": format!("http://{host}/") })).await.expect(200);
    }
    let longest = format!("https://example.com/{}", "x".repeat(2_028));
    user.put(&path, json!({ "url": longest })).await.expect(200);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_told_from_one_that_does_not_exist_by_nobody() {
    let studio = Studio::start_guarded().await;
    let user = studio.user("usr_1");
    let mut errors = Vec::new();
    for host in ["localhost", "LOCALHOST.", "nothing.invalid"] {
        let id = user.webhook(&format!("http://{host}/")).await;
        let tested = user.post(&format!("/v1/webhooks/{id}/test"), json!({})).await.expect(200);
        assert_eq!(tested.data()["delivered"], false, "{host}");
        errors.push(tested.data()["error"].as_str().unwrap().to_owned());
    }
    errors.dedup();
    assert_eq!(errors, ["The address cannot be used"]);
}
