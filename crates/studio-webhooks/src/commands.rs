//! One module for each command.

pub(crate) mod all;
pub(crate) mod api;
pub(crate) mod audit;
pub(crate) mod demo;
pub(crate) mod dispatcher;
pub(crate) mod doctor;
pub(crate) mod erase;
pub(crate) mod gateway;
pub(crate) mod listen;
pub(crate) mod migrate;
pub(crate) mod openapi;
mod operators;
pub(crate) mod parts;
pub(crate) mod publish;
pub(crate) mod queues;
pub(crate) mod rejected;
pub(crate) mod secrets;
mod signals;
mod table;
pub(crate) mod token;
mod trail;
pub(crate) mod verify;
