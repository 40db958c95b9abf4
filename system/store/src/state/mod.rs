//! Decisions without waiting: no clock, no disk; every input is an argument.

pub(crate) mod checkpoint;
pub(crate) mod expire;
pub(crate) mod index;
pub(crate) mod index_mark;
pub(crate) mod index_name;
pub(crate) mod keys;
pub(crate) mod layout;
pub(crate) mod look;
pub(crate) mod select;
pub(crate) mod table;
pub(crate) mod unit;
