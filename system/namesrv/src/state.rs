//! The decisions of the name server: no waiting, no clock; what time it is comes in as an argument.

pub(crate) mod kv;
pub(crate) mod routes;
