//! Why an attempt failed, in the words of the API.

use std::error::Error;
use std::io;

use domain::{AttemptFailure, FailureKind};
use hyper::StatusCode;

use crate::resolver::{Blocked, Exhausted, Unresolved};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Nothing came that could be read as the head of an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no connection in time")]
    Timeout,
    #[error("no connection")]
    Connect(#[source] BoxError),
    #[error("no answer")]
    Http(#[source] hyper::Error),
}

/// `EMFILE` and `ENFILE` (errno(3)): no file descriptor left, for the process and for the system.
const NO_FILES: [i32; 2] = [24, 23];

/// What users read for names that are blocked *and* for names that do not exist, so that
/// nobody can learn our inside by asking for names.
const UNREACHABLE_NAME: &str = "The address cannot be used";

/// What `status` means (specification, "Retry Policy"): `None` below 300.
pub(crate) fn of_status(status: StatusCode) -> Option<AttemptFailure> {
    if status.as_u16() < 300 {
        return None;
    }
    let reason = status.canonical_reason().unwrap_or("Unknown status");
    Some(if status.as_u16() < 400 {
        let text = format!("{reason} (redirects are not followed)");
        AttemptFailure { kind: FailureKind::Redirect, text }
    } else {
        AttemptFailure { kind: FailureKind::Status, text: reason.to_owned() }
    })
}

/// No answer in time.
pub(crate) fn timeout() -> AttemptFailure {
    AttemptFailure { kind: FailureKind::Timeout, text: "Connection timeout".to_owned() }
}

/// The URL's address is special: nothing was sent.
pub(crate) fn blocked() -> AttemptFailure {
    AttemptFailure { kind: FailureKind::BlockedAddress, text: UNREACHABLE_NAME.to_owned() }
}

/// What went wrong before an answer came.
pub(crate) fn of_error(error: &NoAnswer) -> AttemptFailure {
    if chain(error).any(|cause| cause.is::<Blocked>()) {
        return blocked();
    }
    if chain(error).any(is_exhausted) {
        let text = "The sender has no connection to spare; it tries again".to_owned();
        return AttemptFailure { kind: FailureKind::Exhausted, text };
    }
    if chain(error).any(|cause| cause.is::<Unresolved>()) {
        return AttemptFailure { kind: FailureKind::Dns, text: UNREACHABLE_NAME.to_owned() };
    }
    if chain(error).any(is_timeout) {
        return timeout();
    }
    if let Some(tls) = chain(error).find_map(find_tls) {
        let text = format!("TLS error: {}", tls_reason(tls));
        return AttemptFailure { kind: FailureKind::Tls, text };
    }
    AttemptFailure { kind: FailureKind::Network, text: network_reason(error) }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause: &&'a (dyn Error + 'static)| cause.source())
}

/// Whether this machine lacked what a connection takes: a file descriptor, or a local port.
pub(crate) fn is_exhausted(cause: &(dyn Error + 'static)) -> bool {
    let Some(io) = cause.downcast_ref::<io::Error>() else {
        return cause.is::<Exhausted>();
    };
    io.raw_os_error().is_some_and(|number| NO_FILES.contains(&number))
        || io.kind() == io::ErrorKind::AddrNotAvailable
}

/// A limit of ours (connecting, HTTP/2's pings), or the kernel gave up.
fn is_timeout(cause: &(dyn Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(NoAnswer::Timeout))
        || cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout)
        || cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut)
}

/// rustls errors travel inside `io::Error`, and that in another, whose `source` skips over them.
fn find_tls<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    cause
        .downcast_ref::<rustls::Error>()
        .or_else(|| find_tls(cause.downcast_ref::<io::Error>()?.get_ref()?))
}

fn tls_reason(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "the certificate has expired".to_owned()
        }
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "the certificate's issuer is unknown".to_owned()
        }
        rustls::Error::InvalidCertificate(
            Bad::NotValidForName | Bad::NotValidForNameContext { .. },
        ) => "the certificate is for another name".to_owned(),
        // What `openssl req -x509` makes is an authority's; rustls has no variant for it.
        rustls::Error::InvalidCertificate(Bad::Other(why))
            if format!("{why:?}").contains("CaUsedAsEndEntity") =>
        {
            "the certificate is self-signed, or an authority's own".to_owned()
        }
        other => other.to_string().chars().filter(|c| !c.is_control()).take(200).collect(),
    }
}

fn network_reason(error: &NoAnswer) -> String {
    use io::ErrorKind as Io;
    let io = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        Some(Io::ConnectionRefused) => "Connection refused",
        Some(Io::ConnectionReset | Io::BrokenPipe) => "Connection reset",
        Some(Io::HostUnreachable) => "Host unreachable",
        Some(Io::NetworkUnreachable) => "Network unreachable",
        Some(Io::UnexpectedEof) => "Connection closed before an answer",
        _ if matches!(error, NoAnswer::Connect(_)) => "Connection failed",
        _ if chain(error).any(|c| c.to_string().contains("connection closed")) => {
            "Connection closed before an answer"
        }
        _ => "The answer was not valid HTTP",
    }
    .to_owned()
}
