//! The gateway as a browser sees it: the real service on a port of its own, the embedded broker,
//! and clients that know nothing of the crate.

mod conversation;
mod studio;
