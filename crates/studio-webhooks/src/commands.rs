//! One module for each command.

pub(crate) mod all;
pub(crate) mod api;
pub(crate) mod demo;
pub(crate) mod dispatcher;
pub(crate) mod gateway;
pub(crate) mod listen;
pub(crate) mod migrate;
mod parts;
pub(crate) mod publish;
mod signals;
pub(crate) mod token;
pub(crate) mod verify;
