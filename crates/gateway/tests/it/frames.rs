//! The cases of Autobahn's test suite that apply to an endpoint which takes small texts and
//! answers in its own words: framing, pings, reserved bits, opcodes, fragmentation, UTF-8 and
//! closing (its sections 1 to 7, with a limit of 4 KiB; 9 is `bench gateway`; compression, 12 and
//! 13, is not offered).

use crate::raw::{Frame, Raw, masked};
use crate::studio::Studio;

const PING: &str = r#"{"type":"ping"}"#;
const PONG: &[u8] = br#"{"type":"pong"}"#;

/// What is expected after some bytes.
enum Expect {
    /// The endpoint's answer to its own `ping`.
    Answered,
    /// Frames, in this order.
    Frames(Vec<Frame>),
    /// A close with this code; 1005 stands for one without.
    Closed(u16),
}

use Expect::{Answered, Closed, Frames};

fn frame(first: u8, payload: &[u8]) -> Frame {
    Frame { first, payload: payload.to_vec() }
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(0x88, &[&code.to_be_bytes()[..], reason].concat())
}

/// The same frame without its mask bit and mask.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8][..], payload].concat()
}

fn halves() -> (Vec<u8>, Vec<u8>) {
    let (left, right) = PING.as_bytes().split_at(6);
    (masked(0x01, left), masked(0x80, right))
}

fn cases() -> Vec<(&'static str, Vec<u8>, Expect)> {
    let pong = |payload: &[u8]| frame(0x8A, payload);
    let answer = || frame(0x81, PONG);
    let (left, right) = halves();
    let padded = |size: usize| format!("{PING}{}", " ".repeat(size - PING.len()));
    vec![
        // 1: texts of the sizes at which the length is written otherwise, and beyond the limit.
        ("1.1.2", masked(0x81, padded(125).as_bytes()), Answered),
        ("1.1.3", masked(0x81, padded(126).as_bytes()), Answered),
        ("1.1.5", masked(0x81, padded(128).as_bytes()), Answered),
        ("1.1.6", masked(0x81, padded(4_096).as_bytes()), Answered),
        ("1.1.7", masked(0x81, padded(65_536).as_bytes()), Closed(4_501)),
        ("1.2.1", masked(0x82, b""), Closed(4_501)),
        // 2: pings and pongs.
        ("2.1", masked(0x89, b""), Frames(vec![pong(b"")])),
        ("2.2", masked(0x89, b"hello"), Frames(vec![pong(b"hello")])),
        ("2.3", masked(0x89, &[0, 255, 254, 1]), Frames(vec![pong(&[0, 255, 254, 1])])),
        ("2.4", masked(0x89, &[7; 125]), Frames(vec![pong(&[7; 125])])),
        ("2.5", masked(0x89, &[7; 126]), Closed(1_002)),
        (
            "2.7-2.9",
            [masked(0x8A, b""), masked(0x8A, b"unasked"), masked(0x89, b"a")].concat(),
            Frames(vec![pong(b"a")]),
        ),
        (
            "2.10",
            (0..10).flat_map(|n| masked(0x89, &[n])).collect(),
            Frames((0..10).map(|n| pong(&[n])).collect()),
        ),
        // 3: reserved bits.
        ("3.1", masked(0xC1, PING.as_bytes()), Closed(1_002)),
        (
            "3.2",
            [masked(0x81, PING.as_bytes()), masked(0xA1, b"x"), masked(0x89, b"")].concat(),
            Closed(1_002),
        ),
        ("3.3", masked(0xB1, PING.as_bytes()), Closed(1_002)),
        ("3.5", masked(0xD2, b"x"), Closed(1_002)),
        ("3.6", masked(0xE9, b""), Closed(1_002)),
        ("3.7", masked(0xF8, b""), Closed(1_002)),
        // 4: opcodes that mean nothing.
        ("4.1.1", masked(0x83, b""), Closed(1_002)),
        ("4.1.3", masked(0x85, b"x"), Closed(1_002)),
        ("4.1.5", masked(0x87, b""), Closed(1_002)),
        ("4.2.1", masked(0x8B, b""), Closed(1_002)),
        ("4.2.3", masked(0x8D, b"x"), Closed(1_002)),
        ("4.2.5", masked(0x8F, b""), Closed(1_002)),
        // 5: fragments.
        ("5.1", [masked(0x09, b"a"), masked(0x80, b"b")].concat(), Closed(1_002)),
        ("5.2", [masked(0x0A, b"a"), masked(0x80, b"b")].concat(), Closed(1_002)),
        ("5.3", [left.clone(), right.clone()].concat(), Answered),
        (
            "5.6",
            [left.clone(), masked(0x89, b"between"), right.clone()].concat(),
            Frames(vec![pong(b"between"), answer()]),
        ),
        ("5.9", masked(0x80, b"nothing to go on with"), Closed(1_002)),
        ("5.11", masked(0x00, b"nothing to go on with"), Closed(1_002)),
        ("5.15", [left.clone(), right.clone(), masked(0x00, b"x")].concat(), Closed(1_002)),
        ("5.18", [left.clone(), masked(0x81, b"x")].concat(), Closed(1_002)),
        (
            "5.19",
            [
                masked(0x01, b""),
                masked(0x00, PING.as_bytes()),
                masked(0x89, b"1"),
                masked(0x00, b""),
                masked(0x89, b"2"),
                masked(0x80, b" "),
            ]
            .concat(),
            Frames(vec![pong(b"1"), pong(b"2"), answer()]),
        ),
        // 6: UTF-8.
        (
            "6.2",
            masked(0x81, r#"{"type":"ping","x":"κόσμε 𝄞"}"#.as_bytes()),
            Frames(vec![answer()]),
        ),
        ("6.3.1", masked(0x81, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"), Closed(1_007)),
        (
            "6.4",
            [masked(0x01, b"\xce\xba\xf4\x90"), masked(0x80, b"\x80\x80")].concat(),
            Closed(1_007),
        ),
        ("6.6", masked(0x81, b"\xce"), Closed(1_007)),
        ("6.10", masked(0x81, b"\xf8\x88\x80\x80\x80"), Closed(1_007)),
        ("6.12", masked(0x81, b"\x80"), Closed(1_007)),
        ("6.20", masked(0x81, b"\xed\xa0\x80\xed\xb0\x80"), Closed(1_007)),
        ("6.21", masked(0x81, b"\xc0\xaf"), Closed(1_007)),
        // 7: closing.
        (
            "7.1.1",
            [masked(0x81, PING.as_bytes()), close(1_000, b"")].concat(),
            Frames(vec![answer(), frame(0x88, &1_000_u16.to_be_bytes())]),
        ),
        ("7.1.3", [close(1_000, b""), masked(0x89, b"too late")].concat(), Closed(1_000)),
        ("7.1.5", [left, close(1_000, b""), right].concat(), Closed(1_000)),
        ("7.3.1", masked(0x88, b""), Closed(1_005)),
        ("7.3.2", masked(0x88, b"x"), Closed(1_002)),
        ("7.3.4", close(1_000, b"bye"), Closed(1_000)),
        ("7.3.5", close(1_000, &[b'*'; 123]), Closed(1_000)),
        ("7.3.6", close(1_000, &[b'*'; 124]), Closed(1_002)),
        ("7.5.1", close(1_000, b"\xce\xba\xed\xa0\x80"), Closed(1_007)),
        ("7.7.1", close(1_001, b""), Closed(1_001)),
        ("7.7.5", close(1_011, b""), Closed(1_011)),
        ("7.7.9", close(3_000, b""), Closed(3_000)),
        ("7.7.13", close(4_999, b""), Closed(4_999)),
        ("7.9.1", close(0, b""), Closed(1_002)),
        ("7.9.2", close(999, b""), Closed(1_002)),
        ("7.9.3", close(1_004, b""), Closed(1_002)),
        ("7.9.4", close(1_005, b""), Closed(1_002)),
        ("7.9.6", close(1_016, b""), Closed(1_002)),
        ("7.9.10", close(2_999, b""), Closed(1_002)),
        ("7.13.1", close(5_000, b""), Closed(1_002)),
        ("7.13.2", close(65_535, b""), Closed(1_002)),
        // RFC 6455, 5.1 and 5.2: no mask, and lengths not written in the shortest way.
        ("no mask", unmasked(0x81, PING.as_bytes()), Closed(1_002)),
        ("no mask on a ping", unmasked(0x89, b""), Closed(1_002)),
        ("a length of 16 bits too wide", vec![0x81, 0xFE, 0, 5], Closed(1_002)),
        ("a length of 64 bits too wide", vec![0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5], Closed(1_002)),
        (
            "a length with its first bit set",
            vec![0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0],
            Closed(1_002),
        ),
    ]
}

async fn check(studio: &Studio, name: &str, bytes: &[u8], piece: usize, expect: &Expect) {
    let mut client = Raw::upgraded(studio.address, "ann").await;
    for piece in bytes.chunks(piece) {
        // It may be closed before the last of it is sent.
        client.send(piece).await;
    }
    match expect {
        Answered => assert_eq!(client.frame().await, Some(frame(0x81, PONG)), "{name}"),
        Frames(frames) => {
            for expected in frames {
                assert_eq!(client.frame().await.as_ref(), Some(expected), "{name}");
            }
        }
        Closed(code) => {
            assert_eq!(client.close_code().await, Some(*code), "{name}");
            assert_eq!(client.frame().await, None, "{name}: nothing comes after a close");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_answered_as_rfc_6455_says_however_they_are_cut() {
    let studio = Studio::start().await;
    let cases = cases();
    // Together: the end of a connection is waited for, each time.
    for some in cases.chunks(16) {
        let checks = some.iter().map(async |(name, bytes, expect)| {
            check(&studio, name, bytes, usize::MAX, expect).await;
            // Byte by byte too, but for the large ones.
            if bytes.len() < 300 {
                check(&studio, name, bytes, 1, expect).await;
            }
        });
        futures::future::join_all(checks).await;
    }
}
